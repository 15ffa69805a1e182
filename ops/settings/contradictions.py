"""What settings say together that cannot be, or has no effect: each is right by itself, and a schema sees one only."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

from patchline.ops.errors import Problem
from patchline.ops.settings.cameras import RtspCamera, VideoCamera
from patchline.ops.settings.file import Reading
from patchline.ops.settings.locations import is_this_machine
from patchline.ops.settings.parts import Parts
from patchline.ops.settings.servers import KafkaSettings
from patchline.ops.settings.yaml_lines import KeyPath

_FRAME_TOPICS = ("frames_topic", "results_topic", "dead_letters_topic")
_LEARNING_TOPICS = ("feedback_topic", "feedback_replies_topic", "generations_topic")
_MAY_SHARE = {("results_topic", "dead_letters_topic")}
"""Nobody reads dead letters but people, and whoever reads results passes over them."""


def contradictions(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """What cannot work as it is written."""
    if parts.kafka is not None and parts.kafka.bootstrap is not None:
        learning = any(recipe.learns for recipe in parts.recipes.values())
        opened = any(isinstance(camera, RtspCamera | VideoCamera) for camera in parts.cameras.values())
        yield from _topics(parts.kafka, learning, opened, reading)
    yield from _shared_files(parts, reading)


def doubts(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """What works, but has no effect, or hardly the one that is meant."""
    yield from _plain_tokens(parts, reading)
    yield from _without_effect(parts, reading)
    yield from _sizes(parts, reading)
    yield from _learning(parts, reading)
    yield from _same_camera(parts, reading)


def _topics(kafka: KafkaSettings, learning: bool, opened: bool, reading: Reading) -> Iterator[Problem]:
    """Topics that feed themselves, and names that Kafka takes for the same."""
    keys = (*_FRAME_TOPICS, *(_LEARNING_TOPICS if learning else ()), *(("cameras_topic",) if opened else ()))
    for one, other in combinations(keys, 2):
        name, other_name = getattr(kafka, one), getattr(kafka, other)
        key, known, known_name = (other, one, name) if _is_set(reading, ("kafka", other)) else (one, other, other_name)
        if name == other_name and (one, other) not in _MAY_SHARE:
            expected = "a topic of its own: what is written to the one would be read from the other"
            yield _problem(reading, ("kafka", key), f"'{name}', which kafka.{known} is too", expected)
        elif name != other_name and name.replace(".", "_") == other_name.replace(".", "_"):
            expected = "a name that differs in more than '.' and '_', which Kafka takes for the same"
            found = f"'{getattr(kafka, key)}', where kafka.{known} is '{known_name}'"
            yield _problem(reading, ("kafka", key), found, expected)


def _shared_files(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """Two outputs in one file: each would tear the other's lines."""
    written: dict[Path, str] = {}
    outputs: list[tuple[KeyPath, Path | None]] = [
        (("sinks", "jsonl"), parts.sinks.jsonl if parts.sinks else None),
        (("log", "file"), parts.log.file if parts.log else None),
    ]
    needs_journal = parts.redis and parts.redis.url and parts.kafka and parts.kafka.bootstrap is None
    if needs_journal and parts.alarms:
        outputs.append((("alarms", "journal"), parts.alarms.journal))
    for path, file in outputs:
        if file is None or str(file) == "-":
            continue
        if (other := written.setdefault(file.absolute(), ".".join(path))) != ".".join(path):
            yield _problem(reading, path, f"{file}, which {other} is too", "a file of its own")


