"""A generation's arrays on file: whole, or what changed."""

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
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


def test_rows_that_leave_ascend() -> None:
    """None leaves twice, and rows of other dimensions cannot join."""
    change = dict(decode_tensors(encode_change(BANK, BANK, np.arange(len(BANK.rows))), CHANGE, "path"))
    for removed in ([3, 3], [4, 3]):
        with pytest.raises(BankFileError, match=r"path: altered: removes .* expected row numbers that ascend, 0 to 23"):
            apply_change({**change, "removed": np.array(removed, dtype=np.int32)}, BANK, "path")
    other = {**change, "rows": np.zeros((0, 7), np.int16)}
    with pytest.raises(BankFileError, match="path: foreign: rows of 7 dimensions, expected 6"):
        apply_change(other, BANK, "path")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rows": BANK.rows[0]}, r"rows is \(6,\), expected \(N, D\)"),
        ({"row_frame": np.zeros((24, 1), np.int32)}, r"row_frame is \(24, 1\), expected \(N,\)"),
        ({"row_patch": np.array(3, np.int32)}, r"row_patch is \(\), expected \(N,\)"),
        ({"calibration_scores": np.zeros((1, 5))}, r"calibration_scores is \(1, 5\), expected \(N,\)"),
        ({"row_frame": np.zeros(23, np.int32)}, "row_frame has 23 values, expected 24, one a row"),
        ({"rows": np.full((24, 6), -(2**15), np.int16)}, "rows holds -32768, expected -32767 to 32767"),
        ({"more": np.zeros(3)}, "holds calibration_scores float64, more float64, row_frame int32"),
    ],
)
def test_arrays_of_another_shape_are_refused(changed: dict[str, NDArray[Any]], says: str) -> None:
    """By name, with what is expected."""
    arrays = {**decode_tensors(encode_whole(BANK), WHOLE, "path"), **changed}
    with pytest.raises(BankFileError, match=f"path: foreign: {says}"):
        decode_tensors(save(arrays), WHOLE, "path")


def header(offsets: tuple[int, int], shape: tuple[int, ...], dtype: str = "I16", length: int | None = None) -> bytes:
    """A file whose header claims what it likes of eight bytes of values."""
    stated = json.dumps({"patches": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(stated) if length is None else length) + stated + b"\0" * 8


@pytest.mark.parametrize(
    "content",
    [
        header((0, 16), (2, 4)),
        header((0, 2**40), (2**20, 2**19)),
        header((2**63, 2**63 + 8), (1, 4)),
        header((4, 8), (1, 2)),
        header((8, 0), (1, 4)),
        header((0, 8), (2**63, 2**63)),
        header((0, 8), (1, 4), length=2**62),
        header((0, 8), (1, 4), dtype="BF16"),
        header((0, 8), (1, 8), dtype="F8_E4M3"),
        header((0, 8), (1, 4), dtype="OBJECT"),
        struct.pack("<Q", 8) + b"[" * 8,
        struct.pack("<Q", 10_000) + b'{"a":' * 2_000 + b"}" * 2_000,
    ],
)
def test_a_header_that_lies_is_refused(content: bytes) -> None:
    """Offsets beyond the file, overlaps, gaps, shapes beyond any number, types that no bank has: by the file's name."""
    assert decode_tensors(header((0, 8), (1, 4)), PATCHES, "path")["patches"].shape == (1, 4)
    with pytest.raises(BankFileError, match=r"^path: foreign: "):
        decode_tensors(content, PATCHES, "path")


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
