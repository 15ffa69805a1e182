"""Scripted cameras over real images: a picture for every moment, and the hour that their references are learned from.

Bounds of `stream/cameras/health` were chosen on `CHOSEN_ON` and are shown on `SHOWN_ON`: other parts, other belts.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from patchline.engine.types import Image
from tests.services.process import REPOSITORY, ServiceUnavailableError

SIZE_PX = (360, 640)
_NOISE = 1.5
_EVERY_S, _WIDE = 2.5, 0.55
"""A part comes every so many seconds, and is as high as so much of the picture."""
_Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a scene shows, and how: the healthy ways in which lines differ."""

    at_s: float
    speed: float = 1.0
    empty: bool = False
    dark_parts: bool = False
    light: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A camera's view. `show` makes a picture without noise, float32 (H, W, 3)."""

    name: str
    fixture: bool
    show: Callable[[Moment], _Pixels]

    def picture(self, moment: Moment) -> Image:
        """The picture of a moment, RGB uint8 (H, W, 3), with the noise of a sensor."""
        return finish(self.show(moment) * moment.light, moment.seed)


def finish(pixels: _Pixels, seed: int, noise: float = _NOISE) -> Image:
    """Pixels as a camera would send them: with noise, of 8 bits."""
    shift = seed * 7919 % (SIZE_PX[0] * SIZE_PX[1])
    grain = np.roll(_grain(), shift)[: pixels.shape[0] * pixels.shape[1]].reshape(*pixels.shape[:2], 1)
    return np.clip(pixels + noise * grain, 0, 255).astype(np.uint8)


@cache
def _grain() -> _Pixels:
    return np.random.default_rng(7).normal(size=SIZE_PX[0] * SIZE_PX[1] * 2).astype(np.float32)


