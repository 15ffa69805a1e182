"""Embeddings that are computed once and kept by image, so that a figure can repeat its line cheaply."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from patchline.engine.features.extractor import FeatureExtractor
from patchline.engine.features.patches import PLAIN, PatchOptions
from patchline.engine.types import Image


@contextmanager
def remembered(folder: Path) -> Iterator[None]:
    """While it lasts, `FeatureExtractor.embed` looks an image up before it computes it.

    On a CPU an image's embedding does not depend on its batch, so what is looked up is what would be computed.
    """
    computed = FeatureExtractor.embed

    def embed(
        self: FeatureExtractor, images: Sequence[Image], options: PatchOptions = PLAIN
    ) -> tuple[Tensor, tuple[int, int]]:
        found = []
        for image in images:
            what = repr((self.spec, options, image.shape)).encode() + image.tobytes()
            kept = folder / f"{hashlib.sha256(what).hexdigest()[:32]}.npy"
            if not kept.exists():
                values, grid = computed(self, [image], options)
                np.save(kept, values[0].numpy().reshape(*grid, -1))
            found.append(torch.from_numpy(np.load(kept)))
        h, w, D = found[0].shape
        return torch.stack(found).view(len(found), h * w, D), (h, w)

    folder.mkdir(parents=True, exist_ok=True)
    FeatureExtractor.embed = embed  # type: ignore[method-assign] # counts calls
    try:
        yield
    finally:
        FeatureExtractor.embed = computed  # type: ignore[method-assign] # as it was
