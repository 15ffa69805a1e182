"""The whole-batch path of a GPU, on the CPU: the same rows and scores as frame by frame."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from engine.batch_judge import BatchJudge
from engine.calibration import calibrate
from engine.inspector import Inspector
from engine.judge import Judge
from engine.memory_bank import MemoryBank
from engine.search import make_search
from tests.bench import gpu

CPU = torch.device("cpu")
GRID = (4, 4)


def bank(seed: int, rows: int, neighbours: int) -> MemoryBank:
    """Random rows of 32 values, a fifth of them twice."""
    made = gpu.bank(rows, (32, 32))
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4000, (rows, 32), dtype=np.int16)
    values[rows - rows // 5 :] = values[: rows // 5]
    recipe = msgspec.structs.replace(made.recipe, neighbours=neighbours)
    calibration = calibrate(np.full(9, 0.6), 0.2)
    return replace(made, rows=values, recipe=recipe, row_patch=np.zeros(rows, np.int32), calibration=calibration)


@pytest.mark.parametrize("neighbours", [1, 3, 9])
@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_is_judged_as_its_frames(seed: int, rows: int, neighbours: int) -> None:
    """Scores, worst patches, nearest rows and maps are those of the exact search and Eq. 6-7, frame by frame."""
    made = bank(seed, rows, neighbours)
    judge = Judge("r", made, make_search("faiss", made.values()))
    embeddings = np.random.default_rng(seed + 100).uniform(0, 1, (5, 16, 32)).astype(np.float32)
    embeddings[0, 3] = made.values()[0]  # a patch that is a row
    together = BatchJudge(judge, CPU).judge(torch.from_numpy(embeddings), GRID, "all")
    for found, frame in zip(together, embeddings, strict=True):
        alone = judge.judge([frame], GRID, "all")
        assert found.score == pytest.approx(alone.score, rel=1e-5)
        assert (found.worst_patch, found.nearest_row, found.verdict) == (
            alone.worst_patch,
            alone.nearest_row,
            alone.verdict,
        )
        assert found.anomaly_map is not None
        assert alone.anomaly_map is not None
        np.testing.assert_allclose(found.anomaly_map, alone.anomaly_map, rtol=1e-5)


def test_the_gpu_bench_measures_every_stage() -> None:
    """What `python -m tests.bench.gpu` runs on a GPU runs on the CPU: every stage takes some time."""
    size_px = (32, 32)
    inspector = Inspector({"bench": gpu.bank(64, size_px)}, device="cpu", runtime="torch")
    inspector._batched = True
    seconds = gpu.stages(inspector, gpu.images(2, size_px), repeats=1)
    assert list(seconds) == ["upload, normalise", "backbone", "search, scores", "end to end"]
    assert min(seconds.values()) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is at hand")
def test_the_gpu_bench_says_that_there_is_no_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU it measures nothing, says so, and fails."""
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert gpu.main() == 2
    assert "no CUDA GPU is at hand" in capsys.readouterr().out
