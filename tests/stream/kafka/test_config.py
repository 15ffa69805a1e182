"""Settings of Kafka that make no sense are refused, by name."""

from typing import Any

import pytest

from patchline.stream.kafka.config import RECORD_HEADROOM_BYTES, KafkaConfig
from patchline.stream.model.errors import ConfigError

TOPICS = ["frames", "results", "dead_letter", "feedback", "feedback_replies", "generations"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        *(({f"{topic}_topic": ""}, rf"KafkaConfig\.{topic}_topic is empty") for topic in TOPICS),
        ({"bootstrap_servers": ""}, r"KafkaConfig\.bootstrap_servers is empty"),
        ({"group": ""}, r"KafkaConfig\.group is empty"),
        ({"session_timeout_s": 0.0}, "session_timeout_s"),
        ({"revoke_timeout_s": 0.0}, "revoke_timeout_s"),
        ({"lag_interval_s": 0.0}, "lag_interval_s"),
        ({"partition_buffer_frames": -1}, "partition_buffer_frames"),
        ({"partition_buffer_bytes": 0}, "partition_buffer_bytes"),
        ({"fetch_max_bytes": 0}, "fetch_max_bytes"),
        (
            {"session_timeout_s": 5.0, "revoke_timeout_s": 5.0},
            r"revoke_timeout_s is 5\.0, expected less .* \(5\.0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], named: str) -> None:
    """The message says which setting, and what was expected."""
    with pytest.raises(ConfigError, match=named):
        KafkaConfig(**given)


def test_the_least_that_makes_sense_is_taken() -> None:
    """Without a buffer each frame is read when it is wanted."""
    config = KafkaConfig(
        partition_buffer_frames=0,
        partition_buffer_bytes=1,
        fetch_max_bytes=1,
        session_timeout_s=0.2,
        revoke_timeout_s=0.1,
        lag_interval_s=0.1,
    )
    assert config.partition_buffer_frames == 0


def test_what_is_not_said_is_safe() -> None:
    """Exactly once, from the topic's beginning, and no password in what is printed."""
    config = KafkaConfig(password="secret")  # noqa: S106 - no secret
    assert "secret" not in repr(config)
    assert (config.delivery, config.start, config.session_timeout_s, config.revoke_timeout_s) == (
        "exactly_once",
        "earliest",
        10.0,
        5.0,
    )
    assert (config.partition_buffer_frames, config.partition_buffer_bytes) == (16, 64 * 2**20)
    assert (config.fetch_max_bytes, config.lag_interval_s, config.compression) == (64 * 2**20, 5.0, "none")
    assert RECORD_HEADROOM_BYTES == 2**20
