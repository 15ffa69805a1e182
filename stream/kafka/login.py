"""The password that clients of Kafka log in with: from a file, it is read again whenever a connection is made.

aiokafka takes a password once, for a client's whole life. Its inner client, which makes the connections, is told here
to look into the file instead, so that a password that was changed needs no restart.
"""

from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from patchline.stream.kafka.config import KafkaConfig


def password_of(config: KafkaConfig) -> str | None:
    """The password as it is now; that of the start where its file cannot be read."""
    if config.password_file is None:
        return config.password
    try:
        return config.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return config.password


def reads_password_again(client: Any, config: KafkaConfig) -> Any:
    """The same consumer, producer or admin client, which from now on asks for the password at each connection."""
    if config.password_file is not None:
        inner = client.client if isinstance(client, AIOKafkaProducer) else client._client
        inner.patchline_config = config
        inner.__class__ = _FreshPasswordClient
    return client


class _FreshPasswordClient(AIOKafkaClient):  # type: ignore[misc] # aiokafka has no types
    patchline_config: KafkaConfig

    @property
    def _sasl_plain_password(self) -> str | None:
        return password_of(self.patchline_config)
