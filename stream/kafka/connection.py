"""The life of every Kafka client of this project: made, connected and closed here, and its errors translated here.

`new_consumer`, `new_producer` and `new_admin` make a client. `connect` starts it, and closes it again where that fails,
so that nothing is left behind. `close` ends it. Inside `source_errors` or `sink_errors` an error of aiokafka becomes
one of the stream's, which says whether another attempt may help and, where it can be told, which right is missing.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
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
    OutOfOrderSequenceNumber,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from aiokafka.helpers import create_ssl_context

from patchline.stream.kafka.batches.guarded_fetch import guard_fetches
from patchline.stream.kafka.config import RECORD_HEADROOM_BYTES, KafkaConfig
from patchline.stream.kafka.login import password_of, reads_password_again
from patchline.stream.model.errors import (
    ConfigError,
    SinkError,
    SinkUnavailableError,
    SourceError,
    SourceUnavailableError,
)

Client = TypeVar("Client", AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)

# Not marked retriable by the library, and yet they pass: by asking again, or by a new client.
_PASSING = (
    UnknownError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    InvalidProducerEpoch,
    ProducerFenced,
    UnknownTopicOrPartitionError,
    IncompatibleBrokerVersion,  # what a broker that is starting answers
    InconsistentGroupProtocolError,  # until the other program has left the group
)


def _client_options(config: KafkaConfig) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes. A `ca_file` that cannot be read is a ConfigError."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in config.bootstrap_servers.split(",")],
        "client_id": config.client_id,
        "security_protocol": config.security,
    }
    if config.security.endswith("SSL"):
        try:
            options["ssl_context"] = create_ssl_context(cafile=str(config.ca_file) if config.ca_file else None)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"KafkaConfig.ca_file: {config.ca_file} holds no certificates: {error}") from error
    if config.security.startswith("SASL"):
        options |= {
            "sasl_mechanism": config.mechanism,
            "sasl_plain_username": config.username,
            "sasl_plain_password": password_of(config),
        }
    return options


def new_consumer(config: KafkaConfig, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """A consumer that is not connected yet. Of records that cannot be decoded it has placeholders: see `batches`.

    Args:
        config: the brokers and the login.
        topics: read all of their partitions, where no group shares them out.
        options: further keyword arguments of `AIOKafkaConsumer`.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    consumer = AIOKafkaConsumer(*topics, **_client_options(config), check_crcs=False, **options)
    return guard_fetches(reads_password_again(consumer, config))


