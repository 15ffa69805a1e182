"""A small line to look at: parts pass over a patterned ground, and every picture has noise."""

from functools import cache

import cv2
import msgspec
import numpy as np

from patchline.engine.types import Image
from patchline.stream.cameras.health.camera_health import CameraHealth
from patchline.stream.cameras.health.config import HealthConfig
from patchline.stream.cameras.health.references import Learned

SIZE_PX = (192, 256)
HOUR_S = 60.0


def view(at_s: float, *, light: float = 1.0, parts: bool = True, fixture: bool = False, noise: bool = True) -> Image:
    """The picture at a time, RGB uint8 (H, W, 3): a disc passes, or lies in the middle, on a grid of dark lines."""
    height, width = SIZE_PX
    picture = np.full((height, width), 120, np.float32)
    picture[::24] = picture[:, ::32] = 60
    picture[:20, :40] = 190
    if parts:
        x = width // 2 if fixture else int(at_s * 37) % (width + 80) - 40
        grey = 200 if not fixture else 170 + int(at_s) % 3 * 15
        cv2.circle(picture, (x, height // 2), 30, (grey,), -1)
    picture *= light
    if noise:
        picture += np.random.default_rng(int(at_s * 1_000) % 2**31).normal(0, 1.5, picture.shape)
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def taught(*, fixture: bool = False, **given: object) -> CameraHealth:
    """A camera whose first hour, a minute here, is over. It has seen nothing repeat."""
    config = HealthConfig(camera="a", fixture=fixture, learns_for_s=HOUR_S, **given)  # type: ignore[arg-type]
    learned = msgspec.json.decode(_learned(fixture=fixture), type=Learned)
    learned.settings = config.settings
    return CameraHealth(config, learned)


@cache
def _learned(*, fixture: bool) -> bytes:
    health = CameraHealth(HealthConfig(camera="a", fixture=fixture, learns_for_s=HOUR_S))
    for number in range(int(HOUR_S / 0.5) + 4):
        assert health.look(view(number * 0.5, fixture=fixture), number * 0.5) is None
    assert health.learned is not None
    assert health.learned.done
    return msgspec.json.encode(health.learned)
