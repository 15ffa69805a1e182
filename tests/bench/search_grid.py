"""The comparison of `search` from small banks to large ones and from few patches to many: where would we be behind?

One row for each bank and number of patches; the smallest ratio is what counts.
"""

import numpy as np
from numpy.typing import NDArray

from patchline.engine.benchmark.ways import search_way
from patchline.engine.numerics.quantise import dequantise
from patchline.engine.search.factory import make_search
from patchline.engine.search.index import NearestNeighbours
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.flat import FlatPeers, Way, check_alike, flat_peers, ways
from tests.bench.row import Row, from_times
from tests.bench.search import FRAMES, Patches, judging, patches_by_dimensions, rows_of
from tests.bench.timing import compare, timed

QUERIES = (784, 3136)
BANKS = (1_500, 16_000, 100_000)
CORESETS = 16_000
"""Rows up to which a bank is a coreset; the rows of larger ones are drawn from all patches."""
GOAL = 0.9
MOST_FLOP = 3e11
"""Fewer frames are searched where brute force would take more arithmetic than this; a frame for each core at least."""
SHORT_S = 0.5
"""What takes less than this is repeated more often."""


def search_grid(bench: Bench) -> list[Row]:
    """`search_grid_D_ROWS_QUERIES` for each of them."""
    found: list[Row] = []
    with flat_peers(bench) as faiss:
        for D, patches in patches_by_dimensions().items():
            cells = _cells(bench, D)
            if not cells:
                continue
            frames = _patches_of_frames(bench, patches)
            faiss.all_anew()
            for rows, several in cells.items():
                bank = _bank(bench, patches, rows)
                index = make_search("auto", bank)
                found += [_measure(bench, faiss, bank, index, _frames(frames, n, rows, bench.threads)) for n in several]
    if found:
        worst = min(found, key=lambda row: row.ratio)
        bench.say(f"the smallest ratio: {worst.ratio:.2f} of {worst.figure}")
    return found


def _cells(bench: Bench, D: int) -> dict[int, list[int]]:
    """Rows -> numbers of queries, of what is measured at so many dimensions."""
    cells = {
        rows: [queries for queries in QUERIES if bench.wants(_name(D, rows, queries))]
        for rows in (BANKS[:2] if bench.quick else BANKS)
    }
    return {rows: several for rows, several in cells.items() if several}


def _name(D: int, rows: int, queries: int) -> str:
    return f"search_grid_{D}_{rows}_{queries}"


def _measure(
    bench: Bench,
    faiss: FlatPeers,
    bank: NDArray[np.float32],
    index: NearestNeighbours,
    asked: list[NDArray[np.float32]],
) -> Row:
    figure = _name(bank.shape[1], len(bank), len(asked[0]))
    flat = faiss.best(bank, asked, _ways(bench, asked))
    ours = timed(judging(index, bank, asked))
    often = 1 if flat.seconds > SHORT_S else 5
    comparison = compare(ours, flat.timed, repeats=often * bench.repeats)
    check_alike(index.search(asked[0], 1)[0][:, 0], flat, figure)
    bench.say(
        f"{figure}: {len(asked)} frames, ours {search_way(index)}, FAISS {flat.name}: "
        f"{comparison.ratio:.2f} times faster"
    )
    return from_times(figure, comparison, goal=GOAL, unit="frames/s", work=len(asked), peer_loaded=flat.loaded)


def _ways(bench: Bench, asked: list[NDArray[np.float32]]) -> list[Way]:
    return ways(bench.threads, len(asked), batches=(len(asked), 1), one_thread=False)


def _bank(bench: Bench, patches: Patches, rows: int) -> NDArray[np.float32]:
    if rows <= CORESETS:
        return rows_of(bench, patches, rows)
    vectors, scale = patches.stored(bench)
    drawn = np.random.default_rng(workload.SEED).permutation(len(vectors))[:rows]
    return dequantise(np.asarray(vectors[np.sort(drawn)]), scale)


def _patches_of_frames(bench: Bench, patches: Patches) -> NDArray[np.float32]:
    """Patches of test frames one after the other, float32 (n, D)."""
    return np.concatenate(patches.frames(bench, 8 if bench.quick else FRAMES))


def _frames(patches: NDArray[np.float32], queries: int, rows: int, threads: int) -> list[NDArray[np.float32]]:
    """Parts of so many patches that follow each other, as many of them as `MOST_FLOP` lets."""
    flop = 2.0 * queries * patches.shape[1] * rows
    count = max(threads, min(FRAMES, int(MOST_FLOP / flop), len(patches) // queries))
    starts = range(0, len(patches) - queries + 1, queries)
    return [np.ascontiguousarray(patches[start : start + queries]) for start in starts[:count]]
