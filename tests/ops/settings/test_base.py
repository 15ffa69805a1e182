"""A section makes its configuration: every setting arrives where it is used, under its own name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from patchline.ops.settings.base import Name, Section
from patchline.ops.settings.cameras import FolderCamera, RecipeSettings, RtspCamera, VideoCamera
from patchline.ops.settings.process import AlarmSettings, LimitSettings
from patchline.ops.settings.servers import KafkaSettings, RedisSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KAFKA = {
    "bootstrap": "b:1",
    "group": "g",
    "frames_topic": "f",
    "results_topic": "r",
    "dead_letters_topic": "d",
    "feedback_topic": "fb",
    "feedback_replies_topic": "fr",
    "generations_topic": "ge",
    "cameras_topic": "ca",
    "default_recipe": "tile",
    "delivery": "at_least_once",
    "start": "latest",
    "session_timeout_s": 30.0,
    "compression": "zstd",
    "security": "SASL_SSL",
    "mechanism": "PLAIN",
    "username": "u",
    "password": "pw",
    "ca_file": Path("ca.pem"),
}
LIMITS = {
    "max_frame_bytes": 2048,
    "max_referenced_bytes": 4096,
    "frame_references": ["/srv/frames"],
    "max_pixels": 5000,
    "decode_s": 0.7,
    "batch_size": 3,
    "linger_s": 0.5,
    "max_in_flight": 7,
    "max_wait_s": 0.25,
    "commit_interval_s": 0.75,
    "max_in_flight_bytes": 2**21,
    "decode_threads": 5,
}
RTSP = {
    "source": "rtsp",
    "recipe": "tile",
    "transport": "udp",
    "open_timeout_s": 3.0,
    "read_timeout_s": 4.0,
    "ca_file": Path("cameras.pem"),
}


@dataclass(frozen=True)
class Case:
    """A section with every setting set, the configuration it makes, and the fields that users know by other names."""

    made: "DataclassInstance"
    settings: Mapping[str, Any]
    elsewhere: Mapping[str, Any]
    """Fields that come from a setting of another name, or from elsewhere, with their values."""
    fixed: frozenset[str] = frozenset()
    """Fields that no setting reaches: the stream's own constants."""


def _kafka() -> Case:
    made = KafkaSettings.model_validate(KAFKA).to_config({"a": "plate"})
    assert made is not None
    elsewhere = {
        "bootstrap_servers": "b:1",
        "dead_letter_topic": "d",
        "camera_recipes": {"a": "plate"},
        "revoke_timeout_s": 15.0,
        "password_file": None,
    }
    fixed = ("client_id", "partition_buffer_frames", "partition_buffer_bytes", "fetch_max_bytes", "lag_interval_s")
    return Case(made, KAFKA, elsewhere, frozenset(fixed))


def _redis() -> Case:
    settings = {"url": "rediss://u@h:1/2", "password": "p/w", "prefix": "x:", "ca_file": Path("ca.pem")}
    made = RedisSettings.model_validate(settings).to_config()
    assert made is not None
    elsewhere = {"url": "rediss://u:p%2Fw@h:1/2", "url_file": None, "password_file": None}
    return Case(made, settings, elsewhere, frozenset({"timeout_s", "events_kept"}))


def _alarm_limits() -> Case:
    settings = {"max_cameras": 7, "longest_shelf_s": 90.0}
    made = AlarmSettings.model_validate(settings).to_limits(["gate"])
    return Case(made, settings, {"always": frozenset({"gate"})})


def _alarms() -> Case:
    settings = {"rejects": 4, "window": 6, "passes": 8}
    return Case(AlarmSettings.model_validate(settings).to_config(), {}, {"k": 4, "n": 6, "m": 8})


def _journal() -> Case:
    section = AlarmSettings.model_validate({"journal": "j.sqlite3", "journal_size": 9})
    return Case(section.to_journal_config(), {}, {"path": Path("j.sqlite3"), "size": 9})


def _rtsp() -> Case:
    url = "rtsp://u:p@h/1"
    made = RtspCamera.model_validate(RTSP | {"url": url}).to_config("c1", 5000)
    elsewhere = {"name": "c1", "live": True, "max_pixels": 5000, "url": url}
    return Case(made, RTSP, elsewhere, frozenset({"reconnect_min_s", "reconnect_max_s", "url_file"}))


def _video() -> Case:
    settings = {"source": "video", "recipe": "tile", "path": "a.mp4"}
    made = VideoCamera.model_validate(settings).to_config("c1", 5000)
    elsewhere = {"name": "c1", "live": False, "max_pixels": 5000, "url": "a.mp4"}
    live_only = (
        "transport",
        "open_timeout_s",
        "read_timeout_s",
        "reconnect_min_s",
        "reconnect_max_s",
        "url_file",
        "ca_file",
    )
    return Case(made, settings, elsewhere, frozenset(live_only))


