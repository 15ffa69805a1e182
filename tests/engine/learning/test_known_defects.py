"""Known defects on the scale of the threshold, from a store."""

from pathlib import Path

import pytest

from patchline.engine.errors import BankFileError
from patchline.engine.learning.known_defects import defect_ratios
from patchline.engine.learning.learner import Learner
from tests.engine.learning_worlds import confirm, confirmation, new_store


def test_ratios_are_those_of_the_preview_that_made_the_generation(tmp_path: Path) -> None:
    """Before a defect is known there is none; then each generation has its own, by its own rows and threshold."""
    store = new_store(str(tmp_path / "part"))
    assert defect_ratios(store) == {}
    learner = Learner.open(store)
    told = {}
    for name, shift in (("scratch", 300), ("hole", 400)):
        for _ in learner.confirm_defect(confirmation(shift, shift=shift, frame=name)):
            pass
        learner.commit()
    for number in (1, 2):
        for _ in learner.confirm_good(confirmation(number)):
            pass
        assert learner.proposal is not None
        told[learner.bank.generation + 1] = learner.proposal.preview.defect_ratios
        learner.commit()
    assert set(told[4]) == {"scratch", "hole"}
    assert {number: defect_ratios(store, number) for number in told} == told
    assert defect_ratios(store) == told[5]
    assert set(defect_ratios(store, 2)) == {"scratch"}


def test_an_altered_frame_is_no_defect(tmp_path: Path) -> None:
    """A file that is not what was stored is refused by name."""
    store = new_store(str(tmp_path / "part"))
    learner = Learner.open(store)
    for _ in learner.confirm_defect(confirmation(50, shift=300, frame="scratch")):
        pass
    learner.commit()
    confirm(learner, confirmation(1))
    for path in (tmp_path / "part" / "frames").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BankFileError, match="frames"):
        defect_ratios(store)