def new_producer(config: KafkaConfig, max_frame_bytes: int, **options: Any) -> AIOKafkaProducer:
    """A producer that is not connected yet: idempotent, and acknowledged by all replicas in sync.

    Args:
        config: the brokers, the login and the compression.
        max_frame_bytes: a record may have this much, and the headroom.
        options: further keyword arguments of `AIOKafkaProducer`.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    producer = AIOKafkaProducer(
        **_client_options(config),
        acks="all",
        enable_idempotence=True,
        max_request_size=max_frame_bytes + RECORD_HEADROOM_BYTES,
        compression_type=None if config.compression == "none" else config.compression,
        linger_ms=0,
        **options,
    )
    return reads_password_again(producer, config)


def new_admin(config: KafkaConfig) -> AIOKafkaAdminClient:
    """An admin client that is not connected yet. Raises ConfigError where `ca_file` cannot be read."""
    return reads_password_again(AIOKafkaAdminClient(**_client_options(config)), config)


async def connect(client: Client, config: KafkaConfig) -> Client:
    """Start a client; where that fails, or is cancelled, close it.

    Args:
        client: as `new_consumer`, `new_producer` or `new_admin` made it.
        config: what it was made from.

    Returns:
        The same client.

    Raises:
        AuthenticationFailedError: the brokers refuse the login, or their certificate cannot be verified.
        KafkaError: the brokers are away, or refuse something else.
    """
    try:
        await client.start()
    except KafkaConnectionError as error:
        await close(client)
        # aiokafka says the same of a broker that is away and of one that lets nobody in.
        if (refused := await refusal(config)) is None:
            raise
        raise AuthenticationFailedError(refused) from error
    except BaseException:
        await close(client)
        raise
    return client


async def close(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient | None) -> None:
    """End a client: a consumer leaves its group, a producer sends what is left. None: there is nothing to end."""
    if client is not None:
        await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())


async def ping(config: KafkaConfig) -> None:
    """Check that the brokers answer.

    Raises:
        SourceUnavailableError: no broker answers now.
        SourceError: they refuse.
        ConfigError: `ca_file` cannot be read.
    """
    with source_errors(config):
        admin = await connect(new_admin(config), config)
        try:
            await admin.list_topics()
        finally:
            await close(admin)


@contextmanager
def source_errors(config: KafkaConfig) -> Iterator[None]:
    """Inside, an error of Kafka is a SourceError, or a SourceUnavailableError where it passes."""
    try:
        yield
    except KafkaError as error:
        raise source_error(error, config) from error


@contextmanager
def sink_errors(config: KafkaConfig) -> Iterator[None]:
    """Inside, an error of Kafka is a SinkError, or a SinkUnavailableError where it passes."""
    try:
        yield
    except KafkaError as error:
        raise sink_error(error, config) from error


def source_error(error: KafkaError, config: KafkaConfig) -> SourceError:
    """What an error of Kafka means to whoever reads."""
    return (SourceUnavailableError if is_passing(error) else SourceError)(describe(error, config))


def sink_error(error: KafkaError, config: KafkaConfig) -> SinkError:
    """What an error of Kafka means to whoever writes."""
    return (SinkUnavailableError if is_passing(error) else SinkError)(describe(error, config))


def is_passing(error: KafkaError) -> bool:
    """Whether another attempt may succeed, if need be by a new client."""
    return bool(error.retriable) or isinstance(error, _PASSING)


def needs_new_producer(error: KafkaError) -> bool:
    """Whether a producer is of no further use after this error."""
    return isinstance(error, OutOfOrderSequenceNumber | InvalidProducerEpoch | ProducerFenced)


def describe(error: KafkaError, config: KafkaConfig) -> str:
    """An error with the brokers it came from, and the right that is missing where it tells of one."""
    if isinstance(error, InconsistentGroupProtocolError):
        return (
            f"Kafka at {config.bootstrap_servers}: another program is in the consumer group {config.group!r} "
            f"(kafka.group) and shares its partitions out by another protocol: {config.frames_topic} cannot be read "
            "until it has left or has its own group"
        )
    text = missing_right(error, config) or str(error).strip() or type(error).__name__
    return f"Kafka at {config.bootstrap_servers}: {text}"


def missing_right(error: KafkaError, config: KafkaConfig) -> str | None:
    """Which ACL is missing, for an error that tells of one."""
    if isinstance(error, TopicAuthorizationFailedError):
        topics = _names(error)
        needed = "; ".join(_rights_to(topic, config) for topic in topics) or "rights to its topics"
        return f"no right to topic {', '.join(topics) or 'unknown'}: user {config.username!r} needs {needed}"
    if isinstance(error, GroupAuthorizationFailedError):
        groups = ", ".join(_names(error)) or config.group
        return f"no right to the consumer group: user {config.username!r} needs READ on group {groups}"
    if isinstance(error, TransactionalIdAuthorizationFailed):
        return (
            f"no right to transactions: user {config.username!r} needs WRITE and DESCRIBE on the transactional ids "
            f"that begin with {config.group}/ (prefixed)"
        )
    if isinstance(error, ClusterAuthorizationFailedError):
        return (
            f"no right to create or alter topics: user {config.username!r} needs CREATE on the cluster, "
            "or topics made beforehand and kafka.create_topics: false"
        )
    return None


async def refusal(config: KafkaConfig) -> str | None:
    """Why the first broker that answers lets nobody in; None where they are just away."""
    login = _client_options(config)
    for server in login.pop("bootstrap_servers"):
        host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=5000, **login)
        except ssl.SSLCertVerificationError as error:
            authority = config.ca_file or "the system's certificate authorities"
            return (
                f"the certificate of {server} cannot be verified by {authority} ({error.verify_message}): expected "
                "ca_file to hold the authority that signed it, and its name to be the one that is connected to"
            )
        except ssl.SSLError as error:
            return f"{server} does not speak TLS as expected ({error.reason or error}): is security right?"
        except SaslAuthenticationFailed as error:
            return (
                f"{server} refuses the login of user {config.username!r} by {config.mechanism} ({_text(error)}): "
                "expected the username and password of a user that the brokers know"
            )
        except UnsupportedSaslMechanismError as error:
            return f"{server} does not offer the mechanism {config.mechanism} ({_text(error)})"
        except (OSError, KafkaError, ValueError):
            continue
        connection.close()
        return None
    return None


def _rights_to(topic: str, config: KafkaConfig) -> str:
    if topic == config.frames_topic:
        return f"READ and DESCRIBE on {topic}"
    if topic == config.results_topic:
        return f"WRITE and DESCRIBE on {topic} (READ, too, where there are alarms)"
    if topic == config.dead_letter_topic:
        return f"WRITE and DESCRIBE on {topic}"
    return f"READ, WRITE and DESCRIBE on {topic}"


def _names(error: KafkaError) -> list[str]:
    """What an error is about: aiokafka gives one name, or a set of them."""
    named = error.args[0] if error.args else ()
    return [named] if isinstance(named, str) else sorted(map(str, named))


def _text(error: KafkaError) -> str:
    return str(error).strip() or type(error).__name__
