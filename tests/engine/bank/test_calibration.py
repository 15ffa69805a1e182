"""The threshold of a bank: its rank among the scores, and what it promises."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.bank.calibration import Calibration, calibrate, calibrate_at, calibrate_with_stream, score_ratio
from patchline.engine.bank.rates import rank_of_groups, rate_in_reach
from patchline.engine.errors import CalibrationError

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


@given(sizes=st.lists(st.integers(1, 4), min_size=3, max_size=30), percent=st.integers(1, 99), seed=st.integers(0, 99))
def test_a_group_weighs_as_one_image(sizes: list[int], percent: int, seed: int) -> None:
    """The threshold is the first score up to which frames, each 1 / (frames of its group), come to k groups."""
    groups = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    scores = np.random.default_rng(seed).permutation(len(groups)).astype(np.float64)
    alpha = rate_in_reach(len(sizes), percent / 100)
    found = calibrate(scores, alpha, groups)
    needed = (len(sizes) + 1) * (1 - Fraction(repr(alpha)))
    weights = [Fraction(1, sizes[group]) for group in groups]

    def weight_to(score: float) -> Fraction:
        return sum((w for w, s in zip(weights, scores.tolist(), strict=True) if s <= score), Fraction(0))

    assert weight_to(found.threshold) >= needed
    assert weight_to(found.threshold - 1) < needed
    if found.groups is not None:
        assert [groups[int(np.flatnonzero(scores == score)[0])] for score in found.scores] == found.groups.tolist()
    assert found.group_count == len(sizes)


def test_copies_change_nothing_where_they_score_alike() -> None:
    """Ten images in threefold give the threshold of ten images; without their groups it would be another rate's."""
    scores = np.arange(10.0)
    copies = np.repeat(np.arange(10, dtype=np.int32), 3)
    assert calibrate(np.repeat(scores, 3), 0.1, copies).threshold == calibrate(scores, 0.1).threshold == 9.0
    assert calibrate(np.repeat(scores, 3), 0.1).threshold == 9.0
    assert calibrate(np.repeat(scores, 3), 0.2, copies).threshold == calibrate(scores, 0.2).threshold == 8.0
    with pytest.raises(CalibrationError, match="with 10 held-out good frames"):
        calibrate(np.repeat(scores, 3), 0.05, copies)


def test_the_rank_is_that_of_the_threshold() -> None:
    """k of n, for the uncertainty."""
    for n, alpha in ((60, 0.05), (19, 0.05), (99, 0.01)):
        scores = np.arange(1.0, n + 1)
        assert calibrate(scores, alpha).threshold == rank_of_groups(n, alpha)


def test_a_threshold_by_folds_says_what_is_proved() -> None:
    """Aimed and proved are told apart, and groups are counted."""
    scores = np.arange(10.0)
    assert calibrate(scores, 0.1).promise(folds=5) == (
        "9 aims to reject 0.1 of good frames (aimed, not proved); it rests on 10 held-out good frames, each scored "
        "without the rows of its own fold"
    )
    assert "(proved: at most 0.32); it rests on" in calibrate(scores, 0.1, proved=0.3201).promise(folds=5)
    groups = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8], dtype=np.int32)
    assert "10 held-out good frames in 9 groups" in calibrate(scores, 0.1, groups).promise(folds=5)


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
    with pytest.raises(CalibrationError, match=r"0\.05 cannot be aimed at"):
        calibrate_with_stream(np.arange(5.0), NONE, NONE, 0.05)


def test_a_threshold_that_a_person_chose_states_what_lies_above_it() -> None:
    """The share of the held-out scores, which is no aim: at the value itself a frame passes; nothing is promised."""
    chosen = calibrate_at(np.array([3.0, 1.0, 4.0, 2.0]), 3.0)
    assert (chosen.threshold, chosen.false_reject_rate, chosen.fixed) == (3.0, 0.25, True)
    assert chosen.scores.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert chosen.promise() == (
        "3 was chosen by a person, does not follow the bank and promises nothing; 25 % of 4 held-out good frames score "
        "above it"
    )
    for said in (chosen.promise(follows_stream=True), chosen.promise(folds=5)):
        assert said.startswith("3 was chosen by a person, does not follow the bank and promises nothing; 25 % of 4")
    assert calibrate_at(np.array([3.0]), 0.5).false_reject_rate == 1
    assert calibrate_at(np.array([3.0]), 9.0).false_reject_rate == 0
    with pytest.raises(CalibrationError, match="no good frames were held out"):
        calibrate_at(NONE, 3.0)


