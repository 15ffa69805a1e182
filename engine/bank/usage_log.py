"""Which rows were a frame's nearest, day by day: what the ageing policy rests on, kept beside the generations.

Each worker writes a file a day, `usage/2026-11-24.<worker>.json`: the rows in use, by frame and patch, whatever the
generation. A day without a file is one on which nothing was inspected, and counts for nothing.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TypeAlias

import msgspec

from patchline.engine.bank.blobs import open_blobs
from patchline.engine.bank.manifest import UNREADABLE
from patchline.engine.errors import BankFileError

UsedRows: TypeAlias = Mapping[str, AbstractSet[int]]
"""Rows, as the patches of each frame."""
USAGE = "usage"
MOST_USAGE_BYTES = 2**26
_NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})\.[\w-]+\.json")


class UsageLog:
    """The use of one store's rows.

    Args:
        url: the store's path or URL.
    """

    def __init__(self, url: str | Path) -> None:
        self._blobs = open_blobs(url)
        self.damaged: dict[str, tuple[str, str]] = {}
        """The days on which more was used than is known, as a file is damaged or foreign: which one, and why. As `read`
        has found it.
        """

    def write(self, day: str, worker: str, used: UsedRows) -> None:
        """Write all that a worker has used on a day (ISO 8601), in place of what it wrote before.

        Raises:
            BankFileError: the store cannot be written.
        """
        name = f"{USAGE}/{day}.{worker}.json"
        content = msgspec.json.encode({frame: sorted(patches) for frame, patches in sorted(used.items())})
        try:
            self._blobs.write(name, content)
        except OSError as error:
            raise BankFileError(f"{self._blobs.where}/{name}: cannot be written: {error}") from error

    def read(self) -> dict[str, dict[str, set[int]]]:
        """The rows used on each day by any worker, the oldest day first.

        A day with a file that is none of these is one of them, with what the other files say; `damaged` names it, as
        rows would seem unused that may have been used.

        Raises:
            BankFileError: the store cannot be read.
        """
        days: dict[str, dict[str, set[int]]] = {}
        self.damaged = {}
        for day, name in self._files():
            where, used = f"{self._blobs.where}/{name}", {}
            try:
                used = msgspec.json.decode(self._blobs.read(name, MOST_USAGE_BYTES), type=dict[str, set[int]])
            except FileNotFoundError:
                continue  # another worker has forgotten it meanwhile
            except OSError as error:
                raise BankFileError(f"{where}: cannot be read: {error}") from error
            except (*UNREADABLE, BankFileError) as error:
                self.damaged[day] = (where, f"{error}; expected rows in use, by frame")
            rows = days.setdefault(day, {})
            for frame, patches in used.items():
                rows.setdefault(frame, set()).update(patches)
        return days

    def forget_before(self, day: str) -> None:
        """Remove the files of earlier days; one that stays behind is in nobody's way."""
        try:
            for day_of_file, name in self._files():
                if day_of_file < day:
                    self._blobs.remove(name)
        except OSError:
            return

    def _files(self) -> list[tuple[str, str]]:
        try:
            names = self._blobs.names(USAGE)
        except OSError as error:
            raise BankFileError(f"{self._blobs.where}/{USAGE}: cannot be listed: {error}") from error
        return [(match[1], f"{USAGE}/{name}") for name in names if (match := _NAME.fullmatch(name))]
