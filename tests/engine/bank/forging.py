"""Stores in which something is wrong and every sum is right: whoever can write a file can also compute its SHA-256."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.recipe import Recipe

Json: TypeAlias = dict[str, Any]
Step: TypeAlias = str | int
Arrays: TypeAlias = dict[str, NDArray[Any]]


def manifest_path(folder: Path, generation: int) -> Path:
    return folder / f"generation-{generation:06d}.json"


def forge(
    folder: Path,
    generation: int,
    change: Callable[[Json], object] | None = None,
    tensors: bytes | Callable[[Arrays], object] | None = None,
) -> None:
    """Change a generation's manifest, its tensors (or the bytes of their file) or both, and make all sums right."""
    path = manifest_path(folder, generation)
    manifest = json.loads(path.read_text())
    file = folder / manifest["tensors"]
    if tensors is not None:
        content = tensors
        if not isinstance(content, bytes):
            arrays = dict(load(file.read_bytes()))
            content(arrays)
            content = save(arrays)
        file.write_bytes(content)
        manifest |= {"tensors_bytes": len(content), "tensors_sha256": hashlib.sha256(content).hexdigest()}
    if change is not None:
        change(manifest)
    path.write_text(json.dumps(manifest))
    seal(folder)


def seal(folder: Path) -> None:
    """Make every sum of the banks and manifests of a store right, as far as what they say has one."""
    before, arrays, frames = "", Arrays(), list[Json]()
    for path in sorted(folder.glob("generation-*.json")):
        manifest = json.loads(path.read_text())
        with suppress(Exception):  # what says too great a nonsense for a sum keeps the one that it had
            content = load((folder / manifest["tensors"]).read_bytes())
            arrays = whole_of(content, arrays)
            kept = frames[: manifest["frames_kept"]] if not manifest["whole"] else []
            frames = kept + manifest["frames"]
            manifest["sha256"] = bank_sum(manifest, arrays, frames)
        if manifest.get("generation") != 1:
            manifest["before_sha256"] = before
        compact = json.dumps(manifest | {"checksum": ""}, separators=(",", ":"), ensure_ascii=False)
        before = manifest["checksum"] = hashlib.sha256(compact.encode("utf-8", "surrogatepass")).hexdigest()
        path.write_text(json.dumps(manifest, ensure_ascii=True))


def whole_of(content: Mapping[str, NDArray[Any]], before: Arrays) -> Arrays:
    """The arrays of all rows, from those of a file and of the generation before."""
    if "removed" not in content:
        return dict(content)
    stay = np.ones(len(before["rows"]), dtype=bool)
    stay[content["removed"]] = False
    joined = {name: np.concatenate([before[name][stay], content[name]]) for name in ("rows", "row_frame", "row_patch")}
    return {**content, **joined}


def bank_sum(manifest: Json, arrays: Arrays, frames: list[Json]) -> str:
    """The SHA-256 that `MemoryBank` has of such values, whether or not it would take them."""
    calibration = SimpleNamespace(
        false_reject_rate=manifest["false_reject_rate"],
        scores=arrays["calibration_scores"],
        groups=arrays.get("calibration_groups"),
        set_aside=manifest["calibration_set_aside"],
    )
    values = SimpleNamespace(
        recipe=msgspec.convert(manifest["recipe"], Recipe),
        scale=manifest["scale"],
        frames=[msgspec.convert(frame, FrameOrigin) for frame in frames],
        grid=manifest["grid"],
        covering_radius=manifest["covering_radius"],
        calibration=calibration,
        threshold=manifest["threshold"],
        folds=manifest["folds"],
        fold_radius=manifest["fold_radius"],
        rows=arrays["rows"],
        row_frame=arrays["row_frame"],
        row_patch=arrays["row_patch"],
    )
    return str(cast(Any, MemoryBank.__dict__["sha256"]).func(values))


def fields(value: object, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """The way to everything in a JSON value, to the value itself first; of a list to its first and last item."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from fields(inner, (*path, name))
    elif isinstance(value, list) and value:
        for number in {0, len(value) - 1}:
            yield from fields(value[number], (*path, number))


def put(value: Json, path: tuple[Step, ...], new: object) -> None:
    """Put something else at the end of a way."""
    *steps, last = path
    inside: Any = value
    for step in steps:
        inside = inside[step]
    inside[last] = new
