"""What a way of searching answers to the queries of an evaluation: documents, and what it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.evaluation.ways import Way
from qsearch.options import TextSearchOptions, listed
from qsearch.retrieval import Plan, Request
from qsearch.retrieval.ranking import Ranking

if TYPE_CHECKING:
    from qsearch.keywords import TextAnswer
    from qsearch.snapshot import Snapshot, TextQuery

__all__ = ["Answers", "Queries", "answer", "checked", "plans"]


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """What is searched for.

    Attributes:
        ids: of the queries.
        texts: of each; ``None``: there are vectors only.
        vectors: (q, d) float32, checked; ``None`` where no way needs them.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...] | None
    vectors: NDArray[np.float32] | None

    def __len__(self) -> int:
        """How many."""
        return len(self.ids)

    def part(self, start: int, end: int) -> Queries:
        """Those from a number to another."""
        return self.chosen(range(len(self))[start:end])

    def chosen(self, numbers: Sequence[int]) -> Queries:
        """Those of some numbers."""
        return Queries(
            tuple(self.ids[one] for one in numbers),
            None if self.texts is None else tuple(self.texts[one] for one in numbers),
            None if self.vectors is None else self.vectors[list(numbers)],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The best documents for each of q queries, and what it took to find them.

    Attributes:
        positions: (q, k) int64 of documents, best first; −1 behind the last.
        scores: (q, k) float64, by which they are in this order, −inf behind the last; or (q, 0), where
            nobody wants them.
        certified: (q,) bool: whether it is proven that these are those of an exact search; of a hybrid
            search, that its part by meaning is.
        rows: (q,) int64: rows that were looked at, in all stages; 0 where words alone were.
        bytes: (q,) int64: bytes of codes and floats that were.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float64]
    certified: NDArray[np.bool_]
    rows: NDArray[np.int64]
    bytes: NDArray[np.int64]


def answer(
    snapshot: Snapshot,
    way: Way,
    queries: Queries,
    k: int,
    filters: dict[str, Any],
    more: int = 0,
    *,
    together: bool = False,
) -> Answers:
    """Search all queries at once.

    Args:
        snapshot: of the index.
        way: how, but not with a cross-encoder, which is for ``Index`` to ask.
        queries: with texts where the way has words.
        k: documents wanted.
        filters: ``FilterOptions``, those that are given.
        more: so many documents more are given, of a search by meaning, in the way that k is searched.
        together: whether they are searched as is fastest for so many, or each as if it were alone.

    Raises:
        QueryError: the options contradict each other, the filter is none, or there is no text index.
        IndexFormatError: there is no graph, or a file is damaged.
    """
    asked = checked(snapshot, way, k, filters)
    if asked.words.mode == "keywords":
        texts = queries.texts or ()
        found = snapshot.text_search.keywords(texts, asked.words, asked.meaning.allowed)
        return _of_words(found, k, None)
    vectors = queries.vectors
    if vectors is None:
        raise ValueError("a search by meaning needs vectors")
    meaning = asked.meaning
    if together:
        meaning = snapshot.searcher.for_together(meaning, len(vectors))
    if more:
        meaning = _with_more(snapshot, meaning, more)
    ranking = snapshot.searcher.search(vectors, meaning)
    if asked.words.mode == "hybrid":
        texts = queries.texts or ()
        both = snapshot.text_search.hybrid(
            texts, vectors, ranking, asked.words, asked.meaning.allowed
        )
        return _of_words(both, k, ranking)
    positions = snapshot.searcher.documents.documents(ranking.positions)
    return Answers(
        _padded(positions, k + more, -1),
        _padded(ranking.scores.astype(np.float64), k + more, -np.inf),
        ranking.certified,
        *_looked_at(ranking, len(queries)),
    )


def _with_more(snapshot: Snapshot, request: Request, more: int) -> Request:
    """The same search, but for how many documents it gives."""
    most = snapshot.documents
    if request.allowed is not None and request.allowed.documents is not None:
        most = request.allowed.documents
    k, plan = min(request.k + more, most), request.plan
    plan = replace(plan, candidates=max(plan.candidates, k), kept=max(plan.kept, k))
    return replace(request, k=k, plan=plan)


def checked(snapshot: Snapshot, way: Way, k: int, filters: Mapping[str, Any]) -> TextQuery:
    """What is asked for, before anything is encoded; a cross-encoder apart.

    Raises:
        QueryError: the options contradict each other, the filter is none, or there is no text index.
    """
    options = {**way.settled, **filters}
    for name in [one for one in listed(TextSearchOptions) if one.startswith("rerank")]:
        del options[name]
    return snapshot.text_query(k, options)


def plans(
    snapshot: Snapshot, way: Way, k: int, filters: Mapping[str, Any], queries: int
) -> tuple[Plan, Plan]:
    """How one query is searched by meaning, and each of so many together.

    Raises:
        QueryError: see ``checked``.
    """
    meaning = checked(snapshot, way, k, filters).meaning
    return meaning.plan, snapshot.searcher.for_together(meaning, queries).plan


def _of_words(answers: Sequence[TextAnswer], k: int, ranking: Ranking | None) -> Answers:
    count = len(answers)
    positions = np.full((count, k), -1, dtype=np.int64)
    scores = np.full((count, k), -np.inf)
    for number, one in enumerate(answers):
        positions[number, : len(one.found)] = [found.position for found in one.found]
        scores[number, : len(one.found)] = [found.score for found in one.found]
    if ranking is None:
        none = np.zeros(count, dtype=np.int64)
        return Answers(positions, scores, np.ones(count, dtype=np.bool_), none, none)
    return Answers(positions, scores, ranking.certified, *_looked_at(ranking, count))


def _looked_at(ranking: Ranking, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, size = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for stage in ranking.stages:
        rows, size = rows + stage.rows, size + stage.bytes
    return rows, size


def _padded(array: NDArray[Any], k: int, fill: float) -> NDArray[Any]:
    missing = k - array.shape[1]
    return np.pad(array, ((0, 0), (0, missing)), constant_values=fill) if missing > 0 else array
