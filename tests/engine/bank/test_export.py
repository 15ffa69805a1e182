"""One generation as a bank of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from patchline.engine.bank.events import ConfirmedDefect, Fitted, ThresholdChosen
from patchline.engine.bank.export import export
from patchline.engine.bank.store import GenerationStore
from patchline.engine.errors import BankFileError
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.replay import replayed
from patchline.engine.learning.requests import Rollback, ThresholdChoice
from tests.engine.learning_worlds import RECIPE, choose, confirm, confirmation, new_store, unlearn

BY: tuple[dict[str, Any], ...] = ({"rate": 0.34}, {"value": 24.9})


def test_it_judges_as_before_and_can_learn_on(tmp_path: Path) -> None:
    """Same SHA-256, same calibration frames and known defects; the radii go on; who exported it is said."""
    store = new_store(tmp_path / "from")
    learner = Learner.open(store)
    confirm(learner, confirmation(1))
    for number in (8, 9):
        for _ in learner.confirm_defect(confirmation(number, shift=200 + number, frame=f"scratch-{number}")):
            pass
        learner.commit()
    out = export(store, 4, tmp_path / "to", operator="lee", time="2026-03-01", reason="new line")
    assert out.generations() == [1, 2, 3]
    banks = [out.bank(number) for number in (1, 2, 3)]
    assert {bank.sha256 for bank in banks} == {learner.bank.sha256}
    assert {frame.generation for frame in banks[2].frames} == {1}
    first = out.manifest(1)
    assert first.event == Fitted(
        operator="lee", time="2026-03-01", reason=f"export of {store.where} generation 4: new line"
    )
    assert (first.created, first.learning) == ("2026-03-01", store.manifest(4).learning)
    assert [frame.name for frame in first.calibration] == [f"calibration-{number}" for number in range(5)]
    for number, generation in ((8, 2), (9, 3)):
        event = out.manifest(generation).event
        assert isinstance(event, ConfirmedDefect)
        assert (event.frame.name, event.operator) == (f"scratch-{number}", "kim")
        expected = confirmation(number, shift=200 + number).patches
        assert expected is not None
        assert np.array_equal(out.patches(event.frame), expected)
    assert [flaw for _, flaw in out.verify()] == [None] * 3
    there = Learner.open(out)
    assert confirm(there, confirmation(3)).sha256 == confirm(learner, confirmation(3)).sha256
    assert unlearn(there, "f3").sha256 == banks[0].sha256


def test_without_a_reason_it_says_what_it_is(tmp_path: Path) -> None:
    """An earlier generation can be exported; a folder that holds a bank is refused."""
    store = new_store(tmp_path / "from")
    confirm(Learner.open(store), confirmation(1))
    out = export(store, 1, tmp_path / "to", operator="lee", time="")
    assert out.bank().sha256 == store.bank(1).sha256
    assert out.manifest().event == Fitted(operator="lee", reason=f"export of {store.where} generation 1")
    with pytest.raises(BankFileError, match="holds a memory bank already; expected a folder without one"):
        export(store, 1, tmp_path / "to", operator="lee", time="")
    assert GenerationStore(tmp_path / "to").generations() == [1]


@pytest.mark.parametrize("choice", [ThresholdChoice(feedback_id="t", operator="lee", **by) for by in BY])
@pytest.mark.parametrize("stream_scores", [False, True])
def test_a_chosen_threshold_goes_along(tmp_path: Path, choice: ThresholdChoice, stream_scores: bool) -> None:
    """It judges by it there, says who chose it, and learns on, and unlearns, as the bank that it came from."""
    store = new_store(tmp_path / "from", structs.replace(RECIPE, stream_scores=stream_scores))
    learner = Learner.open(store)
    for score in (60.0, 70.0):
        learner.note_pass(score)
    confirm(learner, confirmation(1))
    chosen = choose(learner, choice)
    out = export(store, 3, tmp_path / "to", operator="lee", time="2026-03-01")
    assert out.bank().sha256 == chosen.sha256
    event = out.manifest().event
    assert isinstance(event, Fitted)
    assert isinstance(event.chosen, ThresholdChosen)
    assert (event.chosen.rate, event.chosen.value, event.chosen.operator) == (choice.rate, choice.value, "lee")
    there = Learner.open(out)
    after = confirm(there, confirmation(3))
    assert after.calibration.fixed == (choice.value is not None)
    if not stream_scores:  # an export leaves the scores of the stream behind
        assert after.sha256 == confirm(learner, confirmation(3)).sha256
    assert unlearn(there, "f3").sha256 == chosen.sha256
    choose(there, ThresholdChoice(feedback_id="u", operator="lee", rate=0.4))
    for _ in there.rollback(Rollback(feedback_id="r", operator="lee", generation=1)):
        pass
    assert there.commit().sha256 == chosen.sha256
    assert list(replayed(out)) == [(number, None) for number in range(1, 6)]
