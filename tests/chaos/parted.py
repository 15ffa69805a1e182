"""A line whose log and remembered offset part ways: what it takes to make that happen, and what is counted."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Literal, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, Crowd, Worker, until
from tests.chaos.line import settings_of
from tests.chaos.scrape import by_label, samples
from tests.chaos.tally import Tally
from tests.services.kafka import KafkaBroker
from tests.stream.scripted import jpeg

Start = Literal["earliest", "latest"]
PARTITIONS = 2
BEFORE = 10
"""Frames that are judged before anything happens."""
_NAMES = count()


class ForgetfulBroker(KafkaBroker):
    """Makes no topic by itself, and looks often for what its retention lets it delete."""

    def properties(self) -> dict[str, object]:
        """See `KafkaBroker`."""
        return super().properties() | {
            "auto.create.topics.enable": "false",
            "log.retention.check.interval.ms": 300,
            "log.initial.task.delay.ms": 300,
        }


@dataclass(kw_only=True)
class Parted:
    """One line, its worker, and what was sent.

    `kept` are the ids of frames that are in the log and must have one result; `gone` those that the log lost, which may
    have one; `again` those that may be judged once more.
    """

    config: KafkaConfig
    broker: KafkaBroker
    admin: AIOKafkaAdminClient
    crowd: Crowd
    tally: Tally
    running: bool
    start: Start
    kept: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    exact: bool = False
    """Whether it can be known how many frames were lost."""
    said: list[str] = field(default_factory=list)
    """What else was found wrong."""
    worker: Worker | None = None
    _ids: "count[int]" = field(default_factory=count)

    @classmethod
    @asynccontextmanager
    async def line(
        cls, folder: Path, broker: KafkaBroker, bank: Path, *, running: bool, start: Start
    ) -> AsyncIterator[Self]:
        """Topics, a worker that has judged the first frames, and a tally."""
        name = f"parted-{next(_NAMES)}"
        config = replace(
            KafkaConfig(bootstrap_servers=broker.bootstrap),
            group=name,
            frames_topic=f"{name}.frames",
            results_topic=f"{name}.results",
            dead_letter_topic=f"{name}.dead",
        )
        settings = settings_of(config, bank, session_timeout_s=10.0)
        settings["kafka"] |= {
            "frames_topic": config.frames_topic,
            "results_topic": config.results_topic,
            "dead_letters_topic": config.dead_letter_topic,
            "start": start,
        }
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(t, 1, 1) for t in (config.results_topic, config.dead_letter_topic)])
            with Crowd(folder / name, settings) as crowd:
                async with Tally(config) as tally:
                    line = cls(
                        config=config,
                        broker=broker,
                        admin=admin,
                        crowd=crowd,
                        tally=tally,
                        running=running,
                        start=start,
                    )
                    await line.make()
                    await line.resume()
                    await asyncio.sleep(1)  # until a worker that begins with the latest knows which that is
                    await line.send(BEFORE, timestamp_ms=hours_ago_ms(4))  # so that retention could have them
                    await line.judged()
                    yield line
                    for worker in crowd.running:
                        await worker.drain()
        finally:
            await admin.close()

    async def send(
        self, frames: int, *, timestamp_ms: int | None = None, partitions: Sequence[int] = range(PARTITIONS)
    ) -> list[str]:
        """Send so many to the partitions in turn; their ids, which are `kept` from now on."""
        ids = [f"f{next(self._ids)}" for _ in range(frames)]
        async with AIOKafkaProducer(bootstrap_servers=self.config.bootstrap_servers) as producer:
            for number, frame_id in enumerate(ids):
                partition = partitions[number % len(partitions)]
                headers = frame_headers(
                    frame_id=frame_id, camera=f"cam-{partition}", time=datetime.now(UTC), recipe=RECIPE
                )
                await producer.send_and_wait(
                    self.config.frames_topic, jpeg(66), headers=headers, partition=partition, timestamp_ms=timestamp_ms
                )
        self.kept |= set(ids)
        return ids

    def lose(self, ids: Sequence[str]) -> None:
        """These are no longer in the log."""
        self.kept -= set(ids)
        self.gone |= set(ids)

    async def judged(self, *, seconds: float = 90) -> None:
        """Wait until all that is in the log has a result, as long as it may take."""
        with suppress(AssertionError):
            await until(
                lambda: bool(self.crowd.running) and self.kept <= self.tally.seen.keys(), "results", seconds=seconds
            )

    async def pause(self) -> None:
        """Before it happens: the worker is stopped in order, where it is to happen to one that is stopped."""
        if not self.running and self.worker is not None:
            await self.worker.drain()

    @asynccontextmanager
    async def unread(self) -> AsyncIterator[None]:
        """What is sent inside is not read at once: a worker that runs is halted meanwhile."""
        await self.pause()
        if self.running and self.worker is not None:
            self.worker.send(signal.SIGSTOP)
        yield
        if self.running and self.worker is not None:
            self.worker.send(signal.SIGCONT)
        else:
            await self.resume()

    async def resume(self, *, owning: bool = True) -> None:
        """Start a worker, where none runs; `owning`: and wait until it has partitions."""
        if not self.crowd.running:
            self.worker = await (self.crowd.start_ready() if owning else self.crowd.start())

    async def make(self, **configs: str) -> None:
        """Make the topic of frames, as soon as the broker has forgotten one of that name."""
        topic = NewTopic(self.config.frames_topic, PARTITIONS, 1, topic_configs={"retention.ms": "-1"} | configs)
        code = -1
        async with asyncio.timeout(30):
            while code != 0:
                ((_, code, *_),) = (await self.admin.create_topics([topic])).topic_errors
                await asyncio.sleep(0.05)

    async def delete(self) -> None:
        """Delete the topic of frames with all that is in it."""
        await self.admin.delete_topics([self.config.frames_topic])
        async with asyncio.timeout(30):
            while self.config.frames_topic in await self.admin.list_topics():
                await asyncio.sleep(0.05)
        self.lose(sorted(self.kept))

    async def first_offset(self, partition: int) -> int:
        """Of what is in the log of a partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.config.bootstrap_servers)
        async with consumer:
            where = TopicPartition(self.config.frames_topic, partition)
            return int((await consumer.beginning_offsets([where]))[where])

    async def commit(self, offset: int) -> None:
        """Remember another offset for the group, which must be empty."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.config.bootstrap_servers, group_id=self.config.group, enable_auto_commit=False
        )
        async with consumer:
            partitions = [TopicPartition(self.config.frames_topic, number) for number in range(PARTITIONS)]
            consumer.assign(partitions)
            await consumer.commit({partition: OffsetAndMetadata(offset, "") for partition in partitions})

    async def counted(self) -> tuple[dict[str, float], dict[str, float]]:
        """Frames lost and breaks of logs, by cause, as the worker that runs counts them."""
        assert self.worker is not None
        found = await samples(self.worker)
        lost = by_label(found, "patchline_frames_lost_total", "cause")
        breaks = by_label(found, "patchline_log_breaks_total", "cause")
        return {k: v for k, v in lost.items() if v}, {k: v for k, v in breaks.items() if v}

    async def topics_known(self) -> bool:
        """Whether the broker answers."""
        with suppress(KafkaError, OSError):
            return bool(await self.admin.list_topics())
        return False


def hours_ago_ms(hours: float) -> int:
    """A record's timestamp."""
    return round((time.time() - hours * 3600) * 1000)
