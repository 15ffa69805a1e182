"""A manifest and its tensors must say the same, though each is whole by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchline.engine.bank.store import GenerationStore, load_bank
from patchline.engine.errors import BankFileError
from patchline.engine.learning.learner import Learner
from tests.engine.bank.forging import Arrays, Json, forge
from tests.engine.learning_worlds import confirm, confirmation, new_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two generations."""
    confirm(Learner.open(new_store(tmp_path)), confirmation(0))
    return tmp_path


def test_what_is_forged_is_read_where_it_contradicts_nothing(folder: Path) -> None:
    """Sums made right are right: the forger of these tests is one."""
    forge(folder, 1, lambda manifest: manifest.update(threshold=9.5))
    assert load_bank(folder, 1).threshold == 9.5
    assert [flaw for _, flaw in GenerationStore(folder).verify()] == [None, None]


@pytest.mark.parametrize(
    ("generation", "changed", "says"),
    [
        (1, {"calibration_frames": 4, "calibration": []}, "states 4 calibration frames, the tensors hold 5"),
        (1, {"rows": 23}, r"states rows \(23, 6\), the tensors hold \(24, 6\)"),
        (2, {"frames_kept": 7}, "frames_kept is 7, expected at most 6, the frames of generation 1"),
        (1, {"scale": 0.75}, "scale must be a power of two"),
        (1, {"threshold": -1.0}, "threshold is -1.0, expected 0 or more"),
        (1, {"false_reject_rate": 1.0}, "false_reject_rate must lie between 0 and 1, found 1"),
        (1, {"false_reject_rate": -0.25, "threshold_fixed": True}, "false_reject_rate must lie between 0 and 1"),
        (1, {"proved": 1.5}, "proved must lie between 0 and 1, found 1.5"),
    ],
)
def test_what_a_manifest_alone_says(folder: Path, generation: int, changed: Json, says: str) -> None:
    """It names the manifest, what was found and what was expected."""
    forge(folder, generation, lambda manifest: manifest.update(changed))
    with pytest.raises(BankFileError, match=rf"generation-00000{generation}.json: altered.*{says}"):
        load_bank(folder, generation)


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("row_frame", np.arange(24, dtype=np.int32), "row_frame must name one of 6 frames"),
        ("row_frame", np.full(24, -1, np.int32), "row_frame must name one of 6 frames"),
        ("row_patch", np.full(24, 16, np.int32), r"row_patch must lie on the grid \(4, 4\)"),
        ("row_patch", np.zeros(24, np.int32), "two rows came from one patch of one frame"),
        ("calibration_scores", np.array([1.0, 2.0, 3.0, 4.0, np.nan]), "scores must be finite and ascending"),
        ("calibration_scores", np.array([1.0, 2.0, 4.0, 3.0, 5.0]), "scores must be finite and ascending"),
        ("calibration_groups", np.array([0, 1, 2, 3, -1], np.int32), "groups must be int32"),
        ("calibration_groups", np.array([0, 1, 2, 3], np.int32), "groups must be int32"),
    ],
)
def test_what_tensors_alone_hold(folder: Path, name: str, values: Any, says: str) -> None:
    """Indices in range and once each, scores that are numbers in their order, groups that are one a frame."""

    def changed(arrays: Arrays) -> None:
        arrays[name] = values

    forge(folder, 1, tensors=changed)
    with pytest.raises(BankFileError, match=says):
        load_bank(folder, 1)
