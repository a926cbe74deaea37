"""Measures of rankings: against judgments, by trec_eval (``pytrec-eval-terrier``), and exact search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Measure", "found_among", "has_relevant", "judged", "measures_at", "recall_at_k"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of a ranking, cut at a depth.

    Attributes:
        name: as people write it.
        trec: as trec_eval calls it.
        depth: so many of the best are looked at.
    """

    name: str
    trec: str
    depth: int


def measures_at(depths: Sequence[int]) -> list[Measure]:
    """Gain (nDCG) at every depth but the last of several, MRR at the first, MAP and recall at the last.

    nDCG takes the relevance as the gain (``ndcg_cut``: Järvelin and Kekäläinen 2002); a document that is
    not judged counts as not relevant.

    Args:
        depths: rising.

    Examples:
        >>> [one.name for one in measures_at([5, 10, 100])]
        ['nDCG@5', 'nDCG@10', 'MRR@5', 'MAP@100', 'R@100']
    """
    first, deepest = depths[0], depths[-1]
    return [
        *(Measure(f"nDCG@{depth}", "ndcg_cut", depth) for depth in depths[:-1] or depths),
        Measure(f"MRR@{first}", "recip_rank", first),
        Measure(f"MAP@{deepest}", "map", deepest),
        Measure(f"R@{deepest}", "recall", deepest),
    ]


def has_relevant(of_query: Mapping[str, int]) -> bool:
    """Whether a query has a relevant document: measures are of those that have."""
    return any(relevance > 0 for relevance in of_query.values())


def judged(
    rankings: Mapping[str, Sequence[str]],
    judgments: Mapping[str, Mapping[str, int]],
    measures: Sequence[Measure],
    queries: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """Values of each query, by the name of the measure.

    Args:
        rankings: document ids by query id, best first. Their order counts: no scores, whose ties trec_eval
            would break by the ids of documents.
        judgments: relevance by query id, then document id.
        measures: what is measured.
        queries: ids, in the order of the values. One that found nothing has 0, and one without a relevant
            document NaN.

    Examples:
        >>> judged(
        ...     {"q": ["b", "a"]}, {"q": {"a": 1}}, [Measure("nDCG@10", "ndcg_cut", 10)], ["q", "r"]
        ... )
        {'nDCG@10': array([0.63092975,        nan])}
    """
    import pytrec_eval

    # trec_eval ends ids at the first zero byte, and a process at half of a surrogate pair: it gets numbers.
    numbers: dict[str, str] = {}

    def number(name: str) -> str:
        return numbers.setdefault(name, str(len(numbers)))

    relevant = {
        number(query): {number(document): value for document, value in of_query.items()}
        for query, of_query in judgments.items()
        if has_relevant(of_query)
    }
    ranked = {
        number(query): [number(document) for document in found]
        for query, found in rankings.items()
        if number(query) in relevant and found
    }
    values: dict[str, NDArray[np.float64]] = {}
    for measure in measures:
        cut = f"_{measure.depth}" if measure.trec in ("ndcg_cut", "recall") else ""
        asked = f"{measure.trec}.{measure.depth}" if cut else measure.trec
        evaluator = pytrec_eval.RelevanceEvaluator(relevant, {asked})
        run = {
            query: {
                # One that stands twice counts where it stands first.
                document: -float(place)
                for place, document in reversed([*enumerate(found[: measure.depth])])
            }
            for query, found in ranked.items()
        }
        found = evaluator.evaluate(run) if run else {}
        values[measure.name] = np.array(
            [
                found[query][f"{measure.trec}{cut}"]
                if query in found
                else (0.0 if query in relevant else np.nan)
                for query in map(number, queries)
            ],
            dtype=np.float64,
        )
    return values


def judged_at(
    rankings: Mapping[int, Mapping[str, Sequence[str]]],
    judgments: Mapping[str, Mapping[str, int]],
    measures: Sequence[Measure],
    queries: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """The same, each measure of what a search to its depth found.

    Args:
        rankings: by depth, see ``judged``.
        judgments: see there.
        measures: whose depths are among those.
        queries: see there.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for depth in sorted({one.depth for one in measures}):
        some = [one for one in measures if one.depth == depth]
        values |= judged(rankings[depth], judgments, some, queries)
    return {one.name: values[one.name] for one in measures}


def found_among(truth: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the right positions stand anywhere among those that were found, query by query.

    Args:
        truth: (q, n) positions; −1 marks an empty place.
        found: (q, m) positions; −1 likewise.

    Returns:
        (q, n) bool; False at empty places.
    """
    if not found.size:
        return np.zeros(truth.shape, dtype=np.bool_)
    span = 2 + int(max(truth.max(initial=0), found.max(initial=0)))
    row = span * np.arange(len(truth), dtype=np.int64)[:, None] + 1  # no number is of two queries
    # Rows that are sorted are sorted as a whole. (numpy's isin takes six times as long.)
    there = np.sort(row + found, axis=1).ravel()
    wanted = row + truth
    places = np.searchsorted(there, wanted.ravel()).reshape(truth.shape)
    right = there[np.minimum(places, len(there) - 1)] == wanted
    return np.asarray(right & (truth >= 0), dtype=np.bool_)


def recall_at_k(
    found: NDArray[np.int64],
    truth: NDArray[np.int64],
    k: int,
    scores: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> NDArray[np.float64]:
    """Share of the exact top k that was found, for each query.

    Args:
        found: (q, at least k) positions, best first; −1 marks an empty place.
        truth: (q, at least k) positions of an exact search; −1 likewise.
        k: how many to look at.
        scores: of both, where they are of the same kind: what is as near as the last of the exact top k
            counts, though another one stands there: of equal texts nobody can say which are the nearest.

    Returns:
        (q,) float64; NaN where the exact search found nothing.

    Examples:
        >>> recall_at_k(np.array([[3, 1, 9]]), np.array([[1, 2, 3]]), k=3)
        array([0.66666667])
        >>> scores = np.array([[0.5, 0.9, 0.5]]), np.array([[0.9, 0.5, 0.5]])
        >>> recall_at_k(np.array([[3, 1, 9]]), np.array([[1, 2, 3]]), 3, scores)
        array([1.])
    """
    true, some = truth[:, :k], found[:, :k]
    wanted = (true >= 0).sum(axis=1)
    right = found_among(some, true)
    if scores is not None:
        last = np.where(true >= 0, scores[1][:, :k], np.inf).min(axis=1, initial=np.inf)
        right |= (some >= 0) & (scores[0][:, :k] >= last[:, None])
    hits = np.minimum(right.sum(axis=1), wanted)
    with np.errstate(invalid="ignore"):
        return np.asarray(hits / np.where(wanted, wanted, np.nan), dtype=np.float64)
