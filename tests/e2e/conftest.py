"""A bank fitted by the command line, once for all end-to-end tests."""

from pathlib import Path

import pytest

from tests.e2e.service import patchline
from tests.e2e.traffic import RECIPE


@pytest.fixture(scope="session")
def tiles(data_dir: Path) -> Path:
    """The folder of magnetic tiles, in MVTec's layout."""
    return data_dir / "magnetic_tile"


@pytest.fixture(scope="session")
def bank(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of every eighth good training tile, with the EfficientNet-Lite0 weights that the package brings."""
    folder = tmp_path_factory.mktemp("bank")
    good = folder / "good"
    good.mkdir()
    for path in sorted((tiles / "train" / "good").iterdir())[::8]:
        (good / path.name).symlink_to(path)
    bank = folder / RECIPE
    options = ["--name", RECIPE, "--backbone", "efficientnet_lite0", "--coreset", "0.01", "--false-reject-rate", "0.05"]
    patchline("fit", good, "--out", bank, *options)
    return bank
