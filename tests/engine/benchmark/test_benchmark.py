"""The benchmark of this machine: every stage is timed, counted and held against the floor."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
import torch

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.benchmark.benchmark import benchmark, synthetic_images
from patchline.engine.benchmark.device_stages import DeviceStages
from patchline.engine.benchmark.floor import Floor
from patchline.engine.features.extractor import count_flop, load_backbone
from patchline.engine.fitting.fit import FitReport
from patchline.engine.inspection.batch_judge import BatchJudge
from patchline.engine.inspection.judge import Judge
from patchline.engine.numerics.processor import this_processor
from patchline.engine.recipe import Recipe, Tiling
from patchline.engine.search.factory import make_search
from patchline.engine.types import Image

FLOOR = Floor(
    device="cpu", processor=this_processor(), threads=1, precision="float32", flop_per_s=1e11, bytes_per_s=1e10
)


def test_a_benchmark_times_every_stage_and_counts_its_arithmetic(fitted: FitReport, recipe: Recipe) -> None:
    """Each stage has a time and a floor; the search counts one product of all patches with all rows."""
    calls: list[tuple[int, int]] = []
    found = benchmark(
        fitted.bank,
        synthetic_images(recipe.image_size_px, 2),
        FLOOR,
        device="cpu",
        search="faiss",
        repeats=1,
        progress=lambda _, done, total: calls.append((done, total)),
    )
    stages = {stage.name: stage for stage in found.stages}
    assert list(stages) == ["normalise", "backbone", "embed", "search", "score", "map", "end to end"]
    M, D = fitted.bank.rows.shape
    patches = fitted.bank.grid[0] * fitted.bank.grid[1]
    assert stages["search"].flop == 2.0 * patches * M * D
    assert stages["backbone"].flop > 1e6
    assert all(stage.seconds > 0 and stage.floor_s > 0 for stage in found.stages)
    assert all(stage.quartiles[0] <= stage.seconds <= stage.quartiles[1] for stage in found.stages)
    assert stages["end to end"].floor_s == pytest.approx(
        sum(stage.floor_s for name, stage in stages.items() if name not in ("map", "end to end"))
    )
    assert found.frames_per_s == pytest.approx(1 / stages["end to end"].seconds)
    assert 0 < found.batch_s < 100 * stages["end to end"].seconds
    assert (found.rows, found.dimensions, found.search) == (M, D, "faiss")
    assert (found.search_way, found.backbone_way) == ("FaissSearch", "torch, float32 on cpu")
    assert calls[-1] == (4, 4)


def test_a_tiled_frame_is_measured_in_tiles(fitted: FitReport, recipe: Recipe) -> None:
    """The backbone never sees the whole of a large frame: its stages are one, and its arithmetic that of all tiles."""
    tiling = Tiling(tile_px=64, overlap_px=16)
    tiled = msgspec.structs.replace(recipe, image_size_px=(64, 160), tiling=tiling)
    bank = replace(fitted.bank, recipe=tiled, grid=(16, 40))
    found = benchmark(bank, synthetic_images((64, 160), 1), FLOOR, device="cpu", search="faiss", repeats=1)
    assert [stage.name for stage in found.stages] == ["tiles", "search", "score", "map", "end to end"]
    assert found.stages[0].flop == 3 * count_flop(recipe.backbone, (64, 64))
    assert found.patches == 16 * 40


def stages_on_a_device(bank: MemoryBank, images: Sequence[Image]) -> list[dict[str, float]]:
    """What a GPU does of its stages, on the CPU."""
    device = torch.device("cpu")
    judge = BatchJudge.on(device, Judge("r", bank, make_search("faiss", bank.values())))
    timed = DeviceStages(bank, load_backbone(bank.recipe.backbone, device), judge)
    return list(timed.time(images))


def test_the_stages_of_a_device_are_those_of_a_batch(fitted: FitReport, recipe: Recipe) -> None:
    """All frames go through each stage together; what hides behind computing takes no time, and no stage takes less."""
    (spent,) = stages_on_a_device(fitted.bank, synthetic_images(recipe.image_size_px, 3))
    assert list(spent) == ["upload", "backbone", "search", "score", "map"]
    assert all(spent[stage] > 0 for stage in ("backbone", "search", "map"))
    assert all(seconds >= 0 for seconds in spent.values())


def test_tiled_frames_go_through_a_device_one_by_one(fitted: FitReport, recipe: Recipe) -> None:
    """Memory is that of a band of tiles."""
    tiled = msgspec.structs.replace(recipe, image_size_px=(64, 160), tiling=Tiling(tile_px=64, overlap_px=16))
    spent = stages_on_a_device(replace(fitted.bank, recipe=tiled, grid=(16, 40)), synthetic_images((64, 160), 2))
    assert [list(frame) for frame in spent] == [["tiles", "search", "score", "map"]] * 2
    assert all(seconds > 0 for frame in spent for seconds in frame.values())
