from typing import Any

import pytest

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.model.errors import ConfigError


def camera(**more: Any) -> CameraConfig:
    fields: dict[str, Any] = {"name": "cam", "recipe": "plate", "url": "rtsp://host/1"}
    return CameraConfig(**(fields | more))


@pytest.mark.parametrize(
    ("url", "live", "expected"),
    [
        ("rtsp://host/1", None, True),
        ("http://host/1", None, True),
        ("file:///video.mp4", None, False),
        ("video.mp4", None, False),
        ("rtsp://host/1", False, False),
        ("video.mp4", True, True),
    ],
)
def test_what_comes_over_a_network_is_live_unless_told(url: str, live: bool | None, expected: bool) -> None:
    """A recording can be asked for its next frame; a camera cannot."""
    assert camera(url=url, live=live).is_live is expected


@pytest.mark.parametrize(
    "name", ["open_timeout_s", "read_timeout_s", "reconnect_min_s", "reconnect_max_s", "max_pixels"]
)
def test_times_and_sizes_are_more_than_nothing(name: str) -> None:
    """0 is refused by name."""
    with pytest.raises(ConfigError, match=rf"^CameraConfig\.{name} is 0, expected more than 0$"):
        camera(**{name: 0})


@pytest.mark.parametrize("name", ["name", "recipe", "url"])
def test_a_camera_has_a_name_a_recipe_and_an_address(name: str) -> None:
    """None of them is empty."""
    with pytest.raises(ConfigError, match=rf"^CameraConfig\.{name} is empty"):
        camera(**{name: ""})


def test_what_a_camera_is_unless_told() -> None:
    """The defaults that the settings document; an address is not printed."""
    made = camera(url="rtsp://admin:1234@host/1")
    assert (made.transport, made.open_timeout_s, made.read_timeout_s) == ("tcp", 10.0, 5.0)
    assert (made.reconnect_min_s, made.reconnect_max_s, made.max_pixels) == (1.0, 10.0, 64_000_000)
    assert "1234" not in repr(made)
