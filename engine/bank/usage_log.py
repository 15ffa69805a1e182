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
from patchline.engine.errors import BankFileError

UsedRows: TypeAlias = Mapping[str, AbstractSet[int]]
"""Rows, as the patches of each frame."""
USAGE = "usage"
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.[\w-]+\.json")


class UsageLog:
    """The use of one store's rows.

    Args:
        url: the store's path or URL.
    """

    def __init__(self, url: str | Path) -> None:
        self._blobs = open_blobs(url)

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

        Raises:
            BankFileError: the store cannot be read, or a file is none of these; without it rows would seem unused.
        """
        days: dict[str, dict[str, set[int]]] = {}
        for day, name in self._files():
            try:
                used = msgspec.json.decode(self._blobs.read(name), type=dict[str, set[int]])
            except FileNotFoundError:
                continue  # another worker has forgotten it meanwhile
            except (OSError, msgspec.DecodeError) as error:
                where = f"{self._blobs.where}/{name}"
                raise BankFileError(f"{where}: cannot be read: {error}; expected rows in use, by frame") from error
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
