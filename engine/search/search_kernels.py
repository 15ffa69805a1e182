"""The steps of the search in half precision on a GPU as kernels: see `search.fused_search`, which starts them.

Written in Triton (Tillet et al. 2019), which PyTorch brings along for CUDA. Where TRITON_INTERPRET=1 is set before this
module is imported, they run on a CPU, slowly.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# What a kernel is given are pointers, numbers and constants of the compilation, for which Triton has no types.

import triton
import triton.language as tl

LAYER_BITS: tl.constexpr = tl.constexpr(31)
"""The lowest bits of a bound, in which the least of a fold keeps which of its rows it is of: ties are broken by it."""


@triton.jit
def points_kernel(
    queries,
    centre,
    axes,
    offset,
    factors,
    terms,
    count,
    scale,
    centre_norm,
    axes_scale,
    relative,
    root_width,
    largest_norm,
    smallest_shrink,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Points of `BLOCK` queries: factors, half (n, K), and squared norm, error and shrink, float32 (3, n)."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = number < count
    column = tl.arange(0, K)
    inside = tl.zeros((BLOCK, K), dtype=tl.float32)
    sq_norm = tl.zeros((BLOCK,), dtype=tl.float32)
    sq_whole = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, D, CHUNK):
        at = start + tl.arange(0, CHUNK)
        held = at < D
        Q = tl.load(queries + number.to(tl.int64)[:, None] * D + at[None, :], there[:, None] & held[None, :], 0.0)
        part = axes + at[:, None] * K + column[None, :]
        inside = tl.dot(Q, tl.load(part, held[:, None], 0.0), inside)
        inside = tl.dot(Q, tl.load(part + D * K, held[:, None], 0.0), inside)
        values = Q.to(tl.float32)
        centred = values - tl.load(centre + at, held, 0.0)[None, :]
        sq_norm += tl.sum(centred * centred, 1)
        sq_whole += tl.sum(values * values, 1)
    inside = inside * axes_scale - tl.load(offset + column)[None, :]  # 0 beyond the axes
    outside = tl.sqrt(tl.maximum(sq_norm - tl.sum(inside * inside, 1), 0.0))
    # What the products may have lost of the point inside, then of the squared residual norm, and so of that norm.
    off = relative * root_width * (tl.sqrt(sq_whole) + centre_norm)
    lost = relative * sq_norm + 2 * off * tl.sqrt(sq_norm) + off * off
    error = off + lost / tl.maximum(tl.maximum(outside, tl.sqrt(lost)), 1e-30)
    points = tl.where(column[None, :] == WIDTH, outside[:, None], inside) * scale
    sq_scaled = tl.sum(points * points, 1)
    range_ = largest_norm / smallest_shrink
    beyond = (sq_scaled > range_ * range_) | (sq_scaled != sq_scaled)
    points = tl.where(beyond[:, None], 0.0, points)
    error = tl.where(beyond, float("inf"), error)
    shrink = tl.exp2(tl.floor(tl.log2(largest_norm / tl.maximum(tl.sqrt(sq_scaled), 1e-30))))
    shrink = tl.where(beyond, smallest_shrink, tl.minimum(tl.maximum(shrink, smallest_shrink), 1.0))
    points = tl.where(column[None, :] == WIDTH + 1, 1.0, points) * shrink[:, None]
    tl.store(factors + number[:, None] * K + column[None, :], points.to(tl.float16), there[:, None])
    tl.store(terms + number, tl.where(beyond, 0.0, sq_scaled), there)
    tl.store(terms + count + number, error, there)
    tl.store(terms + 2 * count + number, shrink, there)


@triton.jit
def near_groups_kernel(
    factors, centres, near, count, groups, K: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr
):
    """The two groups whose centres are nearest to each point, the nearest first: int32 (n, 2)."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there, k, chunk = number < count, tl.arange(0, K), tl.arange(0, CHUNK)
    points = tl.load(factors + number[:, None] * K + k[None, :], there[:, None], 0.0)
    least, second = tl.full((BLOCK,), float("inf"), tl.float32), tl.full((BLOCK,), float("inf"), tl.float32)
    group, other = tl.zeros((BLOCK,), tl.int32), tl.zeros((BLOCK,), tl.int32)
    for start in range(0, groups, CHUNK):
        bounds = tl.dot(points, tl.load(centres + (start + chunk)[None, :] * K + k[:, None]))
        bounds = tl.where(bounds == bounds, bounds, float("inf"))  # NaN, of groups not there
        first_here, at = tl.min(bounds, 1, return_indices=True)
        second_here, next_at = tl.min(
            tl.where(chunk[None, :] == at[:, None], float("inf"), bounds), 1, return_indices=True
        )
        nearer = first_here < least
        # The second of both is the loser of the firsts or the second of the winner's side.
        loser, loser_at = tl.where(nearer, least, first_here), tl.where(nearer, group, start + at)
        runner, runner_at = tl.where(nearer, second_here, second), tl.where(nearer, start + next_at, other)
        second, other = tl.minimum(loser, runner), tl.where(loser < runner, loser_at, runner_at)
        least, group = tl.minimum(least, first_here), tl.where(nearer, start + at, group)
    tl.store(near + number * 2, group, there)
    tl.store(near + number * 2 + 1, other, there)


