"""Chooses, on the device, which patches of a frame are searched to the end: see `search.fused_search`.

Queries come frame by frame, `patches` to a frame, each with a squared distance and a row as `search_kernels._packed`
joins them.

Written in Triton (Tillet et al. 2019). Where TRITON_INTERPRET=1 is set before this module is imported, they run on a
CPU, slowly.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# What a kernel is given are pointers, numbers and constants of the compilation, for which Triton has no types.

import triton
import triton.language as tl

BELOW_ALL: tl.constexpr = tl.constexpr(-(2**62))
"""Less than any packed distance and row, also where the distance is NaN with its sign set."""


@triton.jit
def largest_kernel(nearest, numbers, count, none, patches, k, BLOCK: tl.constexpr):
    """Writes the numbers of each frame's k farthest queries, int64 (B, k), and their count; `none` becomes 0."""
    frame, patch = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    values = tl.load(nearest + frame * patches + patch, patch < patches, BELOW_ALL)
    for rank in range(k):
        _, position = tl.max(values, 0, return_indices=True)
        tl.store(numbers + frame * k + rank, frame * patches + position)
        values = tl.where(patch == position, BELOW_ALL, values)
    if frame == 0:
        tl.store(count, tl.num_programs(0).to(tl.int64) * k)
        tl.store(none, tl.full((), 0, dtype=tl.int64))


@triton.jit
def others_kernel(nearest, largest, numbers, count, patches, k, BLOCK: tl.constexpr):
    """Appends to `numbers` the queries of each frame that may lie as far as the nearest of its `largest`, which are
    searched to the end; `count` tells how many there are.
    """
    frame, patch = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    values = tl.load(nearest + frame * patches + patch, patch < patches, BELOW_ALL)
    enough = tl.load(nearest + tl.load(largest + frame * k))
    for rank in range(1, k):
        enough = tl.minimum(enough, tl.load(nearest + tl.load(largest + frame * k + rank)))
    wanted = (patch < patches) & (values >= (enough >> 32 << 32))
    for rank in range(k):
        wanted &= patch != tl.load(largest + frame * k + rank) - frame * patches
    position = tl.cumsum(wanted.to(tl.int32), 0)
    first = tl.atomic_add(count, tl.sum(wanted.to(tl.int64), 0))
    tl.store(numbers + first + position - 1, frame * patches + patch, wanted)


@triton.jit
def unpack_kernel(nearest, sq, rows, count, BLOCK: tl.constexpr):
    """Takes packed values apart into squared distances, float32, and rows, int64."""
    query = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    packed = tl.load(nearest + query, query < count, 0)
    tl.store(sq + query, (packed >> 32).to(tl.int32).to(tl.float32, bitcast=True), query < count)
    tl.store(rows + query, packed & 0xFFFFFFFF, query < count)
