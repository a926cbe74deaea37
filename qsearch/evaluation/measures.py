"""Measures of rankings: against judgments, by trec_eval (``pytrec-eval-terrier``), and exact search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Measure", "judged", "measures_at", "recall_at_k"]


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


def measures_at(first: int, deepest: int) -> list[Measure]:
    """Gain (nDCG) and MRR at the first depth, MAP and recall at the deepest.

    nDCG takes the relevance as the gain (``ndcg_cut``: Järvelin and Kekäläinen 2002); a document that is
    not judged counts as not relevant.
    """
    return [
        Measure(f"nDCG@{first}", "ndcg_cut", first),
        Measure(f"MRR@{first}", "recip_rank", first),
        Measure(f"MAP@{deepest}", "map", deepest),
        Measure(f"R@{deepest}", "recall", deepest),
    ]


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
        if any(value > 0 for value in of_query.values())
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
                document: -float(place) for place, document in enumerate(found[: measure.depth])
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


def recall_at_k(found: NDArray[np.int64], truth: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Share of the exact top k that was found, for each query.

    Args:
        found: (q, at least k) positions, best first; −1 marks an empty place.
        truth: (q, at least k) positions of an exact search; −1 likewise.
        k: how many to look at.

    Returns:
        (q,) float64; NaN where the exact search found nothing.

    Examples:
        >>> recall_at_k(np.array([[3, 1, 9]]), np.array([[1, 2, 3]]), k=3)
        array([0.66666667])
    """
    true = truth[:, :k]
    wanted = (true >= 0).sum(axis=1)
    hits = ((true[:, :, None] == found[:, None, :k]) & (true >= 0)[:, :, None]).any(axis=2)
    with np.errstate(invalid="ignore"):
        return np.asarray(hits.sum(axis=1) / np.where(wanted, wanted, np.nan), dtype=np.float64)
