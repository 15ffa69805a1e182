"""Looks at a topic again and again while it is read: whether the brokers answer, and whether it is still the same.

What the client library learns of a topic by itself may be five minutes old. A look is one request, every second; where
the library learns something new, which it does when a read fails, the next look comes at once, and what is read
meanwhile waits for it. So records of a topic that was made anew are not taken for those of the one before.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import BrokerResponseError, KafkaError

from patchline.stream.kafka.batches.guarded_fetch import waiting_for
from patchline.stream.kafka.cluster.topic import TopicSeen, epoch_ends, look_at
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import describe, refusal
from patchline.stream.kafka.crash_notes import CrashNotes, LogNote
from patchline.stream.model.errors import LogBreak
from patchline.stream.model.observer import Observer

_PAUSE_S = 1.0
_SHORTEST_PAUSE_S = 0.2
"""Between two looks, however often something new is learned."""
_ANSWER_S = 5.0
"""Brokers that take longer are away."""


class Watched(Protocol):
    """Whoever reads the topic's partitions."""

    def notes(self) -> Mapping[TopicPartition, tuple[CrashNotes, int]]:
        """Of each partition that is read: its notes, and the offset behind what was taken in."""

    def take_anew(self, partition: TopicPartition, cause: LogBreak) -> None:
        """Let a partition go and take it over again: its log is another."""


class TopicWatch:
    """Watches the topic of frames.

    Args:
        config: names the topic.
        consumer: whose partitions are watched.
        observer: told whether frames can be read.
        watched: asked for the partitions, and told of those whose log is another.
    """

    def __init__(self, config: KafkaConfig, consumer: AIOKafkaConsumer, observer: Observer, watched: Watched) -> None:
        self._config, self._observer, self._watched = config, observer, watched
        self._consumer, self._client = consumer, consumer._client
        self.known: set[str] = set()
        """The ids that the topic was seen with."""
        self.hindered: str | None = None
        """Why frames cannot be read though the brokers answer, as far as the reader knows."""
        self._wake = asyncio.Event()
        self._sure = asyncio.Event()
        self._sure.set()
        self._lacking = False

    async def run(self) -> None:
        """Look, until cancelled."""
        cluster = self._client.cluster
        cluster.add_listener(self._learned)
        try:
            while True:
                soonest = monotonic() + _SHORTEST_PAUSE_S
                await self.look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE_S):
                        await self._wake.wait()
                await asyncio.sleep(max(0, soonest - monotonic()))
        finally:
            cluster.remove_listener(self._learned)

    def saw(self, log: LogNote | None) -> str | None:
        """Remember the topic's id as it was found when a partition was taken over, and return it."""
        if log is None or log.topic is None:
            return None
        self.known.add(log.topic)
        return log.topic

    async def until_sure(self) -> None:
        """Return at once, unless the library has learned something new of the topic: then after a look at it."""
        await self._sure.wait()

    def doubt(self) -> None:
        """Let a look come at once, and what is read wait for it: it may be of another log."""
        self._sure.clear()
        self._wake.set()

    def _learned(self, cluster: object) -> None:  # noqa: ARG002 - it tells no ids
        self.doubt()

    async def look(self) -> None:
        """Look now, and tell the observer and whoever reads."""
        self._wake.clear()
        why: str | None
        try:
            async with asyncio.timeout(_ANSWER_S):
                seen = await look_at(self._client, self._config.frames_topic)
                why = self._why_not(seen)
                await self._compare(seen)
        except BrokerResponseError as error:
            self._observer.kafka(True, describe(error, self._config))
        except (KafkaError, TimeoutError) as error:
            self._observer.kafka(False, await self._why_away(error))
        else:
            self._observer.kafka(True, why)
            if not self._wake.is_set():
                self._sure.set()

    def _why_not(self, seen: TopicSeen | None) -> str | None:
        """Why frames cannot be read though the brokers answer; None where they can."""
        topic = self._config.frames_topic
        if seen is None:
            return f"Kafka at {self._config.bootstrap_servers} has no topic {topic!r} any more: it is waited for"
        held = sorted(partition.partition for partition in self._watched.notes())
        if leaderless := [number for number in held if number in seen.leaderless]:
            return f"Kafka at {self._config.bootstrap_servers}: nobody leads partition {leaderless[0]} of {topic} now"
        if (why := waiting_for(self._consumer, topic)) is not None:
            return f"Kafka at {self._config.bootstrap_servers}: {why}"
        return self.hindered

    async def _why_away(self, error: KafkaError | TimeoutError) -> str:
        if (refused := await refusal(self._config)) is not None:
            return f"Kafka at {self._config.bootstrap_servers}: {refused}"
        if isinstance(error, TimeoutError):
            return f"Kafka at {self._config.bootstrap_servers} does not answer within {_ANSWER_S:g} s"
        return describe(error, self._config)

    async def _compare(self, seen: TopicSeen | None) -> None:
        """Tell whoever reads of partitions whose log is another, and the library of what it has not yet learned."""
        topic = self._config.frames_topic
        learned = self._consumer.partitions_for_topic(topic) or set()
        if learned != (set() if seen is None else set(seen.epochs)):
            self._client.force_metadata_update()
        if seen is None:
            return
        if seen.id is None:
            if not self._lacking:
                self._observer.kafka_lacks("topic ids: a topic that is made anew is known by a shorter log only")
            self._lacking = True
        else:
            self.known.add(seen.id)
        notes = dict(self._watched.notes())
        for partition, (kept, _) in list(notes.items()):
            topic_read = None if kept.log is None else kept.log.topic
            if None not in (topic_read, seen.id) and topic_read != seen.id:
                del notes[partition]
                self._watched.take_anew(partition, LogBreak.RECREATED)
        await self._vouch(notes, seen)

    async def _vouch(self, notes: Mapping[TopicPartition, tuple[CrashNotes, int]], seen: TopicSeen) -> None:
        """Ask the leaders whether what was read last is still in the log, by the epoch that it was written in.

        Where the records of that epoch end earlier now, the log was cut short, however long it has grown since. Where
        they do not, records of the epoch that waited when the leader was asked may be taken in.
        """
        present = {at.partition: epoch for at in notes if (epoch := seen.epochs.get(at.partition)) is not None}
        read: dict[int, tuple[int, int]] = {}
        for at, (kept, read_to) in notes.items():
            if (known := kept.known(read_to)) is not None:
                read[at.partition] = known
            elif at.partition in present:  # of an epoch that is not known there is the log's end to compare
                read[at.partition] = present[at.partition], read_to
        awaited = {at: kept.awaited for at, (kept, _) in notes.items()}
        epochs = {number: epoch for number, (epoch, _) in read.items()}
        ends = await epoch_ends(self._client, self._config.frames_topic, epochs, present)
        newest = {  # where the last epoch that is known is not that of all that was read, the log's end says more
            at.partition: present[at.partition]
            for at, (_, read_to) in notes.items()
            if at.partition in present and read[at.partition][1] < read_to
        }
        log_ends = await epoch_ends(self._client, self._config.frames_topic, newest, present)
        for at, (kept, read_to) in notes.items():
            if at.partition not in ends:
                continue
            (epoch, before), end = read[at.partition], ends[at.partition]
            log_end = log_ends.get(at.partition)
            if (end is not None and end < before) or (log_end is not None and log_end < read_to):
                self._watched.take_anew(at, LogBreak.TRUNCATED)
                continue
            kept.admit(awaited[at])
            if end is None and epoch > present.get(at.partition, epoch):
                kept.disbelieve(epoch)
