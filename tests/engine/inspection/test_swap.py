"""A new generation takes over between batches: indexes grow in place, and frames are judged as by a fresh inspector."""

from copy import copy
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import RecipeError
from patchline.engine.fitting.fit import FitReport
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.numerics.quantise import quantise
from patchline.engine.search.factory import SearchKind
from patchline.engine.search.flat import FaissSearch
from patchline.engine.search.pruned import PrunedSearch
from tests.engine.conftest import texture, textures

FRAMES = [("texture", image) for _, image in textures(3, start=70)]
KINDS: list[SearchKind] = ["faiss", "pruned", "torch"]


def with_rows(bank: MemoryBank, rows: np.ndarray) -> MemoryBank:
    """A later generation that holds these rows."""
    M = len(rows)
    provenance = np.arange(M, dtype=np.int32)
    return replace(bank, generation=2, rows=rows, row_frame=provenance * 0, row_patch=provenance % 256)


def judged(inspector: Inspector) -> list[tuple[float, int, int]]:
    return [(found.score, found.nearest_row, found.generation) for found in inspector.inspect(FRAMES)]


@pytest.mark.parametrize("kind", KINDS)
def test_added_rows_grow_the_index_in_place(fitted: FitReport, kind: SearchKind) -> None:
    """The index is the one that was there, or shares what that has been made of; frames score as in an inspector made
    anew.
    """
    bank = fitted.bank
    inspector = Inspector({"texture": bank}, device="cpu", search=kind)
    index = inspector._judges["texture"].index
    patches = inspector.embed("texture", inspector.prepare("texture", texture(70)))
    grown = with_rows(bank, np.concatenate([bank.rows, patches[::7]]))
    slices = list(inspector.swap_steps("texture", grown))
    assert slices == []
    after = inspector._judges["texture"].index
    assert after is index or vars(after)["_axes"] is vars(index)["_axes"]
    assert (after is index) != inspector.swaps_beside("texture")
    assert len(after) == len(grown.rows)
    assert judged(inspector) == judged(Inspector({"texture": grown}, device="cpu", search=kind))


@pytest.mark.parametrize("kind", KINDS)
def test_removed_rows_make_another_index(fitted: FitReport, kind: SearchKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made in slices, between which the former generation still judges."""
    monkeypatch.setattr("patchline.engine.inspection.judge.SLICE_ROWS", 20)
    bank = fitted.bank
    inspector = Inspector({"texture": bank}, device="cpu", search=kind)
    before = judged(inspector)
    fewer = with_rows(bank, np.ascontiguousarray(bank.rows[1:]))
    between = [judged(inspector) for _ in inspector.swap_steps("texture", fewer)]
    assert len(between) > 1
    assert all(found == before for found in between)
    assert judged(inspector) == judged(Inspector({"texture": fewer}, device="cpu", search=kind))


def test_an_index_that_grows_apart_is_searched_as_it_was(fitted: FitReport) -> None:
    """Rows join within the room, beyond it, or so far outside that all are coded anew."""
    rows = fitted.bank.values()
    index = PrunedSearch(rows)
    index.add(rows[:1] + 0.5)  # makes room
    queries = np.concatenate([rows[::3] + 0.1, rows[:20] * 90])
    before = [*index.search(queries, 1), *index.search(queries, 3), *index.farthest(queries, 5)]
    for joining in (queries[:4], np.repeat(queries, 9, axis=0), rows[:30] * 100):
        after = copy(index)
        after.add(joining)
        assert len(after) == len(index) + len(joining)
        found = [*index.search(queries, 1), *index.search(queries, 3), *index.farthest(queries, 5)]
        for was, is_now in zip(before, found, strict=True):
            np.testing.assert_array_equal(is_now, was)
        whole = np.concatenate([rows, rows[:1] + 0.5, joining])
        np.testing.assert_array_equal(after.search(queries, 3)[1], FaissSearch(whole).search(queries, 3)[1])


def test_frames_under_way_are_judged_by_the_former_generation(fitted: FitReport) -> None:
    """Beside a swap every frame has the answer of one generation or of the other, whole."""
    inspector = Inspector({"texture": fitted.bank}, device="cpu", search="pruned")
    patches = inspector.embed("texture", inspector.prepare("texture", texture(70)))
    grown = with_rows(fitted.bank, np.concatenate([fitted.bank.rows, patches[::7]]))
    expected = {1: judged(inspector), 2: judged(Inspector({"texture": grown}, device="cpu", search="pruned"))}
    under_way = [inspector.begin(FRAMES) for _ in range(4)]
    inspector.swap("texture", grown)
    under_way += [inspector.begin(FRAMES) for _ in range(2)]
    found = [[(f.score, f.nearest_row, f.generation) for f in batch.result(60)] for batch in under_way]
    for batch in found:
        for place, frame in enumerate(batch):
            assert frame == expected[frame[2]][place]
    assert all(frame[2] == 2 for batch in found[4:] for frame in batch)


def test_embeddings_are_what_the_bank_stores(fitted: FitReport) -> None:
    """int16 patches at the bank's scale: a frame's own patches, learned, leave it a score of 0."""
    inspector = Inspector({"texture": fitted.bank}, device="cpu")
    image = inspector.prepare("texture", texture(70))
    patches = inspector.embed("texture", image)
    values = inspector._tiled["texture"].bands(image)
    found = inspector.embed_to_learn("texture", image)
    assert np.array_equal(found.patches, patches)
    later, under_way = inspector.begin_embed_to_learn("texture", image), inspector.begin([("texture", image)] * 4)
    assert np.array_equal(later.result(60).patches, patches)
    assert np.array_equal(inspector.begin_embed("texture", image).result(60), patches)
    assert len(under_way.result(60)) == 4
    assert found.score == pytest.approx(inspector.inspect([("texture", image)])[0].score, rel=1e-4)
    assert np.array_equal(patches, quantise(np.concatenate([band.numpy() for band in values]), fitted.bank.scale))
    inspector.swap("texture", with_rows(fitted.bank, np.concatenate([fitted.bank.rows, patches])))
    score = inspector.inspect([("texture", image)])[0].score
    assert score <= fitted.bank.scale * np.sqrt(patches.shape[1])


def test_a_bank_of_another_recipe_is_refused(fitted: FitReport) -> None:
    """The message names the recipe; the loaded bank goes on judging."""
    inspector = Inspector({"texture": fitted.bank}, device="cpu")
    other = replace(fitted.bank, recipe=msgspec.structs.replace(fitted.bank.recipe, neighbours=3))
    with pytest.raises(RecipeError, match="'texture': generation 1 was not fitted by the recipe"):
        inspector.swap("texture", other)
    assert inspector.recipes["texture"] is fitted.bank
