"""The sheet of an image under its anomaly map."""

from datetime import UTC, datetime

import numpy as np
import pytest

from patchline.engine.types import Verdict
from patchline.ops.offline.overlay import overlay_sheet
from patchline.stream.model.result import Box, Result

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(("threshold", "ratio"), [(2.0, 1.5), (0.0, None)])
def test_a_sheet_is_drawn_whatever_the_threshold(threshold: float, ratio: float | None) -> None:
    """A threshold of 0 has no ratio to tell; the image stands on the sheet as it is."""
    image = np.full((320, 400, 3), 77, dtype=np.uint8)
    result = Result(
        frame_id="f",
        camera="files",
        recipe="part",
        time=NOW,
        inspected_at=NOW,
        verdict=Verdict.REJECT,
        latency_ms=1.0,
        score=3.0,
        threshold=threshold,
        score_ratio=ratio,
        worst=Box(top_px=0, left_px=0, height_px=8, width_px=8),
    )
    sheet = overlay_sheet(image, np.full((320, 400), 3.0, dtype=np.float32), result, "part.png")
    assert (sheet == 77).all(2).sum() >= 320 * 400
