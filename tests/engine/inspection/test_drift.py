"""A new light moves the mean embedding; bad parts move the scores alone."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.inspection.drift import DriftReference


@pytest.fixture
def reference() -> DriftReference:
    noise = np.random.default_rng(0)
    return DriftReference(noise.normal(10, 1, 40), noise.normal(0, 1, (40, 16)))


def window(seed: int, *, score: float = 10.0, light: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    noise = np.random.default_rng(seed)
    return noise.normal(score, 1, 200), noise.normal(light, 1, (20, 16))


def test_good_frames_have_not_moved(reference: DriftReference) -> None:
    """Of 40 windows like calibration none is said to have moved, and few have a small p."""
    found = [reference.compare(*window(seed)) for seed in range(40)]
    assert not any(drift.moved for drift in found)
    assert sum(drift.score_p < 0.01 for drift in found) <= 4


def test_light_is_told_apart_from_bad_parts(reference: DriftReference) -> None:
    """Where every patch moves, the picture has moved; where scores alone rise, it has not, and p is small."""
    light, parts = reference.compare(*window(1, score=13, light=2)), reference.compare(*window(2, score=13))
    assert light.moved
    assert not parts.moved
    assert max(light.score_p, parts.score_p) < 1e-6
    assert parts.score_statistic > 0.5


def test_the_same_window_is_judged_alike_every_time(reference: DriftReference) -> None:
    """The limit is drawn from a seed of its own, so it does not change from call to call or process to process."""
    again = DriftReference(reference.scores, reference.embeddings)
    assert reference.compare(*window(3)) == again.compare(*window(3))


def test_what_is_measured_is_as_stated() -> None:
    """Distances are between means; the limit is twice the 99 % quantile of drawn windows'."""
    noise = np.random.default_rng(4)
    scores, embeddings = noise.normal(10, 1, 30), noise.normal(3, 1, (30, 4))
    seen = noise.normal(4, 1, (7, 4))
    drift = DriftReference(scores, embeddings).compare(noise.normal(11, 1, 50), seen)
    assert drift.embedding_distance == pytest.approx(np.linalg.norm(seen.mean(0) - embeddings.mean(0)))
    draws = np.random.default_rng(0).integers(0, 30, (1000, 7))
    distances = np.linalg.norm(embeddings[draws].mean(1) - embeddings.mean(0), axis=1)
    assert drift.embedding_limit == pytest.approx(2 * np.quantile(distances, 0.99))


def test_only_higher_scores_are_drift(reference: DriftReference) -> None:
    """Scores below calibration's, as of a line that has not moved, give a p near 1, higher ones a small p."""
    lower, higher = reference.compare(*window(5, score=8)), reference.compare(*window(5, score=12))
    assert lower.score_p > 0.99
    assert lower.score_statistic < 0.03
    assert higher.score_p < 1e-6
    assert higher.score_statistic > 0.5


def test_the_statistic_is_the_one_sided_one() -> None:
    """The most by which calibration's distribution function lies above the window's; p by counting all orders."""
    calibration, seen, embeddings = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0]), np.zeros((2, 1))
    drift = DriftReference(calibration, embeddings).compare(seen, embeddings)
    assert drift.score_statistic == pytest.approx(2 / 3)  # at 2: two of three, and none of two
    orders = list(combinations(range(5), 2))  # where the window's scores stand among all five
    as_large = sum(_one_sided(places) >= 2 / 3 - 1e-9 for places in orders)
    assert drift.score_p == pytest.approx(as_large / len(orders))


def _one_sided(places: tuple[int, ...]) -> float:
    of_window = np.isin(np.arange(5), places)
    return float((np.cumsum(~of_window) / 3 - np.cumsum(of_window) / 2).max())


def test_a_window_at_the_limit_has_not_moved() -> None:
    """Frames that are all alike have a limit of their own, above 0, so that what does not move has not moved."""
    alike = DriftReference(np.arange(5.0), np.ones((5, 3)))
    drift = alike.compare(np.arange(5.0), np.ones((2, 3)))
    assert drift.embedding_distance == 0
    assert drift.embedding_limit > 0
    assert not drift.moved
    assert not replace(drift, embedding_distance=1.0, embedding_limit=1.0).moved
    assert replace(drift, embedding_distance=1.5, embedding_limit=1.0).moved
    assert alike.compare(np.arange(5.0), np.full((2, 3), 1.1)).moved
