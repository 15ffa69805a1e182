"""The topics the stream needs, with room for the frames it takes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import BrokerResponseError, TopicAlreadyExistsError, for_code

from patchline.stream.kafka.cluster.requests import TopicSettingRequest, UnsupportedRequestError, send_to
from patchline.stream.kafka.config import RECORD_HEADROOM_BYTES, KafkaConfig
from patchline.stream.kafka.connection import close, connect, new_admin, source_errors
from patchline.stream.model.errors import SourceError
from patchline.stream.model.observer import Observer

_MAX_MESSAGE = "max.message.bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions:
    """How many partitions topics are created with; those that exist keep theirs."""

    frames: int = 6
    results: int = 6
    dead_letters: int = 1
    feedback: int = 6


async def ensure_topics(
    config: KafkaConfig,
    *,
    max_frame_bytes: int,
    partitions: Partitions | None = None,
    replication: int = -1,
    learning: bool = False,
    cameras: bool = False,
    observer: Observer | None = None,
) -> list[str]:
    """Create the topics that are missing, and raise `max.message.bytes` where a frame would not fit.

    Of a topic that exists nothing else is touched.

    Args:
        config: brokers and names.
        max_frame_bytes: what a frame may have; topics take 1 MiB more for key, headers and batch, and that of feedback
            a third more.
        partitions: how many a topic is created with.
        replication: how many replicas a topic is created with; -1 is the broker's default.
        learning: create also those of feedback, its replies, and generations (which is compacted).
        cameras: create also that of cameras' states.
        observer: told whether the brokers answer, and what was changed of topics that exist.

    Returns:
        The topics that were created.

    Raises:
        SourceUnavailableError: no broker answers.
        SourceError: the brokers refuse.
    """
    partitions = partitions or Partitions()
    wanted = {
        config.frames_topic: partitions.frames,
        config.results_topic: partitions.results,
        config.dead_letter_topic: partitions.dead_letters,
    }
    if learning:
        wanted |= {config.feedback_topic: partitions.feedback, config.feedback_replies_topic: 1}
        wanted[config.generations_topic] = 1
    if cameras:
        wanted[config.cameras_topic] = 1
    most_bytes = dict.fromkeys(wanted, max_frame_bytes + RECORD_HEADROOM_BYTES)
    most_bytes[config.feedback_topic] = max_frame_bytes * 4 // 3 + RECORD_HEADROOM_BYTES  # images in base64
    observer = observer or Observer()
    try:
        with source_errors(config):
            admin = await connect(new_admin(config), config)
            try:
                missing = await _create(admin, wanted, most_bytes, replication, compacted={config.generations_topic})
                for topic in sorted(wanted.keys() - set(missing)):
                    await _make_room(admin, topic, most_bytes[topic], observer)
            finally:
                await close(admin)
    except SourceError as error:
        observer.kafka(isinstance(error.__cause__, BrokerResponseError), str(error))
        raise
    observer.kafka(True, None)
    return missing


async def _create(
    admin: AIOKafkaAdminClient,
    wanted: Mapping[str, int],
    most_bytes: Mapping[str, int],
    replication: int,
    compacted: Collection[str],
) -> list[str]:
    """Create what is missing of the topics wanted, and return it. Raises KafkaError."""
    there = set(await admin.list_topics())
    missing = [name for name in wanted if name not in there]
    if missing:
        configs = {
            name: {_MAX_MESSAGE: str(most_bytes[name])} | ({"cleanup.policy": "compact"} if name in compacted else {})
            for name in missing
        }
        topics = [NewTopic(name, wanted[name], 1, topic_configs=configs[name]) for name in missing]
        for topic in topics:
            topic.replication_factor = replication  # the constructor refuses -1, brokers do not
        created = await admin.create_topics(topics)
        for name, code, *message in created.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(f"topic {name} cannot be created: {' '.join(map(str, message))}")
    return missing


async def _make_room(admin: AIOKafkaAdminClient, topic: str, most_bytes: int, observer: Observer) -> None:
    """Let a topic take records of so many bytes, where it does not. Raises KafkaError where the brokers are away."""
    limit = await _limit(admin, topic)
    if limit is None or limit >= most_bytes:
        return
    # The plain request to alter settings resets all that it does not name.
    refused: str | None = None
    client = admin._client
    try:
        request = TopicSettingRequest(topic, _MAX_MESSAGE, str(most_bytes))
        answer = await send_to(client, client.get_random_node(), request)
        for code, message, *_ in answer.responses:
            if code:
                refused = message or for_code(code).__name__
    except UnsupportedRequestError:
        refused = "the brokers cannot change one setting alone"
    observer.topic_setting(topic, _MAX_MESSAGE, str(limit), str(most_bytes), refused)


async def _limit(admin: AIOKafkaAdminClient, topic: str) -> int | None:
    """The largest record that a topic takes; None where this user may not ask."""
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    for response in responses:
        for _code, _message, _type, _name, entries in response.resources:
            for key, value, *_ in entries:
                if key == _MAX_MESSAGE:
                    return int(value)
    return None
