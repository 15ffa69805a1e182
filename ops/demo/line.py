"""The simulated line: one camera for each material, its frames as JPEG, and the truth of each kept apart."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from time import monotonic

import cv2
import numpy as np

from patchline.engine.types import Image
from patchline.ops.demo.lighting import Drift, Light, aged
from patchline.ops.demo.material import Material, Role
from patchline.ops.demo.web import VIEW_PX, Truth, View, Web
from patchline.stream.model.frame import Frame

JPEG_QUALITY = 92
NOISE_SIGMA = 1.5
"""Sensor noise, in grey levels."""
COMMISSIONING_FRAMES = 3000
"""Fit and calibration frames are taken at moments drawn from this long before the stream, in frames of a camera."""


class Station:
    """One camera over one web. Camera and recipe bear the material's name."""

    def __init__(self, material: Material, *, seed: int, defect_share: float, drift: float):
        self.name = material.name
        self._material, self._seed, self._drift = material, seed, drift
        self._light = Drift(self._rng("light"))
        self._views = Web(material, Role.STREAM, seed=seed, defect_share=defect_share).views()
        self._noise = self._rng("noise")
        self._taken = 0

    def good_images(self, role: Role, count: int) -> Iterator[tuple[str, Image]]:
        """(name, RGB) of good frames for fit or calibration, under the light of the time before the stream."""
        rng = self._rng(role)
        for number, view in enumerate(islice(Web(self._material, role, seed=self._seed).views(), count)):
            light = self._light.at(-rng.uniform(0, COMMISSIONING_FRAMES))
            image = cv2.imdecode(np.frombuffer(expose(view, light, rng), np.uint8), cv2.IMREAD_COLOR_RGB)
            yield f"{self.name}/{role}/{number:04}", np.asarray(image, np.uint8)

    def take(self) -> tuple[bytes, Truth]:
        """The next frame of the stream: JPEG bytes, and what is planted in it."""
        view = next(self._views)
        jpeg = expose(view, self._light.at(self._taken, self._drift), self._noise)
        truth = replace(view.truth, aged=aged(self._taken) if self._drift else 0.0)
        self._taken += 1
        return jpeg, truth

    def _rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, *f"{self.name}/{purpose}".encode()])


def expose(view: View, light: Light, noise: np.random.Generator) -> bytes:
    """A frame as the camera sends it.

    Args:
        view: what lies before the camera.
        light: how it is lit.
        noise: the sensor's.

    Returns:
        The frame as JPEG.
    """
    grain = noise.normal(0.0, NOISE_SIGMA, (*VIEW_PX, 1)).astype(np.float32)
    pixels = np.clip(np.rint(light.shine_on(view.image) + grain), 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


class Truths:
    """The truth of the frames under way, by frame id; each is asked for once."""

    def __init__(self) -> None:
        self._truths: dict[str, Truth] = {}

    def note(self, frame_id: str, truth: Truth) -> None:
        """Remember it until the frame is judged."""
        self._truths[frame_id] = truth

    def take(self, frame_id: str) -> Truth | None:
        """What is known of a frame; None where nothing is."""
        return self._truths.pop(frame_id, None)


class SimulatedLine:
    """A source for the pipeline: the stations' frames in turn, at the line's pace.

    Args:
        stations: the cameras, each delivering every n-th frame.
        truths: told of every frame before it is yielded.
        frames: how many in all; None: without end.
        rate: frames a second, all cameras together; 0: as fast as they are taken.
    """

    def __init__(self, stations: Sequence[Station], truths: Truths, *, frames: int | None, rate: float):
        self._stations, self._truths, self._frames, self._rate = tuple(stations), truths, frames, rate

    async def __aiter__(self) -> AsyncIterator[Frame]:
        due_s = monotonic()
        number = 0
        while self._frames is None or number < self._frames:
            station = self._stations[number % len(self._stations)]
            payload, truth = await asyncio.to_thread(station.take)
            if self._rate:
                await asyncio.sleep(max(0.0, due_s - monotonic()))
                # A line that was held up goes on at its pace; it does not run faster to catch up.
                due_s = max(due_s, monotonic() - 1 / self._rate) + 1 / self._rate
            frame_id = f"{station.name}-{number:06}"
            self._truths.note(frame_id, truth)
            yield Frame(
                frame_id=frame_id,
                camera=station.name,
                recipe=station.name,
                time=datetime.now(UTC),
                received_s=monotonic(),
                payload=payload,
                content_type="image/jpeg",
            )
            number += 1
