"""The steps in Triton. ``steps.TorchSteps`` defines what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

if TYPE_CHECKING:
    import torch

    from qsearch.gpu.codes import Batch, Head
    from qsearch.gpu.rows import DeviceRows, Part
    from qsearch.gpu.steps import Found

__all__ = ["TritonSteps"]

_LANES = tl.constexpr(16)


@triton.jit
def _allowed(bits, rows):
    return (tl.load(bits + rows // 8).to(tl.int32) >> (rows % 8)) & 1


@triton.jit
def _fold(lanes, ROWS: tl.constexpr):
    lanes = tl.sum(tl.reshape(lanes, (ROWS, 2, 8)), axis=1)
    lanes = tl.sum(tl.reshape(lanes, (ROWS, 2, 4)), axis=1)
    lanes = tl.sum(tl.reshape(lanes, (ROWS, 2, 2)), axis=1)
    return tl.sum(lanes, axis=1)


@triton.jit
def _add(rows, passed, counts, places, capacity, queries, here):
    """Put (rows, queries) that passed behind what there is; returns where they stand, and whether."""
    ones = passed.to(tl.int32)
    number = tl.sum(ones, axis=0)
    base = tl.atomic_add(counts + queries, number, mask=here & (number > 0))
    at = base[None, :] + tl.cumsum(ones, axis=0) - 1
    fits = passed & (at < capacity)
    where = queries[None, :].to(tl.int64) * capacity + at
    tl.store(places + where, rows.to(tl.int32), mask=fits)
    return where, fits


@triton.jit
def _scan(
    codes, bounds, bits, first, last, begin, rows,
    query_codes, factors, thresholds, found, counts, queries, capacity,
    WIDTH: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, QUERIES: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    # Programs that stand next to each other look at the same rows, for other queries: rows are read once.
    blocks = tl.cdiv(queries, QUERIES)
    own = tl.program_id(0) // blocks
    stride = tl.num_programs(0) // blocks
    here_queries = tl.program_id(0) % blocks * QUERIES + tl.arange(0, QUERIES)
    here = here_queries < queries
    residual_factor = tl.load(factors + 2 * here_queries, mask=here, other=0.0)
    rest_factor = tl.load(factors + 2 * here_queries + 1, mask=here, other=0.0)
    threshold = tl.load(thresholds + here_queries, mask=here, other=0.0)
    tiles = (last - first) // ROWS
    dots = tl.zeros((ROWS, QUERIES), dtype=tl.int32)
    # One loop over the parts of all tiles: the next tile is fetched while this one is looked at, and what
    # lies in shared memory does not grow with the width.
    parts: tl.constexpr = WIDTH // STEP
    for step in tl.range(0, tl.cdiv(tiles - own, stride) * parts, num_stages=STAGES):
        row = first + (own + step // parts * stride) * ROWS + tl.arange(0, ROWS)
        part = step % parts * STEP + tl.arange(0, STEP)
        of_rows = tl.load(codes + (row - begin).to(tl.int64)[:, None] * WIDTH + part[None, :])
        of_queries = tl.load(
            query_codes + here_queries[None, :] * WIDTH + part[:, None],
            mask=here[None, :],
            other=0,
        )
        dots = tl.dot(of_rows, of_queries, dots, out_dtype=tl.int32)
        if step % parts == parts - 1:
            scale = tl.load(bounds + row)
            residual = tl.load(bounds + rows + row)
            rest = tl.load(bounds + 2 * rows + row)
            bound = (
                dots.to(tl.float32) * scale[:, None]
                + residual_factor[None, :] * residual[:, None]
                + rest_factor[None, :] * rest[:, None]
            )
            below = bound < threshold[None, :]
            passed = (below == 0) & (_allowed(bits, row)[:, None] != 0) & here[None, :]
            if tl.max(tl.max(passed.to(tl.int32), axis=1), axis=0) > 0:
                every = tl.broadcast_to(row[:, None], (ROWS, QUERIES))
                _add(every, passed, counts, found, capacity, here_queries, here)
            dots = tl.zeros((ROWS, QUERIES), dtype=tl.int32)


@triton.jit
def _likely(
    codes, scale, residual, bits, sample, query_codes, intervals, best, queries, groups, share,
    WIDTH: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0)
    here_queries = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES)
    here = here_queries < queries
    row = tl.load(sample + group * ROWS + tl.arange(0, ROWS))
    dots = tl.zeros((ROWS, QUERIES), dtype=tl.int32)
    for start in tl.static_range(0, WIDTH, STEP):
        part = start + tl.arange(0, STEP)
        of_rows = tl.load(codes + row[:, None] * WIDTH + part[None, :])
        of_queries = tl.load(
            query_codes + here_queries[None, :] * WIDTH + part[:, None],
            mask=here[None, :],
            other=0,
        )
        dots = tl.dot(of_rows, of_queries, dots, out_dtype=tl.int32)
    factor = tl.load(intervals + 4 * here_queries, mask=here, other=0.0).to(tl.float32)
    residual_factor = tl.load(intervals + 4 * here_queries + 1, mask=here, other=0.0).to(tl.float32)
    slack = tl.load(intervals + 4 * here_queries + 3, mask=here, other=0.0).to(tl.float32)
    width = residual_factor[None, :] * tl.load(residual + row)[:, None] + slack[None, :]
    least = factor[None, :] * tl.load(scale + row)[:, None] * dots.to(tl.float32) - share * width
    sound = (_allowed(bits, row)[:, None] != 0) & (least > float("-inf"))
    least = tl.where(sound, least, float("-inf"))
    tl.store(best + here_queries * groups + group, tl.max(least, axis=0), mask=here)


@triton.jit
def _score(
    codes, scale, residual, vectors, query_codes, intervals, query_vectors, needed,
    found, found_counts, best, scores, counts, damaged, capacity, dimensions,
    WIDTH: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(1)
    number = tl.minimum(tl.load(found_counts + query), capacity)
    for start in range(tl.program_id(0) * ROWS, number, tl.num_programs(0) * ROWS):
        place = start + tl.arange(0, ROWS)
        there = place < number
        row = tl.load(found + query.to(tl.int64) * capacity + place, mask=there, other=0)
        wide = row.to(tl.int64)
        dots = tl.zeros((ROWS,), dtype=tl.int32)
        for begin in tl.static_range(0, WIDTH, STEP):
            part = begin + tl.arange(0, STEP)
            of_rows = tl.load(
                codes + wide[:, None] * WIDTH + part[None, :], mask=there[:, None], other=0
            ).to(tl.int32)
            of_query = tl.load(query_codes + query * WIDTH + part).to(tl.int32)
            dots += tl.sum(of_rows * of_query[None, :], axis=1)
        factor = tl.load(intervals + 4 * query)
        residual_factor = tl.load(intervals + 4 * query + 1)
        slack = tl.load(intervals + 4 * query + 3)
        of_scale = tl.load(scale + row, mask=there, other=0.0).to(tl.float64)
        of_residual = tl.load(residual + row, mask=there, other=0.0).to(tl.float64)
        most = factor * of_scale * dots.to(tl.float64) + residual_factor * of_residual + slack
        limit = tl.load(needed + query).to(tl.float64) - 5.9604644775390625e-08
        below = most < limit
        wanted = there & (below == 0)
        if tl.max(wanted.to(tl.int32), axis=0) > 0:
            products = tl.zeros((ROWS, _LANES), dtype=tl.float64)
            squares = tl.zeros((ROWS, _LANES), dtype=tl.float64)
            own = tl.zeros((1, _LANES), dtype=tl.float64)
            lane = tl.arange(0, _LANES)
            for first in range(0, dimensions, _LANES):
                inside = first + lane < dimensions
                x = tl.load(
                    vectors + wide[:, None] * dimensions + (first + lane)[None, :],
                    mask=wanted[:, None] & inside[None, :],
                    other=0.0,
                ).to(tl.float64)
                y = tl.load(
                    query_vectors + query * dimensions + first + lane, mask=inside, other=0.0
                ).to(tl.float64)[None, :]
                products += x * y
                squares += x * x
                own += y * y
            square = _fold(squares, ROWS) * _fold(own, 1)
            # Rows that are not wanted have no square, and are not looked at.
            square = tl.where(wanted, square, 1.0)
            score = (_fold(products, ROWS) / tl.sqrt(square)).to(tl.float32)
            finite = (score > float("-inf")) & (score < float("inf"))
            wrong = (wanted & (finite == 0)).to(tl.int32)
            tl.atomic_add(damaged, tl.sum(wrong, axis=0))
            passed = wanted & finite
            ones = passed.to(tl.int32)
            base = tl.atomic_add(counts + query, tl.sum(ones, axis=0))
            at = base + tl.cumsum(ones, axis=0) - 1
            fits = passed & (at < capacity)
            where = query.to(tl.int64) * capacity + at
            tl.store(best + where, row, mask=fits)
            tl.store(scores + where, score, mask=fits)


class TritonSteps:
    """The steps of ``steps.TorchSteps``, with the same meaning."""

    waits = False

    def likely(
        self,
        rows: DeviceRows,
        batch: Batch,
        sample: torch.Tensor,
        allowed: torch.Tensor,
        share: float,
    ) -> torch.Tensor:
        """See ``TorchSteps.likely``; a guess, so it may round as it likes."""
        import torch

        count, (groups, of_group) = len(batch.codes), sample.shape
        best = torch.empty((count, groups), dtype=torch.float32, device=rows.device)
        width = rows.codes.shape[1]
        queries = 16 if count <= 16 else 64
        _likely[(groups, triton.cdiv(count, queries))](
            rows.codes, rows.scale, rows.residual, allowed, sample, batch.codes, batch.intervals,
            best, count, groups, share,
            WIDTH=width, STEP=_step(width), ROWS=of_group, QUERIES=queries,
        )  # fmt: skip
        return best

    def scan(
        self,
        rows: DeviceRows,
        part: Part,
        first: int,
        last: int,
        head: Head,
        thresholds: torch.Tensor,
        allowed: torch.Tensor,
        found: Found,
    ) -> None:
        """See ``TorchSteps.scan``."""
        count, width = head.codes.shape
        queries = 16 if count <= 16 else 64 if count <= 64 else 128
        tile, blocks = 128, triton.cdiv(count, queries)
        together = min((last - first) // tile, max(1, _programs(rows.device) // blocks))
        _scan[(blocks * together,)](
            part.codes, rows.bounds, allowed, first, last, part.first, rows.rows,
            head.codes, head.factors, thresholds, found.rows, found.counts, count,
            found.rows.shape[1],
            WIDTH=width, STEP=_step(width, 128 if count <= 64 else 64), ROWS=tile, QUERIES=queries,
            STAGES=4 if count <= 16 else 3, num_warps=4 if queries < 128 else 8,
        )  # fmt: skip

    def score(
        self,
        rows: DeviceRows,
        batch: Batch,
        needed: torch.Tensor,
        found: Found,
        best: Found,
        damaged: torch.Tensor,
    ) -> None:
        """See ``TorchSteps.score``."""
        count, width = batch.codes.shape
        some = 32
        programs = max(1, min(found.rows.shape[1] // some, 2 * _programs(rows.device) // count))
        _score[(programs, count)](
            rows.codes, rows.scale, rows.residual, rows.vectors, batch.codes, batch.intervals,
            batch.vectors, needed, found.rows, found.counts, best.rows, best.scores, best.counts,
            damaged, found.rows.shape[1], rows.dimensions,
            WIDTH=width, STEP=_step(width), ROWS=some,
        )  # fmt: skip


def _step(width: int, most: int = 128) -> int:
    """Components at a time: a power of two that divides the width."""
    return next(step for step in (128, 64, 32) if step <= most and width % step == 0)


def _programs(device: Any) -> int:
    """Programs that a device runs at a time."""
    import torch

    if device.type != "cuda":
        return 2
    return 4 * int(torch.cuda.get_device_properties(device).multi_processor_count)
