"""The brokers, the topics and how a worker uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from patchline.stream.model.checks import MIB, at_least, positive
from patchline.stream.model.errors import ConfigError

RECORD_HEADROOM_BYTES = MIB
"""What a Kafka record may take beyond the frame itself: its key, its headers and the batch around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """The brokers, the topics and the consumer group."""

    bootstrap_servers: str = "localhost:9092"
    """`host:port`, several separated by commas."""
    group: str = "patchline"
    client_id: str = "patchline"
    frames_topic: str = "patchline.frames"
    results_topic: str = "patchline.results"
    dead_letter_topic: str = "patchline.dead-letters"
    feedback_topic: str = "patchline.feedback"
    feedback_replies_topic: str = "patchline.feedback-replies"
    generations_topic: str = "patchline.generations"
    cameras_topic: str = "patchline.cameras"
    default_recipe: str | None = None
    """The recipe of frames that name none (`ce_recipe`); without it such a frame is not inspected."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """Results and offsets commit in one transaction; or results first, for brokers without transactions."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a consumer group without committed offsets begins."""
    session_timeout_s: float = 10.0
    """A worker silent for this long loses its partitions."""
    revoke_timeout_s: float = 5.0
    """On a rebalance: how long the frames in flight of lost partitions may take before they are abandoned."""
    partition_buffer_frames: int = 16
    """Frames of a partition read ahead; when reached, the partition is paused. 0: each is read when it is wanted."""
    partition_buffer_bytes: int = 64 * MIB
    """How many bytes of a partition are read ahead; when reached, the partition is paused, too."""
    fetch_max_bytes: int = 64 * MIB
    """Most bytes of one answer from a broker (a single larger record still comes through)."""
    lag_interval_s: float = 5.0
    """How often the consumer lag is observed."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    """Of results. Dead letters keep the image's own compression."""
    camera_recipes: Mapping[str, str] = field(default_factory=dict)
    """The recipe of a camera's frames that name none; before `default_recipe`."""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How a SASL login is proved."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    """File that holds the password; it is read again whenever a connection is made."""
    ca_file: Path | None = None
    """Certificate authority (PEM) for SSL. None: the system's."""

    def __post_init__(self) -> None:
        positive(self, "session_timeout_s", "revoke_timeout_s", "lag_interval_s")
        at_least(self, 0, "partition_buffer_frames")
        at_least(self, 1, "partition_buffer_bytes", "fetch_max_bytes")
        if self.revoke_timeout_s >= self.session_timeout_s:
            raise ConfigError(
                f"KafkaConfig.revoke_timeout_s is {self.revoke_timeout_s}, expected less than session_timeout_s"
                f" ({self.session_timeout_s}): the group would give the worker up while it still finishes its frames"
            )
        topics = [f"{topic}_topic" for topic in ("frames", "results", "dead_letter", "feedback", "feedback_replies")]
        for name in ("bootstrap_servers", "group", "generations_topic", "cameras_topic", *topics):
            if not getattr(self, name):
                raise ConfigError(f"KafkaConfig.{name} is empty")
