"""The sections of the settings, each key with its description; `patchline settings` prints them.

Sections are frozen, refuse unknown keys, and never show a secret.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from ops.places import PathOrUrl
from ops.redaction import SecretUrl
from stream.config import MIB, AlarmConfig, KafkaConfig, Limits, RedisConfig


def _plain_name(name: str) -> str:
    if not name or len(name) > 128 or not all(c.isalnum() or c in "._-" for c in name):
        raise ValueError("a name of 1 to 128 letters, digits, '.', '_' or '-'")
    return name


def _url_of(*schemes: str) -> AfterValidator:
    def check(url: SecretUrl) -> SecretUrl:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError("a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return url

    return AfterValidator(check)


# Defaults are the stream's own, so that a service from a file and one from code behave alike.
_KAFKA, _REDIS, _ALARMS, _LIMITS = KafkaConfig(), RedisConfig(), AlarmConfig(), Limits()


def _readable(path: Path) -> Path:
    try:
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ValueError(f"a text file that can be read ({why})") from error
    return path


SecretFile = Annotated[Path, AfterValidator(_readable)]
Name = Annotated[str, AfterValidator(_plain_name)]


class Section(BaseModel):
    """A group of settings. A secret `x` may be read from a file instead, `x_file`, as containers mount them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)
    secrets: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        values = dict(data)
        for name in cls.secrets:
            path = values.get(f"{name}_file")
            if path is None:
                continue
            if values.get(name) is not None:
                raise ValueError(f"either {name} or {name}_file, not both")
            with suppress(OSError, UnicodeDecodeError, TypeError):  # `SecretFile` says what is wrong with it
                values[name] = Path(path).read_text(encoding="utf-8").strip()
        return values


class RecipeSettings(Section):
    """How one product view is inspected: the bank that `patchline fit` wrote."""

    bank: Annotated[str, PathOrUrl()] = Field(min_length=1, examples=["banks/bottle"])
    """Folder of the memory bank, or a URL such as `s3://bucket/bottle`; its newest generation judges."""
    deadline_s: float | None = Field(default=None, gt=0, examples=[0.5])
    """A frame judged later than this after it was taken is marked `late`, in seconds; unset: none is."""
    learns: bool = False
    """Learn what operators confirm. Off until someone decides it: a tap then changes what is rejected."""
    good_images: Path | None = Field(default=None, examples=["images/bottle/train/good"])
    """Folder that the bank was fitted to, for explanations to show good patches from; unset: from evidence only."""


