"""A password that lies in a file is read again at each connection. Brokers that refuse one: `test_security.py`."""

from pathlib import Path
from typing import Any

import pytest

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import close, new_admin, new_consumer, new_producer
from patchline.stream.kafka.login import password_of


@pytest.fixture
def config(tmp_path: Path) -> KafkaConfig:
    file = tmp_path / "password"
    file.write_text("first\n")
    return KafkaConfig(
        security="SASL_PLAINTEXT",
        username="ada",
        password="start",  # noqa: S106 - no secret
        password_file=file,
    )


def test_the_password_is_that_of_the_file_as_it_is_now(config: KafkaConfig) -> None:
    """Where it cannot be read, for a moment or for good, that of the start is tried."""
    assert config.password_file is not None
    assert password_of(config) == "first"
    config.password_file.write_text("second")
    assert password_of(config) == "second"
    config.password_file.write_bytes(b"\xff")
    assert password_of(config) == "start"
    config.password_file.unlink()
    assert password_of(config) == "start"
    assert password_of(KafkaConfig(password="only")) == "only"  # noqa: S106 - no secret
    assert password_of(KafkaConfig()) is None


async def test_clients_of_every_kind_look_into_the_file_when_they_connect(config: KafkaConfig) -> None:
    """Each asks anew, as aiokafka's inner client does for each connection; without a file nothing is changed."""
    assert config.password_file is not None
    clients: list[Any] = [new_consumer(config), new_producer(config, 1024), new_admin(config)]
    inner = [getattr(client, "_client", None) or client.client for client in clients]
    for word in ("second", "third"):
        config.password_file.write_text(word)
        assert [one._sasl_plain_password for one in inner] == [word] * 3
    for client in clients[:2]:
        await close(client)
    plain = new_consumer(KafkaConfig())
    assert type(plain._client).__name__ == "AIOKafkaClient"
    await close(plain)
