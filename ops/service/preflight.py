"""What is wrong with a settings file beyond its schema: banks that do not load, recipes nobody fitted, empty folders.

Schema and contents are checked together: where the schema finds fault, the parts that stand are still looked into, so
that one run names everything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from patchline.engine.errors import PatchlineError
from patchline.engine.recipe import Backbone
from patchline.ops.errors import OpsError, Problem, SettingsError
from patchline.ops.settings.cameras import FolderCamera, KafkaCamera, RtspCamera, VideoCamera
from patchline.ops.settings.contradictions import contradictions, doubts
from patchline.ops.settings.file import Reading, read_settings
from patchline.ops.settings.keys import either
from patchline.ops.settings.locations import is_url
from patchline.ops.settings.model import Settings
from patchline.ops.settings.parts import Parts, parts_of
from patchline.ops.settings.rules import alarm_rule_problems
from patchline.ops.web.tls import tls_of
from patchline.stream.kafka.batches.decompression import missing_package
from patchline.stream.model.errors import EvidenceError


@dataclass(slots=True)
class CheckReport:
    """The problems found, and what the settings come to where there is none."""

    settings: Settings | None
    problems: list[Problem]
    summary: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    """What works, and not as one may think."""


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
    parts = parts_of(reading)
    summary: list[str] = []
    problems = [
        *reading.problems,
        *_missing_recipes(parts, reading),
        *_banks(parts, reading, summary),
        *_files(parts, reading),
        *_evidence(parts, reading),
        *alarm_rule_problems(parts.recipes, parts.cameras, parts.alarms, reading),
        *_tls(reading),
        *_compression(parts, reading),
        *_nothing_to_do(parts, reading),
        *contradictions(parts, reading),
    ]
    if connect and reading.settings is not None:
        from patchline.ops.service.reachable import connection_problems

        problems += connection_problems(reading.settings, reading)
    return CheckReport(reading.settings, problems, summary, list(doubts(parts, reading)))


def _missing_recipes(parts: Parts, reading: Reading) -> Iterator[Problem]:
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


def _banks(parts: Parts, reading: Reading, summary: list[str]) -> Iterator[Problem]:
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
        if bank.recipe.backbone.library == "timm" and ":" not in weights:
            yield from _weights_to_fetch(bank.recipe.backbone, reading, path)
        yield from _precision(parts, reading, name, bank.recipe.backbone.precision)
        summary.append(
            f"recipe {name}: generation {bank.generation}, {len(bank.rows):,} rows, threshold {bank.threshold:.6g}"
        )


def _weights_to_fetch(backbone: Backbone, reading: Reading, path: tuple[str, ...]) -> Iterator[Problem]:
    """Weights that are not on this machine, and that the settings do not let be downloaded."""
    from patchline.engine.features.weight_files import hub_name, locate

    if reading.settings is None or hub_name(backbone) in reading.settings.engine.hub_weights:
        return
    try:
        locate(backbone)
    except PatchlineError as error:
        yield Problem(reading.place(path), ".".join(path), str(error), "a bank whose weights are here")


def _precision(parts: Parts, reading: Reading, recipe: str, precision: str) -> Iterator[Problem]:
    """A bank below float32 rests on products that only `engine` settings of `auto` give it."""
    if precision == "float32" or parts.engine is None:
        return
    for key, other in (("precision", "float32"), ("backbone_runtime", "openvino"), ("device", "cuda")):
        if getattr(parts.engine, key) == other:
            path, found = ("engine", key), f"{other}, and the bank of recipe {recipe} is in {precision}"
            yield Problem(reading.place(path), ".".join(path), found, "auto, or a bank in float32")


def _files(parts: Parts, reading: Reading) -> Iterator[Problem]:
    for name, camera in parts.cameras.items():
        path = ("cameras", name, "path")
        if isinstance(camera, VideoCamera) and not camera.path.is_file():
            yield Problem(reading.place(path), ".".join(path), f"no file {camera.path}", "a video file")
        if isinstance(camera, FolderCamera) and not camera.path.is_dir():
            yield Problem(reading.place(path), ".".join(path), f"no folder {camera.path}", "a folder of images")
        ca_file = camera.ca_file if isinstance(camera, RtspCamera) else None
        if ca_file is not None and not ca_file.is_file():
            path = ("cameras", name, "ca_file")
            yield Problem(reading.place(path), ".".join(path), f"no file {ca_file}", "a PEM file")
    jsonl = parts.sinks.jsonl if parts.sinks else None
    if jsonl is not None and str(jsonl) != "-" and (jsonl.is_dir() or not jsonl.parent.is_dir()):
        found = f"{jsonl} is a folder" if jsonl.is_dir() else f"no folder {jsonl.parent}"
        yield Problem(reading.place(("sinks", "jsonl")), "sinks.jsonl", found, "a file in a folder that exists")
    log_file = parts.log.file if parts.log else None
    if log_file is not None and (log_file.is_dir() or not log_file.parent.is_dir()):
        found = f"{log_file} is a folder" if log_file.is_dir() else f"no folder {log_file.parent}"
        yield Problem(reading.place(("log", "file")), "log.file", found, "a file in a folder that exists")
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


def _evidence(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """A place for evidence that nothing here can write to."""
    url = parts.evidence.url if parts.evidence else None
    if url is None or not is_url(url):
        return
    from patchline.stream.evidence.store import EvidenceStore

    try:
        EvidenceStore(url, keep_s=0, keep_bytes=0)
    except EvidenceError as error:
        path = ("evidence", "url")
        yield Problem(reading.place(path), ".".join(path), str(error), "a folder, or a URL whose package is installed")


def _tls(reading: Reading) -> Iterator[Problem]:
    if reading.settings is None:
        return
    try:
        tls_of(reading.settings.http)
    except OpsError as error:
        path = ("http", "tls_certificate")
        yield Problem(reading.place(path), ".".join(path), str(error), "a certificate and its key, in PEM files")


def _compression(parts: Parts, reading: Reading) -> Iterator[Problem]:
    compression = parts.kafka.compression if parts.kafka else "none"
    if (package := missing_package(compression)) is not None:
        path = ("kafka", "compression")
        expected = f"{package} to be installed, or none or gzip"
        yield Problem(reading.place(path), ".".join(path), f"{compression}, whose library is not installed", expected)


def _nothing_to_do(parts: Parts, reading: Reading) -> Iterator[Problem]:
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
