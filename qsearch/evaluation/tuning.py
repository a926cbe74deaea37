"""Tuning an index to queries: what reaches a recall, and how much meaning counts in a hybrid search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import EncoderError, QueryError
from qsearch.evaluation.given import given_judgments, given_queries, matched, opened
from qsearch.evaluation.intervals import Difference, difference
from qsearch.evaluation.measures import has_relevant, judged, measures_at
from qsearch.evaluation.tables import Table, shown_difference
from qsearch.evaluation.ways import Way
from qsearch.indexing import Progress
from qsearch.indexing.tuning import tune_index
from qsearch.kernels import thread_count
from qsearch.keywords import DEFAULT_WEIGHT
from qsearch.keywords.fusion import convex
from qsearch.retrieval import Plan, check_queries

if TYPE_CHECKING:
    from qsearch.documents import Judgments
    from qsearch.index import Index
    from qsearch.snapshot import Snapshot

__all__ = ["WEIGHTS", "Tuned", "gains_by_weight", "tune"]

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
"""Of the meaning, that are tried."""

_FOLDS = 5
_LEAST_JUDGED = 20
_DEPTH = 10
_SHOWN = (0.9, 0.95, 0.99)
_ENOUGH = 100
_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was tuned.

    Attributes:
        queries: that recall is measured with.
        commit: that stored it.
        weight: of the meaning in a hybrid search, which the index has from now on; ``None``: there was
            nothing to choose it by.
        before: what it had.
        by_weight: mean nDCG@10 of each of ``WEIGHTS``, on all judged queries.
        gain: nDCG@10 of weights that other queries chose, without that of ``before``: what is to be
            expected of queries to come. The index keeps ``before`` where 0 is within its interval.
        measured: whether recall was measured; an index of few rows is searched exactly at any recall.
        plans: by recall: how one query (k = 10) reaches it by what was measured before (``None``: nothing
            was), and now.
    """

    queries: int
    commit: int
    weight: float | None = None
    before: float | None = None
    by_weight: tuple[float, ...] = ()
    gain: Difference | None = None
    measured: bool = True
    plans: Mapping[float, tuple[Plan | None, Plan]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "queries": self.queries,
            "commit": self.commit,
            "measured": self.measured,
            "plans": {
                str(recall): {"before": _dict(before), "now": _dict(now)}
                for recall, (before, now) in self.plans.items()
            },
            "weight": self.weight,
            "before": self.before,
            "by_weight": dict(zip(map(str, WEIGHTS), self.by_weight, strict=False)),
            "gain": None if self.gain is None else self.gain.to_dict(),
        }

    def notes(self) -> list[str]:
        """For people."""
        told = [
            f"tuned: recall is measured on {self.queries:,} quer{'y' if self.queries == 1 else 'ies'} "
            f"(commit {self.commit:,})"
            if self.measured
            else f"the queries are kept (commit {self.commit:,}); recall was not measured: an index of so "
            "few rows is searched exactly at any recall"
        ]
        if self.plans:
            each = "; ".join(_told(recall, *plans) for recall, plans in self.plans.items())
            told.append(f"one query, each recall with 95% confidence: {each}")
        if self.measured and self.queries < _ENOUGH:
            told.append(
                f"so few queries vouch for little: a recall near 1 takes {_ENOUGH} or more, and is reached "
                "by exact searches until then"
            )
        if self.gain is None or self.weight is None or self.before is None:
            return told
        gain = shown_difference(self.gain.mean, self.gain.interval)
        sure = (
            f"cross-validated nDCG@{_DEPTH} {gain} beside {self.before:g}, p = "
            f"{self.gain.probability:.4f}, {self.gain.queries:,} queries"
        )
        if self.weight == self.before:
            told.append(f"the weight of the meaning stays {self.before:g}: {sure}")
        else:
            told.append(f"the weight of the meaning is {self.weight:g} from now on: {sure}")
        return told

    def table(self) -> Table | None:
        """Each weight that was tried; ``None``: none was."""
        if not self.by_weight:
            return None
        rows = tuple(
            (f"{weight:.2f}", f"{value:.4f}")
            for weight, value in zip(WEIGHTS, self.by_weight, strict=True)
        )
        return Table("nDCG@10 of hybrid by weight of the meaning", ("weight", "nDCG@10"), rows)


