"""Topics that are made, with an admin client that does as the test says. Brokers: `test_source.py`."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError

from patchline.stream.kafka import topics as module
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import SourceError, SourceUnavailableError
from tests.stream.scripted import Recorder

CONFIG = KafkaConfig()
INSPECTING = [CONFIG.frames_topic, CONFIG.results_topic, CONFIG.dead_letter_topic]
LEARNING = [CONFIG.feedback_topic, CONFIG.feedback_replies_topic, CONFIG.generations_topic]


class Admin:
    """A cluster with topics and their limits."""

    def __init__(self, limits: dict[str, int | None]) -> None:
        self.limits, self.codes = limits, dict.fromkeys([*INSPECTING, *LEARNING], 0)
        self.created: dict[str, Any] = {}
        self.altered: dict[str, Any] = {}
        self.fails: list[Exception] = []
        self.stopped = 0
        self.refusal: Exception | tuple[int, str | None] = (0, None)
        """What the brokers say to a change."""
        self._client = self

    def get_random_node(self) -> int:
        return 1

    async def send(self, node: int, request: Any) -> Any:
        if isinstance(self.refusal, Exception):
            raise self.refusal
        self.altered[request.topic] = {request.setting: request.value}
        return SimpleNamespace(responses=[(*self.refusal, 2, request.topic)])

    async def start(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def stop(self) -> None:
        self.stopped += 1

    async def list_topics(self) -> list[str]:
        return list(self.limits)

    async def create_topics(self, topics: Sequence[Any]) -> Any:
        self.created = {topic.name: topic for topic in topics}
        return SimpleNamespace(topic_errors=[(topic.name, self.codes[topic.name], "no", "way") for topic in topics])

    async def describe_configs(self, resources: Sequence[Any]) -> list[Any]:
        limit = self.limits[resources[0].name]
        entries = [("retention.ms", "1", 0), ("max.message.bytes", str(limit), 0)] if limit is not None else []
        return [SimpleNamespace(resources=[(0, "", 2, resources[0].name, entries)])]


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    made = Admin({})
    monkeypatch.setattr(module, "new_admin", lambda _: made)
    return made


async def test_what_is_missing_is_made_with_room_for_the_largest_frame(admin: Admin) -> None:
    """Partitions as asked for; feedback takes images in base64; generations are compacted."""
    partitions = Partitions(frames=5, results=4, dead_letters=3, feedback=2)
    created = await ensure_topics(CONFIG, max_frame_bytes=3 * MIB, partitions=partitions, replication=2, learning=True)
    assert created == [*INSPECTING, *LEARNING]
    made = admin.created
    assert {name: topic.num_partitions for name, topic in made.items()} == dict(
        zip([*INSPECTING, *LEARNING], [5, 4, 3, 2, 1, 1], strict=True)
    )
    limits = {name: topic.topic_configs["max.message.bytes"] for name, topic in made.items()}
    assert limits == dict.fromkeys([*INSPECTING, *LEARNING], str(4 * MIB)) | {CONFIG.feedback_topic: str(5 * MIB)}
    compacted = {name for name, topic in made.items() if topic.topic_configs.get("cleanup.policy") == "compact"}
    assert compacted == {CONFIG.generations_topic}
    assert {topic.replication_factor for topic in made.values()} == {2}
    assert admin.stopped == 1
    assert admin.altered == {}


async def test_without_learning_its_topics_are_not_made(admin: Admin) -> None:
    """And the brokers' own replication is taken."""
    assert await ensure_topics(CONFIG, max_frame_bytes=MIB) == INSPECTING
    assert {topic.replication_factor for topic in admin.created.values()} == {-1}
    assert [topic.num_partitions for topic in admin.created.values()] == [6, 6, 1]


async def test_a_limit_is_raised_where_a_frame_would_not_fit(admin: Admin) -> None:
    """One that suffices is left alone, and so is one that this user may not ask for."""
    admin.limits = dict(zip(INSPECTING, [2 * MIB - 1, 2 * MIB, None], strict=True))
    seen = Recorder()
    assert await ensure_topics(CONFIG, max_frame_bytes=MIB, observer=seen) == []
    assert admin.altered == {CONFIG.frames_topic: {"max.message.bytes": str(2 * MIB)}}
    assert admin.created == {}
    assert seen.topic_settings == [(CONFIG.frames_topic, "max.message.bytes", str(2 * MIB - 1), str(2 * MIB), None)]
    assert seen.kafka_told == [(True, None)]


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        ((44, "not by this policy"), "not by this policy"),
        ((29, None), "TopicAuthorizationFailedError"),
        (NotImplementedError("v0"), "the brokers cannot change one setting alone"),
    ],
)
async def test_a_limit_that_cannot_be_raised_alone_is_left_and_told(
    admin: Admin, refusal: Exception | tuple[int, str | None], why: str
) -> None:
    """The worker starts all the same: smaller frames fit, and larger ones go by reference."""
    admin.limits, admin.refusal = dict.fromkeys(INSPECTING, MIB), refusal
    seen = Recorder()
    await ensure_topics(CONFIG, max_frame_bytes=MIB, observer=seen)
    assert {told for *_, told in seen.topic_settings} == {why}
    assert {topic for topic, *_ in seen.topic_settings} == set(INSPECTING)


async def test_a_topic_made_by_another_worker_meanwhile_is_no_failure(admin: Admin) -> None:
    """A right that is missing is one, and so are brokers that are away; the client is closed."""
    admin.codes[CONFIG.frames_topic] = 36
    assert await ensure_topics(CONFIG, max_frame_bytes=MIB) == INSPECTING
    admin.codes[CONFIG.frames_topic] = TopicAuthorizationFailedError.errno
    with pytest.raises(SourceError, match="no right to topic") as caught:
        await ensure_topics(CONFIG, max_frame_bytes=MIB)
    assert not caught.value.retriable
    admin.codes[CONFIG.frames_topic] = 38
    with pytest.raises(SourceError, match=r"topic patchline\.frames cannot be created: no way"):
        await ensure_topics(CONFIG, max_frame_bytes=MIB)
    assert admin.stopped == 3
    admin.fails = [KafkaTimeoutError("late")]
    seen = Recorder()
    with pytest.raises(SourceUnavailableError, match="late"):
        await ensure_topics(CONFIG, max_frame_bytes=MIB, observer=seen)
    ((up, why),) = seen.kafka_told
    assert (up, "late" in str(why)) == (False, True)
    assert admin.stopped == 4
