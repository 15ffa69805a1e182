"""A generation's bank from its manifest and its tensors, which must say the same."""

import numpy as np

from patchline.engine.bank import tensor_file
from patchline.engine.bank.calibration import Calibration
from patchline.engine.bank.manifest import Manifest
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.bank.tensor_file import Tensors
from patchline.engine.errors import BankFileError, EngineError


def assemble(
    manifest: Manifest, content: bytes, before: MemoryBank | None, *, path: str, tensors_path: str
) -> MemoryBank:
    """The bank of a generation.

    Args:
        manifest: of the generation, checked by `manifest_check`.
        content: its tensors' file.
        before: the bank that its change is applied to; None where it is whole.
        path: names the manifest in errors.
        tensors_path: names the tensors' file there.

    Raises:
        BankFileError: tensors and manifest, or either by itself, contradict each other.
    """
    frames = manifest.frames
    if manifest.whole or before is None:
        tensors = tensor_file.decode_tensors(content, tensor_file.WHOLE, tensors_path)
    else:
        change = tensor_file.decode_tensors(content, tensor_file.CHANGE, tensors_path)
        tensors = tensor_file.apply_change(change, before, tensors_path)
        frames = (*_kept(manifest, before, path), *frames)
    _check_counts(manifest, tensors, path)
    try:
        bank = MemoryBank(
            recipe=manifest.recipe,
            generation=manifest.generation,
            rows=tensors["rows"],
            scale=manifest.scale,
            frames=frames,
            row_frame=tensors["row_frame"],
            row_patch=tensors["row_patch"],
            grid=manifest.grid,
            covering_radius=manifest.covering_radius,
            calibration=Calibration(
                false_reject_rate=manifest.false_reject_rate,
                scores=tensors["calibration_scores"],
                threshold=manifest.threshold,
                groups=tensors.get("calibration_groups"),
                proved=manifest.proved,
                fixed=manifest.threshold_fixed,
                set_aside=manifest.calibration_set_aside,
            ),
            folds=manifest.folds,
            fold_radius=manifest.fold_radius,
            created=manifest.created,
            calibration_folds=manifest.calibration_folds,
            calibration_groups=manifest.calibration_groups,
            set_aside=manifest.set_aside,
        )
    except EngineError as error:
        raise BankFileError(f"{path}: altered: {error}") from error
    origins = bank.row_frame.astype(np.int64) * (bank.grid[0] * bank.grid[1]) + bank.row_patch
    if len(np.unique(origins)) != len(origins):
        raise BankFileError(f"{tensors_path}: foreign: two rows came from one patch of one frame")
    return bank


def _kept(manifest: Manifest, before: MemoryBank, path: str) -> tuple[FrameOrigin, ...]:
    """The frames of the generation before that a change keeps; raises BankFileError where it has fewer."""
    if manifest.frames_kept > len(before.frames):
        raise BankFileError(
            f"{path}: altered or foreign: frames_kept is {manifest.frames_kept}, expected at most "
            f"{len(before.frames)}, the frames of generation {before.generation}"
        )
    return before.frames[: manifest.frames_kept]


def _check_counts(manifest: Manifest, tensors: Tensors, path: str) -> None:
    """Raise BankFileError where the tensors are not as many as the manifest states."""
    stated = (manifest.rows, manifest.dimensions)
    if tensors["rows"].shape != stated:
        raise BankFileError(f"{path}: altered: states rows {stated}, the tensors hold {tensors['rows'].shape}")
    held = len(tensors["calibration_scores"])
    if held != manifest.calibration_frames:
        raise BankFileError(
            f"{path}: altered: states {manifest.calibration_frames} calibration frames, the tensors hold {held}"
        )
