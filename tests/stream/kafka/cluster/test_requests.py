"""Requests of Kafka's protocol, to the byte as its documentation has them. Brokers: `../test_parted_logs.py`."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IncompatibleBrokerVersion, KafkaTimeoutError

from patchline.stream.kafka.cluster.requests import (
    EpochEndsRequest,
    IncrementalAlterConfigsResponse_v0,
    MetadataResponse_v10,
    OffsetForLeaderEpochResponse_v3,
    TopicRequest,
    TopicSettingRequest,
    UnsupportedRequestError,
    send_to,
)

TOPIC_ID = bytes(range(16))


def test_a_topic_is_asked_for_in_the_version_that_the_broker_speaks() -> None:
    """With ids from version 10 on; it is never made by asking, where the version lets one say so."""
    request = TopicRequest("t")
    new = request.prepare({3: (0, 13)})
    assert new.encode() == b"\x02" + bytes(16) + b"\x02t" + b"\x00" + b"\x00\x00\x00" + b"\x00"
    assert new.build_request_header(1, "c").encode() == b"\x00\x03\x00\x0a\x00\x00\x00\x01\x00\x01c\x00"
    assert request.prepare({3: (0, 9)}).encode() == b"\x00\x00\x00\x01\x00\x01t\x00"
    assert request.prepare({3: (0, 2)}).encode() == b"\x00\x00\x00\x01\x00\x01t"
    with pytest.raises(NotImplementedError):
        request.prepare({3: (0, 0)})


def test_topics_come_with_their_ids_and_epochs() -> None:
    """An answer is read back as it was written."""
    partition: tuple[Any, ...] = (0, 2, 7, 5, [7, 8], [7], [8], {})
    answer = MetadataResponse_v10(
        3, [(7, "host", 9092, None, {})], "cluster", 7, [(0, "t", TOPIC_ID, False, [partition], -1, {})], -1, {}
    )
    read = MetadataResponse_v10.decode(answer.encode())
    ((code, name, topic_id, internal, partitions, _, _),) = read.topics
    assert (code, name, topic_id, internal) == (0, "t", TOPIC_ID, False)
    assert partitions == [partition]
    assert read.brokers == [(7, "host", 9092, None, {})]


def test_ends_of_epochs_are_asked_for_as_by_a_consumer() -> None:
    """The present epoch where it is known, so that a leader of another refuses."""
    request = EpochEndsRequest("t", {0: 3, 1: 4}, {1: 5}).prepare({23: (2, 4)})
    one, two = b"\x00\x00\x00\x01", b"\x00\x00\x00\x02"
    unknown = b"\xff\xff\xff\xff"
    of_partitions = b"\x00\x00\x00\x00" + unknown + b"\x00\x00\x00\x03" + one + b"\x00\x00\x00\x05\x00\x00\x00\x04"
    assert request.encode() == unknown + one + b"\x00\x01t" + two + of_partitions
    answer = OffsetForLeaderEpochResponse_v3(0, [("t", [(0, 1, 4, 99)])])
    assert OffsetForLeaderEpochResponse_v3.decode(answer.encode()).topics == [("t", [(0, 1, 4, 99)])]


def test_one_setting_is_changed_and_no_other_named() -> None:
    """Operation 0 sets; what is not named stays."""
    request = TopicSettingRequest("t", "k", "v").prepare({44: (0, 1)})
    assert request.encode() == (
        b"\x00\x00\x00\x01\x02\x00\x01t\x00\x00\x00\x01\x00\x01k\x00\x00\x01v\x00"  # a topic, t: set k to v; not to try
    )
    answer = IncrementalAlterConfigsResponse_v0(0, [(44, "policy", 2, "t")])
    assert IncrementalAlterConfigsResponse_v0.decode(answer.encode()).responses == [(44, "policy", 2, "t")]


@pytest.mark.parametrize("error", [NotImplementedError("v0"), IncompatibleBrokerVersion("unknown")])
async def test_a_broker_that_is_too_old_is_told_apart_from_one_that_is_away(error: Exception) -> None:
    """What it cannot do is done without; what is away is asked again."""
    fails = [error, KafkaTimeoutError("late")]

    async def send(node: int, request: Any) -> None:
        assert node == 4
        raise fails.pop(0)

    client = SimpleNamespace(send=send)
    with pytest.raises(UnsupportedRequestError, match=str(error.args[0])):
        await send_to(client, 4, TopicRequest("t"))
    with pytest.raises(KafkaTimeoutError):
        await send_to(client, 4, TopicRequest("t"))
