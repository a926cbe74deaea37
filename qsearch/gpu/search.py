"""Certified exact search over the rows of a device.

Which score the k-th best reaches is guessed from a sample of the rows. One scan of the rotated codes
leaves the rows whose bound reaches the guess, int8 codes leave fewer, and these are scored exactly. If
the k-th best score is below the guess, it is a score that k documents reach, and the scan is done again
with it.

From the queries' vectors to their best rows nothing waits for the device; few queries are recorded as a
CUDA graph, because to start each step by itself takes longer than to do it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.gpu.codes import Batch, coded_batch, coded_head, scan_thresholds
from qsearch.gpu.outcome import Outcome, better, safe_rank, top
from qsearch.gpu.rows import TILE, DeviceRows
from qsearch.gpu.steps import Found, TorchSteps
from qsearch.kernels import RowMask, allowed_rows
from qsearch.streams import Stream

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceSearch", "Result"]

_BATCH = 1024
_PLACES = 1 << 23
"""Places for rows that a scan leaves, of all queries together."""

_LEAST_PLACES, _MOST_PLACES = 1 << 12, 1 << 16
_DEVIATIONS = 3.6
"""See docs/exactness.md."""

_RECORDED = (1, 2, 4, 8, 16)
"""So many queries have a graph; of other numbers up to the last one is filled up."""

_MOST_RECORDED = 16
"""Graphs that are kept: one for each number of queries and k that was asked for lately."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The best rows of q queries.

    Attributes:
        positions: (q, k) int64, −1 behind the last.
        scores: (q, k) float32, −inf behind the last.
        reached: (q,) int64: rows that the scan left.
        rescored: (q,) int64: rows that were scored.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    reached: NDArray[np.int64]
    rescored: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What a search is of, but for the queries.

    Attributes:
        k: rows wanted.
        bits: (rows / 8,) uint8 on the device: which rows are allowed.
        allowed: how many.
        rank: so many of the best of the sample are the guess; 0: there is none.
        every: whether all rows are allowed.
    """

    k: int
    bits: torch.Tensor
    allowed: int
    rank: int
    every: bool


class DeviceSearch:
    """Exact search over ``DeviceRows``. For one thread at a time.

    Attributes:
        rows: these.
    """

    def __init__(self, rows: DeviceRows, steps: Any = None, *, stays: bool = True) -> None:
        """Take the rows.

        Args:
            rows: on a device.
            steps: who does the steps; plain torch by default.
            stays: whether more searches are to come, so that it pays to record some.
        """
        self.rows = rows
        self._steps = steps or TorchSteps()
        self._stream = Stream(rows.device)
        self._records = stays and self._stream.gpu and not self._steps.waits
        self._share = min(1.0, _DEVIATIONS / math.sqrt(rows.dimensions))
        self._recorded: OrderedDict[tuple[int, int], _Recorded] = OrderedDict()

    def search(
        self, queries: NDArray[np.float32], k: int, masks: Sequence[RowMask | None]
    ) -> Result:
        """The k allowed rows of highest score for every query, ties by position.

        Args:
            queries: (q, d) float32, checked.
            k: at most the number of rows that are allowed.
            masks: which rows of each segment are allowed; ``None``: all.

        Raises:
            FloatingPointError: a row is not finite, or codes contradict the rows.
        """
        step = min(_BATCH, max(1, _PLACES // max(_LEAST_PLACES, 4 * k)))
        with self._stream.here():
            asked = self._asked(k, masks)
            parts = [
                self._search(queries[start : start + step], asked)
                for start in range(0, len(queries), step)
            ]
        return Result(
            *(np.concatenate([getattr(one, name) for one in parts]) for name in Result.__slots__)
        )

    def _asked(self, k: int, masks: Sequence[RowMask | None]) -> _Asked:
        rows = self.rows
        every = all(mask is None for mask in masks)
        bits = rows.every if every else rows.allowed(masks)
        allowed = sum(
            allowed_rows(part.rows, mask) for part, mask in zip(rows.parts, masks, strict=True)
        )
        seen = rows.sampled(masks)
        rank = safe_rank(k, seen / max(1, allowed))
        return _Asked(k, bits, allowed, rank if rank <= len(rows.sample) else 0, every)

    def _search(self, queries: NDArray[np.float32], asked: _Asked) -> Result:
        count, k = len(queries), asked.k
        places = min(_MOST_PLACES, max(_LEAST_PLACES, _PLACES // count, 4 * k))
        first = self._first(queries, asked, places)
        held = min(k, asked.allowed)
        if first.damaged[0]:
            raise FloatingPointError("a row is not finite")
        rows, scores = first.rows.copy(), first.scores.copy()
        reached, rescored = first.found.astype(np.int64), first.scored.astype(np.int64)
        floor = np.where(np.isfinite(first.scores[:, -1]), first.scores[:, -1], -np.inf)

        def wrong(of: Outcome) -> NDArray[np.bool_]:
            whole = (of.found <= of.places) & (of.scored <= of.places)
            full = (of.rows >= 0).sum(axis=1) == held
            return np.asarray(~(whole & full & (of.scores[:, -1] >= of.needed)))

        again = np.flatnonzero(wrong(first))
        if len(again):
            # k documents reach what was found, whatever was guessed.
            second = self._given(queries[again], floor[again], asked, places)
            rows[again], scores[again] = second.rows, second.scores
            reached[again] += second.found
            rescored[again] += second.scored
            for place in np.flatnonzero(wrong(second)):
                # So many rows may be among the best that there are no places for all.
                query = again[place]
                least = max(floor[query], second.scores[place, -1])
                best = self._by_slabs(queries[query : query + 1], np.float32(least), asked)
                rows[query], scores[query] = best.rows[0], best.scores[0]
                reached[query] += best.found[0]
                rescored[query] += best.scored[0]
        if ((rows >= 0).sum(axis=1) != held).any():
            raise FloatingPointError("codes contradict the rows")
        return Result(self.rows.positions(rows), scores, reached, rescored)

    def _first(self, queries: NDArray[np.float32], asked: _Asked, places: int) -> Outcome:
        """With what is guessed."""
        count = len(queries)
        if self._records and asked.every and count <= _RECORDED[-1]:
            size = next(one for one in _RECORDED if one >= count)
            recorded = self._recorded.get((size, asked.k))
            if recorded is None:
                recorded = _Recorded(self, self._stream, size, asked, _places_of(asked.k))
                self._recorded[size, asked.k] = recorded
                if len(self._recorded) > _MOST_RECORDED:
                    self._recorded.popitem(last=False)
            self._recorded.move_to_end((size, asked.k))
            if recorded.there:
                return recorded.run(queries)
        batch = coded_batch(self._sent(queries), self.rows.codes.shape[1])
        return self.enqueue(batch, self.guessed(batch, asked), asked, places).brought()

    def _given(
        self,
        queries: NDArray[np.float32],
        needed: NDArray[np.float32],
        asked: _Asked,
        places: int,
    ) -> Outcome:
        """With scores that k documents reach."""
        batch = coded_batch(self._sent(queries), self.rows.codes.shape[1])
        found = self.enqueue(batch, self._sent(needed), asked, places).brought()
        if found.damaged[0]:
            raise FloatingPointError("a row is not finite")
        return found

    def _by_slabs(self, query: NDArray[np.float32], needed: np.float32, asked: _Asked) -> Outcome:
        """As many rows at a time as there are places for."""
        step = max(TILE, _MOST_PLACES // TILE * TILE)
        batch = coded_batch(self._sent(query), self.rows.codes.shape[1])

        def slab(first: int, needed: np.float32) -> Outcome:
            last = min(first + step, self.rows.rows)
            given = self._sent(np.array([needed], dtype=np.float32))
            some = self.enqueue(batch, given, asked, step, first, last).brought()
            if some.damaged[0]:
                raise FloatingPointError("a row is not finite")
            return some

        best = slab(0, needed)
        for first in range(step, self.rows.rows, step):
            best = better(best, slab(first, max(needed, best.scores[0, -1])), asked.k)
        return best

    def guessed(self, batch: Batch, asked: _Asked) -> torch.Tensor:
        """(q,) float32: a score for each query that its k-th best very likely reaches."""
        import torch

        if not asked.rank:
            shape = len(batch.vectors)
            return torch.full((shape,), -torch.inf, dtype=torch.float32, device=self.rows.device)
        best = self._steps.likely(self.rows, batch, self.rows.sample, asked.bits, self._share)
        guess: torch.Tensor = best.topk(asked.rank, dim=1).values[:, -1].contiguous()
        return guess

    def enqueue(
        self,
        batch: Batch,
        needed: torch.Tensor,
        asked: _Asked,
        places: int,
        first: int = 0,
        last: int | None = None,
    ) -> Outcome:
        """Scan, score and choose; nothing waits for the device.

        Args:
            batch: q queries.
            needed: (q,) float32: rows that cannot reach it are left out.
            asked: the rest.
            places: for rows of each query between the steps.
            first: device row to begin with, a multiple of ``TILE``.
            last: device row to end before; ``None``: behind the last.
        """
        import torch

        rows = self.rows
        last = rows.rows if last is None else last
        count = len(batch.vectors)
        found, best = self._places(count, places, False), self._places(count, places, True)
        for part in rows.parts:
            begin, end = max(first, part.first), min(last, part.first + part.padded)
            if begin < end:
                head = coded_head(batch, part.rotation)
                thresholds = scan_thresholds(needed, head)
                self._steps.scan(rows, part, begin, end, head, thresholds, asked.bits, found)
        damaged = torch.zeros(1, dtype=torch.int32, device=rows.device)
        self._steps.score(rows, batch, needed, found, best, damaged)
        top_rows, top_scores = top(best, asked.k)
        return Outcome(top_rows, top_scores, needed, found.counts, best.counts, damaged, places)

    def _places(self, count: int, places: int, scored: bool) -> Found:
        import torch

        device = self.rows.device
        return Found(
            torch.empty((count, places), dtype=torch.int32, device=device),
            torch.empty((count, places if scored else 0), dtype=torch.float32, device=device),
            torch.zeros(count, dtype=torch.int32, device=device),
        )

    def _sent(self, array: NDArray[np.float32]) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.rows.device)


class _Recorded:
    """A search of few queries as a CUDA graph: one start instead of some forty."""

    def __init__(
        self, search: DeviceSearch, stream: Stream, count: int, asked: _Asked, places: int
    ) -> None:
        """Record it.

        Args:
            search: whose steps they are.
            stream: on which they run.
            count: of queries.
            asked: of all rows.
            places: for rows of each query between the steps.
        """
        import torch

        rows = search.rows
        self._stream, self._places = stream, places
        self._vectors = torch.zeros((count, rows.dimensions), device=rows.device)
        self._vectors[:, 0] = 1.0
        self._given = stream.pinned(self._vectors)
        self._given.copy_(self._vectors)

        def steps() -> Outcome:
            self._vectors.copy_(self._given, non_blocking=True)
            batch = coded_batch(self._vectors, rows.codes.shape[1])
            return search.enqueue(batch, search.guessed(batch, asked), asked, places)

        for _ in range(2):  # kernels are compiled, and libraries find their memory
            outcome = steps()
        self._kept = [stream.pinned(one) for one in outcome.each()]

        def whole() -> Outcome:
            outcome = steps()
            for kept, one in zip(self._kept, outcome.each(), strict=True):
                kept.copy_(one, non_blocking=True)
            return outcome

        self._graph = stream.record(whole)

    @property
    def there(self) -> bool:
        """Whether it could be recorded."""
        return self._graph is not None

    def run(self, queries: NDArray[np.float32]) -> Outcome:
        """Search.

        Args:
            queries: (q, d) float32, at most as many as were recorded.
        """
        if self._graph is None:
            raise ValueError("nothing was recorded")
        count = len(queries)
        self._given.numpy()[:count] = queries
        self._given.numpy()[count:] = queries[:1]
        self._graph.replay()
        self._stream.wait()
        rows, scores, needed, found, scored, damaged = (one.numpy().copy() for one in self._kept)
        return Outcome(
            rows[:count],
            scores[:count],
            needed[:count],
            found[:count],
            scored[:count],
            damaged,
            self._places,
        )


def _places_of(k: int) -> int:
    """Places of a query in a graph, where choosing among them takes longer than anything else."""
    return int(min(_MOST_PLACES, max(_LEAST_PLACES, 8 * k)))
