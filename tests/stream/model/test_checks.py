from dataclasses import dataclass
from math import nan

import pytest

from patchline.stream.model.checks import MIB, at_least, is_text, positive
from patchline.stream.model.errors import ConfigError


@dataclass
class Owner:
    low: float = 1
    high: float = 5


def test_at_least_refuses_what_is_below_the_bound() -> None:
    """The bound itself is taken; a value below it is refused by its name, and NaN with it."""
    at_least(Owner(), 1, "low", "high")
    with pytest.raises(ConfigError, match=r"^Owner\.low is 0\.9, expected at least 1$"):
        at_least(Owner(low=0.9), 1, "high", "low")
    with pytest.raises(ConfigError, match=r"^Owner\.high is nan"):
        at_least(Owner(high=nan), 1, "low", "high")


def test_positive_refuses_zero() -> None:
    """Any value above 0 is taken; 0, below and NaN are refused by name."""
    positive(Owner(low=1e-9), "low", "high")
    for value in (0, -1, nan):
        with pytest.raises(ConfigError, match=rf"^Owner\.high is {value}, expected more than 0$"):
            positive(Owner(high=value), "low", "high")


def test_a_mebibyte() -> None:
    """Sizes count in powers of two."""
    assert MIB == 2**20


def test_what_is_no_text_is_told() -> None:
    """Bytes that are no UTF-8 are read as lone surrogates."""
    assert is_text("Kamera S\u00fcd \U0001f4f7")
    assert not is_text("a\udcff")
