"""Kafka over TLS with logins and ACLs: the documented rights are enough, and what is refused is named."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import ping
from patchline.stream.kafka.feedback import KafkaFeedback
from patchline.stream.kafka.result_logs import KafkaResultLogs
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.kafka.topics import ensure_topics
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.errors import SinkError, SourceError, SourceUnavailableError, StreamError
from patchline.stream.model.feedback import (
    Feedback,
    FeedbackOutcome,
    FeedbackReply,
    FeedbackVerdict,
    GenerationAnnounced,
)
from patchline.stream.model.result import GenerationRef
from patchline.stream.support.deadline import Deadline
from tests.services.certificates import Certificates, certificates
from tests.services.kafka_guarded import GuardedBroker, documented_rights
from tests.services.process import ServiceUnavailableError
from tests.stream.alarms.test_store import outcomes
from tests.stream.kafka_help import FRAME_BYTES, nothing_in_flight, produce, read_topic, worker
from tests.stream.readme_examples import examples
from tests.stream.scripted import Recorder, jpeg
from tests.stream.waiting import until

pytestmark = pytest.mark.slow

INSPECTING, ALARMS, LEARNING = (
    documented_rights(examples(kind)[0]) for kind in ("rights", "rights of alarms", "rights of learning")
)
WORD = "correct-horse"
USERS = {
    "patchline": INSPECTING,
    "alarming": INSPECTING + ALARMS,
    "learning": INSPECTING + LEARNING,
    "no-frames": [right for right in INSPECTING if right[3] != "Read" or right[0] != "topic"],
    "no-results": [right for right in INSPECTING if right[1] != "patchline.results"],
    "no-group": [right for right in INSPECTING if right[0] != "group"],
    "no-transactions": [right for right in INSPECTING if right[0] != "transactional_id"],
    "no-alarm-group": INSPECTING + [right for right in ALARMS if right[0] != "group"],
    "no-replies": [right for right in LEARNING if right[1] != "patchline.feedback-replies"],
    "no-learning-group": [right for right in LEARNING if right[0] != "group"],
}
"""By name: the documented rights, and users that lack one of them."""


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def broker(pem: Certificates, unavailable: Callable[[Exception], None]) -> Iterator[GuardedBroker]:
    """With the topics, and the users."""
    try:
        with GuardedBroker(pem, dict.fromkeys(USERS, WORD)) as guarded:
            guarded.start_broker()
            asyncio.run(_prepare(guarded))
            yield guarded
    except ServiceUnavailableError as error:
        unavailable(error)


async def _prepare(broker: GuardedBroker) -> None:
    inside = KafkaConfig(bootstrap_servers=broker.inside)
    await ensure_topics(inside, max_frame_bytes=FRAME_BYTES, replication=1, learning=True)
    for user, rights in USERS.items():
        await broker.grant(user, rights)


@pytest.fixture
def config(broker: GuardedBroker, pem: Certificates) -> KafkaConfig:
    """How the user `patchline` connects."""
    return KafkaConfig(
        bootstrap_servers=broker.bootstrap,
        security="SASL_SSL",
        username="patchline",
        password=WORD,
        ca_file=pem.authority,
    )


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
async def test_the_documented_rights_are_enough(
    broker: GuardedBroker, config: KafkaConfig, mechanism: Literal["SCRAM-SHA-512", "PLAIN"]
) -> None:
    """Read, judged, committed in transactions over TLS, with the rights of the README and no other."""
    config, inside = replace(config, mechanism=mechanism), KafkaConfig(bootstrap_servers=broker.inside)
    frames = [(f"{mechanism}-{n}", "cam-1", b"text" if n == 3 else jpeg(50)) for n in range(8)]
    assert await ensure_topics(config, max_frame_bytes=FRAME_BYTES) == []
    await produce(inside, frames)
    seen = Recorder()
    pipeline = worker(config, seen)
    running = asyncio.create_task(pipeline.run())
    await until(lambda: running.done() or len(seen.results) == 8)
    await pipeline.drain(Deadline(20))
    await running
    for topic, count in ((config.results_topic, 8), (config.dead_letter_topic, 1)):
        ids = [dict(record.headers)["ce_id"].decode() for record in await read_topic(inside, topic)]
        assert sum(frame_id.startswith(mechanism) for frame_id in ids) == count


async def test_the_documented_rights_are_enough_for_alarms(
    broker: GuardedBroker, config: KafkaConfig, redis_url: str, unique_name: Callable[[str], str]
) -> None:
    """Alarms follow the committed results, with the rights of the README; without their group's, it is named."""
    where, rule = RedisConfig(url=redis_url, prefix=unique_name("p") + ":"), AlarmConfig(k=1, n=1, m=1)

    def sink_of(user: str) -> AlarmSink:
        return AlarmSink(where, rule, KafkaResultLogs(replace(config, username=user), observer=seen), observer=seen)

    seen = Recorder()
    publisher = AtLeastOnceSink(replace(config, username="alarming"))
    await publisher.deliver(outcomes("R", camera="alarmed"))
    await publisher.close()
    alarms = sink_of("alarming")
    await alarms.open()
    await until(lambda: len(seen.alarm_events) == 1)
    await alarms.close()
    refused = sink_of("no-alarm-group")
    with pytest.raises(SinkError, match=r"needs READ on group patchline\.alarms"):
        await _delivering(refused)
    await refused.close()


