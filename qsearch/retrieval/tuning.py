"""Measures, on an index, how many candidates reach which recall, and picks from what was measured.

For every sample query the true neighbours are found by exact search, and for each of them the number
of rows with a smaller Hamming distance, and with a higher int8 score. A neighbour is found by the
cascade if these ranks are below the numbers of candidates that the two stages pass on, so one pass
gives the recall at every number of candidates.

Queries are not documents: they lie farther from all of them, and their neighbours stand farther behind
by binary codes. Where no sample of queries is given, documents serve, and beside them the middles between
two documents; the curve takes the worse of the two. On 100,000 real texts 0.99 takes 364 candidates for
documents, 567 for real queries, and 882 for such middles.

Where rows are passages, the true neighbours are documents, each by its best passage: a document is found
if that passage is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_query_codes
from qsearch.kernels import int8_gather
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.documents import DocumentRows, rank_documents, rows_for
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.ranking import unit_queries
from qsearch.store import Segment

__all__ = ["CONFIDENCE", "FROM_DOCUMENTS", "Curve", "Plan", "Point", "Tuning", "measure"]

FROM_DOCUMENTS = "documents and middles between two, each left out of its own results"

FROM_PASSAGES = "passages and middles between two, their documents left out of the results"

CONFIDENCE = 0.95
_JUDGED_QUERIES = 100
"""A recall that was asked for is to be reached by the mean over so many queries, not only by the mean
over all that there may ever be."""

_UNSEEN_LOSS = 2
"""Neighbours that a query may lose which the sample has not shown."""

_DRAWS = 4000

_DEPTHS = (1, 3, 10, 30, 100)
_QUERIES = 500
_MAX_SHARE = 8
"""More than an eighth of the rows as candidates costs more than an exact search."""

_MAX_CANDIDATES = 1 << 14
_PIECE_ROWS = 1 << 13
_TIMED_QUERIES = 64
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One measured number of candidates.

    Attributes:
        candidates: rows that the binary codes pass on, of each segment.
        recall: mean over the sample.
        low: what the mean over 100 further queries reaches with 95% confidence.
        milliseconds: for one query, in batches, on the machine that measured.
    """

    candidates: int
    recall: float
    low: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Recall at one depth.

    Attributes:
        k: documents wanted.
        kept: rows that the int8 codes pass on.
        exact_milliseconds: for one exact query, in batches, on the same machine.
        points: by rising number of candidates.
    """

    k: int
    kept: int
    exact_milliseconds: float
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search so that a recall is reached.

    Attributes:
        exact: whether by exact search; then the rest does not matter.
        candidates: see ``Cascade.search``.
        kept: see there.
        recall: expected, or 1.
        reason: why exact, or what the numbers rest on; a phrase for people.
    """

    exact: bool
    candidates: int
    kept: int
    recall: float
    reason: str


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured on an index.

    Attributes:
        measured_on: what the sample queries were; for people.
        queries: how many.
        documents: how many the index held then.
        curves: one for each depth.
    """

    measured_on: str
    queries: int
    documents: int
    curves: tuple[Curve, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tuning:
        """Undo ``to_json``."""
        return cls(
            values["measured_on"],
            values["queries"],
            values["documents"],
            tuple(
                Curve(
                    curve["k"],
                    curve["kept"],
                    curve["exact_milliseconds"],
                    tuple(Point(**point) for point in curve["points"]),
                )
                for curve in values["curves"]
            ),
        )

    def plan(self, recall: float, k: int) -> Plan:
        """The cheapest way that reaches ``recall`` for the first k, with confidence.

        Args:
            recall: between 0 and 1.
            k: documents wanted.
        """
        above = next((curve for curve in self.curves if curve.k >= k), None)
        if above is None:
            return Plan(True, 0, 0, 1.0, f"recall was not measured for k = {k}")
        # Between two depths both must reach it: the mean falls with k, its spread rises as k falls.
        curves = [above]
        if above.k > k:
            curves += [curve for curve in self.curves if curve.k < k][-1:]
        points = [_first_sure(curve, recall) for curve in curves]
        sure = [point for point in points if point is not None]
        if len(sure) < len(points):
            return Plan(True, 0, 0, 1.0, f"no number of candidates that pays is sure of {recall:g}")
        if max(point.milliseconds for point in sure) >= above.exact_milliseconds:
            return Plan(True, 0, 0, 1.0, "an exact search is as fast here")
        candidates = max(k, *(point.candidates for point in sure))
        kept = max(k, min(max(curve.kept for curve in curves), candidates))
        expected = min(point.recall for point in sure)
        return Plan(False, candidates, kept, expected, f"measured on {self.measured_on}")


def _first_sure(curve: Curve, recall: float) -> Point | None:
    return next((point for point in curve.points if point.low >= recall), None)


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
    total = documents.rows
    most = min(_MAX_CANDIDATES, total // _MAX_SHARE)
    depths = [k for k in _DEPTHS if min(most, documents.count) >= 4 * max(k, 10)]
    if not depths:
        return None
    # Measuring must not need more memory than building did: the index is gone through in pieces, and
    # the memory behind each is let go of again.
    pieces = [piece for segment in segments for piece in segment.pieces(_PIECE_ROWS)]
    own = None
    groups = np.zeros(0 if queries is None else len(queries), dtype=np.int64)
    if queries is None:
        if documents.split:
            measured_on = FROM_PASSAGES
        queries, own, groups = _made_of_documents(pieces, total)
    exact, cascade = ExactSearch(pieces, release=True), Cascade(segments)
    deepest = depths[-1]
    binary_ranks = np.empty((len(queries), deepest), dtype=np.int64)
    int8_ranks = np.empty((len(queries), deepest), dtype=np.int64)
    step = 32
    for start in range(0, len(queries), step):
        some = queries[start : start + step]
        these = slice(start, start + len(some))
        left_out = np.full((len(some), 0), -1) if own is None else own[these]
        truth = _true_rows(documents, exact, some, deepest, left_out, threads)
        binary_ranks[these], int8_ranks[these] = _stage_ranks(
            segments, pieces, cascade, some, truth, most, _all_rows(documents, left_out), threads
        )
        advance(len(some))
    timed = queries[:_TIMED_QUERIES]
    # The time hardly depends on k, and is measured for few of them.
    timed_depths = sorted({min(10, deepest), deepest})
    exact_times = {
        k: exact.milliseconds(timed, rows_for(k, total) if documents.split else k, threads)
        for k in timed_depths
    }
    times: dict[tuple[int, int], float] = {}
    curves = []
    for k in depths:
        like = next(depth for depth in timed_depths if depth >= k)
        kept = _kept(int8_ranks[:, :k], k)
        points: list[Point] = []
        for candidates in _grid(4 * like, most):
            found = (binary_ranks[:, :k] < candidates) & (int8_ranks[:, :k] < kept)
            recalls = [found[groups == group].mean(axis=1) for group in np.unique(groups)]
            recall = min(float(of_group.mean()) for of_group in recalls)
            if points and round(recall, 6) == points[-1].recall:
                continue
            low = min(_low(of_group, k) for of_group in recalls)
            if (like, candidates) not in times:
                times[like, candidates] = _cascade_time(
                    cascade, pieces, timed, like, candidates, kept, threads
                )
            milliseconds = times[like, candidates]
            points.append(
                Point(candidates, round(recall, 6), round(low, 6), round(milliseconds, 5))
            )
            if milliseconds > 1.5 * exact_times[like]:
                break  # more candidates will not become faster
        curves.append(Curve(k, kept, round(exact_times[like], 5), tuple(points)))
    return Tuning(measured_on, len(queries), documents.count, tuple(curves))


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


def _made_of_documents(
    pieces: Sequence[Segment], total: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Documents, evenly spread, and middles between them; (q, 2) positions they are made of; groups."""
    count = min(_QUERIES // 2, total)
    positions = np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))
    chosen = []
    for piece in pieces:
        here = positions - piece.first_row
        chosen.append(piece.vectors[here[(here >= 0) & (here < piece.rows)]])
        piece.release()
    rows = np.concatenate(chosen)
    order = np.random.default_rng(0).permutation(len(rows))
    middles = rows + rows[order]
    usable = np.abs(middles).max(axis=1) > 0.01  # two opposite documents have no middle
    own = np.concatenate(
        [
            np.stack([positions, np.full(len(positions), -1)], axis=1),
            np.stack([positions, positions[order]], axis=1)[usable],
        ]
    )
    groups = np.repeat([0, 1], [len(rows), int(usable.sum())])
    return np.concatenate([rows, middles[usable]]), own, groups


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
        np.concatenate([documents.rows_of(int(one)) for one in np.unique(some[some >= 0])])
        for some in owners
    ]
    filled = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for place, some in zip(filled, rows, strict=True):
        place[: len(some)] = some
    return filled


