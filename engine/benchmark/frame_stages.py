"""Takes a frame through an inspection on a CPU one stage at a time (`inspection.judge`), and times each."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.features import patches
from patchline.engine.features.extractor import FeatureExtractor
from patchline.engine.features.preprocess import level
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.inspection.anomaly_map import anomaly_map
from patchline.engine.inspection.judge import score_bands, score_of
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.types import Image


class Laps:
    """A stopwatch: seconds by stage. It waits for the device at the beginning and at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._wait()
        self._last = time.perf_counter()

    def end(self, stage: str) -> float:
        """Count the time since the last end to `stage`, and return it, in seconds."""
        self._wait()
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        return spent

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class FrameStages:
    """The stages of a frame on a CPU: `normalise`, `backbone` and `embed`, or `tiles`; `search`, `score` and `map`."""

    def __init__(self, bank: MemoryBank, extractor: FeatureExtractor, index: NearestNeighbours) -> None:
        """Raises RecipeError where the recipe's tiles and its backbone do not fit together."""
        recipe = bank.recipe
        self._bank, self._extractor, self._index = bank, extractor, index
        self._tiled = TiledExtractor(recipe, extractor)
        self._scorer = Scorer(bank.values(), index, recipe.neighbours, recipe.score_patches)

    def time(self, images: Sequence[Image]) -> Iterator[dict[str, float]]:
        """Seconds of each prepared image by stage."""
        recipe = self._bank.recipe
        for image in images:
            bands = (band.float().cpu().numpy() for band in self._tiled.bands(image))
            _, distances = score_bands(self._index, self._scorer, bands)  # for the map
            laps = Laps(self._extractor.device)
            score_of(self._index, self._scorer, self._bands(image, laps))
            laps.end("score")
            anomaly_map(distances.reshape(self._bank.grid), recipe.image_size_px, recipe.smoothing_sigma)
            laps.end("map")
            yield laps.seconds

    def _bands(self, image: Image, laps: Laps) -> Iterator[NDArray[np.float32]]:
        """Patch embeddings of an image by bands, float32 (n, D) each; time until the next is asked for is `search`."""
        for band in self._embedded(image, laps):
            values = band.float().cpu().numpy()
            laps.end("embed" if self._bank.recipe.tiling is None else "tiles")
            yield values
            laps.end("search")

    def _embedded(self, image: Image, laps: Laps) -> Iterator[Tensor]:
        recipe = self._bank.recipe
        if recipe.tiling is not None:
            yield from self._tiled.bands(image)
            return
        x = self._extractor.normalise((level(image) if recipe.levelling else image)[None])
        laps.end("normalise")
        feature_maps = self._extractor.feature_maps(x)
        laps.end("backbone")
        with torch.inference_mode():
            embeddings = patches.embed(feature_maps, recipe.image_size_px, self._tiled.options)[0][0]
        yield embeddings
