"""Requests of Kafka's protocol that aiokafka has no classes for, and how they are sent through its clients.

Topic ids came with Kafka 2.8 (KIP-516), ends of leader epochs with 0.11 (KIP-101), changes of one setting with 2.3
(KIP-339). What the brokers cannot do is an `UnsupportedRequestError`, and is done without.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v1, MetadataRequest_v4
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

NO_ID = bytes(16)
"""The id of a topic that has none."""


class UnsupportedRequestError(Exception):
    """The brokers are older than the request."""


class Uuid(AbstractType):  # type: ignore[misc] # aiokafka has no types
    """16 bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """The bytes themselves."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """The next 16 bytes."""
        return data.read(16)


class MetadataResponse_v10(Response):  # type: ignore[misc] # noqa: N801 - as the library names its own
    """Brokers, and topics with their ids and leader epochs."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequest_v10(RequestStruct):  # type: ignore[misc] # noqa: N801
    """Asks for topics by name."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = MetadataResponse_v10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicRequest(Request[MetadataRequest_v1 | MetadataRequest_v4 | MetadataRequest_v10]):  # type: ignore[misc]
    """Asks for one topic, without making it. Brokers that know no topic ids are asked without.

    Args:
        topic: its name.
    """

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def build(self, request_struct_class: type[Any]) -> Any:
        """The request in the version that the broker speaks."""
        version = request_struct_class.API_VERSION
        if version < MetadataRequest_v10.API_VERSION:
            return request_struct_class([self.topic], False) if version >= 4 else request_struct_class([self.topic])
        return request_struct_class([(NO_ID, self.topic, {})], False, False, False, {})


class OffsetForLeaderEpochResponse_v3(Response):  # type: ignore[misc] # noqa: N801
    """Where the records of a leader epoch end."""

    API_KEY = 23
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)),
                ),
            ),
        ),
    )


class OffsetForLeaderEpochRequest_v3(RequestStruct):  # type: ignore[misc] # noqa: N801
    """Asks for the end of an epoch in partitions' logs."""

    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = OffsetForLeaderEpochResponse_v3
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32)),
                ),
            ),
        ),
    )


class EpochEndsRequest(Request[OffsetForLeaderEpochRequest_v3]):  # type: ignore[misc]
    """Asks a leader where the records of epochs end.

    Args:
        topic: the partitions' topic.
        epochs: by partition: that of the leader when the records were written.
        present: by partition: that of the leader now, as far as it is known. A leader of another epoch refuses.
    """

    API_KEY = 23

    def __init__(self, topic: str, epochs: Mapping[int, int], present: Mapping[int, int]) -> None:
        self.topic, self.epochs, self.present = topic, epochs, present

    def build(self, request_struct_class: type[Any]) -> Any:
        """The request, as of a consumer (replica -1); a present epoch of -1 is not known."""
        partitions = [(number, self.present.get(number, -1), epoch) for number, epoch in self.epochs.items()]
        return request_struct_class(-1, [(self.topic, partitions)])


class IncrementalAlterConfigsResponse_v0(Response):  # type: ignore[misc] # noqa: N801
    """Whether settings were changed."""

    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class IncrementalAlterConfigsRequest_v0(RequestStruct):  # type: ignore[misc] # noqa: N801
    """Changes named settings and leaves all others."""

    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = IncrementalAlterConfigsResponse_v0
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class TopicSettingRequest(Request[IncrementalAlterConfigsRequest_v0]):  # type: ignore[misc]
    """Sets one setting of a topic.

    Args:
        topic: its name.
        setting: such as `max.message.bytes`.
        value: as text.
    """

    API_KEY = 44

    def __init__(self, topic: str, setting: str, value: str) -> None:
        self.topic, self.setting, self.value = topic, setting, value

    def build(self, request_struct_class: type[Any]) -> Any:
        """The request: resource type 2 is a topic, operation 0 sets."""
        resources = [(2, self.topic, [(self.setting, 0, self.value)])]
        return request_struct_class(resources, False)


async def send_to(client: AIOKafkaClient, node: int, request: Any) -> Any:
    """Send a request to a broker.

    Args:
        client: that of a consumer, or of an admin client.
        node: the broker's id.
        request: one of this file's.

    Raises:
        UnsupportedRequestError: the broker is too old for it.
        KafkaError: the broker is away, or does not answer.
    """
    try:
        return await client.send(node, request)
    except (NotImplementedError, IncompatibleBrokerVersion) as error:
        raise UnsupportedRequestError(str(error)) from error