def _stage_ranks(
    segments: Sequence[Segment],
    pieces: Sequence[Segment],
    cascade: Cascade,
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
    most: int,
    left_out: NDArray[np.int64],
    threads: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks, from 0, of the rows ``truth`` among the candidates of each stage, without ``left_out``.

    A row that is not among ``most`` candidates has a rank that no number of them reaches.
    """
    depth = truth.shape[1]
    units = unit_queries(queries)
    chosen = cascade.choose(units, most, threads)
    positions = np.concatenate(
        [rows + segment.first_row for rows, segment in zip(chosen, segments, strict=True)],
        axis=1,
    )
    scores = _int8_scores(pieces, units, positions, threads)
    places = np.concatenate([np.arange(rows.shape[1]) for rows in chosen])
    segments_of_places = np.repeat(np.arange(len(chosen)), [rows.shape[1] for rows in chosen])
    never = np.iinfo(np.int64).max
    binary_ranks = np.full(truth.shape, never)
    int8_ranks = np.full(truth.shape, never)
    for i in range(len(queries)):
        order = np.argsort(positions[i])
        by_score = np.empty(len(order), dtype=np.int64)
        by_score[np.argsort(-scores[i], kind="stable")] = np.arange(len(order))
        wanted = np.concatenate([truth[i], left_out[i]])
        found = np.searchsorted(positions[i], wanted, sorter=order).clip(max=len(order) - 1)
        at = order[found]
        there = positions[i, at] == wanted
        segment_of = segments_of_places[at]
        for ranks, of_stage in ((binary_ranks, places), (int8_ranks, by_score)):
            rank = np.where(there, of_stage[at], never)
            # What is left out of the results does not count among the candidates before them.
            earlier = rank[depth:, None] < rank[None, :depth]
            if of_stage is places:  # which are counted in each segment
                earlier &= segment_of[depth:, None] == segment_of[None, :depth]
            ranks[i] = np.where(there[:depth], rank[:depth] - earlier.sum(axis=0), never)
    return binary_ranks, int8_ranks


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
    """Numbers of candidates, each about a quarter more than the one before."""
    steps = max(1, math.ceil(math.log(last / first) / math.log(1.25)))
    return sorted({round(first * (last / first) ** (i / steps)) for i in range(steps + 1)})


def _low(recalls: NDArray[np.float64], k: int) -> float:
    """What the mean recall of ``_JUDGED_QUERIES`` further queries reaches with ``CONFIDENCE``.

    The quantile of a Bayesian bootstrap (Rubin, The Bayesian bootstrap, Annals of Statistics 9, 1981):
    shares of the losses are drawn from a Dirichlet distribution over the sample, then so many queries
    with these shares. A query that loses more than any in the sample, or ``_UNSEEN_LOSS`` neighbours,
    is counted as if it had been seen once: a sample without losses has seen only its own queries.
    No normal distribution: losses are rare and come several at once.

    Args:
        recalls: (q,) float64, of each query of the sample.
        k: neighbours of each.
    """
    unseen = max(float(1.0 - recalls.min(initial=1.0)), min(1.0, _UNSEEN_LOSS / k))
    losses, counts = np.unique(np.append(1.0 - recalls, unseen), return_counts=True)
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(counts, size=_DRAWS)
    drawn = generator.multinomial(_JUDGED_QUERIES, shares) @ losses / _JUDGED_QUERIES
    return 1.0 - float(np.quantile(drawn, CONFIDENCE, method="higher"))


def _milliseconds(search: Callable[[], object], queries: int) -> float:
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        search()
        times.append(time.perf_counter() - started)
    return 1000.0 * min(times) / queries
