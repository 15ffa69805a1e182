"""A generation's arrays on file: whole, or what changed."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from patchline.engine.bank.tensor_file import (
    CHANGE,
    PATCHES,
    WHOLE,
    apply_change,
    decode_tensors,
    encode_change,
    encode_patches,
    encode_whole,
)
from patchline.engine.errors import BankFileError
from tests.engine.learning_worlds import fitted, patches

BANK = fitted()[0]


def test_all_rows_come_back() -> None:
    """Values, frames, patches and calibration scores, in their types."""
    tensors = decode_tensors(encode_whole(BANK), WHOLE, "path")
    for name in ("rows", "row_frame", "row_patch"):
        assert np.array_equal(tensors[name], getattr(BANK, name))
    assert np.array_equal(tensors["calibration_scores"], BANK.calibration.scores)


def test_a_change_gives_the_later_rows() -> None:
    """Rows that left are named by number, those that joined follow those that stayed."""
    kept = np.array([0, 2, 3, 9])
    joined = patches(99)[:2]
    rows = np.concatenate([BANK.rows[kept], joined])
    later = replace(
        BANK,
        rows=rows,
        row_frame=np.concatenate([BANK.row_frame[kept], np.zeros(2, np.int32)]),
        row_patch=np.concatenate([BANK.row_patch[kept], np.array([5, 6], np.int32)]),
    )
    change = decode_tensors(encode_change(later, BANK, kept), CHANGE, "path")
    assert len(change["rows"]) == 2
    assert change["removed"].tolist() == [row for row in range(len(BANK.rows)) if row not in kept]
    tensors = apply_change(change, BANK, "path")
    for name in ("rows", "row_frame", "row_patch"):
        assert np.array_equal(tensors[name], getattr(later, name))
    assert set(tensors) == set(WHOLE)


def test_a_change_that_removes_nothing() -> None:
    """All rows stay, and none needs to be named."""
    change = decode_tensors(encode_change(BANK, BANK, np.arange(len(BANK.rows))), CHANGE, "path")
    assert (len(change["rows"]), len(change["removed"])) == (0, 0)
    assert np.array_equal(apply_change(change, BANK, "path")["rows"], BANK.rows)


@pytest.mark.parametrize("row", [-1, len(BANK.rows)])
def test_rows_that_are_not_there_cannot_leave(row: int) -> None:
    """A change of another bank is refused; the first and the last row may leave."""
    change = dict(decode_tensors(encode_change(BANK, BANK, np.arange(len(BANK.rows))), CHANGE, "path"))
    change["removed"] = np.array([row, 3], dtype=np.int32)
    with pytest.raises(BankFileError, match="path: altered: removes rows that generation 1 does not have"):
        apply_change(change, BANK, "path")
    change["removed"] = np.array([0, len(BANK.rows) - 1], dtype=np.int32)
    assert len(apply_change(change, BANK, "path")["rows"]) == len(BANK.rows) - 2


def test_patches_come_back_and_other_files_are_refused() -> None:
    """Other names or types are foreign, and the message says what the file holds."""
    values = patches(3)
    assert np.array_equal(decode_tensors(encode_patches(values), PATCHES, "path")["patches"], values)
    for arrays, says in (
        ({"patches": values.astype(np.int32)}, "holds patches int32"),
        ({"x": values}, "holds x int16"),
    ):
        with pytest.raises(BankFileError, match=f"path: foreign: {says}"):
            decode_tensors(save(arrays), PATCHES, "path")
    with pytest.raises(BankFileError, match="path: foreign: not a safetensors file"):
        decode_tensors(b"nothing", PATCHES, "path")