def _folder() -> Case:
    settings = {"source": "folder", "recipe": "tile", "path": Path("images"), "recursive": True}
    return Case(FolderCamera.model_validate(settings).to_config("c1"), settings, {"camera": "c1"})


CASES: dict[str, Callable[[], Case]] = {
    "kafka": _kafka,
    "limits": lambda: Case(LimitSettings.model_validate(LIMITS).to_config(), LIMITS, {}),
    "redis": _redis,
    "alarms": _alarms,
    "alarm limits": _alarm_limits,
    "journal": _journal,
    "recipe": lambda: Case(
        RecipeSettings(bank="b", deadline_s=0.5).to_config("tile"), {"deadline_s": 0.5}, {"name": "tile"}
    ),
    "rtsp": _rtsp,
    "video": _video,
    "folder": _folder,
}


@pytest.mark.parametrize("name", CASES)
def test_every_field_of_a_configuration_is_set_by_its_section(name: str) -> None:
    """Each field has the setting's value, or is named here as one that no setting reaches."""
    case = CASES[name]()
    wanted: dict[str, Any] = {field.name: case.settings.get(field.name) for field in fields(case.made)}
    wanted |= case.elsewhere
    wanted = {key: tuple(value) if isinstance(value, list) else value for key, value in wanted.items()}
    found = {field.name: getattr(case.made, field.name) for field in fields(case.made)}
    assert {n: v for n, v in found.items() if n not in case.fixed} == {
        n: v for n, v in wanted.items() if n not in case.fixed
    }
    assert case.fixed <= set(found)


@pytest.mark.parametrize(
    ("name", "section", "renamed", "used_by_ops"),
    [
        ("kafka", KafkaSettings, {"bootstrap", "dead_letters_topic"}, {"create_topics"}),
        ("limits", LimitSettings, set(), {"drain_s", "max_camera_labels", "watchdog_s"}),
        ("redis", RedisSettings, {"password"}, set()),
        ("rtsp", RtspCamera, {"line", "runs", "healthy"}, {"source", "alarms"}),
        ("video", VideoCamera, {"path"}, {"source", "alarms"}),
        ("folder", FolderCamera, set(), {"source", "alarms"}),
    ],
)
def test_every_setting_arrives_in_a_configuration(
    name: str, section: type[Section], renamed: set[str], used_by_ops: set[str]
) -> None:
    """A key of these sections is a field of the configuration, or is named here as what `ops` itself uses."""
    arrived = {field.name for field in fields(CASES[name]().made)} | renamed
    assert set(section.model_fields) - arrived == used_by_ops


def test_without_a_server_there_is_no_configuration() -> None:
    """No brokers: no Kafka; no URL: no alarms."""
    assert KafkaSettings().to_config({}) is None
    assert RedisSettings().to_config() is None


def test_a_section_reveals_secrets_and_freezes_lists() -> None:
    """The stream gets the secret's text and a tuple, and what the section does not have keeps its default."""

    @dataclass
    class Made:
        secret: str
        names: tuple[str, ...]
        kept: int = 5
        given: str = ""

    class Small(Section):
        secret: SecretStr
        names: list[str]
        other: int = 1

    small = Small(secret=SecretStr("s"), names=["a", "b"])
    assert small._config(Made, given="g") == Made("s", ("a", "b"), 5, "g")


@pytest.mark.parametrize(("name", "good"), [("a", True), ("a" * 128, True), ("a" * 129, False), ("", False)])
def test_names_have_1_to_128_letters(name: str, good: bool) -> None:
    """A name is bounded, and holds nothing that a path or a topic could not."""
    check = TypeAdapter(Name).validate_python
    if good:
        assert check(name) == name
        assert check("l-1_a.b") == "l-1_a.b"
        with pytest.raises(ValidationError):
            check(f"{name[:100]}/")
    else:
        with pytest.raises(ValidationError, match="1 to 128"):
            check(name)


def test_files_of_secrets_are_read_at_the_start_and_stay_known(tmp_path: Path) -> None:
    """The stream reads them again at each connection."""
    url, password = tmp_path / "url", tmp_path / "password"
    url.write_text("redis://worker@h:1/0\n")
    password.write_text("pw\n")
    redis = RedisSettings.model_validate({"url_file": str(url), "password_file": str(password)}).to_config()
    assert redis is not None
    assert (redis.url, redis.url_file, redis.password_file) == ("redis://worker:pw@h:1/0", url, password)
    login = {"security": "SASL_SSL", "username": "u", "password_file": str(password)}
    kafka = KafkaSettings.model_validate({"bootstrap": "b:1"} | login).to_config({})
    assert kafka is not None
    assert (kafka.password, kafka.password_file) == ("pw", password)
