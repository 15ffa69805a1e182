"""The inspector: one score a frame, whatever else is in the batch."""

import threading
from dataclasses import replace
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchline.engine.errors import ImageError, RecipeError
from patchline.engine.features import openvino
from patchline.engine.features.cpu.frames_together import FramesTogether
from patchline.engine.features.extractor import Runtime
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.numerics.core_pool import shared_pool, shares
from patchline.engine.recipe import Recipe
from patchline.engine.types import Image, Rows, Verdict
from tests.engine.conftest import texture, textures


@pytest.fixture(scope="module")
def inspector(fitted: FitReport, recipe: Recipe) -> Inspector:
    finer = msgspec.structs.replace(recipe, name="finer", coreset_fraction=0.1, seed=5)
    larger = msgspec.structs.replace(recipe, name="larger", image_size_px=(96, 64))
    images = textures(12)
    return Inspector(
        {"texture": fitted.bank, "finer": fit(images, finer).bank, "larger": fit(images, larger).bank}, device="cpu"
    )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.lists(
        st.tuples(st.sampled_from(["texture", "finer", "larger"]), st.integers(100, 110)), min_size=1, max_size=7
    )
)
def test_a_frame_scores_the_same_alone_and_in_any_batch(inspector: Inspector, batch: list[tuple[str, int]]) -> None:
    """On the CPU every score and map is the same bit for bit, alone and in any batch of mixed recipes, in order."""
    frames = [(recipe, inspector.prepare(recipe, texture(seed))) for recipe, seed in batch]
    for frame, together in zip(frames, inspector.inspect(frames, maps="all"), strict=True):
        (alone,) = inspector.inspect([frame], maps="all")
        assert together.recipe == frame[0]
        assert (alone.score, alone.worst_patch, alone.nearest_row) == (
            together.score,
            together.worst_patch,
            together.nearest_row,
        )
        assert alone.anomaly_map is not None
        assert together.anomaly_map is not None
        assert alone.anomaly_map.tobytes() == together.anomaly_map.tobytes()


