"""A memory bank that version 0.1.0 wrote is read, replayed and gone on from, bit for bit."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from patchline.engine.bank.events import chain_of
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import GenerationStore
from patchline.engine.bank.usage_log import UsageLog
from patchline.engine.coreset.event_log import AgedRows
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.replay import replay_errors
from patchline.engine.learning.requests import Ageing, Confirmation, Unlearning
from patchline.engine.types import Image, Rows
from tests.version_0_1_0 import DATA, facts, known_then

EXPECTED = facts("expected.json")
GENERATIONS = [kept["generation"] for kept in EXPECTED["generations"]]
TO_LEARN = "line-1/000008"


@pytest.fixture
def store(tmp_path: Path) -> GenerationStore:
    return GenerationStore(shutil.copytree(DATA / "bank", tmp_path / "bank"))


def image(name: str) -> Image:
    """One of the kept images, RGB."""
    read = cv2.imread(str(DATA / "images" / f"{name}.png"))
    assert read is not None
    return np.ascontiguousarray(read[..., ::-1], dtype=np.uint8)


def patches_to_learn() -> Rows:
    """The embeddings that 0.1.0 made of the image `to-learn`."""
    patches: Rows = np.load(DATA / "to-learn.npy", allow_pickle=False)
    return patches


def said(store: GenerationStore, number: int) -> dict[str, Any]:
    """What is read of a generation, in the terms of `expected.json`."""
    manifest, bank = store.manifest(number), store.bank(number)
    learning = manifest.learning
    return {
        "generation": bank.generation,
        "sha256": bank.sha256,
        "rows": len(bank.rows),
        "dimensions": bank.rows.shape[1],
        "grid": list(bank.grid),
        "scale": bank.scale,
        "threshold": bank.threshold,
        "covering_radius": bank.covering_radius,
        "admission_radius": None if learning is None else math.sqrt(learning.sq_admission) * bank.scale,
        "learning": None if learning is None else msgspec.to_builtins(learning),
        "calibration_scores": bank.calibration.scores.tolist(),
        "created": bank.created,
        "promise": bank.promise,
        "frames": [frame.name for frame in bank.frames],
        "provenance": [list(bank.provenance(row)) for row in range(len(bank.rows))],
        "whole": manifest.whole,
        "event": msgspec.to_builtins(manifest.event),
    }


def confirmed(learner: Learner, frame: str, patches: Rows, **more: str) -> MemoryBank:
    """Learn a frame at once, whether or not it would be held."""
    asked = Confirmation(
        feedback_id=more.get("feedback_id", f"again {frame}"),
        operator="kim",
        approved_by="lee",
        frame=frame,
        patches=patches,
    )
    for _ in learner.confirm_good(asked):
        pass
    return learner.commit()


def unlearned(learner: Learner, frame: str) -> MemoryBank:
    """Unlearn a frame at once."""
    for _ in learner.unlearn(Unlearning(feedback_id=f"without {frame}", operator="kim", frame=frame)):
        pass
    return learner.commit()


def first_only(store: GenerationStore, folder: Path) -> GenerationStore:
    """A copy that has nothing but the fit."""
    folder.mkdir()
    shutil.copytree(Path(store.where) / "frames", folder / "frames")
    for file in Path(store.where).glob("generation-000001.*"):
        shutil.copy(file, folder)
    return GenerationStore(folder)


@pytest.mark.parametrize("number", GENERATIONS)
def test_every_generation_is_what_it_was(store: GenerationStore, number: int) -> None:
    """Rows, provenance, radii, threshold, calibration scores, event and SHA-256 are read as 0.1.0 read them."""
    kept = EXPECTED["generations"][number - 1]
    assert known_then(said(store, number), kept) == kept


def test_the_chain_comes_to_what_it_came_to(store: GenerationStore) -> None:
    """Learned, known and held frames, applied feedback, recent rejects, noted use and the recipe are those of then."""
    known = chain_of(store.events(GENERATIONS[-1]))
    assert store.generations() == GENERATIONS
    assert store.newest() == GENERATIONS[-1]
    assert list(known.frames) == EXPECTED["learned"]
    assert list(known.defects) == EXPECTED["known_defects"]
    assert {name: held.held for name, held in known.held.items()} == EXPECTED["held"]
    assert sorted(known.feedback) == EXPECTED["feedback"]
    assert [frame.name for frame in store.manifest().rejects] == EXPECTED["rejects"]
    usage = UsageLog(store.where).read()
    assert {
        day: {frame: sorted(patches) for frame, patches in frames.items()} for day, frames in usage.items()
    } == EXPECTED["usage"]
    recipe = msgspec.to_builtins(store.manifest().recipe)
    assert known_then(recipe, EXPECTED["recipe"]) == EXPECTED["recipe"]


def test_every_sum_is_right_and_a_replay_gives_the_same_banks(store: GenerationStore) -> None:
    """`patchline bank verify` finds nothing: the files are whole, and the log of events gives each generation."""
    assert list(store.verify()) == [(number, None) for number in GENERATIONS]
    assert list(replay_errors(store)) == [(number, None) for number in GENERATIONS]


@pytest.mark.parametrize(("number", "kept"), [(1, "first_scores"), (GENERATIONS[-1], "scores")])
def test_images_score_as_they_did(store: GenerationStore, number: int, kept: str) -> None:
    """Scores are those of 0.1.0 within 1e-4, which another processor may differ by; verdict and worst patch are."""
    expected: Mapping[str, Any] = EXPECTED[kept]
    inspector = Inspector({"plate": store.bank(number)}, device="cpu", precision="float32")
    frames = [("plate", inspector.prepare("plate", image(name))) for name in expected]
    for name, found in zip(expected, inspector.inspect(frames), strict=True):
        assert found.score == pytest.approx(expected[name]["score"], rel=1e-4), name
        assert found.verdict == expected[name]["verdict"], name
        assert list(found.worst_patch) == expected[name]["worst_patch"], name
        assert found.nearest_row == expected[name]["nearest_row"], name


def test_what_is_embedded_now_is_what_was_embedded_then(store: GenerationStore) -> None:
    """The patches of an image are the integers that 0.1.0 stored, but for the rounding of another processor."""
    inspector = Inspector({"plate": store.bank()}, device="cpu", precision="float32")
    found = inspector.embed_to_learn("plate", inspector.prepare("plate", image("to-learn")))
    then = patches_to_learn()
    assert found.patches.shape == then.shape
    assert np.abs(found.patches.astype(np.int32) - then).max() <= 1e-4 * np.abs(then).max()
    assert found.score == pytest.approx(EXPECTED["to_learn_score"], rel=1e-4)


def test_learning_goes_on_from_the_store(store: GenerationStore) -> None:
    """One more frame, and a frame of 0.1.0 unlearned, make the generations that 0.1.0 itself made of them."""
    learner = Learner.open(store)
    confirmed(learner, TO_LEARN, patches_to_learn())
    unlearned(Learner.open(store), "line-1/000001")
    for kept in EXPECTED["following"]:
        of_the_bank = {name: value for name, value in kept.items() if name not in ("event", "created")}
        assert known_then(said(store, kept["generation"]), of_the_bank) == of_the_bank
    newest = GENERATIONS[-1] + 2
    assert list(store.verify()) == [(number, None) for number in range(1, newest + 1)]
    assert list(replay_errors(store)) == [(number, None) for number in range(1, newest + 1)]


def test_unlearning_what_was_learned_since_gives_the_bank_of_then(store: GenerationStore) -> None:
    """A frame learned now and unlearned leaves the newest generation of 0.1.0; feedback of then is still known."""
    learner = Learner.open(store)
    assert learner.knows("feedback-1")
    then = learner.bank.sha256
    assert confirmed(learner, TO_LEARN, patches_to_learn()).sha256 != then
    assert unlearned(learner, TO_LEARN).sha256 == then


@pytest.mark.parametrize("frame", EXPECTED["learned"][::2])
def test_unlearning_gives_the_bank_that_never_saw_the_frame(store: GenerationStore, tmp_path: Path, frame: str) -> None:
    """A frame learned before rows were thinned, amid it, or after a rollback: the fit, taught all else, is the bank."""
    learner = Learner.open(store)
    log, frames = learner.chain.log, learner.chain.frames
    bank = unlearned(learner, frame)
    never_saw = Learner.open(first_only(store, tmp_path / "never-saw"))
    for event in log:
        if isinstance(event, AgedRows):
            there = {never_saw.bank.provenance(row) for row in range(len(never_saw.bank.rows))}
            rows = tuple(row for row in event.rows if row[0] != frame and row in there)
            for _ in never_saw.age(Ageing(feedback_id="aged", operator="kim", rows=rows)):
                pass
            never_saw.commit()
        elif event.frame != frame:
            confirmed(never_saw, event.frame, store.patches(frames[event.frame]))
    assert frame not in {origin.name for origin in bank.frames}
    assert bank.sha256 == never_saw.bank.sha256 == store.bank().sha256


def test_a_held_frame_of_then_can_be_released(store: GenerationStore) -> None:
    """What 0.1.0 held waits on: the one who confirmed it then is named, and a second person lets it through."""
    learner = Learner.open(store)
    (name,) = EXPECTED["held"]
    asked = Confirmation(feedback_id="release", operator="ada", frame=name)
    for _ in learner.confirm_good(asked):
        pass
    bank = learner.commit()
    assert name in {frame.name for frame in bank.frames}
    event = msgspec.to_builtins(store.manifest().event)
    assert (event["event"], event["operator"], event["approved_by"]) == ("confirmed_good", "lee", "ada")
    assert not learner.chain.held