async def _delivering(sink: AlarmSink) -> None:
    async with asyncio.timeout(60):
        await sink.open()
        while True:
            await sink.deliver([])
            await asyncio.sleep(0.05)


async def test_the_documented_rights_are_enough_for_learning(config: KafkaConfig) -> None:
    """Feedback handed in, read, answered and announced, with the rights of the README; what is missing is named."""
    inbox = KafkaFeedback(replace(config, username="learning"))
    await inbox.open()
    given = Feedback(
        feedback_id="f-1",
        recipe="plate",
        frame_id="cam-1/1",
        verdict=FeedbackVerdict.CONFIRM_GOOD,
        operator="ada",
        time=datetime.now(UTC),
    )
    await inbox.submit(given)
    async with asyncio.timeout(60):
        assert await anext(inbox.feedback()) == given
    answer = FeedbackReply(feedback_id="f-1", recipe="plate", outcome=FeedbackOutcome.UNCHANGED, time=given.time)
    await inbox.answer(given, answer)
    announced = GenerationAnnounced(
        recipe="plate", generation=GenerationRef(number=1, sha256="5" * 64), rows=1, threshold=1.0, time=given.time
    )
    await inbox.announce(announced)
    async with asyncio.timeout(60):
        assert await anext(inbox.announced()) == announced
    await inbox.close()
    for user, named in (
        ("no-replies", r"needs READ, WRITE and DESCRIBE on patchline\.feedback-replies"),
        ("no-learning-group", r"needs READ on group patchline\.learning"),
    ):
        refused = KafkaFeedback(replace(config, username=user))
        with pytest.raises(SourceError, match=named):
            await asyncio.wait_for(_answering(refused), 60)
        await refused.close()


async def _answering(inbox: KafkaFeedback) -> None:
    await inbox.open()
    await anext(inbox.feedback())


@pytest.mark.parametrize(
    ("user", "named"),
    [
        (
            "no-frames",
            "no right to topic patchline.frames: user 'no-frames' needs READ and DESCRIBE on patchline.frames",
        ),
        ("no-results", "no right to topic patchline.results: .* WRITE and DESCRIBE on patchline.results"),
        ("no-group", "needs READ on group patchline"),
        ("no-transactions", "needs WRITE and DESCRIBE on the transactional ids that begin with patchline/"),
    ],
)
async def test_a_missing_right_stops_the_worker_and_is_named(
    broker: GuardedBroker, config: KafkaConfig, user: str, named: str
) -> None:
    """It neither goes on without, nor tries for ever: it ends with what the administrator has to grant."""
    await produce(KafkaConfig(bootstrap_servers=broker.inside), [("f", "cam-1", jpeg(50))])
    pipeline = worker(replace(config, username=user), Recorder())
    with pytest.raises((SinkError, SourceError), match=named):
        await asyncio.wait_for(pipeline.run(), 60)


async def test_a_topic_that_is_not_shown_is_said_to_need_a_right(config: KafkaConfig) -> None:
    """Brokers hide what a user may not describe: the message says so, and that it may come yet."""
    source = KafkaSource(replace(config, frames_topic="patchline.hidden"))
    with pytest.raises(SourceUnavailableError, match="or shows it only to who has the right to it"):
        await source.open(nothing_in_flight)


async def test_who_is_not_let_in_is_told_why(config: KafkaConfig, pem: Certificates, tmp_path: Path) -> None:
    """A wrong password, user, authority or mechanism is named, and not tried again; the password is not shown."""
    for wrong, named in (
        ({"password": "wrong-horse"}, "refuses the login of user 'patchline' by SCRAM-SHA-512"),
        ({"username": "nobody", "mechanism": "PLAIN"}, "refuses the login of user 'nobody' by PLAIN"),
        ({"ca_file": pem.stranger}, r"cannot be verified by .*stranger.pem .*expected ca_file"),
        ({"ca_file": None}, "cannot be verified by the system's certificate authorities"),
        ({"mechanism": "SCRAM-SHA-256"}, "SCRAM-SHA-256"),
    ):
        with pytest.raises(StreamError, match=named) as refused:
            await ensure_topics(replace(config, **wrong), max_frame_bytes=FRAME_BYTES)
        assert not refused.value.retriable
        assert "horse" not in str(refused.value)


async def test_every_client_that_is_not_let_in_ends_with_why(config: KafkaConfig, redis_url: str) -> None:
    """Whichever connects first: alarms, sinks, frames, feedback and the check of settings end; none tries for ever."""
    wrong = replace(config, password="wrong-horse")  # noqa: S106 - no secret
    alarms = AlarmSink(RedisConfig(url=redis_url), AlarmConfig(), KafkaResultLogs(wrong))
    opened: list[Callable[[], Awaitable[object]]] = [
        alarms.open,
        AtLeastOnceSink(wrong).open,
        partial(KafkaSource(wrong).open, nothing_in_flight),
        KafkaFeedback(wrong).open,
        partial(ping, wrong),
    ]
    for opening in opened:
        with pytest.raises(StreamError, match="refuses the login of user 'patchline' by SCRAM-SHA-512") as refused:
            await asyncio.wait_for(opening(), 60)
        assert not refused.value.retriable
        assert "horse" not in str(refused.value)
    await alarms.close()
    await ping(config)
