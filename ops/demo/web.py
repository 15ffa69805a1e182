"""The web: material travelling past a camera, one length of it after another, with or without planted defects."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from patchline.engine.types import Image
from patchline.ops.demo.defects import Defect, Kind, draw_contrast, plant
from patchline.ops.demo.material import CAMERA_SCALE, PIECES, Material, Role

VIEW_PX = (280, 400)
"""(H, W) of the camera's frame: 56 x 80 pixels of the photograph."""
STEP_PX = VIEW_PX[1] // 2
"""The web moves on by half a frame between two frames, so every place is seen twice."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is planted in a frame: the defects in view and the mask of their pixels, bool (H, W); and how far the lamp
    had aged (`lighting.aged`).
    """

    defects: tuple[Defect, ...] = ()
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)
    aged: float = 0.0

    @property
    def defective(self) -> bool:
        """Whether a defect is in view."""
        return bool(self.defects)


@dataclass(frozen=True, slots=True)
class View:
    """What the camera sees at one moment, before light and noise: `image` (H, W, 3).

    `source_rows` and `source_columns` are the (first, one-past-last) rows and columns of the photograph in view.
    """

    image: Image
    truth: Truth
    source_rows: tuple[int, int]
    source_columns: tuple[int, int]


class Web:
    """Material of one role passing the camera, endlessly: the same seed gives the same web.

    Each length is one piece of the role's material, drawn mirrored or not, from end to end in steps of half a frame
    and never around its ends; its lateral position wanders a little. Each cell of `STEP_PX` holds a defect with the
    probability `defect_share` / 2: a defect lies inside one cell, thus whole in the two frames that show the cell (one
    at the ends of a length), never cut.
    """

    def __init__(self, material: Material, role: Role, *, seed: int, defect_share: float = 0.0):
        if not 0.0 <= defect_share <= 0.9:
            raise ValueError(f"defect_share: found {defect_share}, expected 0 to 0.9")
        self._material = material
        self._role = role
        self._rng = np.random.default_rng([seed, *material.name.encode(), list(Role).index(role)])
        self._defects_per_cell = defect_share / 2

    def views(self) -> Iterator[View]:
        """What the camera sees, frame after frame, without end."""
        while True:
            yield from self._length()

    def _length(self) -> Iterator[View]:
        rng = self._rng
        piece = PIECES[self._role][int(rng.integers(len(PIECES[self._role])))]
        mirror_rows, mirror_columns = bool(rng.integers(2)), bool(rng.integers(2))
        web = self._material.web(piece, mirror_rows=mirror_rows, mirror_columns=mirror_columns)
        rows, columns = self._material.bounds(piece)
        height, width = web.shape[:2]
        play = height - VIEW_PX[0]
        cells = (width - CAMERA_SCALE) // STEP_PX
        start = int(rng.integers(0, width - cells * STEP_PX + 1))
        defects = self._plant(web, start, cells, play)
        phase = rng.uniform(0.0, 2 * np.pi)
        for step in range(cells - 1):
            left = start + step * STEP_PX
            top = round(play / 2 * (1 + np.sin(phase + 0.3 * step)))
            yield View(
                image=web[top : top + VIEW_PX[0], left : left + VIEW_PX[1]],
                truth=_truth_in_view(defects, top, left),
                source_rows=self._source(top, VIEW_PX[0], height, mirror_rows, rows.start),
                source_columns=self._source(left, VIEW_PX[1], width, mirror_columns, columns.start),
            )

    def _plant(self, web: Image, start: int, cells: int, play: int) -> list[Defect]:
        defects = []
        for cell in range(cells):
            if self._rng.random() < self._defects_per_cell:
                kind = Kind(self._rng.choice([str(kind) for kind in Kind]))
                place = (play, start + cell * STEP_PX, VIEW_PX[0] - play, STEP_PX)
                defects.append(plant(web, kind, draw_contrast(self._rng), place, self._rng))
        return defects

    @staticmethod
    def _source(first: int, count: int, total: int, mirrored: bool, offset: int) -> tuple[int, int]:
        if mirrored:
            first = total - first - count
        return offset + first // CAMERA_SCALE, offset - (-(first + count) // CAMERA_SCALE)


def _truth_in_view(defects: list[Defect], top: int, left: int) -> Truth:
    inside = tuple(
        defect
        for defect in defects
        if left <= defect.left_px and defect.left_px + defect.mask.shape[1] <= left + VIEW_PX[1]
    )
    if not inside:
        return Truth()
    mask = np.zeros(VIEW_PX, dtype=np.bool_)
    for defect in inside:
        height, width = defect.mask.shape
        row, column = defect.top_px - top, defect.left_px - left
        mask[row : row + height, column : column + width] |= defect.mask
    return Truth(inside, mask)
