"""Photographs of material, cut into pieces: what one role (fit, calibration, stream) sees, no other role ever does."""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from patchline.engine.types import Image
from patchline.ops.errors import OpsError

MATERIALS = ("brick", "grass", "gravel")
LANES, HALVES = 8, 2
CAMERA_SCALE = 5
"""Camera pixels per pixel of the photograph."""
TEXTURE_CONTRAST = 0.5
"""The light is diffuse, as a line that looks for defects would have it: it halves the contrast of the photograph, whose
sun throws shadows as dark as any hole."""


class DemoError(OpsError):
    """The demo cannot run as asked."""


class Role(StrEnum):
    """What a piece of material is used for."""

    FIT = "fit"
    CALIBRATION = "calibration"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """A rectangle of the photograph: one half of one lane. Lanes follow one another over H, halves over W."""

    lane: int
    half: int


PIECES: dict[Role, tuple[Piece, ...]] = {
    role: tuple(
        Piece(lane, half) for lane in range(LANES) for half in range(HALVES) if (lane + half) % len(Role) == number
    )
    for number, role in enumerate(Role)
}
"""The roles take turns, so that a photograph's slow changes (perspective, shade) reach every role alike."""


@dataclass(frozen=True, slots=True)
class Material:
    """One photograph, uint8 grey (H, W), laid so that the web travels along W."""

    name: str
    photograph: NDArray[np.uint8]

    def bounds(self, piece: Piece) -> tuple[slice, slice]:
        """Rows and columns of a piece in the photograph; pieces are disjoint and cover it."""
        height, width = self.photograph.shape
        return (
            slice(piece.lane * height // LANES, (piece.lane + 1) * height // LANES),
            slice(piece.half * width // HALVES, (piece.half + 1) * width // HALVES),
        )

    def web(self, piece: Piece, *, mirror_rows: bool = False, mirror_columns: bool = False) -> Image:
        """The piece as the camera sees it: RGB, `CAMERA_SCALE` times larger. It is cut first and enlarged then,
        so that interpolation reads no pixel of a neighbouring piece.
        """
        cut = self.photograph[self.bounds(piece)]
        cut = cut[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
        size = (cut.shape[1] * CAMERA_SCALE, cut.shape[0] * CAMERA_SCALE)
        grey = cv2.resize(np.ascontiguousarray(cut), size, interpolation=cv2.INTER_CUBIC)
        return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8, copy=False)


def load_material(name: str) -> Material:
    """The photograph of that name which scikit-image ships in its package (nothing is downloaded).

    Raises `DemoError` where the name is unknown or scikit-image is not installed.
    """
    if name not in MATERIALS:
        raise DemoError(f"material: found {name!r}, expected one of {', '.join(MATERIALS)}")
    try:
        from skimage import data
    except ImportError as error:
        raise DemoError(
            "the simulated line needs scikit-image: install the extra `demo` (pip install 'patchline[demo]')"
        ) from error
    photograph = np.asarray(getattr(data, name)(), dtype=np.float64).T
    diffuse = photograph.mean() + TEXTURE_CONTRAST * (photograph - photograph.mean())
    return Material(name, np.ascontiguousarray(np.rint(diffuse), dtype=np.uint8))
