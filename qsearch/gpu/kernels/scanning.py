"""What looks at rows: the guess's sample, the scan of the rotated codes, and the scores of what it left."""

from __future__ import annotations

import triton
import triton.language as tl

from qsearch.gpu.codes import LIFT

__all__ = ["likely", "scan", "score"]

_LANES = tl.constexpr(16)
_LIFT = tl.constexpr(LIFT)
_UNROLLED = tl.constexpr(8)
_NUMBERS = ["queries", "capacity", "room", "groups"]
"""Arguments for whose values no kernels of their own are compiled."""

_LEAST = tl.constexpr(-3.4028234663852886e38)


@triton.jit
def _allowed(bits, rows):
    return (tl.load(bits + rows // 8).to(tl.int32) >> (rows % 8)) & 1


@triton.jit(do_not_specialize=_NUMBERS)
def scan(
    codes, bounds, bits, first, last, begin, rows,
    query_codes, factors, thresholds, found, counts, queries, capacity,
    WIDTH: tl.constexpr, STEP: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr,
    QUERIES: tl.constexpr, STAGES: tl.constexpr, TEST: tl.constexpr,
):  # fmt: skip
    # Programs that stand next to each other look at the same rows, for other queries: rows are read once.
    blocks = tl.cdiv(queries, QUERIES)
    own = tl.program_id(0) // blocks
    stride = tl.num_programs(0) // blocks
    query = tl.program_id(0) % blocks * QUERIES + tl.arange(0, QUERIES)
    here = query < queries
    # No bound of a row reaches what a query needs that is not there.
    residual_factor = tl.load(factors + 2 * query, mask=here, other=1.0)
    rest_factor = tl.load(factors + 2 * query + 1, mask=here, other=1.0)
    threshold = tl.load(thresholds + query, mask=here, other=float("inf"))
    # Rows that are not allowed have a bound of −inf, which is below all that anybody needs.
    threshold = tl.maximum(threshold, _LEAST)
    of_rest = 2 * rows.to(tl.int64)
    parts: tl.constexpr = WIDTH // STEP
    split: tl.constexpr = TILE // ROWS
    tiles = (last - first) // ROWS
    before = (first - begin) // ROWS
    of_rows = tl.arange(0, ROWS)[:, None] * STEP + tl.arange(0, STEP)[None, :]
    of_queries = query[None, :] * WIDTH + tl.arange(0, STEP)[:, None]
    dots = tl.zeros((ROWS, QUERIES), dtype=tl.int32)
    # One loop over the parts of all tiles: the next tile is fetched while this one is looked at, and what
    # lies in shared memory does not grow with the width.
    for step in tl.range(0, tl.cdiv(tiles - own, stride) * parts, num_stages=STAGES):
        tile = own + step // parts * stride
        part = step % parts
        place = before + tile
        piece = ((place // split * parts + part) * split + place % split).to(tl.int64)
        row_codes = tl.load(codes + piece * (ROWS * STEP) + of_rows)
        asked = tl.load(query_codes + part * STEP + of_queries, mask=here[None, :], other=0)
        dots = tl.dot(row_codes, asked, dots, out_dtype=tl.int32)
        if part == parts - 1:
            row = first + tile * ROWS + tl.arange(0, ROWS)
            there = _allowed(bits, row) != 0
            scale = tl.where(there, tl.load(bounds + row), 0.0)
            residual = tl.where(there, tl.load(bounds + rows + row), 0.0)
            rest = tl.where(there, tl.load(bounds + of_rest + row), float("-inf"))
            bound = (
                dots.to(tl.float32) * scale[:, None]
                + residual_factor[None, :] * residual[:, None]
                + rest_factor[None, :] * rest[:, None]
            )
            passed = (bound < threshold[None, :]) == 0
            some = True
            if TEST:
                some = tl.max(tl.max(passed.to(tl.int32), axis=1), axis=0) > 0
            if some:
                # Each finds its place by itself: adding up who passed takes longer than the product.
                counters = tl.broadcast_to(counts + query[None, :], (ROWS, QUERIES))
                at = tl.atomic_add(counters, 1, mask=passed, sem="relaxed")
                tl.store(
                    found + query[None, :] * capacity + at,
                    tl.broadcast_to(row[:, None], (ROWS, QUERIES)),
                    mask=passed & (at < capacity),
                )
            dots = tl.zeros((ROWS, QUERIES), dtype=tl.int32)


@triton.jit(do_not_specialize=_NUMBERS)
def likely(
    codes, scale, residual, bits, sample, query_codes, intervals, best, queries, groups, share,
    WIDTH: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    # Programs that stand next to each other look at the same rows, as in a scan.
    group = tl.program_id(1)
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    here = query < queries
    row = tl.load(sample + group * ROWS + tl.arange(0, ROWS))
    dots = tl.zeros((ROWS, QUERIES), dtype=tl.int32)
    for start in tl.static_range(0, WIDTH, STEP):
        part = start + tl.arange(0, STEP)
        row_codes = tl.load(codes + row[:, None] * WIDTH + part[None, :])
        asked = tl.load(
            query_codes + query[None, :] * WIDTH + part[:, None], mask=here[None, :], other=0
        )
        dots = tl.dot(row_codes, asked, dots, out_dtype=tl.int32)
    factor = tl.load(intervals + 4 * query, mask=here, other=0.0).to(tl.float32)
    residual_factor = tl.load(intervals + 4 * query + 1, mask=here, other=0.0).to(tl.float32)
    slack = tl.load(intervals + 4 * query + 3, mask=here, other=0.0).to(tl.float32)
    width = residual_factor[None, :] * tl.load(residual + row)[:, None] + slack[None, :]
    least = factor[None, :] * tl.load(scale + row)[:, None] * dots.to(tl.float32) - share * width
    sound = (_allowed(bits, row)[:, None] != 0) & (least > float("-inf"))
    least = tl.where(sound, least, float("-inf"))
    tl.store(best + query * groups + group, tl.max(least, axis=0), mask=here)


@triton.jit
def _fold(lanes, ROWS: tl.constexpr):
    lanes = tl.sum(tl.reshape(lanes, (ROWS, 2, 8)), axis=1)
    lanes = tl.sum(tl.reshape(lanes, (ROWS, 2, 4)), axis=1)
    lanes = tl.sum(tl.reshape(lanes, (ROWS, 2, 2)), axis=1)
    return tl.sum(lanes, axis=1)


@triton.jit(do_not_specialize=_NUMBERS)
def score(
    codes, scale, residual, vectors, query_codes, intervals, query_vectors, needed,
    found, found_counts, best, scores, counts, damaged, capacity, room, dimensions,
    WIDTH: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(1)
    number = tl.minimum(tl.load(found_counts + query), capacity)
    for start in range(tl.program_id(0) * ROWS, number, tl.num_programs(0) * ROWS):
        place = start + tl.arange(0, ROWS)
        there = place < number
        row = tl.load(found + query * capacity + place, mask=there, other=0)
        wide = row.to(tl.int64)
        dots = tl.zeros((ROWS,), dtype=tl.int32)
        for begin in tl.static_range(0, WIDTH, STEP):
            part = begin + tl.arange(0, STEP)
            row_codes = tl.load(
                codes + wide[:, None] * WIDTH + part[None, :], mask=there[:, None], other=0
            ).to(tl.int32)
            asked = tl.load(query_codes + query * WIDTH + part).to(tl.int32)
            dots += tl.sum(row_codes * asked[None, :], axis=1)
        factor = tl.load(intervals + 4 * query)
        residual_factor = tl.load(intervals + 4 * query + 1)
        slack = tl.load(intervals + 4 * query + 3)
        of_scale = tl.load(scale + row, mask=there, other=0.0).to(tl.float64)
        of_residual = tl.load(residual + row, mask=there, other=0.0).to(tl.float64)
        most = factor * of_scale * dots.to(tl.float64) + residual_factor * of_residual + slack
        limit = tl.load(needed + query).to(tl.float64) - _LIFT
        below = most < limit
        wanted = there & (below == 0)
        if tl.max(wanted.to(tl.int32), axis=0) > 0:
            products = tl.zeros((ROWS, _LANES), dtype=tl.float64)
            squares = tl.zeros((ROWS, _LANES), dtype=tl.float64)
            own = tl.zeros((1, _LANES), dtype=tl.float64)
            lane = tl.arange(0, _LANES)
            for first in range(0, dimensions, _LANES * _UNROLLED):
                # Lanes are added up in rising order; what is loaded is on its way at the same time.
                for more in tl.static_range(0, _LANES * _UNROLLED, _LANES):
                    column = first + more + lane
                    inside = column < dimensions
                    x = tl.load(
                        vectors + wide[:, None] * dimensions + column[None, :],
                        mask=wanted[:, None] & inside[None, :],
                        other=0.0,
                    ).to(tl.float64)
                    y = tl.load(
                        query_vectors + query * dimensions + column, mask=inside, other=0.0
                    ).to(tl.float64)[None, :]
                    products += x * y
                    squares += x * x
                    own += y * y
            square = _fold(squares, ROWS) * _fold(own, 1)
            # Rows that are not wanted have no square, and are not looked at.
            square = tl.where(wanted, square, 1.0)
            cosine = (_fold(products, ROWS) / tl.sqrt(square)).to(tl.float32)
            finite = (cosine > float("-inf")) & (cosine < float("inf"))
            wrong = wanted & (finite == 0)
            tl.atomic_add(tl.broadcast_to(damaged, (ROWS,)), 1, mask=wrong, sem="relaxed")
            passed = wanted & finite
            counters = tl.broadcast_to(counts + query, (ROWS,))
            at = tl.atomic_add(counters, 1, mask=passed, sem="relaxed")
            fits = passed & (at < room)
            tl.store(best + query * room + at, row, mask=fits)
            tl.store(scores + query * room + at, cosine, mask=fits)
