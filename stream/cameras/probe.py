"""What a camera is, found out by looking at it for a while."""

import itertools
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from patchline.engine.types import Image
from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.decoder import PictureDecoder
from patchline.stream.cameras.reader import open_feed
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """What was seen of a camera; the last picture is RGB uint8 (H, W, 3)."""

    codec: str
    opened_s: float
    """From the first attempt to connect to the answer that pictures will come."""
    first_picture_s: float
    """From there to the first picture."""
    pictures: int
    per_s: float | None
    """None: one picture has no rate."""
    keyframe_distance: int | None
    """Pictures from keyframe to keyframe, at most; None: fewer than two were seen."""
    has_b_frames: bool
    lost: int
    """Pictures that were not whole, or could not be decoded."""
    still: Image = field(repr=False)


def probe(config: CameraConfig, *, seconds: float) -> CameraFacts:
    """Open a camera, look at it for so long after its first picture, and let it go. It blocks.

    Raises:
        CameraTroubleError: it cannot be opened, or shows nothing within `open_timeout_s`.
    """
    begin_s = monotonic()
    feed = open_feed(config)
    try:
        opened_s = monotonic()
        decoder = PictureDecoder(feed, max_pixels=config.max_pixels, live=True)
        arrivals: list[float] = []
        keys: list[int] = []
        still: Image | None = None
        number = lost = 0
        first_s = opened_s
        until_s = opened_s + config.open_timeout_s
        while monotonic() < until_s:
            for picture in feed.take(min(until_s, monotonic() + 0.25)) or ():
                number += 1
                if not picture.is_whole or not (keys or picture.is_key):
                    lost += not picture.is_whole
                    continue
                if picture.is_key:
                    keys.append(number)
                arrivals.append(picture.arrived_s)
                for _, frame in decoder.decode(picture.data, number):
                    if still is None:
                        first_s = monotonic()
                        until_s = first_s + seconds
                    still = np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        if still is None:
            raise CameraTroubleError(
                CameraState.NO_PICTURES if number else CameraState.NO_PACKETS,
                f"no picture came within {config.open_timeout_s:g} s",
            )
        span_s = arrivals[-1] - arrivals[0]
        return CameraFacts(
            codec=decoder.codec,
            opened_s=opened_s - begin_s,
            first_picture_s=first_s - opened_s,
            pictures=len(arrivals),
            per_s=(len(arrivals) - 1) / span_s if span_s > 0 else None,
            keyframe_distance=max((b - a for a, b in itertools.pairwise(keys)), default=None),
            has_b_frames=decoder.reorders,
            lost=lost + len(decoder.lost),
            still=still,
        )
    finally:
        feed.close()
