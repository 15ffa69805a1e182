"""`patchline bench`."""

import json
from pathlib import Path

from patchline.engine.numerics.processor import this_processor
from tests.ops.conftest import patchline


def test_bench_prints_the_floor_and_every_stage(bank: Path, parts: Path) -> None:
    """JSON has the floor and, for each bank, every stage with its time and how many times the floor it takes."""
    done = patchline(
        "bench", bank, "--images", parts / "test" / "good", "--frames", 2, "--repeats", 1, "--device", "cpu", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["floor"]["flop_per_s"] > 0
    assert document["floor"]["processor"]["model"] == this_processor().model
    (recipe,) = document["recipes"]
    assert recipe["recipe"] == "tile"
    assert recipe["frames"] == 2
    assert [stage["name"] for stage in recipe["stages"]][-1] == "end to end"
    assert all(stage["over_floor"] > 0 for stage in recipe["stages"])
    assert recipe["backbone_way"].endswith("float32 on cpu")
    assert recipe["search_way"].split()[0].endswith("Search")


def test_bench_says_that_synthetic_frames_tell_little_of_the_search(bank: Path) -> None:
    """Without images the table is made with synthetic textures, and says so."""
    done = patchline("bench", bank, "--frames", 1, "--repeats", 1, "--device", "cpu", "--search", "faiss")
    assert done.returncode == 0, done.stderr
    assert str(this_processor()) in done.stdout
    assert "GFLOP/s" in done.stdout
    assert "search by FaissSearch" in done.stdout
    assert "end to end" in done.stdout
    assert "in batches of 1;" in done.stdout
    assert "synthetic" in done.stdout


def test_bench_refuses_an_unknown_search(bank: Path) -> None:
    """An unknown search is refused with the choices."""
    done = patchline("bench", bank, "--search", "magic")
    assert done.returncode == 2
    assert "magic" in done.stderr
    assert "pruned" in done.stderr
