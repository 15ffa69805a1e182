"""The parts of a settings file that stand, where the whole does not: one run then names every problem."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from patchline.ops.settings.cameras import Camera, FolderCamera, KafkaCamera, RecipeSettings, RtspCamera, VideoCamera
from patchline.ops.settings.evidence import EvidenceSettings
from patchline.ops.settings.file import Reading
from patchline.ops.settings.process import (
    AlarmSettings,
    EngineSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    SinkSettings,
)
from patchline.ops.settings.servers import KafkaSettings, RedisSettings

Value = TypeVar("Value")
SectionKind = TypeVar("SectionKind", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The recipes, cameras and sections that fit the schema; None for a section that does not."""

    recipes: Mapping[str, RecipeSettings]
    recipe_names: frozenset[str]
    """Also of those that do not fit."""
    cameras: Mapping[str, KafkaCamera | RtspCamera | VideoCamera | FolderCamera]
    kafka: KafkaSettings | None
    redis: RedisSettings | None
    alarms: AlarmSettings | None
    sinks: SinkSettings | None
    evidence: EvidenceSettings | None
    limits: LimitSettings | None
    engine: EngineSettings | None
    http: HttpSettings | None
    log: LogSettings | None


def parts_of(reading: Reading) -> Parts:
    """What of a file fits the schema, each part by itself."""
    if (whole := reading.settings) is not None:
        sections = {name: getattr(whole, name) for name in Parts.__dataclass_fields__ if name != "recipe_names"}
        return Parts(recipe_names=frozenset(whole.recipes), **sections)
    merged = reading.merged
    names = merged.get("recipes")
    return Parts(
        recipes=_each(names, TypeAdapter(RecipeSettings)),
        recipe_names=frozenset(names) if isinstance(names, Mapping) else frozenset(),
        cameras=_each(merged.get("cameras"), TypeAdapter(Camera)),
        kafka=_section(merged.get("kafka"), KafkaSettings),
        redis=_section(merged.get("redis"), RedisSettings),
        alarms=_section(merged.get("alarms"), AlarmSettings),
        sinks=_section(merged.get("sinks"), SinkSettings),
        evidence=_section(merged.get("evidence"), EvidenceSettings),
        limits=_section(merged.get("limits"), LimitSettings),
        engine=_section(merged.get("engine"), EngineSettings),
        http=_section(merged.get("http"), HttpSettings),
        log=_section(merged.get("log"), LogSettings),
    )


def _each(values: Any, adapter: TypeAdapter[Value]) -> dict[str, Value]:
    good: dict[str, Value] = {}
    for name, value in values.items() if isinstance(values, Mapping) else ():
        try:
            good[name] = adapter.validate_python(value)
        except ValidationError:
            continue  # already a problem of the schema
    return good


def _section(value: Any, model: type[SectionKind]) -> SectionKind | None:
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError:
        return None  # already a problem of the schema
