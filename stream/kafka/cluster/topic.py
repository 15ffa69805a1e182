"""What the brokers say of a topic now: its id, its partitions and their leaders, and where a leader epoch ends."""

import random
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    NoBrokersAvailable,
    UnknownTopicOrPartitionError,
    for_code,
)

from patchline.stream.kafka.cluster.requests import (
    NO_ID,
    EpochEndsRequest,
    TopicRequest,
    UnsupportedRequestError,
    send_to,
)

_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class TopicSeen:
    """A topic as a broker told it."""

    id: str | None
    """As Kafka's tools print it. A topic that is made anew has another. None: the brokers tell no ids."""
    epochs: Mapping[int, int | None]
    """Of each partition: the epoch of its leader, which is another after each election; None where it is not told."""
    leaderless: tuple[int, ...] = ()
    """The partitions that nobody serves now."""


async def look_at(client: AIOKafkaClient, topic: str) -> TopicSeen | None:
    """Ask the brokers, in any order until one answers, what they know of a topic.

    Args:
        client: that of a consumer.
        topic: its name.

    Returns:
        None where there is no such topic, or none that this user may see.

    Raises:
        KafkaError: no broker answers, or they refuse.
    """
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    failure: KafkaError = NoBrokersAvailable("no broker is known")
    for node in nodes:
        try:
            answer = await send_to(client, node, TopicRequest(topic))
        except UnsupportedRequestError as error:
            failure = KafkaError(f"the brokers are too old: {error}")
        except KafkaError as error:
            failure = error
        else:
            return _seen(answer, topic)
    raise failure


def _seen(answer: object, topic: str) -> TopicSeen | None:
    version, topics = answer.API_VERSION, answer.topics  # type: ignore[attr-defined] # aiokafka has no types
    for code, name, *rest in topics:
        if name != topic:
            continue
        error = for_code(code)
        if error is UnknownTopicOrPartitionError:
            return None
        if code and error is not LeaderNotAvailableError:
            raise error(topic)
        if version < 10:
            (_, partitions), topic_id = rest, None
            epochs = {number: None for _, number, *_ in partitions}
        else:
            raw_id, _, partitions, *_ = rest
            topic_id = None if raw_id == NO_ID else urlsafe_b64encode(raw_id).decode().rstrip("=")
            epochs = {number: None if epoch < 0 else epoch for _, number, _, epoch, *_ in partitions}
        leaderless = tuple(sorted(number for _, number, leader, *_ in partitions if leader < 0))
        return TopicSeen(topic_id, epochs, leaderless)
    return None


async def epoch_ends(
    client: AIOKafkaClient, topic: str, epochs: Mapping[int, int], present: Mapping[int, int] | None = None
) -> dict[int, int | None]:
    """Ask the leaders of partitions where the records end that were written in an epoch, or before it.

    Args:
        client: that of a consumer; it knows the leaders.
        topic: the partitions' topic.
        epochs: by partition.
        present: by partition: the leader's epoch as it was told. A leader that has another gives no answer.

    Returns:
        By partition: the offset behind them; None where its leader knows of no such epoch, or is too old to tell. A
        partition whose leader cannot tell now, or is away, is left out.
    """
    by_leader = defaultdict[int, dict[int, int]](dict)
    for number, epoch in epochs.items():
        leader = client.cluster.leader_for_partition(TopicPartition(topic, number))
        if leader is not None and leader >= 0:
            by_leader[leader][number] = epoch
    ends: dict[int, int | None] = {}
    for leader, asked in by_leader.items():
        try:
            answer = await send_to(client, leader, EpochEndsRequest(topic, asked, present or {}))
        except UnsupportedRequestError:
            ends |= dict.fromkeys(asked)
            continue
        except KafkaError:
            continue  # one leader that is away keeps nobody from those of the others
        for _, partitions in answer.topics:
            ends |= {number: None if end == _UNKNOWN else int(end) for code, number, _, end in partitions if not code}
    return ends
