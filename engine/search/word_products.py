"""Products of codes by 16-bit instructions, for processors whose 8-bit products are slow (`search.int8_codes`).

AVX2 multiplies 16 pairs of 16-bit values at once and adds neighbours in 32 bits (`vpmaddwd`): twice what a float32
instruction multiplies, exactly, at one addition more. PyTorch has no product that uses it, so this one is compiled
here: queries are broadcast in pairs of values, rows are packed so that a register holds a pair of values of 8 rows, and
`TILE_QUERIES` x `TILE_ROWS` sums stay in registers until they are done (Goto and van de Geijn 2008 name such a piece
the inner kernel).
"""

import os
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from patchline.engine.numerics.compiled import compiled
from patchline.engine.numerics.core_pool import computing_with, shared_pool
from patchline.engine.numerics.processor import AVX2, this_processor
from patchline.engine.numerics.timing import quickest_s
from patchline.engine.types import Codes

TILE_QUERIES, TILE_ROWS = 6, 16
"""Sums that AVX2's 16 registers hold, beside two of rows, one of a query, and one on the way."""
_LANES = 8
_REGISTERS = TILE_ROWS // _LANES
_MULTIPLY_ADD = "llvm.x86.avx2.pmadd.wd"
_SHARED_FROM = 256
"""Queries from which on the cores share a product."""