def tune(
    index: Index,
    queries: Any,
    qrels: Any = None,
    *,
    vectors: Any = None,
    wait: float = 0.0,
    progress: Progress | None = None,
) -> Tuned:
    """Measure recall with queries and, with judgments, choose the weight of hybrid searches; one commit.

    The weight is chosen by nDCG@10, cross-validated in five parts: each part of the queries is answered
    with the weight that the others choose. The index keeps the one it has unless that surely gains
    something: the 95% interval of the gain is above 0.

    Args:
        index: open; afterwards it answers from the new commit.
        queries: as ``evaluate`` takes them.
        qrels: judgments, likewise. Without, or without a text index, only recall is tuned.
        vectors: (q, d) of the queries, likewise.
        wait: seconds to wait for another writer.
        progress: is told what is done.

    Raises:
        QueryError: queries or judgments are not what they should be, or fewer than 20 queries are judged.
        EncoderError: there is no encoder for texts.
        IndexBusy: another writer is at it.
    """
    snapshot = opened(index)
    asked = given_queries(queries, vectors)
    if asked.vectors is not None:
        given = check_queries(asked.vectors, snapshot.dimensions)
    elif asked.texts is None:
        raise EncoderError("there are neither texts nor vectors to tune with")
    else:
        given = check_queries(index.encoder.encode_queries(list(asked.texts)), snapshot.dimensions)
    chosen: Tuned | None = None
    hybrid: dict[str, Any] | None = None
    if qrels is not None and snapshot.text_search.tokenizer is not None and asked.texts is not None:
        judgments = matched(given_judgments(qrels), asked.ids, snapshot, [])
        gains = gains_by_weight(snapshot, asked.ids, asked.texts, given, judgments)
        before = DEFAULT_WEIGHT if snapshot.hybrid_weight is None else snapshot.hybrid_weight
        chosen = _chosen(gains, before)
        if chosen.weight != before:
            hybrid = {
                "weight": chosen.weight,
                "queries": gains.shape[1],
                "gain": None if chosen.gain is None else chosen.gain.to_dict(),
            }
    earlier = None if snapshot.tuning is None else snapshot.tuning.on(thread_count())
    commit, kept = tune_index(
        index._changing(wait, progress), asked.source, given, hybrid, snapshot.catalog.was_replaced
    )
    index.refresh()
    tuning = index.tuning
    plans = {}
    if tuning is not None:
        for recall in _SHOWN:
            was = None if earlier is None else earlier.plan(recall, _DEPTH)
            plans[recall] = was, tuning.plan(recall, _DEPTH)
    return replace(
        Tuned(kept, commit) if chosen is None else chosen,
        queries=kept,
        commit=commit,
        measured=tuning is not None,
        plans=plans,
    )


def _dict(plan: Plan | None) -> dict[str, Any] | None:
    """As JSON values."""
    return None if plan is None else {"exact": plan.exact, "milliseconds": plan.milliseconds}


def _told(recall: float, before: Plan | None, now: Plan) -> str:
    """How a recall is reached, and how it was: not in which time, which was another day's."""
    if before is not None and before.exact and now.exact:
        return f"{recall:g} exactly, as before"
    was = "" if before is None else f" (was {_way(before)})"
    return f"{recall:g} {_way(now)}, {now.milliseconds:.3f} ms{was}"


def _way(plan: Plan) -> str:
    return "exactly" if plan.exact else f"by {plan.chosen}"


def gains_by_weight(
    snapshot: Snapshot,
    ids: tuple[str, ...],
    texts: tuple[str, ...],
    vectors: NDArray[np.float32],
    judgments: Judgments,
) -> NDArray[np.float64]:
    """Measure nDCG@10 of hybrid searches with each of ``WEIGHTS``, whose candidates are the same.

    Args:
        snapshot: of the index, which has a text index.
        ids: of queries.
        texts: of each.
        vectors: (q, d) of each.
        judgments: of these queries.

    Returns:
        (weights, queries with relevant documents) float64.

    Raises:
        QueryError: too few queries have relevant documents.
    """
    here = [number for number, query in enumerate(ids) if has_relevant(judgments.get(query, {}))]
    if len(here) < _LEAST_JUDGED:
        raise QueryError(
            f"a weight is chosen on {_LEAST_JUDGED} queries with relevant documents or more, found "
            f"{len(here)}; leave the judgments out to tune recall alone (of a folder or "
            "dataset that has some, name a file of its queries)"
        )
    asked = snapshot.text_query(_DEPTH, Way("hybrid", {"mode": "hybrid"}).settled)
    every = replace(asked.words, k=2 * asked.words.depth)  # of each way, none left out
    names = [ids[one] for one in here]
    measure = measures_at([_DEPTH])[0]
    found = []
    positions: list[NDArray[np.int64]] = []
    scores: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for start in range(0, len(here), _AT_A_TIME):
        numbers = here[start : start + _AT_A_TIME]
        some = vectors[numbers]
        ranking = snapshot.searcher.search(some, asked.meaning)
        some_texts = [texts[one] for one in numbers]
        for answer in snapshot.text_search.hybrid(some_texts, some, ranking, every):
            positions.append(np.array([one.position for one in answer.found], dtype=np.int64))
            cosines = np.array([one.cosine or 0.0 for one in answer.found], dtype=np.float64)
            bm25 = np.array([one.bm25 for one in answer.found], dtype=np.float64)
            scores.append((cosines, bm25))
    documents = [snapshot.ids(some) for some in positions]
    for weight in WEIGHTS:
        rankings = {
            name: documents[number][
                np.lexsort((positions[number], -convex(*scores[number], weight)))
            ][:_DEPTH].tolist()
            for number, name in enumerate(names)
        }
        found.append(judged(rankings, judgments, [measure], names)[measure.name])
    return np.array(found)


def _chosen(gains: NDArray[np.float64], before: float) -> Tuned:
    """The best weight on all queries, where what others choose is surely better than what there was."""
    weights = np.array(WEIGHTS)
    place = int(np.argmin(np.abs(weights - before)))
    count = gains.shape[1]
    fold = np.random.default_rng(0).permutation(count) % _FOLDS
    held_out = np.empty(count)
    for number in range(_FOLDS):
        here = fold == number
        held_out[here] = gains[_best(gains[:, ~here], place)][here]
    gain = difference(held_out, gains[place])
    best = _best(gains, place)
    sure = gain.interval is not None and gain.interval.low > 0
    weight = float(weights[best]) if sure else before
    return Tuned(0, 0, weight, before, tuple(float(one) for one in gains.mean(axis=1)), gain)


def _best(gains: NDArray[np.float64], place: int) -> int:
    """The number of the best weight; of equals the one that is nearest to what there was."""
    means = gains.mean(axis=1)
    equal = np.flatnonzero(means >= means.max() - 1e-12)
    return int(equal[np.argmin(np.abs(equal - place))])
