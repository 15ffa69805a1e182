"""The sections on what a process does and how much of it: alarms, sinks, limits, engine, HTTP and log."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from patchline.ops.settings.base import Name, SecretFile, Section
from patchline.ops.settings.formats import Host, Token
from patchline.ops.settings.identities import TokenSettings, identities_of
from patchline.stream.alarms.config import AlarmLimits, JournalConfig
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import ConfigError
from patchline.stream.model.identity import Identity, Role
from patchline.stream.model.limits import Limits

# Defaults are the stream's own, so that a service from a file and one from code behave alike.
_ALARMS, _LIMITS, _JOURNAL, _ALARM_LIMITS = AlarmConfig(), Limits(), JournalConfig(), AlarmLimits()
UNNAMED = "token"
"""The name of the identity of `http.token`."""


def _folder_uri(prefix: str) -> str:
    try:
        Limits(frame_references=(prefix,))
    except ConfigError:
        raise ValueError("an absolute path, or the URI of a folder such as s3://bucket/frames") from None
    return prefix


class AlarmSettings(Section):
    """When a camera raises its alarm, and when its condition is normal again (k of n, m)."""

    rejects: int = Field(default=_ALARMS.k, ge=1, le=10_000)
    """k: so many rejects among a camera's last `window` inspected frames raise its alarm."""
    window: int = Field(default=_ALARMS.n, ge=1, le=10_000)
    """n: how many inspected frames of a camera are looked at."""
    passes: int = Field(default=_ALARMS.m, ge=1, le=100_000)
    """m: so many passes in a row return the condition to normal."""
    max_cameras: int = Field(default=_ALARM_LIMITS.max_cameras, ge=1, le=100_000)
    """Cameras that have alarms; those that are listed under `cameras` do in any case. Results of further ones are
    counted; `patchline alarms forget` makes room."""
    longest_shelf_s: float = Field(default=_ALARM_LIMITS.longest_shelf_s, ge=60, le=604_800)
    """How long `patchline alarms shelve` may keep an alarm quiet at once, in seconds."""
    rebuild_s: float = Field(default=86_400, ge=0, le=315_360_000)
    """With Kafka: where Redis knows nothing, alarms are made anew from the results of so many seconds."""
    journal: Path = _JOURNAL.path
    """Without Kafka: file in which judged frames wait while Redis is away; one for each service."""
    journal_size: int = Field(default=_JOURNAL.size, ge=1, le=100_000_000)
    """Judged frames that wait in the journal at most; beyond it the oldest make room."""

    @model_validator(mode="after")
    def _k_of_n(self) -> Self:
        if self.rejects > self.window:
            raise ValueError(f"rejects (k) at most window (n), not {self.rejects} rejects among {self.window} frames")
        return self

    def to_config(self) -> AlarmConfig:
        """The rule of alarms: k of n raise one, m passes end its condition."""
        return self._config(AlarmConfig, k=self.rejects, n=self.window, m=self.passes)

    def to_limits(self, listed: Iterable[str]) -> AlarmLimits:
        """How many cameras have alarms, and how long one may be shelved. `listed`: cameras that always have them."""
        return self._config(AlarmLimits, always=frozenset(listed))

    def to_journal_config(self) -> JournalConfig:
        """Where judged frames wait for Redis in a service without Kafka."""
        return self._config(JournalConfig, path=self.journal, size=self.journal_size)


class HealthSettings(Section):
    """Whether the pictures of live cameras can be judged: black, frozen, covered, blurred and the like."""

    enabled: bool = True
    """Look at every picture of a live camera; what cannot be judged is `not_inspected`, with the cause."""
    folder: Path = Path("patchline-cameras")
    """Folder that keeps what each camera's first hour has shown, over restarts; one for each service."""
    first_hour_s: float = Field(default=3_600, ge=60, le=604_800)
    """How long a camera is learned before its pictures are compared with what they were, in seconds of motion."""


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
    max_wait_s: float | None = Field(default=None, gt=0, le=3600, examples=[0.25])
    """A frame of Kafka or of a recording is read only when it is expected to wait at most so long for the engine, in
    seconds; unset: whenever there is room. Pictures of live cameras are always taken as late as may be."""
    commit_interval_s: float = Field(default=_LIMITS.commit_interval_s, ge=0, le=60)
    """Results of a partition that come sooner after one another, in seconds, are committed together while others of it
    are in flight: more of it costs the brokers less, 0 shows every result as soon as may be."""
    max_in_flight_bytes: int = Field(default=_LIMITS.max_in_flight_bytes, ge=MIB)
    """The same in bytes of encoded images and received pixels."""
    decode_threads: int = Field(default=_LIMITS.decode_threads, ge=1, le=256)
    """Threads that decode images."""
    max_frame_bytes: int = Field(default=_LIMITS.max_frame_bytes, ge=1024, le=1024 * MIB)
    """Larger encoded images are not inspected, in bytes."""
    max_referenced_bytes: int = Field(default=_LIMITS.max_referenced_bytes, ge=1024, le=4096 * MIB)
    """The same for images that come by reference; of each of `frame_references`, as many as `decode_threads` are in
    memory at once."""
    frame_references: list[Annotated[str, AfterValidator(_folder_uri)]] = Field(
        default=[], examples=[["s3://line-3/frames"]]
    )
    """Folders (absolute paths or fsspec URIs) below which frames may lie that come by reference; unset: none may."""
    max_pixels: int = Field(default=_LIMITS.max_pixels, ge=1024, le=1_000_000_000)
    """Images of more pixels (height times width) are not decoded."""
    decode_s: float = Field(default=_LIMITS.decode_s, ge=0.01, le=600)
    """Seconds of a processor that decoding any image may take; an image of many pixels may also take as long as some
    three ordinary ones of its format and size. What outlasts both is not inspected, for the reason `too_slow`."""
    drain_s: float = Field(default=30.0, gt=0, le=3600)
    """Time for all steps of an orderly stop together, in seconds."""
    watchdog_s: float = Field(default=60.0, ge=3, le=3600)
    """`/healthz` goes bad where the engine or the reading of Kafka has work and does not move for so long, in
    seconds."""
    max_camera_labels: int = Field(default=256, ge=1, le=100_000)
    """Cameras that metrics tell apart; further ones are counted as `other`."""

    @model_validator(mode="after")
    def _a_batch_fits(self) -> Self:
        if self.max_in_flight < self.batch_size:
            raise ValueError(f"max_in_flight at least batch_size, not {self.max_in_flight} below {self.batch_size}")
        return self

    def to_config(self) -> Limits:
        """Sizes and bounds of the stream."""
        return self._config(Limits)


