"""What the bench keeps of a figure, which kernels its peer may load, and how a narrower processor is played."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from rich.console import Console

from patchline.engine.numerics.processor import AVX512_VNNI, Processor, read_processor, this_processor
from tests.bench.bench import Bench
from tests.bench.flat import Way, core_types, ways
from tests.bench.loaded import loaded, stated
from tests.bench.peer import REPOSITORY
from tests.bench.row import from_times, merge
from tests.bench.timing import Comparison
from tests.engine.numerics.test_processor import AVX2_PLAYED, FOUR, HASWELL, NEOVERSE_N1

WIDE, PLAYED, NARROW, ARM = (
    read_processor(FOUR, "x86_64", {}),
    read_processor(FOUR, "x86_64", AVX2_PLAYED),
    read_processor(HASWELL, "x86_64", {}),
    read_processor(NEOVERSE_N1.format(number=0), "aarch64", {}),
)


def test_a_figure_keeps_what_it_was_measured_on(tmp_path: Path) -> None:
    """A played processor's figure stands beside the whole one's; a later one of the same kind takes its place."""
    path = tmp_path / "bench.json"
    for processor, peer_s in ((WIDE, 2.0), (PLAYED, 3.0), (WIDE, 4.0)):
        row = from_times("search", Comparison([1.0], [peer_s]), goal=None, peer_loaded={"versions": {}})
        merge([row], path, {"processor": asdict(processor), "threads": 2, "ours": {}})
    kept = json.loads(path.read_text())
    assert [(entry["figure"], entry["ratio"]) for entry in kept] == [("search", 3.0), ("search", 4.0)]
    assert "peer_loaded" not in kept[0]
    assert kept[0]["measured_on"]["peer"] == {"versions": {}}
    assert kept[0]["measured_on"]["processor"]["in_effect"] == ["AVX2", "FMA"]


def test_the_peer_gets_kernels_that_the_processor_can_run() -> None:
    """All that it can run where it is what it is; where one is played, those of the part alone."""
    assert list(core_types(WIDE)) == ["SkylakeX", "Haswell", "as its wheel comes"]
    assert core_types(WIDE)["as its wheel comes"] == {}
    assert list(core_types(NARROW)) == ["Haswell", "as its wheel comes"]
    assert list(core_types(ARM)) == ["as its wheel comes"]
    assert core_types(PLAYED) == {"Haswell": {"OPENBLAS_CORETYPE": "Haswell", "FAISS_SIMD_LEVEL": "AVX2"}}


def test_the_peer_is_asked_in_every_way() -> None:
    """Batches that there are frames for, all threads and one, and a frame on each thread."""
    assert ways(2, 4) == [Way(4, 2), Way(1, 2), Way(1, 2, apart=True), Way(4, 1), Way(1, 1)]
    assert ways(1, 16) == [Way(16, 1), Way(8, 1), Way(1, 1)]
    assert ways(2, 2, batches=(2,), one_thread=False) == [Way(2, 2), Way(1, 2, apart=True)]


@pytest.mark.parametrize(("processor", "goal"), [(WIDE, 2.5), (PLAYED, 2.0), (NARROW, 2.0), (ARM, None)])
def test_goals_follow_the_instruction_sets_in_effect(processor: Processor, goal: float | None) -> None:
    """A processor that is played has the goals of the part; where none was set there is none."""
    assert Bench(console=Console(), processor=processor).goal(vnni=2.5, avx2=2.0) == goal


def test_a_process_says_what_it_has_loaded() -> None:
    """PyTorch with the MKL and oneDNN inside it, and every BLAS with the processor that it takes this one for."""
    said = loaded()
    assert said["versions"]["torch"] == torch.__version__
    assert said["kernels"]["torch"] == torch.backends.cpu.get_cpu_capability()
    assert {pool["library"] for pool in said["pools"]} >= {"openmp"}
    assert f"torch {torch.__version__} ({said['kernels']['torch']})" in stated(said)
    assert json.loads(json.dumps(said)) == said


PLAY = """
import torch
from tests.bench import played
processor = played.play_along()
print(processor.narrowed, bool(played.stated()))
try:
    torch._int_mm(torch.ones(32, 32, dtype=torch.int8), torch.ones(32, 32, dtype=torch.int8))
    print("multiplied")
except RuntimeError as error:
    print(error)
print(played.untold().get("OPENBLAS_CORETYPE"), played.untold().get("FAISS_SIMD_LEVEL"))
"""


@pytest.mark.skipif(not this_processor().has(AVX512_VNNI), reason="there is no VNNI here that could be hidden")
@pytest.mark.parametrize("variables", [{}, AVX2_PLAYED])
def test_products_through_vnni_are_refused_to_who_plays_avx2(variables: dict[str, str]) -> None:
    """Their time would be the wider processor's; libraries that look for themselves are told."""
    cleared = ("OPENBLAS_CORETYPE", "FAISS_SIMD_LEVEL", *AVX2_PLAYED)
    environment = {name: value for name, value in os.environ.items() if name not in cleared}
    done = subprocess.run(
        [sys.executable, "-c", PLAY],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=environment | variables,
        timeout=120,
    )
    if variables:
        assert done.stdout.splitlines() == [
            "True True",
            "torch._int_mm: refused, as the processor that is played has no VNNI",
            "Haswell AVX2",
        ]
    else:
        assert done.stdout.splitlines() == ["False False", "multiplied", "None None"]
