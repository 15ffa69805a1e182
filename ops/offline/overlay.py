"""An anomaly map over its image: what was judged, and why.

The colour scale (inferno: even steps look even, also in grey print) is tied to the threshold, not to the frame's own
maximum: below 0.7 of the threshold nothing is drawn, the threshold lies in the middle of the scale, and twice the
threshold is its end. So frames that pass look calm and two overlays can be compared.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from patchline.engine.types import AnomalyMap, Image, Verdict
from patchline.ops.offline.image_files import load_image
from patchline.stream.cameras.folder import utf8_name
from patchline.stream.model.outcome import Outcome
from patchline.stream.model.result import Box, Result

SCALE_END = 2.0
"""End of the colour scale, in thresholds."""
CALM = 0.7
"""Below this many thresholds nothing is drawn."""
OPACITY = 0.65
CONTOUR = (255, 255, 255)
BOX = (80, 220, 255)
BACKGROUND, INK, FAINT = (18, 18, 22), (235, 235, 235), (150, 150, 155)
VERDICT_INK = {Verdict.PASS: (110, 215, 140), Verdict.REJECT: (255, 110, 90), Verdict.NOT_INSPECTED: (230, 190, 90)}
SHORT_SIDE_PX = 320
"""Small images are enlarged to about this, so that outlines and text stay fine beside the pixels."""


def heat_overlay(image: Image, anomaly_map: AnomalyMap, threshold: float, worst: Box | None = None) -> Image:
    """Draw an anomaly map over its image.

    Args:
        image: RGB uint8 (H, W, 3), at any size.
        anomaly_map: float32 (h, w); it is brought to the image's size.
        threshold: the bank's; where the map exceeds it is outlined in white.
        worst: the patch that decided, outlined in blue.

    Returns:
        RGB uint8 (H, W, 3) of the image's size.
    """
    height, width = image.shape[:2]
    level = cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR) / max(threshold, 1e-12)
    heat = _colours(level / SCALE_END)
    opacity = np.clip((level - CALM) / (1 - CALM), 0, 1)[:, :, None] * OPACITY
    blended = np.clip(image * (1 - opacity) + heat * opacity, 0, 255).astype(np.uint8)
    above = (level > 1).astype(np.uint8)
    outlines, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(min(height, width) / 250))
    cv2.drawContours(blended, outlines, -1, CONTOUR, thickness, cv2.LINE_AA)
    if worst is not None:
        corner = (worst.left_px + worst.width_px - 1, worst.top_px + worst.height_px - 1)
        cv2.rectangle(blended, (worst.left_px, worst.top_px), corner, BOX, thickness, cv2.LINE_8)
    return np.asarray(blended, dtype=np.uint8)


def overlay_sheet(image: Image, anomaly_map: AnomalyMap, result: Result, title: str) -> Image:
    """Set the image, the image under its map, and the colour scale side by side, under a line of text.

    Args:
        image: RGB uint8 (H, W, 3), as it was judged.
        anomaly_map: float32, its map.
        result: the verdict, the score and the patch that decided.
        title: names the image, in the second line of text.

    Returns:
        The sheet, RGB uint8 (H', W', 3).
    """
    factor = max(1, round(SHORT_SIDE_PX / min(image.shape[:2])))
    if factor > 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    threshold = result.threshold or 0.0
    worst = result.worst if result.verdict is Verdict.REJECT else None
    if worst is not None:
        worst = Box(
            top_px=worst.top_px * factor,
            left_px=worst.left_px * factor,
            height_px=worst.height_px * factor,
            width_px=worst.width_px * factor,
        )
    heat = heat_overlay(image, anomaly_map, threshold, worst)
    height, width = image.shape[:2]
    gap = max(10, width // 60)
    size = int(np.clip(height / 22, 13, 40))
    bar = _colour_bar(height, threshold, size)
    head = size * 4
    least = 27 * size  # room for the text of a narrow image
    sheet_width = max(gap * 4 + width * 2 + bar.shape[1], least)
    sheet = np.full((head + height + gap, sheet_width, 3), BACKGROUND, dtype=np.uint8)
    left = (sheet_width - (gap * 4 + width * 2 + bar.shape[1])) // 2 + gap
    sheet[head : head + height, left : left + width] = image
    sheet[head : head + height, left + gap + width : left + gap + 2 * width] = heat
    sheet[head : head + height, left + 2 * (gap + width) : left + 2 * (gap + width) + bar.shape[1]] = bar
    return _with_text(sheet, result, title, left, size)


def save_overlay(target: Path, source: Path, outcome: Outcome) -> None:
    """Write the overlay of a judged file as a PNG.

    Args:
        target: the PNG.
        source: the file that was judged; its name is the title.
        outcome: what came of it, with its map.
    """
    if outcome.inspection is None or outcome.inspection.anomaly_map is None:
        return
    title = utf8_name(source.name)
    sheet = overlay_sheet(load_image(source), outcome.inspection.anomaly_map, outcome.result, title)
    PillowImage.fromarray(sheet).save(target, optimize=False, compress_level=4)


def _colours(level: NDArray[Any]) -> Image:
    """Levels in [0, 1] as inferno, RGB uint8 with one more axis."""
    steps = np.clip(level * 255, 0, 255).astype(np.uint8)
    bgr = cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8)  # BGR -> RGB


def _colour_bar(height: int, threshold: float, size: int) -> Image:
    """The colour scale with its ends and the threshold in numbers, (height, W, 3)."""
    width, text_left = size, size + size // 2
    bar = np.full((height, text_left + size * 6, 3), BACKGROUND, dtype=np.uint8)
    levels = np.linspace(SCALE_END, 0, height, dtype=np.float32)
    shown = np.clip((levels - CALM) / (1 - CALM), 0, 1)[:, None]
    column = _colours((levels / SCALE_END)[:, None])[:, 0] * shown + np.array(BACKGROUND) * (1 - shown)
    bar[:, :width] = column[:, None].astype(np.uint8)
    picture = PillowImage.fromarray(bar)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size * 0.8)
    for level, word in ((SCALE_END, ""), (1.0, " threshold"), (CALM, "")):
        y = round((1 - level / SCALE_END) * (height - 1))
        draw.line([(0, y), (text_left - 3, y)], fill=INK, width=1)
        top = min(max(0, y - size // 2), height - size)
        draw.text((text_left, top), f"{level * threshold:.3g}{word}", fill=INK if word else FAINT, font=font)
    return np.asarray(picture).astype(np.uint8)


def _with_text(sheet: Image, result: Result, title: str, left: int, size: int) -> Image:
    picture = PillowImage.fromarray(sheet)
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(size * 1.15), ImageFont.load_default(size * 0.85)
    draw.text((left, size * 0.6), result.verdict.value.upper(), fill=VERDICT_INK[result.verdict], font=large)
    room = draw.textlength(result.verdict.value.upper() + "   ", font=large)
    if result.score is not None and result.threshold is not None:
        ratio = f"  ({result.score_ratio:.2f}x)" if result.score_ratio is not None else ""
        text = f"score {result.score:.4g}  ·  threshold {result.threshold:.4g}{ratio}"
        draw.text((left + room, size * 0.75), text, fill=INK, font=small)
    generation = f"  ·  generation {result.generation.number}" if result.generation else ""
    draw.text((left, size * 2.3), f"{title}  ·  recipe {result.recipe}{generation}", fill=FAINT, font=small)
    return np.asarray(picture).astype(np.uint8)