@triton.jit
def first_kernel(
    queries,
    rows,
    factors,
    row_factors,
    near,
    members,
    nearest,
    D: tl.constexpr,
    DIMENSIONS: tl.constexpr,
    K: tl.constexpr,
    MEMBERS: tl.constexpr,
    NEAR: tl.constexpr,
):
    """Of one query's `NEAR` groups the row with the least bound, and its squared distance, as `_packed`."""
    number, at, k, member = tl.program_id(0), tl.arange(0, DIMENSIONS), tl.arange(0, K), tl.arange(0, MEMBERS)
    point = tl.load(factors + number * K + k).to(tl.float32)
    lowest, row = float("inf"), 0
    for turn in tl.static_range(NEAR):
        of = tl.load(members + tl.load(near + number * 2 + turn) * MEMBERS + member)
        values = tl.load(row_factors + of[:, None] * K + k[None, :]).to(tl.float32)
        bound, place = tl.min(tl.sum(values * point[None, :], 1), 0, return_indices=True)
        row = tl.where(bound < lowest, tl.sum(tl.where(member == place, of, 0), 0), row)
        lowest = tl.minimum(lowest, bound)
    q = tl.load(queries + number.to(tl.int64) * D + at, at < D, 0.0).to(tl.float32)
    tl.store(nearest + number, _packed(_sq(q, rows, row, at, D), row))