def _plain_tokens(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """Tokens that others on the network can read."""
    http = parts.http
    if http is None or http.tls_certificate is not None or is_this_machine(http.host):
        return
    if count := len(http.identities()):
        tokens = "the token crosses" if count == 1 else f"{count:,} tokens cross"
        found = f"unset, so {tokens} the network to {http.host} in the clear"
        yield _problem(reading, ("http", "tls_certificate"), found, "a certificate, or TLS in front of this port")


def _without_effect(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """Keys that are set, and that nothing reads as the others stand."""
    if (kafka := parts.kafka) is not None:
        if kafka.bootstrap is None:
            for key in _given(reading, "kafka"):
                yield _unread(reading, ("kafka", key), "kafka.bootstrap, because it is unset and there is no Kafka")
        else:
            for key in ("username", "password", "password_file", "mechanism"):
                if not kafka.security.startswith("SASL") and _is_set(reading, ("kafka", key)):
                    expected = f"kafka.security SASL_SSL or SASL_PLAINTEXT, because it is {kafka.security}"
                    yield _unread(reading, ("kafka", key), expected)
            if kafka.ca_file is not None and not kafka.security.endswith("SSL"):
                expected = f"kafka.security SSL or SASL_SSL, because it is {kafka.security}"
                yield _unread(reading, ("kafka", "ca_file"), expected)
    if parts.redis is not None and parts.redis.url is None:
        for section in ("redis", "alarms"):
            for key in _given(reading, section):
                yield _unread(reading, (section, key), "redis.url, because it is unset and there are no alarms")
    if parts.evidence is not None and parts.evidence.url is None:
        for key in _given(reading, "evidence"):
            yield _unread(reading, ("evidence", key), "evidence.url, because it is unset and nothing is kept")


def _sizes(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """Bounds that the largest frame which another bound lets in never fits."""
    limits, evidence = parts.limits, parts.evidence
    if limits is None:
        return
    largest = f"at least limits.max_frame_bytes ({limits.max_frame_bytes:,})"
    if limits.max_in_flight_bytes < limits.max_frame_bytes:
        found = f"{limits.max_in_flight_bytes:,}: the largest frames are inspected one at a time"
        yield _problem(reading, ("limits", "max_in_flight_bytes"), found, largest)
    if evidence is not None and evidence.url is not None:
        for key in ("queue_bytes", "keep_bytes"):
            if (size := getattr(evidence, key)) < limits.max_frame_bytes:
                yield _problem(reading, ("evidence", key), f"{size:,}: the largest frames are not kept", largest)
    for name, recipe in parts.recipes.items():
        if recipe.deadline_s is not None and recipe.deadline_s <= limits.linger_s:
            found = f"{recipe.deadline_s:g}: a frame may wait as long for its batch, and is late then"
            expected = f"more than limits.linger_s ({limits.linger_s:g})"
            yield _problem(reading, ("recipes", name, "deadline_s"), found, expected)


def _learning(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """Recipes that learn where nobody can say anything, or whose frames are not kept."""
    for name, recipe in parts.recipes.items():
        path = ("recipes", name, "learns")
        if recipe.good_images is not None and not recipe.good_images.is_dir():
            found = f"no folder {recipe.good_images}"
            yield _problem(reading, ("recipes", name, "good_images"), found, "the folder that the bank was fitted to")
        if not recipe.learns:
            continue
        if parts.kafka and parts.kafka.bootstrap is None and parts.http and not _takes_feedback(parts):
            yield _problem(reading, path, "true, and nobody can give feedback", "kafka.bootstrap, or http.token")
        elif parts.evidence is not None and parts.evidence.url is None:
            expected = "evidence.url, or feedback that brings its image"
            yield _problem(reading, path, "true, and no frame is kept that could be confirmed by its id", expected)


def _takes_feedback(parts: Parts) -> bool:
    http = parts.http
    return http is not None and bool(http.identities())


def _same_camera(parts: Parts, reading: Reading) -> Iterator[Problem]:
    """One stream under two names: every part of it would be inspected twice."""
    first: dict[str, str] = {}
    for name, camera in parts.cameras.items():
        if isinstance(camera, RtspCamera) and camera.url is not None:
            other = first.setdefault(camera.url.get_secret_value(), name)
            if other != name:
                yield _problem(reading, ("cameras", name, "url"), f"that of camera '{other}'", "a stream of its own")


def _given(reading: Reading, section: str) -> list[str]:
    """The keys of a section that are set, by the file or the environment."""
    values = reading.merged.get(section)
    return [str(key) for key, value in values.items() if value is not None] if isinstance(values, Mapping) else []


def _is_set(reading: Reading, path: KeyPath) -> bool:
    section, key = path
    return key in _given(reading, section)


def _unread(reading: Reading, path: KeyPath, expected: str) -> Problem:
    return _problem(reading, path, "set, and read by nothing", expected)


def _problem(reading: Reading, path: KeyPath, found: str, expected: str) -> Problem:
    return Problem(reading.place(path), ".".join(path), found, expected)
