"""One generation as a bank of its own."""

from pathlib import Path

import numpy as np
import pytest

from patchline.engine.bank.events import ConfirmedDefect, Fitted
from patchline.engine.bank.export import export
from patchline.engine.bank.store import GenerationStore
from patchline.engine.errors import BankFileError
from patchline.engine.learning.learner import Learner
from tests.engine.learning_worlds import confirm, confirmation, new_store, unlearn


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
