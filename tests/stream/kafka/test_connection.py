"""How clients of Kafka are made, connected and closed, and what their errors mean. Brokers: `test_security.py`."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    InconsistentGroupProtocolError,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from patchline.stream.kafka import connection
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import (
    close,
    connect,
    describe,
    is_passing,
    needs_new_producer,
    new_admin,
    new_consumer,
    new_producer,
    ping,
    sink_errors,
    source_errors,
)
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import (
    ConfigError,
    SinkError,
    SinkUnavailableError,
    SourceError,
    SourceUnavailableError,
)

CONFIG = KafkaConfig(bootstrap_servers="one:9092, [::1]:9093", username="ada", group="line")
LOGIN: dict[str, Any] = {"security": "SASL_SSL", "username": "ada", "password": "secret", "mechanism": "PLAIN"}


class Made:
    """Keeps what a client was made with."""

    def __init__(self, *topics: str, **options: Any) -> None:
        self.topics, self.options = topics, options


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient"):
        monkeypatch.setattr(connection, name, Made)
    monkeypatch.setattr(connection, "guard_fetches", lambda consumer: consumer)


def test_every_client_has_the_brokers_and_the_login(made: None) -> None:
    """Servers one by one; a login only where there is one; TLS only where there is."""
    plain = {
        "bootstrap_servers": ["one:9092", "[::1]:9093"],
        "client_id": "patchline",
        "security_protocol": "PLAINTEXT",
    }
    consumer: Any = new_consumer(CONFIG, "a", "b", group_id="g")
    assert (consumer.topics, consumer.options) == (("a", "b"), plain | {"group_id": "g", "check_crcs": False})
    admin: Any = new_admin(CONFIG)
    assert admin.options == plain
    guarded: Any = new_admin(KafkaConfig(**LOGIN))
    assert isinstance(guarded.options.pop("ssl_context"), ssl.SSLContext)
    assert guarded.options == {
        "bootstrap_servers": ["localhost:9092"],
        "client_id": "patchline",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "ada",
        "sasl_plain_password": "secret",
    }
    over_tls: Any = new_admin(KafkaConfig(security="SSL"))
    assert "ssl_context" in over_tls.options
    assert "sasl_mechanism" not in over_tls.options
    unencrypted: Any = new_admin(KafkaConfig(**LOGIN | {"security": "SASL_PLAINTEXT"}))
    assert "ssl_context" not in unencrypted.options
    assert unencrypted.options["sasl_plain_username"] == "ada"


def test_a_producer_loses_nothing_and_has_room_for_a_frame(made: None) -> None:
    """Idempotent, acknowledged by all, sent at once, with a MiB more than the largest frame."""
    producer: Any = new_producer(CONFIG, 5 * MIB, transactional_id="t")
    expected = {"acks": "all", "enable_idempotence": True, "max_request_size": 6 * MIB, "linger_ms": 0}
    assert expected.items() <= producer.options.items()
    assert (producer.options["transactional_id"], producer.options["compression_type"]) == ("t", None)
    packed: Any = new_producer(KafkaConfig(compression="zstd"), 1)
    assert packed.options["compression_type"] == "zstd"


def test_an_authority_that_cannot_be_read_is_an_error_of_the_settings(tmp_path: Path) -> None:
    """It is told before anything connects."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for file in (empty, tmp_path / "none.pem"):
        with pytest.raises(ConfigError, match=f"{file.name} holds no certificates"):
            new_admin(KafkaConfig(**LOGIN, ca_file=file))


PASSING = [
    UnknownError(),
    KafkaTimeoutError(),
    OutOfOrderSequenceNumber(),
    InvalidProducerEpoch(),
    ProducerFenced(),
    UnknownTopicOrPartitionError(),
    IncompatibleBrokerVersion(),
    NotLeaderForPartitionError(),
    KafkaConnectionError(),
]
FINAL = [KafkaError(), MessageSizeTooLargeError(), TopicAuthorizationFailedError("frames"), AuthenticationFailedError()]


@pytest.mark.parametrize("error", [*PASSING, *FINAL], ids=lambda error: type(error).__name__)
def test_an_error_says_whether_another_attempt_may_help(error: KafkaError) -> None:
    """To who reads and to who writes alike; the library's error stays the cause."""
    passes = error in PASSING
    assert is_passing(error) is passes
    for errors, final, passing in (
        (source_errors, SourceError, SourceUnavailableError),
        (sink_errors, SinkError, SinkUnavailableError),
    ):
        with pytest.raises(final, match=r"Kafka at one:9092") as caught, errors(CONFIG):
            raise error
        assert isinstance(caught.value, passing) is passes
        assert caught.value.__cause__ is error


def test_errors_of_others_are_left_alone() -> None:
    """Only what Kafka says is translated."""
    for errors in (source_errors, sink_errors):
        with pytest.raises(ZeroDivisionError), errors(CONFIG):
            raise ZeroDivisionError
        with errors(CONFIG):
            pass


