"""The evaluation of an index: search, compare with exact search and with judgments, time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import QueryError
from qsearch.evaluation.answers import Answers, Queries, answer, checked
from qsearch.evaluation.evaluation import Evaluation
from qsearch.evaluation.given import (
    SAMPLE,
    Asked,
    checked_depths,
    given_judgments,
    given_queries,
    matched,
    opened,
    sampled,
)
from qsearch.evaluation.machine import described_machine, memory_of_process
from qsearch.evaluation.measured import WayResult
from qsearch.evaluation.measures import judged, measures_at, recall_at_k
from qsearch.evaluation.timing import ROUNDS, Times, time_in_turns
from qsearch.evaluation.ways import EXACT, Way, known_ways, named_way
from qsearch.indexing import Progress, index_sizes
from qsearch.indexing.report import Silent
from qsearch.options import FilterOptions, settled
from qsearch.retrieval import check_queries

if TYPE_CHECKING:
    from qsearch.documents import Judgments
    from qsearch.index import Index
    from qsearch.snapshot import Snapshot

__all__ = ["evaluate"]

_AT_A_TIME = 64
_ENCODED_ALONE = 30


def evaluate(
    index: Index,
    queries: Any = None,
    qrels: Any = None,
    *,
    vectors: Any = None,
    ways: Iterable[str | Way] | Mapping[str, Mapping[str, Any]] | None = None,
    k: int | Iterable[int] = (10, 100),
    sample: int | None = None,
    timed: bool = True,
    keep_interrupted: bool = False,
    progress: Progress | None = None,
    **filters: Unpack[FilterOptions],
) -> Evaluation:
    """Measure how good the answers of an index are, and what they cost, way by way.

    Args:
        index: open.
        queries: a file (``qsearch query --queries`` reads the same), a folder in BEIR's form, ``irds:NAME``
            for a dataset of ir_datasets, texts by id, or texts. Without, and without ``vectors``, queries
            are made of the documents.
        qrels: judgments: a file, folder or ``irds:NAME``, or relevance by query id, then document id.
        vectors: (q, d) numbers, or a file of them: of the queries, where they are there already, or of
            queries without texts.
        ways: names (see ``named_way``), or options of a search by name; by default those that make sense.
        k: depths.
        sample: how many queries are made of documents, where none are given; 1,000 by default.
        timed: whether it is measured how long searches take.
        keep_interrupted: give what was measured until a KeyboardInterrupt, instead of raising it.
        progress: is told what is done.
        **filters: see ``FilterOptions``: only these documents.

    Raises:
        QueryError: queries, judgments, ways or the filter are not what they should be.
        CorpusError: a file cannot be read.
        EncoderError: there is no encoder for texts, or another one.

    Examples:
        >>> from qsearch import Index
        >>> texts = ["a kitten is a young cat", "the stock market fell", "dogs bark at strangers"]
        >>> index = Index.build([{"id": str(i), "text": text} for i, text in enumerate(texts)], tmp / "i")
        >>> found = evaluate(index, {"q": "baby feline"}, {"q": {"0": 1}}, k=2)
        >>> found.recall("exact", 2).mean, found.measure("exact", "nDCG@2").mean
        (1.0, 1.0)
    """
    given = settled(FilterOptions, filters, "evaluate")
    told = progress or Silent()
    snapshot = opened(index)
    notes: list[str] = []
    if queries is not None or vectors is not None:
        if sample is not None:
            raise QueryError(
                "sample is of queries made of documents; leave it out where queries are given"
            )
        asked = given_queries(queries, vectors)
    elif qrels is not None:
        raise QueryError("judgments are of queries; give these too")
    else:
        asked = sampled(snapshot, SAMPLE if sample is None else sample)
    judgments = {} if qrels is None else matched(given_judgments(qrels), asked.ids, snapshot, notes)
    chosen = _chosen(ways, index, snapshot, asked, given, notes)
    allowed = snapshot.selections.asked(**given)
    documents = snapshot.documents if allowed is None else allowed.documents
    depths = checked_depths(k, documents or 0, notes)
    for way in chosen:
        for depth in depths:
            with _named(way, depth):
                checked(snapshot, way, depth, given)
    run = _Run(index, snapshot, asked, chosen, depths, given, judgments, told)
    complete = True
    try:
        run.search()
        if timed:
            run.time()
    except KeyboardInterrupt:
        if not keep_interrupted:
            raise
        complete = False
        notes.append(
            "interrupted: what was measured until then is shown"
            if run.found
            else "interrupted before anything was measured"
        )
    finally:
        told.end()
    return Evaluation(
        _described(index, snapshot),
        _shown_filter(given),
        {**described_machine(), "memory": memory_of_process()},
        asked.source,
        asked.ids,
        asked.texts,
        asked.groups,
        depths,
        None if run.truth is None else run.truth.positions,
        tuple(run.results()),
        judgments,
        run.encoding if run.encoding.singles else None,
        tuple(notes),
        complete,
    )


@dataclass(slots=True, eq=False)
class _Run:
    """One evaluation while it runs; what it found so far can be asked for at any time."""

    index: Index
    snapshot: Snapshot
    asked: Asked
    ways: Sequence[Way]
    depths: tuple[int, ...]
    filters: dict[str, Any]
    judgments: Judgments
    progress: Progress
    encoding: Times = field(default_factory=Times)
    queries: Queries | None = None
    truth: Answers | None = None
    found: dict[str, dict[int, Answers]] = field(default_factory=dict)
    times: list[Times] = field(default_factory=list)

    def search(self) -> None:
        """Encode, and search in every way."""
        queries = self.queries = self._encoded()
        deepest = self.depths[-1]
        compared = queries.vectors is not None
        known = sum(not way.options for way in self.ways)  # at the deepest k
        searches = len(self.ways) * len(self.depths) + (1 - known if compared else 0)
        self.progress.begin("search", len(queries) * searches, "queries")
        if compared:
            self.truth = self._answers(Way(EXACT), queries, deepest)
        for way in self.ways:
            answers = {deepest: self.truth} if self.truth is not None and not way.options else {}
            for k in self.depths:
                answers[k] = answers.get(k) or self._answers(way, queries, k)
            self.found[way.name] = {k: answers[k] for k in self.depths}
        self.progress.end()

    def time(self) -> None:
        """Time every way."""
        if self.queries is None:
            return
        own = self.queries
        if self.asked.groups:
            own = own.chosen(np.flatnonzero(self.asked.groups[0].members).tolist())
        k = self.depths[0]
        searches = [self._search(way, k) for way in self.ways]
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
        ranked_in = self._documents()
        for number, way in enumerate(self.ways):
            answers = self.found.get(way.name)
            if answers is None:
                continue
            ranked = ranked_in[way.name]
            values = judged(ranked, self.judgments, measures, ids) if self.judgments else {}
            times = self.times[number] if self.times else Times()
            found.append(
                WayResult(
                    way,
                    answers,
                    ranked,
                    self._recall(answers),
                    values,
                    self._unjudged(ranked),
                    times,
                )
            )
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
            self._time_encoder(encoder.encode_queries, asked.texts[:_ENCODED_ALONE])
        return Queries(asked.ids, asked.texts, vectors)

    def _time_encoder(
        self, encode: Callable[[Sequence[str]], object], texts: Sequence[str]
    ) -> None:
        whole = Queries(tuple(texts), tuple(texts), None)
        for times in time_in_turns([lambda some: encode(some.texts or ())], whole):
            self.encoding = times[0]

    def _search(self, way: Way, k: int) -> Callable[[Queries], Answers]:
        if way.options.get("rerank") is None:
            return lambda queries: answer(self.snapshot, way, queries, k, self.filters)
        return lambda queries: _reranked(self.index, self.snapshot, way, queries, k, self.filters)

    def _answers(self, way: Way, queries: Queries, k: int) -> Answers:
        search = self._search(way, k)
        parts = []
        for start in range(0, len(queries), _AT_A_TIME):
            some = queries.part(start, start + _AT_A_TIME)
            with _named(way, k):
                parts.append(search(some))
            self.progress.advance(len(some))
        positions = np.concatenate([one.positions for one in parts])
        if self.asked.left_out is not None:
            out = (positions[:, :, None] == self.asked.left_out[:, None, :]).any(axis=2)
            positions = np.where(out, -1, positions)
        return Answers(
            positions,
            np.concatenate([one.scores for one in parts]),
            np.concatenate([one.certified for one in parts]),
            np.concatenate([one.rows for one in parts]),
            np.concatenate([one.bytes for one in parts]),
        )

    def _recall(self, answers: Mapping[int, Answers]) -> dict[int, NDArray[np.float64]]:
        truth = self.truth
        if truth is None:
            return {k: np.full(len(self.asked.ids), np.nan) for k in answers}
        return {k: recall_at_k(one.positions, truth.positions, k) for k, one in answers.items()}

    def _documents(self) -> dict[str, dict[str, list[str]]]:
        """By way and query, ids of documents at the deepest k, best first."""
        last = {way: answers[self.depths[-1]].positions for way, answers in self.found.items()}
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
        """The share of the first k that nobody judged."""
        found = np.full(len(self.asked.ids), np.nan)
        for number, query in enumerate(self.asked.ids):
            best = ranked.get(query, ())[: self.depths[0]]
            if query in self.judgments and best:
                found[number] = sum(one not in self.judgments[query] for one in best) / len(best)
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


def _chosen(
    ways: Iterable[str | Way] | Mapping[str, Mapping[str, Any]] | None,
    index: Index,
    snapshot: Snapshot,
    asked: Asked,
    filters: Mapping[str, Any],
    notes: list[str],
) -> list[Way]:
    """The ways that are measured.

    Raises:
        QueryError: one is not known, stands twice, or cannot be taken here.
    """
    words = asked.texts is not None and snapshot.text_search.tokenizer is not None
    if ways is None:
        filtered = filters["where"] is not None
        tuned = snapshot.tuning is not None
        found = known_ways(tuned=tuned and not filtered, graph=index.has_graph, words=words)
        if snapshot.contract is None and asked.vectors is None:
            found = [way for way in found if way.mode == "keywords"]
        if filtered and tuned:
            notes.append(
                "recall was measured without a filter: at any recall it is searched exactly"
            )
        if not tuned:
            notes.append(
                "no recall was measured on this index: at any recall it is searched exactly"
            )
    elif isinstance(ways, str):
        raise QueryError("ways must be several names, or options by name; found one text")
    elif isinstance(ways, Mapping):
        found = [Way(name, options) for name, options in ways.items()]
    else:
        found = [way if isinstance(way, Way) else named_way(way) for way in ways]
    for number, way in enumerate(found):
        if not isinstance(way.options, Mapping):
            raise QueryError(f"the way {way.name} needs options by name, found {way.options!r}")
        if way.name in [other.name for other in found[:number]]:
            raise QueryError(f"the way {way.name} stands twice")
        if way.words and asked.texts is None:
            raise QueryError(
                f"the way {way.name} reads the words of queries, of which there are none"
            )
        try:
            _ = way.settled
        except TypeError as error:
            raise QueryError(str(error)) from None
    if not found:
        raise QueryError(
            "there is no way to measure: the index has neither an encoder nor a text index"
        )
    return found


@contextmanager
def _named(way: Way, k: int) -> Iterator[None]:
    """Errors say of which way they are."""
    try:
        yield
    except QueryError as error:
        raise QueryError(f"the way {way.name} at k = {k}: {error}") from error


def _shown_filter(filters: Mapping[str, Any]) -> str | None:
    """For people; ``None``: there is none."""
    where, params = filters["where"], filters["params"]
    if where is None:
        return None
    shown = where if isinstance(where, str) else json.dumps(where, default=str, ensure_ascii=False)
    return shown if not params else f"{shown} with {json.dumps(dict(params), default=str)}"


def _described(index: Index, snapshot: Snapshot) -> dict[str, Any]:
    identity = index.encoder_identity
    return {
        "path": str(index.path),
        "documents": snapshot.documents,
        "rows": snapshot.rows,
        "dimensions": snapshot.dimensions,
        "commit": snapshot.commit,
        "encoder": None if identity is None else identity.model,
        "bytes": sum(index_sizes(index.path).values()),
        "measured_on": None if snapshot.tuning is None else snapshot.tuning.measured_on,
    }
