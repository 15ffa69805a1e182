"""A new light moves the mean embedding; bad parts move the scores alone."""

import numpy as np
import pytest

from patchline.engine.inspection.drift import DriftReference


@pytest.fixture
def reference() -> DriftReference:
    noise = np.random.default_rng(0)
    return DriftReference(noise.normal(10, 1, 40), noise.normal(0, 1, (40, 16)))


def window(seed: int, *, score: float = 10.0, light: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed)
    return noise.normal(score, 1, 200), noise.normal(light, 1, (20, 16))


def test_good_frames_have_not_moved(reference):
    """Of 40 windows like calibration none is said to have moved, and few have a small p."""
    found = [reference.compare(*window(seed)) for seed in range(40)]
    assert not any(drift.moved for drift in found)
    assert sum(drift.score_p < 0.01 for drift in found) <= 4


def test_light_is_told_apart_from_bad_parts(reference):
    """Where every patch moves, the picture has moved; where scores alone rise, it has not, and p is small."""
    light, parts = reference.compare(*window(1, score=13, light=2)), reference.compare(*window(2, score=13))
    assert light.moved
    assert not parts.moved
    assert max(light.score_p, parts.score_p) < 1e-6
    assert parts.score_statistic > 0.5


def test_the_same_window_is_judged_alike_every_time(reference):
    """The limit is drawn from a seed of its own, so it does not change from call to call or process to process."""
    again = DriftReference(reference.scores, reference.embeddings)
    assert reference.compare(*window(3)) == again.compare(*window(3))
