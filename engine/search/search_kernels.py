"""The steps of the search in half precision on a GPU as kernels: see `search.fused_search`, which starts them.

Written in Triton (Tillet et al. 2019), which PyTorch brings along for CUDA. Where TRITON_INTERPRET=1 is set before this
module is imported, they run on a CPU, slowly.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# What a kernel is given are pointers, numbers and constants of the compilation, for which Triton has no types.

import triton
import triton.language as tl

LAYER_BITS: tl.constexpr = tl.constexpr(31)
"""The lowest bits of a bound. In the least of a fold they say which of its rows it belongs to, and so break ties."""


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
    """Makes the points of `BLOCK` queries: factors, half (n, K); squared norm, error and shrink, float32 (3, n)."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = number < count
    column = tl.arange(0, K)
    inside = tl.zeros((BLOCK, K), dtype=tl.float32)
    sq_norm = tl.zeros((BLOCK,), dtype=tl.float32)
    sq_whole = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, D, CHUNK):
        dims = start + tl.arange(0, CHUNK)
        in_row = dims < D
        Q = tl.load(queries + number.to(tl.int64)[:, None] * D + dims[None, :], valid[:, None] & in_row[None, :], 0.0)
        part = axes + dims[:, None] * K + column[None, :]
        inside = tl.dot(Q, tl.load(part, in_row[:, None], 0.0), inside)
        inside = tl.dot(Q, tl.load(part + D * K, in_row[:, None], 0.0), inside)
        values = Q.to(tl.float32)
        centred = values - tl.load(centre + dims, in_row, 0.0)[None, :]
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
    tl.store(factors + number[:, None] * K + column[None, :], points.to(tl.float16), valid[:, None])
    tl.store(terms + number, tl.where(beyond, 0.0, sq_scaled), valid)
    tl.store(terms + count + number, error, valid)
    tl.store(terms + 2 * count + number, shrink, valid)


