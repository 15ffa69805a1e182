"""Three figures of a threshold: aimed, proved, uncertain."""

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.figures import figures_of, proved_rate, why_unproved
from tests.engine.learning_worlds import RECIPE

PLAIN = msgspec.structs.replace(RECIPE, neighbours=1)


def test_the_bound_is_that_of_the_theorem() -> None:
    """With 60 frames in 5 folds its term is .12, so .05 proves .22; the smaller of two terms counts; never above 1."""
    assert proved_rate(0.05, 60, 5) == pytest.approx(0.1 + 1.6 / 13)
    assert proved_rate(0.05, 10, 5) == pytest.approx(0.1 + (1 - 5 / 10) / 6)
    assert proved_rate(0.1, 10, 10) == pytest.approx(0.2)
    assert proved_rate(0.9, 10, 5) == 1.0


@pytest.mark.parametrize(
    ("change", "sizes", "groups", "calibrated", "why"),
    [
        ({}, [4, 4, 4], 12, 12, ""),
        ({"neighbours": 9, "score_patches": 3}, [4, 4, 4], 12, 12, ""),
        ({"neighbours": 9}, [4, 4, 4], 12, 12, "Eq. 7 may raise a score"),
        ({}, [4, 4, 4], 11, 12, "copies of one image"),
        ({}, [4, 4, 4], 12, 9, "the scores of 9 of 12 images"),
        ({}, [5, 4, 4], 13, 13, "the folds have 4 to 5 images"),
    ],
)
def test_it_is_proved_only_where_its_conditions_hold(
    change: dict[str, int], sizes: list[int], groups: int, calibrated: int, why: str
) -> None:
    """Distances that only fall, folds of equal size, independent images that all count."""
    said = why_unproved(msgspec.structs.replace(PLAIN, **change), sizes, groups, calibrated)
    assert said.startswith(why)
    assert bool(said) is bool(why)


def test_a_precision_that_was_tried_on_the_images_proves_nothing() -> None:
    """The recipe was then chosen by them."""
    backbone = msgspec.structs.replace(PLAIN.backbone, precision="int8")
    assert "int8, was tried on these" in why_unproved(msgspec.structs.replace(PLAIN, backbone=backbone), [2, 2], 4, 4)


def test_the_uncertainty_is_that_of_an_order_statistic() -> None:
    """Of many thresholds, each the k-th of n independent scores, 95 % reject a share within the interval."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        found = figures_of(calibrate(rng.uniform(size=60), 0.05), asked=0.05, folds=5, unproved="")
        inside += found.low <= 1 - found.threshold <= found.high
    assert 0.93 <= inside / 2000 <= 0.97


def test_groups_count_as_one_image_each() -> None:
    """Thirty images in ten groups are as uncertain as ten, and the words say so."""
    groups = np.repeat(np.arange(10, dtype=np.int32), 3)
    copies = figures_of(calibrate(np.repeat(np.arange(10.0), 3), 0.2, groups), asked=0.2, folds=5, unproved="x")
    alone = figures_of(calibrate(np.arange(10.0), 0.2), asked=0.2, folds=5, unproved="x")
    assert (copies.low, copies.high) == (alone.low, alone.high)
    assert dict(copies.lines())["aimed"] == (
        "0.2 of good frames rejected, by 30 good frames in 10 groups (each without the rows of its own fold of 5)"
    )


def test_words_keep_the_three_apart() -> None:
    """What is proved is said as such only where it is; with frames for the threshold alone it is the rate itself."""
    by_folds = figures_of(calibrate(np.arange(60.0), 0.05, proved=0.223), asked=0.05, folds=5, unproved="")
    assert "at most 0.223" in dict(by_folds.lines())["proved"]
    assert "if the recipe was not chosen by them" in dict(by_folds.lines())["proved"]
    assert not by_folds.one_decides
    unproved = figures_of(calibrate(np.arange(60.0), 0.05), asked=0.05, folds=5, unproved="Eq. 7")
    assert (unproved.proved, dict(unproved.lines())["proved"]) == (None, "nothing: Eq. 7")
    split = figures_of(calibrate(np.arange(60.0), 0.05), asked=0.05, folds=1, unproved="")
    assert split.proved == 0.05
    assert "further images, for it alone" in dict(split.lines())["aimed"]
    assert dict(split.lines())["held-out"] == "scores 0 to 59, median 30"
    assert "as if the scores were independent" in dict(split.lines())["uncertainty"]


def test_what_was_set_aside_is_told_with_both_rates() -> None:
    """Where the threshold hangs on it; the uncertainty spans both, and the bound of folds does not hold."""
    found = figures_of(calibrate(np.arange(90.0), 0.05, set_aside=10), asked=0.05, folds=5, unproved="10 set aside")
    good, defects = found.rates or (0, 0)
    assert (good, defects) == (11 / 101, 1 / 91)
    told = dict(found.lines())
    assert (
        "out of reach: 0.11 if what was set aside is good, 0.011 if it is defects, by 90 good frames and 10"
        in (told["aimed"])
    )
    assert "whether what was set aside is good or not" in told["uncertainty"]
    alone = figures_of(calibrate(np.arange(90.0), 0.05), asked=0.05, folds=5, unproved="")
    assert found.low < alone.low < alone.high < found.high
    reached = figures_of(calibrate(np.arange(90.0), 0.2, set_aside=10), asked=0.2, folds=5, unproved="")
    assert reached.rates is None
    assert dict(reached.lines())["aimed"].startswith("0.2 of good frames rejected, by 90 good frames and 10 set aside")
    assert why_unproved(RECIPE, [20] * 5, 100, 100, 3) == "3 of 100 images were set aside by what they look like"
