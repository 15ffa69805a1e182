"""Which search a bank gets."""

import time

import numpy as np
import pytest

from patchline.engine.search import factory
from patchline.engine.search.factory import WORTH_PRUNING, SearchKind, _seconds, make_search
from patchline.engine.search.flat import FaissSearch, TorchSearch
from patchline.engine.search.pruned import PrunedSearch
from patchline.engine.types import Floats, Indices
from tests.engine.search.indexes import features


@pytest.mark.parametrize("kind", ["auto", "faiss", "torch", "pruned"])
def test_every_kind_can_be_made_by_name(kind: SearchKind) -> None:
    """`make_search` gives a working index of each kind, and refuses rows that make none."""
    rows = features(1200, 16, 15)
    np.testing.assert_array_equal(make_search(kind, rows).search(rows[5:6], 1)[1], [[5]])
    with pytest.raises(ValueError, match=r"\(0, 16\)"):
        make_search(kind, rows[:0])


def test_a_search_that_has_to_wait_for_a_core_is_not_taken_for_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` counts time on a core: it picks alike on a machine where others are busy."""
    index, queries = FaissSearch(features(1200, 16, 15)), features(10, 16, 16)
    searched = index.search

    def waiting(queries: Floats, k: int) -> tuple[Floats, Indices]:
        time.sleep(0.2)
        return searched(queries, k)

    monkeypatch.setattr(index, "search", waiting)
    assert _seconds(index, queries) < 0.1


@pytest.mark.parametrize(
    ("kind", "count", "type_"),
    [
        ("faiss", 1500, FaissSearch),
        ("torch", 1500, TorchSearch),
        ("pruned", 20, PrunedSearch),
        ("auto", WORTH_PRUNING - 1, FaissSearch),
    ],
)
def test_the_kind_asked_for_is_made(kind: SearchKind, count: int, type_: type) -> None:
    """A small bank is searched flat without a measurement."""
    assert type(make_search(kind, features(count, 8, 1))) is type_


@pytest.mark.parametrize("quicker", [FaissSearch, PrunedSearch])
def test_auto_takes_the_quicker_one(quicker: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a larger bank both are timed."""
    monkeypatch.setattr(factory, "_seconds", lambda index, _: 1.0 if type(index) is quicker else 2.0)
    assert type(make_search("auto", features(WORTH_PRUNING, 8, 1))) is quicker
