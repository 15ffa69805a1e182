"""What is wrong with a settings file beyond its schema: banks that do not load, recipes nobody fitted, empty folders.

Schema and contents are checked together: where the schema finds fault, the parts that stand are still looked into, so
that one run names everything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from patchline.engine.errors import PatchlineError
from patchline.ops.errors import OpsError, Problem, SettingsError
from patchline.ops.settings.cameras import Camera, FolderCamera, KafkaCamera, RecipeSettings, RtspCamera, VideoCamera
from patchline.ops.settings.file import Reading, read_settings
from patchline.ops.settings.keys import either
from patchline.ops.settings.locations import is_url
from patchline.ops.settings.model import Settings
from patchline.ops.settings.process import AlarmSettings, SinkSettings
from patchline.ops.settings.rules import alarm_rule_problems
from patchline.ops.settings.servers import KafkaSettings, RedisSettings
from patchline.ops.web.tls import tls_of

Value = TypeVar("Value")


@dataclass(slots=True)
class CheckReport:
    """The problems found, and what the settings come to where there is none."""

    settings: Settings | None
    problems: list[Problem]
    summary: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of the settings that fit the schema."""

    recipes: Mapping[str, RecipeSettings]
    recipe_names: frozenset[str]
    cameras: Mapping[str, KafkaCamera | RtspCamera | VideoCamera | FolderCamera]
    kafka: KafkaSettings | None
    redis: RedisSettings | None
    alarms: AlarmSettings | None
    sinks: SinkSettings | None


def require_settings(file: Path) -> Settings:
    """The settings of a file that passed every check; raises SettingsError with all problems."""
    report = check_settings(file)
    if report.settings is None or report.problems:
        raise SettingsError(report.problems)
    return report.settings


def check_settings(file: Path, *, connect: bool = False) -> CheckReport:
    """Check a file and what it names; `connect` also asks whether brokers and Redis answer."""
    try:
        reading = read_settings(file)
    except SettingsError as error:
        return CheckReport(None, list(error.problems))
    parts = _parts(reading)
    summary: list[str] = []
    problems = [
        *reading.problems,
        *_missing_recipes(parts, reading),
        *_banks(parts, reading, summary),
        *_files(parts, reading),
        *alarm_rule_problems(parts.recipes, parts.cameras, parts.alarms, reading),
        *_tls(reading),
        *_nothing_to_do(parts, reading),
    ]
    if connect and reading.settings is not None:
        from patchline.ops.service.reachable import connection_problems

        problems += connection_problems(reading.settings, reading)
    return CheckReport(reading.settings, problems, summary)


def _parts(reading: Reading) -> _Parts:
    if reading.settings is not None:
        s = reading.settings
        return _Parts(s.recipes, frozenset(s.recipes), s.cameras, s.kafka, s.redis, s.alarms, s.sinks)
    merged = reading.merged
    recipes = _each(merged.get("recipes"), TypeAdapter(RecipeSettings))
    cameras = _each(merged.get("cameras"), TypeAdapter(Camera))
    names = merged.get("recipes")
    return _Parts(
        recipes=recipes,
        recipe_names=frozenset(names) if isinstance(names, Mapping) else frozenset(),
        cameras=cameras,
        kafka=_section(merged.get("kafka"), KafkaSettings),
        redis=_section(merged.get("redis"), RedisSettings),
        alarms=_section(merged.get("alarms"), AlarmSettings),
        sinks=_section(merged.get("sinks"), SinkSettings),
    )


def _each(values: Any, adapter: TypeAdapter[Value]) -> dict[str, Value]:
    good: dict[str, Value] = {}
    for name, value in values.items() if isinstance(values, Mapping) else ():
        try:
            good[name] = adapter.validate_python(value)
        except ValidationError:
            continue  # already a problem of the schema
    return good


M = TypeVar("M", bound=BaseModel)


def _section(value: Any, model: type[M]) -> M | None:
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError:
        return None  # already a problem of the schema


