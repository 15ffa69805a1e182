"""A fit in a process of its own, of any version: `python fit_alone.py FRAMES.npy COUNT`; prints one JSON line.

What it imports of the product has been there since before folds, and it imports nothing of the bench.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from patchline.engine.features.weights import EFFICIENTNET_LITE0
from patchline.engine.recipe import Recipe

fitting: Any = import_module("patchline.engine.fitting.fit")

RECIPE = Recipe(
    name="cost", backbone=EFFICIENTNET_LITE0, image_size_px=(224, 224), coreset_fraction=0.01, false_reject_rate=0.05
)
WARM_UP = 64
"""Images of the fit before: it loads libraries, and measures what runs the network best."""


class Frames:
    """The first frames of a file, each read when it is asked for."""

    def __init__(self, file: Path, count: int) -> None:
        self._frames = np.load(file, mmap_mode="r")
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, "np.typing.NDArray[np.uint8]"]]:
        for number in range(self._count):
            yield str(number), np.array(self._frames[number])


def main(file: Path, count: int) -> None:
    """Fit twice: to a few frames, and to `count` of them; say what the second took, but for loading the backbone."""
    loading: list[float] = []
    load_backbone = fitting.load_backbone

    def timed(*arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return load_backbone(*arguments)
        finally:
            loading.append(time.perf_counter() - begun)

    fitting.load_backbone = timed
    fitting.fit(Frames(file, WARM_UP), RECIPE, device="cpu")
    loading.clear()
    start = time.perf_counter()
    report = fitting.fit(Frames(file, count), RECIPE, device="cpu")
    said = {
        "s": time.perf_counter() - start - sum(loading),
        "rows": report.rows,
        "frames": report.bank.calibration.frames,
        "stages_s": report.seconds,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
