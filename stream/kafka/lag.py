"""How far a worker's partitions are behind: what is in the topic and not done."""

import asyncio
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from patchline.stream.model.observer import Observer


async def watch_lag(
    consumer: AIOKafkaConsumer,
    committed: Mapping[TopicPartition, int | None],
    observer: Observer,
    *,
    interval_s: float,
    read_to: Callable[[TopicPartition], int | None] = lambda _: None,
) -> None:
    """Tell the observer of the lag of each partition again and again, until cancelled.

    What lies behind the last frame that is done may be no frame: ends of transactions have offsets too, and so has what
    was aborted. The consumer passes over it, so where nothing is in flight its position counts.

    Args:
        consumer: knows the ends of partitions, and where it reads those of which nothing was done.
        committed: of each partition held, as it changes: the next offset to be done; None before its first frame.
        observer: told of lags in frames, and when they cannot be had.
        interval_s: from one look to the next, seconds.
        read_to: of a partition that is read: the offset behind the last frame that was taken in.
    """
    while True:
        await asyncio.sleep(interval_s)
        try:
            ends = await consumer.end_offsets(list(committed))
            for partition, end in ends.items():
                done = committed.get(partition)
                if done is None:
                    done = await consumer.position(partition)
                elif (read := read_to(partition)) is not None and read <= done:
                    done = max(done, await consumer.position(partition))
                observer.consumer_lag(partition.topic, partition.partition, max(0, end - done))
        except (KafkaError, IllegalStateError) as error:
            observer.retrying("consumer lag", error, 1)
