"""A bank fitted by the command line, once for all end-to-end tests, and topics for each."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import topics
from tests.e2e.line import Line
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


@pytest.fixture
async def line(kafka: str, redis_url: str, unique_name: Callable[[str], str]) -> Line:
    """Topics of three partitions, and a group and a Redis prefix of this test's own."""
    frames, results, dead = (unique_name(name) for name in ("frames", "results", "dead-letters"))
    await topics.create(kafka, frames, results, dead, partitions=3)
    return Line(
        bootstrap=kafka,
        redis_url=redis_url,
        frames=frames,
        results=results,
        dead_letters=dead,
        group=unique_name("group"),
        prefix=unique_name("patchline") + ":",
    )