@triton.jit
def least_kernel(
    numbers,
    total,
    factors,
    row_factors,
    least,
    fold,
    K: tl.constexpr,
    FOLD: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The least bound of rows `column`, `column + fold`, ...: float32 (n, fold), which of them in its lowest bits.

    Of which queries, int64, and of how many, is read from memory; bounds are in the order of these.
    """
    k, wanted = tl.arange(0, K), tl.load(total).to(tl.int32)
    blocks = tl.cdiv(fold, COLUMNS)
    for item in range(tl.program_id(0), tl.cdiv(wanted, BLOCK) * blocks, tl.num_programs(0)):
        place = item // blocks * BLOCK + tl.arange(0, BLOCK)
        column = item % blocks * COLUMNS + tl.arange(0, COLUMNS)
        there, held = place < wanted, column < fold
        number = tl.load(numbers + place, there, 0).to(tl.int32)
        points = tl.load(factors + number[:, None] * K + k[None, :], there[:, None], 0.0)
        found = tl.full((BLOCK, COLUMNS), float("inf"), dtype=tl.float32)
        for layer in tl.range(0, FOLD, num_stages=STAGES):
            rows = tl.load(row_factors + (layer * fold + column)[None, :] * K + k[:, None], held[None, :], 0.0)
            bounds = tl.dot(points, rows).to(tl.int32, bitcast=True)
            bounds = (bounds & ~LAYER_BITS) | layer
            found = tl.minimum(found, bounds.to(tl.float32, bitcast=True))  # passes over NaN, as of rows not there
        tl.store(least + place.to(tl.int64)[:, None] * fold + column[None, :], found, there[:, None] & held[None, :])


@triton.jit
def refine_kernel(
    numbers,
    total,
    queries,
    rows,
    factors,
    row_factors,
    least,
    terms,
    nearest,
    count,
    row_count,
    fold,
    scale,
    sq_relative,
    sq_norm_share,
    slack,
    underflow,
    D: tl.constexpr,
    DIMENSIONS: tl.constexpr,
    K: tl.constexpr,
    FOLD: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """The nearest rows of queries, the lowest of equals, as `_packed`, from some rows as `first_kernel` leaves them.

    Of which queries, int64, and of how many, is read from memory, as for `least_kernel`. Each is shared by `SPLIT`
    programs, which take columns of its least bounds in turn and tell each other the least distance.
    """
    k, layers, columns, at = tl.arange(0, K), tl.arange(0, FOLD), tl.arange(0, COLUMNS), tl.arange(0, DIMENSIONS)
    for item in range(tl.program_id(0), tl.load(total).to(tl.int32) * SPLIT, tl.num_programs(0)):
        place = tl.full((), 0, dtype=tl.int64) + item // SPLIT
        number = tl.load(numbers + place).to(tl.int32)
        sq_point, error = tl.load(terms + number), tl.load(terms + count + number)
        shrink = tl.load(terms + 2 * count + number)
        own_least = least + place * fold
        best = tl.load(nearest + number)
        limit = _limit(best, error, scale, sq_relative, sq_norm_share, sq_point, shrink, underflow, slack)
        for start in range(item % SPLIT * COLUMNS, fold, SPLIT * COLUMNS):
            bounds = tl.load(own_least + start + columns, start + columns < fold, float("inf"))
            bound, column = tl.min(bounds, 0, return_indices=True)
            if bound <= limit:
                q = tl.load(queries + number.to(tl.int64) * D + at, at < D, 0.0).to(tl.float32)
                point = tl.load(factors + number * K + k).to(tl.float32)
                while bound <= limit:
                    of = layers * fold + start + column
                    values = tl.load(row_factors + of[:, None] * K + k[None, :]).to(tl.float32)
                    each = tl.sum(values * point[None, :], 1)
                    measured = (best & 0xFFFFFFFF).to(tl.int32)
                    each = tl.where((of < row_count) & (of != measured), each, float("inf"))
                    each_least, layer = tl.min(each, 0, return_indices=True)
                    while each_least <= limit:
                        row = layer * fold + start + column
                        found = _packed(_sq(q, rows, row, at, D), row)
                        if found < best:
                            best = tl.minimum(found, tl.atomic_min(nearest + number, found))
                        else:
                            best = tl.minimum(best, tl.load(nearest + number, volatile=True))
                        limit = _limit(
                            best, error, scale, sq_relative, sq_norm_share, sq_point, shrink, underflow, slack
                        )
                        each = tl.where(layers == layer, float("inf"), each)
                        each_least, layer = tl.min(each, 0, return_indices=True)
                    bounds = tl.where(columns == column, float("inf"), bounds)
                    bound, column = tl.min(bounds, 0, return_indices=True)


@triton.jit
def _packed(sq, row):
    """A squared distance and a row as one int64: the least of some is the nearest, of equals the lowest row."""
    return (sq.to(tl.int32, bitcast=True).to(tl.int64) << 32) | row.to(tl.int64)


@triton.jit
def _sq(q, rows, row, at, D: tl.constexpr):
    """The squared distance of a query, float32 (DIMENSIONS,), and a row."""
    difference = q - tl.load(rows + row.to(tl.int64) * D + at, at < D, 0.0)
    return tl.sum(difference * difference, 0)


@triton.jit
def _limit(best, error, scale, sq_relative, sq_norm_share, sq_point, shrink, underflow, slack):
    """See `DeviceSearch._limit`; finite, so that what is not there stays beyond it, and none where no row is near."""
    sq = (best >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    farthest = (tl.sqrt(sq * sq_relative) + error) * scale
    limit = (farthest * farthest * (1 + 1e-6) - sq_norm_share * sq_point) * shrink + underflow
    return tl.where(sq < float("inf"), tl.minimum(limit + tl.abs(limit) * slack, 3e38), -float("inf"))
