"""The sections on the servers that a process talks to: Kafka and Redis."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from patchline.ops.settings.base import Name, SecretFile, Section, url_of
from patchline.ops.settings.formats import Brokers, Group, Topic, check_redis_url
from patchline.ops.settings.secrets import SecretUrl
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.kafka.config import KafkaConfig

# Defaults are the stream's own, so that a service from a file and one from code behave alike.
_KAFKA, _REDIS = KafkaConfig(), RedisConfig()


class KafkaSettings(Section):
    """The broker that frames come from and results go to. Without `bootstrap` there is no Kafka."""

    secrets = ("password",)

    bootstrap: Brokers | None = Field(default=None, min_length=1, examples=["localhost:9092"])
    """Brokers to begin with, `host:port`, several separated by commas; unset: no Kafka."""
    group: Group = Field(default=_KAFKA.group, min_length=1)
    """Consumer group; the workers of a group share the partitions."""
    frames_topic: Topic = Field(default=_KAFKA.frames_topic, min_length=1)
    """Topic that encoded images are read from."""
    results_topic: Topic = Field(default=_KAFKA.results_topic, min_length=1)
    """Topic that results are written to."""
    dead_letters_topic: Topic = Field(default=_KAFKA.dead_letter_topic, min_length=1)
    """Topic that takes the bytes of frames that could not be inspected."""
    feedback_topic: Topic = Field(default=_KAFKA.feedback_topic, min_length=1)
    """Topic that feedback is read from, where a recipe learns."""
    feedback_replies_topic: Topic = Field(default=_KAFKA.feedback_replies_topic, min_length=1)
    """Topic that answers to feedback are written to."""
    generations_topic: Topic = Field(default=_KAFKA.generations_topic, min_length=1)
    """Compacted topic that tells every worker of new generations."""
    cameras_topic: Topic = Field(default=_KAFKA.cameras_topic, min_length=1)
    """Topic that changes of cameras' states are written to, where the service opens some."""
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

    def to_config(self, camera_recipes: Mapping[str, str]) -> KafkaConfig | None:
        """Brokers and topics; None where there is no Kafka. `camera_recipes`: the recipe of each listed camera."""
        if self.bootstrap is None:
            return None
        return self._config(
            KafkaConfig,
            bootstrap_servers=self.bootstrap,
            dead_letter_topic=self.dead_letters_topic,
            camera_recipes=camera_recipes,
            revoke_timeout_s=self.session_timeout_s / 2,
        )


class RedisSettings(Section):
    """The Redis that holds alarms. Without `url` there are no alarms."""

    secrets = ("url", "password")

    url: Annotated[SecretUrl, url_of("redis", "rediss", "unix"), AfterValidator(check_redis_url)] | None = Field(
        default=None, examples=["rediss://worker@redis.example:6380/0"]
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
    ca_file: Path | None = Field(default=None, examples=["/etc/patchline/redis-ca.pem"])
    """Certificate authority (PEM) that a `rediss://` server is verified with; unset: the system's."""

    @model_validator(mode="after")
    def _ca_is_for_tls(self) -> Self:
        if self.ca_file is not None and self.url and not self.url.get_secret_value().startswith("rediss://"):
            raise ValueError("a url that begins with rediss://, because ca_file is set")
        return self

    def to_config(self) -> RedisConfig | None:
        """Where alarms live, the password in its URL; None where there are none."""
        if self.url is None:
            return None
        url = self.url.get_secret_value()
        if self.password is not None:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            login = f"{parts.username or ''}:{quote(self.password.get_secret_value(), safe='')}"
            url = urlunsplit(parts._replace(netloc=f"{login}@{host}"))
        return self._config(RedisConfig, url=url)
