"""Small banks that learn, for property tests: integer patches on grids coarse enough that ties are common."""

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchline.engine.coreset.event_log import AgedRows, Learned, Learning
from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.coreset.online_state import OnlineCoreset, begin, sq_integer
from patchline.engine.types import Rows

D = 3
unhurried = settings(max_examples=40)


def patches_of(seed: int, count: int = 12, spread: int = 60, shift: int = 0) -> Rows:
    """Patches of one frame, int16 (count, D), on a grid coarse enough that ties are common."""
    return (np.random.default_rng(seed).integers(-spread, spread, (count, D)) + shift).astype(np.int16)


def fitted(patches: Rows, rows: int, budget: int, admission: float = 1.0) -> OnlineCoreset:
    coreset = greedy_coreset(patches, rows, seed=0)
    chosen = coreset.indices
    return begin(
        patches[chosen],
        np.zeros(len(chosen), dtype=np.int32),
        chosen.astype(np.int32),
        ("fit",),
        sq_covering=sq_integer(coreset.radius, 1.0),
        admission=admission,
        budget=budget,
    )


def fitted_by_folds(patches: Rows, rows: int, folds: int, budget: int, admission: float = 1.0) -> OnlineCoreset:
    """The union of the folds' coresets by rank, patch n being of frame `fit-F` and fold F, F = n modulo `folds`."""
    coresets = [greedy_coreset(np.ascontiguousarray(patches[fold::folds]), rows, seed=0) for fold in range(folds)]
    chosen = [
        (int(coreset.indices[rank]) * folds + fold, fold)
        for rank in range(rows)
        for fold, coreset in enumerate(coresets)
        if rank < len(coreset.indices)
    ]
    numbers, fold_of = np.array(chosen, dtype=np.int32).T
    sq_radii = [sq_integer(coreset.radius, 1.0) for coreset in coresets]
    return begin(
        patches[numbers],
        np.ascontiguousarray(fold_of),
        np.ascontiguousarray(numbers),
        tuple(f"fit-{fold}" for fold in range(folds)),
        sq_covering=max(sq_radii),
        sq_spacing=min(sq_radii),
        row_fold=np.ascontiguousarray(fold_of),
        folds=folds,
        admission=admission,
        budget=budget,
    )


def sq_distances(patches: Rows, rows: Rows) -> NDArray[np.int64]:
    """(P, M) by definition, in integers."""
    difference = patches[:, None].astype(np.int64) - rows[None].astype(np.int64)
    return np.asarray((difference**2).sum(2))


def same(one: OnlineCoreset, other: OnlineCoreset) -> bool:
    def provenance(state: OnlineCoreset) -> list[tuple[str, int]]:
        return [(state.frames[f], int(p)) for f, p in zip(state.row_frame, state.row_patch, strict=True)]

    return (
        one.rows.tobytes() == other.rows.tobytes()
        and provenance(one) == provenance(other)
        and one.frames == other.frames
        and one.row_fold.tolist() == other.row_fold.tolist()
        and (one.sq_admission, one.thinned_at_first) == (other.sq_admission, other.thinned_at_first)
        and one.core.tolist() == other.core.tolist()
    )


def run(first: OnlineCoreset, frames: dict[str, Rows], log: Sequence[Learned | AgedRows]) -> Learning:
    """The log applied event by event, as a line would."""
    learning = Learning(first, frames.__getitem__)
    for event in log:
        if isinstance(event, AgedRows):
            learning.age(event.rows)
        else:
            learning.learn(event.frame)
    return learning


worlds = st.builds(
    lambda seed, spread, rows, extra, frames: (
        fitted(patches_of(seed, 20, spread), rows, rows + extra),
        {f"f{i}": patches_of(seed + 1 + i, 12, spread, shift=i * spread // 2) for i in range(frames)},
    ),
    st.integers(0, 10_000),
    st.sampled_from([4, 30, 300]),
    st.integers(2, 6),
    st.integers(0, 8),
    st.integers(1, 6),
)

fold_worlds = st.builds(
    lambda seed, spread, folds, rows, extra, frames, admission: (
        fitted_by_folds(patches_of(seed, 24, spread), rows, folds, rows * folds + extra, admission),
        {f"f{i}": patches_of(seed + 1 + i, 12, spread, shift=i * spread // 2) for i in range(frames)},
    ),
    st.integers(0, 10_000),
    st.sampled_from([4, 30, 300]),
    st.integers(2, 4),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(1, 6),
    st.sampled_from([0.5, 0.85, 1.0]),
)
"""The same of a fit by folds."""
