"""Where to read on after what was committed, and offsets that the consumer commits."""

import asyncio
from typing import Literal

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaTimeoutError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka import offsets as module
from patchline.stream.kafka.cluster.log_break import PartedLog
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import LogNote
from patchline.stream.kafka.offsets import ConsumerOffsets, committed_offset, takeover_of
from patchline.stream.model.errors import LogBreak, SourceError, SourceUnavailableError
from tests.stream.kafka.scripted_clients import ScriptedConsumer

CONFIG = KafkaConfig(frames_topic="frames")
P, OTHER = TopicPartition("frames", 0), TopicPartition("frames", 1)
WORKING, LEFT = '{"in_flight":4}', ""
BEGAN = '{"in_flight":4,"log":{"partitions":3}}'


@pytest.fixture
def consumer() -> ScriptedConsumer:
    made = ScriptedConsumer()
    made.firsts, made.ends = {P: 3}, {P: 50}
    return made


def never(partition: TopicPartition) -> None:
    """Nothing is lost here but by a rebalance."""
    raise AssertionError(partition)


async def test_what_the_group_has_committed_is_asked_of_its_coordinator(consumer: ScriptedConsumer) -> None:
    """With its metadata; a negative offset is none."""
    assert await committed_offset(consumer, P) is None
    for offset, found in ((-1, False), (0, True), (9, True)):
        consumer.metadata[P] = OffsetAndMetadata(offset, "note")
        assert (await committed_offset(consumer, P) == OffsetAndMetadata(offset, "note")) is found


@pytest.mark.parametrize(("start", "expected"), [("earliest", 3), ("latest", 50)])
async def test_a_group_without_an_offset_begins_as_configured(
    consumer: ScriptedConsumer, start: Literal["earliest", "latest"], expected: int
) -> None:
    """At either end of the partition, and that is committed before anything is read."""
    config = KafkaConfig(frames_topic="frames", start=start)
    taken = await takeover_of(None, P, consumer, config=config, window=4)
    assert (taken.start, taken.as_found, taken.notes.suspects(taken.start)) == (expected, False, 0)
    assert (taken.parted, taken.notes.log) == (None, LogNote(partitions=3))


async def test_after_an_owner_that_left_in_order_nothing_is_suspect(consumer: ScriptedConsumer) -> None:
    """The note changes all the same: from now on frames may be in flight."""
    taken = await takeover_of(OffsetAndMetadata(9, LEFT), P, consumer, config=CONFIG, window=4)
    assert (taken.start, taken.as_found, taken.notes.suspects(9)) == (9, False, 0)
    assert taken.notes.metadata(9) == WORKING


async def test_after_a_crash_the_frames_up_to_the_end_are_suspect(consumer: ScriptedConsumer) -> None:
    """As many as may have been in flight, and none that was produced later."""
    consumer.ends[P] = 11
    taken = await takeover_of(OffsetAndMetadata(9, WORKING), P, consumer, config=CONFIG, window=4)
    assert (taken.start, taken.notes.suspects(9), taken.notes.suspects(11)) == (9, 4, 0)
    assert not taken.as_found
    again = taken.notes.metadata(9)
    assert (await takeover_of(OffsetAndMetadata(9, again), P, consumer, config=CONFIG, window=4)).as_found


async def test_offsets_are_committed_with_their_notes(consumer: ScriptedConsumer) -> None:
    """At the takeover, after each delivery, before a frame is alone, and when the partition is left in order."""
    offsets = ConsumerOffsets(CONFIG, window=4)
    assert not offsets.outlives_membership
    taken = await offsets.take_over(P, consumer, never)
    await offsets.commit(P, 5)
    await offsets.try_alone(P, 5)
    await offsets.give_up([P, OTHER], in_order=True)
    assert taken.start == 3
    assert consumer.commits == [
        {P: OffsetAndMetadata(3, BEGAN)},
        {P: OffsetAndMetadata(5, BEGAN)},
        {P: OffsetAndMetadata(5, BEGAN)},  # a frame that no crash speaks against
        {P: OffsetAndMetadata(5, '{"log":{"partitions":3}}')},
    ]
    await offsets.commit(P, 6)
    await offsets.try_alone(P, 6)
    await offsets.give_up([P], in_order=True)
    assert len(consumer.commits) == 4, "a partition that was given up is nobody's to commit here"


