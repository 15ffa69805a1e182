"""What the quick run leaves out is named rightly."""

import pytest

from tests.conftest import LONGEST, SLOW_TESTS
from tests.services.process import REPOSITORY

LINES = [line for line in SLOW_TESTS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("line", LINES)
def test_a_slow_test_is_where_the_list_says(line: str) -> None:
    """A test that moved or was renamed would come back into the quick run unnoticed."""
    place, _, name = line.partition("::")
    assert (REPOSITORY / place).exists()
    assert not name or f"def {name}(" in (REPOSITORY / place).read_text(encoding="utf-8")


def test_the_list_is_sorted() -> None:
    """A line is found where one looks for it, and stands once."""
    assert sorted(set(LINES)) == LINES


@pytest.mark.parametrize("place", LONGEST)
def test_what_is_to_begin_first_is_there(place: str) -> None:
    """A file that moved would begin last, unnoticed, and one process would be left with it."""
    assert (REPOSITORY / place).exists()
    assert any(line.startswith(place.rstrip("/")) for line in LINES)
