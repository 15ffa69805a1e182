"""Where alarms go, a Redis server or a journal on disk, and how many there may be."""

from dataclasses import dataclass, field
from pathlib import Path

from patchline.stream.model.checks import at_least, positive
from patchline.stream.model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalConfig:
    """Where judged frames wait for the alarms of a service without Kafka."""

    path: Path = Path("patchline-alarms.sqlite3")
    size: int = 100_000
    """How many judged frames may wait. When more come, the oldest make room and are counted."""

    def __post_init__(self) -> None:
        at_least(self, 1, "size")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmLimits:
    """What alarms may hold: cameras are named by whoever sends frames, and shelving by whoever reaches Redis."""

    max_cameras: int = 1000
    """Cameras that have a state in Redis; of further ones nothing is raised, and their results are counted."""
    always: frozenset[str] = frozenset()
    """Cameras that have a state in any case: those that the settings name."""
    longest_shelf_s: float = 28_800.0
    """How long an alarm may be shelved at once: a shift."""

    def __post_init__(self) -> None:
        at_least(self, 1, "max_cameras")
        positive(self, "longest_shelf_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Where alarms live. `url` may carry a password: it is never printed whole.

    `url_file` and `password_file` hold the URL and the password; they are read again whenever a connection is made, so
    that a password may change while the service runs. Of the URL only who logs in is taken anew.
    """

    url: str = field(default="redis://localhost:6379/0", repr=False)
    url_file: Path | None = None
    password_file: Path | None = None
    prefix: str = "patchline:"
    ca_file: Path | None = None
    """Certificate authority (PEM) that a `rediss://` server is verified with. None: the system's."""
    timeout_s: float = 2.0
    """How long one request may take, and how long catching up with the last results when the stream ends."""
    events_kept: int = 10_000
    """About how many events the alarm stream keeps."""

    def __post_init__(self) -> None:
        positive(self, "timeout_s")
        at_least(self, 1, "events_kept")
        if self.ca_file is not None and not self.url.startswith("rediss:"):
            raise ConfigError("RedisConfig.ca_file is set, but the url does not begin with rediss://")
