"""Judges one frame with one recipe's bank: nearest rows, score, verdict, and a map where one is wanted."""

from collections.abc import Callable, Generator, Iterable
from copy import copy
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.calibration import score_ratio
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import EngineError
from patchline.engine.inspection.anomaly_map import anomaly_map
from patchline.engine.inspection.scoring import Score, Scorer
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.types import AnomalyMap, Inspection, Verdict

Maps: TypeAlias = Literal["none", "rejects", "all"]
"""For which frames an anomaly map is made: passes seldom need one."""
BandDistances: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]
"""Patches of a band, by number, their distances, and the row nearest to each."""
SLICE_ROWS = 2048
"""Rows that join an index at a time, where frames wait meanwhile."""


class Judge:
    """One recipe's bank with an index over it. Any number of threads may use it."""

    def __init__(self, name: str, bank: MemoryBank, index: NearestNeighbours, scorer: Scorer | None = None) -> None:
        self.bank = bank
        self._name = name
        self.index = index
        recipe = bank.recipe
        self._scorer = scorer or Scorer(bank.values(), index, recipe.neighbours, recipe.score_patches)
        self.used = np.zeros(len(bank.rows), dtype=bool) if bank.recipe.unused_days is not None else None
        """Rows that have been a patch's nearest, bool (M,), where the recipe lets unused ones age."""

    def judge(self, bands: Iterable[NDArray[np.float32]], grid: tuple[int, int], maps: Maps) -> Inspection:
        """Judge the patches of one frame.

        Args:
            bands: from top to bottom, float32 (n, D) each, h*w patches in all.
            grid: (h, w).
            maps: whether an anomaly map is made.

        Raises:
            EngineError: a value is not finite. No search says how far such a patch is, and none may pass it.
        """
        recipe, made, bands = self.bank.recipe, None, map(self._finite, bands)
        if maps != "all" and self.used is None and (maps == "none" or recipe.tiling is None):
            kept = list(bands) if maps == "rejects" else []  # where there are no tiles it is one
            score = score_of(self.index, self._scorer, kept or bands)
            if maps == "none" or score.value <= self.bank.threshold:
                return self.inspection(score, grid, None)
            bands = kept
        score, distances = score_bands(self.index, self._scorer, bands, self.used)
        if maps == "all" or (maps == "rejects" and score.value > self.bank.threshold):
            made = anomaly_map(distances.reshape(grid), recipe.image_size_px, recipe.smoothing_sigma)
        return self.inspection(score, grid, made)

    def measure(self, embeddings: NDArray[np.float32]) -> tuple[Score, NDArray[np.int64]]:
        """The score of a frame's patches, float32 (P, D), and the row nearest to each, int64 (P,)."""
        distances, nearest = self.index.search(embeddings, 1)
        return self._scorer.score(embeddings, distances[:, 0], nearest[:, 0]), nearest[:, 0]

    def follow_steps(self, bank: MemoryBank) -> Generator[None, None, "Judge"]:
        """The judge by another generation of this bank, made in slices; this one judges until then, and longer only
        where its index grows apart.

        Where the generation only adds rows, the index of this judge grows in place, in the last slice. Where it has the
        same rows, as where a threshold was chosen, nothing is made anew.
        """
        if np.array_equal(bank.rows, self.bank.rows):
            return Judge(self._name, bank, self.index, self._scorer)
        before, rows = len(self.bank.rows), bank.values()
        if np.array_equal(bank.rows[:before], self.bank.rows):
            grown = copy(self.index) if self.index.copy_can_grow else self.index
            grown.add(rows[before:])
            return Judge(self._name, bank, grown)
        index = self.index.with_rows(rows[:SLICE_ROWS])
        for start in range(SLICE_ROWS, len(rows), SLICE_ROWS):
            yield
            index.add(rows[start : start + SLICE_ROWS])
        return Judge(self._name, bank, index)

    def _finite(self, band: NDArray[np.float32]) -> NDArray[np.float32]:
        if not np.isfinite(band).all():
            raise EngineError(f"recipe {self._name!r}: a frame's patch embeddings are not finite")
        return band

    def inspection(self, score: Score, grid: tuple[int, int], made: AnomalyMap | None) -> Inspection:
        """What is said of a frame with this score, and this map of it."""
        row, column = divmod(score.worst_patch, grid[1])
        return Inspection(
            recipe=self._name,
            generation=self.bank.generation,
            generation_sha256=self.bank.sha256,
            threshold=self.bank.threshold,
            score=score.value,
            score_ratio=score_ratio(score.value, self.bank.threshold),
            p_value=self.bank.calibration.p_value(score.value),
            verdict=Verdict.REJECT if score.value > self.bank.threshold else Verdict.PASS,
            grid=grid,
            worst_patch=(row, column),
            nearest_row=score.nearest_row,
            anomaly_map=made,
        )


def score_of(index: NearestNeighbours, scorer: Scorer, bands: Iterable[NDArray[np.float32]]) -> Score:
    """The score of a frame alone, by the patches that are farthest; the same as by all of them."""
    return _scored(scorer, bands, lambda band: index.farthest(band, scorer.score_patches))[0]


def score_bands(
    index: NearestNeighbours,
    scorer: Scorer,
    bands: Iterable[NDArray[np.float32]],
    used: NDArray[np.bool_] | None = None,
) -> tuple[Score, NDArray[np.float32]]:
    """The score of a frame and the distances of its patches, float32 (h*w,), holding one band at a time.

    `used`, bool (M,), is set where a row is a patch's nearest.
    """

    def search(band: NDArray[np.float32]) -> BandDistances:
        distances, nearest = index.search(band, 1)
        if used is not None:
            used[nearest[:, 0]] = True
        return np.arange(len(band)), distances[:, 0], nearest[:, 0]

    return _scored(scorer, bands, search)


def _scored(
    scorer: Scorer, bands: Iterable[NDArray[np.float32]], find: Callable[[NDArray[np.float32]], BandDistances]
) -> tuple[Score, NDArray[np.float32]]:
    """The score by the patches that are found in each band, and the distances of all of these."""
    distances_of_bands: list[NDArray[np.float32]] = []
    embedding, farthest, worst, row, before = np.empty(0, np.float32), -1.0, 0, 0, 0
    for band in bands:
        numbers, distances, nearest = find(band)
        most = int(distances.argmax())
        if distances[most] > farthest:  # the first of equals stays
            embedding, farthest = band[numbers[most]].copy(), float(distances[most])
            worst, row = before + int(numbers[most]), int(nearest[most])
        distances_of_bands.append(distances)
        before += len(band)
    everywhere = np.concatenate(distances_of_bands)
    return scorer.score_worst(embedding, everywhere, worst, row), everywhere
