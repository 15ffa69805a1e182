"""Kafka over TLS with logins and ACLs: the documented rights are enough, and what is refused is named."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stream.config import KafkaConfig
from stream.deadline import Deadline
from stream.errors import SinkError, SourceError, SourceUnavailableError, StreamError
from stream.kafka_source import KafkaSource
from stream.kafka_topics import ensure_topics
from tests.services.certificates import Certificates, certificates
from tests.services.kafka_guarded import GuardedBroker, documented_rights
from tests.services.process import REPOSITORY, ServiceUnavailableError
from tests.stream.kafka_help import FRAME_BYTES, produce, read_topic, until
from tests.stream.scripted import Recorder, jpeg
from tests.stream.test_kafka import worker

pytestmark = pytest.mark.slow

RIGHTS = documented_rights((REPOSITORY / "stream" / "README.md").read_text())
WORD = "correct-horse"
LESS = {
    "no-frames": [right for right in RIGHTS if right[3] != "Read" or right[0] != "topic"],
    "no-results": [right for right in RIGHTS if right[1] != "patchline.results"],
    "no-group": [right for right in RIGHTS if right[0] != "group"],
    "no-transactions": [right for right in RIGHTS if right[0] != "transactional_id"],
}
"""Users that lack one of the documented rights."""


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def broker(pem: Certificates, unavailable) -> Iterator[GuardedBroker]:
    """With the topics, and the users."""
    try:
        with GuardedBroker(pem, dict.fromkeys(("patchline", *LESS), WORD)) as guarded:
            guarded.start_broker()
            asyncio.run(_prepare(guarded))
            yield guarded
    except ServiceUnavailableError as error:
        unavailable(error)


async def _prepare(broker: GuardedBroker) -> None:
    await ensure_topics(KafkaConfig(bootstrap_servers=broker.inside), max_frame_bytes=FRAME_BYTES, replication=1)
    for user, rights in {"patchline": RIGHTS, **LESS}.items():
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
async def test_the_documented_rights_are_enough(broker: GuardedBroker, config: KafkaConfig, mechanism) -> None:
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
async def test_a_missing_right_stops_the_worker_and_is_named(broker, config, user, named) -> None:
    """It neither goes on without, nor tries for ever: it ends with what the administrator has to grant."""
    await produce(KafkaConfig(bootstrap_servers=broker.inside), [("f", "cam-1", jpeg(50))])
    pipeline = worker(replace(config, username=user), Recorder())
    with pytest.raises((SinkError, SourceError), match=named):
        await asyncio.wait_for(pipeline.run(), 60)


async def test_a_topic_that_is_not_shown_is_said_to_need_a_right(config) -> None:
    """Brokers hide what a user may not describe: the message says so, and that it may come yet."""
    source = KafkaSource(replace(config, frames_topic="patchline.hidden"))
    with pytest.raises(SourceUnavailableError, match="or shows it only to who has the right to it"):
        await source.open()


async def test_who_is_not_let_in_is_told_why(config, pem, tmp_path: Path) -> None:
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
