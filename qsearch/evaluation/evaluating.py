"""The evaluation of an index: search, compare with exact search and with judgments, time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from qsearch.documents import surrogate_in
from qsearch.errors import QueryError
from qsearch.evaluation.answers import plans
from qsearch.evaluation.evaluation import Evaluation
from qsearch.evaluation.given import (
    SAMPLE,
    Asked,
    NothingJudged,
    checked_depths,
    excluded,
    given_judgments,
    given_queries,
    matched,
    only_judged,
    opened,
    sampled,
)
from qsearch.evaluation.machine import described_machine, memory_of_process
from qsearch.evaluation.measured import WayResult
from qsearch.evaluation.running import EvaluationRun, named
from qsearch.evaluation.timing import BATCH
from qsearch.evaluation.ways import Way, known_ways, named_way
from qsearch.indexing import Progress, index_sizes
from qsearch.indexing.report import Silent
from qsearch.keywords import DEFAULT_WEIGHT
from qsearch.options import FilterOptions, settled
from qsearch.retrieval.measuring import FROM_DOCUMENTS, FROM_PASSAGES
from qsearch.wording import words

if TYPE_CHECKING:
    from qsearch.documents import Judgments
    from qsearch.index import Index
    from qsearch.snapshot import Snapshot

__all__ = ["EvaluationPlan", "evaluate", "measured", "planned"]


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
    plan = planned(index, queries, qrels, vectors=vectors, ways=ways, k=k, sample=sample, **filters)
    return measured(index, plan, timed=timed, keep_interrupted=keep_interrupted, progress=progress)


def measured(
    index: Index,
    plan: EvaluationPlan,
    *,
    timed: bool,
    keep_interrupted: bool,
    progress: Progress | None,
) -> Evaluation:
    """Do what was planned.

    Args:
        index: that it was planned for.
        plan: see ``planned``.
        timed: see ``evaluate``.
        keep_interrupted: see there.
        progress: see there.
    """
    snapshot, asked, notes = plan.snapshot, plan.asked, list(plan.notes)
    told = progress or Silent()
    run = EvaluationRun(
        index,
        snapshot,
        asked,
        plan.ways,
        plan.depths,
        plan.filters,
        plan.judgments,
        timed,
        told,
    )
    complete = True
    results: Sequence[WayResult] | None = None
    try:
        run.search()
        run.time()
        results = run.results()
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
    if results is None:
        results = run.results()
    return Evaluation(
        plan.index,
        _shown_filter(plan.filters),
        {**described_machine(), "memory": memory_of_process()},
        asked.source,
        asked.ids,
        asked.texts,
        asked.groups,
        plan.depths,
        None if run.truth is None else run.truth.positions,
        tuple(results),
        plan.judgments,
        run.encoding if run.encoding.singles else None,
        tuple(notes),
        complete,
    )


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is measured, checked.

    Attributes:
        index: what it is, and how large, before anything is measured.
        snapshot: of the index.
        asked: the queries.
        judgments: of these.
        ways: at least one.
        depths: rising.
        filters: all of ``FilterOptions``.
        notes: what is to be known.
        unjudged: why there are no judgments, though some were given.
    """

    index: dict[str, Any]
    snapshot: Snapshot
    asked: Asked
    judgments: Judgments
    ways: list[Way]
    depths: tuple[int, ...]
    filters: dict[str, Any]
    notes: list[str]
    unjudged: NothingJudged | None


def planned(
    index: Index,
    queries: Any = None,
    qrels: Any = None,
    *,
    vectors: Any = None,
    ways: Iterable[str | Way] | Mapping[str, Mapping[str, Any]] | None = None,
    k: int | Iterable[int] = (10, 100),
    sample: int | None = None,
    **filters: Unpack[FilterOptions],
) -> EvaluationPlan:
    """Check all that ``evaluate`` is given, before anything is encoded or searched.

    Raises:
        QsearchError: see ``evaluate``.
    """
    given = settled(FilterOptions, filters, "evaluate()")
    snapshot = opened(index)
    notes: list[str] = []
    if queries is not None or vectors is not None:
        if sample is not None:
            raise QueryError(
                "sample is of queries made of documents; leave it out where queries are given"
            )
        asked = given_queries(queries, vectors)
        if (
            qrels is not None
            and _is_path(queries)
            and _is_path(qrels)
            and str(queries) == str(qrels)
        ):
            qrels = given_judgments(qrels)
            asked = only_judged(asked, qrels)
        notes += asked.notes
    elif qrels is not None:
        raise QueryError("judgments are of queries; give these too")
    else:
        asked = sampled(snapshot, SAMPLE if sample is None else sample)
    judgments: Judgments = {}
    unjudged = None
    if qrels is not None:
        try:
            judgments = matched(given_judgments(qrels), asked.ids, snapshot, notes)
        except NothingJudged as error:  # what else there is can be measured
            unjudged = error
            notes.append(str(error))
    chosen = _chosen(ways, index, snapshot, asked, given, notes)
    allowed = snapshot.selections.asked(**given)
    documents = snapshot.documents if allowed is None else allowed.documents or 0
    if allowed is not None and not documents:
        raise QueryError(f"no document matches the condition {_shown_filter(given)}")
    excluded(judgments, snapshot, given, notes)
    depths = checked_depths(k, documents, allowed is not None, notes)
    exactly, alike = _of_recalls(snapshot, chosen, depths, given)
    notes += exactly
    if snapshot.tuning is not None and asked.groups:
        with_others = snapshot.tuning.measured_on not in (FROM_DOCUMENTS, FROM_PASSAGES)
        if with_others and any("recall" in one.options for one in chosen):
            notes.append(
                f"recall was measured with {snapshot.tuning.measured_on}; these queries are made of "
                "documents"
            )
    elif snapshot.tuning is not None and alike:
        notes.append(
            f"{', '.join(alike)}: holds for queries like those that recall was measured with "
            f"({snapshot.tuning.measured_on}), whatever these are"
        )
    return EvaluationPlan(
        _described(index, snapshot),
        snapshot,
        asked,
        judgments,
        chosen,
        depths,
        given,
        notes,
        unjudged,
    )


