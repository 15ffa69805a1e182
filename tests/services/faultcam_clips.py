"""Encoded pictures for the camera that misbehaves: access units of H.264 and H.265, and their RTP payloads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import av
import cv2
import numpy as np

from patchline.engine.types import Image

Codec = Literal["h264", "h265"]
MTU_BYTES = 1_350


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """The NAL units of a picture, without start codes."""

    nals: tuple[bytes, ...]
    is_key: bool
    order: int
    """Its place in the order of time; another than that of sending where there are B-frames."""


def scene(size: tuple[int, int], number: int) -> Image:
    """A picture of a moving pattern with noise, (H, W, 3) RGB: no two are equal."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    wave = 96 + 60 * np.sin((columns + 3 * number) / 9) + 40 * np.cos((rows - 2 * number) / 7)
    noise = np.random.default_rng(number).normal(0, 6, (height, width))
    return np.repeat(np.clip(wave + noise, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def sick(picture: Image, how: str) -> Image:
    """The picture as a camera shows it that has this trouble; itself where none is known by that name."""
    height, width = picture.shape[:2]
    level = {"black": 4, "white": 252, "grey": 128}.get(how)
    changed: Any = picture
    if level is not None:
        changed = np.full_like(picture, level)
    elif how == "blur":
        changed = cv2.GaussianBlur(picture, (0, 0), max(2, width / 60))
    elif how == "shift":
        changed = np.roll(picture, (height // 12, width // 8), (0, 1))
    elif how == "cover":
        changed = picture.copy()
        changed[:, : int(width * 0.45)] = 30
    elif how == "dim":
        changed = (picture * 0.45).astype(np.uint8)
    return np.ascontiguousarray(changed)


@cache
def clip(
    codec: Codec, fps: int, size: tuple[int, int], gop: int, b_frames: int, slices: int, how: str, count: int
) -> tuple[AccessUnit, ...]:
    """`count` pictures, encoded; `gop` from keyframe to keyframe."""
    context = av.CodecContext.create({"h264": "libx264", "h265": "libx265"}[codec], "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width = size
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, fps), Fraction(fps)
    context.thread_count = 1
    common = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:repeat-headers=1"
    context.options = {"preset": "ultrafast", "crf": "20"} | (
        {"x264-params": f"{common}:annexb=1:threads=1:slices={slices}", "bf": str(b_frames), "g": str(gop)}
        if codec == "h264"
        else {"x265-params": f"{common}:log-level=none:pools=1:frame-threads=1:slices={slices}"}
    )
    units: list[AccessUnit] = []

    def take(packets: Iterable[Any]) -> None:
        units.extend(AccessUnit(tuple(nal_units(bytes(p))), p.is_keyframe, p.pts) for p in packets)

    for number in range(count):
        frame = av.VideoFrame.from_ndarray(sick(scene(size, number), how), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, context.time_base
        take(context.encode(frame))
    take(context.encode(None))
    return tuple(units)


def nal_units(data: bytes) -> list[bytes]:
    """The units of an Annex B stream."""
    parts = data.split(b"\0\0\1")[1:]
    return [unit for unit in (*(part.rstrip(b"\0") for part in parts[:-1]), parts[-1]) if unit]


def payloads(nal: bytes, codec: Codec) -> Iterator[bytes]:
    """A unit as RTP carries it: whole, or in fragments (RFC 6184, RFC 7798)."""
    if len(nal) <= MTU_BYTES:
        yield nal
        return
    header = 1 if codec == "h264" else 2
    body = nal[header:]
    kind = nal[0] & 31 if codec == "h264" else nal[0] >> 1 & 63
    indicator = bytes([nal[0] & 0xE0 | 28]) if codec == "h264" else bytes([nal[0] & 0x81 | 49 << 1, nal[1]])
    for at in range(0, len(body), MTU_BYTES):
        begins, ends = at == 0, at + MTU_BYTES >= len(body)
        yield indicator + bytes([begins << 7 | ends << 6 | kind]) + body[at : at + MTU_BYTES]
