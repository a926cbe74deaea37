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
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.gpu.codes import Batch
from qsearch.gpu.outcome import Outcome, Room, better, safe_rank, together
from qsearch.gpu.recording import RecordedSearch
from qsearch.gpu.rows import FEW, TILE, Chosen, DeviceRows
from qsearch.gpu.steps import Found, TorchSteps
from qsearch.streams import Stream

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceSearch", "Result"]

_BATCH = 1024
_PLACES = 1 << 25
"""Places for rows that a scan leaves, of all queries together."""

_LEAST_PLACES, _MOST_PLACES = 1 << 12, 1 << 16
"""For a query, at first. What is scored has as many at least, or four times as many as are wanted."""

_ROUNDS = 4
"""A guess may leave more rows than there are places, then be too high, and then again leave more."""

_DEVIATIONS = 3.6
"""See docs/exactness.md."""

_RECORDED = (1, 2, 4, 8, 16, 32, 64)
"""So many queries have a graph; of other numbers up to the last one is filled up."""

_RECORDED_AT = 2
"""Such a search becomes a graph when it comes for this time: to record one waits for the whole device."""

_MOST_OF_A_GRAPH = 1024
"""More rows for a query are ordered by torch, beside which it takes little to start each step."""

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
        chosen: of which rows.
        ranks: so many of the best of each sample are the guess; 0: there is none.
    """

    k: int
    chosen: Chosen
    ranks: tuple[int, ...]


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
        self._recorded: OrderedDict[tuple[int, int], RecordedSearch] = OrderedDict()
        self._seen: Counter[tuple[int, int]] = Counter()
        self._usual: dict[
            int, int
        ] = {}  # rows that a scan leaves of a query, by k, where they are many

    def search(self, queries: NDArray[np.float32], k: int, chosen: Chosen | None = None) -> Result:
        """The k allowed rows of highest score for every query, ties by position.

        Args:
            queries: (q, d) float32, checked, one at least.
            k: at most the number of rows that are allowed.
            chosen: rows that are allowed; ``None``: those that were not deleted.

        Raises:
            FloatingPointError: a row is not finite, or codes contradict the rows.
        """
        parts: list[Result] = []
        with self._stream.here():
            asked = self._asked(k, self.rows.living if chosen is None else chosen)
            while len(queries):
                places = max(_LEAST_PLACES, 4 * k, self._usual.get(k, 0))
                step = min(_BATCH, max(1, _PLACES // places))
                parts.append(self._search(queries[:step], asked))
                queries = queries[step:]
        if len(parts) == 1:
            return parts[0]
        return Result(
            *(np.concatenate([getattr(one, name) for one in parts]) for name in Result.__slots__)
        )

    def _asked(self, k: int, chosen: Chosen) -> _Asked:
        ranks = []
        for sample, sampled in zip(self.rows.samples, chosen.sampled, strict=True):
            rank = safe_rank(k, sampled / max(1, chosen.rows))
            ranks.append(rank if rank <= len(sample) else 0)
        return _Asked(k, chosen, tuple(ranks))

    def _search(self, queries: NDArray[np.float32], asked: _Asked) -> Result:
        count, held = len(queries), min(asked.k, asked.chosen.rows)
        places = min(_MOST_PLACES, max(_LEAST_PLACES, _PLACES // max(1, count)))
        usual = min(self._usual.get(asked.k, 0), _PLACES)
        last = self._first(queries, asked, max(places, usual), many=usual > 0)
        self._expect(asked.k, last)
        rows, scores = last.rows.copy(), last.scores.copy()
        reached, rescored = last.found.astype(np.int64), last.scored.astype(np.int64)
        needed, floor = last.needed.copy(), _lowest(last)
        which, left = np.arange(count), last.found.astype(np.int64)
        for _ in range(_ROUNDS):
            more = (last.found > last.places) | (last.scored > last.room)
            full = (last.rows >= 0).sum(axis=1) == held
            again = np.flatnonzero(more | ~full | ~(last.scores[:, -1] >= last.needed))
            which, more, left = which[again], more[again], left[again]
            if not len(which):
                break
            # What was guessed may hold where there were too few places. Else k reach what was found.
            needed[which] = np.where(more, np.maximum(needed[which], floor[which]), floor[which])
            last = self._given(queries[which], needed[which], asked, np.where(more, left, 4 * left))
            rows[which], scores[which] = last.rows, last.scores
            floor[which] = np.maximum(floor[which], _lowest(last))
            left = last.found.astype(np.int64)
            reached[which] += last.found
            rescored[which] += last.scored
        for query in which:  # so many rows may be among the best that there are no places for all
            best = self._by_slabs(queries[query : query + 1], floor[query], asked)
            rows[query], scores[query] = best.rows[0], best.scores[0]
            reached[query] += best.found[0]
            rescored[query] += best.scored[0]
        if ((rows >= 0).sum(axis=1) != held).any():
            raise FloatingPointError("codes contradict the rows")
        return Result(self.rows.positions(rows), scores, reached, rescored)

    def _expect(self, k: int, found: Outcome) -> None:
        """Have places next time for what most of these queries would have needed."""
        more = (found.found > found.places) | (found.scored > found.room)
        if k in self._usual or 4 * np.count_nonzero(more) > len(more):
            self._usual[k] = int(1.25 * np.quantile(found.found, 0.9))
            if self._usual[k] <= _LEAST_PLACES:
                del self._usual[k]

    def _first(
        self, queries: NDArray[np.float32], asked: _Asked, places: int, *, many: bool
    ) -> Outcome:
        """With what is guessed.

        Args:
            queries: these.
            asked: the rest.
            places: for what the scan leaves of each.
            many: whether that is known to be much.
        """
        count = len(queries)
        if not many and self._records and asked.chosen is self.rows.living:
            recorded = self._graph_of(count, asked)
            if recorded is not None:
                return _sound(recorded.run(queries))
        room = self.enqueue(self._sent(queries), None, asked, places, every=many)
        return _sound(room.brought())

    def _graph_of(self, count: int, asked: _Asked) -> RecordedSearch | None:
        """A graph, where such searches have come before."""
        if count > _RECORDED[-1] or asked.k > _MOST_OF_A_GRAPH:
            return None
        key = next(one for one in _RECORDED if one >= count), asked.k
        recorded = self._recorded.get(key)
        if recorded is None:
            self._seen[key] += 1
            if self._seen[key] < _RECORDED_AT:
                return None
            recorded = self._recorded[key] = RecordedSearch(
                lambda vectors: self.enqueue(vectors, None, asked, _MOST_PLACES),
                self._stream,
                key[0],
                self.rows,
            )
            if len(self._recorded) > _MOST_RECORDED:
                dropped, _ = self._recorded.popitem(last=False)
                del self._seen[dropped]
        self._recorded.move_to_end(key)
        return recorded if recorded.there else None

    def _given(
        self,
        queries: NDArray[np.float32],
        needed: NDArray[np.float32],
        asked: _Asked,
        left: NDArray[np.int64],
    ) -> Outcome:
        """With scores that are needed, and places for so many rows as a scan leaves of each query.

        Queries that need many places are looked at few at a time; those for which there cannot be enough,
        not again.
        """
        count = len(queries)
        places = np.clip(left, _LEAST_PLACES, _PLACES)
        order = np.argsort(places)[::-1]
        parts = []
        start = 0
        while start < count:
            most = int(places[order[start]])
            some = order[start : start + min(_BATCH, max(1, _PLACES // most))]
            room = self.enqueue(
                self._sent(queries[some]), self._sent(needed[some]), asked, most, every=True
            )
            parts.append((some, _sound(room.brought())))
            start += len(some)
        return together(parts, count)

    def _by_slabs(self, query: NDArray[np.float32], needed: np.float32, asked: _Asked) -> Outcome:
        """As many rows at a time as there are places for."""
        step = max(TILE, _MOST_PLACES // TILE * TILE)
        sent = self._sent(query)

        def slab(first: int, needed: np.float32) -> Outcome:
            last = min(first + step, self.rows.rows)
            given = self._sent(np.array([needed], dtype=np.float32))
            some = _sound(self.enqueue(sent, given, asked, step, first, last, every=True).brought())
            if some.found[0] > some.places or some.scored[0] > some.room:
                raise RuntimeError("there are fewer places than rows")
            return some

        best = slab(0, needed)
        for first in range(step, self.rows.rows, step):
            best = better(best, slab(first, max(needed, best.scores[0, -1])), asked.k)
        return best

    def guess(self, batch: Batch, asked: _Asked, needed: torch.Tensor) -> None:
        """Fill in a score for each query that its k-th best very likely reaches."""
        which = int(len(batch.codes) > FEW)
        rank, sample = asked.ranks[which], self.rows.samples[which]
        if not rank:
            needed.fill_(-math.inf)
            return
        best = self._steps.likely(self.rows, batch, sample, asked.chosen.bits, self._share)
        self._steps.guess(best, rank, needed)

    def enqueue(
        self,
        vectors: torch.Tensor,
        needed: torch.Tensor | None,
        asked: _Asked,
        places: int,
        first: int = 0,
        last: int | None = None,
        *,
        every: bool = False,
    ) -> Room:
        """Scan, score and choose; nothing waits for the device.

        Args:
            vectors: (q, d) float32 queries on the device.
            needed: (q,) float32: rows that cannot reach it are left out; ``None``: it is guessed.
            asked: the rest.
            places: for rows of each query that the scan leaves.
            first: device row to begin with, a multiple of ``TILE``.
            last: device row to end before; ``None``: behind the last.
            every: whether all that the scan leaves may have to be scored.
        """
        rows = self.rows
        last = rows.rows if last is None else last
        count = len(vectors)
        some = places if every else min(places, max(_LEAST_PLACES, 4 * asked.k))
        room = Room(count, asked.k, places, some, rows.device)
        outcome = room.outcome
        batch = self._steps.code(rows, vectors)
        if needed is None:
            self.guess(batch, asked, outcome.needed)
        else:
            outcome.needed.copy_(needed)
        found = self._found(count, places, False, outcome.found)
        best = self._found(count, some, True, outcome.scored)
        for part in rows.parts:
            begin, end = max(first, part.first), min(last, part.first + part.padded)
            if begin < end:
                head = self._steps.head(batch, part.rotation, outcome.needed)
                self._steps.scan(rows, part, begin, end, head, asked.chosen.bits, found)
        self._steps.score(rows, batch, outcome.needed, found, best, outcome.damaged)
        self._steps.top(best, outcome.rows, outcome.scores)
        return room

    def _found(self, count: int, places: int, scored: bool, counts: torch.Tensor) -> Found:
        import torch

        device = self.rows.device
        return Found(
            torch.empty((count, places), dtype=torch.int32, device=device),
            torch.empty((count, places if scored else 0), dtype=torch.float32, device=device),
            counts,
        )

    def _sent(self, array: NDArray[np.float32]) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.rows.device)


def _sound(found: Outcome) -> Outcome:
    """What was found, where all rows that were scored are finite."""
    if found.damaged[0]:
        raise FloatingPointError("a row is not finite")
    return found


def _lowest(found: Outcome) -> NDArray[np.float32]:
    """(q,) what the k-th best score reaches; −inf where fewer were found."""
    last = found.scores[:, -1]
    return np.where(np.isfinite(last), last, np.float32(-np.inf))