def test_copies_above_a_chosen_threshold_weigh_as_one_frame() -> None:
    """Of three copies, one of them above, and two frames of their own, one of them above: 4/3 of 3 groups."""
    scores, groups = np.array([1.0, 2.0, 7.0, 3.0, 8.0]), np.array([0, 0, 0, 1, 2], dtype=np.int32)
    chosen = calibrate_at(scores, 5.0, groups)
    assert chosen.false_reject_rate == float(Fraction(4, 9))
    assert chosen.groups is not None
    assert chosen.groups.tolist() == [0, 0, 1, 0, 2]
    assert "44.4 % of 5 held-out good frames in 3 groups score above it" in chosen.promise()


def test_p_values_count_what_scores_as_high() -> None:
    """(1 + held-out scores at or above) / (n + 1): equal ones count, and it never leaves [1 / (n + 1), 1]."""
    calibration = calibrate(np.array([3.0, 1.0, 2.0, 2.0]), 0.2)
    found = [calibration.p_value(score) for score in (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, np.inf)]
    assert found == [1.0, 1.0, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2]


def test_what_was_set_aside_scores_above_all() -> None:
    """In p-values, alone and among groups, and in the share above a threshold that a person chose."""
    scores, groups = np.array([1.0, 2.0, 3.0, 4.0]), np.array([7, 7, 7, 9], dtype=np.int32)
    assert [calibrate(scores, 0.5, set_aside=3).p_value(score) for score in (0.0, 2.5, 9.0)] == [1.0, 0.75, 0.5]
    assert [calibrate(scores, 0.5, groups, set_aside=2).p_value(score) for score in (0.0, 3.5, 9.0)] == [1.0, 0.8, 0.6]
    chosen = calibrate_at(scores, 3.0, set_aside=2)
    assert (chosen.false_reject_rate, chosen.rates_if_good_or_defects) == (0.5, None)
    assert "50 % of 4 held-out good frames and 2 set aside score above it" in chosen.promise()


def test_frames_of_a_group_weigh_as_one_in_p_values() -> None:
    """Three copies and one frame are two groups: each copy weighs a third, and the sums are rounded once."""
    groups = np.array([7, 7, 7, 9], dtype=np.int32)
    calibration = calibrate(np.array([1.0, 2.0, 3.0, 4.0]), 0.5, groups)
    found = [calibration.p_value(score) for score in (0.5, 1.5, 2.5, 3.5, 4.5)]
    assert found == [1.0, 8 / 9, 7 / 9, 2 / 3, 1 / 3]


