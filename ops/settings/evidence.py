"""The sections on what is kept of judged frames, and watched in them."""

from typing import Annotated

from pydantic import AfterValidator, Field

from patchline.ops.settings.base import Section
from patchline.ops.settings.formats import check_place
from patchline.ops.settings.locations import PathOrUrl
from patchline.stream.model.checks import MIB


class EvidenceSettings(Section):
    """Frames kept by id: every reject, and a sample of passes. What is confirmed is learned from them."""

    url: Annotated[str | None, PathOrUrl(), AfterValidator(lambda url: url and check_place(url))] = Field(
        default=None, min_length=1, examples=["/var/lib/patchline/evidence"]
    )
    """Folder, or an fsspec URL such as `s3://bucket/evidence`, that all workers share; unset: nothing is kept."""
    pass_share: float = Field(default=0.02, ge=0, le=1)
    """Share of the passes that is kept; a frame's id decides."""
    keep_days: float = Field(default=30.0, gt=0)
    """Older frames are removed, in days."""
    keep_bytes: int = Field(default=20 * 1024 * MIB, ge=MIB)
    """The oldest frames beyond this are removed, in bytes."""
    queue_bytes: int = Field(default=256 * MIB, ge=1)
    """Frames that may wait for the store, in bytes; more are dropped and counted."""


class DriftSettings(Section):
    """Whether what cameras show has moved away from calibration; told as metrics."""

    every_s: float = Field(default=10.0, ge=0)
    """A frame of each camera is embedded once more for it so often, in seconds; 0: drift is not watched."""
    window: int = Field(default=200, ge=20, le=100_000)
    """Frames of a camera whose scores are compared with the calibration frames'."""
