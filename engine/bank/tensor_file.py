"""A generation's arrays as safetensors: every row, or what changed from the generation before."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import BankFileError, shown
from patchline.engine.numerics.quantise import LIMIT
from patchline.engine.types import Rows

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
WHOLE = {"rows": np.int16, "row_frame": np.int32, "row_patch": np.int32, "calibration_scores": np.float64}
CHANGE = {**WHOLE, "removed": np.int32}
LATER = {"calibration_groups": np.int32}
"""Arrays that are there where a bank needs them."""
PATCHES = {"patches": np.int16}
MATRICES = ("rows", "patches")
"""Arrays of embeddings, (N, D); others are (N,)."""
SHOWN_TENSORS = 8


def encode_whole(bank: MemoryBank) -> bytes:
    """The file of all rows."""
    return _encode(_arrays(bank, 0))


def encode_change(bank: MemoryBank, before: MemoryBank, kept: NDArray[np.int64]) -> bytes:
    """The file of a change: numbers of the former rows that left, and the rows that joined; `kept` are the others."""
    removed = np.ones(len(before.rows), dtype=bool)
    removed[kept] = False
    return _encode(_arrays(bank, len(kept)) | {"removed": np.flatnonzero(removed).astype(np.int32)})


def apply_change(tensors: Tensors, before: MemoryBank, path: str) -> Tensors:
    """The arrays of all rows after a change; `path` names its file in errors.

    Raises:
        BankFileError: the rows have other dimensions, or it removes rows that are not there, or one twice.
    """
    removed, D = tensors["removed"], before.rows.shape[1]
    if tensors["rows"].shape[1] != D:
        raise BankFileError(f"{path}: foreign: rows of {tensors['rows'].shape[1]} dimensions, expected {D}")
    if len(removed) and not (removed[0] >= 0 and removed[-1] < len(before.rows) and (np.diff(removed) > 0).all()):
        raise BankFileError(
            f"{path}: altered: removes rows that generation {before.generation} does not have, expected row numbers "
            f"that ascend, 0 to {len(before.rows) - 1}"
        )
    stay = np.ones(len(before.rows), dtype=bool)
    stay[removed] = False
    joined = {
        name: np.concatenate([getattr(before, name)[stay], tensors[name]])
        for name in ("rows", "row_frame", "row_patch")
    }
    return {**joined, **{name: array for name, array in tensors.items() if name.startswith("calibration_")}}


def encode_patches(patches: Rows) -> bytes:
    """The file of a frame's patch embeddings, int16 (P, D)."""
    return _encode({"patches": patches})


def decode_tensors(content: bytes, expected: Mapping[str, Any], path: str) -> Tensors:
    """Arrays by name; `expected` are their names and types, `path` the file in errors.

    Raises:
        BankFileError: the file is no safetensors file, or holds other arrays, or arrays of other shapes, or a value
            that none is rounded to.
    """
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise BankFileError(f"{path}: foreign: not a safetensors file: {error}") from error
    except KeyError as error:
        raise BankFileError(f"{path}: foreign: holds values of a type that no bank has: {error}") from error
    types = {name: tensor.dtype for name, tensor in tensors.items()}
    known = {name: np.dtype(dtype) for name, dtype in expected.items()}
    known |= {name: np.dtype(dtype) for name, dtype in LATER.items() if name in types and "rows" in known}
    if types != known:
        held = ", ".join(f"{shown(n)[1:-1]} {t}" for n, t in sorted(types.items())[:SHOWN_TENSORS])
        raise BankFileError(f"{path}: foreign: holds {held}")
    for name, tensor in tensors.items():
        if tensor.ndim != (2 if name in MATRICES else 1):
            dimensions = "(N, D)" if name in MATRICES else "(N,)"
            raise BankFileError(f"{path}: foreign: {name} is {shown(tensor.shape)}, expected {dimensions}")
        if name in MATRICES and tensor.size and tensor.min() < -LIMIT:
            raise BankFileError(f"{path}: foreign: {name} holds {tensor.min()}, expected {-LIMIT} to {LIMIT}")
    for name in ("row_frame", "row_patch"):
        if name in tensors and len(tensors[name]) != len(tensors["rows"]):
            found, rows = len(tensors[name]), len(tensors["rows"])
            raise BankFileError(f"{path}: foreign: {name} has {found} values, expected {rows}, one a row")
    return tensors


def _arrays(bank: MemoryBank, start: int) -> dict[str, NDArray[Any]]:
    groups = bank.calibration.groups
    arrays: dict[str, NDArray[Any]] = {
        "rows": bank.rows[start:],
        "row_frame": bank.row_frame[start:],
        "row_patch": bank.row_patch[start:],
        "calibration_scores": bank.calibration.scores,
    }
    return arrays if groups is None else arrays | {"calibration_groups": groups}


def _encode(arrays: Tensors) -> bytes:
    return save_tensors({name: np.ascontiguousarray(array) for name, array in arrays.items()})
