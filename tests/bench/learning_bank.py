"""A bank that learns in memory, by the engine's parts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.calibration import Calibration
from engine.learned_threshold import learned_threshold
from engine.learning import Learning
from engine.memory_bank import FrameOrigin, MemoryBank
from engine.online_coreset import begin, sq_integer
from engine.quantise import Rows
from engine.reference_frames import ReferenceFrames

BUDGET = 1.5


class LearningBank:
    """The newest generation, and what its threshold rests on."""

    def __init__(self, bank: MemoryBank, calibration: Sequence[tuple[str, Rows]]) -> None:
        self.bank = bank
        self._patches: dict[str, Rows] = {}
        first = begin(
            bank.rows,
            bank.row_frame,
            bank.row_patch,
            tuple(frame.name for frame in bank.frames),
            sq_covering=sq_integer(bank.covering_radius, bank.scale),
            admission=bank.recipe.admission,
            budget=bank.recipe.row_budget or round(BUDGET * len(bank.rows)),
        )
        self._learning = Learning(first, self._patches.__getitem__)
        self._references = ReferenceFrames(first)
        for name, patches in calibration:
            self._references = self._references.with_frame(name, "calibration", patches)
        self._passed: list[float] = []
        self._confirmed: list[float] = []

    def note_pass(self, score: float) -> None:
        """A frame passed."""
        self._passed.append(score)

    def confirm_good(self, frame: str, patches: Rows, score: float) -> MemoryBank:
        """Learn a frame, rejected with `score`; the next generation."""
        self._patches[frame] = patches
        self._confirmed.append(score)
        self._learning.learn(frame)
        state = self._learning.state
        self._references = self._references.follow(state)
        recipe, generation = self.bank.recipe, self.bank.generation + 1
        scores = self._references.scores(self.bank.scale, recipe.neighbours, recipe.score_patches)
        found = learned_threshold(scores, np.array(self._passed), np.array(self._confirmed), recipe.false_reject_rate)
        known = {frame.name: frame for frame in self.bank.frames}
        self.bank = replace(
            self.bank,
            generation=generation,
            rows=state.rows.copy(),
            frames=tuple(known.get(name, FrameOrigin(name=name, generation=generation)) for name in state.frames),
            row_frame=state.row_frame.copy(),
            row_patch=state.row_patch.copy(),
            calibration=Calibration(
                false_reject_rate=recipe.false_reject_rate, scores=np.sort(scores), threshold=found.value
            ),
        )
        return self.bank