async def test_a_frame_tried_alone_is_noted_as_alone(consumer: ScriptedConsumer) -> None:
    """So that whoever finds the note knows which frame crashed the worker."""
    consumer.metadata[P] = OffsetAndMetadata(9, WORKING)
    offsets = ConsumerOffsets(CONFIG, window=4)
    taken = await offsets.take_over(P, consumer, never)
    taken.notes.take(9)
    await offsets.try_alone(P, 9)
    assert [offset.metadata for commit in consumer.commits for offset in commit.values()] == [
        '{"in_flight":4,"until":50}',
        '{"in_flight":4,"until":50,"alone":true}',
    ]


async def test_a_takeover_that_finds_its_own_note_commits_nothing(consumer: ScriptedConsumer) -> None:
    """One commit less."""
    consumer.metadata[P] = OffsetAndMetadata(9, '{"in_flight":4,"until":50}')
    await ConsumerOffsets(CONFIG, window=4).take_over(P, consumer, never)
    assert consumer.commits == []


async def test_a_partition_that_is_not_left_in_order_keeps_its_note(consumer: ScriptedConsumer) -> None:
    """Frames of it are in flight, as far as anyone knows."""
    offsets = ConsumerOffsets(CONFIG, window=4)
    await offsets.take_over(P, consumer, never)
    await offsets.give_up([P], in_order=False)
    assert len(consumer.commits) == 1


@pytest.mark.parametrize("error", [CommitFailedError("moved on"), IllegalStateError("moved on")])
async def test_a_group_that_has_moved_on_is_no_failure(consumer: ScriptedConsumer, error: Exception) -> None:
    """Whoever has the partition now reads the frames again; the offset here stays where it was."""
    offsets = ConsumerOffsets(CONFIG, window=4)
    await offsets.take_over(P, consumer, never)
    consumer.fails = [error]
    await offsets.commit(P, 8)
    await offsets.give_up([P], in_order=True)
    assert consumer.commits[-1] == {P: OffsetAndMetadata(3, '{"log":{"partitions":3}}')}


