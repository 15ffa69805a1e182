"""A recipe's chain of generations at a path or URL; the newest is the highest manifest.

Tensors and patch embeddings are written first, to names made of their SHA-256; the manifest names them and is created
last and exclusively, complete from the first moment it can be seen. So a generation exists wholly or not at all, and
two writers cannot both create one number. `HEAD` is a hint that spares a listing.

::

    generation-000001.json                      manifest: parent, event, sums
    generation-000001.<sha>.safetensors         all rows, or those that joined and left
    frames/<sha>.safetensors                    patch embeddings of a frame, int16 (P, D)
    rejects/<sha>.safetensors                   those of recent rejects
    log-000032.<sha>.json                       events of generations 1 to 32
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine import generation_tensors
from engine.blobs import Blobs, open_blobs
from engine.calibration import Calibration
from engine.errors import BankFileError, EngineError, GenerationConflictError
from engine.generation_events import Event, StoredFrame
from engine.generation_manifest import MANIFEST_NAME, LearningState, Manifest, decode, encode, manifest_name
from engine.memory_bank import MemoryBank
from engine.quantise import Rows

WHOLE_EVERY = 32
"""Every so many generations all rows are written, so that opening reads few files."""
FRAMES, REJECTS = "frames", "rejects"


class GenerationStore:
    """The generations of one recipe.

    Args:
        url: a path, or an fsspec URL that `engine.blobs.open_blobs` takes.
    """

    def __init__(self, url: str | Path) -> None:
        self._blobs: Blobs = open_blobs(url)
        self.where = self._blobs.where

    def newest(self) -> int | None:
        """The newest generation's number, or None where there is none."""
        try:
            hint = int(self._blobs.read("HEAD"))
        except (OSError, ValueError):
            hint = 0
        if hint > 0 and self._exists(hint):
            while self._exists(hint + 1):
                hint += 1
            return hint
        return max(self.generations(), default=None)

    def generations(self) -> list[int]:
        """The numbers of all generations, ascending."""
        matches = (MANIFEST_NAME.fullmatch(name) for name in self._blobs.names())
        return sorted(int(match[1]) for match in matches if match)

    def manifest(self, generation: int | None = None) -> Manifest:
        """The manifest of a generation, the newest by default.

        Raises:
            BankFileError: there is none such, or it is truncated, altered or foreign.
        """
        number = self.newest() if generation is None else generation
        if number is None:
            raise BankFileError(f"{self.where}: holds no memory bank (no {manifest_name(1).replace('1', 'N')})")
        path = self._path(manifest_name(number))
        try:
            content = self._blobs.read(manifest_name(number))
        except FileNotFoundError:
            known = self.generations()
            if not known:
                raise BankFileError(f"{self.where}: holds no memory bank (no generation-NNNNNN.json)") from None
            has = f"{known[0]} to {known[-1]}" if len(known) > 1 else str(known[0])
            raise BankFileError(f"{self.where}: has no generation {number}; it has {has}") from None
        except OSError as error:
            raise BankFileError(f"{path}: cannot be read: {error}") from error
        return decode(content, path, number)

    def bank(self, generation: int | None = None) -> MemoryBank:
        """A generation's bank, the newest by default, checked against every sum that vouches for it.

        Raises:
            BankFileError: there is none such, or a file is truncated, altered or foreign; the message says which.
        """
        changes = [self.manifest(generation)]
        while not changes[-1].whole:
            before = self.manifest(changes[-1].generation - 1)
            self._check_before(changes[-1], before)
            changes.append(before)
        bank: MemoryBank | None = None
        for manifest in reversed(changes):
            bank = self._assemble(manifest, bank)
        assert bank is not None  # noqa: S101 - there is at least one manifest
        path = self._path(manifest_name(bank.generation))
        if bank.sha256 != changes[0].sha256:
            raise BankFileError(f"{path}: altered: its bank has SHA-256 {bank.sha256}, it states {changes[0].sha256}")
        return bank

    def events(self, upto: int) -> tuple[Event, ...]:
        """The events of generations 1 to `upto`, in order.

        Raises:
            BankFileError: as for `manifest`, or the log of a whole generation is truncated or altered.
        """
        later: list[Event] = []
        manifest = self.manifest(upto)
        while manifest.log is None and manifest.generation > 1:
            later.append(manifest.event)
            before = self.manifest(manifest.generation - 1)
            self._check_before(manifest, before)
            manifest = before
        if manifest.log is None:
            return (manifest.event, *reversed(later))
        content = self._checked(manifest.log.name, manifest.log)
        return (*msgspec.json.decode(content, type=tuple[Event, ...]), *reversed(later))

    def keep(self, name: str, patches: Rows, folder: str = FRAMES) -> StoredFrame:
        """Store a frame's patch embeddings, int16 (P, D); a generation created later may name them."""
        content = generation_tensors.patches_file(patches)
        stored = StoredFrame(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        self._write(_frame_file(stored, folder), content)
        return stored

    def patches(self, frame: StoredFrame, folder: str = FRAMES) -> Rows:
        """The patch embeddings of a stored frame, int16 (P, D).

        Raises:
            BankFileError: the file is missing, truncated or altered.
        """
        file = _frame_file(frame, folder)
        tensors = generation_tensors.decode(self._checked(file, frame), generation_tensors.PATCHES, self._path(file))
        patches: Rows = tensors["patches"]
        return patches

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
            tensors, frames_kept = generation_tensors.whole(bank), 0
        else:
            tensors, frames_kept = generation_tensors.change(bank, bank_before, kept), len(bank_before.frames)
        sha256 = hashlib.sha256(tensors).hexdigest()
        try:
            log = None
            if manifest_before is not None and whole:
                log = self._write_log(number, (*self.events(number - 1), event))
            manifest, text = encode(
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
                )
            )
            self._write(manifest.tensors, tensors)
            self._blobs.create(name, text)
            self._blobs.write("HEAD", f"{number}\n".encode())
        except FileExistsError as error:
            raise GenerationConflictError(
                f"{self._path(name)}: exists already, and a generation never changes: another writer was first"
            ) from error
        except OSError as error:
            raise BankFileError(f"{self.where}: generation {number} cannot be written: {error}") from error
        self._forget_rejects(manifest)
        return manifest

    def verify(self) -> Iterator[tuple[int, str | None]]:
        """Check every generation and every file that it names; yields its number and what is wrong, or None."""
        for number in self.generations():
            try:
                manifest = self.manifest(number)
                if number > 1 and manifest.before_sha256:
                    self._check_before(manifest, self.manifest(number - 1))
                self.bank(number)
                for frame in (*manifest.calibration, *_frames_of(manifest.event)):
                    self.patches(frame)
                if manifest.log is not None:
                    self._checked(manifest.log.name, manifest.log)
                yield number, None
            except EngineError as error:
                yield number, str(error)

    def _assemble(self, manifest: Manifest, before: MemoryBank | None) -> MemoryBank:
        path = self._path(manifest_name(manifest.generation))
        content = self._checked(
            manifest.tensors,
            StoredFrame(name=manifest.tensors, sha256=manifest.tensors_sha256, bytes=manifest.tensors_bytes),
        )
        tensors_path = self._path(manifest.tensors)
        frames = manifest.frames
        if manifest.whole or before is None:
            tensors = generation_tensors.decode(content, generation_tensors.WHOLE, tensors_path)
        else:
            change = generation_tensors.decode(content, generation_tensors.CHANGE, tensors_path)
            tensors = generation_tensors.apply(change, before, tensors_path)
            frames = (*before.frames[: manifest.frames_kept], *frames)
        shape = (manifest.rows, manifest.dimensions)
        if tensors["rows"].shape != shape:
            raise BankFileError(f"{path}: altered: states rows {shape}, the tensors hold {tensors['rows'].shape}")
        try:
            return MemoryBank(
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
                ),
                created=manifest.created,
            )
        except EngineError as error:
            raise BankFileError(f"{path}: altered: {error}") from error

    def _check_before(self, manifest: Manifest, before: Manifest) -> None:
        if manifest.before_sha256 != before.checksum:
            raise BankFileError(
                f"{self._path(manifest_name(before.generation))}: altered or foreign: generation "
                f"{manifest.generation} was made from one with SHA-256 {manifest.before_sha256}, "
                f"found {before.checksum}"
            )

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

    def _checked(self, name: str, stated: StoredFrame) -> bytes:
        """A file's content, which must be of the stated size and SHA-256."""
        path = self._path(name)
        try:
            content = self._blobs.read(name)
        except OSError as error:
            raise BankFileError(f"{path}: cannot be read, a manifest names it: {error}") from error
        if len(content) != stated.bytes:
            cut = "truncated" if len(content) < stated.bytes else "altered"
            raise BankFileError(f"{path}: {cut}: {len(content)} bytes, {stated.bytes} are stated")
        found = hashlib.sha256(content).hexdigest()
        if found != stated.sha256:
            raise BankFileError(f"{path}: altered: its SHA-256 is {found}, {stated.sha256} is stated")
        return content

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._blobs.write(name, content)
        except OSError as error:
            raise BankFileError(f"{self._path(name)}: cannot be written: {error}") from error

    def _exists(self, number: int) -> bool:
        try:
            self._blobs.read(manifest_name(number))
        except OSError:
            return False
        return True

    def _path(self, name: str) -> str:
        return f"{self.where}/{name}"


def _frame_file(frame: StoredFrame, folder: str) -> str:
    return f"{folder}/{frame.sha256}.safetensors"


def _frames_of(event: Event) -> tuple[StoredFrame, ...]:
    frame = getattr(event, "frame", None)
    return (frame,) if isinstance(frame, StoredFrame) else ()
