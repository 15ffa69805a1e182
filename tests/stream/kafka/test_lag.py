"""How far partitions are behind."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaTimeoutError

from patchline.stream.kafka.lag import watch_lag
from tests.stream.kafka.scripted_clients import ScriptedConsumer
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

P = [TopicPartition("frames", number) for number in range(3)]


async def test_the_lag_is_what_is_in_the_topic_and_not_done() -> None:
    """From what was committed; before that, from where the consumer reads; never less than nothing."""
    consumer, seen = ScriptedConsumer(), Recorder()
    consumer.ends, consumer.positions = {P[0]: 10, P[1]: 10, P[2]: 10}, {P[1]: 4}
    committed: dict[TopicPartition, int | None] = {P[0]: 7, P[1]: None, P[2]: 12}
    watching = asyncio.create_task(watch_lag(consumer, committed, seen, interval_s=0.01))
    await until(lambda: len(seen.lag) == 3)
    assert seen.lag == {("frames", 0): 3, ("frames", 1): 6, ("frames", 2): 0}
    committed[P[0]] = 10
    await until(lambda: seen.lag["frames", 0] == 0)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_what_lies_behind_the_last_frame_and_is_none_does_not_lag() -> None:
    """Ends of transactions and what was aborted are passed over by the consumer; not while frames are in flight."""
    consumer, seen = ScriptedConsumer(), Recorder()
    consumer.ends, consumer.positions = dict.fromkeys(P, 20), dict.fromkeys(P, 19)
    committed: dict[TopicPartition, int | None] = dict.fromkeys(P, 10)
    read = {P[0]: 10, P[1]: 11}
    watching = asyncio.create_task(watch_lag(consumer, committed, seen, interval_s=0.01, read_to=read.get))
    await until(lambda: len(seen.lag) == 3)
    assert seen.lag == {("frames", 0): 1, ("frames", 1): 10, ("frames", 2): 10}
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_lag_that_cannot_be_had_is_told_and_asked_for_again() -> None:
    """Brokers that are away, and a partition that a rebalance has taken, end nothing."""
    consumer, seen = ScriptedConsumer(), Recorder()
    consumer.ends, consumer.fails = {P[0]: 5}, [KafkaTimeoutError("late"), IllegalStateError("not assigned")]
    watching = asyncio.create_task(watch_lag(consumer, {P[0]: 1}, seen, interval_s=0.01))
    await until(lambda: seen.lag == {("frames", 0): 4})
    assert [what for what, _ in seen.retries] == ["consumer lag"] * 2
    assert "late" in seen.retries[0][1]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