def test_a_producer_that_was_fenced_or_lost_its_sequence_is_of_no_further_use() -> None:
    """Others may go on with theirs."""
    for error in (OutOfOrderSequenceNumber(), InvalidProducerEpoch(), ProducerFenced()):
        assert needs_new_producer(error)
    for other in (KafkaTimeoutError(), UnknownError(), MessageSizeTooLargeError()):
        assert not needs_new_producer(other)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TopicAuthorizationFailedError(CONFIG.frames_topic), "needs READ and DESCRIBE on patchline.frames"),
        (
            TopicAuthorizationFailedError(CONFIG.results_topic),
            "no right to topic patchline.results: user 'ada' needs WRITE and DESCRIBE on patchline.results (READ, too, "
            "where there are alarms)",
        ),
        (TopicAuthorizationFailedError(CONFIG.dead_letter_topic), "needs WRITE and DESCRIBE on patchline.dead-letters"),
        (TopicAuthorizationFailedError("feedback"), "needs READ, WRITE and DESCRIBE on feedback"),
        (
            TopicAuthorizationFailedError({"b", "a"}),
            "topic a, b: user 'ada' needs READ, WRITE and DESCRIBE on a; ",
        ),
        (TopicAuthorizationFailedError(), "no right to topic unknown: user 'ada' needs rights to its topics"),
        (GroupAuthorizationFailedError("line.alarms"), "user 'ada' needs READ on group line.alarms"),
        (GroupAuthorizationFailedError(), "needs READ on group line"),
        (TransactionalIdAuthorizationFailed(), "the transactional ids that begin with line/ (prefixed)"),
        (ClusterAuthorizationFailedError(), "user 'ada' needs CREATE on the cluster, or topics made beforehand"),
        (KafkaError("  odd  "), "Kafka at one:9092, [::1]:9093: "),
    ],
)
def test_a_missing_right_is_named_with_what_grants_it(error: KafkaError, text: str) -> None:
    """What the administrator has to type."""
    assert text in describe(error, CONFIG)


class Client:
    """A client whose start raises what it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.stopped = error, 0

    async def start(self) -> None:
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        self.stopped += 1


async def test_a_client_that_connects_is_handed_on_and_one_that_does_not_is_closed() -> None:
    """Nothing is left behind, also where the caller gives up amid it."""
    fine = Client()
    assert await connect(fine, CONFIG) is fine
    assert fine.stopped == 0
    for error in (KafkaError("odd"), asyncio.CancelledError(), OSError()):
        broken = Client(error)
        with pytest.raises(type(error)):
            await connect(broken, CONFIG)
        assert broken.stopped == 1
    await close(fine)
    await close(None)
    assert fine.stopped == 1


def handshake(kind: type[ssl.SSLError]) -> ssl.SSLError:
    """A failure of TLS, as OpenSSL tells of it."""
    error = kind("failed")
    error.reason = "WRONG"
    vars(error)["verify_message"] = "WRONG"
    return error


@pytest.mark.parametrize(
    ("answers", "named"),
    [
        ([OSError(), OSError()], None),
        ([OSError(), KafkaError()], None),
        ([None], None),
        ([None, SaslAuthenticationFailed("no")], None),
        ([OSError(), SaslAuthenticationFailed("no")], r"\[::1\]:9093 refuses the login of user 'ada' by SCRAM-SHA-512"),
        ([SaslAuthenticationFailed()], r"one:9092 refuses .* \(.*SaslAuthenticationFailed.*\): expected the username"),
        ([UnsupportedSaslMechanismError("only PLAIN")], "one:9092 does not offer the mechanism SCRAM-SHA-512"),
        ([handshake(ssl.SSLError)], r"one:9092 does not speak TLS as expected \(WRONG\): is security right"),
        ([handshake(ssl.SSLCertVerificationError)], r"of one:9092 cannot be verified by the system's .* \(WRONG\)"),
    ],
)
async def test_a_broker_that_lets_nobody_in_is_told_from_one_that_is_away(
    monkeypatch: pytest.MonkeyPatch, answers: list[Exception | None], named: str | None
) -> None:
    """The first broker that answers decides: the library says the same of both."""
    asked: list[tuple[str, int]] = []
    closed: list[int] = []

    class Connection:
        def close(self) -> None:
            closed.append(1)

    async def create_conn(host: str, port: int, **options: Any) -> Connection:
        answer = answers[len(asked)]
        asked.append((host, port))
        if answer is not None:
            raise answer
        return Connection()

    monkeypatch.setattr(connection, "create_conn", create_conn)
    client = Client(KafkaConnectionError("no answer"))
    with pytest.raises(KafkaError) as caught:
        await connect(client, CONFIG)
    assert client.stopped == 1
    if named is None:
        assert caught.value is client.error
    else:
        with pytest.raises(AuthenticationFailedError, match=named):
            raise caught.value
    assert asked == [("one", 9092), ("::1", 9093)][: len(asked)]
    assert closed == [1] * (answers[len(asked) - 1] is None)


async def test_a_server_without_a_port_is_passed_over() -> None:
    """What makes no sense cannot be asked: the library's own error stands."""
    client = Client(KafkaConnectionError("no answer"))
    with pytest.raises(KafkaConnectionError, match="no answer"):
        await connect(client, KafkaConfig(bootstrap_servers="localhost:kafka"))


async def test_ping_asks_and_disconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for the topics, and closes its client whatever the answer is."""
    log: list[str] = []

    class Admin(AIOKafkaAdminClient):  # type: ignore[misc] # aiokafka has no types
        async def start(self) -> None:
            log.append("start")

        async def list_topics(self) -> list[str]:
            log.append("ask")
            if len(log) > 3:
                raise TopicAuthorizationFailedError
            return []

        async def close(self) -> None:
            log.append("close")

    monkeypatch.setattr(connection, "AIOKafkaAdminClient", Admin)
    await ping(CONFIG)
    assert log == ["start", "ask", "close"]
    with pytest.raises(SourceError, match="no right to topic unknown"):
        await ping(CONFIG)
    assert log == ["start", "ask", "close"] * 2


def test_another_program_in_the_group_is_named_and_waited_for() -> None:
    """With the group, the setting that names it and the topic that cannot be read: it may leave."""
    error = InconsistentGroupProtocolError()
    assert is_passing(error)
    assert describe(error, CONFIG) == (
        "Kafka at one:9092, [::1]:9093: another program is in the consumer group 'line' (kafka.group) and shares its "
        "partitions out by another protocol: patchline.frames cannot be read until it has left or has its own group"
    )
