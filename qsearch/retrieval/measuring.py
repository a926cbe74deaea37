"""Measures, on an index, which recall is reached by how many candidates, and how to know for which queries.

For every sample query the true neighbours are found by exact search, and for each of them the number
of rows with a smaller Hamming distance, and with a higher int8 score. A neighbour is found by the
cascade if these ranks are below the numbers of candidates that the two stages pass on, so one pass
gives the recall at every number of candidates.

Queries are not documents: they lie farther from all of them, and their neighbours stand farther behind
by binary codes. Where no sample of queries is given, documents serve, and beside them the middles between
two documents; the curve takes the worse of the two. On 100,000 real texts 0.99 takes 364 candidates for
documents, 567 for real queries, and 882 for such middles.

No sample tells of queries that are unlike it. So strangers are made (see ``samples``): farther from all
documents than the sample, nearer to many, or near to few. Of every kind of query, the sample's and the
strangers', those that the codes are less sure of than some level (see ``seen``) would be answered exactly;
the level that a recall takes is the one at which each kind reaches it, the kinds in between that hover
about that level included.

Where rows are passages, the true neighbours are documents, each by its best passage: a document is found
if that passage is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels import thread_count
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.confidence import LowerBounds
from qsearch.retrieval.costs import Costs
from qsearch.retrieval.documents import DocumentRows, rows_for
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.graph import GraphSearch
from qsearch.retrieval.samples import Kinds, all_kinds
from qsearch.retrieval.seen import look
from qsearch.retrieval.tuning import Curve, Level, Point, Took, Tuning
from qsearch.store import Segment

__all__ = ["CONFIDENCE", "FROM_DOCUMENTS", "FROM_PASSAGES", "lacks_walks", "measure"]

_Times: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Milliseconds of a query alone, and of one in a batch, by number of candidates."""

_Timed: TypeAlias = Sequence[_Times]
"""With all threads, and with one where there are more."""

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
_WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Of beams."""

_ROWS_OF_BEAM = 200
"""A beam of more than a two-hundredth of the rows takes as long as an exact search."""
_PIECE_ROWS = 1 << 13


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
    graph = _graph_of(segments)
    widths = [] if graph is None else _widths(total)
    seen = look(
        segments,
        documents,
        exact,
        cascade,
        kinds,
        depths[-1],
        grid,
        lead_depths,
        advance,
        threads,
        graph,
        widths,
    )
    # The time hardly depends on k, and is measured for few of them.
    timed_depths = sorted({min(10, depths[-1]), depths[-1]})
    threads = threads or thread_count()
    costs = [Costs(segments, kinds.queries, some) for some in sorted({threads, 1}, reverse=True)]
    exact_times: dict[int, list[tuple[float, float]]] = {}
    behind_times: dict[int, list[tuple[float, float]]] = {}
    judge = _Judge(kinds, LowerBounds())
    by_cascade: dict[int, _Timed] = {}
    by_beams: dict[int, _Timed] = {}
    curves = []
    for k in depths:
        like = next(depth for depth in timed_depths if depth >= k)
        lead_depth = max(k, _LEAD_DEPTH)
        number = lead_depths.index(lead_depth)
        kept = _kept(seen.int8_ranks[:, :k], k)
        first = like not in by_cascade
        rows = rows_for(like, total) if documents.split else like
        if first:
            exact_times[like] = [one.exact(rows) for one in costs]
            by_cascade[like] = [one.candidates(like, kept, grid) for one in costs]
            middle = len(grid) // 2
            leads = seen.leads[number][middle]
            behind_times[like] = [one.behind(rows, kept, grid[middle], leads) for one in costs]
        found = [
            (seen.binary_ranks[:, :k] < candidates) & (seen.int8_ranks[:, :k] < kept)
            for candidates in grid
        ]
        points = judge.points(grid, 4 * k, found, (seen.leads[number],), by_cascade[like], k)
        beams: tuple[Point, ...] = ()
        beams_kept = 0
        if graph is not None and widths:
            beams_kept = _kept(seen.beam_ranks[-1, :, :k], k)
            if first:
                by_beams[like] = [
                    one.beams(graph, like, max(like, beams_kept), widths) for one in costs
                ]
            shown = (seen.heights[number].clip(min=0.0), seen.gaps[number].clip(min=0.0))
            least = lead_depth + lead_depth // 2
            found = [ranks[:, :k] < beams_kept for ranks in seen.beam_ranks]
            beams = judge.points(widths, least, found, shown, by_beams[like], k)
        if first:
            exact_times[like] = [one.exact(rows) for one in costs]  # again, see there
        took, took_by_one = _by_threads(exact_times[like])
        behind, behind_by_one = _by_threads(behind_times[like])
        curves.append(
            Curve(
                k,
                lead_depth,
                kept,
                took.batch,
                points,
                took.alone,
                beams,
                beams_kept,
                took_by_one,
                behind,
                behind_by_one,
            )
        )
    for one in costs:
        one.close()
    own_queries = int((kinds.kind < kinds.own).sum())
    strangers = len(kinds.queries) - own_queries
    return Tuning(measured_on, own_queries, strangers, documents.count, tuple(curves), threads)


def lacks_walks(tuning: Tuning) -> bool:
    """Whether walks were not measured, of an index of so many rows that they might pay.

    An earlier qsearch may have measured, or somebody stopped this one between making a graph and measuring.
    """
    return bool(_widths(tuning.documents)) and not any(curve.beams for curve in tuning.curves)


def _took(alone: float, batch: float) -> Took:
    return Took(round(float(alone), 5), round(float(batch), 5))


def _by_threads(times: Sequence[tuple[float, float]]) -> tuple[Took, Took | None]:
    """On all threads, and on one where there are more."""
    first, *rest = (_took(*one) for one in times)
    return first, rest[0] if rest else None


def _widths(rows: int) -> list[int]:
    """How wide beams may be that are worth their time."""
    return [one for one in _WIDTHS if one <= rows // _ROWS_OF_BEAM]


def _graph_of(segments: Sequence[Segment]) -> GraphSearch | None:
    """The graph, where there is one that recall can be measured of."""
    if any(one.graph_problem is not None or one.old_graph is not None for one in segments):
        return None
    return GraphSearch(segments) if any(one.graph is not None for one in segments) else None


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says what was measured of sample queries and strangers.

    Attributes:
        kinds: the queries.
        bounds: of means over samples of them.
    """

    kinds: Kinds
    bounds: LowerBounds

    def points(
        self,
        candidates: Sequence[int],
        least: int,
        found: Sequence[NDArray[np.bool_]],
        sure: Sequence[NDArray[np.float64]],
        times: _Timed,
        k: int,
    ) -> tuple[Point, ...]:
        """What each number of candidates gives.

        Args:
            candidates: the numbers.
            least: of these; fewer are not worth it.
            found: for each the (q, k) true neighbours that it finds.
            sure: (numbers, q) of each thing that tells queries that it serves from others.
            times: of each.
            k: documents wanted.
        """
        own = [self.kinds.kind == kind for kind in range(self.kinds.own)]
        points = []
        for number, (one, got) in enumerate(zip(candidates, found, strict=True)):
            if one < least:
                continue
            took, *took_by_one = (_took(alone[number], batch[number]) for alone, batch in times)
            recalls = got.mean(axis=1)
            lows = [self.bounds.lows(recalls[kind][:, None], k, CONFIDENCE)[0] for kind in own]
            points.append(
                Point(
                    one,
                    round(min(float(recalls[kind].mean()) for kind in own), 6),
                    took.batch,
                    _levels(recalls, [some[number] for some in sure], self.kinds, k, self.bounds),
                    took.alone,
                    round(max(0.0, float(min(lows))), 6),
                    *took_by_one,
                )
            )
        return tuple(points)


