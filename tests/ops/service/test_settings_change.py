"""What differs between settings, and what of that can change while they run."""

from typing import Any

import pytest

from patchline.ops.service.settings_change import SettingsChange, change_between
from patchline.ops.settings.model import Settings


def settings(cameras: dict[str, Any], **more: Any) -> Settings:
    return Settings.model_validate({"recipes": {"tile": {"bank": "banks/tile"}}, "cameras": cameras} | more)


def rtsp(host: str, **more: Any) -> dict[str, Any]:
    return {"source": "rtsp", "recipe": "tile", "url": f"rtsp://user:secret@{host}/1", **more}


OLD = {"a": rtsp("a"), "b": rtsp("b"), "kafka": {"source": "kafka", "recipe": "tile"}}


def test_live_cameras_come_go_and_change() -> None:
    """By name; one whose settings are the same is not touched."""
    new = {"a": rtsp("a"), "b": rtsp("b", transport="udp"), "c": rtsp("c"), "kafka": OLD["kafka"]}
    assert change_between(settings(OLD), settings(new)) == SettingsChange(added=("c",), changed=("b",))
    assert change_between(settings(new), settings(OLD)) == SettingsChange(changed=("b",), removed=("c",))
    assert change_between(settings(OLD), settings(OLD)).is_empty


@pytest.mark.parametrize(
    ("cameras", "more", "keys"),
    [
        (OLD | {"kafka": {"source": "rtsp", "recipe": "tile", "url": "rtsp://k/1"}}, {}, ("cameras.kafka",)),
        (OLD | {"film": {"source": "video", "recipe": "tile", "path": "film.mp4"}}, {}, ("cameras.film",)),
        (OLD | {"a": rtsp("a", alarms={"rejects": 2})}, {}, ("cameras.a.alarms",)),
        (OLD | {"c": rtsp("c", alarms={"rejects": 2})}, {}, ("cameras.c.alarms",)),
        (OLD, {"limits": {"batch_size": 4, "drain_s": 1.0}}, ("limits.batch_size", "limits.drain_s")),
        (OLD, {"recipes": {"tile": {"bank": "banks/other"}}}, ("recipes.tile.bank",)),
        (
            OLD,
            {"recipes": {"tile": {"bank": "banks/tile"}, "more": {"bank": "banks/more"}}},
            ("recipes.more",),
        ),
        (OLD, {"http": {"token": "s3cret-s3cret-s3cret"}}, ("http.token",)),
    ],
)
def test_all_else_changes_only_with_a_start(
    cameras: dict[str, Any], more: dict[str, Any], keys: tuple[str, ...]
) -> None:
    """It is named by its key, and its value is not told."""
    assert change_between(settings(OLD), settings(cameras, **more)).needs_restart == keys