def _missing_recipes(parts: _Parts, reading: Reading) -> Iterator[Problem]:
    cameras = reading.merged.get("cameras")  # as given: one with another fault may name a missing recipe too
    wanted: list[tuple[tuple[str, ...], str]] = [
        (("cameras", str(name), "recipe"), camera["recipe"])
        for name, camera in (cameras.items() if isinstance(cameras, Mapping) else ())
        if isinstance(camera, Mapping) and isinstance(camera.get("recipe"), str)
    ]
    if parts.kafka is not None and parts.kafka.default_recipe is not None:
        wanted.append((("kafka", "default_recipe"), parts.kafka.default_recipe))
    for path, recipe in wanted:
        if recipe not in parts.recipe_names:
            near = get_close_matches(recipe, parts.recipe_names, n=1)
            hint = f": did you mean '{near[0]}'?" if near else ""
            known = either(sorted(parts.recipe_names)) if parts.recipe_names else "one that is listed under recipes"
            yield Problem(reading.place(path), ".".join(path), f"no recipe '{recipe}'", known + hint)


def _banks(parts: _Parts, reading: Reading, summary: list[str]) -> Iterator[Problem]:
    from patchline.engine.bank.store import load_bank

    for name, recipe in parts.recipes.items():
        path = ("recipes", name, "bank")
        place, key = reading.place(path), ".".join(path)
        if not is_url(recipe.bank) and not Path(recipe.bank).is_dir():
            yield Problem(place, key, f"no folder {recipe.bank}", "a folder that `patchline fit` wrote")
            continue
        try:
            bank = load_bank(recipe.bank)
        except PatchlineError as error:
            yield Problem(place, key, str(error), "a memory bank that `patchline fit` wrote")
            continue
        if bank.recipe.name != name:
            yield Problem(place, key, f"a bank of the recipe '{bank.recipe.name}'", f"one fitted with --name {name}")
        weights = bank.recipe.backbone.weights
        if weights.startswith("file:") and not Path(weights.removeprefix("file:")).is_file():
            yield Problem(
                place, key, f"its backbone's weights {weights} are not there", "the file that it was fitted with"
            )
        summary.append(
            f"recipe {name}: generation {bank.generation}, {len(bank.rows):,} rows, threshold {bank.threshold:.6g}"
        )


def _files(parts: _Parts, reading: Reading) -> Iterator[Problem]:
    for name, camera in parts.cameras.items():
        path = ("cameras", name, "path")
        if isinstance(camera, VideoCamera) and not camera.path.is_file():
            yield Problem(reading.place(path), ".".join(path), f"no file {camera.path}", "a video file")
        if isinstance(camera, FolderCamera) and not camera.path.is_dir():
            yield Problem(reading.place(path), ".".join(path), f"no folder {camera.path}", "a folder of images")
    jsonl = parts.sinks.jsonl if parts.sinks else None
    if jsonl is not None and str(jsonl) != "-" and (jsonl.is_dir() or not jsonl.parent.is_dir()):
        found = f"{jsonl} is a folder" if jsonl.is_dir() else f"no folder {jsonl.parent}"
        yield Problem(reading.place(("sinks", "jsonl")), "sinks.jsonl", found, "a file in a folder that exists")
    for section, ca_file in (
        ("kafka", parts.kafka.ca_file if parts.kafka else None),
        ("redis", parts.redis.ca_file if parts.redis else None),
    ):
        if ca_file is not None and not ca_file.is_file():
            yield Problem(reading.place((section, "ca_file")), f"{section}.ca_file", f"no file {ca_file}", "a PEM file")
    needs_journal = parts.redis and parts.redis.url and parts.kafka and parts.kafka.bootstrap is None
    if needs_journal and parts.alarms and not parts.alarms.journal.parent.is_dir():
        found = f"no folder {parts.alarms.journal.parent}"
        yield Problem(reading.place(("alarms", "journal")), "alarms.journal", found, "a file in a folder that exists")


def _tls(reading: Reading) -> Iterator[Problem]:
    if reading.settings is None:
        return
    try:
        tls_of(reading.settings.http)
    except OpsError as error:
        path = ("http", "tls_certificate")
        yield Problem(reading.place(path), ".".join(path), str(error), "a certificate and its key, in PEM files")


def _nothing_to_do(parts: _Parts, reading: Reading) -> Iterator[Problem]:
    if parts.kafka is None or reading.settings is None:
        return  # what the section says cannot be told
    needs_kafka = [name for name, camera in parts.cameras.items() if isinstance(camera, KafkaCamera)]
    if parts.kafka.bootstrap is None and needs_kafka:
        path = ("cameras", needs_kafka[0], "source")
        yield Problem(
            reading.place(path), ".".join(path), "kafka, but kafka.bootstrap is unset", "brokers to read from"
        )
    elif parts.kafka.bootstrap is None and not parts.cameras:
        yield Problem(str(reading.document.path), "cameras", "nothing to read", "a camera, or kafka.bootstrap")
