"""A recipe's chain of generations at a path or URL: read by `GenerationReader`, written by `GenerationStore`.

The newest generation is the one with the highest manifest. Tensors and patch embeddings are written first, to names
made of their SHA-256; the manifest names them and is created last and exclusively, complete from the first moment it
can be seen. So a generation exists wholly or not at all, and two writers cannot both create one number. `HEAD` is a
hint that spares a listing.

::

    generation-000001.json                      manifest: parent, event, sums
    generation-000001.<sha>.safetensors         all rows, or those that joined and left
    frames/<sha>.safetensors                    patch embeddings of a frame, int16 (P, D)
    rejects/<sha>.safetensors                   those of recent rejects
    log-000032.<sha>.json                       events of generations 1 to 32
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank import tensor_file
from patchline.engine.bank.events import Event, Fitted, StoredFrame
from patchline.engine.bank.manifest import (
    MOST_MANIFEST_BYTES,
    LearningState,
    Manifest,
    encode_manifest,
    manifest_name,
)
from patchline.engine.bank.manifest_check import check_manifest
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.reader import FRAMES, REJECTS, GenerationReader, frame_file
from patchline.engine.errors import BankFileError, GenerationConflictError
from patchline.engine.types import Rows

WHOLE_EVERY = 32
"""Every so many generations all rows are written, so that opening a bank reads few files."""


class GenerationStore(GenerationReader):
    """The generations of one recipe, to be read and written."""

    def keep(self, name: str, patches: Rows, folder: str = FRAMES) -> StoredFrame:
        """Store a frame's patch embeddings, which a generation created later may name.

        Args:
            name: the frame's.
            patches: int16 (P, D).
            folder: `FRAMES`, or `REJECTS` for what is removed once it is no longer recent.

        Raises:
            BankFileError: the store cannot be written.
        """
        content = tensor_file.encode_patches(patches)
        stored = _stored_as(name, content)
        self._write(frame_file(stored, folder), content)
        return stored

    def create(
        self,
        bank: MemoryBank,
        *,
        event: Event,
        before: tuple[Manifest, MemoryBank] | None = None,
        kept: NDArray[np.int64] | None = None,
        learning: LearningState | None = None,
        calibration: Sequence[StoredFrame] = (),
        rejects: Sequence[StoredFrame] = (),
    ) -> Manifest:
        """Write a generation; it exists when this returns, and did not before the last moment.

        Args:
            bank: the generation; its number is one more than that of the generation before.
            event: what made it.
            before: the generation before, with its bank; None for generation 1.
            kept: int64 (K,), the rows of the generation before that stay, in order; later ones are new. None where
                rows cannot be told so: all are written then.
            learning: the radii of the rows' learning.
            calibration: stored calibration frames, of generation 1.
            rejects: stored recent rejects.

        Raises:
            GenerationConflictError: another writer has created that generation.
            BankFileError: the store cannot be written.
        """
        number = bank.generation
        name = manifest_name(number)
        manifest_before, bank_before = before if before is not None else (None, None)
        whole = (
            bank_before is None
            or kept is None
            or number % WHOLE_EVERY == 0
            or bank.frames[: len(bank_before.frames)] != bank_before.frames
        )
        if whole or bank_before is None or kept is None:
            tensors, frames_kept = tensor_file.encode_whole(bank), 0
        else:
            tensors, frames_kept = tensor_file.encode_change(bank, bank_before, kept), len(bank_before.frames)
        sha256 = hashlib.sha256(tensors).hexdigest()
        try:
            log = None
            if manifest_before is not None and whole:
                log = self._write_log(number, (*self.events(number - 1), event))
            manifest, text = encode_manifest(
                Manifest(
                    generation=number,
                    sha256=bank.sha256,
                    tensors=f"generation-{number:06d}.{sha256[:16]}.safetensors",
                    tensors_sha256=sha256,
                    tensors_bytes=len(tensors),
                    recipe=bank.recipe,
                    scale=bank.scale,
                    grid=bank.grid,
                    rows=bank.rows.shape[0],
                    dimensions=bank.rows.shape[1],
                    covering_radius=bank.covering_radius,
                    false_reject_rate=bank.calibration.false_reject_rate,
                    threshold=bank.threshold,
                    calibration_frames=bank.calibration.frames,
                    promise=bank.promise,
                    created=bank.created,
                    frames=bank.frames[frames_kept:],
                    frames_kept=frames_kept,
                    whole=whole,
                    event=event,
                    before_sha256=manifest_before.checksum if manifest_before else "",
                    learning=learning,
                    calibration=tuple(calibration),
                    rejects=tuple(rejects),
                    log=log,
                    folds=bank.folds,
                    fold_radius=bank.fold_radius,
                    proved=bank.calibration.proved,
                    threshold_fixed=bank.calibration.fixed,
                    calibration_folds=bank.calibration_folds if number == 1 else (),
                    calibration_groups=bank.calibration_groups if number == 1 else (),
                    calibration_set_aside=bank.calibration.set_aside,
                    set_aside=bank.set_aside if number == 1 else (),
                )
            )
            self._check_readable(manifest, text)
            self._write(manifest.tensors, tensors)
            self._blobs.create(name, text)
            self._blobs.hint("HEAD", f"{number}\n".encode())
        except FileExistsError as error:
            raise GenerationConflictError(
                f"{self._path(name)}: exists already, and a generation never changes: another writer was first"
            ) from error
        except OSError as error:
            raise BankFileError(f"{self.where}: generation {number} cannot be written: {error}") from error
        self._forget_rejects(manifest)
        return manifest

    def _check_readable(self, manifest: Manifest, text: bytes) -> None:
        """Raise BankFileError for what a reader would refuse: nothing is written then."""
        path = self._path(manifest_name(manifest.generation))
        check_manifest(manifest, path)
        if len(text) > MOST_MANIFEST_BYTES:
            raise BankFileError(f"{path}: would be {len(text):,} bytes, expected {MOST_MANIFEST_BYTES:,} at most")

    def _write_log(self, number: int, events: tuple[Event, ...]) -> StoredFrame:
        content = msgspec.json.encode(events)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"log-{number:06d}.{sha256[:16]}.json"
        self._write(name, content)
        return StoredFrame(name=name, sha256=sha256, bytes=len(content))

    def _forget_rejects(self, manifest: Manifest) -> None:
        """Remove what are no longer recent rejects; a file that stays behind is in nobody's way."""
        recent = {f"{frame.sha256}.safetensors" for frame in manifest.rejects}
        try:
            for name in self._blobs.names(REJECTS):
                if name not in recent:
                    self._blobs.remove(f"{REJECTS}/{name}")
        except OSError:
            return

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._blobs.write(name, content)
        except OSError as error:
            raise BankFileError(f"{self._path(name)}: cannot be written: {error}") from error


