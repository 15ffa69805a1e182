"""Which patches of a frame are searched to the end, told on the device: see `search.fused_search`.

Queries come frame by frame, `patches` of each, with a squared distance and a row as `search_kernels._packed` joins
them.
Written in Triton (Tillet et al. 2019). Where TRITON_INTERPRET=1 is set before this module is imported, they run on a
CPU, slowly.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# What a kernel is given are pointers, numbers and constants of the compilation, for which Triton has no types.

import triton
import triton.language as tl

BELOW_ALL: tl.constexpr = tl.constexpr(-(2**62))
"""Less than any distance and row, also where the distance is NaN with its sign set."""


@triton.jit
def largest_kernel(nearest, numbers, count, none, patches, k, BLOCK: tl.constexpr):
    """The numbers of each frame's k farthest queries, int64 (B, k), how many in all, and a count of 0 of others."""
    frame, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    values = tl.load(nearest + frame * patches + at, at < patches, BELOW_ALL)
    for turn in range(k):
        _, place = tl.max(values, 0, return_indices=True)
        tl.store(numbers + frame * k + turn, frame * patches + place)
        values = tl.where(at == place, BELOW_ALL, values)
    if frame == 0:
        tl.store(count, tl.num_programs(0).to(tl.int64) * k)
        tl.store(none, tl.full((), 0, dtype=tl.int64))


@triton.jit
def others_kernel(nearest, largest, numbers, count, patches, k, BLOCK: tl.constexpr):
    """Appends to `numbers` the queries of each frame that may lie as far as the nearest of its `largest`, which are
    searched to the end; `count` tells how many there are.
    """
    frame, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    values = tl.load(nearest + frame * patches + at, at < patches, BELOW_ALL)
    enough = tl.load(nearest + tl.load(largest + frame * k))
    for turn in range(1, k):
        enough = tl.minimum(enough, tl.load(nearest + tl.load(largest + frame * k + turn)))
    wanted = (at < patches) & (values >= (enough >> 32 << 32))
    for turn in range(k):
        wanted &= at != tl.load(largest + frame * k + turn) - frame * patches
    place = tl.cumsum(wanted.to(tl.int32), 0)
    first = tl.atomic_add(count, tl.sum(wanted.to(tl.int64), 0))
    tl.store(numbers + first + place - 1, frame * patches + at, wanted)


@triton.jit
def unpack_kernel(nearest, sq, rows, count, BLOCK: tl.constexpr):
    """Squared distances, float32, and rows, int64."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    packed = tl.load(nearest + at, at < count, 0)
    tl.store(sq + at, (packed >> 32).to(tl.int32).to(tl.float32, bitcast=True), at < count)
    tl.store(rows + at, packed & 0xFFFFFFFF, at < count)
