"""Chooses how many values the codes of the pruned search have (`search.int8_codes`).

Wider codes leave fewer rows to measure, but each product costs more. Where the least work lies depends on the bank's
dimensions, so it is measured on a sample of its rows; what a row that is left costs, beside a product, is measured on
the machine. A choice that is not quite the best costs a little time and nothing else.
"""

from functools import lru_cache

import numpy as np
import torch

from patchline.engine.numerics.core_pool import computing_with
from patchline.engine.numerics.matmul import product
from patchline.engine.numerics.timing import quickest_s
from patchline.engine.search.index import sq_pairs
from patchline.engine.search.int8_codes import DIGITS, LARGEST, CodeSpace, code_dtype, code_products
from patchline.engine.types import Doubles, Floats

WIDTH_ROWS = 2**13
"""Rows by which the width is chosen: what a width saves does not depend on how many more there are."""
FARTHER = 2.5
"""Queries for choosing the width lie so many times as far from a row as its nearest row, as real patches do."""
WIDTHS = (32, 48, 64, 96, 128, 192, 256)
"""Values of a code to choose from."""
_PROBES, _PROBED_WIDTH = 64, 96
"""Queries and their codes' width by which the machine's costs are measured."""


def best_width(rows: Floats, axes: Doubles, centre: Doubles) -> int:
    """Choose the width of codes that makes the least work for queries that lie off the rows.

    A query's work, in multiply-adds of a product of codes, is M times the width, and what measuring each row that is
    left costs. The queries are rows, each moved by `FARTHER` times the difference between another row and its nearest.

    Args:
        rows: float32 (M, D).
        axes: see `CodeSpace`.
        centre: see `CodeSpace`.
    """
    rows = rows[:: -(-len(rows) // WIDTH_ROWS)]
    M, D = rows.shape
    chosen = np.linspace(0, M - 1, min(M, 128)).astype(np.int64)
    centred = rows - centre
    sq = _sq_to_all(centred[chosen], centred)
    sq[np.arange(len(chosen)), chosen] = np.inf  # not itself
    apart = centred[chosen] - centred[sq.argmin(1)]
    queries = centred[chosen] + FARTHER * np.roll(apart, 1, 0)
    reach = np.sqrt(np.maximum(_sq_to_all(queries, centred).min(1), 0.0))
    best, least_work, each = WIDTHS[0], np.inf, pair_cost(D)
    for width in WIDTHS:
        if width > D + 1 + DIGITS and width > WIDTHS[0]:
            break
        space = CodeSpace(rows, axes, centre, width)
        (codes, error), coded = space.rows(rows), space.queries((queries + centre).astype(np.float32))
        products = code_products(coded.codes, torch.from_numpy(codes).to(code_dtype()))
        left = float((products >= space.least(coded, reach, error)[:, None]).sum(1).mean())
        work = M * width + left * each
        if work < least_work:
            best, least_work = width, work
    return best


@lru_cache
def pair_cost(dimensions: int) -> float:
    """What it costs to measure a pair of vectors of so many dimensions, in multiply-adds of a product of codes.

    Both are measured on one core, as frames have one each.
    """
    drawn = np.random.default_rng(0)
    rows = drawn.random((WIDTH_ROWS, dimensions), dtype=np.float32)
    query_of, row_of = drawn.integers(_PROBES, size=WIDTH_ROWS), drawn.permutation(WIDTH_ROWS)
    codes = drawn.integers(-LARGEST, LARGEST + 1, (WIDTH_ROWS, _PROBED_WIDTH)).astype(np.int8)
    of_rows = torch.from_numpy(codes).to(code_dtype())
    with computing_with(1):
        pair_s = quickest_s(lambda: sq_pairs(rows[:_PROBES], query_of, rows, row_of)) / WIDTH_ROWS
        product_s = max(quickest_s(lambda: code_products(codes[:_PROBES], of_rows)), 1e-9)
    return pair_s / product_s * codes.size * _PROBES


def _sq_to_all(queries: Doubles, rows: Doubles) -> Doubles:
    """Squared distances, float64 (n, M), as products give them: not exact."""
    sq: Doubles = -2 * product(queries, rows.T)
    sq += np.einsum("nd,nd->n", queries, queries)[:, None]
    sq += np.einsum("md,md->m", rows, rows)
    return sq
