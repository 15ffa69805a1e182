"""The chaos suite in its short form: the same figures, smaller sizes."""

from collections.abc import Callable
from typing import NoReturn

import pytest

from tests.chaos.figures import FIGURES, SHOWN_ELSEWHERE, load
from tests.services.process import ServiceUnavailableError


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FIGURES if name not in SHOWN_ELSEWHERE])
def test_promises_hold_while_things_break(
    name: str, unavailable: Callable[[ServiceUnavailableError], NoReturn]
) -> None:
    """Every goal of the figure is met."""
    module = load(name)
    try:
        found = module.measure(module.SHORT)
    except ServiceUnavailableError as error:
        unavailable(error)
    assert found
    assert all(measured.met for measured in found), "\n".join(map(str, found))