class KafkaCamera(Section):
    """A camera whose frames come through Kafka. It need not be listed; listing it gives its frames their recipe."""

    source: Literal["kafka"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe of its frames that carry no `ce_recipe` header."""


class RtspCamera(Section):
    """A live camera, read over RTSP. It cannot be replayed: the freshest frame wins, and drops are counted."""

    secrets = ("url",)

    source: Literal["rtsp"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe that judges its frames."""
    url: Annotated[SecretUrl, _url_of("rtsp", "rtsps")] | None = Field(
        default=None, examples=["rtsp://camera-1.example/stream"]
    )
    """`rtsp://user:password@host/path`; credentials are never printed."""
    url_file: SecretFile | None = Field(default=None, examples=["/run/secrets/camera-1-url"])
    """File that holds the URL."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP carries the frames."""
    open_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Time for a connection to come about, in seconds."""
    read_timeout_s: float = Field(default=5.0, gt=0, le=600)
    """A stream silent for this long is opened again, in seconds."""

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        if self.url is None:
            raise ValueError("url or url_file")
        return self


class VideoCamera(Section):
    """A video file, read once, every frame."""

    source: Literal["video"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe that judges its frames."""
    path: Path = Field(examples=["recordings/monday.mp4"])
    """File that FFmpeg can read."""


class FolderCamera(Section):
    """A folder of images, read once in the order of their names."""

    source: Literal["folder"]
    """What kind of camera this is."""
    recipe: Name = Field(examples=["bottle"])
    """Recipe that judges its frames."""
    path: Path = Field(examples=["images/monday"])
    """Folder of image files."""
    recursive: bool = False
    """Read its subfolders too."""


Camera = Annotated[KafkaCamera | RtspCamera | VideoCamera | FolderCamera, Field(discriminator="source")]


class KafkaSettings(Section):
    """The broker that frames come from and results go to. Without `bootstrap` there is no Kafka."""

    secrets = ("password",)

    bootstrap: str | None = Field(default=None, min_length=1, examples=["localhost:9092"])
    """Brokers to begin with, `host:port`, several separated by commas; unset: no Kafka."""
    group: str = Field(default=_KAFKA.group, min_length=1)
    """Consumer group; the workers of a group share the partitions."""
    frames_topic: str = Field(default=_KAFKA.frames_topic, min_length=1)
    """Topic that encoded images are read from."""
    results_topic: str = Field(default=_KAFKA.results_topic, min_length=1)
    """Topic that results are written to."""
    dead_letters_topic: str = Field(default=_KAFKA.dead_letter_topic, min_length=1)
    """Topic that takes the bytes of frames that could not be inspected."""
    feedback_topic: str = Field(default=_KAFKA.feedback_topic, min_length=1)
    """Topic that feedback is read from, where a recipe learns."""
    feedback_replies_topic: str = Field(default=_KAFKA.feedback_replies_topic, min_length=1)
    """Topic that answers to feedback are written to."""
    generations_topic: str = Field(default=_KAFKA.generations_topic, min_length=1)
    """Compacted topic that tells every worker of new generations."""
    default_recipe: Name | None = Field(default=None, examples=["bottle"])
    """Recipe of frames that carry no `ce_recipe` header; unset: they are not inspected, for that reason."""
    delivery: Literal["exactly_once", "at_least_once"] = _KAFKA.delivery
    """`exactly_once`: results and offsets commit as one; `at_least_once`: results may be there twice after a crash."""
    start: Literal["earliest", "latest"] = _KAFKA.start
    """Where a group that has committed nothing begins."""
    create_topics: bool = True
    """Create topics that are missing, and let them take frames of `limits.max_frame_bytes`."""
    session_timeout_s: float = Field(default=_KAFKA.session_timeout_s, ge=1, le=1800)
    """A worker silent for this long loses its partitions, in seconds."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = _KAFKA.compression
    """Compression of results."""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Security protocol."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """SASL mechanism, where the protocol uses SASL."""
    username: str | None = Field(default=None, examples=["patchline"])
    """SASL user."""
    password: SecretStr | None = Field(default=None, examples=["change-me"])
    """SASL password."""
    password_file: SecretFile | None = Field(default=None, examples=["/run/secrets/kafka-password"])
    """File that holds the SASL password."""
    ca_file: Path | None = Field(default=None, examples=["/etc/patchline/kafka-ca.pem"])
    """Certificate authority (PEM) that the brokers are verified with; unset: the system's."""

    @model_validator(mode="after")
    def _login_complete(self) -> Self:
        if self.security.startswith("SASL") and (self.username is None or self.password is None):
            raise ValueError(f"username and password (or password_file), because security is {self.security}")
        return self


class RedisSettings(Section):
    """The Redis that holds alarms. Without `url` there are no alarms."""

    secrets = ("url", "password")

    url: Annotated[SecretUrl, _url_of("redis", "rediss", "unix")] | None = Field(
        default=None, examples=["redis://localhost:6379/0"]
    )
    """`redis://host:port/database`, `rediss://` for TLS; unset: no alarms."""
    url_file: SecretFile | None = Field(default=None, examples=["/run/secrets/redis-url"])
    """File that holds the URL."""
    password: SecretStr | None = Field(default=None, examples=["change-me"])
    """Password, where the URL has none."""
    password_file: SecretFile | None = Field(default=None, examples=["/run/secrets/redis-password"])
    """File that holds the password."""
    prefix: str = Field(default=_REDIS.prefix, min_length=1)
    """Begins the name of every key, stream and channel."""


class AlarmSettings(Section):
    """When a camera raises its alarm, and when its condition is normal again (k of n, m)."""

    rejects: int = Field(default=_ALARMS.k, ge=1, le=10_000)
    """k: so many rejects among a camera's last `window` inspected frames raise its alarm."""
    window: int = Field(default=_ALARMS.n, ge=1, le=10_000)
    """n: how many inspected frames of a camera are looked at."""
    passes: int = Field(default=_ALARMS.m, ge=1, le=100_000)
    """m: so many passes in a row return the condition to normal."""

    @model_validator(mode="after")
    def _k_of_n(self) -> Self:
        if self.rejects > self.window:
            raise ValueError(f"rejects (k) at most window (n), not {self.rejects} rejects among {self.window} frames")
        return self


class SinkSettings(Section):
    """Where results go besides the results topic and the alarms."""

    jsonl: Path | None = Field(default=None, examples=["results.jsonl"])
    """File that results are appended to, one JSON object a line; `-` is standard output; unset: none."""


class LimitSettings(Section):
    """Bounds on memory, size and time."""

    batch_size: int = Field(default=_LIMITS.batch_size, ge=1, le=1024)
    """A batch closes at this many frames."""
    linger_s: float = Field(default=_LIMITS.linger_s, ge=0, le=60)
    """How long a frame waits for others to fill its batch, in seconds."""
    max_in_flight: int = Field(default=_LIMITS.max_in_flight, ge=1, le=1_000_000)
    """Frames between source and commit; when reached, sources are not read (Kafka pauses, live cameras drop)."""
    max_in_flight_bytes: int = Field(default=_LIMITS.max_in_flight_bytes, ge=MIB)
    """The same in bytes of encoded images and received pixels."""
    decode_threads: int = Field(default=_LIMITS.decode_threads, ge=1, le=256)
    """Threads that decode images."""
    max_frame_bytes: int = Field(default=_LIMITS.max_frame_bytes, ge=1024, le=1024 * MIB)
    """Larger encoded images are not inspected, in bytes."""
    max_pixels: int = Field(default=_LIMITS.max_pixels, ge=1024, le=1_000_000_000)
    """Images of more pixels (height times width) are not decoded."""
    drain_s: float = Field(default=30.0, gt=0, le=3600)
    """Time for all steps of an orderly stop together, in seconds."""
    max_camera_labels: int = Field(default=256, ge=1, le=100_000)
    """Cameras that metrics tell apart; further ones are counted as `other`."""

    @model_validator(mode="after")
    def _a_batch_fits(self) -> Self:
        if self.max_in_flight < self.batch_size:
            raise ValueError(f"max_in_flight at least batch_size, not {self.max_in_flight} below {self.batch_size}")
        return self


class EngineSettings(Section):
    """Where the mathematics runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU where there is one."""
    search: Literal["auto", "faiss", "torch", "pruned"] = "auto"
    """Nearest-neighbour search; all give the same distances."""
    backbone_runtime: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the backbone on a CPU; `auto` is OpenVINO where `patchline[openvino]` is installed."""


class HttpSettings(Section):
    """`/metrics`, `/healthz` and `/readyz`, and with a token feedback, frames and explanations, on one port."""

    secrets = ("token",)

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; `0.0.0.0` is every interface (in a container)."""
    port: int = Field(default=9480, ge=0, le=65_535)
    """Port; 0 takes a free one, which the log names."""
    tls_certificate: Path | None = Field(default=None, examples=["/etc/patchline/tls.pem"])
    """Certificate (PEM, with intermediate authorities) for HTTPS; unset: plain HTTP."""
    tls_key: Path | None = Field(default=None, examples=["/run/secrets/tls-key.pem"])
    """Private key of the certificate (PEM, without a password)."""
    token: SecretStr | None = Field(default=None, min_length=16, examples=["a-long-random-text"])
    """Token that all but `/healthz` ask for (`Authorization: Bearer ...`); unset: who reaches the port may read
    metrics, and feedback, frames and explanations are off."""
    token_file: SecretFile | None = Field(default=None, examples=["/run/secrets/http-token"])
    """File that holds the token."""

    @model_validator(mode="after")
    def _tls_complete(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("both of tls_certificate and tls_key, or neither")
        return self


class LogSettings(Section):
    """What the process says of itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""