def word_products(queries: Codes, rows: NDArray[np.int16], out: NDArray[np.int32]) -> None:
    """Write the products of queries' codes, int8 (n, W), with rows', int16 (m, W), to `out`, int32 (n, m).

    Where torch computes with several threads, so do these products. Values are those of codes, -127 to 127, so that no
    sum is beyond 32 bits.
    """
    n, threads = len(queries), torch.get_num_threads()
    if threads == 1 or n < _SHARED_FROM:
        _products(queries, rows, out)
        return
    each = -(-n // (threads * TILE_QUERIES)) * TILE_QUERIES
    parts = [slice(start, start + each) for start in range(0, n, each)]
    shared_pool(threads).map(lambda part: _products(queries[part], rows, out[part]), parts)


@lru_cache(maxsize=1)
def words_pay() -> bool:
    """Whether these products can be compiled for this processor, and take less of a core's time than float32's."""
    if not _can_be_compiled():
        return False
    drawn = np.random.default_rng(0)
    queries, rows = (drawn.integers(-127, 128, (512, 64)).astype(np.int8) for _ in range(2))
    words, floats, out = rows.astype(np.int16), torch.from_numpy(rows).float(), np.empty((512, 512), np.int32)
    asked = torch.from_numpy(queries)
    _products(queries, words, out)  # compiled by now
    with computing_with(1):
        in_words_s = quickest_s(lambda: _products(queries, words, out))
        in_float32_s = quickest_s(lambda: torch.mm(asked.float(), floats.T))
    return in_words_s < in_float32_s


def _can_be_compiled() -> bool:
    """Whether LLVM compiles for a processor with AVX2. It ends the process where it is asked for what that has not."""
    told = os.environ.get("NUMBA_CPU_NAME", "haswell") != "haswell" or "NUMBA_CPU_FEATURES" in os.environ
    return this_processor().has(AVX2) and not told


def _typed_tile(_context: Any, _queries: Any, _step: Any, _rows: Any, _pairs: Any, _out: Any, _out_step: Any) -> Any:
    """Compute `TILE_QUERIES` x `TILE_ROWS` products.

    It is given addresses and steps in bytes: of queries, int16 (q, 2 p), and their step; of packed rows, int16
    (p, `TILE_ROWS`, 2), and how many pairs p there are, 1 or more; of products, int32 (q, r), and their step.
    """
    return types.void(*[types.intp] * 6), _write_tile


def _write_tile(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
    queries, step, rows, pairs, out, out_step = given
    i32, i64 = ir.IntType(32), ir.IntType(64)
    sums, words = ir.VectorType(i32, _LANES), ir.VectorType(ir.IntType(16), 2 * _LANES)
    multiply_add = builder.module.globals.get(_MULTIPLY_ADD) or ir.Function(
        builder.module, ir.FunctionType(sums, [words, words]), _MULTIPLY_ADD
    )

    def address(start: Any, bytes_on: Any, kind: ir.Type) -> Any:
        return builder.inttoptr(builder.add(start, bytes_on), kind.as_pointer())

    before, loop = builder.block, builder.append_basic_block("pairs")
    builder.branch(loop)
    builder.position_at_end(loop)
    pair = builder.phi(i64)
    pair.add_incoming(ir.Constant(i64, 0), before)
    totals = [[builder.phi(sums) for _ in range(_REGISTERS)] for _ in range(TILE_QUERIES)]
    of_pair = builder.add(rows, builder.mul(pair, ir.Constant(i64, 4 * TILE_ROWS)))
    of_rows = [
        builder.load(address(of_pair, ir.Constant(i64, 4 * _LANES * register), words), align=4)
        for register in range(_REGISTERS)
    ]
    at_pair = builder.add(queries, builder.mul(pair, ir.Constant(i64, 4)))
    lanes = ir.Constant(ir.VectorType(i32, _LANES), [0] * _LANES)
    for number, of_query in enumerate(totals):
        two = builder.load(address(at_pair, builder.mul(step, ir.Constant(i64, number)), i32), align=2)
        first = builder.insert_element(ir.Constant(sums, ir.Undefined), two, ir.Constant(i32, 0))
        everywhere = builder.bitcast(builder.shuffle_vector(first, ir.Constant(sums, ir.Undefined), lanes), words)
        for register, total in enumerate(of_query):
            added = builder.add(total, builder.call(multiply_add, [everywhere, of_rows[register]]))
            total.add_incoming(ir.Constant(sums, [0] * _LANES), before)
            total.add_incoming(added, loop)
            of_query[register] = added
    following = builder.add(pair, ir.Constant(i64, 1))
    pair.add_incoming(following, loop)
    after = builder.append_basic_block("store")
    builder.cbranch(builder.icmp_signed("<", following, pairs), loop, after)
    builder.position_at_end(after)
    for number, of_query in enumerate(totals):
        start = builder.add(out, builder.mul(out_step, ir.Constant(i64, number)))
        for register, total in enumerate(of_query):
            builder.store(total, address(start, ir.Constant(i64, 4 * _LANES * register), sums), align=4)
    return context.get_dummy_value()


_tile: Any = intrinsic(_typed_tile)


@compiled
def _products(queries: Codes, rows: NDArray[np.int16], out: NDArray[np.int32]) -> None:
    n, width = queries.shape
    m, pairs = len(rows), (width + 1) // 2
    if n < TILE_QUERIES or m < TILE_ROWS:
        for query in range(n):
            for row in range(m):
                total = np.int32(0)
                for value in range(width):
                    total += np.int32(queries[query, value]) * np.int32(rows[row, value])
                out[query, row] = total
        return
    asked = np.zeros((n, 2 * pairs), np.int16)
    for query in range(n):
        for value in range(width):
            asked[query, value] = queries[query, value]
    tiles = (m + TILE_ROWS - 1) // TILE_ROWS
    packed = np.zeros((tiles, pairs, TILE_ROWS, 2), np.int16)
    for tile in range(tiles):
        first = min(tile * TILE_ROWS, m - TILE_ROWS)  # the last tile may overlap the one before
        for row in range(TILE_ROWS):
            for value in range(width):
                packed[tile, value // 2, row, value % 2] = rows[first + row, value]
    step, out_step = asked.strides[0], out.strides[0]
    for start in range(0, n, TILE_QUERIES):
        query = min(start, n - TILE_QUERIES)
        for tile in range(tiles):
            first = min(tile * TILE_ROWS, m - TILE_ROWS)
            _tile(
                asked.ctypes.data + query * step,
                step,
                packed.ctypes.data + tile * packed.strides[0],
                pairs,
                out.ctypes.data + query * out_step + 4 * first,
                out_step,
            )
