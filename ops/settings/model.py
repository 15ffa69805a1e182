"""What a process runs with: one YAML file, overridden by the environment; frozen, and strict about unknown keys.

The sections are in `cameras.py`, `servers.py`, `evidence.py` and `process.py`, and each makes the stream's
configuration that it describes (`to_config`). `file.py` reads a file and explains what is wrong in it; what needs the
disk, or several keys together (bank files, recipes that cameras name), is checked in `ops/service/preflight.py`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from patchline.ops.settings.base import Name
from patchline.ops.settings.cameras import Camera, KafkaCamera, RecipeSettings, RtspCamera, VideoCamera
from patchline.ops.settings.evidence import DriftSettings, EvidenceSettings
from patchline.ops.settings.identities import FeedbackSettings
from patchline.ops.settings.process import (
    AlarmSettings,
    EngineSettings,
    HealthSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    SinkSettings,
)
from patchline.ops.settings.servers import KafkaSettings, RedisSettings
from patchline.stream.cameras.health.config import HealthConfig
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.alarm import AlarmRules
from patchline.stream.model.limits import RecipeConfig

ENV_PREFIX = "PATCHLINE__"
ENV_DELIMITER = "__"


class Settings(BaseSettings):
    """All settings of a process."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    recipes: Mapping[Name, RecipeSettings] = Field(min_length=1)
    """Recipes by name; the name is the one that frames ask for."""
    cameras: Mapping[Name, Camera] = Field(default_factory=dict)
    """Cameras by name. A camera that only sends to Kafka need not be listed."""
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    alarms: AlarmSettings = AlarmSettings()
    health: HealthSettings = HealthSettings()
    sinks: SinkSettings = SinkSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    drift: DriftSettings = DriftSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    limits: LimitSettings = LimitSettings()
    engine: EngineSettings = EngineSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @field_validator(
        *(
            "kafka",
            "redis",
            "alarms",
            "health",
            "sinks",
            "evidence",
            "drift",
            "feedback",
            "limits",
            "engine",
            "http",
            "log",
        ),
        mode="before",
    )
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        """A section whose keys are all commented out reads as null in YAML; it means the defaults."""
        return {} if value is None else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes it by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the file (given as arguments); no `.env`, whose place depends on the shell."""
        return env_settings, init_settings

    def kafka_config(self) -> KafkaConfig | None:
        """Brokers and topics, with the recipes of the cameras that send there; None where there is no Kafka."""
        return self.kafka.to_config(
            {name: camera.recipe for name, camera in self.cameras.items() if isinstance(camera, KafkaCamera)}
        )

    def recipe_configs(self) -> Mapping[str, RecipeConfig]:
        """What the stream needs to know of each recipe, by name."""
        return {name: recipe.to_config(name) for name, recipe in self.recipes.items()}

    def health_configs(self) -> Mapping[str, HealthConfig]:
        """How the pictures of each live camera are looked at, by its name; none where that is switched off."""
        if not self.health.enabled:
            return {}
        return {
            name: camera.to_health_config(
                name,
                fixture=(recipe := self.recipes.get(camera.recipe)) is not None and recipe.fixture,
                learns_for_s=self.health.first_hour_s,
            )
            for name, camera in self.cameras.items()
            if isinstance(camera, RtspCamera)
        }

    def opened_cameras(self) -> list[str]:
        """The cameras that the service opens itself, and whose state it tells."""
        return [name for name, camera in self.cameras.items() if isinstance(camera, RtspCamera | VideoCamera)]

    def alarm_rules(self) -> AlarmRules:
        """When each camera raises its alarm: the nearest of its own section, its recipe's and the general one."""
        general = self.alarms.to_config()
        recipes = {name: recipe.alarms.over(general) for name, recipe in self.recipes.items() if recipe.alarms}
        cameras = {
            name: camera.alarms.over(recipes.get(camera.recipe, general))
            for name, camera in self.cameras.items()
            if camera.alarms
        }
        return AlarmRules(general=general, recipes=recipes, cameras=cameras)

    def all_secrets(self) -> list[SecretStr]:
        """Every secret of these settings, so that logs can mask them."""
        rtsp = [camera.url for camera in self.cameras.values() if isinstance(camera, RtspCamera)]
        own = (self.kafka.password, self.redis.url, self.redis.password, self.http.token)
        tokens = [token.token for token in self.http.tokens.values()]
        keys = [key.key for key in self.feedback.keys.values()]
        return [secret for secret in (*own, *rtsp, *tokens, *keys) if secret is not None]
