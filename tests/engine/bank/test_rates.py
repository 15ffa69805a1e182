"""The rates that so many good frames can aim at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.bank.rates import check_rate, frames_needed, lowest_rate, rate_in_reach
from patchline.engine.errors import CalibrationError


@given(percent=st.integers(1, 99))
def test_frames_needed_is_the_fewest(percent: int) -> None:
    """That many frames can promise the rate and one fewer cannot."""
    alpha = percent / 100
    n = frames_needed(alpha)
    check_rate(n, alpha)
    if n > 1:
        with pytest.raises(CalibrationError):
            check_rate(n - 1, alpha)


@pytest.mark.parametrize(("frames", "rate"), [(5, "0.1667"), (99, "0.01"), (150, "0.006623")])
def test_the_rate_that_can_be_promised_is_never_rounded_down(frames: int, rate: str) -> None:
    """The message names 1 / (n + 1), rounded up in its last digit."""
    with pytest.raises(CalibrationError, match=f"they can aim at {rate} or more, and 0.001 needs 999$"):
        check_rate(frames, 0.001)
    check_rate(frames, float(rate))


@pytest.mark.parametrize(
    ("groups", "asked", "taken"), [(60, 0.05, 0.05), (60, 0.01, 0.0164), (19, 0.05, 0.05), (1, 0.2, 0.5)]
)
def test_the_rate_in_reach_is_the_one_asked_for_or_the_lowest(groups: int, asked: float, taken: float) -> None:
    """So many groups can aim at what is taken, and at nothing between it and what was asked."""
    assert rate_in_reach(groups, asked) == taken
    check_rate(groups, taken)
    assert taken in (asked, lowest_rate(groups))
    with pytest.raises(CalibrationError, match="at least one"):
        rate_in_reach(0, asked)