def _levels(
    recalls: NDArray[np.float64],
    sure: Sequence[NDArray[np.float64]],
    kinds: Kinds,
    k: int,
    bounds: LowerBounds,
) -> tuple[Level, ...]:
    """What levels give, by rising share of the sample that is answered exactly, and rising ``low``.

    Args:
        recalls: (q,) of each query.
        sure: (q,) of each thing that tells queries that are served from others: one, or two.
        kinds: the queries.
        k: documents wanted.
        bounds: of means over samples of them.
    """
    own = kinds.kind < kinds.own
    judged = [
        *((kinds.kind == kind, CONFIDENCE) for kind in range(kinds.own)),
        *((np.isin(kinds.kind, some), _CONFIDENCE_OF_STRANGERS) for some in kinds.judged),
    ]
    found = []
    for leasts in _ladders([some[own] for some in sure]):
        below = [some[:, None] < least for some, least in zip(sure, leasts, strict=True)]
        exact = np.any(below, axis=0)
        got = np.where(exact, 1.0, recalls[:, None])  # what is answered exactly loses nothing
        lows = np.min(
            [bounds.lows(got[some], k, confidence) for some, confidence in judged], axis=0
        )
        # What a higher level breaks a lower one cannot hold.
        lows = np.minimum.accumulate(lows[::-1])[::-1].clip(min=0.0)
        means = np.min([got[kinds.kind == kind].mean(axis=0) for kind in range(kinds.own)], axis=0)
        shares = exact[own].mean(axis=0)
        gaps = leasts[1] if len(leasts) > 1 else np.zeros(len(shares))
        for least, mean, low, share, gap in zip(
            leasts[0], means.round(6), lows.round(6), shares.round(6), gaps, strict=True
        ):
            found.append(Level(float(least), float(mean), float(low), float(share), float(gap)))
    found.sort(key=lambda level: (level.exact, -level.low))
    before = itertools.accumulate((level.low for level in found), max, initial=-1.0)
    return tuple(level for level, low in zip(found, before, strict=False) if level.low > low)


def _ladders(sure: Sequence[NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """Rising levels, (things, levels): what some share of the sample does not reach.

    Where there are two things, at the same share of both; of the second alone; and at a quarter of the
    share of the second: indexes differ in which of them tells more.

    Args:
        sure: (q,) of each thing, of the sample.
    """
    rising = np.sort(sure, axis=1)
    shares = np.array(_LEVELS)
    last = rising.shape[1] - 1
    for parts in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.25))[: 2 * len(sure) - 1]:
        places = [(part * shares * last).astype(int) for part in parts[: len(sure)]]
        some = [ranked[places_of] for ranked, places_of in zip(rising, places, strict=True)]
        yield np.unique(some, axis=1)


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
