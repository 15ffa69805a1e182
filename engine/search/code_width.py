"""Chooses how many values the codes of the pruned search have (`search.int8_codes`).

Wider codes leave fewer rows to measure, but each product costs more. Where the least work lies depends on the bank's
dimensions, so it is measured on a sample of its rows. The costs below are ratios of times on two cores; a choice that
is not quite the best costs a little time and nothing else.
"""

import numpy as np
import torch

from patchline.engine.numerics.matmul import product
from patchline.engine.search.int8_codes import DIGITS, CodeSpace, code_products
from patchline.engine.types import Doubles, Floats

WIDTH_ROWS = 2**13
"""Rows by which the width is chosen: what a width saves does not depend on how many more there are."""
FARTHER = 2.5
"""Queries for choosing the width lie so many times as far from a row as its nearest row, as real patches do."""
WIDTHS = (32, 48, 64, 96, 128)
"""Values of a code to choose from."""
PAIR_COST = 15_000
"""What measuring a pair that is left costs, in multiply-adds of an 8-bit product."""
VALUE_COST = 50
"""What each value of such a pair adds to that."""


def best_width(rows: Floats, axes: Doubles, centre: Doubles) -> int:
    """Choose the width of codes that makes the least work for queries that lie off the rows.

    A query's work, in multiply-adds of an 8-bit product, is M times the width, and what measuring each row that is left
    costs. The queries are rows, each moved by `FARTHER` times the difference between another row and its nearest.

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
    best, least_work = WIDTHS[0], np.inf
    for width in WIDTHS:
        if width > D + 1 + DIGITS and width > WIDTHS[0]:
            break
        space = CodeSpace(rows, axes, centre, width)
        (codes, error), coded = space.rows(rows), space.queries((queries + centre).astype(np.float32))
        products = code_products(torch.from_numpy(coded.codes), torch.from_numpy(codes)).numpy()
        left = float((products >= space.least(coded, reach, error)[:, None]).sum(1).mean())
        work = M * width + left * (PAIR_COST + VALUE_COST * D)
        if work < least_work:
            best, least_work = width, work
    return best


def _sq_to_all(queries: Doubles, rows: Doubles) -> Doubles:
    """Squared distances, float64 (n, M), as products give them: not exact."""
    sq: Doubles = -2 * product(queries, rows.T)
    sq += np.einsum("nd,nd->n", queries, queries)[:, None]
    sq += np.einsum("md,md->m", rows, rows)
    return sq