def test_recipes_with_one_backbone_share_one_pass(fitted: FitReport, recipe: Recipe) -> None:
    """As on a GPU, frames of two recipes of one backbone make a single pass; scores and maps are those of the CPU's."""
    second = fit(textures(12), msgspec.structs.replace(recipe, name="finer", coreset_fraction=0.1, neighbours=1))
    inspector = Inspector({"texture": fitted.bank, "finer": second.bank}, device="cpu")
    frames = [
        (name, texture(seed)) for seed, name in enumerate(["texture", "finer", "texture", "finer", "texture"], 400)
    ]
    frames[0][1][10:20, 30:50] = 0
    expected = inspector.inspect(frames, maps="all")
    inspector._batched = True
    (extractor,) = inspector._backbones.values()
    with patch.object(extractor, "embed_batch", wraps=extractor.embed_batch) as embed:
        found = inspector.inspect(frames, maps="all")
    assert [len(call.args[0]) for call in embed.mock_calls] == [5]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, rel=1e-4)
        assert (ours.recipe, ours.verdict, ours.worst_patch) == (theirs.recipe, theirs.verdict, theirs.worst_patch)
        assert ours.anomaly_map is not None
        assert theirs.anomaly_map is not None
        np.testing.assert_allclose(ours.anomaly_map, theirs.anomaly_map, rtol=1e-4)
    maps = [frame.anomaly_map is not None for frame in inspector.inspect(frames, maps="rejects")]
    assert maps == [frame.verdict is Verdict.REJECT for frame in expected]
    assert maps[0]


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_cores_give_the_same_bits_however_a_batch_falls_on_them(fitted: FitReport, runtime: Runtime) -> None:
    """With three cores, frames that have a core each and frames that share all score alike, bit for bit."""
    if runtime == "openvino" and not openvino.installed():
        pytest.skip("OpenVINO is not installed")
    inspector = Inspector({"texture": fitted.bank}, device="cpu", runtime=runtime)
    frames = [("texture", texture(seed)) for seed in range(500, 507)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert set(shared_pool(3).map(lambda _: torch.get_num_threads(), range(9))) == {1}
        assert torch.get_num_threads() == 3
        alone = [inspector.inspect([frame])[0].score for frame in frames]
        for size in (2, 3, 5, 7):
            assert [found.score for found in inspector.inspect(frames[:size])] == alone[:size]
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.get_num_threads() == 1, reason="one core has no others beside it")
def test_a_frame_to_learn_is_embedded_on_a_core_beside_the_caller(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the frames that are inspected, so that whoever asks goes on meanwhile."""
    where: list[str] = []
    embed = inspector.embed

    def noting(recipe: str, image: Image) -> Rows:
        where.append(threading.current_thread().name)
        return embed(recipe, image)

    monkeypatch.setattr(inspector, "embed", noting)
    rows = inspector.begin_embed("texture", texture(100)).result(60)
    np.testing.assert_array_equal(rows, embed("texture", texture(100)))
    assert where[0].startswith("patchline-core")


def test_shares_of_a_batch() -> None:
    """Full rounds have a frame a core; a rest that would leave half of the cores idle is shared by all."""
    assert [shares(frames, 2) for frames in (1, 2, 3, 8)] == [(0, 1), (2, 0), (2, 1), (8, 0)]
    assert [shares(frames, 4) for frames in (1, 2, 3, 6, 7)] == [(0, 1), (0, 2), (3, 0), (4, 2), (7, 0)]


def test_a_defect_scores_highest_where_it_is(inspector: Inspector) -> None:
    """A black square is rejected, and the worst patch and the map's peak lie on it."""
    image = texture(200)
    image[40:52, 8:20] = 0
    (found,) = inspector.inspect([("texture", image)], maps="rejects")
    assert found.verdict is Verdict.REJECT
    assert found.anomaly_map is not None
    peak = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
    patch_px = 64 / found.grid[0]
    assert 36 <= peak[0] < 56
    assert 4 <= peak[1] < 24
    assert 36 <= (found.worst_patch[0] + 0.5) * patch_px < 56
    assert 4 <= (found.worst_patch[1] + 0.5) * patch_px < 24


def test_reject_means_above_the_threshold(fitted: FitReport) -> None:
    """A score equal to the threshold passes; a threshold just below it rejects; maps come for rejects alone."""
    frame = ("texture", texture(300))
    score = Inspector({"texture": fitted.bank}, device="cpu").inspect([frame])[0].score
    for threshold, verdict in ((score, Verdict.PASS), (np.nextafter(score, 0), Verdict.REJECT)):
        bank = replace(fitted.bank, calibration=replace(fitted.bank.calibration, threshold=float(threshold)))
        (found,) = Inspector({"texture": bank}, device="cpu").inspect([frame], maps="rejects")
        assert found.verdict is verdict
        assert (found.anomaly_map is None) == (verdict is Verdict.PASS)


def test_refusals(inspector: Inspector) -> None:
    """An unknown recipe, an image that was not prepared, and a grey image are refused by name."""
    with pytest.raises(RecipeError, match="'absent' has no memory bank here; loaded: finer, larger, texture"):
        inspector.prepare("absent", texture(1))
    with pytest.raises(ImageError, match="expected a prepared image"):
        inspector.inspect([("texture", texture(1, (80, 80)))])
    with pytest.raises(ImageError, match="expected an RGB uint8 image"):
        inspector.prepare("texture", np.zeros((64, 64), dtype=np.uint8))
    assert inspector.inspect([]) == []


def test_warming_up_prepares_frames_that_one_core_takes_together(fitted: FitReport) -> None:
    """How they go through the backbone is found out before the first of them waits."""
    inspector = Inspector({"texture": fitted.bank}, device="cpu", runtime="torch")
    inspector.warm_up()
    (extractor,) = inspector._backbones.values()
    network = extractor._network
    assert isinstance(network, FramesTogether)
    assert {count for _, count in network._plans} == {2, 4}
