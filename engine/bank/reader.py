"""Reading a recipe's chain of generations; every file is checked against the sum that vouches for it.

`bank.store` says which files there are.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import msgspec

from patchline.engine.bank import tensor_file
from patchline.engine.bank.assembly import assemble
from patchline.engine.bank.blobs import Blobs, open_blobs
from patchline.engine.bank.events import Event, StoredFrame
from patchline.engine.bank.manifest import (
    MANIFEST_NAME,
    MOST_MANIFEST_BYTES,
    UNREADABLE,
    Manifest,
    decode_manifest,
    manifest_name,
)
from patchline.engine.bank.manifest_check import (
    MOST_GENERATIONS,
    OVERHEAD_BYTES,
    check_events,
    check_follows,
    check_manifest,
)
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import BankFileError, BankFileMissingError, EngineError, shown
from patchline.engine.types import Rows

FRAMES, REJECTS = "frames", "rejects"
MOST_HEAD_BYTES = 64
MOST_CHANGES = 1024
"""Generations in a row that are changes of those before. `bank.store` writes a whole one every 32nd time."""


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
            hint = int(self._blobs.read("HEAD", MOST_HEAD_BYTES))
        except (OSError, ValueError, BankFileError):
            hint = 0
        if 0 < hint <= MOST_GENERATIONS and self._exists(hint):
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
        numbers = {int(match[1]) for name in names if (match := MANIFEST_NAME.fullmatch(name))}
        return sorted(number for number in numbers if 0 < number <= MOST_GENERATIONS)

    def manifest(self, generation: int | None = None) -> Manifest:
        """The manifest of a generation, the newest by default.

        Raises:
            BankFileError: there is none such, or it is truncated, altered or foreign, or says what no manifest does.
        """
        number = self.newest() if generation is None else generation
        if number is None:
            raise BankFileError(f"{self.where}: holds no memory bank (no {manifest_name(1).replace('1', 'N')})")
        if not 0 < number <= MOST_GENERATIONS:
            raise BankFileError(f"{self.where}: has no generation {shown(number)}; expected 1 or a later one")
        path = self._path(manifest_name(number))
        try:
            with _within_memory(path):
                content = self._blobs.read(manifest_name(number), MOST_MANIFEST_BYTES)
        except FileNotFoundError:
            known = self.generations()
            if not known:
                raise BankFileError(f"{self.where}: holds no memory bank (no generation-NNNNNN.json)") from None
            has = f"{known[0]} to {known[-1]}" if len(known) > 1 else str(known[0])
            raise BankFileError(f"{self.where}: has no generation {number}; it has {has}") from None
        except OSError as error:
            raise BankFileError(f"{path}: cannot be read: {error}") from error
        with _within_memory(path):
            manifest = decode_manifest(content, path, number)
            check_manifest(manifest, path)
        return manifest

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
            if len(changes) > MOST_CHANGES and not before.whole:
                raise BankFileError(
                    f"{self._path(manifest_name(changes[0].generation))}: foreign: follows from {MOST_CHANGES:,} "
                    f"changes and more, expected a whole generation among them"
                )
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
        manifest = newest = self.manifest(upto)
        while manifest.log is None and manifest.generation > 1:
            later.append(manifest.event)
            before = self.manifest(manifest.generation - 1)
            self._check_before(manifest, before)
            manifest = before
            if len(later) > MOST_CHANGES and newest.version > 1:
                raise BankFileError(
                    f"{self._path(manifest_name(upto))}: foreign: {MOST_CHANGES:,} generations and more without a log "
                    f"of events, expected one among them"
                )
        if manifest.log is None:
            return (manifest.event, *reversed(later))
        return (*self._log(manifest, manifest.log), *reversed(later))

    def _log(self, manifest: Manifest, log: StoredFrame) -> tuple[Event, ...]:
        """The events of all generations up to a whole one, from its log."""
        path, content = self._path(log.name), self._checked(log.name, log)
        with _within_memory(path):
            try:
                events = msgspec.json.decode(content, type=tuple[Event, ...])
            except UNREADABLE as error:
                raise BankFileError(f"{path}: altered or foreign: {error}") from error
            if len(events) != manifest.generation or events[-1] != manifest.event:
                raise BankFileError(
                    f"{path}: altered or foreign: {len(events)} events, expected {manifest.generation}, the last of "
                    f"them that of generation {manifest.generation}"
                )
            check_events(events, path)
        return events

    def patches(self, frame: StoredFrame, folder: str = FRAMES) -> Rows:
        """The patch embeddings of a stored frame, int16 (P, D).

        Raises:
            BankFileMissingError: the file is not there.
            BankFileError: the file is truncated or altered, or its patches are not those of a frame of this
                bank.
        """
        file = frame_file(frame, folder)
        P, D = self._patch_shape
        if frame.bytes > (most := 2 * P * D + OVERHEAD_BYTES):
            raise BankFileError(
                f"{self._path(file)}: foreign: {frame.bytes:,} bytes are stated, expected {most:,} at most"
            )
        content = self._checked(file, frame)
        with _within_memory(self._path(file)):
            patches: Rows = tensor_file.decode_tensors(content, tensor_file.PATCHES, self._path(file))["patches"]
        if patches.shape != (P, D):
            raise BankFileError(f"{self._path(file)}: foreign: patches {patches.shape}, expected {(P, D)}")
        return patches

    @cached_property
    def _patch_shape(self) -> tuple[int, int]:
        """Patches of a frame, and dimensions of each, as generation 1 has them."""
        first = self.manifest(1)
        return first.grid[0] * first.grid[1], first.dimensions

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
                    self._log(manifest, manifest.log)
                yield number, None
            except EngineError as error:
                yield number, str(error)

    def _assemble(self, manifest: Manifest, before: MemoryBank | None) -> MemoryBank:
        path, tensors_path = self._path(manifest_name(manifest.generation)), self._path(manifest.tensors)
        content = self._checked(
            manifest.tensors,
            StoredFrame(name=manifest.tensors, sha256=manifest.tensors_sha256, bytes=manifest.tensors_bytes),
        )
        with _within_memory(tensors_path):
            return assemble(manifest, content, before, path=path, tensors_path=tensors_path)

    def _check_sum(self, bank: MemoryBank, manifest: Manifest) -> None:
        path = self._path(manifest_name(manifest.generation))
        with _within_memory(path):
            actual = bank.sha256
        if actual != manifest.sha256:
            raise BankFileError(f"{path}: altered: its bank has SHA-256 {actual}, it states {manifest.sha256}")

    def _check_before(self, manifest: Manifest, before: Manifest) -> None:
        if manifest.before_sha256 != before.checksum:
            raise BankFileError(
                f"{self._path(manifest_name(before.generation))}: altered or foreign: generation "
                f"{manifest.generation} was made from one with SHA-256 {shown(manifest.before_sha256)}, "
                f"found {shown(before.checksum)}"
            )
        if manifest.version > 1:
            check_follows(manifest, before, self._path(manifest_name(manifest.generation)))

    def _checked(self, name: str, stated: StoredFrame) -> bytes:
        """A file's content, which must be of the stated size and SHA-256."""
        path = self._path(name)
        try:
            with _within_memory(path):
                content = self._blobs.read(name, stated.bytes)
        except FileNotFoundError:
            # Tensors are there before their manifest: what is missing is lost, and no later attempt finds it.
            raise BankFileMissingError(f"{path}: cannot be read, a manifest names it: no such file") from None
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
            return self._blobs.exists(manifest_name(number))
        except OSError:
            return False

    def _path(self, name: str) -> str:
        return f"{self.where}/{name}"


@contextmanager
def _within_memory(path: str) -> Iterator[None]:
    """What does not fit into memory is said of its file."""
    try:
        yield
    except MemoryError as error:
        raise BankFileError(f"{path}: does not fit into the memory of this machine") from error


def frame_file(frame: StoredFrame, folder: str) -> str:
    """The name of the file of a stored frame's patch embeddings."""
    return f"{folder}/{frame.sha256}.safetensors"


def _frames_of(event: Event) -> tuple[StoredFrame, ...]:
    frame = getattr(event, "frame", None)
    return (frame,) if isinstance(frame, StoredFrame) else ()
