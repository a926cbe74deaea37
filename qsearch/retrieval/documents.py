"""From rows to documents, where the rows are passages and several belong to one document.

A document's score is that of its best passage. Rows come ranked, so the first k documents among them are
the k best as soon as there are k: every passage of another document ranks behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.ranking import Ranking, Stage, add_stages
from qsearch.store import Segment

__all__ = ["DocumentRows", "rank_documents", "rows_for"]

_FIRST = 3
_MORE = 4
"""So many times k rows are ranked at first, and so many times as many where they hold too few
documents. More rows cost little: those of a few documents lie at the front."""

_BATCH_PLACES = 1 << 22
"""Queries times rows at a time: bounds memory."""


class DocumentRows:
    """Which rows belong to which documents.

    Attributes:
        split: whether rows are passages; else each row is a document.
        count: documents in the index that were not deleted.
        rows: rows of these.
    """

    def __init__(self, segments: Sequence[Segment], count: int | None = None) -> None:
        """Take all segments, whole and in order, and how many documents live, where somebody knows."""
        self._segments = list(segments)
        self.split = any(one.passages is not None for one in segments)
        self.rows = Allowed.living(segments).rows
        self._plain = not self.split and all(
            one.positions is None and one.first_row == one.first_document for one in segments
        )
        if count is None:
            count = sum(map(_living_documents, segments)) if self.split else self.rows
        self.count = count

    def documents(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the documents that rows belong to.

        Args:
            positions: any shape; −1 for none.

        Returns:
            In the same shape; −1 for none.
        """
        found = positions.copy()
        if self._plain:
            return found
        for segment, here, rows in self._parts(positions):
            found[here] = segment.documents_of(rows)
        return found

    def spans(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Begin and end, in characters, of the passages that rows are; 0 and 0 for none.

        Args:
            positions: any shape; −1 for none. Only where rows are passages.

        Returns:
            int64, with one more axis, of two.
        """
        found = np.zeros((*positions.shape, 2), dtype=np.int64)
        for segment, here, rows in self._parts(positions):
            if segment.passages is not None:
                found[here] = segment.passages[rows, 1:]
        return found

    def _parts(
        self, positions: NDArray[np.int64]
    ) -> Iterator[tuple[Segment, NDArray[np.bool_], NDArray[np.int64]]]:
        """Each segment, which positions are in it, and their rows there."""
        for segment in self._segments:
            rows = positions - segment.first_row
            here = (rows >= 0) & (rows < segment.rows)
            yield segment, here, rows[here]

    def rows_of(self, document: int) -> NDArray[np.int64]:
        """Rows, counted over all segments, of the document at a position."""
        for segment in reversed(self._segments):
            if segment.first_document > document:
                continue
            first, end = segment.rows_of(document)
            if first < end:
                return np.arange(first, end, dtype=np.int64) + segment.first_row
        raise ValueError(f"there is no document {document}")


def _living_documents(segment: Segment) -> int:
    """How many documents of a segment of passages live."""
    living = segment.living
    if living is None or segment.passages is None:
        return segment.rows if segment.passages is None else int(segment.passages[-1, 0]) + 1
    return len(np.unique(segment.passages[living.indices(), 0]))


def rows_for(k: int, rows: int) -> int:
    """How many rows to rank at first where k documents are wanted."""
    return min(rows, _FIRST * k)


def rank_documents(
    rank_rows: Callable[[NDArray[np.float32], int], Ranking],
    documents: DocumentRows,
    queries: NDArray[np.float32],
    k: int,
    first: int,
    most: int,
) -> Ranking:
    """The best row of each of the k best documents, for every query.

    Args:
        rank_rows: ranks so many rows for some queries: more rows when asked for more, up to all.
        documents: of the index.
        queries: (q, d) float32, checked.
        k: documents wanted, at most those there are.
        first: rows to ask for at first, at least k.
        most: rows that may be asked for: all that are allowed.

    Returns:
        (q, k) positions of rows, one for each document.
    """
    count = len(queries)
    positions = np.full((count, k), -1, dtype=np.int64)
    scores = np.full((count, k), -np.inf, dtype=np.float32)
    certified = np.zeros(count, dtype=np.bool_)
    stages: dict[str, Stage] = {}
    waiting = np.arange(count)
    wanted = first
    while len(waiting):
        short = []
        step = max(1, _BATCH_PLACES // wanted)
        for start in range(0, len(waiting), step):
            some = waiting[start : start + step]
            ranking = rank_rows(queries[some], wanted)
            add_stages(stages, ranking.stages, some, count)
            owners = documents.documents(ranking.positions)
            for query, owner, row, score, proven in zip(
                some, owners, ranking.positions, ranking.scores, ranking.certified, strict=True
            ):
                best = _first_of_each(owner, k)
                if len(best) < k and wanted < most:
                    short.append(query)
                    continue
                positions[query, : len(best)] = row[best]
                scores[query, : len(best)] = score[best]
                certified[query] = proven
        waiting = np.array(short, dtype=np.int64)
        wanted = min(most, _MORE * wanted)
    return Ranking(positions, scores, certified, tuple(stages.values()))


def _first_of_each(owners: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Where the first k different documents come first in a ranking."""
    _, first = np.unique(owners, return_index=True)
    first.sort()
    best: NDArray[np.int64] = first[owners[first] >= 0][:k]
    return best
