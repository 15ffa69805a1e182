"""Judges one frame with one recipe's bank: nearest rows, score, verdict, and a map where one is wanted."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.anomaly_map import anomaly_map
from engine.inspection import AnomalyMap, Inspection, Verdict
from engine.memory_bank import MemoryBank
from engine.scoring import Score, Scorer
from engine.search import NearestNeighbours

Maps: TypeAlias = Literal["none", "rejects", "all"]
"""For which frames an anomaly map is made: passes seldom need one."""


class Judge:
    """One recipe's bank with an index over it. Any number of threads may use it."""

    def __init__(self, name: str, bank: MemoryBank, index: NearestNeighbours) -> None:
        self.bank = bank
        self._name = name
        self._index = index
        self._scorer = Scorer(bank.values(), index, bank.recipe.neighbours)

    def judge(self, embeddings: NDArray[np.float32], grid: tuple[int, int], maps: Maps) -> Inspection:
        """Judge the patches of one frame, float32 (h*w, D)."""
        distances, nearest = self._index.search(embeddings, 1)
        score = self._scorer.score(embeddings, distances[:, 0], nearest[:, 0])
        made = None
        if maps == "all" or (maps == "rejects" and score.value > self.bank.threshold):
            recipe = self.bank.recipe
            made = anomaly_map(distances[:, 0].reshape(grid), recipe.image_size_px, recipe.smoothing_sigma)
        return self.inspection(score, grid, made)

    def inspection(self, score: Score, grid: tuple[int, int], made: AnomalyMap | None) -> Inspection:
        """What is said of a frame with this score, and this map of it."""
        row, column = divmod(score.worst_patch, grid[1])
        return Inspection(
            recipe=self._name,
            generation=self.bank.generation,
            generation_sha256=self.bank.sha256,
            threshold=self.bank.threshold,
            score=score.value,
            verdict=Verdict.REJECT if score.value > self.bank.threshold else Verdict.PASS,
            grid=grid,
            worst_patch=(row, column),
            nearest_row=score.nearest_row,
            anomaly_map=made,
        )
