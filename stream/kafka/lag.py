"""How far a worker's partitions are behind: what is in the topic and not done."""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from patchline.stream.model.observer import Observer


async def watch_lag(
    consumer: AIOKafkaConsumer,
    committed: Mapping[TopicPartition, int | None],
    observer: Observer,
    *,
    interval_s: float,
) -> None:
    """Tell the observer of the lag of each partition again and again, until cancelled.

    Args:
        consumer: knows the ends of partitions, and where it reads those of which nothing was done.
        committed: of each partition held, as it changes: the next offset to be done; None before its first frame.
        observer: told of lags in frames, and when they cannot be had.
        interval_s: from one look to the next, seconds.
    """
    while True:
        await asyncio.sleep(interval_s)
        try:
            ends = await consumer.end_offsets(list(committed))
            for partition, end in ends.items():
                done = committed.get(partition)
                if done is None:
                    done = await consumer.position(partition)
                observer.consumer_lag(partition.topic, partition.partition, max(0, end - done))
        except (KafkaError, IllegalStateError) as error:
            observer.retrying("consumer lag", error, 1)