@given(percent=st.integers(2, 60), data=st.data())
def test_a_frame_is_rejected_exactly_where_its_p_value_is_within_the_rate(percent: int, data: st.DataObject) -> None:
    """Also with groups and ties, for scores at, between and beyond those held out."""
    n = data.draw(st.integers(100 // percent, 60))
    groups = np.array([*range(n), *data.draw(st.lists(st.integers(0, n - 1), max_size=30))], dtype=np.int32)
    scores = np.array(data.draw(st.lists(st.integers(0, 40), min_size=len(groups), max_size=len(groups))), np.float64)
    calibration = calibrate(scores, percent / 100, groups)
    for score in (-1.0, *(scores - 0.5), *scores, 41.0):
        assert (score > calibration.threshold) == (calibration.p_value(score) <= percent / 100)


def test_p_values_of_fresh_good_frames_are_high_enough() -> None:
    """Over many calibrations a fresh frame's p-value is at most p with probability p or less, and not far less."""
    rng = np.random.default_rng(1)
    found = np.array([calibrate(rng.exponential(size=39), 0.1).p_value(rng.exponential()) for _ in range(20000)])
    for p in (0.025, 0.1, 0.5):
        assert 0.9 * p <= np.mean(found <= p) <= 1.1 * p


def test_stream_scores_leave_p_values_to_the_held_out_frames() -> None:
    """Frames of the stream move the threshold alone."""
    held_out = np.array([1.0, 2.0, 3.0, 4.0])
    calibration = calibrate_with_stream(held_out, np.full(20, 9.0), NONE, 0.2)
    assert calibration.threshold == 9
    assert calibration.p_value(3.5) == calibrate(held_out, 0.2).p_value(3.5) == 0.4


@pytest.mark.parametrize(
    ("score", "threshold", "ratio"),
    [(3.0, 2.0, 1.5), (0.0, 2.0, 0.0), (3.0, 0.0, None), (0.0, 0.0, None), (3.0, 5e-324, None), (3.0, -1.0, None)],
)
def test_the_ratio_of_a_score_is_a_number_or_none(score: float, threshold: float, ratio: float | None) -> None:
    """Where the threshold is 0, or so small that the ratio is beyond all numbers, there is none."""
    assert score_ratio(score, threshold) == ratio


@pytest.mark.parametrize(("set_aside", "rank"), [(0, 19), (1, 20), (2, 20), (10, 25), (19, 30), (20, 30), (60, 30)])
def test_groups_set_aside_count_as_above_every_score(set_aside: int, rank: int) -> None:
    """k of all n, as far as there are scores; beyond it the largest, with the rates that this is."""
    found = calibrate(np.arange(1.0, 31.0), 0.4, set_aside=set_aside)
    everything = np.concatenate([np.arange(1.0, 31.0), np.full(set_aside, 1e9)])
    assert found.threshold == min(calibrate(everything, 0.4).threshold, 30.0) == rank
    n = 30 + set_aside
    beyond = rank_of_groups(n, 0.4) > 30
    assert found.rates_if_good_or_defects == (((set_aside + 1) / (n + 1), 1 / 31) if beyond else None)
    assert found.set_aside == set_aside


def test_groups_set_aside_weigh_as_groups() -> None:
    """Among groups of copies too, and beside frames of the stream; with nothing else there is no threshold."""
    groups = np.repeat(np.arange(10, dtype=np.int32), 3)
    scores = np.repeat(np.arange(10.0), 3)
    assert (
        calibrate(scores, 0.2, groups, set_aside=2).threshold == calibrate(np.arange(10.0), 0.2, set_aside=2).threshold
    )
    stream = calibrate_with_stream(np.arange(10.0), NONE, np.array([20.0, 21.0]), 0.2, set_aside=2)
    assert (stream.threshold, stream.set_aside) == (21.0, 2)  # k = ceil(15 * 0.8) = 12, of 14
    assert "beside 10 held-out good frames and 2 set aside it" in stream.promise(follows_stream=True)
    said = calibrate(np.arange(10.0), 0.2, set_aside=2).promise(folds=5)
    assert "aims to reject 0.23 of good frames if what was set aside is good, 0.091 if it is defects" in said
    with pytest.raises(CalibrationError, match="no good frames were held out"):
        calibrate(NONE, 0.2, set_aside=9)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"scores": np.zeros(0)}, r"scores must be float64 \(n,\), n 1 or more, found float64 \(0,\)"),
        ({"scores": np.zeros(3, np.float32)}, "scores must be float64 .* found float32"),
        ({"scores": np.zeros((1, 3))}, r"scores must be .* found float64 \(1, 3\)"),
        ({"scores": np.array([1.0, np.nan, 3.0])}, "scores must be finite and ascending"),
        ({"scores": np.array([1.0, 2.0, np.inf])}, "scores must be finite and ascending"),
        ({"scores": np.array([1.0, 3.0, 2.0])}, "scores must be finite and ascending"),
        ({"groups": np.zeros(2, np.int32)}, r"groups must be int32 \(3,\), 0 or more each, found int32 \(2,\)"),
        ({"groups": np.zeros(3, np.int64)}, "groups must be .* found int64"),
        ({"groups": np.array([0, -1, 2], np.int32)}, "groups must be int32"),
        ({"threshold": float("nan")}, "threshold must be finite, found nan"),
        ({"threshold": float("inf")}, "threshold must be finite, found inf"),
        ({"false_reject_rate": 0.0}, "false_reject_rate must lie between 0 and 1, found 0"),
        ({"false_reject_rate": 1.0}, "false_reject_rate must lie between 0 and 1, found 1"),
        ({"false_reject_rate": 1.01, "fixed": True}, "false_reject_rate must lie between 0 and 1, found 1.01"),
        ({"proved": -0.1}, "proved must lie between 0 and 1, found -0.1"),
        ({"set_aside": -1}, "set_aside must be 0 or more, less than 2,147,483,648, found -1"),
        ({"set_aside": 2**31}, "set_aside must be .*, found 2147483648"),
    ],
)
def test_a_calibration_that_contradicts_itself_is_refused(changed: dict[str, Any], says: str) -> None:
    """Whoever made it: a fit, a learner, or a file from elsewhere."""
    plain: dict[str, Any] = {"false_reject_rate": 0.25, "scores": np.array([1.0, 2.0, 3.0]), "threshold": 3.0}
    with pytest.raises(CalibrationError, match=f"^calibration: {says}"):
        Calibration(**(plain | changed))


def test_equal_scores_and_a_share_of_all_or_none_are_taken() -> None:
    """Scores may be equal; of a threshold that a person chose all good frames may lie above it, or none."""
    for rate in (0.0, 1.0):
        assert (
            Calibration(false_reject_rate=rate, scores=np.zeros(3), threshold=0.0, fixed=True, proved=1.0).frames == 3
        )
