"""Runs: what a system found for each query, in TREC's form."""

from __future__ import annotations

import math
from itertools import pairwise
from unicodedata import category

from qsearch.documents.judgments import table_columns
from qsearch.documents.lines import text_lines
from qsearch.errors import QueryError

__all__ = ["Run", "read_run", "run_line"]


class Run(dict[str, dict[str, float]]):
    """Scores by query id, then document id, best first.

    Attributes:
        ranked_otherwise: of how many queries the ranks stand in another order than the scores.
    """

    ranked_otherwise = 0


def read_run(path: str) -> Run:
    """The run of a file: ``query Q0 document rank score tag`` a line.

    The score decides, as in trec_eval; where two are equal, the rank does.

    Args:
        path: of a file, also a compressed one, or ``-``.

    Raises:
        QueryError: a line is not what it should be, or a query has a document twice.
        CorpusError: the file cannot be read.
    """
    found: dict[str, list[tuple[float, float, str]]] = {}
    seen: set[tuple[str, str]] = set()
    for line in text_lines(path, "line of a run"):
        if not line.text.strip():
            continue
        cells = table_columns(line.text)
        if len(cells) != 6:
            raise QueryError(f"{line.where}: has {len(cells)} columns; {_EXPECTED}")
        query, _, document, rank, score, _ = cells
        try:
            value, place = float(score), float(rank)
        except ValueError:
            raise QueryError(
                f"{line.where}: rank and score must be numbers, found {rank!r} and {score!r}; {_EXPECTED}"
            ) from None
        if math.isnan(value) or math.isnan(place):
            raise QueryError(f"{line.where}: NaN is no score; {_EXPECTED}")
        if (query, document) in seen:
            raise QueryError(f"{line.where}: has document {document!r} a second time for {query!r}")
        seen.add((query, document))
        found.setdefault(query, []).append((-value, place, document))
    if not found:
        raise QueryError(f"{path}: holds no run; {_EXPECTED}")
    run = Run()
    for query, hits in found.items():
        hits.sort()
        run[query] = {document: -lost for lost, _, document in hits}
        places = [place for _, place, _ in hits]
        run.ranked_otherwise += any(one > other for one, other in pairwise(places))
    return run


_EXPECTED = (
    "a line of a run is 'query Q0 document rank score tag', and ids with white space in them need tabs "
    "between the columns"
)


def run_line(query: str, document: str, rank: int, score: float, tag: str) -> str:
    """A line of a run.

    Raises:
        QueryError: an id cannot stand in one.
    """
    for value in (query, document):
        if value.split() != [value] or any(category(one) in ("Cc", "Cs") for one in value):
            raise QueryError(
                f"the id {value!r} holds white space or control characters, which a TREC run cannot"
            )
    return f"{query} Q0 {document} {rank} {score:.9g} {tag}"
