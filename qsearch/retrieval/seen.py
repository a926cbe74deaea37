"""What is found out about sample queries: where their neighbours stand by the codes, how sure these were.

How sure the codes were, a search by the cascade sees in the query's lead (see ``lead``). A walk sees two
things. Its *height* is the middle one of the best cosines that it found (k, and at least ten): of a query
that is far from all documents it is low. Its *gap* is how far below that the beam ended. A walk leaves what
lies below its beam's end; where that is right below the best, as for a query that is as near to thousands,
much that is as near was left, or not met. Not the mean of the best: a document that is the query itself
would lift it.

The index is gone through in pieces, and the memory behind each is let go of again: to measure must not need
more memory than to build did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_query_codes
from qsearch.kernels import int8_gather, middle_scores
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.documents import DocumentRows, rank_documents, rows_for
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.graph import GraphSearch
from qsearch.retrieval.lead import leads
from qsearch.retrieval.ranking import BATCH_PLACES, unit_queries
from qsearch.retrieval.samples import Kinds
from qsearch.store import Segment

__all__ = ["Seen", "look"]

_QUERIES_AT_A_TIME = 96
_WHOLE = 4.0
"""More than two cosines can be apart."""

_GATHERED_ROWS = 1 << 16
"""Rows of a piece where few of them are looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was found out about q queries.

    Attributes:
        binary_ranks: (q, deepest) ranks of the true neighbours by binary codes, in their segment.
        int8_ranks: (q, deepest) by int8 codes among the candidates.
        leads: (lead depths, grid, q).
        beam_ranks: (widths, q, deepest) by int8 codes among what beams end with.
        heights: (lead depths, widths, q): the middle one of so many best cosines there, by int8 codes.
        gaps: (lead depths, widths, q): how far below these the beams ended; ``_WHOLE`` where every row was
            looked at.
    """

    binary_ranks: NDArray[np.int64]
    int8_ranks: NDArray[np.int64]
    leads: NDArray[np.float64]
    beam_ranks: NDArray[np.int64]
    heights: NDArray[np.float64]
    gaps: NDArray[np.float64]


def look(
    segments: Sequence[Segment],
    documents: DocumentRows,
    exact: ExactSearch,
    cascade: Cascade,
    kinds: Kinds,
    deepest: int,
    grid: Sequence[int],
    lead_depths: Sequence[int],
    advance: Callable[[int], None],
    threads: int | None,
    graph: GraphSearch | None = None,
    widths: Sequence[int] = (),
) -> Seen:
    """Go through the index with all queries, by the cascade and, where there is one, by the graph."""
    count = len(kinds.queries)
    seen = Seen(
        np.empty((count, deepest), dtype=np.int64),
        np.empty((count, deepest), dtype=np.int64),
        np.empty((len(lead_depths), len(grid), count)),
        np.empty((len(widths), count, deepest), dtype=np.int64),
        np.empty((len(lead_depths), len(widths), count)),
        np.empty((len(lead_depths), len(widths), count)),
    )
    step = min(_QUERIES_AT_A_TIME, max(1, BATCH_PLACES // (grid[-1] * len(segments))))
    larger = [piece for segment in segments for piece in segment.pieces(_GATHERED_ROWS)]
    for start in range(0, count, step):
        these = slice(start, min(start + step, count))
        some, left_out = kinds.queries[these], kinds.left_out[these]
        truth = _true_rows(documents, exact, some, deepest, left_out, threads)
        every = _all_rows(documents, left_out)
        candidates = _candidates(segments, larger, cascade, some, grid[-1], threads)
        binary, int8 = candidates.ranks(truth, every)
        seen.binary_ranks[these], seen.int8_ranks[these] = binary, int8
        scores = candidates.scores_without(every)
        seen.leads[:, :, these] = leads(scores, candidates.places, grid, lead_depths)
        if graph is not None:
            for number, width in enumerate(widths):
                ranks, best, ends = _by_graph(graph, some, width, threads, truth, every)
                seen.beam_ranks[number, these] = ranks
                there = np.isfinite(best).sum(axis=1)
                heights = np.array([middle_scores(best, there, one) for one in lead_depths])
                seen.heights[:, number, these] = heights
                with np.errstate(invalid="ignore"):  # where nothing was found
                    gaps = np.nan_to_num(heights - ends, nan=0.0, posinf=_WHOLE, neginf=0.0)
                seen.gaps[:, number, these] = gaps
            seen.beam_ranks[:, these][:, ~graph.walks(truth)] = 0  # others are searched exactly
        advance(len(some))
    return seen


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
            rows, numbers = np.unique(np.concatenate([truth[i], left_out[i]]), return_inverse=True)
            slots = np.searchsorted(rows, positions).clip(max=len(rows) - 1)
            found = np.flatnonzero(rows[slots] == positions)
            standing = np.full(len(rows), -1)
            standing[slots[found]] = found
            at = standing[numbers]
            there = at >= 0
            segment_of = self.segments[at]
            by_score = _ranks(self.scores[i], at)
            for ranks, of_stage in ((binary_ranks, self.places[at]), (int8_ranks, by_score)):
                rank = np.where(there, of_stage, never)
                # What is left out of the results does not count among the candidates before them.
                earlier = rank[depth:, None] < rank[None, :depth]
                if ranks is binary_ranks:  # which are counted in each segment
                    earlier &= segment_of[depth:, None] == segment_of[None, :depth]
                ranks[i] = np.where(there[:depth], rank[:depth] - earlier.sum(axis=0), never)
        return binary_ranks, int8_ranks


def _ranks(scores: NDArray[np.float32], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranks, from 0, that the scores at some places have among all, equal ones by place."""
    rising = np.sort(scores)
    some = scores[at]
    above = len(scores) - np.searchsorted(rising, some, side="right")
    equal = len(scores) - above - np.searchsorted(rising, some, side="left")
    for number in np.flatnonzero(equal > 1):
        place = at[number]
        above[number] += np.count_nonzero(scores[:place] == some[number])
    return above


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


def _by_graph(
    graph: GraphSearch,
    queries: NDArray[np.float32],
    width: int,
    threads: int | None,
    truth: NDArray[np.int64],
    left_out: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Ranks of the rows ``truth`` by int8 codes among what beams end with; scores, best first; the ends.

    Ranks and scores are without ``left_out``; a row that is not there has a rank that no number reaches.
    """
    positions, scores, ends = graph.found(queries, width, threads)
    scores = np.where(_among(positions, left_out), np.float32(-np.inf), scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    same = np.take_along_axis(positions, order, axis=1)[:, :, None] == truth[:, None, :]
    ranks = np.where(same.any(axis=1), same.argmax(axis=1), np.iinfo(np.int64).max)
    return ranks, np.take_along_axis(scores, order, axis=1), ends


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
