"""What no manifest says: numbers, sums and names outside their range, checked before any file that it names is read.

A manifest's sums say that it is whole, not who wrote it. So nothing in it is taken at its word: what a later step
would allocate, open, compare or index by is bounded here. `bank.store` asks the same of what it is about to write.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from patchline.engine.bank.events import Aged, Event, RolledBack, StoredFrame, ThresholdChosen
from patchline.engine.bank.manifest import Manifest
from patchline.engine.bank.memory_bank import MOST_FOLDS
from patchline.engine.coreset.online_state import DIMENSIONS
from patchline.engine.errors import BankFileError, RecipeError, shown
from patchline.engine.recipe import SHA256, check_recipe

Flaw: TypeAlias = tuple[str, object, str]
"""A field, what was found there, and what was expected."""
MOST_BYTES = 2**34
"""Of any one file that a manifest names: five million rows of 1,536 values."""
MOST_LOG_BYTES = 2**26
MOST_ROWS = 2**31 - 1
MOST_GENERATIONS = 10**9
OVERHEAD_BYTES = 2**16
"""What a tensor file may hold beside its tensors: its header, which is some hundred bytes."""
LARGEST_SQ = 2**62
"""Squared radii lie below it, and so do doubled ones: int64 holds them."""
_HEX = "64 hexadecimal digits in lower case"


def check_manifest(manifest: Manifest, path: str) -> None:
    """Refuse a manifest that says what none does.

    Raises:
        BankFileError: a field of it lies outside its range, or its recipe is one that no fit takes; the message names
            the file, the field, what was found and what was expected.
    """
    try:
        check_recipe(manifest.recipe)
    except RecipeError as error:
        raise BankFileError(f"{path}: altered or foreign: {error}") from error
    _refuse(_flaws(manifest), path)


def check_events(events: Iterable[Event], path: str) -> None:
    """Refuse a log of events that says what none does; raises BankFileError, as `check_manifest`."""
    for number, event in enumerate(events, start=1):
        _refuse(_flaws_of_event(event, f"event {number}", number), path)


def check_follows(manifest: Manifest, before: Manifest, path: str) -> None:
    """Refuse a generation that is not made from the one before it, `before`.

    Raises:
        BankFileError: it is of another kind (`check_kind`), or larger than a change of that one can be.
    """
    check_kind(manifest, before, path)
    if not manifest.whole:
        most = _tensor_bytes(manifest) + 4 * (manifest.calibration_frames + before.rows) + OVERHEAD_BYTES
        _refuse(_beyond("tensors_bytes", manifest.tensors_bytes, 8, min(most, MOST_BYTES)), path)


def check_kind(manifest: Manifest, before: Manifest, path: str) -> None:
    """Refuse a generation that has not in common with an earlier one what all generations of a store have.

    Raises:
        BankFileError: another recipe, scale, grid, number of folds or of dimensions.
    """
    for field in ("recipe", "scale", "grid", "dimensions", "folds"):
        found, expected = getattr(manifest, field), getattr(before, field)
        if found != expected:
            raise BankFileError(
                f"{path}: altered or foreign: {field} is {shown(found)}, expected that of generation "
                f"{before.generation}, {shown(expected)}"
            )


def _refuse(flaws: Iterable[Flaw], path: str) -> None:
    for field, found, expected in flaws:
        raise BankFileError(f"{path}: altered or foreign: {field} is {shown(found)}, expected {expected}")


def _flaws(manifest: Manifest) -> Iterator[Flaw]:
    first, whole = manifest.generation == 1, manifest.whole
    yield from _beyond("generation", manifest.generation, 1, MOST_GENERATIONS)
    for field in ("sha256", "tensors_sha256"):
        yield from _no_sum(field, getattr(manifest, field))
    if manifest.version > 1 and not first:
        yield from _no_sum("before_sha256", manifest.before_sha256)
    yield from _beyond("rows", manifest.rows, 1, MOST_ROWS)
    yield from _beyond("dimensions", manifest.dimensions, 1, DIMENSIONS - 1)
    yield from _beyond("calibration_frames", manifest.calibration_frames, 1, MOST_ROWS)
    yield from _beyond("calibration_set_aside", manifest.calibration_set_aside, 0, MOST_ROWS)
    for cells, pixels in zip(manifest.grid, manifest.recipe.image_size_px, strict=True):
        yield from _beyond("grid", cells, 1, pixels)
    yield from _beyond("folds", manifest.folds, 1, MOST_FOLDS if manifest.version > 2 else 1)
    yield from _beyond("frames_kept", manifest.frames_kept, 0, 0 if whole else MOST_ROWS)
    if not manifest.scale > 0:
        yield "scale", manifest.scale, "a power of two"
    for field in ("covering_radius", "threshold", "fold_radius"):
        if (value := getattr(manifest, field)) is not None and not value >= 0:
            yield field, value, "0 or more"
    if not whole and (first or manifest.version < 2):
        yield "whole", whole, "true, as nothing lies before it"
    patches = manifest.grid[0] * manifest.grid[1]
    if whole:
        yield from _beyond("rows", manifest.rows, 1, len(manifest.frames) * patches)
        least = _tensor_bytes(manifest)
        most = least + 4 * manifest.calibration_frames + OVERHEAD_BYTES
        yield from _beyond("tensors_bytes", manifest.tensors_bytes, least, min(most, MOST_BYTES))
    yield from _beyond("tensors_bytes", manifest.tensors_bytes, 8, MOST_BYTES)
    for n, frame in enumerate(manifest.frames):
        yield from _beyond(f"frames[{n}].generation", frame.generation, 1, manifest.generation)
    yield from _flaws_of_learning(manifest)
    yield from _flaws_of_stored(manifest)
    yield from _flaws_of_event(manifest.event, "event", manifest.generation)


def _flaws_of_learning(manifest: Manifest) -> Iterator[Flaw]:
    learning = manifest.learning
    if learning is None:
        return
    yield from _beyond("learning.sq_first", learning.sq_first, 0, learning.sq_admission)
    yield from _beyond("learning.sq_admission", learning.sq_admission, 0, LARGEST_SQ)
    yield from _beyond("learning.sq_fit", learning.sq_fit, 0, LARGEST_SQ)
    yield from _beyond("learning.budget", learning.budget, 1, LARGEST_SQ)


def _flaws_of_stored(manifest: Manifest) -> Iterator[Flaw]:
    """Of the frames and logs that lie in files of their own, and of what generation 1 alone says."""
    most = manifest.grid[0] * manifest.grid[1] * manifest.dimensions * 2 + OVERHEAD_BYTES
    for field in ("calibration", "rejects"):
        for n, frame in enumerate(getattr(manifest, field)):
            yield from _flaws_of_file(f"{field}[{n}]", frame, min(most, MOST_BYTES))
    if isinstance(frame := getattr(manifest.event, "frame", None), StoredFrame):
        yield from _beyond("event.frame.bytes", frame.bytes, 8, min(most, MOST_BYTES))
    if manifest.log is not None:
        yield from _flaws_of_file("log", manifest.log, MOST_LOG_BYTES)
    if len(manifest.calibration) not in (0, manifest.calibration_frames):
        count = manifest.calibration_frames
        yield "calibration", len(manifest.calibration), f"one for each of {count} calibration frames, or none"
    for field in ("calibration", "calibration_folds", "calibration_groups", "set_aside"):
        if manifest.generation > 1 and (found := getattr(manifest, field)):
            yield field, found, "to be of generation 1 alone"


def _flaws_of_event(event: Event, field: str, number: int) -> Iterator[Flaw]:
    frame = getattr(event, "frame", None)
    if isinstance(frame, StoredFrame):
        yield from _flaws_of_file(f"{field}.frame", frame, MOST_BYTES)
    match event:
        case RolledBack(to=to):
            yield from _beyond(f"{field}.to", to, 1, number - 1)
        case Aged(rows=rows):
            for _, patch in rows:
                yield from _beyond(f"{field}.rows", patch, 0, MOST_ROWS)
        case ThresholdChosen(rate=rate, value=value):
            if (rate is None) == (value is None):
                yield field, (rate, value), "a rate or a value, one of the two"


def _flaws_of_file(field: str, stored: StoredFrame, most_bytes: int) -> Iterator[Flaw]:
    yield from _no_sum(f"{field}.sha256", stored.sha256)
    yield from _beyond(f"{field}.bytes", stored.bytes, 2, most_bytes)


def _no_sum(field: str, found: str) -> Iterator[Flaw]:
    if not SHA256.fullmatch(found):
        yield field, found, _HEX


def _beyond(field: str, found: int, least: int, most: int) -> Iterator[Flaw]:
    if not least <= found <= most:
        yield field, found, f"{least:,} to {most:,}" if least < most else f"{most:,}"


def _tensor_bytes(manifest: Manifest) -> int:
    """What all rows, where they came from, and the calibration's scores take, at least."""
    return manifest.rows * (2 * manifest.dimensions + 8) + 8 * manifest.calibration_frames
