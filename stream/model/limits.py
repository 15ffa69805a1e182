"""What the stream may hold and how it batches, and what it knows of a recipe."""

from dataclasses import dataclass

from patchline.stream.model.checks import MIB, at_least, positive
from patchline.stream.model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the stream may hold and how it batches. Memory is bounded by these at any input rate."""

    max_frame_bytes: int = 32 * MIB
    """A larger encoded frame is not inspected."""
    max_referenced_bytes: int = 256 * MIB
    """The same for a frame that comes by reference; of each of `frame_references`, `decode_threads` are in memory at
    once."""
    frame_references: tuple[str, ...] = ()
    """URIs of folders below which frames may lie that come by reference. None: such frames are not inspected."""
    max_pixels: int = 64_000_000
    """Height times width that is still decoded; read from the image's header, before decoding."""
    decode_s: float = 0.1
    """Seconds of a processor that decoding any image may take; beyond it, an image may take as long as some three
    ordinary ones of its format and as many pixels take here. What outlasts both is not inspected."""
    batch_size: int = 8
    """Frames the engine sees at once."""
    linger_s: float = 0.02
    """How long a frame waits for others to fill its batch while the engine is idle."""
    max_in_flight: int = 64
    """Frames between source and checkpoint; when reached, sources are not read."""
    max_wait_s: float | None = None
    """A frame is read only when it is expected to wait for the engine at most so long. None: when there is room.
    Pictures of live cameras are always taken as late as may be."""
    commit_interval_s: float = 0.1
    """Results of a partition that come sooner after one another are committed together, while others of it are in
    flight, and at most a quarter of `max_in_flight`: a commit costs the brokers about as much as several frames."""
    max_in_flight_bytes: int = 512 * MIB
    """Encoded bytes and received pixels of the frames in flight; when reached, sources are not read."""
    decode_threads: int = 2

    def __post_init__(self) -> None:
        sizes = ("max_frame_bytes", "max_referenced_bytes", "max_pixels", "max_in_flight_bytes")
        at_least(self, 1, *sizes, "batch_size", "max_in_flight", "decode_threads")
        positive(self, "decode_s")
        if self.max_wait_s is not None:
            positive(self, "max_wait_s")
        for prefix in self.frame_references:
            if not (prefix if prefix.startswith("/") else prefix.partition("://")[2]).strip("/"):
                raise ConfigError(
                    f"Limits.frame_references has {prefix!r}, expected an absolute path, or a URI such as"
                    " s3://bucket/frames"
                )
        at_least(self, 0, "linger_s", "commit_interval_s")
        if self.max_in_flight < self.batch_size:
            raise ConfigError(
                f"Limits.max_in_flight is {self.max_in_flight}, expected at least batch_size ({self.batch_size}):"
                " no batch could ever fill"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeConfig:
    """What the stream needs to know of a recipe beside its memory bank."""

    name: str
    deadline_s: float | None = None
    """A frame judged later than this after it was taken is marked late. None: never."""

    def __post_init__(self) -> None:
        if self.deadline_s is not None:
            positive(self, "deadline_s")
