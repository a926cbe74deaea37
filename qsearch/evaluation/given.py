"""What an evaluation is given: queries and judgments in any form, or none, and what is wrong with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import (
    Embeddings,
    Judgments,
    check_text,
    is_dataset,
    read_judgments,
    read_queries,
    relevance_of,
    surrogate_in,
)
from qsearch.documents.numbers import as_numbers
from qsearch.errors import QueryError
from qsearch.evaluation.measured import Group
from qsearch.evaluation.measures import has_relevant
from qsearch.retrieval.samples import all_kinds
from qsearch.retrieval.searcher import whole_number
from qsearch.wording import legible

if TYPE_CHECKING:
    from qsearch.snapshot import Snapshot

__all__ = [
    "SAMPLE",
    "Asked",
    "NothingJudged",
    "checked_depths",
    "excluded",
    "given_judgments",
    "given_queries",
    "matched",
    "only_judged",
    "opened",
    "sampled",
]

_NAMED = 3
"""So many ids are named where many are meant."""


class NothingJudged(QueryError):
    """Nothing can be measured by judgments: they fit no query, or no document."""

    def __init__(self, why: str) -> None:
        """Say so, and ``why``."""
        super().__init__(f"nothing is measured by judgments: {why}")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Queries, before they are encoded.

    Attributes:
        ids: of each.
        texts: of each; ``None``: there are vectors only.
        vectors: (q, d); ``None``: they are to be made of the texts.
        source: what they are.
        groups: kinds, where there are several.
        left_out: (q, r) positions of documents that are left out of the results, filled up with −1.
        notes: what to know of them.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...] | None
    vectors: NDArray[np.float32] | None
    source: str
    groups: tuple[Group, ...] = ()
    left_out: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()


def opened(index: Any) -> Snapshot:
    """What an open index answers from.

    Raises:
        QueryError: it is no ``Index``.
        IndexClosed: it was closed.
    """
    from qsearch.index import Index

    if not isinstance(index, Index):
        raise QueryError(
            f"an open index is needed, Index.open({index!r}) for one; found a "
            f"{type(index).__name__}"
        )
    return index._open


def given_queries(queries: Any, vectors: Any) -> Asked:
    """Queries of a file, a mapping of texts by id, or several texts; with vectors, or vectors alone.

    What this gave before is taken as it is: standard input can be read once.

    Raises:
        QueryError: they are none of these, empty, or another number than the vectors, or two have one id.
        CorpusError: a file cannot be read.
    """
    if isinstance(queries, Asked):
        return queries
    array = None if vectors is None else _given_vectors(vectors)
    if queries is None:
        if array is None:
            raise QueryError("there are neither queries nor vectors of them")
        ids = tuple(str(number) for number in range(1, len(array) + 1))
        return Asked(ids, None, array, "query vectors")
    source = "queries"
    if isinstance(queries, str | os.PathLike):
        name = str(queries)
        shown = legible(name if is_dataset(name) else os.path.basename(os.path.realpath(name)))
        source = "queries of standard input" if name == "-" else f"queries of {shown}"
        pairs = list(read_queries(name))
    elif isinstance(queries, Mapping):
        pairs = [(str(name), text) for name, text in queries.items()]
    else:
        if isinstance(queries, Set):
            raise QueryError("of queries in a set nobody knows which is the first; give a list")
        try:
            pairs = [(str(number), text) for number, text in enumerate(queries, 1)]
        except TypeError:
            raise QueryError(
                "queries must be a file, texts by id, or texts; found " + type(queries).__name__
            ) from None
    if not pairs:
        raise QueryError(
            f"there are no queries in {queries!r}" if source != "queries" else "no queries"
        )
    for name, text in pairs:
        if not isinstance(text, str):
            raise QueryError(
                f"query {name} must be a text, found {type(text).__name__}; vectors are given with vectors="
            )
        if not text.strip():
            raise QueryError(f"query {name} must be a text that is not empty, found {text!r}")
        check_text(f"query {name}", text)
    names = Counter(name for name, _ in pairs)
    if len(names) < len(pairs):
        raise QueryError(f"query {names.most_common(1)[0][0]!r} stands twice")
    if array is not None and len(array) != len(pairs):
        raise QueryError(f"there are {len(pairs):,} queries, and vectors of {len(array):,}")
    ids = tuple(name for name, _ in pairs)
    return Asked(ids, tuple(text for _, text in pairs), array, source)


def _given_vectors(vectors: Any) -> NDArray[Any]:
    """Vectors of a file, or numbers in memory: (q, d).

    Raises:
        QueryError: they are no such numbers, or none at all.
        CorpusError: a file cannot be read.
    """
    if isinstance(vectors, str | os.PathLike):
        file = Embeddings(str(vectors))
        array: NDArray[Any] = file.read(0, file.rows)
    else:
        try:
            array = as_numbers(vectors)
        except ValueError as error:
            raise QueryError(f"query vectors must be an array of numbers ({error})") from error
    if array.ndim != 2 or not len(array):
        raise QueryError("query vectors must be (queries, dimensions), at least one of them")
    return array


SAMPLE = 1000
"""Queries that are made of documents."""


def sampled(snapshot: Snapshot, count: int) -> Asked:
    """Queries made of the documents of an index, as a build makes them, but others, and more.

    Args:
        snapshot: of the index.
        count: at most so many of those that stand for queries to come: documents, and middles between two,
            half of each, and of each no more than there are documents. Strangers come to them.

    Raises:
        QueryError: it holds no documents, or ``count`` is no number of queries.
    """
    count = whole_number("sample", count)
    if count < 1:
        raise QueryError(f"sample must be at least 1, found {count}")
    if not snapshot.documents:
        raise QueryError(f"{snapshot.path} holds no documents")
    pieces = [piece for segment in snapshot.segments for piece in segment.pieces(1 << 13)]
    of_each = min(count, 2 * snapshot.documents) // 8
    kinds = all_kinds(pieces, None, count, of_each, others=True)
    documents = snapshot.searcher.documents.documents(kinds.left_out)
    names = np.array(kinds.names)[kinds.kind]
    groups = [Group(name, names == name) for name in dict.fromkeys(kinds.names)]
    ids = tuple(str(number) for number in range(1, len(kinds.queries) + 1))
    source = "documents and middles between two, left out of their own results"
    return Asked(
        ids, None, kinds.queries, source, tuple(g for g in groups if g.members.any()), documents
    )


def given_judgments(qrels: Any) -> Judgments:
    """Judgments of a file or a mapping.

    Raises:
        QueryError: they are none.
        CorpusError: a file cannot be read.
    """
    if isinstance(qrels, str | os.PathLike):
        return read_judgments(str(qrels))
    if not isinstance(qrels, Mapping):
        raise QueryError(
            f"judgments must be a file, or a mapping by query and document; found {type(qrels).__name__}"
        )
    found: Judgments = {}
    for query, documents in qrels.items():
        if not isinstance(documents, Mapping):
            raise QueryError(
                f"the judgments of query {query!r} must be relevance by document, found {documents!r}"
            )
        for document, relevance in documents.items():
            number = None if isinstance(relevance, str) else relevance_of(relevance)
            if number is None:
                raise QueryError(
                    f"the relevance of {document!r} for {query!r} must be a whole number of at most a "
                    f"million, found {relevance!r}"
                )
            of_query = found.setdefault(str(query), {})
            if of_query.setdefault(str(document), number) != number:
                raise QueryError(
                    f"document {str(document)!r} is judged twice for query {str(query)!r}: {number}, and "
                    f"{of_query[str(document)]}"
                )
    return found


def only_judged(asked: Asked, judgments: Judgments) -> Asked:
    """The queries that somebody judged, of a folder or dataset with judgments.

    BEIR's ``queries.jsonl`` holds those of all splits, half a million of MS MARCO's. Where none is judged
    all stay: what is wrong is told by ``matched``.
    """
    judged = [number for number, query in enumerate(asked.ids) if query in judgments]
    left = len(asked.ids) - len(judged)
    if not judged or not left:
        return asked
    told = f"{left:,} queries that nobody judged are left out; judgments that are given apart ask these too"
    return replace(
        asked,
        ids=tuple(asked.ids[one] for one in judged),
        texts=None if asked.texts is None else tuple(asked.texts[one] for one in judged),
        vectors=None if asked.vectors is None else asked.vectors[judged],
        notes=(*asked.notes, told),
    )


def matched(
    judgments: Judgments, ids: Iterable[str], snapshot: Snapshot, notes: list[str]
) -> Judgments:
    """The judgments of the queries that there are; what does not fit is told in ``notes``.

    Judgments of documents that the index does not hold stay: an answer without them is as bad as it is.

    Raises:
        NothingJudged: they are of none of the queries, or of no document of the index.
        QueryError: there are none.
    """
    if not judgments:
        raise QueryError("there are no judgments; leave them out, or give some")
    queries = list(ids)
    known = set(queries)
    found = {query: judgments[query] for query in queries if query in judgments}
    without = [query for query in queries if query not in found]
    if not found:
        first = next(iter(judgments))
        swapped = not known.isdisjoint(judgments[first])
        raise NothingJudged(
            f"no query has any, their ids have nothing in common (the first query is {queries[0]!r}, the "
            f"first judgment is of query {first!r})"
            + (
                "; what stands for documents are queries: a line is 'query document relevance'"
                * swapped
            )
        )
    strange = [one for one in judgments if one not in known]
    if strange:
        notes.append(f"judgments of {_counted(strange, 'query', 'queries')} that were not asked")
    if without:
        notes.append(f"{_counted(without, 'query', 'queries')} without judgments")
    relevant = _relevant(found)
    judged = {document for of_query in found.values() for document in of_query}
    there = snapshot.catalog.positions_of([one for one in judged if surrogate_in(one) is None])
    missing = sorted(judged - set(there))
    if not snapshot.documents:
        raise NothingJudged("the index holds no documents")
    if judged and not there:
        (first,) = (one.id for one in snapshot.catalog.page(-1, 1))
        raise NothingJudged(
            f"the index holds none of the documents that are judged ({len(judged):,}), their ids have "
            f"nothing in common (the first judged is {missing[0]!r}, the first here {first!r})"
        )
    if missing:
        lost = sum(one in relevant for one in missing)
        notes.append(
            f"judgments of {_counted(missing, 'document', 'documents')} that the index does not hold"
            + (f" ({lost:,} of them relevant, which count as not found)" if lost else "")
        )
    if not relevant:
        raise NothingJudged("no query has a relevant document: what is judged is 0 or less")
    idle = [query for query, of_query in found.items() if not has_relevant(of_query)]
    if idle:
        notes.append(f"{_counted(idle, 'query', 'queries')} without a relevant document, left out")
    return found


def excluded(
    judgments: Judgments, snapshot: Snapshot, filters: Mapping[str, Any], notes: list[str]
) -> None:
    """Tell in ``notes`` how many relevant documents a filter leaves out: nothing can find these.

    Args:
        judgments: of the queries.
        snapshot: of the index.
        filters: see ``FilterOptions``.
        notes: of the evaluation.
    """
    if filters["where"] is None or not judgments:
        return
    relevant = _relevant(judgments)
    places = snapshot.catalog.positions_of([one for one in relevant if surrogate_in(one) is None])
    allowed = snapshot.selections.positions(
        filters["where"], filters["params"], missing_ok=filters["missing_fields_ok"]
    )
    inside = set(allowed.tolist())
    lost = sorted(name for name, place in places.items() if place not in inside)
    if lost:
        notes.append(
            f"the filter leaves out {_counted(lost, 'relevant document', 'relevant documents')}, which "
            "count as not found"
        )


def checked_depths(k: Any, most: int, filtered: bool, notes: list[str]) -> tuple[int, ...]:
    """The depths that are asked for, rising, no deeper than there are documents.

    Args:
        k: one or several.
        most: documents.
        filtered: whether a filter has left these.
        notes: are added to.

    Raises:
        QueryError: one is no whole number from 1.
    """
    if isinstance(k, np.ndarray):
        k = k.tolist()
    one = isinstance(k, int | np.integer | str) or not isinstance(k, Iterable)
    given = [k] if one else list(k)
    depths = sorted({whole_number("k", one) for one in given})
    if not depths or depths[0] < 1:
        raise QueryError(f"k must be at least 1, found {depths[0] if depths else 'none'}")
    if depths[-1] > max(1, most):
        why = (
            "there are no more documents" if not filtered else "the filter allows no more documents"
        )
        if not most and filtered:
            why = "the filter allows no document"
        notes.append(f"k goes to {max(1, most):,}: {why}")
        depths = sorted({min(one, max(1, most)) for one in depths})
    return tuple(depths)


def _relevant(judgments: Judgments) -> set[str]:
    """Documents that are relevant for any query."""
    return {name for of_query in judgments.values() for name, v in of_query.items() if v > 0}


def _counted(ids: list[str], one: str, many: str) -> str:
    """How many, and which the first are."""
    named = ", ".join(repr(name) for name in ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
    return f"{len(ids):,} {one if len(ids) == 1 else many} ({named})"
