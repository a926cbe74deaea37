"""The steps in Triton. ``steps.TorchSteps`` defines what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import triton

from qsearch.gpu.codes import Batch, Head
from qsearch.gpu.kernels import queries, scanning
from qsearch.gpu.rows import TILE
from qsearch.gpu.steps import Found, best_rows

if TYPE_CHECKING:
    import torch

    from qsearch.gpu.codes import Rotation
    from qsearch.gpu.rows import DeviceRows, Part

__all__ = ["SCANS", "Tiling", "TritonSteps", "step_of"]


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a scan is cut.

    Attributes:
        queries: of a tile.
        rows: of a tile; they divide ``TILE``.
        stages: parts of tiles that are on their way at a time.
        warps: of a program.
        resident: programs that a multiprocessor has room for, by their registers and shared memory.
        tests: whether a tile is asked first for whether any pair passes, which pays where mostly none does.
    """

    queries: int
    rows: int
    stages: int
    warps: int
    resident: int
    tests: bool


SCANS = (Tiling(16, 128, 4, 4, 5, True), Tiling(64, 128, 3, 4, 2, False))
"""For so many queries at most, and for more."""

_BEST, _OTHERS = 256, 16
"""Rows of one program that are held against others, and so many of these at a time."""

_GROUPS_OF_A_WARP = 512
"""Of the guess: as many as registers hold."""

_LEAST_PROGRAMS = 8
"""For the rows of a query. Those that find nothing to do are done at once."""

_MOST_BEST = 1024
"""Where more are wanted, torch orders them: what holds each against each other takes too long then."""


class TritonSteps:
    """The steps of ``steps.TorchSteps``, with the same meaning.

    Attributes:
        scans: how scans are cut, by the number of queries.
    """

    waits = False

    def __init__(self, scans: tuple[Tiling, ...] = SCANS) -> None:
        """Take tilings, the last one for any number of queries."""
        self.scans = scans

    def code(self, rows: DeviceRows, vectors: torch.Tensor) -> Batch:
        """See ``TorchSteps.code``."""
        import torch

        count, dimensions = vectors.shape
        width = rows.codes.shape[1]
        units = torch.empty((count, dimensions), dtype=torch.float64, device=vectors.device)
        codes = torch.empty((count, width), dtype=torch.int8, device=vectors.device)
        intervals = torch.empty((count, 4), dtype=torch.float64, device=vectors.device)
        queries.code[(count,)](
            vectors, rows.margins_there, units, codes, intervals, dimensions,
            WIDTH=width, BLOCK=triton.next_power_of_2(width),
        )  # fmt: skip
        return Batch(vectors, units, codes, intervals)

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
        tile = 16 if count <= 16 else 64
        scanning.likely[(triton.cdiv(count, tile), groups)](
            rows.codes, rows.scale, rows.residual, allowed, sample, batch.codes, batch.intervals,
            best, count, groups, share,
            WIDTH=width, STEP=step_of(width), ROWS=of_group, QUERIES=tile,
        )  # fmt: skip
        return best

    def guess(self, likely: torch.Tensor, rank: int, needed: torch.Tensor) -> None:
        """See ``TorchSteps.guess``."""
        count, groups = likely.shape
        size = triton.next_power_of_2(groups)
        warps = max(1, size // _GROUPS_OF_A_WARP)
        queries.guess[(count,)](likely, needed, groups, rank, GROUPS=size, num_warps=warps)

    def head(self, batch: Batch, rotation: Rotation, needed: torch.Tensor) -> Head:
        """See ``TorchSteps.head``."""
        import torch

        kept = batch.units @ rotation.axes.T
        (count, width), dimensions = kept.shape, batch.units.shape[1]
        codes = torch.empty((count, width), dtype=torch.int8, device=kept.device)
        factors = torch.empty((count, 2), dtype=torch.float32, device=kept.device)
        thresholds = torch.empty((count,), dtype=torch.float32, device=kept.device)
        queries.head[(count,)](
            batch.units, kept, needed, rotation.margins_there, codes, factors, thresholds, dimensions,
            WIDTH=width, BLOCK=triton.next_power_of_2(width), WHOLE=triton.next_power_of_2(dimensions),
        )  # fmt: skip
        return Head(codes, factors, thresholds)

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
        """See ``TorchSteps.scan``."""
        count, width = head.codes.shape
        how = next((one for one in self.scans if count <= one.queries), self.scans[-1])
        blocks = triton.cdiv(count, how.queries)
        programs = how.resident * _multiprocessors(rows.device)
        together = min((last - first) // how.rows, max(1, programs // blocks))
        scanning.scan[(blocks * together,)](
            part.codes, rows.bounds, allowed, first, last, part.first, rows.rows,
            head.codes, head.factors, head.thresholds, found.rows, found.counts, count,
            found.rows.shape[1],
            WIDTH=width, STEP=part.codes.shape[3], TILE=TILE, ROWS=how.rows, QUERIES=how.queries,
            STAGES=how.stages, TEST=how.tests, num_warps=how.warps,
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
        programs = min(triton.cdiv(found.rows.shape[1], some), _programs(rows.device, count))
        scanning.score[(programs, count)](
            rows.codes, rows.scale, rows.residual, rows.vectors, batch.codes, batch.intervals,
            batch.vectors, needed, found.rows, found.counts, best.rows, best.scores, best.counts,
            damaged, found.rows.shape[1], best.rows.shape[1], rows.dimensions,
            WIDTH=width, STEP=step_of(width), ROWS=some,
        )  # fmt: skip

    def top(self, best: Found, rows: torch.Tensor, scores: torch.Tensor) -> None:
        """See ``TorchSteps.top``."""
        count, k = rows.shape
        if k > _MOST_BEST:
            best_rows(best, rows, scores)
            return
        room = best.rows.shape[1]
        programs = min(triton.cdiv(room, _BEST), _programs(rows.device, count))
        queries.best[(programs, count)](
            best.rows, best.scores, best.counts, rows, scores, room, k, PLACES=_BEST, OTHERS=_OTHERS
        )


def step_of(width: int) -> int:
    """Components at a time: a power of two that divides the width."""
    return next(step for step in (128, 64, 32) if width % step == 0)


def _programs(device: Any, count: int) -> int:
    """For a query of so many; some even where there are many, for they differ in what is left of them."""
    least = _LEAST_PROGRAMS if device.type == "cuda" else 1
    return max(least, 8 * _multiprocessors(device) // count)


def _multiprocessors(device: Any) -> int:
    """How many a device has; the interpreter does as if there were half a one."""
    import torch

    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
