"""The tests test the code that lies beside them."""

import sys
from pathlib import Path

import pytest

import patchline.engine
import patchline.ops
import patchline.stream
import tests
from tests.services.process import REPOSITORY


def test_product_lies_in_this_checkout() -> None:
    """The three packages are the folders of this checkout: a second checkout never tests the first one's code."""
    folders = {package.__name__: Path(str(package.__file__)).resolve().parent for package in _PACKAGES}
    assert folders == {f"patchline.{name}": REPOSITORY / name for name in ("engine", "stream", "ops")}
    assert Path(str(tests.__file__)).parent == REPOSITORY / "tests"


@pytest.mark.parametrize("name", ["engine", "stream", "ops"])
def test_no_package_has_a_second_name(name: str) -> None:
    """Nothing was imported as `engine`, `stream` or `ops`: a module under two names would be two modules."""
    assert name not in sys.modules


_PACKAGES = (patchline.engine, patchline.stream, patchline.ops)
