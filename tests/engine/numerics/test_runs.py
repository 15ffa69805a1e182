"""Runs of frames: each frame once, those of a kind together, cores alike."""

import numpy as np
import pytest

from patchline.engine.numerics.runs import LENGTHS, in_order, runs_of


def test_the_frames_of_a_batch_fall_on_cores_evenly() -> None:
    """A core takes its own in the longest runs that they fill, the longest first."""
    assert runs_of([0] * 8, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert runs_of([0] * 7, 2) == [[3, 4, 5, 6], [0, 1], [2]]
    assert runs_of([0] * 4, 2) == [[0, 1], [2, 3]]
    assert runs_of([0] * 2, 2) == [[0], [1]]
    assert runs_of([0] * 6, 1) == [[0, 1, 2, 3], [4, 5]]
    assert runs_of([], 2) == []


def test_only_frames_of_a_kind_are_taken_together() -> None:
    """Frames of two kinds that alternate make runs of each; those of no other's kind go alone."""
    assert runs_of("abababab", 2) == [[0, 2], [4, 6], [1, 3], [5, 7]]
    assert runs_of(range(3), 2) == [[0], [1], [2]]


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_is_in_one_run(seed: int) -> None:
    """Runs of any batch on any number of cores hold each frame once, and their results come back in its order."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(3, size=int(rng.integers(1, 40))).tolist()
    runs = runs_of(kinds, int(rng.integers(1, 9)))
    assert {len(run) for run in runs} <= set(LENGTHS)
    assert all(len({kinds[position] for position in run}) == 1 for run in runs)
    assert in_order(runs, runs) == list(range(len(kinds)))
