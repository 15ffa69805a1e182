"""What a picture's figures say: every cause that holds, by bounds that were chosen on some feeds and shown on others.

Without references only what no scene can be is told. With them a picture is compared with what the camera's first
hour has shown, so a line that is mostly black, or lit from behind, is no sick one. A cause that has begun ends by wider
bounds than it began (`begun`).
"""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from patchline.stream.cameras.health.figures import Cells, PictureFigures
from patchline.stream.cameras.health.references import PLAIN, References, shift_of, variation_of
from patchline.stream.model.camera_state import CameraState

_BLACK = (16, 24)
_WHITE = (250, 244)
_FLAT = (2, 4)
_DIMMED = (0.70, 0.80)
_DIMMED_SHARE = 0.85
_COVERED = (0.30, 0.20)
_COVERED_SIDE = 0.60
_PLAINER, _LEAST_STRUCTURE = 0.45, 1.0
_BLUR = ((0.60, 0.80), (0.75, 0.90))
"""Of the less sharp direction and of the sharper one."""
_MOVED = (0.011, 0.008)
_SURE = 0.10
_VISIBLE = 24
_QUIET_SHARE = 0.15
_LIGHT_SHARE = 0.05
_MARGIN_LEVELS, _MARGIN_SHARE = 6.0, 0.10
_EXPOSURE = (0.70, 1.45)
"""How far all cells together may be darker or brighter before that is no exposure any more."""


def causes_of(
    figures: PictureFigures, references: References | None, begun: Collection[CameraState], *, fixture: bool
) -> dict[CameraState, str]:
    """Every cause that holds, with its sentence, in the order in which they are told.

    Args:
        figures: of the picture; its size is that of the references.
        references: what the first hour has shown; None before it is over.
        begun: the causes that hold already.
        fixture: parts are always in one place.
    """
    found: dict[CameraState, str] = {}

    def bound(state: CameraState, bounds: tuple[float, float]) -> float:
        return bounds[state in begun]

    black, white = bound(CameraState.BLACK, _BLACK), bound(CameraState.SATURATED, _WHITE)
    if figures.high <= black and (references is None or references.least_high > 2 * black):
        found[CameraState.BLACK] = f"98 % of the picture is at most {figures.high} of 255"
    if figures.low >= white and (references is None or references.most_low < white):
        found[CameraState.SATURATED] = f"98 % of the picture is at least {figures.low} of 255"
    flat = bound(CameraState.FLAT, _FLAT)
    if not found and figures.spread <= flat and (references is None or references.least_spread > 3 * flat):
        found[CameraState.FLAT] = f"the picture has one grey, {figures.middle} of 255, and no structure"
    if references is None or found:
        return found
    _dark(found, figures, references, bound(CameraState.DARK, _DIMMED))
    if fixture and not found:
        _moved(found, figures, references, bound(CameraState.MOVED, _MOVED))
    blurred: dict[CameraState, str] = {}
    _blurred(blurred, figures, references, _BLUR[CameraState.BLURRED in begun])
    if not found:
        _covered(found, figures, references, bound(CameraState.COVERED, _COVERED), by_structure=not blurred)
    found |= blurred
    return found


def _dark(found: dict[CameraState, str], figures: PictureFigures, references: References, share: float) -> None:
    visible = references.low >= _VISIBLE
    # What passes may be dark by itself; what never changes tells of the light alone, where there is enough of it.
    quiet = visible & references.quiet
    looked_at = quiet if np.count_nonzero(quiet) >= _LIGHT_SHARE * quiet.size else visible
    if np.count_nonzero(looked_at) < _LIGHT_SHARE * looked_at.size:
        return
    if np.mean(figures.cells[looked_at] < share * references.low[looked_at]) >= _DIMMED_SHARE:
        light = np.median(figures.cells[looked_at] / references.middle[looked_at].clip(1))
        found[CameraState.DARK] = f"the whole picture has {light:.0%} of its usual light"


def _moved(found: dict[CameraState, str], figures: PictureFigures, references: References, share: float) -> None:
    shift, response = shift_of(figures.cells, references.middle)
    if response >= _SURE and abs(shift) > share + references.shift:
        found[CameraState.MOVED] = f"the scene lies {abs(shift):.1%} of the width beside its place"


def _covered(
    found: dict[CameraState, str],
    figures: PictureFigures,
    references: References,
    share: float,
    *,
    by_structure: bool,
) -> None:
    quiet, cells = references.quiet, figures.cells.astype(np.float32)
    steady = quiet if np.count_nonzero(quiet) >= _QUIET_SHARE * quiet.size else np.ones_like(quiet)
    exposure = _exposure(cells, references.middle, steady)
    if _EXPOSURE[0] <= exposure <= _EXPOSURE[1]:
        cells /= exposure
    outside = _outside(cells, references.low, references.high)
    if by_structure:  # a cloth may be as dark as parts are, but where nothing is to be seen, it never was so dark
        structure = variation_of(cells)
        plainer = (structure < _PLAINER * references.structure) & (references.structure >= _LEAST_STRUCTURE)
        outside |= plainer | ((structure < PLAIN) & _outside(cells, references.plain_low, references.plain_high))
    # Whatever hides a lens comes in over a whole side, as parts of another kind seldom do.
    sides = (outside[:2], outside[-2:], outside[:, :2], outside[:, -2:])
    if max(float(np.mean(side)) for side in sides) < _COVERED_SIDE:
        return
    changed = max(float(np.mean(outside[steady])), float(np.mean(outside)))
    if changed >= share:
        found[CameraState.COVERED] = f"{changed:.0%} of the picture is darker, brighter or plainer than it ever was"


def _exposure(cells: npt.NDArray[np.float32], middle: Cells, steady: npt.NDArray[np.bool_]) -> float:
    """How much light all cells have together, of the usual: by the half of the picture in which it is most as usual.

    Halves agree where an exposure has changed, and do not where something covers one of them.
    """
    ratios = np.where(steady, cells / middle.clip(1), np.nan)
    rows, columns = (size // 2 for size in ratios.shape)
    halves = (ratios[:rows], ratios[rows:], ratios[:, :columns], ratios[:, columns:])
    found = [float(np.median(told)) for half in halves if (told := half[~np.isnan(half)]).size]
    return min(found, key=lambda ratio: abs(ratio - 1), default=1.0)


def _outside(cells: npt.NDArray[np.float32], low: Cells, high: Cells) -> npt.NDArray[np.bool_]:
    """Where cells are darker or brighter than they were, beyond a margin."""
    least, most = low.astype(np.float32), high.astype(np.float32)
    return (cells < (1 - _MARGIN_SHARE) * least - _MARGIN_LEVELS) | (
        cells > (1 + _MARGIN_SHARE) * most + _MARGIN_LEVELS
    )


def _blurred(
    found: dict[CameraState, str], figures: PictureFigures, references: References, bounds: tuple[float, float]
) -> None:
    pairs = [(now, least) for now, least in zip(figures.sharpness, references.sharpness, strict=True) if least > 0]
    ratios = [now / least for now, least in pairs if now >= 0]
    # A belt that runs faster blurs along its way only.
    if ratios and min(ratios) < bounds[0] and max(ratios) < bounds[1]:
        found[CameraState.BLURRED] = f"edges are {max(ratios):.0%} as sharp as the least sharp ones were"
