"""The threshold of a bank: its rank among the scores, and what it promises."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.bank.calibration import (
    calibrate,
    calibrate_with_stream,
    check_promise,
    draw_held_out,
    frames_needed,
)
from patchline.engine.errors import CalibrationError
from tests.engine.learning_worlds import RECIPE

NONE = np.zeros(0)


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
    calibration = calibrate(scores, alpha)
    assert (scores > calibration.threshold).sum() == allowed - 1
    assert str(n) in calibration.promise()


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


def test_scores_are_kept_in_order_and_must_be_finite() -> None:
    """The calibration holds its scores ascending; a score that is not finite is refused."""
    assert calibrate(np.array([3.0, 1.0, 2.0]), 0.5).scores.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(CalibrationError, match="must be finite"):
        calibrate(np.array([1.0, np.inf]), 0.5)


@pytest.mark.parametrize(("frames", "rate"), [(5, "0.1667"), (99, "0.01"), (150, "0.006623")])
def test_the_rate_that_can_be_promised_is_never_rounded_down(frames: int, rate: str) -> None:
    """The message names 1 / (n + 1), rounded up in its last digit."""
    with pytest.raises(CalibrationError, match=f"they can promise {rate} or more, and 0.001 needs 999$"):
        check_promise(frames, 0.001)
    check_promise(frames, float(rate))


@pytest.mark.parametrize(("total", "rate", "count"), [(12, 0.2, 4), (100, 0.2, 20), (100, 0.02, 49), (98, 0.02, 49)])
def test_as_many_are_held_out_as_the_rate_needs(total: int, rate: float, count: int) -> None:
    """A fifth, or more where the rate needs more, up to half of all; the same ones for the same seed."""
    recipe = msgspec.structs.replace(RECIPE, false_reject_rate=rate)
    drawn, aside = draw_held_out(range(total), recipe)
    assert len(drawn) == count
    assert drawn < frozenset(range(total))
    assert draw_held_out(range(total), recipe) == (drawn, frozenset())
    assert draw_held_out(range(total), msgspec.structs.replace(recipe, seed=1)) != (drawn, aside)


def test_more_than_half_is_never_held_out() -> None:
    """Where the rate needs more than half of the images, the fit is refused, and the message says what can be."""
    recipe = msgspec.structs.replace(RECIPE, false_reject_rate=0.02)
    says = "recipe 'part': at most 48 of 97 good images are held out for calibration; a false-reject rate of 0.02"
    with pytest.raises(CalibrationError, match=says):
        draw_held_out(range(97), recipe)


def test_one_of_a_group_is_held_out_and_the_others_of_it_are_set_aside() -> None:
    """A copy of a held-out image is not learned, and does not count as another good frame: groups count."""
    recipe = msgspec.structs.replace(RECIPE, false_reject_rate=0.2)
    groups = [position // 3 for position in range(36)]
    drawn, aside = draw_held_out(groups, recipe)
    assert len({groups[position] for position in drawn}) == len(drawn) == 4
    assert drawn | aside == {position for position in range(36) if groups[position] in {groups[n] for n in drawn}}
    assert not drawn & aside
    with pytest.raises(CalibrationError, match="at most 3 of 6 groups of 18 good images, one image each, are held out"):
        draw_held_out(groups[:18], recipe)


def test_without_a_stream_it_is_the_calibrated_one() -> None:
    """Threshold, scores and promise are those of the held-out frames alone."""
    scores = np.arange(24.0)
    plain, learned = calibrate(scores, 0.1), calibrate_with_stream(scores, NONE, NONE, 0.1)
    assert learned.threshold == plain.threshold
    assert learned.promise() == plain.promise()
    assert np.array_equal(learned.scores, plain.scores)


def test_with_a_stream_it_claims_no_promise() -> None:
    """Passed and confirmed frames move the threshold; what is said of it names the held-out frames and the stream."""
    learned = calibrate_with_stream(np.arange(20.0), np.array([30.0, 31.0]), np.array([40.0]), 0.1)
    assert learned.threshold == 31.0
    assert learned.scores.tolist() == np.arange(20.0).tolist()
    assert learned.promise(follows_stream=True) == (
        "31 aims to reject 0.1 of good frames and promises nothing: "
        "beside 20 held-out good frames it rests on those of the stream"
    )


def test_too_few_frames_are_refused() -> None:
    """As for the fit's own threshold, a rate that the frames cannot give is an error."""
    with pytest.raises(CalibrationError, match=r"0\.05 cannot be promised"):
        calibrate_with_stream(np.arange(5.0), NONE, NONE, 0.05)
