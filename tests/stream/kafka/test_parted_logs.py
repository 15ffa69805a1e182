"""Logs and offsets that part ways, on a real broker: while workers read, and while none does; `earliest` and `latest`.

Two groups read the same topic. Every record that is in the log has one result in each, and what was lost is told.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete

from patchline.stream.kafka.config import KafkaConfig
from tests.services.kafka import KafkaBroker
from tests.services.process import ServiceUnavailableError
from tests.stream.kafka_help import new_topics, produce, results_of, running, worker
from tests.stream.scripted import Recorder, ScriptedEngine, jpeg
from tests.stream.waiting import until

PARTITIONS = 3


class Broker(KafkaBroker):
    """One that makes no topic by itself, and where a log can be cut short."""

    def properties(self) -> dict[str, object]:
        return super().properties() | {"auto.create.topics.enable": False}

    def cut(self, topic: str, partition: int, offset: int) -> None:
        """Take everything from an offset on out of a log, as a leader without its last records would have it.

        The broker is stopped, and finds the log as after a crash.
        """
        data = self.directory / "data"
        (data / ".kafka_cleanshutdown").unlink(missing_ok=True)
        folder = data / f"{topic}-{partition}"
        (log,) = folder.glob("*.log")
        content, at = log.read_bytes(), 0
        while at < len(content) and int.from_bytes(content[at : at + 8], "big") < offset:
            at += 12 + int.from_bytes(content[at + 8 : at + 12], "big")
        log.write_bytes(content[:at])
        for other in folder.iterdir():
            if other.suffix in (".index", ".timeindex", ".snapshot"):
                other.unlink()


@pytest.fixture(scope="module")
def broker(unavailable: Callable[[ServiceUnavailableError], NoReturn]) -> Iterator[Broker]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(Broker())
            made.start_broker()
        except ServiceUnavailableError as error:
            unavailable(error)
        yield made


@dataclass
class Line:
    """Two groups on one topic, and what was produced to it."""

    broker: Broker
    groups: list[KafkaConfig]
    ids: list[str] = field(default_factory=list)
    seen: list[Recorder] = field(default_factory=list)
    """Of the workers that run, or ran last."""
    engine: Callable[[], ScriptedEngine] = ScriptedEngine

    @property
    def topic(self) -> str:
        return self.groups[0].frames_topic

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker of each group, which reads."""
        self.seen = [Recorder() for _ in self.groups]
        async with AsyncExitStack() as stack:
            for config, seen in zip(self.groups, self.seen, strict=True):
                await stack.enter_async_context(running(worker(config, seen, self.engine()), drain_s=30))
            await until(lambda: all(seen.owned and len(seen.lag) >= PARTITIONS for seen in self.seen))
            yield

    async def send(self, name: str, count: int, partitions: int = PARTITIONS) -> list[str]:
        ids = [f"{name}/{number}" for number in range(count)]
        where = [(frame, f"cam-{number % partitions}", jpeg(50)) for number, frame in enumerate(ids)]
        await produce(self.groups[0], where, partition=True)
        self.ids += ids
        return ids

    async def send_singly(self, name: str, rounds: int) -> list[str]:
        """So many frames to each partition, each in a batch of its own: a log is cut between batches."""
        return [frame for number in range(rounds) for frame in await self.send(f"{name}/{number}", PARTITIONS)]

    async def judged(self, ids: Sequence[str]) -> None:
        """Wait until each group has a result of each frame."""
        for seen in self.seen:
            await until(lambda seen=seen: set(ids) <= set(seen.results))  # type: ignore[misc] # of this turn

    async def admin(self, work: Callable[[AIOKafkaAdminClient], Awaitable[object]]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        await admin.start()
        try:
            await work(admin)
        finally:
            await admin.close()

    async def delete(self) -> None:
        await self.admin(lambda admin: admin.delete_topics([self.topic]))

    async def create(self, partitions: int = PARTITIONS) -> None:
        topic = NewTopic(self.topic, partitions, 1, topic_configs={"max.message.bytes": str(34 * 2**20)})

        async def made(admin: AIOKafkaAdminClient) -> None:
            while True:
                answer = await admin.create_topics([topic])
                if answer.topic_errors[0][1] == 0:
                    return
                await asyncio.sleep(0.1)  # the one before is still being deleted

        async with asyncio.timeout(20):
            await self.admin(made)

    async def expire(self, before: int) -> None:
        records = {TopicPartition(self.topic, number): RecordsToDelete(before) for number in range(PARTITIONS)}
        await self.admin(lambda admin: admin.delete_records(records))

    async def grow(self, partitions: int) -> None:
        await self.admin(lambda admin: admin.create_partitions({self.topic: NewPartitions(partitions)}))

    async def cut(self, offset: int) -> None:
        await asyncio.to_thread(self.broker.stop)
        for number in range(PARTITIONS):
            self.broker.cut(self.topic, number, offset)
        self.broker.start_broker()  # by the main thread: the broker ends with the one that started it

    async def results(self) -> list[Counter[str]]:
        """How many committed results each frame has, by group."""
        return [Counter(result.frame_id for result in await results_of(config)) for config in self.groups]

    async def assert_all_judged_once(self, ids: Sequence[str] | None = None) -> None:
        for found in await self.results():
            assert found == Counter(self.ids if ids is None else ids)

    def breaks(self) -> list[set[tuple[int, str, int | None]]]:
        """Partition, cause and number lost, by group."""
        return [{(number, cause, lost) for number, cause, _, _, lost in seen.log_breaks} for seen in self.seen]


@pytest.fixture
async def line(broker: Broker, unique_name: Callable[[str], str]) -> Line:
    earliest = await new_topics(broker.bootstrap, unique_name)
    latest = replace(
        earliest,
        start="latest",
        group=unique_name("late"),
        results_topic=unique_name("late-results"),
        dead_letter_topic=unique_name("late-dead"),
    )
    made = Line(broker, [earliest, latest])
    await made.admin(lambda admin: admin.create_topics([NewTopic(latest.results_topic, 2, 1)]))
    return made


@pytest.mark.parametrize("new", [6, 60], ids=["shorter", "longer than before"])
async def test_a_topic_made_anew_while_it_is_read(line: Line, new: int) -> None:
    """It is read from its first record within seconds, and told once; how many the old one lost nobody knows."""
    async with line.working():
        await line.judged(await line.send("old", 15))
        await line.delete()
        await line.create()
        sent = await line.send("new", new)
        async with asyncio.timeout(30):
            await line.judged(sent)
        await line.judged(await line.send("then", 6))
        assert [[cause for _, cause, *_ in seen.log_breaks] for seen in line.seen] == [["recreated"]] * 2
    await line.assert_all_judged_once()


async def test_a_topic_that_is_deleted_is_waited_for(line: Line) -> None:
    """The worker lives and says why it reads nothing; when the topic is back, with fewer partitions, it goes on."""
    async with line.working():
        await line.judged(await line.send("old", 15))
        await line.delete()
        for seen in line.seen:
            await until(lambda seen=seen: seen.kafka_told[-1][1] is not None, seconds=15)  # type: ignore[misc]
            up, why = seen.kafka_told[-1]
            assert up
            assert why is not None
            assert f"has no topic {line.topic!r} any more" in why
        await asyncio.sleep(8)  # longer than it takes to let the partitions go
        await line.create(1)
        await line.judged(await line.send("new", 6, 1))
        for seen in line.seen:
            await until(lambda seen=seen: seen.kafka_told[-1] == (True, None), seconds=15)  # type: ignore[misc]
    await line.assert_all_judged_once()


@pytest.mark.parametrize("new", [6, 60], ids=["shorter", "longer than before"])
async def test_a_topic_made_anew_while_nobody_reads(line: Line, new: int) -> None:
    """It is read from its first record, by the group that begins at the end too."""
    async with line.working():
        await line.judged(await line.send("old", 15))
    await line.delete()
    await line.create()
    sent = await line.send("new", new)
    async with line.working():
        await line.judged(sent)
    await line.assert_all_judged_once()


async def test_records_that_expired_while_nobody_read(line: Line) -> None:
    """They are counted, to the record; the rest is judged, by the group that begins at the end too."""
    async with line.working():
        await line.judged(await line.send("old", 15))
    sent = await line.send("gone", 30)
    await line.expire(before=9)
    left = [frame for number, frame in enumerate(sent) if number // PARTITIONS + 5 >= 9]
    async with line.working():
        await line.judged(left)
        assert line.breaks() == [{(number, "expired", 4) for number in range(PARTITIONS)}] * 2
    await line.assert_all_judged_once(line.ids[:15] + left)


async def test_records_that_expire_while_others_are_judged(line: Line) -> None:
    """What was read is judged, what was not is counted: together they are all there were."""
    gate = threading.Event()
    line.engine = lambda: ScriptedEngine(gate=gate)
    line.groups = [replace(config, partition_buffer_frames=2, fetch_max_bytes=1) for config in line.groups]
    async with line.working():
        await line.send("slow", 600)
        await until(lambda: all(sum(seen.received.values()) > 20 for seen in line.seen))
        await line.expire(before=190)
        gate.set()
        await line.judged(line.ids[-30:])
        await until(lambda: all(seen.log_breaks for seen in line.seen))
        await line.judged(await line.send("then", 6))
        lost = [sum(lost or 0 for *_, lost in seen.log_breaks) for seen in line.seen]
        assert {cause for seen in line.seen for _, cause, *_ in seen.log_breaks} == {"expired"}
    for found, missing in zip(await line.results(), lost, strict=True):
        assert set(found.values()) == {1}
        assert len(found) + missing == len(line.ids)
        assert missing > 0


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
async def test_partitions_that_are_added(line: Line, stopped: bool) -> None:
    """They are read from their first record; nothing is lost."""
    async with line.working():
        await line.judged(await line.send("old", 15))
        if not stopped:
            await line.grow(5)
            await line.judged(await line.send("new", 20, 5))
            assert line.breaks() == [{(3, "partition_added", 0), (4, "partition_added", 0)}] * 2
    if stopped:
        await line.grow(5)
        sent = await line.send("new", 20, 5)
        async with line.working():
            await line.judged(sent)
            assert line.breaks() == [{(3, "partition_added", 0), (4, "partition_added", 0)}] * 2
    await line.assert_all_judged_once()


@pytest.mark.parametrize("new", [0, 3, 6, 60], ids=["not written", "written", "grown as long", "grown beyond"])
async def test_a_log_that_was_cut_short_while_nobody_read(line: Line, new: int) -> None:
    """It is read on from the cut: what was written since has one result, and what was judged before has no other."""
    async with line.working():
        await line.judged(await line.send_singly("old", 5))
    await line.cut(offset=3)
    sent = await line.send("new", new)
    async with line.working():
        await line.judged(sent)
        await line.judged(await line.send("then", 6))
        assert line.breaks() == [{(number, "truncated", None) for number in range(PARTITIONS)}] * 2
    await line.assert_all_judged_once()


@pytest.mark.parametrize("new", [3, 6, 60], ids=["shorter", "as long as before", "longer"])
async def test_a_log_that_is_cut_short_while_it_is_read(line: Line, new: int) -> None:
    """It is read on from the cut, also where its end is what had been read, or lies behind that."""
    async with line.working():
        await line.judged(await line.send_singly("old", 6))
        await line.cut(offset=4)
        await line.judged(await line.send("new", new))
        assert line.breaks() == [{(number, "truncated", None) for number in range(PARTITIONS)}] * 2
    await line.assert_all_judged_once()


def test_the_broker_cuts_where_it_is_told(tmp_path: Path) -> None:
    """At the first batch that begins at the offset or behind it."""
    batches = [base.to_bytes(8, "big") + (4).to_bytes(4, "big") + b"body" for base in (0, 2, 5)]
    folder = tmp_path / "data" / "t-0"
    folder.mkdir(parents=True)
    (folder / "00.log").write_bytes(b"".join(batches))
    (folder / "00.index").touch()
    made = Broker.__new__(Broker)
    made.directory = tmp_path
    made.cut("t", 0, 3)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"00.log": b"".join(batches[:2])}
