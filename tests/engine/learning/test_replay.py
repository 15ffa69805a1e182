"""Every generation, made anew from its events, is the one that is stored."""

import json
from pathlib import Path

import msgspec

from patchline.engine.bank.manifest import decode_manifest, encode_manifest, manifest_name
from patchline.engine.bank.store import GenerationStore, save_bank
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.replay import replay_errors, replayed
from patchline.engine.learning.requests import Ageing, Rollback
from tests.engine.learning_worlds import confirm, confirmation, fitted, new_store, unlearn


def test_all_kinds_of_events_replay(tmp_path: Path) -> None:
    """Learned, named a defect, held, released, aged, unlearned, rolled back, learned again."""
    store = new_store(tmp_path)
    learner = Learner.open(store)
    confirm(learner, confirmation(1))
    for _ in learner.confirm_defect(confirmation(8, shift=200, frame="scratch")):
        pass
    learner.commit()
    confirm(learner, confirmation(9, patches=confirmation(8, shift=200).patches))
    confirm(learner, confirmation(9, feedback_id="second", operator="lee", patches=None))
    rows = tuple(learner.bank.provenance(row) for row in range(2))
    for _ in learner.age(Ageing(feedback_id="age", operator="kim", rows=rows)):
        pass
    learner.commit()
    unlearn(learner, "f1")
    for _ in learner.rollback(Rollback(feedback_id="roll", operator="kim", generation=2)):
        pass
    learner.commit()
    confirm(learner, confirmation(3))
    assert list(replayed(store)) == [(number, None) for number in range(1, 10)]
    assert list(replay_errors(store)) == [(number, None) for number in range(1, 10)]


def test_a_generation_that_its_events_do_not_give_is_told(tmp_path: Path) -> None:
    """With the rows and sums on both sides; later ones are compared all the same."""
    store = new_store(tmp_path)
    learner = Learner.open(store)
    confirm(learner, confirmation(1))
    bank = confirm(learner, confirmation(2))
    path = tmp_path / manifest_name(3)
    content = json.loads(path.read_text())
    manifest = decode_manifest(path.read_bytes(), "path", 3)
    assert content["rows"] == len(bank.rows)
    path.write_bytes(encode_manifest(msgspec.structs.replace(manifest, sha256="0" * 64))[1])
    flaws = dict(replayed(store))
    assert flaws[2] is None
    assert flaws[3] is not None
    assert f"generation 3 is not what its events give: it has {len(bank.rows)} rows and SHA-256 {'0' * 64}" in flaws[3]


def test_an_error_is_said_of_the_generation_it_came_at(tmp_path: Path) -> None:
    """A missing file ends the replay where it is needed."""
    store = new_store(tmp_path)
    learner = Learner.open(store)
    confirm(learner, confirmation(1))
    confirm(learner, confirmation(2))
    stored = learner.chain.frames["f2"]
    (tmp_path / "frames" / f"{stored.sha256}.safetensors").unlink()
    flaws = list(replay_errors(GenerationStore(tmp_path)))
    assert flaws[:2] == [(1, None), (2, None)]
    (number, flaw) = flaws[2]
    assert number == 3
    assert flaw is not None
    assert "cannot be read" in flaw


def test_a_bank_without_calibration_frames_replays_as_far_as_it_goes(tmp_path: Path) -> None:
    """Generation 1 is what it is."""
    save_bank(fitted()[0], tmp_path)
    assert list(replayed(GenerationStore(tmp_path))) == [(1, None)]