def _of_recalls(
    snapshot: Snapshot, ways: Iterable[Way], depths: Iterable[int], filters: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Which recalls are no less than exact searches, and which hold for queries of one kind only.

    Returns:
        Of the first, one by one, in batches or both, and why; of the second, that are less anywhere, the
        names.

    Raises:
        QueryError: a way cannot be taken.
    """
    found: dict[str, list[str]] = {}
    alike: dict[str, None] = {}
    for way in ways:
        for depth in depths:
            with named(way, depth):
                alone, batch = plans(snapshot, way, depth, filters, BATCH)
            if way.options.get("recall") is None:
                continue
            if way.options.get("alike") and not (alone.exact and batch.exact):
                alike[way.name] = None
            how = {(True, False): "one by one ", (False, True): f"in batches of {BATCH} "}
            if alone.exact or batch.exact:
                exactly = f"{how.get((alone.exact, batch.exact), '')}searched exactly"
                told = f"{exactly} ({(alone if alone.exact else batch).reason})"
                found.setdefault(told, []).append(f"{way.name} at k = {depth}")
    return [f"{', '.join(names)}: {told}" for told, names in found.items()], list(alike)


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
    by_words = asked.texts is not None and snapshot.text_search.tokenizer is not None
    if ways is None:
        filtered = filters["where"] is not None
        tuned = snapshot.tuning is not None
        graph = index.has_graph and snapshot.searcher.graph_is_sound
        if index.has_graph and not graph:
            notes.append("the graph is damaged, and not measured")
        found = known_ways(tuned=tuned and not filtered, graph=graph, words=by_words)
        if snapshot.contract is None and asked.vectors is None:
            found = [way for way in found if way.mode == "keywords"]
            if found:
                notes.append(
                    "the index has no encoder: without vectors of the queries only keywords are measured"
                )
        if filtered and tuned:
            notes.append(
                "recall was measured without a filter: at any recall it is searched exactly"
            )
        if not tuned:
            notes.append(
                "no recall was measured on this index: at any recall it is searched exactly"
            )
    elif isinstance(ways, str):
        raise QueryError(f"ways must be several names, as [{ways!r}], or options by name")
    elif isinstance(ways, Mapping):
        found = [Way(name, options) for name, options in ways.items()]
    else:
        found = [way if isinstance(way, Way) else named_way(way) for way in ways]
    for number, way in enumerate(found):
        if not isinstance(way.options, Mapping):
            raise QueryError(f"the way {way.name} needs options by name, found {way.options!r}")
        if not isinstance(way.name, str) or surrogate_in(way.name) is not None:
            raise QueryError(f"the name of a way must be a text, found {way.name!r}")
        if way.name in [other.name for other in found[:number]]:
            raise QueryError(f"the way {way.name} stands twice")
        if not FilterOptions.__annotations__.keys().isdisjoint(way.options):
            raise QueryError(
                f"the way {way.name} has a filter; one filter is for all ways: give it to evaluate"
            )
        if way.options.get("all_passages"):
            raise QueryError(
                f"the way {way.name} gives passages, a document several times; leave all_passages out: "
                "documents are measured"
            )
        if way.words and asked.texts is None:
            raise QueryError(
                f"the way {way.name} reads the words of queries, of which there are none"
            )
        if way.options.get("method") == "graph" and not index.has_graph:
            raise QueryError(
                f"the way {way.name} needs a graph, and the index has none; leave it out, or make one: "
                f"{words().index_graph}"
            )
        try:
            _ = way.settled
        except TypeError as error:
            raise QueryError(str(error)) from None
    if not found:
        raise QueryError(
            "there is no way to measure"
            + (
                ": the index has neither an encoder nor a text index; give vectors of the queries"
                if ways is None
                else ""
            )
        )
    return found


def _shown_filter(filters: Mapping[str, Any]) -> str | None:
    """For people; ``None``: there is none."""
    where, params = filters["where"], filters["params"]
    if where is None:
        return None
    shown = where if isinstance(where, str) else json.dumps(where, default=str, ensure_ascii=False)
    return shown if not params else f"{shown} with {json.dumps(dict(params), default=str)}"


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _described(index: Index, snapshot: Snapshot) -> dict[str, Any]:
    identity = index.encoder_identity
    return {
        "path": str(index.path),
        "documents": snapshot.documents,
        "rows": snapshot.rows,
        "dimensions": snapshot.dimensions,
        "commit": snapshot.commit,
        "encoder": None if identity is None else identity.model,
        "encoder_identity": None if identity is None else identity.to_json(),
        "passages": snapshot.settings.get("passages"),
        "bytes": sum(index_sizes(index.path).values()),
        "hybrid_weight": DEFAULT_WEIGHT
        if snapshot.hybrid_weight is None
        else snapshot.hybrid_weight,
        "measured_on": None if snapshot.tuning is None else snapshot.tuning.measured_on,
    }
