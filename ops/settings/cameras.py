"""The sections on what is inspected: recipes, and the cameras that frames come from."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from patchline.ops.settings.base import Name, SecretFile, Section, url_of
from patchline.ops.settings.formats import check_place
from patchline.ops.settings.locations import PathOrUrl
from patchline.ops.settings.secrets import SecretUrl
from patchline.stream.cameras.config import CameraConfig, FolderConfig
from patchline.stream.cameras.health.config import HealthConfig
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.limits import RecipeConfig
from patchline.stream.support.redaction import redact_url


class AlarmRuleSettings(Section):
    """When an alarm is raised and when its condition is normal again, where that differs from the section `alarms`.

    The nearest wins, key by key: the camera's, its recipe's, the general one.
    """

    rejects: int | None = Field(default=None, ge=1, le=10_000, examples=[3])
    """k: so many rejects among the last `window` inspected frames raise the alarm; unset: as elsewhere."""
    window: int | None = Field(default=None, ge=1, le=10_000, examples=[10])
    """n: how many inspected frames are looked at; unset: as elsewhere."""
    passes: int | None = Field(default=None, ge=1, le=100_000, examples=[10])
    """m: so many passes in a row return the condition to normal; unset: as elsewhere."""

    def over(self, other: AlarmConfig) -> AlarmConfig:
        """The rule where this section stands over another rule. Raises ConfigError where they do not go together."""
        given = {"k": self.rejects, "n": self.window, "m": self.passes}
        return replace(other, **{name: value for name, value in given.items() if value is not None})


class RecipeSettings(Section):
    """How one product view is inspected: the bank that `patchline fit` wrote."""

    bank: Annotated[str, PathOrUrl(), AfterValidator(check_place)] = Field(min_length=1, examples=["banks/bottle"])
    """Folder of the memory bank, or a URL such as `s3://bucket/bottle`; its newest generation judges."""
    deadline_s: float | None = Field(default=None, gt=0, examples=[0.5])
    """A frame judged later than this after it was taken is marked `late`, in seconds; unset: none is."""
    learns: bool = False
    """Learn what operators confirm. Off until someone decides it: a tap then changes what is rejected."""
    good_images: Path | None = Field(default=None, examples=["images/bottle/train/good"])
    """Folder that the bank was fitted to, for explanations to show good patches from; unset: from evidence only."""
    alarms: AlarmRuleSettings | None = None

    fixture: bool = False
    """Parts are always in one place: a live camera whose scene lies elsewhere is then told as `moved`."""

    def to_config(self, name: str) -> RecipeConfig:
        """What the stream needs to know of the recipe of this name."""
        return self._config(RecipeConfig, name=name)


class KafkaCamera(Section):
    """A camera whose frames come through Kafka. It need not be listed; listing it gives its frames their recipe."""

    source: Literal["kafka"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe of its frames that carry no `ce_recipe` header."""
    alarms: AlarmRuleSettings | None = None


_Sickness = Literal["wrong_size", "black", "saturated", "flat", "frozen", "dark", "moved", "covered", "blurred"]


class RtspCamera(Section):
    """A live camera, read over RTSP. It cannot be replayed: the freshest frame wins, and drops are counted."""

    secrets = ("url",)

    source: Literal["rtsp"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe that judges its frames."""
    alarms: AlarmRuleSettings | None = None
    url: Annotated[SecretUrl, url_of("rtsp", "rtsps")] | None = Field(
        default=None, examples=["rtsp://camera-1.example/stream"]
    )
    """`rtsp://user:password@host/path`; credentials are never printed."""
    url_file: SecretFile | None = Field(default=None, examples=["/run/secrets/camera-1-url"])
    """File that holds the URL; it is read anew at each attempt to connect."""
    ca_file: Path | None = Field(default=None, examples=["/etc/patchline/cameras-ca.pem"])
    """PEM file of the authorities that may sign a camera's certificate (`rtsps`); unset: those of this machine."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP carries the frames. `udp` loses packets: pictures until the next keyframe are then not judged."""
    open_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Time for a connection to come about, in seconds."""
    read_timeout_s: float = Field(default=5.0, gt=0, le=600)
    """A stream silent for this long is opened again, in seconds."""
    line: Name | None = Field(default=None, examples=["line-1"])
    """Line that it looks at: its pictures are frozen where they repeat while another camera of the line sees motion."""
    runs: Literal["sometimes", "always"] = "sometimes"
    """Whether the line ever stands still; where it `always` runs, pictures that repeat are frozen."""
    healthy: list[_Sickness] = Field(default_factory=list, examples=[["black"]])
    """States of its pictures that are in order here, and so are judged: `[black]` where a lamp is off between parts."""

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        if self.url is None:
            raise ValueError("url or url_file")
        return self

    def to_config(self, name: str, max_pixels: int) -> CameraConfig:
        """How the camera of this name is read; larger images are not decoded."""
        return self._config(CameraConfig, name=name, live=True, max_pixels=max_pixels)

    def to_health_config(self, name: str, *, fixture: bool, learns_for_s: float) -> HealthConfig:
        """How the pictures of the camera of this name are looked at.

        Args:
            name: of the camera.
            fixture: whether its recipe's parts are always in one place.
            learns_for_s: how long references are learned.
        """
        # A password that changes makes no other camera; what does is forgotten with its references.
        address = redact_url(self.url.get_secret_value()) if self.url is not None else ""
        return HealthConfig(
            camera=name,
            line=self.line,
            always_runs=self.runs == "always",
            fixture=fixture,
            ignores=frozenset(CameraState(state) for state in self.healthy),
            learns_for_s=learns_for_s,
            settings=hashlib.sha256(f"{address}\n{self.recipe}\n{fixture}\n{learns_for_s}".encode()).hexdigest(),
        )


class VideoCamera(Section):
    """A video file, read once, every frame."""

    source: Literal["video"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe that judges its frames."""
    alarms: AlarmRuleSettings | None = None
    path: Path = Field(examples=["recordings/monday.mp4"])
    """File that FFmpeg can read."""

    def to_config(self, name: str, max_pixels: int) -> CameraConfig:
        """How the recording is read as the camera of this name; larger images are not decoded."""
        return self._config(CameraConfig, name=name, url=str(self.path), live=False, max_pixels=max_pixels)


class FolderCamera(Section):
    """A folder of images, read once in the order of their names."""

    source: Literal["folder"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe that judges its frames."""
    alarms: AlarmRuleSettings | None = None
    path: Path = Field(examples=["images/monday"])
    """Folder of image files."""
    recursive: bool = False
    """Read its subfolders too."""

    def to_config(self, name: str) -> FolderConfig:
        """How the folder is read as the camera of this name."""
        return self._config(FolderConfig, camera=name)


Camera = Annotated[KafkaCamera | RtspCamera | VideoCamera | FolderCamera, Field(discriminator="source")]