def _images(folder: Path, most: int) -> list[_Pixels]:
    files = sorted(folder.glob("*.png")) + sorted(folder.glob("*.jpg"))
    found = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files[:: max(1, len(files) // most)]]
    return [np.ascontiguousarray(image[..., ::-1]).astype(np.float32) for image in found if image is not None][:most]


def _scaled(image: _Pixels, size: tuple[int, int]) -> _Pixels:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _data(name: str) -> Path:
    folder = Path(os.environ.get("PATCHLINE_DATA") or REPOSITORY.parent / "shared" / "data") / name
    if not folder.is_dir():
        raise ServiceUnavailableError(f"no test data: {folder} is missing; set PATCHLINE_DATA")
    return folder


def _texture(tile: _Pixels, seed: int) -> _Pixels:
    """A belt that repeats after four widths: a real surface, enlarged, with the marks that belts have."""
    height, width = SIZE_PX[0], SIZE_PX[1] * 4
    belt = cv2.resize(tile[..., :1], (width, height), interpolation=cv2.INTER_CUBIC)
    belt = 90 + 0.25 * (belt - belt.mean())
    marks = np.random.default_rng(seed)
    for _ in range(160):
        y, x = int(marks.integers(40, height - 40)), int(marks.integers(0, width - 20))
        belt[y : y + 2, x : x + int(marks.integers(4, 18))] += marks.normal(0, 18)
    return np.repeat(belt[..., None], 3, axis=2).astype(np.float32)


def _belt(parts: list[_Pixels], belt: _Pixels, *, round_parts: bool) -> Callable[[Moment], _Pixels]:
    """Parts that pass from right to left, between two rails that never change."""
    height, width = SIZE_PX
    side = int(height * _WIDE)
    small = [_scaled(part, (side, side)) for part in parts]
    y, x = np.mgrid[:side, :side] - side / 2
    mask = (np.hypot(y, x) < side * 0.46 if round_parts else np.ones((side, side), bool))[..., None]
    pace = width / 2 / _EVERY_S

    def show(moment: Moment) -> _Pixels:
        way = moment.at_s * pace * moment.speed
        start = int(way) % (belt.shape[1] - width)
        picture = belt[:, start : start + width].copy()
        if not moment.empty:
            first = int(way // (width / 2))
            for number in range(first, first + 4):
                if number % 9 == 8:
                    continue  # a gap
                left = int(number * width / 2 - way + width / 4)
                part = small[number % len(small)] * (0.35 if moment.dark_parts else 1.0)
                low, high = max(0, left), min(width, left + side)
                if low < high:
                    cut = slice(low - left, high - left)
                    top = (height - side) // 2
                    where = picture[top : top + side, low:high]
                    np.copyto(where, part[:, cut], where=mask[:, cut])
        picture[:30] = 60
        picture[-30:] = 60
        picture[12:16] = picture[-16:-12] = 170  # rails
        picture[:30, 100::160] = picture[-30:, 60::160] = 200  # bolts
        if moment.speed > 1:
            picture = np.asarray(cv2.blur(picture, (max(1, int(2 * moment.speed)), 1)), np.float32)
        return picture

    return show


def _fixture(parts: list[_Pixels], ground: _Pixels, side: int) -> Callable[[Moment], _Pixels]:
    """A part after the other in one place."""
    height, width = SIZE_PX
    small = [_scaled(part, (side, side)) for part in parts]
    top, left = (height - side) // 2, (width - side) // 2

    def show(moment: Moment) -> _Pixels:
        picture = ground.copy()
        number = int(moment.at_s * moment.speed / _EVERY_S)
        beside = number * 5 % 3 - 1
        if not moment.empty:
            part = small[number % len(small)] * np.float32(0.35 if moment.dark_parts else 1.0)
            picture[top + beside : top + beside + side, left - beside : left - beside + side] = part
        return picture

    return show


def _ground(tile: _Pixels, level: float) -> _Pixels:
    """A table with holes and a clamp."""
    height, width = SIZE_PX
    plate = cv2.resize(tile[..., :1], (width, height), interpolation=cv2.INTER_CUBIC)
    plate = np.repeat((level + 0.2 * (plate - plate.mean()))[..., None], 3, axis=2).astype(np.float32)
    for y, x in ((40, 70), (40, 570), (320, 90), (310, 560)):
        cv2.circle(plate, (x, y), 16, (30, 30, 30), -1)
    plate[150:210, :60] = 150
    plate[170:190, :80] = 40
    return np.asarray(plate, np.float32)


def _video() -> Callable[[Moment], _Pixels]:
    path = _data("video") / "bottle-detection.mp4"
    with av.open(str(path)) as container:
        frames = [
            frame.to_ndarray(format="rgb24") for index, frame in enumerate(container.decode(video=0)) if index % 6 == 0
        ]
    still: _Pixels = np.asarray(np.median(np.stack(frames[::5]).astype(np.float32), axis=0), np.float32)

    def show(moment: Moment) -> _Pixels:
        if moment.empty:
            return still.copy()
        index = int(moment.at_s * 5 * moment.speed)
        picture = frames[index % len(frames)].astype(np.float32)
        if moment.speed > 1:
            picture = np.asarray((picture + frames[(index + 1) % len(frames)]) / 2, np.float32)
        if moment.dark_parts:
            part = np.abs(picture - still).max(axis=2, keepdims=True) > 25
            picture = np.where(part, picture * 0.35, picture).astype(np.float32)
        return picture

    return show


@cache
def scenes() -> dict[str, Scene]:
    """Every scene by name."""
    tiles = _images(_data("magnetic_tile") / "train" / "good", 24)
    bottles = _images(_data("mvtec_bottle") / "train" / "good", 24)
    made = (
        Scene("video of bottles", False, _video()),
        Scene("tiles on a belt", False, _belt(tiles, _texture(tiles[3], 1), round_parts=False)),
        Scene("tiles in a fixture", True, _fixture(tiles, _ground(tiles[5], 110), 200)),
        Scene("bottles on a belt", False, _belt(bottles, _texture(tiles[11], 2), round_parts=True)),
        Scene("bottles in a fixture", True, _fixture(bottles, _ground(bottles[2], 180), 300)),
    )
    return {scene.name: scene for scene in made}


CHOSEN_ON = ("video of bottles", "tiles on a belt", "tiles in a fixture")
SHOWN_ON = ("bottles on a belt", "bottles in a fixture")