@triton.jit
def near_groups_kernel(
    factors, centres, near, count, groups, K: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr
):
    """Finds the two groups whose centres are nearest to each point, the nearest first: int32 (n, 2)."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid, k, chunk = number < count, tl.arange(0, K), tl.arange(0, CHUNK)
    points = tl.load(factors + number[:, None] * K + k[None, :], valid[:, None], 0.0)
    least, second = tl.full((BLOCK,), float("inf"), tl.float32), tl.full((BLOCK,), float("inf"), tl.float32)
    group, other = tl.zeros((BLOCK,), tl.int32), tl.zeros((BLOCK,), tl.int32)
    for start in range(0, groups, CHUNK):
        bounds = tl.dot(points, tl.load(centres + (start + chunk)[None, :] * K + k[:, None]))
        bounds = tl.where(bounds == bounds, bounds, float("inf"))  # NaN: no such group
        chunk_least, position = tl.min(bounds, 1, return_indices=True)
        chunk_second, next_position = tl.min(
            tl.where(chunk[None, :] == position[:, None], float("inf"), bounds), 1, return_indices=True
        )
        nearer = chunk_least < least
        # The second of both is the loser of the firsts or the second of the winner's side.
        loser, loser_group = tl.where(nearer, least, chunk_least), tl.where(nearer, group, start + position)
        runner, runner_group = tl.where(nearer, chunk_second, second), tl.where(nearer, start + next_position, other)
        second, other = tl.minimum(loser, runner), tl.where(loser < runner, loser_group, runner_group)
        least, group = tl.minimum(least, chunk_least), tl.where(nearer, start + position, group)
    tl.store(near + number * 2, group, valid)
    tl.store(near + number * 2 + 1, other, valid)


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
    """Measures, of the rows of one query's `NEAR` groups, the one with the least bound, and keeps it as `_packed`."""
    number, dims, k, member = tl.program_id(0), tl.arange(0, DIMENSIONS), tl.arange(0, K), tl.arange(0, MEMBERS)
    point = tl.load(factors + number * K + k).to(tl.float32)
    lowest, row = float("inf"), 0
    for rank in tl.static_range(NEAR):
        group_rows = tl.load(members + tl.load(near + number * 2 + rank) * MEMBERS + member)
        values = tl.load(row_factors + group_rows[:, None] * K + k[None, :]).to(tl.float32)
        bound, position = tl.min(tl.sum(values * point[None, :], 1), 0, return_indices=True)
        row = tl.where(bound < lowest, tl.sum(tl.where(member == position, group_rows, 0), 0), row)
        lowest = tl.minimum(lowest, bound)
    q = tl.load(queries + number.to(tl.int64) * D + dims, dims < D, 0.0).to(tl.float32)
    tl.store(nearest + number, _packed(_sq(q, rows, row, dims, D), row))


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
    """Makes the least bound of rows `column`, `column + fold`, ...: float32 (n, fold), the layer in the lowest bits.

    The queries' numbers, int64, and how many there are, are read from memory; bounds are in the order of these numbers.
    """
    k, wanted = tl.arange(0, K), tl.load(total).to(tl.int32)
    blocks = tl.cdiv(fold, COLUMNS)
    for item in range(tl.program_id(0), tl.cdiv(wanted, BLOCK) * blocks, tl.num_programs(0)):
        query = item // blocks * BLOCK + tl.arange(0, BLOCK)
        column = item % blocks * COLUMNS + tl.arange(0, COLUMNS)
        valid, in_fold = query < wanted, column < fold
        number = tl.load(numbers + query, valid, 0).to(tl.int32)
        points = tl.load(factors + number[:, None] * K + k[None, :], valid[:, None], 0.0)
        lowest = tl.full((BLOCK, COLUMNS), float("inf"), dtype=tl.float32)
        for layer in tl.range(0, FOLD, num_stages=STAGES):
            rows = tl.load(row_factors + (layer * fold + column)[None, :] * K + k[:, None], in_fold[None, :], 0.0)
            bounds = tl.dot(points, rows).to(tl.int32, bitcast=True)
            bounds = (bounds & ~LAYER_BITS) | layer
            # Rows that do not exist give NaN, which the minimum passes over.
            lowest = tl.minimum(lowest, bounds.to(tl.float32, bitcast=True))
        mask = valid[:, None] & in_fold[None, :]
        tl.store(least + query.to(tl.int64)[:, None] * fold + column[None, :], lowest, mask)


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
    """Finds each query's nearest row, the lowest of equals, as `_packed`, beginning with the row of `first_kernel`.

    The queries' numbers, int64, and how many there are, are read from memory, as in `least_kernel`. Each query is
    shared by `SPLIT` programs, which take columns of its least bounds in turn and tell each other the least distance.
    """
    k, layers, columns, dims = tl.arange(0, K), tl.arange(0, FOLD), tl.arange(0, COLUMNS), tl.arange(0, DIMENSIONS)
    for item in range(tl.program_id(0), tl.load(total).to(tl.int32) * SPLIT, tl.num_programs(0)):
        query = tl.full((), 0, dtype=tl.int64) + item // SPLIT
        number = tl.load(numbers + query).to(tl.int32)
        sq_point, error = tl.load(terms + number), tl.load(terms + count + number)
        shrink = tl.load(terms + 2 * count + number)
        own_least = least + query * fold
        best = tl.load(nearest + number)
        limit = _limit(best, error, scale, sq_relative, sq_norm_share, sq_point, shrink, underflow, slack)
        for start in range(item % SPLIT * COLUMNS, fold, SPLIT * COLUMNS):
            bounds = tl.load(own_least + start + columns, start + columns < fold, float("inf"))
            bound, column = tl.min(bounds, 0, return_indices=True)
            if bound <= limit:
                q = tl.load(queries + number.to(tl.int64) * D + dims, dims < D, 0.0).to(tl.float32)
                point = tl.load(factors + number * K + k).to(tl.float32)
                while bound <= limit:
                    candidates = layers * fold + start + column
                    values = tl.load(row_factors + candidates[:, None] * K + k[None, :]).to(tl.float32)
                    member_bounds = tl.sum(values * point[None, :], 1)
                    measured_row = (best & 0xFFFFFFFF).to(tl.int32)
                    open_ = (candidates < row_count) & (candidates != measured_row)
                    member_bounds = tl.where(open_, member_bounds, float("inf"))
                    member_least, layer = tl.min(member_bounds, 0, return_indices=True)
                    while member_least <= limit:
                        row = layer * fold + start + column
                        measured = _packed(_sq(q, rows, row, dims, D), row)
                        if measured < best:
                            best = tl.minimum(measured, tl.atomic_min(nearest + number, measured))
                        else:
                            best = tl.minimum(best, tl.load(nearest + number, volatile=True))
                        limit = _limit(
                            best, error, scale, sq_relative, sq_norm_share, sq_point, shrink, underflow, slack
                        )
                        member_bounds = tl.where(layers == layer, float("inf"), member_bounds)
                        member_least, layer = tl.min(member_bounds, 0, return_indices=True)
                    bounds = tl.where(columns == column, float("inf"), bounds)
                    bound, column = tl.min(bounds, 0, return_indices=True)


@triton.jit
def _packed(sq, row):
    """A squared distance and a row as one int64: the least of several is the nearest, and of equals the lowest row."""
    return (sq.to(tl.int32, bitcast=True).to(tl.int64) << 32) | row.to(tl.int64)


@triton.jit
def _sq(q, rows, row, dims, D: tl.constexpr):
    """The squared distance of a query, float32 (DIMENSIONS,), and a row."""
    difference = q - tl.load(rows + row.to(tl.int64) * D + dims, dims < D, 0.0)
    return tl.sum(difference * difference, 0)


@triton.jit
def _limit(best, error, scale, sq_relative, sq_norm_share, sq_point, shrink, underflow, slack):
    """See `DeviceSearch._limit`. Finite, so that rows that do not exist lie beyond it; -inf for infinite `sq`."""
    sq = (best >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    farthest = (tl.sqrt(sq * sq_relative) + error) * scale
    limit = (farthest * farthest * (1 + 1e-6) - sq_norm_share * sq_point) * shrink + underflow
    return tl.where(sq < float("inf"), tl.minimum(limit + tl.abs(limit) * slack, 3e38), -float("inf"))
