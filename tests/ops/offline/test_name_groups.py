"""Groups by names: what a regular expression finds in common."""

import pytest

from patchline.ops.errors import InputError
from patchline.ops.offline.name_groups import groups_by_name

NAMES = ["017_left.png", "017_right.png", "018_left.png", "extra.png", "extra2.png"]


def test_what_groups_match_is_common() -> None:
    """Names with one number belong together; those without stand each for itself, and are named."""
    common, ungrouped = groups_by_name(NAMES, r"^(\d+)_")
    assert common[0] == common[1] != common[2]
    assert len(set(common)) == 4
    assert ungrouped == ["extra.png", "extra2.png"]


def test_without_groups_the_whole_match_is_common() -> None:
    """So is everything that several groups match, one without a match among them."""
    common, ungrouped = groups_by_name(NAMES, "left|right|extra")
    assert (common[0] == common[2], common[3] == common[4], len(set(common)), ungrouped) == (True, True, 3, [])
    common, _ = groups_by_name(["a1", "a1b", "a2"], r"^(a)(\d)(b)?")
    assert len(set(common)) == 3


def test_no_name_is_taken_for_the_position_of_another() -> None:
    """A name that stands for itself has nothing in common with a name in which a number was found."""
    common, _ = groups_by_name(["x", "0", "1"], r"\d")
    assert len(set(common)) == 3


def test_an_expression_that_is_none_or_finds_nothing_is_refused() -> None:
    """Each message names the option, what was given, and what was expected."""
    with pytest.raises(InputError, match=r"--group: '\(': missing \), .*expected a regular expression, such as"):
        groups_by_name(NAMES, "(")
    with pytest.raises(
        InputError, match=r"--group: 'lot' is found in none of 5 names, such as '017_left.png'; expected"
    ):
        groups_by_name(NAMES, "lot")
