"""Measures, on an index, which recall is reached by how many candidates, and how to know for which queries.

For every sample query the true neighbours are found by exact search, and for each of them the number
of rows with a smaller Hamming distance, and with a higher int8 score. A neighbour is found by the
cascade if these ranks are below the numbers of candidates that the two stages pass on, so one pass
gives the recall at every number of candidates.

Queries are not documents: they lie farther from all of them, and their neighbours stand farther behind
by binary codes. Where no sample of queries is given, documents serve, and beside them the middles between
two documents; the curve takes the worse of the two. On 100,000 real texts 0.99 takes 364 candidates for
documents, 567 for real queries, and 882 for such middles.

No sample tells of queries that are unlike it. So strangers are made: documents with more and more noise,
down to nothing but noise. Of every kind of query, the sample's and the strangers', those with a lead (see
``lead``) below some level would be answered exactly; the level that a recall takes is the one at which
each kind reaches it, the kinds in between that hover about that level included.

Where rows are passages, the true neighbours are documents, each by its best passage: a document is found
if that passage is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_query_codes
from qsearch.kernels import int8_gather
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.confidence import LowerBounds
from qsearch.retrieval.documents import DocumentRows, rank_documents, rows_for
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.lead import lead
from qsearch.retrieval.ranking import unit_queries
from qsearch.retrieval.samples import Kinds, all_kinds
from qsearch.retrieval.tuning import Curve, Level, Point, Tuning
from qsearch.store import Segment

__all__ = ["CONFIDENCE", "FROM_DOCUMENTS", "measure"]

FROM_DOCUMENTS = "documents and middles between two, each left out of its own results"

FROM_PASSAGES = "passages and middles between two, their documents left out of the results"

CONFIDENCE = 0.95
_CONFIDENCE_OF_STRANGERS = 0.995
"""Strangers are made, and only resemble those that may come: they are given more room."""


_DEPTHS = (1, 3, 10, 30, 100)
_LEAD_DEPTH = 10
"""The lead looks at k rows, and at no fewer than this: of fewer its spread is large."""


_LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
"""Shares of the sample that levels would answer exactly."""

_FIRST = 40
_MAX_SHARE = 8
"""More than an eighth of the rows as candidates costs more than an exact search."""

_MAX_CANDIDATES = 1 << 13
_PIECE_ROWS = 1 << 13
_TIMED_QUERIES = 64
_REPEATS = 3
_QUERIES_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What was found out about q queries.

    Attributes:
        binary_ranks: (q, deepest) ranks of the true neighbours by binary codes, in their segment.
        int8_ranks: (q, deepest) by int8 codes among the candidates.
        leads: (lead depths, grid, q).
    """

    binary_ranks: NDArray[np.int64]
    int8_ranks: NDArray[np.int64]
    leads: NDArray[np.float64]