class EngineSettings(Section):
    """Where the mathematics runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU where there is one."""
    search: Literal["auto", "faiss", "torch", "pruned"] = "auto"
    """Nearest-neighbour search; all give the same distances."""
    backbone_runtime: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the backbone on a CPU; `auto` is OpenVINO where `patchline[openvino]` is installed."""
    precision: Literal["auto", "float32"] = "auto"
    """How float32 banks are computed; `auto` is half precision on a GPU, with the same verdicts but for scores within
    1e-3 of the threshold, and float32 on a CPU. Banks in int8 or bfloat16 need `auto`."""
    hub_weights: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default=[], max_length=100, examples=[["resnet18.a1_in1k"]]
    )
    """timm's weights that may be downloaded from the Hugging Face Hub where a bank names them and they are not on this
    machine; unset: none may."""


class HttpSettings(Section):
    """`/metrics`, `/healthz` and `/readyz`, and with a token feedback, frames and explanations, on one port."""

    secrets = ("token",)

    host: Host = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; `0.0.0.0` is every interface (in a container)."""
    port: int = Field(default=9480, ge=0, le=65_535)
    """Port; 0 takes a free one, which the log names."""
    tls_certificate: Path | None = Field(default=None, examples=["/etc/patchline/tls.pem"])
    """Certificate (PEM, with intermediate authorities) for HTTPS; unset: plain HTTP."""
    tls_key: Path | None = Field(default=None, examples=["/run/secrets/tls-key.pem"])
    """Private key of the certificate (PEM, without a password)."""
    token: Token | None = Field(default=None, min_length=16, examples=["a-long-random-text"])
    """Token that all but `/healthz` ask for (`Authorization: Bearer ...`); unset: who reaches the port may read
    metrics, and feedback, frames and explanations are off."""
    token_file: SecretFile | None = Field(default=None, examples=["/run/secrets/http-token"])
    """File that holds the token."""
    tokens: Mapping[Name, TokenSettings] = Field(default_factory=dict)
    """Tokens of several people or programs by name, beside `token`, whose name is `token` and which opens all."""
    max_connections: int = Field(default=512, ge=8, le=100_000)
    """Connections at once; beyond it the one that has kept the server waiting for longest makes room."""
    max_head_bytes: int = Field(default=16_384, ge=1024, le=MIB)
    """Larger heads of requests are refused, in bytes."""
    handshake_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Time for TLS to be agreed upon, in seconds."""
    head_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Time for the head of a request, in seconds."""
    body_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Time for the body of a request, in seconds."""
    answer_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """An answer of which so long too little is taken (8 KiB a second, or half) is given up, in seconds."""
    keep_alive_s: float = Field(default=75.0, ge=1, le=3600)
    """How long a connection may idle between requests, in seconds."""

    @model_validator(mode="after")
    def _tls_complete(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("both of tls_certificate and tls_key, or neither")
        return self

    @model_validator(mode="after")
    def _tokens_differ(self) -> Self:
        named = [token.token.get_secret_value() for token in self.tokens.values() if token.token is not None]
        own = [self.token.get_secret_value()] if self.token is not None else []
        if len({*named, *own}) < len(named) + len(own):
            raise ValueError("a token of its own for each name: one token is one identity")
        if own and UNNAMED in self.tokens:
            raise ValueError(f"another name than {UNNAMED!r} among tokens: it is that of http.token")
        return self

    def identities(self) -> dict[str, Identity]:
        """Each identity by its token; that of `token` has all roles."""
        own = {self.token.get_secret_value(): Identity(UNNAMED, frozenset(Role))} if self.token is not None else {}
        return own | identities_of(self.tokens)


class LogSettings(Section):
    """What the process says of itself, on standard error or in a file."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written. SIGUSR1 makes it `debug` in a running process, and a second one as it was."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""
    file: Path | None = Field(default=None, examples=["/var/log/patchline/patchline.log"])
    """File that lines are appended to; opened anew once it was renamed or removed, and on SIGHUP; unset: standard
    error."""
