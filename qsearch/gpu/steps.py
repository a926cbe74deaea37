"""What is done on a device, step by step, in plain torch: the definition of the Triton kernels.

In Triton none of them waits for the device. Rows are device rows (``rows.DeviceRows``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsearch.gpu.codes import LIFT, Batch, Head, coded_batch, coded_head
from qsearch.gpu.rows import TILE
from qsearch.kernels.reference import LANES

if TYPE_CHECKING:
    import torch

    from qsearch.gpu.codes import Rotation
    from qsearch.gpu.rows import DeviceRows, Part

__all__ = ["Found", "TorchSteps", "best_rows"]

_AT_A_TIME = 1 << 24
"""Numbers of a matrix that is made on the way."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Places for rows that a step lets through.

    Attributes:
        rows: (q, capacity) int32.
        scores: (q, capacity) float32; without places where they are not wanted.
        counts: (q,) int32: how many rows there are, which may be more than places.
    """

    rows: torch.Tensor
    scores: torch.Tensor
    counts: torch.Tensor


class TorchSteps:
    """The definition. It makes matrices of queries × rows, so many rows at a time as memory is good for.

    Attributes:
        waits: whether steps wait for the device: then they cannot be a CUDA graph.
    """

    waits = True

    def code(self, rows: DeviceRows, vectors: torch.Tensor) -> Batch:
        """Code queries against the int8 codes of rows.

        Args:
            rows: of the index.
            vectors: (q, d) float32, checked.
        """
        return coded_batch(vectors, rows.codes.shape[1])

    def likely(
        self,
        rows: DeviceRows,
        batch: Batch,
        sample: torch.Tensor,
        allowed: torch.Tensor,
        share: float,
    ) -> torch.Tensor:
        """What the best rows of groups of a sample score at least, very likely.

        Args:
            rows: of the index.
            batch: q queries.
            sample: (groups, rows of a group) int64.
            allowed: (rows / 8,) uint8, a bit for each row.
            share: of the width of a bound that the error of an int8 score stays below, likely.

        Returns:
            (q, groups) float32; −inf of groups without a row that is allowed.
        """
        import torch

        flat = sample.ravel()
        dots = batch.codes.double() @ rows.codes[flat].double().T
        factor, residual_factor, _, slack = batch.intervals.T[:, :, None]
        middle = factor * rows.scale[flat].double() * dots
        width = residual_factor * rows.residual[flat].double() + slack
        least = (middle - share * width - LIFT).float()
        least = torch.where(_bits(allowed, flat) & torch.isfinite(least), least, -torch.inf)
        return least.reshape(len(least), *sample.shape).amax(dim=2)

    def guess(self, likely: torch.Tensor, rank: int, needed: torch.Tensor) -> None:
        """What the k-th best of all rows very likely reaches.

        Args:
            likely: (q, groups) float32, see there.
            rank: so many of the groups reach it.
            needed: (q,) float32, is filled.
        """
        needed.copy_(likely.topk(rank, dim=1).values[:, -1])

    def head(self, batch: Batch, rotation: Rotation, needed: torch.Tensor) -> Head:
        """Code queries against the rotated codes of a segment.

        Args:
            batch: q queries.
            rotation: of the segment.
            needed: (q,) float32 scores: whatever may reach them passes.
        """
        return coded_head(batch, rotation, needed)

    def scan(
        self,
        rows: DeviceRows,
        part: Part,
        first: int,
        last: int,
        head: Head,
        allowed: torch.Tensor,
        found: Found,
    ) -> None:
        """Add the rows whose bound by rotated codes is not below a threshold.

        Args:
            rows: of the index.
            part: a segment of it.
            first: device row to begin with, a multiple of ``TILE``.
            last: device row to end before, likewise.
            head: the queries.
            allowed: (rows / 8,) uint8.
            found: is added to.
        """
        import torch

        step = TILE * max(1, _AT_A_TIME // (TILE * max(head.codes.shape)))
        for start in range(first, last, step):
            stop = min(last, start + step)
            # Integers below 2**53 are exact in float64, which every device multiplies.
            codes = part.row_codes(start - part.first, stop - part.first)
            dots = (head.codes.double() @ codes.double().T).float()
            scale, residual, rest = rows.bounds[:, start:stop]
            bound = dots * scale + head.factors[:, :1] * residual + head.factors[:, 1:] * rest
            every = torch.arange(start, stop, device=bound.device)
            passed = ~(bound < head.thresholds[:, None]) & _bits(allowed, every)
            _add(found, passed, every.expand(passed.shape), None)

    def score(
        self,
        rows: DeviceRows,
        batch: Batch,
        needed: torch.Tensor,
        found: Found,
        best: Found,
        damaged: torch.Tensor,
    ) -> None:
        """Score the found rows exactly whose bound by int8 codes does not say that they are below.

        Args:
            rows: of the index.
            batch: q queries.
            needed: (q,) float32 scores that k documents reach, or are taken to.
            found: rows.
            best: rows and scores are added to it.
            damaged: (1,) int32: is raised by the rows that are not finite.
        """
        import torch

        most = min(found.rows.shape[1], int(found.counts.max()))
        step = max(1, _AT_A_TIME // (len(batch.codes) * batch.codes.shape[1]))
        factor, residual_factor, _, slack = batch.intervals.T[:, :, None]
        for start in range(0, most, step):
            place = torch.arange(start, min(most, start + step), device=needed.device)
            there = place < found.counts[:, None]
            number = torch.where(there, found.rows[:, place], 0).long()
            dots = (rows.codes[number].double() @ batch.codes.double()[:, :, None])[:, :, 0]
            middle = factor * rows.scale[number].double() * dots
            width = residual_factor * rows.residual[number].double() + slack
            there &= ~(middle + width < needed[:, None].double() - LIFT)
            score = _cosines(rows.vectors[number], batch.vectors[:, None, :])
            finite = torch.isfinite(score)
            damaged.add_((there & ~finite).sum(dtype=torch.int32))
            _add(best, there & finite, number, score)

    def top(self, best: Found, rows: torch.Tensor, scores: torch.Tensor) -> None:
        """The best rows by score, equal ones by row.

        Args:
            best: rows with scores.
            rows: (q, k) int32, are filled, with −1 behind the last.
            scores: (q, k) float32, are filled, with −inf behind the last.
        """
        best_rows(best, rows, scores)


def best_rows(best: Found, rows: torch.Tensor, scores: torch.Tensor) -> None:
    """See ``TorchSteps.top``."""
    import torch

    places, most = best.rows.shape[1], rows.shape[1]
    there = torch.arange(places, device=best.rows.device) < best.counts[:, None]
    # As integers scores have the same order; 0 and −0 are equal.
    bits = (best.scores + 0.0).view(torch.int32)
    order = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    keys = torch.where(
        there, (order << 32) | (0xFFFFFFFF - best.rows.long()), torch.iinfo(torch.int64).min
    )
    chosen = keys.topk(min(most, places), dim=1).indices
    held = there.gather(1, chosen)
    rows.fill_(-1)
    scores.fill_(-torch.inf)
    rows[:, :places] = torch.where(held, best.rows.gather(1, chosen), -1)
    scores[:, :places] = torch.where(held, best.scores.gather(1, chosen), -torch.inf)


def _bits(allowed: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = (allowed[rows // 8] >> (rows % 8).byte()) & 1 > 0
    return found


def _add(
    found: Found, passed: torch.Tensor, rows: torch.Tensor, scores: torch.Tensor | None
) -> None:
    """Put what passed behind what is there, as far as there are places."""
    import torch

    place = found.counts[:, None] + passed.cumsum(dim=1) - 1
    query, column = torch.nonzero(passed & (place < found.rows.shape[1]), as_tuple=True)
    found.rows[query, place[query, column]] = rows[query, column].int()
    if scores is not None:
        found.scores[query, place[query, column]] = scores[query, column]
    found.counts.add_(passed.sum(dim=1, dtype=torch.int32))


def _cosines(rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """See ``kernels.reference.cosine_gather``."""
    product, square, own = (
        _lane_dot(*pair) for pair in ((rows, queries), (rows, rows), (queries, queries))
    )
    found: torch.Tensor = (product / (square * own).sqrt()).float()
    return found


def _lane_dot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """See ``kernels.reference.lane_dot``."""
    import torch

    d = left.shape[-1]
    shape = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    lanes = torch.zeros((*shape, LANES), dtype=torch.float64, device=left.device)
    for start in range(0, d, LANES):
        stop = min(start + LANES, d)
        lanes[..., : stop - start] += (
            left[..., start:stop].double() * right[..., start:stop].double()
        )
    width = LANES
    while width > 1:
        width //= 2
        lanes[..., :width] += lanes[..., width : 2 * width]
    return lanes[..., 0].clone()