def measure(
    segments: Sequence[Segment],
    queries: NDArray[np.float32] | None,
    measured_on: str,
    advance: Callable[[int], None],
    threads: int | None = None,
) -> Tuning | None:
    """Measure recall by number of candidates.

    Args:
        segments: of the index.
        queries: (q, d) float32 sample queries; ``None`` makes them of documents of the index, which
            are then left out of their own results.
        measured_on: what ``queries`` are.
        advance: told how many queries were just done.
        threads: ``None``: all.

    Returns:
        ``None`` where the index is too small for candidates to be worth it.
    """
    documents = DocumentRows(segments)
    total = documents.rows  # that live
    most = min(_MAX_CANDIDATES, total // _MAX_SHARE)
    depths = [k for k in _DEPTHS if min(most, documents.count) >= 4 * max(k, 10)]
    if not depths:
        return None
    # Measuring must not need more memory than building did: the index is gone through in pieces, and
    # the memory behind each is let go of again.
    pieces = [piece for segment in segments for piece in segment.pieces(_PIECE_ROWS)]
    if queries is None and documents.split:
        measured_on = FROM_PASSAGES
    kinds = all_kinds(pieces, queries)
    grid = _grid(_FIRST, most)
    lead_depths = sorted({max(k, _LEAD_DEPTH) for k in depths})
    exact, cascade = ExactSearch(pieces, release=True), Cascade(segments)
    seen = _look(
        segments,
        pieces,
        documents,
        exact,
        cascade,
        kinds,
        depths[-1],
        grid,
        lead_depths,
        advance,
        threads,
    )
    timed = kinds.queries[:_TIMED_QUERIES]
    # The time hardly depends on k, and is measured for few of them.
    timed_depths = sorted({min(10, depths[-1]), depths[-1]})
    exact_times = {
        k: exact.milliseconds(timed, rows_for(k, total) if documents.split else k, threads)
        for k in timed_depths
    }
    times: dict[tuple[int, int], float] = {}
    bounds = LowerBounds()
    curves = []
    for k in depths:
        like = next(depth for depth in timed_depths if depth >= k)
        kept = _kept(seen.int8_ranks[:, :k], k)
        lead_depth = max(k, _LEAD_DEPTH)
        leads = seen.leads[lead_depths.index(lead_depth)]
        points: list[Point] = []
        for number, candidates in enumerate(grid):
            if candidates < 4 * k:
                continue
            found = (seen.binary_ranks[:, :k] < candidates) & (seen.int8_ranks[:, :k] < kept)
            recalls = found.mean(axis=1)
            levels = _levels(recalls, leads[number], kinds, k, bounds)
            if (like, candidates) not in times:
                times[like, candidates] = _cascade_time(
                    cascade, pieces, timed, like, candidates, kept, threads
                )
            own = min(recalls[kinds.kind == kind].mean() for kind in range(kinds.own))
            points.append(
                Point(candidates, round(own, 6), round(times[like, candidates], 5), levels)
            )
        curves.append(Curve(k, lead_depth, kept, round(exact_times[like], 5), tuple(points)))
    own_queries = int((kinds.kind < kinds.own).sum())
    strangers = len(kinds.queries) - own_queries
    return Tuning(measured_on, own_queries, strangers, documents.count, tuple(curves))


def _look(
    segments: Sequence[Segment],
    pieces: Sequence[Segment],
    documents: DocumentRows,
    exact: ExactSearch,
    cascade: Cascade,
    kinds: Kinds,
    deepest: int,
    grid: Sequence[int],
    lead_depths: Sequence[int],
    advance: Callable[[int], None],
    threads: int | None,
) -> _Seen:
    """Go through the index with all queries."""
    count = len(kinds.queries)
    seen = _Seen(
        np.empty((count, deepest), dtype=np.int64),
        np.empty((count, deepest), dtype=np.int64),
        np.empty((len(lead_depths), len(grid), count)),
    )
    for start in range(0, count, _QUERIES_AT_A_TIME):
        these = slice(start, min(start + _QUERIES_AT_A_TIME, count))
        some, left_out = kinds.queries[these], kinds.left_out[these]
        truth = _true_rows(documents, exact, some, deepest, left_out, threads)
        every = _all_rows(documents, left_out)
        candidates = _candidates(segments, pieces, cascade, some, grid[-1], threads)
        binary, int8 = candidates.ranks(truth, every)
        seen.binary_ranks[these], seen.int8_ranks[these] = binary, int8
        scores = candidates.scores_without(every)
        for number, most in enumerate(grid):
            among = candidates.places < most
            for depth_number, depth in enumerate(lead_depths):
                seen.leads[depth_number, number, these] = lead(
                    scores[:, among], candidates.places[among], most, depth
                )
        advance(len(some))
    return seen


def _levels(
    recalls: NDArray[np.float64],
    leads: NDArray[np.float64],
    kinds: Kinds,
    k: int,
    bounds: LowerBounds,
) -> tuple[Level, ...]:
    """What each level gives, by rising lead; ``low`` never falls from one to the next."""
    own = kinds.kind < kinds.own
    rising = np.sort(leads[own])
    leasts = np.unique(rising[(np.array(_LEVELS) * (len(rising) - 1)).astype(int)])
    # (queries, levels): what is answered exactly loses nothing.
    got = np.where(leads[:, None] < leasts, 1.0, recalls[:, None])
    # Strangers of neighbouring kinds are judged together: what is asked for is asked of both, and the more
    # there are the more they can vouch for.
    last = int(kinds.kind.max())
    own_lows = [bounds.lows(got[kinds.kind == kind], k, CONFIDENCE) for kind in range(kinds.own)]
    strange_lows = [
        bounds.lows(
            got[(kinds.kind == kind) | (kinds.kind == kind + 1)], k, _CONFIDENCE_OF_STRANGERS
        )
        for kind in range(kinds.own, last)
    ]
    lows = np.min([*own_lows, *strange_lows], axis=0)
    lows = np.minimum.accumulate(lows[::-1])[
        ::-1
    ]  # what a higher level breaks a lower one cannot hold
    means = np.min([got[kinds.kind == kind].mean(axis=0) for kind in range(kinds.own)], axis=0)
    shares = (leads[own][:, None] < leasts).mean(axis=0)
    return tuple(
        Level(float(least), round(float(mean), 6), round(float(low), 6), round(float(share), 6))
        for least, mean, low, share in zip(leasts, means, lows.clip(min=0.0), shares, strict=True)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """The candidates of q queries by binary codes, c of them, segment after segment.

    Attributes:
        positions: (q, c) of their rows in the index.
        places: (c,) places by binary codes in their segment, from 0.
        segments: (c,) number of the segment.
        scores: (q, c) float32 by int8 codes.
    """

    positions: NDArray[np.int64]
    places: NDArray[np.int64]
    segments: NDArray[np.int64]
    scores: NDArray[np.float32]

    def scores_without(self, left_out: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores, −inf for the rows that are left out of each query's results."""
        return np.where(_among(self.positions, left_out), np.float32(-np.inf), self.scores)

    def ranks(
        self, truth: NDArray[np.int64], left_out: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ranks, from 0, of the rows ``truth`` by binary and by int8 codes, without ``left_out``.

        A row that is not among the candidates has a rank that no number of them reaches.
        """
        depth = truth.shape[1]
        never = np.iinfo(np.int64).max
        binary_ranks = np.full(truth.shape, never)
        int8_ranks = np.full(truth.shape, never)
        for i, positions in enumerate(self.positions):
            order = np.argsort(positions)
            by_score = np.empty(len(order), dtype=np.int64)
            by_score[np.argsort(-self.scores[i], kind="stable")] = np.arange(len(order))
            wanted = np.concatenate([truth[i], left_out[i]])
            found = np.searchsorted(positions, wanted, sorter=order).clip(max=len(order) - 1)
            at = order[found]
            there = positions[at] == wanted
            segment_of = self.segments[at]
            for ranks, of_stage in ((binary_ranks, self.places), (int8_ranks, by_score)):
                rank = np.where(there, of_stage[at], never)
                # What is left out of the results does not count among the candidates before them.
                earlier = rank[depth:, None] < rank[None, :depth]
                if of_stage is self.places:  # which are counted in each segment
                    earlier &= segment_of[depth:, None] == segment_of[None, :depth]
                ranks[i] = np.where(there[:depth], rank[:depth] - earlier.sum(axis=0), never)
        return binary_ranks, int8_ranks


def _candidates(
    segments: Sequence[Segment],
    pieces: Sequence[Segment],
    cascade: Cascade,
    queries: NDArray[np.float32],
    most: int,
    threads: int | None,
) -> _Candidates:
    units = unit_queries(queries)
    chosen = cascade.choose(units, most, threads)
    positions = np.concatenate(
        [rows + segment.first_row for rows, segment in zip(chosen, segments, strict=True)],
        axis=1,
    )
    return _Candidates(
        positions,
        np.concatenate([np.arange(rows.shape[1]) for rows in chosen]),
        np.repeat(np.arange(len(chosen)), [rows.shape[1] for rows in chosen]),
        _int8_scores(pieces, units, positions, threads),
    )


def _cascade_time(
    cascade: Cascade,
    pieces: Sequence[Segment],
    queries: NDArray[np.float32],
    k: int,
    candidates: int,
    kept: int,
    threads: int | None,
) -> float:
    """Milliseconds for one query of the cascade.

    The first stage is timed on the whole index, the others on one piece: they look at rows all over the
    index, and the memory behind them would add up.
    """
    units = unit_queries(queries)
    first = _milliseconds(partial(cascade.choose, units, candidates, threads), len(queries))
    piece = pieces[len(pieces) // 2]
    some = max(k, min(candidates, piece.rows // 2))
    alone = Cascade([piece])
    passed_on = max(k, min(kept, some))
    both = _milliseconds(
        partial(alone.search, queries, k, some, passed_on, threads), len(queries)
    ) - _milliseconds(partial(alone.choose, units, some, threads), len(queries))
    piece.release()
    return first + max(0.0, both) * max(1.0, candidates / some)


def _int8_scores(
    pieces: Sequence[Segment],
    units: NDArray[np.float32],
    positions: NDArray[np.int64],
    threads: int | None,
) -> NDArray[np.float32]:
    """Scores by int8 codes of chosen documents, one piece of the index after the other."""
    codes = int8_query_codes(units).codes
    scores = np.full(positions.shape, -np.inf, dtype=np.float32)
    for piece in pieces:
        rows = positions - piece.first_row
        rows[(rows < 0) | (rows >= piece.rows)] = -1
        np.maximum(scores, int8_gather(piece.int8, piece.scale, codes, rows, threads), out=scores)
        piece.release()
    return scores


def _true_rows(
    documents: DocumentRows,
    exact: ExactSearch,
    queries: NDArray[np.float32],
    depth: int,
    left_out: NDArray[np.int64],
    threads: int | None,
) -> NDArray[np.int64]:
    """(q, depth) positions of the true neighbours, without the documents of the rows ``left_out``."""
    wanted = min(depth + left_out.shape[1], documents.count)
    if not documents.split:
        return _without(exact.search(queries, wanted, threads).positions, left_out)[:, :depth]
    ranked = rank_documents(
        lambda some, rows: exact.search(some, rows, threads),
        documents,
        queries,
        wanted,
        rows_for(wanted, documents.rows),
        documents.rows,
    ).positions
    owners = documents.documents(ranked)
    order = np.argsort(_among(owners, documents.documents(left_out)), axis=1, kind="stable")
    return np.take_along_axis(ranked, order, axis=1)[:, :depth]


def _all_rows(documents: DocumentRows, left_out: NDArray[np.int64]) -> NDArray[np.int64]:
    """All rows of the documents that rows belong to: (q, r), filled up with −1."""
    if not documents.split or not left_out.shape[1]:
        return left_out
    owners = documents.documents(left_out)
    rows = [
        [row for one in np.unique(some[some >= 0]) for row in documents.rows_of(int(one))]
        for some in owners
    ]
    filled = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for place, some in zip(filled, rows, strict=True):
        place[: len(some)] = some
    return filled


def _without(truth: NDArray[np.int64], left_out: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move the left-out documents of each row behind all others."""
    order = np.argsort(_among(truth, left_out), axis=1, kind="stable")
    return np.take_along_axis(truth, order, axis=1)


def _among(values: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values of each row are among the others of that row."""
    found: NDArray[np.bool_] = (values[:, :, None] == others[:, None, :]).any(axis=2)
    return found


def _kept(int8_ranks: NDArray[np.int64], k: int) -> int:
    """How many rows the int8 codes must pass on so that they lose next to nothing."""
    seen = int8_ranks[int8_ranks != np.iinfo(np.int64).max]
    if not len(seen):
        return 4 * k
    return int(max(2 * k, math.ceil(1.25 * np.quantile(seen, 0.9999)) + 1))


def _grid(first: int, last: int) -> list[int]:
    """Numbers of candidates, each about half as much again as the one before."""
    steps = max(1, math.ceil(math.log(last / first) / math.log(1.5)))
    return sorted({round(first * (last / first) ** (i / steps)) for i in range(steps + 1)})


def _milliseconds(search: Callable[[], object], queries: int) -> float:
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        search()
        times.append(time.perf_counter() - started)
    return 1000.0 * min(times) / queries
