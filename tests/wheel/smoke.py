"""Run by the Python of an environment that holds nothing but the wheel: a fit, and an inspection of a few images.

It imports nothing of `tests`, because the checkout is not there.
"""

import sys
from pathlib import Path

import numpy as np

import patchline.engine
import patchline.ops
import patchline.stream
from patchline.engine import Inspector, Recipe, fit, preset


def part(seed: int, *, scratched: bool = False) -> np.ndarray:
    """Grey noise, RGB uint8 (64, 64, 3), with a bright square on it where asked for."""
    image = np.repeat(np.random.default_rng(seed).integers(90, 130, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    if scratched:
        image[20:44, 20:44] = (255, 40, 40)
    return image


def main() -> None:
    """Fit to twelve good images, and tell a good one from a scratched one."""
    for package in (patchline.engine, patchline.stream, patchline.ops):
        file = Path(str(package.__file__)).resolve()
        assert file.is_relative_to(Path(sys.prefix).resolve()), f"{file} is not the installed one"
    recipe = Recipe(
        name="part",
        backbone=preset("efficientnet_lite0"),
        image_size_px=(64, 64),
        coreset_fraction=0.2,
        false_reject_rate=0.2,
    )
    bank = fit([(f"good-{seed}", part(seed)) for seed in range(12)], recipe).bank
    inspector = Inspector({"part": bank})
    images = [part(0), part(51, scratched=True)]
    good, bad = inspector.inspect([("part", inspector.prepare("part", image)) for image in images])
    assert (good.verdict, bad.verdict) == ("pass", "reject"), (good.score, bad.score, bank.threshold)
    assert bad.score > 4 * good.score, (good.score, bad.score)
    scores = f"a good part scores {good.score:.3g}, a scratched one {bad.score:.3g}; threshold {bank.threshold:.3g}"
    print(f"version {patchline.engine.__version__}: {scores}")


if __name__ == "__main__":
    main()
