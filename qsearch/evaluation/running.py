"""One evaluation while it runs: encode, search in every way, time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import QueryError
from qsearch.evaluation.answers import Answers, Queries, answer, plans
from qsearch.evaluation.given import Asked
from qsearch.evaluation.measured import WayResult
from qsearch.evaluation.measures import has_relevant, judged_at, measures_at, recall_at_k
from qsearch.evaluation.timing import BATCH, ROUNDS, Times, time_in_turns
from qsearch.evaluation.ways import EXACT, Way
from qsearch.indexing import Progress
from qsearch.retrieval import check_queries

if TYPE_CHECKING:
    from qsearch.documents import Judgments
    from qsearch.index import Index
    from qsearch.snapshot import Snapshot

__all__ = ["EvaluationRun", "named"]

_AT_A_TIME = BATCH
_ENCODED_ALONE = 30


@dataclass(slots=True, eq=False)
class EvaluationRun:
    """One evaluation while it runs; what it found so far can be asked for at any time."""

    index: Index
    snapshot: Snapshot
    asked: Asked
    ways: Sequence[Way]
    depths: tuple[int, ...]
    filters: dict[str, Any]
    judgments: Judgments
    timed: bool
    progress: Progress
    encoding: Times = field(default_factory=Times)
    queries: Queries | None = None
    truth: Answers | None = None
    found: dict[str, dict[int, Answers]] = field(default_factory=dict)
    batched: dict[str, Answers] = field(default_factory=dict)
    times: list[Times] = field(default_factory=list)

    def search(self) -> None:
        """Encode, and search in every way."""
        queries = self.queries = self._encoded()
        deepest = self.depths[-1]
        compared = queries.vectors is not None
        known = sum(not way.options for way in self.ways)  # at the deepest k
        apart = [way for way in self.ways if compared and self._is_batched(way, len(queries))]
        searches = len(self.ways) * len(self.depths) + (1 - known if compared else 0) + len(apart)
        self.progress.begin("search", len(queries) * searches, "queries")
        if compared:
            self.truth = self._answers(Way(EXACT), queries, deepest)
        for way in self.ways:
            answers = {deepest: self.truth} if self.truth is not None and not way.options else {}
            for k in self.depths:
                answers[k] = answers.get(k) or self._answers(way, queries, k)
            self.found[way.name] = {k: answers[k] for k in self.depths}
            if way in apart:
                self.batched[way.name] = self._answers(way, queries, self.depths[0], together=True)
        self.progress.end()

    def time(self) -> None:
        """Time every way, where that is wanted."""
        if self.queries is None or not self.timed:
            return
        own = self.queries
        if self.asked.groups:
            own = own.chosen(np.flatnonzero(self.asked.groups[0].members).tolist())
        k = self.depths[0]
        searches = [self._search(way, k, together=True) for way in self.ways]
        self.progress.begin("time", ROUNDS * len(searches), "rounds")
        for times in time_in_turns(searches, own):
            self.times = times
            self.progress.advance(1)
        self.progress.end()

    def results(self) -> list[WayResult]:
        """Of the ways that were searched."""
        ids = self.asked.ids
        measures = measures_at(self.depths)
        found = []
        last = self.depths[-1]
        self.progress.begin("measure", len(self.found), "ways")
        ranked_in = {k: self._documents(k) for k in (self.depths if self.judgments else [last])}
        for number, way in enumerate(self.ways):
            answers = self.found.get(way.name)
            if answers is None:
                continue
            ranked = {k: of_ways[way.name] for k, of_ways in ranked_in.items()}
            values = judged_at(ranked, self.judgments, measures, ids) if self.judgments else {}
            times = self.times[number] if self.times else Times()
            batched = self.batched.get(way.name)
            together = None if batched is None else self._recall(way, {self.depths[0]: batched})
            found.append(
                WayResult(
                    way,
                    answers,
                    ranked,
                    self._recall(way, answers),
                    values,
                    self._unjudged(ranked.get(self.depths[0], {})),
                    times,
                    batched,
                    None if together is None else together[self.depths[0]],
                )
            )
            self.progress.advance(1)
        self.progress.end()
        return found

    def _encoded(self) -> Queries:
        asked = self.asked
        vectors = asked.vectors
        if vectors is not None:
            vectors = check_queries(vectors, self.snapshot.dimensions)
        elif any(way.mode != "keywords" for way in self.ways) and asked.texts is not None:
            encoder = self.index.encoder
            parts = []
            self.progress.begin("encode", len(asked.texts), "queries")
            for start in range(0, len(asked.texts), _AT_A_TIME):
                some = asked.texts[start : start + _AT_A_TIME]
                parts.append(check_queries(encoder.encode_queries(some), self.snapshot.dimensions))
                self.progress.advance(len(some))
            self.progress.end()
            vectors = np.concatenate(parts)
            if self.timed:
                self._time_encoder(encoder.encode_queries, asked.texts[:_ENCODED_ALONE])
        return Queries(asked.ids, asked.texts, vectors)

    def _time_encoder(
        self, encode: Callable[[Sequence[str]], object], texts: Sequence[str]
    ) -> None:
        whole = Queries(tuple(texts), tuple(texts), None)
        for times in time_in_turns([lambda some: encode(some.texts or ())], whole):
            self.encoding = times[0]

    def _search(
        self, way: Way, k: int, more: int = 0, *, together: bool = False
    ) -> Callable[[Queries], Answers]:
        if way.options.get("rerank") is None:
            return lambda queries: answer(
                self.snapshot, way, queries, k, self.filters, more, together=together
            )
        return lambda queries: _reranked(self.index, self.snapshot, way, queries, k, self.filters)

    def _is_batched(self, way: Way, queries: int) -> bool:
        """Whether a batch is searched in another way than one query: either reaches the recall."""
        if way.options.get("recall") is None or way.options.get("rerank") is not None:
            return False
        together = min(queries, BATCH)
        alone, batch = plans(self.snapshot, way, self.depths[0], self.filters, together)
        return not alone.answers_as(batch)

    def _answers(self, way: Way, queries: Queries, k: int, *, together: bool = False) -> Answers:
        left_out = self.asked.left_out
        more = 0 if left_out is None else left_out.shape[1]
        search = self._search(way, k, more, together=together)
        parts = []
        for start in range(0, len(queries), _AT_A_TIME):
            some = queries.part(start, start + _AT_A_TIME)
            with named(way, k):
                parts.append(search(some))
            self.progress.advance(len(some))
        positions = np.concatenate([one.positions for one in parts])
        scores = np.concatenate([one.scores for one in parts])
        if left_out is not None:
            out = (positions[:, :, None] == left_out[:, None, :]).any(axis=2) | (positions < 0)
            kept = np.argsort(out, axis=1, kind="stable")[:, :k]
            positions = np.take_along_axis(np.where(out, -1, positions), kept, axis=1)
            scores = np.take_along_axis(np.where(out, -np.inf, scores), kept, axis=1)
        return Answers(
            positions,
            scores,
            np.concatenate([one.certified for one in parts]),
            np.concatenate([one.rows for one in parts]),
            np.concatenate([one.bytes for one in parts]),
        )

    def _recall(self, way: Way, answers: Mapping[int, Answers]) -> dict[int, NDArray[np.float64]]:
        truth = self.truth
        if truth is None:
            return {k: np.full(len(self.asked.ids), np.nan) for k in answers}
        return {
            k: recall_at_k(
                one.positions,
                truth.positions,
                k,
                (one.scores, truth.scores) if way.scores_are_cosines else None,
            )
            for k, one in answers.items()
        }

    def _documents(self, k: int) -> dict[str, dict[str, list[str]]]:
        """By way and query, ids of the documents that a search for k finds, best first."""
        last = {way: answers[k].positions for way, answers in self.found.items()}
        if not last:
            return {}
        every = np.unique(np.concatenate([one.ravel() for one in last.values()]))
        names = self.snapshot.ids(every)
        return {
            way: {
                query: [name for name in row if name is not None]
                for query, row in zip(
                    self.asked.ids, names[np.searchsorted(every, positions)], strict=True
                )
            }
            for way, positions in last.items()
        }

    def _unjudged(self, ranked: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
        """The share of the first k that nobody judged, of the queries that measures are of."""
        found = np.full(len(self.asked.ids), np.nan)
        for number, query in enumerate(self.asked.ids):
            best = ranked.get(query, ())[: self.depths[0]]
            of_query = self.judgments.get(query, {})
            if best and has_relevant(of_query):
                found[number] = sum(one not in of_query for one in best) / len(best)
        return found


def _reranked(
    index: Index, snapshot: Snapshot, way: Way, queries: Queries, k: int, filters: dict[str, Any]
) -> Answers:
    """As ``answer``, by way of the texts that a cross-encoder reads."""
    results = index.search_batch(queries.texts or (), k, **{**way.options, **filters})
    place = snapshot.catalog.positions_of(list({hit.id for result in results for hit in result}))
    positions = np.full((len(results), k), -1, dtype=np.int64)
    scores = np.full((len(results), k), -np.inf)
    for number, result in enumerate(results):
        positions[number, : len(result)] = [place[hit.id] for hit in result]
        scores[number, : len(result)] = [hit.rerank_score for hit in result]
    none = np.zeros(len(results), dtype=np.int64)
    certified = np.array([result.certified for result in results], dtype=np.bool_)
    return Answers(positions, scores, certified, none, none)


@contextmanager
def named(way: Way, k: int) -> Iterator[None]:
    """Errors say of which way they are."""
    try:
        yield
    except QueryError as error:
        hint = ""
        if "candidates" in way.options and 0 < way.options["candidates"] < k:
            hint = "; measure it at a smaller k"
        raise QueryError(f"the way {way.name} at k = {k}: {error}{hint}") from error
