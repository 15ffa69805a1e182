"""How a camera or a folder of images is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from patchline.stream.model.checks import positive
from patchline.stream.model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    """A camera or recording that the service opens itself. `url` may carry credentials: it is never printed whole.

    A live camera keeps only its freshest frame while the engine is busy; a recording is read to its end, every frame.
    """

    name: str
    recipe: str
    url: str = field(repr=False)
    """`rtsp://…` or what FFmpeg reads over a network, or the path of a video file."""
    url_file: Path | None = None
    """Where the URL is read from, anew at each attempt to connect; it goes before `url`."""
    ca_file: Path | None = None
    """Authorities (PEM) that may sign a camera's certificate; None: those of this machine."""
    live: bool | None = None
    """None: live when the URL has a network scheme."""
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    """A stream silent for this long is opened again."""
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 10.0
    """How often a camera that is away is tried again, and how seldom one that answers and refuses."""
    max_pixels: int = 64_000_000

    def __post_init__(self) -> None:
        positive(self, "open_timeout_s", "read_timeout_s", "reconnect_min_s", "reconnect_max_s", "max_pixels")
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
