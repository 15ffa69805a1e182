"""The journal of a service without Kafka: judged frames on disk, until their alarms are in Redis.

One SQLite file, written by one process. A frame is in it before its delivery returns, and outlives the process (a power
cut may take the last moment). It is bounded: beyond its size the oldest frames make room, are counted, and their alarms
are lost, for there is nothing else that they could be read from again.
"""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from patchline.engine.types import Verdict
from patchline.stream.alarms.config import JournalConfig
from patchline.stream.alarms.logs import IDLE_WAIT_S, Follower, Run
from patchline.stream.model.alarm import Observation, check_observed, observation_of
from patchline.stream.model.errors import AlarmGap, Foreign, SinkError, SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome

Reply = TypeVar("Reply")
_ROWS_AT_ONCE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS frames (number INTEGER PRIMARY KEY AUTOINCREMENT, observation BLOB NOT NULL);
"""


class AlarmJournal:
    """One journal: `ResultLogs` with a single `ResultLog`, itself.

    Args:
        config: its file and its bound.
        observer: told of frames that made room, and how many wait.
    """

    def __init__(self, config: JournalConfig, *, observer: Observer | None = None) -> None:
        self._config = config
        self._observer = observer or Observer()
        self._thread: ThreadPoolExecutor | None = None
        self._file: sqlite3.Connection | None = None
        self._id = ""
        self._last = 0
        self._next = self._applied = 1
        """The frame to be read next, and the first that is not applied."""
        self._filled = asyncio.Event()

    @property
    def name(self) -> str:
        """The journal's own name, which is drawn when its file is made."""
        return f"journal/{self._id}"

    @property
    def rebuilds(self) -> bool:
        """See `ResultLog`: what is applied has left the file."""
        return False

    async def open(self, follower: Follower) -> None:
        """Open the file, or make it.

        Raises:
            SinkError: it cannot be opened, is no journal, or another process has it.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alarm-journal")
        try:
            await self._ask(self._open)
        except SinkError:
            await self.close()
            raise
        follower.start(self)

    async def put(self, outcomes: Sequence[Outcome]) -> None:
        """Take judged frames; on return they are in the file. Raises SinkUnavailableError while the disk is full."""
        # A frame that was not inspected says nothing to an alarm.
        rows = [
            msgspec.json.encode(observation_of(outcome.result, outcome.frame.position))
            for outcome in outcomes
            if outcome.result.verdict is not Verdict.NOT_INSPECTED
        ]
        if not rows:
            return
        dropped = await self._ask(lambda: self._append(rows))
        self._filled.set()
        if dropped:
            self._observer.alarm_gap(AlarmGap.JOURNAL_FULL, dropped)
        self._tell()

    async def begin(self, position: int | None) -> None:
        """See `ResultLog`: from the oldest frame where Redis knows no position."""
        self._next = self._applied = position if position is not None and position <= self._last + 1 else 1

    async def read(self) -> Run:
        """See `ResultLog`."""
        self._filled.clear()
        rows = await self._ask(self._read)
        if not rows:
            try:
                async with asyncio.timeout(IDLE_WAIT_S):
                    await self._filled.wait()
            except TimeoutError:
                pass
            return [], None
        self._next = rows[-1][0] + 1
        return [seen for number, row in rows if (seen := self._decoded(number, row)) is not None], self._next

    def _decoded(self, number: int, row: bytes) -> Observation | None:
        """A judged frame; None for a row that somebody else has written or changed, which then says nothing."""
        try:
            seen = msgspec.json.decode(row, type=Observation)
            check_observed(seen)
        except (ValueError, TypeError, RecursionError) as error:  # msgspec's and Unicode's are of the first kind
            self._observer.foreign(Foreign.RESULT, f"{self._config.path}, frame {number}: {str(error)[:300]}")
            return None
        return seen

    async def applied(self, position: int) -> None:
        """See `ResultLog`: the frames before it leave the file."""
        self._applied = position
        await self._ask(lambda: self._delete(position))
        self._tell()

    async def is_empty(self) -> bool:
        """See `ResultLog`."""
        return self._applied > self._last

    async def close(self) -> None:
        """Close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    def _tell(self) -> None:
        self._observer.queue_depth("alarm_log", min(self._config.size, max(0, self._last + 1 - self._applied)))

    async def _ask(self, request: Callable[[], Reply]) -> Reply:
        if self._thread is None:
            raise SinkUnavailableError(f"the alarm journal {self._config.path} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, request)
        except sqlite3.Error as error:
            full = isinstance(error, sqlite3.OperationalError) and "full" in str(error)
            held = " (by another process: give each service a journal of its own)" if "locked" in str(error) else ""
            kind = SinkUnavailableError if full else SinkError
            raise kind(f"the alarm journal {self._config.path}: {error}{held}") from error

    # On the journal's thread from here.

    @property
    def _open_file(self) -> sqlite3.Connection:
        if self._file is None:
            raise sqlite3.ProgrammingError("it is closed")
        return self._file

    def _open(self) -> None:
        file = self._file = sqlite3.connect(self._config.path, isolation_level=None, timeout=1.0)
        file.execute("PRAGMA locking_mode = EXCLUSIVE")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        file.executescript(_SCHEMA)
        found = file.execute("SELECT id FROM journal").fetchone()
        self._id = found[0] if found else uuid.uuid4().hex
        if not found:
            file.execute("INSERT INTO journal VALUES (?)", (self._id,))
        newest = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'frames'"
        self._last = int(file.execute(newest).fetchone()[0])

    def _append(self, rows: Sequence[bytes]) -> int:
        """Add rows. Returns how many frames made room for them before they were read."""
        file = self._open_file
        with _transaction(file):
            file.executemany("INSERT INTO frames (observation) VALUES (?)", [(row,) for row in rows])
            last = int(file.execute("SELECT max(number) FROM frames").fetchone()[0])
            room = last - self._config.size
            # What has been read is about to be written to Redis.
            unread = "SELECT count(*) FROM frames WHERE number <= ? AND number >= ?"
            dropped = int(file.execute(unread, (room, self._next)).fetchone()[0])
            file.execute("DELETE FROM frames WHERE number <= ?", (room,))
        self._last = last
        return dropped

    def _read(self) -> list[tuple[int, bytes]]:
        return self._open_file.execute(
            "SELECT number, observation FROM frames WHERE number >= ? ORDER BY number LIMIT ?",
            (self._next, _ROWS_AT_ONCE),
        ).fetchall()

    def _delete(self, before: int) -> None:
        self._open_file.execute("DELETE FROM frames WHERE number < ?", (before,))

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:  # a full disk has undone it already
            file.execute("ROLLBACK")
        raise
