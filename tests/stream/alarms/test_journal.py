"""The journal keeps judged frames in order until they are applied, bounded, whatever happens to the process."""

import sqlite3
from pathlib import Path

import pytest

from patchline.stream.alarms.config import JournalConfig
from patchline.stream.alarms.journal import AlarmJournal
from patchline.stream.alarms.logs import ResultLog
from patchline.stream.model.errors import AlarmGap, Foreign, SinkError, SinkUnavailableError
from tests.stream.alarms.test_store import outcomes
from tests.stream.scripted import Recorder


class Depths(Recorder):
    """Remembers how many frames waited each time it was told, as well."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []

    def queue_depth(self, queue: str, depth: int) -> None:
        assert queue == "alarm_log"
        self.told.append(depth)


class Follower:
    """Only remembers which logs it was given."""

    def __init__(self) -> None:
        self.logs: list[ResultLog] = []

    def start(self, log: ResultLog) -> None:
        self.logs.append(log)

    async def stop(self, name: str) -> None: ...

    def failed(self, error: BaseException) -> None: ...


async def opened(path: Path, *, size: int = 1000, seen: Recorder | None = None) -> AlarmJournal:
    journal, follower = AlarmJournal(JournalConfig(path=path, size=size), observer=seen), Follower()
    await journal.open(follower)
    assert follower.logs == [journal]
    return journal


async def read(journal: AlarmJournal) -> tuple[list[str], int | None]:
    run, after = await journal.read()
    return [one.frame_id for one in run], after


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_frames_are_read_in_order_and_leave_when_they_are_applied(tmp_path: Path) -> None:
    """Positions count frames from 1; frames that were not inspected are not in it; what waits is told."""
    seen = Depths()
    journal = await opened(tmp_path / "j", seen=seen)
    await journal.begin(None)
    assert await journal.is_empty()
    await journal.put(outcomes("--"))
    assert (seen.told, await journal.is_empty()) == ([], True)
    await journal.put(outcomes("R-P"))
    await journal.put(outcomes("P", first=3))
    assert seen.told == [2, 3]
    assert await read(journal) == (["cam-1/0", "cam-1/2", "cam-1/3"], 4)
    assert not await journal.is_empty(), "they are read, and not applied"
    await journal.applied(3)
    assert not await journal.is_empty()
    await journal.begin(None)
    assert await read(journal) == (["cam-1/3"], 4), "those that are applied have left the file"
    await journal.applied(4)
    assert await journal.is_empty()
    assert seen.told == [2, 3, 1, 0]
    assert await read(journal) == ([], None)
    await journal.close()


@pytest.mark.parametrize(
    ("position", "first"), [(None, "cam-1/0"), (2, "cam-1/1"), (3, "cam-1/2"), (4, None), (5, "cam-1/0")]
)
async def test_reading_begins_where_redis_stands(tmp_path: Path, position: int | None, first: str | None) -> None:
    """From the oldest where Redis knows none, or one that this journal never had: it was of an earlier file."""
    journal = await opened(tmp_path / "j")
    await journal.put(outcomes("RPR"))
    await journal.begin(position)
    assert await journal.is_empty() is (first is None)
    found, _ = await read(journal)
    assert found[:1] == ([first] if first else [])
    await journal.close()


async def test_a_reader_that_waits_is_woken_by_what_comes(tmp_path: Path) -> None:
    """A read with nothing to give ends after a moment, and the next one has what came meanwhile."""
    journal = await opened(tmp_path / "j")
    await journal.begin(None)
    assert await read(journal) == ([], None)
    await journal.put(outcomes("R"))
    assert await read(journal) == (["cam-1/0"], 2)
    await journal.close()


async def test_the_name_and_the_frames_outlive_the_process(tmp_path: Path) -> None:
    """Redis keeps positions under the name, and numbers go on even where every frame was applied."""
    journal = await opened(tmp_path / "j")
    name = journal.name
    await journal.put(outcomes("RP"))
    await journal.applied(3)
    await journal.close()
    journal = await opened(tmp_path / "j")
    assert journal.name == name
    assert (await opened(tmp_path / "other")).name != name
    await journal.begin(3)
    assert await journal.is_empty()
    await journal.put(outcomes("R", first=2))
    assert await read(journal) == (["cam-1/2"], 4)
    await journal.close()


async def test_beyond_its_size_the_oldest_that_were_not_read_are_counted(tmp_path: Path) -> None:
    """At its size nothing is lost; those that were read are about to be in Redis, and are no gap."""
    seen = Depths()
    journal = await opened(tmp_path / "j", size=3, seen=seen)
    await journal.begin(None)
    await journal.put(outcomes("RPR"))
    assert seen.alarm_gaps == {}
    assert await read(journal) == (["cam-1/0", "cam-1/1", "cam-1/2"], 4)
    await journal.put(outcomes("PP", first=3))
    assert seen.alarm_gaps == {}
    await journal.put(outcomes("PP", first=5))
    assert seen.alarm_gaps == {AlarmGap.JOURNAL_FULL: 1}
    assert seen.told == [3, 3, 3]
    assert await read(journal) == (["cam-1/4", "cam-1/5", "cam-1/6"], 8)
    await journal.close()


async def test_one_process_has_the_file_and_a_killed_one_loses_nothing(tmp_path: Path) -> None:
    """It is held exclusively, and written ahead, so that a frame outlives the process that put it."""
    journal = await opened(tmp_path / "j")

    def pragmas() -> list[object]:
        file = journal._open_file
        return [
            file.execute(f"PRAGMA {each}").fetchone()[0] for each in ("locking_mode", "journal_mode", "synchronous")
        ]

    assert await journal._ask(pragmas) == ["exclusive", "wal", 1]
    with pytest.raises(SinkError, match="by another process"):
        await opened(tmp_path / "j")
    await journal.close()
    await (await opened(tmp_path / "j")).close()


async def test_a_journal_shares_no_memory(tmp_path: Path) -> None:
    """One process has it, so it needs no file of shared memory, which disks on a network cannot give: new or not."""
    for first in (0, 2):
        journal = await opened(tmp_path / "j")
        await journal.put(outcomes("RP", first=first))
        assert names_in(tmp_path) == {"j", "j-wal"}
        await journal.close()


async def test_a_disk_that_is_full_indeed_passes(tmp_path: Path) -> None:
    """SQLite undoes the transaction itself then: nothing of it is there, and the next attempt is a new one."""
    journal = await opened(tmp_path / "j")
    await journal.begin(None)

    def leave_pages(more: int) -> None:
        pages = journal._open_file.execute("PRAGMA page_count").fetchone()[0]
        journal._open_file.execute(f"PRAGMA max_page_count = {pages + more}")

    await journal._ask(lambda: leave_pages(0))
    for _ in range(2):
        with pytest.raises(SinkUnavailableError, match="full"):
            await journal.put(outcomes("R" * 200))
    await journal._ask(lambda: leave_pages(1000))
    await journal.put(outcomes("R"))
    assert (await read(journal))[0] == ["cam-1/0"]
    await journal.close()


async def test_a_full_disk_passes_and_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A delivery is tried again while the disk is full; other errors are not; a transaction is whole or undone."""
    journal = await opened(tmp_path / "j")
    await journal.begin(None)

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(SinkUnavailableError, match=r"full$"):
        await journal._ask(full)

    def full_of_errors() -> None:
        raise sqlite3.DatabaseError("full of errors")

    with pytest.raises(SinkError) as caught:
        await journal._ask(full_of_errors)
    assert not isinstance(caught.value, SinkUnavailableError)
    with pytest.raises(SinkError):
        await journal._ask(lambda: journal._append([b"1", {"no": "blob"}]))  # type: ignore[list-item] # a row that fails
    await journal.put(outcomes("R"))
    assert (await read(journal))[0] == ["cam-1/0"]
    await journal.close()
    await journal.close()
    with pytest.raises(SinkUnavailableError, match="is closed"):
        await journal.put(outcomes("R"))


async def test_rows_that_are_no_frames_are_passed_over(tmp_path: Path) -> None:
    """Somebody, or a disk, changed the file: each is told, and the frames behind it are read."""
    seen = Recorder()
    journal = await opened(tmp_path / "journal", seen=seen)
    await journal.put(outcomes("RRRRRR"))
    await journal.close()
    for number, row in enumerate((b"\xff", "text", 5, b"[" * 100_000, b'{"camera": "cam-1"}'), 1):
        with sqlite3.connect(tmp_path / "journal") as file:
            file.execute("UPDATE frames SET observation = ? WHERE number = ?", (row, number))
        file.close()
    journal = await opened(tmp_path / "journal", seen=seen)
    await journal.begin(None)
    assert await read(journal) == (["cam-1/5"], 7)
    assert [what for what, _ in seen.passed_over] == [Foreign.RESULT] * 5
    assert not journal.rebuilds
    await journal.close()
