"""What consumer, producer and admin client share: how they connect, and what their errors mean."""

from typing import Any

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    InvalidProducerEpoch,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownError,
    UnknownTopicOrPartitionError,
)
from aiokafka.helpers import create_ssl_context

from patchline.stream.config import KafkaConfig
from patchline.stream.model.errors import ConfigError

# Not marked retriable by the library, and yet they pass: by asking again, or by a new client.
_PASSING = (
    UnknownError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    InvalidProducerEpoch,
    UnknownTopicOrPartitionError,
    IncompatibleBrokerVersion,  # what a broker that is starting answers
)


def client_options(config: KafkaConfig) -> dict[str, Any]:
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
            "sasl_plain_password": config.password,
        }
    return options


def is_passing(error: KafkaError) -> bool:
    """Whether the same request may succeed later."""
    return bool(error.retriable) or isinstance(error, _PASSING)


def needs_new_producer(error: KafkaError) -> bool:
    """Whether a producer is of no further use after this error."""
    return isinstance(error, OutOfOrderSequenceNumber | InvalidProducerEpoch | ProducerFenced)


def describe(error: KafkaError, config: KafkaConfig) -> str:
    """An error with the brokers it came from, and the right that is missing where it tells of one."""
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
