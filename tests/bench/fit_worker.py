"""A fit in a process of its own: `python -m tests.bench.fit_worker FRAMES.npy FRACTION`; prints one JSON line."""

import json
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

from patchline.engine.features.weights import EFFICIENTNET_LITE0
from patchline.engine.fitting.fit import fit
from patchline.engine.fitting.reading import NamedImage
from patchline.engine.recipe import Recipe
from tests.bench import played
from tests.bench.workload import CALIBRATION, SIZE_PX


def main(frames_file: str, fraction: float) -> None:
    """Fit to all frames but a few for calibration, and say what it took."""
    frames = np.load(frames_file, mmap_mode="r")

    def images(start: int, stop: int) -> Iterator[NamedImage]:
        for i in range(start, stop):
            yield str(i), np.array(frames[i])

    recipe = Recipe(
        name="memory",
        backbone=EFFICIENTNET_LITE0,
        image_size_px=SIZE_PX,
        coreset_fraction=fraction,
        false_reject_rate=0.05,
    )
    before = _peak()
    start = time.perf_counter()
    report = fit(images(CALIBRATION, len(frames)), recipe, calibration=images(0, CALIBRATION), device="cpu")
    said = {
        "rows": report.rows,
        "seconds": time.perf_counter() - start,
        "before_bytes": before,
        "peak_rss_bytes": _peak(),
    }
    print(json.dumps(said))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    played.play_along()
    main(sys.argv[1], float(sys.argv[2]))
