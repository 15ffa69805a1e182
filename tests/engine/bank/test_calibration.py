"""The split-conformal threshold and its promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.bank.calibration import calibrate, check_promise, frames_needed
from patchline.engine.errors import CalibrationError


@given(n=st.integers(1, 400), percent=st.integers(1, 99), seed=st.integers(0, 10))
def test_rank_of_the_threshold(n: int, percent: int, seed: int) -> None:
    """At most floor(alpha (n + 1)) - 1 of the n scores lie above the threshold, or the rate is refused."""
    alpha = percent / 100
    scores = np.random.default_rng(seed).permutation(n).astype(np.float64)
    allowed = percent * (n + 1) // 100
    if allowed < 1:
        with pytest.raises(CalibrationError, match=f"with {n} held-out good frames"):
            calibrate(scores, alpha)
        return
    found = calibrate(scores, alpha)
    assert (scores > found.threshold).sum() == allowed - 1
    assert str(n) in found.promise


def test_the_promise_holds_on_average() -> None:
    """Over many calibrations a fresh good frame is rejected no more often than the rate, and not far less."""
    rng = np.random.default_rng(0)
    rejected = [rng.exponential() > calibrate(rng.exponential(size=39), 0.1).threshold for _ in range(20000)]
    assert 0.09 <= np.mean(rejected) <= 0.107


@given(percent=st.integers(1, 99))
def test_frames_needed_is_the_fewest(percent: int) -> None:
    """That many frames can promise the rate and one fewer cannot."""
    alpha = percent / 100
    n = frames_needed(alpha)
    check_promise(n, alpha)
    if n > 1:
        with pytest.raises(CalibrationError):
            check_promise(n - 1, alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_rates_out_of_range(alpha: float) -> None:
    """A rate outside (0, 1) is refused."""
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        calibrate(np.arange(9.0), alpha)