async def test_errors_are_told_but_for_those_of_a_farewell(
    consumer: ScriptedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where leaving in order fails, or takes too long, the next owner takes it for a crash."""
    offsets = ConsumerOffsets(CONFIG, window=4)
    consumer.fails = [KafkaTimeoutError("late")]
    with pytest.raises(SourceUnavailableError, match="late"):
        await offsets.take_over(P, consumer, never)
    await offsets.take_over(P, consumer, never)
    consumer.fails = [TopicAuthorizationFailedError("frames")]
    with pytest.raises(SourceError, match="no right to topic frames"):
        await offsets.commit(P, 8)
    consumer.fails = [KafkaTimeoutError("late")]
    await offsets.give_up([P], in_order=True)
    await offsets.take_over(P, consumer, never)
    monkeypatch.setattr(module, "FAREWELL_S", 0.05)

    async def hangs(commit: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(consumer, "commit", hangs)
    async with asyncio.timeout(10):
        await offsets.give_up([P], in_order=True)


async def test_an_offset_whose_log_is_another_is_not_read_on_from(consumer: ScriptedConsumer) -> None:
    """By what was noted with it and what the brokers say: the frames in flight at a crash are not there either."""
    cluster = consumer.cluster
    cluster.topic_id = bytes(15) + b"\x01"
    for noted, start, parted, suspects in (
        ('{"in_flight":4,"log":{"topic":"old","partitions":1}}', 3, LogBreak.RECREATED, 0),
        ('{"in_flight":4,"log":{"topic":"AAAAAAAAAAAAAAAAAAAAAQ","epoch":2,"before":9}}', 7, LogBreak.TRUNCATED, 0),
        ('{"in_flight":4,"log":{"topic":"AAAAAAAAAAAAAAAAAAAAAQ","epoch":3,"before":9}}', 9, None, 4),
        ('{"in_flight":4}', 9, None, 4),
    ):
        cluster.epoch_ends = {(0, 2): 7, (0, 3): 9}
        taken = await takeover_of(OffsetAndMetadata(9, noted), P, consumer, config=CONFIG, window=4)
        assert (taken.start, taken.parted and taken.parted.cause) == (start, parted)
        assert taken.notes.suspects(start) == suspects
        assert taken.notes.log is not None
        assert taken.notes.log.topic == "AAAAAAAAAAAAAAAAAAAAAQ"
        assert not taken.as_found or parted is None
        assert taken.notes.log.epoch == {3: None, 7: 2}.get(start, 3 if "epoch" in noted else None)
        assert taken.notes.log.before == (None if taken.notes.log.epoch is None else start)


async def test_a_leader_that_does_not_tell_of_its_epochs_now_is_asked_again(consumer: ScriptedConsumer) -> None:
    """Else a log that was cut short would be read on as if it were not; at a log's end its epoch is noted."""
    cluster = consumer.cluster
    cluster.topic_id = bytes(15) + b"\x01"
    noted = '{"log":{"topic":"AAAAAAAAAAAAAAAAAAAAAQ","epoch":2,"before":9}}'
    cluster.partitions[0] = (-1, 3)
    with pytest.raises(NotLeaderForPartitionError):
        await takeover_of(OffsetAndMetadata(9, noted), P, consumer, config=CONFIG, window=4)
    cluster.partitions[0] = (1, 3)
    cluster.epoch_ends = {(0, 3): 50}
    for offset, epoch in ((50, 3), (49, None)):
        taken = await takeover_of(OffsetAndMetadata(offset, ""), P, consumer, config=CONFIG, window=4)
        assert taken.notes.log is not None
        assert (taken.notes.log.epoch, taken.notes.log.before) == (epoch, None if epoch is None else 50)


async def test_frames_that_expired_after_a_crash_are_not_waited_for(consumer: ScriptedConsumer) -> None:
    """Those that are left of the suspects are tried alone."""
    taken = await takeover_of(OffsetAndMetadata(1, WORKING), P, consumer, config=CONFIG, window=4)
    assert taken.parted == PartedLog(LogBreak.EXPIRED, 1, 3, 2)
    assert (taken.start, taken.notes.suspects(3)) == (3, 4)


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_partition_that_was_added_is_read_whole(
    consumer: ScriptedConsumer, start: Literal["earliest", "latest"]
) -> None:
    """The group has offsets of others, which say how many there were when it began."""
    config = KafkaConfig(frames_topic="frames", start=start)
    consumer.metadata[OTHER] = OffsetAndMetadata(5, '{"log":{"partitions":2}}')
    added = TopicPartition("frames", 2)
    taken = await takeover_of(None, added, consumer, config=config, window=4)
    assert taken.parted == PartedLog(LogBreak.PARTITION_ADDED, None, 0, 0)
    assert taken.notes.log == LogNote(partitions=2)
    begun = await takeover_of(None, P, consumer, config=config, window=4)
    assert (begun.start, begun.parted) == (3 if start == "earliest" else 50, None)


async def test_a_topic_that_is_not_there_is_not_taken_over(consumer: ScriptedConsumer) -> None:
    """It may come back: another attempt may succeed."""
    consumer.cluster.there = False
    with pytest.raises(SourceUnavailableError):
        await ConsumerOffsets(CONFIG, window=4).take_over(P, consumer, never)


async def test_ids_that_the_worker_has_seen_tell_a_topic_made_anew(consumer: ScriptedConsumer) -> None:
    """The brokers have forgotten the offset with the old topic."""
    consumer.cluster.topic_id = bytes(15) + b"\x01"
    config = KafkaConfig(frames_topic="frames", start="latest")
    taken = await ConsumerOffsets(config, window=4).take_over(P, consumer, never, ["old"])
    assert taken.parted == PartedLog(LogBreak.RECREATED, None, 3, None)
