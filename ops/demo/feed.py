"""What a demo inspects: the simulated line, a folder of the user's images, or the user's camera."""

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from time import monotonic

import numpy as np

from patchline.engine.bank.rates import lowest_rate
from patchline.engine.features.weights import preset
from patchline.engine.fitting.numbering import numbered
from patchline.engine.recipe import Recipe
from patchline.engine.types import Image
from patchline.ops.demo.line import SimulatedLine, Station, Truths
from patchline.ops.demo.material import MATERIALS, Role, load_material
from patchline.ops.demo.web import Truth
from patchline.ops.errors import InputError
from patchline.ops.offline.image_files import find_images, load_image
from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.folder import utf8_name
from patchline.stream.cameras.video import VideoSource
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.support.redaction import redact_url

BACKBONE = "efficientnet_lite0"
FIT_FRAMES = 96
FEWEST_IMAGES = 10
FITTED = 0.7
"""Share of the user's images that the fit takes; the rest is the stream."""
OWN = "own"
__all__ = ["MATERIALS", "Feed", "Job", "own_images", "own_stream", "simulated"]

NamedImages = Iterable[tuple[str, Image]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One recipe to fit: its good images, and those to calibrate on; None: by the former, in folds.

    `groups` are those of the good images; None: each is its own.
    """

    recipe: Recipe
    good: NamedImages
    good_count: int
    groups: Sequence[int] | None = None
    calibration: NamedImages | None = None
    calibration_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What is fitted, then streamed. `remarks` are what the user should know."""

    heading: str
    jobs: Sequence[Job]
    source: Callable[[Observer], AsyncIterable[Frame]]
    truth_of: Callable[[str], Truth | None]
    truth_known: bool
    remarks: tuple[str, ...] = ()


def simulated(
    materials: Sequence[str],
    *,
    frames: int | None,
    rate: float,
    seed: int,
    drift: float,
    defect_share: float,
    false_reject_rate: float,
) -> Feed:
    """The simulated line: one camera and one recipe for each material.

    Args:
        materials: names from `MATERIALS`; one that stands twice counts once.
        frames: how many are streamed; None: without end.
        rate: frames a second, all cameras together; 0: as fast as they are taken.
        seed: of the web, the defects, the light and the fit.
        drift: how far the lamp ages; 0: not.
        defect_share: about this share of the frames has a planted defect.
        false_reject_rate: the share of good frames that may be rejected.
    """
    stations = [
        Station(load_material(name), seed=seed, defect_share=defect_share, drift=drift)
        for name in dict.fromkeys(materials)
    ]
    truths = Truths()
    calibration = _calibration_frames(false_reject_rate)
    jobs = [
        Job(
            recipe=Recipe(
                name=station.name,
                backbone=preset(BACKBONE),
                image_size_px=(160, 224),
                coreset_fraction=0.02,
                false_reject_rate=false_reject_rate,
                levelling=True,
                centring=True,
                seed=seed,
            ),
            good=station.good_images(Role.FIT, FIT_FRAMES),
            good_count=FIT_FRAMES,
            calibration=station.good_images(Role.CALIBRATION, calibration),
            calibration_count=calibration,
        )
        for station in stations
    ]
    return Feed(
        heading=f"Simulated line: {', '.join(station.name for station in stations)}",
        jobs=jobs,
        source=lambda _: SimulatedLine(stations, truths, frames=frames, rate=rate),
        truth_of=truths.take,
        truth_known=True,
    )


def own_images(folder: Path, *, frames: int | None, rate: float, seed: int, false_reject_rate: float) -> Feed:
    """The user's good images: most are fitted, the rest is streamed once.

    Args:
        folder: searched for images, its subfolders too.
        frames: how many of the rest are streamed; None: all.
        rate: frames a second; 0: as fast as they are taken.
        seed: of the order in which images are shared out, and of the fit.
        false_reject_rate: asked for; where the images cannot aim at it, the least that they can is taken.

    Raises:
        InputError: the folder holds fewer than `FEWEST_IMAGES`.
    """
    paths = find_images([folder], recursive=True)
    if len(paths) < FEWEST_IMAGES:
        raise InputError(f"{folder}: found {len(paths)} images, expected at least {FEWEST_IMAGES} of good parts")
    order = [paths[index] for index in np.random.default_rng(seed).permutation(len(paths))]
    fitted = round(len(paths) * FITTED)
    good, rest = order[:fitted], order[fitted:]
    rest = rest if frames is None else rest[:frames]
    groups = _alike(path.read_bytes() for path in good)
    different = max(groups) + 1
    copies = "" if different == len(good) else f" ({different} of them different)"
    remarks = [f"{len(good)} images{copies} to fit, {len(rest)} to inspect."]
    if (lowest := lowest_rate(different)) > false_reject_rate:
        remarks.append(f"They can aim at a false-reject rate of {lowest:.2%} at best.")
    job = Job(
        recipe=_own_recipe(false_reject_rate, seed),
        good=((utf8_name(path.name), load_image(path)) for path in good),
        good_count=len(good),
        groups=groups,
    )
    return Feed(
        heading=f"Images of {utf8_name(folder.name)}",
        jobs=[job],
        source=lambda _: _paced(rest, rate),
        truth_of=lambda _: None,
        truth_known=False,
        remarks=tuple(remarks),
    )


async def own_stream(
    url: str, *, frames: int | None, seed: int, false_reject_rate: float, tell: Callable[[str], None]
) -> Feed:
    """The user's camera or video: fitted to its first frames, then inspected.

    Args:
        url: of the camera (`rtsp://...`), or the path of a video file.
        frames: how many are inspected; None: without end.
        seed: of the fit.
        false_reject_rate: the share of good frames that may be rejected.
        tell: hears what is waited for.

    Raises:
        InputError: the stream ends before enough frames came.
    """
    camera = CameraConfig(name=OWN, recipe=OWN, url=url)
    wanted = FIT_FRAMES + _calibration_frames(false_reject_rate)
    tell(f"Taking the first {wanted} frames of {redact_url(url)} for good parts.")
    source = VideoSource(camera)
    await source.open()
    taken: list[tuple[str, Image]] = []
    try:
        async for frame in source:
            if frame.image is not None:
                taken.append((frame.frame_id, frame.image))
            if len(taken) == wanted:
                break
    finally:
        await source.close()
    if len(taken) < wanted:
        raise InputError(
            f"{redact_url(url)}: ended after {len(taken)} frames, expected {wanted} good ones to begin with"
        )
    job = Job(
        recipe=_own_recipe(false_reject_rate, seed),
        good=taken,
        good_count=wanted,
        groups=_alike(image.tobytes() for _, image in taken),
    )
    return Feed(
        heading="Your camera" if camera.is_live else "Your video",
        jobs=[job],
        # A recording is read from its start again.
        source=lambda watching: _some(
            VideoSource(camera, observer=watching), first=0 if camera.is_live else wanted, count=frames
        ),
        truth_of=lambda _: None,
        truth_known=False,
        remarks=(f"The first {wanted} frames were taken for good parts.",),
    )


def _calibration_frames(false_reject_rate: float) -> int:
    """Twice as many as the rate needs at least, so that the threshold is not the highest score of all."""
    return ceil(2 / false_reject_rate) - 1


def _alike(contents: Iterable[bytes]) -> list[int]:
    """Group numbers of what is equal byte by byte: a camera that stands still, a clip that begins anew."""
    return numbered(hashlib.sha256(content).digest() for content in contents)


def _own_recipe(false_reject_rate: float, seed: int) -> Recipe:
    return Recipe(
        name=OWN, backbone=preset(BACKBONE), coreset_fraction=0.02, false_reject_rate=false_reject_rate, seed=seed
    )


async def _paced(paths: Sequence[Path], rate: float) -> AsyncIterator[Frame]:
    for number, path in enumerate(paths):
        payload = await asyncio.to_thread(path.read_bytes)
        if number and rate:
            await asyncio.sleep(1 / rate)
        yield Frame(
            frame_id=f"{number:06}-{utf8_name(path.name)}",
            camera=OWN,
            recipe=OWN,
            time=datetime.now(UTC),
            received_s=monotonic(),
            payload=payload,
        )


async def _some(source: VideoSource, *, first: int, count: int | None) -> AsyncIterator[Frame]:
    """`count` frames (None: all) from frame `first` on."""
    await source.open()
    try:
        number = 0
        async for frame in source:
            if number >= first:
                yield frame
            number += 1
            if count is not None and number == first + count:
                return
    finally:
        await source.close()
