"""How the stream is set up: plain frozen dataclasses, filled by whoever assembles the service.

Nothing here reads a file or the environment. A value out of range is a `ConfigError` that names class and field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from patchline.stream.model.errors import ConfigError

MIB = 1024 * 1024
RECORD_HEADROOM_BYTES = MIB
"""What a Kafka record may take beyond the frame itself: its key, its headers and the batch around it."""


def _at_least(owner: object, low: float, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not value >= low:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}, expected at least {low}")


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not value > 0:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}, expected more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the stream may hold and how it batches. Memory is bounded by these at any input rate."""

    max_frame_bytes: int = 32 * MIB
    """A larger encoded frame is not inspected."""
    max_referenced_bytes: int = 256 * MIB
    """The same for a frame that comes by reference; `decode_threads` of them are in memory at once."""
    frame_references: tuple[str, ...] = ()
    """URIs of folders below which frames may lie that come by reference. None: such frames are not inspected."""
    max_pixels: int = 64_000_000
    """Height times width that is still decoded; read from the image's header, before decoding."""
    batch_size: int = 8
    """Frames the engine sees at once."""
    linger_s: float = 0.02
    """How long a frame waits for others to fill its batch while the engine is idle."""
    max_in_flight: int = 64
    """Frames between source and checkpoint; when reached, sources are not read."""
    max_wait_s: float | None = None
    """A frame is read only when it is expected to wait for the engine at most so long. None: when there is room."""
    commit_interval_s: float = 0.1
    """Results of a partition that come sooner after one another are committed together, while others of it are in
    flight, and at most a quarter of `max_in_flight`: a commit costs the brokers about as much as several frames."""
    max_in_flight_bytes: int = 512 * MIB
    """Encoded bytes and received pixels of the frames in flight; when reached, sources are not read."""
    decode_threads: int = 2

    def __post_init__(self) -> None:
        _at_least(self, 1, "max_frame_bytes", "max_pixels", "batch_size", "max_in_flight", "max_in_flight_bytes")
        _at_least(self, 1, "decode_threads", "max_referenced_bytes")
        if self.max_wait_s is not None:
            _positive(self, "max_wait_s")
        for prefix in self.frame_references:
            if not (prefix if prefix.startswith("/") else prefix.partition("://")[2]).strip("/"):
                raise ConfigError(
                    f"Limits.frame_references has {prefix!r}, expected an absolute path, or a URI such as"
                    " s3://bucket/frames"
                )
        _at_least(self, 0, "linger_s", "commit_interval_s")
        if self.max_in_flight < self.batch_size:
            raise ConfigError(
                f"Limits.max_in_flight is {self.max_in_flight}, expected at least batch_size ({self.batch_size}):"
                " no batch could ever fill"
            )


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
    """The same in bytes."""
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
    ca_file: Path | None = None
    """Certificate authority (PEM) for SSL. None: the system's."""

    def __post_init__(self) -> None:
        _positive(self, "session_timeout_s", "revoke_timeout_s", "lag_interval_s")
        _at_least(self, 0, "partition_buffer_frames")
        _at_least(self, 1, "partition_buffer_bytes", "fetch_max_bytes")
        if self.revoke_timeout_s >= self.session_timeout_s:
            raise ConfigError(
                f"KafkaConfig.revoke_timeout_s is {self.revoke_timeout_s}, expected less than session_timeout_s"
                f" ({self.session_timeout_s}): the group would give the worker up while it still finishes its frames"
            )
        topics = [f"{topic}_topic" for topic in ("frames", "results", "dead_letter", "feedback", "feedback_replies")]
        for name in ("bootstrap_servers", "group", "generations_topic", *topics):
            if not getattr(self, name):
                raise ConfigError(f"KafkaConfig.{name} is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    """A camera or recording that the service opens itself. `url` may carry credentials: it is never printed whole.

    A live camera keeps only its freshest frame while the engine is busy; a recording is read to its end, every frame.
    """

    name: str
    recipe: str
    url: str = field(repr=False)
    """`rtsp://…`, or the path of a video file."""
    live: bool | None = None
    """None: live when the URL has a network scheme."""
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    """A stream silent for this long is opened again."""
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 30.0
    """Bounds of the exponential pause between attempts to open."""
    max_pixels: int = 64_000_000

    def __post_init__(self) -> None:
        _positive(self, "open_timeout_s", "read_timeout_s", "reconnect_min_s", "reconnect_max_s", "max_pixels")
        for name in ("name", "recipe", "url"):
            if not getattr(self, name):
                raise ConfigError(f"CameraConfig.{name} is empty (camera {self.name!r})")

    @property
    def is_live(self) -> bool:
        """Whether frames come at their own pace and cannot be asked for again."""
        return self.live if self.live is not None else "://" in self.url and not self.url.startswith("file:")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderConfig:
    """A folder of images, each a frame of one camera, in the order of their names."""

    path: Path
    camera: str
    recipe: str
    recursive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeConfig:
    """What the stream needs to know of a recipe beside its memory bank."""

    name: str
    deadline_s: float | None = None
    """A frame judged later than this after it was taken is marked late. None: never."""

    def __post_init__(self) -> None:
        if self.deadline_s is not None:
            _positive(self, "deadline_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmConfig:
    """When a camera raises an alarm: `k` rejects among its last `n` inspected frames; `m` passes in a row end it."""

    k: int = 3
    n: int = 10
    m: int = 10

    def __post_init__(self) -> None:
        _at_least(self, 1, "k", "n", "m")
        if self.k > self.n:
            raise ConfigError(f"AlarmConfig.k is {self.k}, expected at most n ({self.n})")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalConfig:
    """Where judged frames wait for the alarms of a service without Kafka."""

    path: Path = Path("patchline-alarms.sqlite3")
    size: int = 100_000
    """Judged frames that wait at most; beyond it the oldest make room, and are counted."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "size")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Where alarms live. `url` may carry a password: it is never printed whole."""

    url: str = field(default="redis://localhost:6379/0", repr=False)
    prefix: str = "patchline:"
    ca_file: Path | None = None
    """Certificate authority (PEM) that a `rediss://` server is verified with. None: the system's."""
    timeout_s: float = 2.0
    """Of one request, and of catching up with the last results when the stream ends."""
    events_kept: int = 10_000
    """About how many events the alarm stream keeps."""

    def __post_init__(self) -> None:
        _positive(self, "timeout_s")
        _at_least(self, 1, "events_kept")
        if self.ca_file is not None and not self.url.startswith("rediss:"):
            raise ConfigError("RedisConfig.ca_file is set, but the url does not begin with rediss://")
