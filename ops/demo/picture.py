"""A frame with what was found drawn on it: the anomaly map's contour, the worst patch's box, the planted truth."""

import cv2
import numpy as np
from numpy.typing import NDArray

from patchline.engine.types import Image
from patchline.ops.demo.board import Shown
from patchline.ops.demo.tally import Outcome

WIDTH_PX = 640
"""Pictures are enlarged or reduced to this width."""
ORANGE = (255, 140, 0)
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
CYAN = (0, 225, 255)
CONTOUR_LEVEL = 0.85
"""The contour encloses what reaches this share of the map's maximum, around it."""
HEAT_FROM = 0.85
"""Heat begins at this many thresholds, so that what is ordinary stays clear."""
HEAT_ALPHA = 0.45
REJECTED = (Outcome.REJECT, Outcome.CAUGHT, Outcome.FALSE_REJECT)


def picture(shown: Shown) -> bytes:
    """The frame as JPEG. A rejected frame carries its map, contour and box (solid); planted defects are dotted cyan."""
    canvas, scale = _canvas(_pixels(shown))
    anomaly_map = shown.inspection.anomaly_map if shown.inspection else None
    if shown.outcome in REJECTED:
        if anomaly_map is not None and shown.result.threshold:
            _draw_map(canvas, anomaly_map, shown.result.threshold)
        _draw_box(canvas, shown, scale)
    if shown.truth is not None and shown.truth.mask is not None:
        _draw_truth(canvas, shown.truth.mask)
    _, encoded = cv2.imencode(".jpg", canvas[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return encoded.tobytes()


def _pixels(shown: Shown) -> Image:
    if shown.frame.image is not None:
        return shown.frame.image
    image = cv2.imdecode(np.frombuffer(shown.frame.payload or b"\0", np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.full((320, 448, 3), 90, np.uint8) if image is None else np.asarray(image, np.uint8)


def _canvas(image: Image) -> tuple[Image, float]:
    scale = WIDTH_PX / image.shape[1]
    size = (WIDTH_PX, max(1, round(image.shape[0] * scale)))
    return np.ascontiguousarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8
    ), scale


def _draw_map(canvas: Image, anomaly_map: NDArray[np.float32], threshold: float) -> None:
    """Heat where the map is near the threshold or above, and the contour of its peak."""
    large = cv2.resize(anomaly_map, (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_LINEAR)
    heat = np.clip((large / threshold - HEAT_FROM) / (1.2 - HEAT_FROM), 0.0, 1.0)[:, :, None] * HEAT_ALPHA
    canvas[:] = np.rint(canvas * (1 - heat) + np.array(ORANGE) * heat).astype(np.uint8)
    _, labels = cv2.connectedComponents((large >= CONTOUR_LEVEL * large.max()).astype(np.uint8))
    peak = (labels == labels[np.unravel_index(int(large.argmax()), large.shape)]).astype(np.uint8)
    contours, _ = cv2.findContours(peak, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for colour, width in ((BLACK, 5), (ORANGE, 2)):
        cv2.drawContours(canvas, contours, -1, colour, width, cv2.LINE_AA)


def _draw_box(canvas: Image, shown: Shown, scale: float) -> None:
    """A box around the worst patch, three patches wide so that it frames and does not hide."""
    box = shown.result.worst
    if box is None:
        return
    top, left = round((box.top_px - box.height_px) * scale), round((box.left_px - box.width_px) * scale)
    bottom, right = round((box.top_px + 2 * box.height_px) * scale), round((box.left_px + 2 * box.width_px) * scale)
    for colour, width in ((BLACK, 7), (WHITE, 3)):
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, width, cv2.LINE_AA)


def _draw_truth(canvas: Image, mask: NDArray[np.bool_]) -> None:
    """The outline of what was planted, dotted."""
    large = cv2.resize(mask.astype(np.uint8), (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_NEAREST)
    large = cv2.dilate(large, np.ones((13, 13), np.uint8))
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        for column, row in contour[::9, 0]:
            cv2.circle(canvas, (int(column), int(row)), 3, BLACK, -1, cv2.LINE_AA)
            cv2.circle(canvas, (int(column), int(row)), 2, CYAN, -1, cv2.LINE_AA)
