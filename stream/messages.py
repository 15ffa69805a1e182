"""The JSON values of every topic: one msgspec struct each. The CloudEvents headers around them are `cloudevents.py`."""

from datetime import datetime

import msgspec

from engine.inspection import Verdict


class GenerationRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The generation of the memory bank that judged a frame."""

    number: int
    sha256: str


class Box(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worst patch as a rectangle on the frame as received, in pixels, H before W: top, left, height, width."""

    top_px: int
    left_px: int
    height_px: int
    width_px: int


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The one result of a frame (CloudEvents type `io.patchline.result.v1`).

    `score`, `threshold`, `generation` and `worst` are set for `pass` and `reject`; `reason` (a code of
    `stream.errors.Reason`) and `detail` (a sentence) for `not_inspected`. `latency_ms` is from read to result.
    """

    frame_id: str
    camera: str
    recipe: str
    time: datetime
    """When the frame was taken."""
    inspected_at: datetime
    verdict: Verdict
    latency_ms: float
    score: float | None = None
    threshold: float | None = None
    generation: GenerationRef | None = None
    worst: Box | None = None
    reason: str | None = None
    detail: str | None = None
    late: bool = False
    """The recipe's deadline had passed when the frame was judged."""
