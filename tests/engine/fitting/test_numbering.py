"""Numbers for groups."""

from patchline.engine.fitting.numbering import numbered


def test_equal_values_share_a_number_and_the_first_comes_first() -> None:
    """Whatever the values are; of none there are none."""
    assert numbered(["b", "a", "b", "c", "a"]) == [0, 1, 0, 2, 1]
    assert numbered([(7,), 7, (7,)]) == [0, 1, 0]
    assert numbered([]) == []
