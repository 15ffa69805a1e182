"""Takes a batch through an inspection on a device one stage at a time (`inspection.batch_judge`), and times each."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.benchmark.frame_stages import Laps
from patchline.engine.features.extractor import FeatureExtractor
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.inspection.batch_judge import BatchJudge
from patchline.engine.types import Image


class DeviceStages:
    """The stages of a batch on a device: `upload`, `backbone`, `search`, `score` and `map`.

    `upload` is copying and sending the images, as far as computing does not hide it: the time to embed them, less the
    time of the same without their way to the device. `backbone` ends with patch embeddings. `score` is what the verdict
    adds to the search. A frame in tiles is timed alone, and its way to the device belongs to `tiles`.
    """

    def __init__(self, bank: MemoryBank, extractor: FeatureExtractor, judge: BatchJudge) -> None:
        """Raises RecipeError where the recipe's tiles and its backbone do not fit together."""
        self._bank, self._extractor, self._judge = bank, extractor, judge
        self._tiled = TiledExtractor(bank.recipe, extractor)

    def time(self, images: Sequence[Image]) -> Iterator[dict[str, float]]:
        """Seconds of all prepared images by stage, or of each where frames come in tiles."""
        with torch.inference_mode():
            if self._bank.recipe.tiling is None:
                yield self._batch(images)
            else:
                yield from map(self._tiles, images)

    def _batch(self, images: Sequence[Image]) -> dict[str, float]:
        grid, options = self._bank.grid, self._tiled.options
        embeddings, _ = self._extractor.embed_batch(images, options)
        sq, _ = self._judge.search(embeddings, "none")  # a map takes as long, whatever it shows
        launches = self._extractor.launches(images, options)
        laps = Laps(self._extractor.device)
        self._extractor.embed_batch(images, options)
        embedding = laps.end("upload")
        for launch in launches:
            launch()
        laps.seconds["upload"] = max(0.0, embedding - laps.end("backbone"))
        self._judge.search(embeddings, "none")
        search = laps.end("search")
        self._judge.judge(embeddings, grid, "none")
        laps.seconds["score"] = max(0.0, laps.end("score") - search)
        self._judge.maps(sq.sqrt(), grid).cpu()
        laps.end("map")
        return laps.seconds

    def _tiles(self, image: Image) -> dict[str, float]:
        grid, laps = self._bank.grid, Laps(self._extractor.device)

        def bands() -> Iterator[Tensor]:
            for band in self._tiled.bands(image):
                laps.end("tiles")
                yield band
                laps.end("search")

        searched = self._judge.search_bands(bands())
        laps.end("search")
        self._judge.tell(searched, grid, "none")()
        laps.end("score")
        self._judge.maps(searched.sq_of([0]).sqrt(), grid).cpu()
        laps.end("map")
        return laps.seconds