def stored_frame(name: str, patches: Rows) -> StoredFrame:
    """What `GenerationStore.keep` returns of a frame, before it is stored."""
    return _stored_as(name, tensor_file.encode_patches(patches))


def _stored_as(name: str, content: bytes) -> StoredFrame:
    return StoredFrame(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def save_bank(bank: MemoryBank, url: str | Path, calibration: Sequence[StoredFrame] = ()) -> str:
    """Write the first generation and return its manifest's path.

    The bank can learn there: the calibration frames that `fit` has left with it are stored first.

    Args:
        bank: generation 1.
        url: a path, or `s3://bucket/folder`; folders are created where they are missing.
        calibration: the calibration frames where `GenerationStore.keep` has stored them already.

    Raises:
        BankFileError: there is a bank already (GenerationConflictError), or nothing can be written there.

    Example:
        >>> from patchline.engine import load_bank, save_bank
        >>> path = save_bank(bank, "banks/part")
        >>> path
        'banks/part/generation-000001.json'
        >>> load_bank("banks/part").sha256 == bank.sha256
        True
    """
    if bank.generation != 1:
        raise BankFileError(f"{url}: expected generation 1, found {bank.generation}: later ones follow a parent")
    store = GenerationStore(url)
    if not calibration and not store.generations():
        calibration = [store.keep(name, patches) for name, patches in bank.calibration_patches]
    store.create(bank, event=Fitted(time=bank.created), calibration=calibration)
    return f"{store.where}/{manifest_name(1)}"


def load_bank(url: str | Path, generation: int | None = None) -> MemoryBank:
    """Read a generation, the newest by default, and check that it is what was written.

    Args:
        url: the path or URL of its store.
        generation: its number; the newest where it is None.

    Raises:
        BankFileError: there is none, or a file is truncated, altered or foreign; the message says which and why.
    """
    return GenerationStore(url).bank(generation)


def generations(url: str | Path) -> list[int]:
    """The numbers of the generations at a path or URL."""
    return GenerationStore(url).generations()
