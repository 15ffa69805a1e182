"""The kernels of the search: on a GPU where one is at hand, else by Triton's interpreter."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchline.engine.inspection.batch_judge import BatchJudge
from patchline.engine.inspection.judge import Judge, Maps
from patchline.engine.search import fused_search
from patchline.engine.search.device import DeviceSearch
from patchline.engine.search.factory import make_search
from tests.engine.conftest import KERNEL_DEVICE
from tests.engine.inspection.test_batch_judge import GRID, bank
from tests.engine.search.indexes import features, plain

pytest.importorskip("triton", reason="Triton is not installed")


def index_of(rows: NDArray[np.float32]) -> DeviceSearch:
    index = DeviceSearch(rows, KERNEL_DEVICE, half=True, fused=True)
    assert index._fused is not None
    return index


def halves(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float16, device=KERNEL_DEVICE)


@pytest.mark.parametrize(("rows", "dimensions"), [(1, 40), (33, 8), (700, 152), (1200, 64), (300, 1536)])
def test_the_nearest_rows_are_those_of_float64(rows: int, dimensions: int) -> None:
    """Rows and squared distances of queries in half precision: among few rows and many, of any width."""
    values = features(rows, dimensions, 1)
    queries = halves(features(20, dimensions, 2))
    sq, nearest = index_of(values).nearest(queries, 1)
    expected, order = plain(values, queries.cpu().numpy().astype(np.float32), 1)
    np.testing.assert_allclose(sq.sqrt().cpu(), expected, rtol=1e-5)
    np.testing.assert_array_equal(nearest.cpu(), order)


def test_rows_that_join_are_found_and_of_equal_rows_the_lowest() -> None:
    """An index grows beyond the room that it had; every row is its own nearest, and its first copy is that of all."""
    rows = np.rint(features(80, 40, 3)).astype(np.float32)  # halves hold it exactly
    index = index_of(rows[:50])
    index.add(rows[50:])
    index.add(np.concatenate([rows[::-1], rows]))
    sq, nearest = index.nearest(halves(rows), 1)
    np.testing.assert_array_equal(nearest[:, 0].cpu(), np.arange(80))
    assert not sq.any()


def test_queries_of_any_size_are_answered() -> None:
    """Queries far beyond the rows find theirs; what is not finite is infinitely far from all, or nowhere."""
    rows = features(200, 40, 4) / np.float32(64)
    queries = np.concatenate([features(4, 40, 5) / 64, 2000 * features(3, 40, 6), np.zeros((4, 40))])
    queries[-3, 5], queries[-2, 3], queries[-1] = np.inf, np.nan, 60_000
    sq, nearest = index_of(rows).nearest(halves(queries), 1)
    finite = [0, 1, 2, 3, 4, 5, 6, 7, 10]
    expected, order = plain(rows, halves(queries).cpu().numpy().astype(np.float32)[finite], 1)
    np.testing.assert_allclose(sq[finite].sqrt().cpu(), expected, rtol=1e-5)
    np.testing.assert_array_equal(nearest[finite[:-1]].cpu(), order[:-1])  # float32 does not tell the last one's apart
    assert sq[8, 0] == torch.inf
    assert sq[9, 0].isnan()
    assert (nearest < 200).all()


@pytest.mark.parametrize("k", [1, 3, 20])
def test_the_farthest_patches_of_a_frame_are_exact_and_the_others_no_farther(k: int) -> None:
    """Frames come in parts; of each the k farthest patches are searched to the end."""
    rows = features(120, 40, 7)
    values = features(3 * 8, 40, 8).reshape(3, 8, 40)
    values[2, 5:] = values[2, :3]  # equally far ones
    frames = halves(values)
    index = index_of(rows)
    exact, nearest = (found.view(3, 8).cpu() for found in index.nearest(frames.flatten(0, 1), 1))
    sq, found = (tensor.cpu() for tensor in index.farthest_of_frames(frames, k))
    last = exact.topk(min(k, 8), dim=1).values[:, -1:]
    np.testing.assert_array_equal(sq[exact >= last], exact[exact >= last])
    np.testing.assert_array_equal(found[exact >= last], nearest[exact >= last])
    assert (sq >= exact).all()
    assert (sq[exact < last] < last.expand(3, 8)[exact < last]).all()


def test_parts_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries are taken in parts so that their bounds have room."""
    rows, frames = features(70, 40, 9), halves(features(4 * 4, 40, 10).reshape(4, 4, 40))
    index = index_of(rows)
    whole = index.nearest(frames.flatten(0, 1), 1), index.farthest_of_frames(frames, 1)
    monkeypatch.setattr(fused_search, "LEAST_VALUES", 30)
    parts = index.nearest(frames.flatten(0, 1), 1), index.farthest_of_frames(frames, 1)
    for one, other in zip(whole, parts, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_few_rows_are_measured() -> None:
    """Points lie where float64 has them, by less than is allowed for, so that bounds stay tight."""
    rows = features(500, 152, 11)
    index = index_of(rows)
    assert index._fused is not None
    assert index._groups is not None
    queries = halves(features(64, 152, 12))
    prepared = index._fused._prepare(index._index_of(index._groups), queries)
    centred = queries.cpu().double() - torch.from_numpy(index._centre64)
    inside = centred @ torch.from_numpy(index._axes64.copy())
    outside = (centred.square().sum(1) - inside.square().sum(1)).sqrt()
    points = torch.cat([inside, outside[:, None]], dim=1)
    shrink = prepared.terms[2].cpu().double()[:, None]
    made = prepared.factors.cpu().double()[:, : points.shape[1]] / shrink / index._scale
    rounded = 2.0**-11 * points.norm(dim=1)
    stated = prepared.terms[1].cpu().double()
    assert ((made - points).norm(dim=1) <= rounded + stated).all()
    assert (stated < 0.02 * points.norm(dim=1)).all()


@pytest.mark.parametrize("maps", ["none", "rejects", "all"])
@pytest.mark.parametrize("score_patches", [1, 4])
def test_a_batch_in_half_precision_is_judged_as_its_frames(maps: Maps, score_patches: int) -> None:
    """Scores, worst patches, nearest rows and maps are those of the exact search of the same patches."""
    made = bank(3, 60, 5)
    made = replace(made, recipe=msgspec.structs.replace(made.recipe, score_patches=score_patches))
    judge = Judge("r", made, make_search("faiss", made.values()))
    embeddings = np.random.default_rng(13).uniform(0, 1, (2, 16, 32)).astype(np.float16)
    together = BatchJudge(judge, index_of(made.values())).judge(halves(embeddings), GRID, maps)
    for found, frame in zip(together, embeddings.astype(np.float32), strict=True):
        alone = judge.judge([frame], GRID, maps)
        assert found.score == pytest.approx(alone.score, rel=1e-5)
        assert (found.worst_patch, found.nearest_row) == (alone.worst_patch, alone.nearest_row)
        assert (found.anomaly_map is None) == (alone.anomaly_map is None)
        if found.anomaly_map is not None and alone.anomaly_map is not None:
            np.testing.assert_allclose(found.anomaly_map, alone.anomaly_map, rtol=1e-5)
