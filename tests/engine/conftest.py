"""A small recipe with random weights, and photographs of nothing in particular, for tests of the engine."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from patchline.engine.features.weights import random_backbone
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.recipe import Recipe
from patchline.engine.types import Image

KERNEL_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""Where kernels run; without a GPU Triton's interpreter runs them (see tests/conftest.py)."""


def texture(seed: int, size_px: tuple[int, int] = (64, 64)) -> Image:
    """A smooth coloured texture, RGB uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size_px[0], : size_px[1]]
    wave = np.sin(rows / 5 + rng.uniform(0, 6)) + np.sin(columns / 7 + rng.uniform(0, 6))
    pixels = 128 + 30 * wave[..., None] + rng.normal(0, 6, (*size_px, 3))
    return np.asarray(np.clip(pixels, 0, 255), dtype=np.uint8)


def textures(count: int, start: int = 0) -> Sequence[tuple[str, Image]]:
    """Named textures, each of its own seed."""
    return [(f"good-{seed}", texture(seed)) for seed in range(start, start + count)]


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        name="texture",
        backbone=random_backbone("resnet18", stages=("layer1", "layer2"), seed=1),
        image_size_px=(64, 64),
        coreset_fraction=0.05,
        false_reject_rate=0.2,
        least_rows=0,
    )


@pytest.fixture(scope="session")
def fitted(recipe: Recipe) -> FitReport:
    return fit(textures(12), recipe, device="cpu")
