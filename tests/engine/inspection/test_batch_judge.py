"""The whole-batch path of a GPU, on the CPU: the same rows and scores as frame by frame."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.errors import EngineError
from patchline.engine.features import device_pipeline
from patchline.engine.features.weights import random_backbone
from patchline.engine.inspection.batch_judge import BatchJudge, TensorSearch, _worst
from patchline.engine.inspection.judge import Judge, Maps
from patchline.engine.recipe import Recipe
from patchline.engine.search.device import DeviceSearch
from patchline.engine.search.factory import SearchKind, make_search
from patchline.engine.search.flat import TorchSearch
from patchline.engine.types import Verdict
from tests.bench import gpu

GRID = (4, 4)


def bank(seed: int, rows: int, neighbours: int) -> MemoryBank:
    """Random rows of 32 values, a fifth of them twice."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4000, (rows, 32), dtype=np.int16)
    values[rows - rows // 5 :] = values[: rows // 5]
    return MemoryBank(
        recipe=Recipe(name="r", backbone=random_backbone(), image_size_px=(32, 32), neighbours=neighbours),
        generation=1,
        rows=values,
        scale=2.0**-12,
        frames=(FrameOrigin(name="f"),),
        row_frame=np.zeros(rows, np.int32),
        row_patch=np.zeros(rows, np.int32),
        grid=GRID,
        covering_radius=1.0,
        calibration=calibrate(np.full(9, 0.6), 0.2),
    )


def indexes(made: MemoryBank) -> list[TensorSearch]:
    """Every index that a device may have."""
    rows = made.values()
    return [TorchSearch(rows), DeviceSearch(rows), DeviceSearch(rows, half=True)]


@pytest.mark.parametrize("neighbours", [1, 3, 9])
@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("seed", range(2))
def test_a_batch_is_judged_as_its_frames(seed: int, index: int, rows: int, neighbours: int) -> None:
    """Scores, worst patches, nearest rows and maps are those of the exact search and Eq. 6-7, frame by frame."""
    made = bank(seed, rows, neighbours)
    judge = Judge("r", made, make_search("faiss", made.values()))
    embeddings = np.random.default_rng(seed + 100).uniform(0, 1, (5, 16, 32)).astype(np.float32)
    embeddings[0, 3] = made.values()[0]  # a patch that is a row
    batched = BatchJudge(judge, indexes(made)[index])
    together = batched.judge(torch.from_numpy(embeddings), GRID, "all")
    for found, frame in zip(together, embeddings, strict=True):
        banded = batched.judge_bands(torch.split(torch.from_numpy(frame), 5), GRID, "none")
        assert banded.score == pytest.approx(found.score, rel=1e-6)
        assert banded.worst_patch == found.worst_patch
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


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_frame_without_a_finite_score_is_never_passed(value: float, index: int) -> None:
    """Features beyond half precision's range give no score, so they are an error and not a pass."""
    made = bank(0, 50, 9)
    judge = Judge("r", made, make_search("faiss", made.values()))
    embeddings = torch.rand(2, 16, 32)
    embeddings[1, 5, 7] = value
    with pytest.raises(EngineError, match="a frame's score is not finite"):
        BatchJudge(judge, indexes(made)[index]).judge(embeddings, GRID, "none")


@pytest.mark.parametrize("maps", ["none", "rejects", "all"])
@pytest.mark.parametrize("kind", ["faiss", "torch", "pruned"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nor_is_it_frame_by_frame(value: float, kind: SearchKind, maps: Maps) -> None:
    """A single patch of which no search says how far it is: by any search, with a map or without."""
    made = bank(0, 50, 9)
    judge = Judge("r", made, make_search(kind, made.values()))
    embeddings = np.random.default_rng(0).uniform(0, 1, (16, 32)).astype(np.float32)
    judge.judge([embeddings], GRID, maps)
    embeddings[5, 7] = value
    with pytest.raises(EngineError, match="recipe 'r': a frame's patch embeddings are not finite"):
        judge.judge([embeddings], GRID, maps)


def ageing(made: MemoryBank) -> MemoryBank:
    """The same bank by a recipe whose unused rows age."""
    return replace(made, recipe=msgspec.structs.replace(made.recipe, unused_days=3))


def frames_of(made: MemoryBank, count: int = 3) -> NDArray[np.float32]:
    """Frames near the bank's rows, float32 (count, 16, 32)."""
    noise = np.random.default_rng(9).normal(0, 0.02, (count, 16, 32))
    return (made.values()[np.arange(count * 16).reshape(count, 16) % 40] + noise).astype(np.float32)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("maps", ["none", "rejects", "all"])
def test_rows_in_use_are_noted_as_frame_by_frame(index: int, maps: Maps) -> None:
    """Of whole frames and of bands; told once, and added to what was told before."""
    made = ageing(bank(1, 50, 3))
    alone, judge = (Judge("r", made, make_search("faiss", made.values())) for _ in range(2))
    batched = BatchJudge(judge, indexes(made)[index])
    frames = frames_of(made)
    for frame in frames[:2]:
        alone.judge([frame], GRID, "none")
    batched.judge(torch.from_numpy(frames[:2]), GRID, maps)
    assert judge.used is not None
    assert alone.used is not None
    assert not judge.used.any()
    batched.note_used()
    assert judge.used.tolist() == alone.used.tolist()
    judge.used[:] = False
    batched.note_used()
    assert not judge.used.any()
    judge.used[49] = True
    alone.used[:] = False
    alone.used[49] = True
    alone.judge([frames[2]], GRID, "none")
    batched.judge_bands(torch.split(torch.from_numpy(frames[2]), 5), GRID, maps)
    batched.note_used()
    assert judge.used.tolist() == alone.used.tolist()


@pytest.mark.parametrize("k", [1, 3, 99])
@pytest.mark.parametrize("maps", ["none", "rejects", "all"])
def test_maps_and_verdicts_of_a_batch_are_those_of_its_frames(k: int, maps: Maps) -> None:
    """Whatever the score, a map is made for those who want one, and is that of the frame alone."""
    made = bank(1, 50, 3)
    made = replace(made, recipe=msgspec.structs.replace(made.recipe, score_patches=k))
    judge = Judge("r", made, make_search("faiss", made.values()))
    frames = frames_of(made)
    frames[1, 6] += 5  # one of three is rejected
    batched = BatchJudge(judge, TorchSearch(made.values())).judge(torch.from_numpy(frames), GRID, maps)
    for together, frame in zip(batched, frames, strict=True):
        alone = judge.judge([frame], GRID, maps)
        assert together.score == pytest.approx(alone.score, rel=1e-5)
        assert (together.verdict, together.worst_patch, together.nearest_row) == (
            alone.verdict,
            alone.worst_patch,
            alone.nearest_row,
        )
        assert (together.anomaly_map is None) == (alone.anomaly_map is None)
        if together.anomaly_map is not None and alone.anomaly_map is not None:
            np.testing.assert_allclose(together.anomaly_map, alone.anomaly_map, rtol=1e-4, atol=1e-6)
    assert [inspection.verdict for inspection in batched].count(Verdict.REJECT) == 1


def test_the_first_of_equally_far_patches_is_the_worst_and_nan_is_farthest() -> None:
    """In each frame by itself."""
    sq = torch.tensor([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0], [5.0, float("nan"), 7.0]])
    assert _worst(sq).tolist() == [1, 0, 1]


def test_the_device_is_told_by_one_thread_at_a_time() -> None:
    """Drawing maps, and searching once more for neighbours, hold the lock; reading scores does not."""
    made = bank(1, 50, 3)
    judge = Judge("r", made, make_search("faiss", made.values()))
    lock = MagicMock()
    batched = BatchJudge(judge, TorchSearch(made.values()), lock)
    frames = torch.from_numpy(frames_of(made))
    answer = batched.begin(frames, GRID, "none")
    before = lock.__enter__.call_count
    answer()
    without_maps = lock.__enter__.call_count - before
    batched.begin(frames, GRID, "all")()
    assert lock.__enter__.call_count == before + 2 * without_maps + 1
    assert lock.__exit__.call_count == lock.__enter__.call_count


def test_the_gpu_bench_measures_every_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `python -m tests.bench.gpu` runs on a GPU runs on the CPU, in small: frames/s, floor and shares of time."""
    monkeypatch.setattr(device_pipeline, "CHUNK_PIXELS", 2 * 64 * 64)
    out = tmp_path / "gpu.json"
    small = ["--device", "cpu", "--size", "64", "--rows", "64", "--batch", "3", "--repeats", "1", "--out", str(out)]
    small += ["--backbone", "resnet18"]
    assert gpu.main(small) == 0
    document = json.loads(out.read_text())
    (batch,) = document["batches"]
    assert document["floor_frames_per_s"] > 0
    assert batch["frames_per_s"] > 0
    assert list(batch["shares"]) == ["upload", "backbone", "search", "score"]
    assert sum(batch["shares"].values()) == pytest.approx(1)
    assert batch["one_by_one_per_s"] > 0
    assert "each batch begun while the one before is computed" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is at hand")
def test_the_gpu_bench_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a GPU it measures nothing, says so, and fails."""
    assert gpu.main([]) == 2
    assert "no CUDA GPU is at hand" in capsys.readouterr().out
