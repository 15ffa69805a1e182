"""Reading a recipe's chain of generations; every file is checked against the sum that vouches for it.

`bank.store` says which files there are.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from patchline.engine.bank import tensor_file
from patchline.engine.bank.blobs import Blobs, open_blobs
from patchline.engine.bank.calibration import Calibration
from patchline.engine.bank.events import Event, StoredFrame
from patchline.engine.bank.manifest import MANIFEST_NAME, Manifest, decode_manifest, manifest_name
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import BankFileError, EngineError
from patchline.engine.types import Rows

FRAMES, REJECTS = "frames", "rejects"


class GenerationReader:
    """The generations of one recipe, to be read.

    Args:
        url: a path, or an fsspec URL that `bank.blobs.open_blobs` takes.
    """

    def __init__(self, url: str | Path) -> None:
        self._blobs: Blobs = open_blobs(url)
        self.where = self._blobs.where
        self._last: dict[str, MemoryBank] = {}
        """The bank that was read last, by its manifest's checksum: the next one is likely to follow from it."""

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
        """The numbers of all generations, ascending; raises BankFileError where the store cannot be reached."""
        try:
            names = self._blobs.names()
        except OSError as error:
            raise BankFileError(f"{self.where}: cannot be listed: {error}") from error
        matches = (MANIFEST_NAME.fullmatch(name) for name in names)
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
        return decode_manifest(content, path, number)

    def bank(self, generation: int | None = None) -> MemoryBank:
        """A generation's bank, the newest by default, checked against every sum that vouches for it.

        Raises:
            BankFileError: there is none such, or a file is truncated, altered or foreign; the message says which.
        """
        changes, bank = [self.manifest(generation)], None
        while not changes[-1].whole and bank is None:
            before = self.manifest(changes[-1].generation - 1)
            self._check_before(changes[-1], before)
            bank = self._last.get(before.checksum)
            changes.append(before)
        for manifest in reversed(changes if bank is None else changes[:-1]):
            bank = self._assemble(manifest, bank)
        assert bank is not None  # noqa: S101 - there is at least one manifest
        self._check_sum(bank, changes[0])
        # A manifest of version 1 has no checksum to be known by.
        self._last = {changes[0].checksum: bank} if changes[0].checksum else {}
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

    def patches(self, frame: StoredFrame, folder: str = FRAMES) -> Rows:
        """The patch embeddings of a stored frame, int16 (P, D).

        Raises:
            BankFileError: the file is missing, truncated or altered.
        """
        file = frame_file(frame, folder)
        tensors = tensor_file.decode_tensors(self._checked(file, frame), tensor_file.PATCHES, self._path(file))
        patches: Rows = tensors["patches"]
        return patches

    def verify(self) -> Iterator[tuple[int, str | None]]:
        """Check every generation and every file that it names; yields its number and what is wrong, or None."""
        bank: MemoryBank | None = None
        for number in self.generations():
            before, bank = bank, None
            try:
                manifest = self.manifest(number)
                if number > 1 and manifest.before_sha256:
                    self._check_before(manifest, self.manifest(number - 1))
                if manifest.whole or (before is not None and before.generation == number - 1):
                    bank = self._assemble(manifest, before)
                    self._check_sum(bank, manifest)
                else:
                    bank = self.bank(number)
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
            tensors = tensor_file.decode_tensors(content, tensor_file.WHOLE, tensors_path)
        else:
            change = tensor_file.decode_tensors(content, tensor_file.CHANGE, tensors_path)
            tensors = tensor_file.apply_change(change, before, tensors_path)
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

    def _check_sum(self, bank: MemoryBank, manifest: Manifest) -> None:
        if bank.sha256 != manifest.sha256:
            path = self._path(manifest_name(manifest.generation))
            raise BankFileError(f"{path}: altered: its bank has SHA-256 {bank.sha256}, it states {manifest.sha256}")

    def _check_before(self, manifest: Manifest, before: Manifest) -> None:
        if manifest.before_sha256 != before.checksum:
            raise BankFileError(
                f"{self._path(manifest_name(before.generation))}: altered or foreign: generation "
                f"{manifest.generation} was made from one with SHA-256 {manifest.before_sha256}, "
                f"found {before.checksum}"
            )

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
        actual = hashlib.sha256(content).hexdigest()
        if actual != stated.sha256:
            raise BankFileError(f"{path}: altered: its SHA-256 is {actual}, {stated.sha256} is stated")
        return content

    def _exists(self, number: int) -> bool:
        try:
            self._blobs.read(manifest_name(number))
        except OSError:
            return False
        return True

    def _path(self, name: str) -> str:
        return f"{self.where}/{name}"


def frame_file(frame: StoredFrame, folder: str) -> str:
    """The name of the file of a stored frame's patch embeddings."""
    return f"{folder}/{frame.sha256}.safetensors"


def _frames_of(event: Event) -> tuple[StoredFrame, ...]:
    frame = getattr(event, "frame", None)
    return (frame,) if isinstance(frame, StoredFrame) else ()
