"""A memory bank on disk: one safetensors file and one JSON manifest a generation, in the recipe's directory.

The tensors are written first, to a name made of their SHA-256; the manifest names them and is created last and
exclusively, complete from the first moment it can be seen. So a generation exists wholly or not at all, two writers
cannot both create one number, and the highest manifest is the newest generation.
"""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from engine.calibration import Calibration
from engine.errors import BankFileError, EngineError
from engine.memory_bank import FrameOrigin, MemoryBank
from engine.recipe import Recipe

FORMAT: Literal["patchline memory bank"] = "patchline memory bank"
VERSION = 1
MANIFEST_NAME = re.compile(r"generation-(\d{6,})\.json")
TENSORS = {"rows": np.int16, "row_frame": np.int32, "row_patch": np.int32, "calibration_scores": np.float64}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON beside the tensors. `sha256` is the bank's (`MemoryBank.sha256`); `tensors_sha256` that of the file."""

    format: Literal["patchline memory bank"]
    version: int
    generation: int
    sha256: str
    tensors: str
    tensors_sha256: str
    tensors_bytes: int
    recipe: Recipe
    scale: float
    grid: tuple[int, int]
    rows: int
    dimensions: int
    covering_radius: float
    false_reject_rate: float
    threshold: float
    calibration_frames: int
    promise: str
    created: str
    frames: tuple[FrameOrigin, ...]


def save_bank(bank: MemoryBank, directory: Path) -> Path:
    """Write a generation and return its manifest's path. The directory is created where it is missing.

    Raises:
        BankFileError: that generation exists already, or the directory cannot be written.
    """
    name = f"generation-{bank.generation:06d}"
    manifest_path = directory / f"{name}.json"
    blob = save_tensors(
        {
            "rows": np.ascontiguousarray(bank.rows),
            "row_frame": np.ascontiguousarray(bank.row_frame),
            "row_patch": np.ascontiguousarray(bank.row_patch),
            "calibration_scores": np.ascontiguousarray(bank.calibration.scores),
        }
    )
    tensors_sha256 = hashlib.sha256(blob).hexdigest()
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        generation=bank.generation,
        sha256=bank.sha256,
        tensors=f"{name}.{tensors_sha256[:16]}.safetensors",
        tensors_sha256=tensors_sha256,
        tensors_bytes=len(blob),
        recipe=bank.recipe,
        scale=bank.scale,
        grid=bank.grid,
        rows=bank.rows.shape[0],
        dimensions=bank.rows.shape[1],
        covering_radius=bank.covering_radius,
        false_reject_rate=bank.calibration.false_reject_rate,
        threshold=bank.threshold,
        calibration_frames=bank.calibration.frames,
        promise=bank.calibration.promise,
        created=bank.created,
        frames=bank.frames,
    )
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if manifest_path.exists():
            raise FileExistsError
        _publish(blob, directory / manifest.tensors, replace=True)
        _publish(text, manifest_path, replace=False)
    except FileExistsError as error:
        raise BankFileError(f"{manifest_path}: exists already, and a generation never changes") from error
    except OSError as error:
        raise BankFileError(f"{directory}: generation {bank.generation} cannot be written: {error}") from error
    return manifest_path


def load_bank(directory: Path, generation: int | None = None) -> MemoryBank:
    """Read a generation, the newest by default, and check that it is what was written.

    Raises:
        BankFileError: there is none, or a file is truncated, altered or foreign; the message says which and why.
    """
    found = generations(directory)
    if not found:
        raise BankFileError(f"{directory}: holds no memory bank (no generation-NNNNNN.json)")
    number = max(found) if generation is None else generation
    if number not in found:
        raise BankFileError(f"{directory}: has no generation {number}; it has {', '.join(map(str, sorted(found)))}")
    path = found[number]
    manifest = _read_manifest(path)
    if manifest.generation != number:
        raise BankFileError(f"{path}: describes generation {manifest.generation}, its name says {number}")
    tensors_path = directory / manifest.tensors
    bank = _assemble(manifest, _read_tensors(tensors_path, manifest, path), path)
    if bank.sha256 != manifest.sha256:
        raise BankFileError(f"{path}: altered: its content has SHA-256 {bank.sha256}, it states {manifest.sha256}")
    return bank


def generations(directory: Path) -> dict[int, Path]:
    """The manifest of each generation in a directory."""
    if not directory.is_dir():
        return {}
    matches = ((MANIFEST_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return {int(match[1]): path for match, path in matches if match}


def _read_manifest(path: Path) -> Manifest:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BankFileError(f"{path}: cannot be read: {error}") from error
    try:
        head = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise BankFileError(f"{path}: truncated or not JSON: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise BankFileError(f"{path}: foreign: its format is not {FORMAT!r}")
    if head.get("version") != VERSION:
        raise BankFileError(f"{path}: version {head.get('version')!r}, this release reads version {VERSION}")
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.ValidationError as error:
        raise BankFileError(f"{path}: altered or foreign: {error}") from error


def _read_tensors(path: Path, manifest: Manifest, manifest_path: Path) -> dict[str, NDArray[Any]]:
    if Path(manifest.tensors).name != manifest.tensors:
        raise BankFileError(f"{manifest_path}: altered: tensors must name a file beside it, found {manifest.tensors!r}")
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise BankFileError(f"{path}: cannot be read, {manifest_path.name} names it: {error}") from error
    if len(blob) != manifest.tensors_bytes:
        cut = "truncated" if len(blob) < manifest.tensors_bytes else "altered"
        raise BankFileError(f"{path}: {cut}: {len(blob)} bytes, {manifest_path.name} states {manifest.tensors_bytes}")
    found = hashlib.sha256(blob).hexdigest()
    if found != manifest.tensors_sha256:
        raise BankFileError(
            f"{path}: altered: its SHA-256 is {found}, {manifest_path.name} states {manifest.tensors_sha256}"
        )
    try:
        tensors = load_tensors(blob)
    except SafetensorError as error:
        raise BankFileError(f"{path}: foreign: not a safetensors file: {error}") from error
    types = {name: tensor.dtype for name, tensor in tensors.items()}
    if types != {name: np.dtype(dtype) for name, dtype in TENSORS.items()}:
        raise BankFileError(f"{path}: foreign: holds {', '.join(f'{n} {t}' for n, t in sorted(types.items()))}")
    return tensors


def _assemble(manifest: Manifest, tensors: dict[str, NDArray[Any]], path: Path) -> MemoryBank:
    shape = (manifest.rows, manifest.dimensions)
    if tensors["rows"].shape != shape:
        raise BankFileError(f"{path}: altered: states rows {shape}, the tensors hold {tensors['rows'].shape}")
    try:
        return MemoryBank(
            recipe=manifest.recipe,
            generation=manifest.generation,
            rows=tensors["rows"],
            scale=manifest.scale,
            frames=manifest.frames,
            row_frame=tensors["row_frame"],
            row_patch=tensors["row_patch"],
            grid=manifest.grid,
            covering_radius=manifest.covering_radius,
            calibration=Calibration(
                false_reject_rate=manifest.false_reject_rate,
                scores=tensors["calibration_scores"],
                threshold=manifest.threshold,
            ),
            created=manifest.created,
        )
    except EngineError as error:
        raise BankFileError(f"{path}: altered: {error}") from error


def _publish(content: bytes, path: Path, *, replace: bool) -> None:
    """Give `path` its whole content at once; FileExistsError where it exists and may not be replaced."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        if replace:
            temporary.replace(path)
        else:
            # A hard link fails where the name exists, and a rename would not: the manifest appears complete, once.
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
