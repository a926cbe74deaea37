"""MTEB's retrieval and reranking tasks on qsearch: an ``IndexEncoderSearchProtocol`` of MTEB 2.

MTEB encodes, and hands over embeddings; what comes back are numbers of documents and scores. Nothing of
MTEB is imported: a protocol needs no base class.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.documents import Embeddings
from qsearch.documents.numbers import as_numbers
from qsearch.errors import CorpusError, EncoderError, QueryError
from qsearch.index import Index
from qsearch.indexing import BuildOptions
from qsearch.options import WayOptions
from qsearch.retrieval import Searcher

__all__ = ["QsearchIndex"]

_OTHERS = ("euclidean", "manhattan", "MaxSim")
"""What MTEB calls similarities that are not the cosine of any two vectors."""

_COMPARED = 8
"""So many documents of each call, and queries, are held against the model's own similarity."""

_TOLERANCE = 0.01
"""Scores that differ by less are the same: bfloat16 keeps eight bits, and so do some GPUs."""

_Answer = tuple[list[list[float]], list[list[int]]]


class QsearchIndex:
    """A search backend for MTEB 2: ``SearchEncoderWrapper(model, index_backend=QsearchIndex(model))``.

    An index is made in a folder of its own when the first documents come; further ones are added to it. It
    is gone after ``clear``, which MTEB calls behind each search, or with the object. Documents that were
    ranked before, in tasks that rerank, are always scored exactly.

    Scores are cosines. What the model takes for similarity is held against them before a search: where it
    is another (a dot product of embeddings that are no unit vectors, a distance) the search is refused.

    Args:
        model: the encoder, as MTEB has it; if it is given, one whose similarity cannot be the cosine is
            refused before it has encoded anything.
        folder: where to make the index: a directory that is not there yet. By default a temporary one.
        **options: how it is searched: see ``WayOptions``. By default exactly.

    Raises:
        EncoderError: the similarity of the model is not the cosine.
        QueryError: an option is out of its range, or two contradict each other.

    Examples:
        >>> index = QsearchIndex(recall="exact")
        >>> index.add_documents(np.array([[1.0, 0.0], [0.0, 2.0]]), ["a", "b"])
        >>> index.add_documents(np.array([[3.0, 3.0]]), ["c"])
        >>> scores, numbers = index.search(np.array([[1.0, 0.1]]), top_k=2)
        >>> np.round(scores, 4).tolist(), numbers
        ([[0.995, 0.774]], [[0, 2]])
        >>> ranked = {"q": ["b", "c"]}
        >>> index.search(np.array([[1.0, 0.1]]), 1, top_ranked=ranked, query_idx_to_id={0: "q"})[1]
        [[1]]
        >>> index.clear()
    """

    def __init__(
        self,
        model: Any = None,
        *,
        folder: str | Path | None = None,
        **options: Unpack[WayOptions],
    ) -> None:
        _check_name(model)
        Searcher([], None).request(1, **options)  # for what it refuses
        self._options = options
        self._folder = None if folder is None else Path(folder).absolute()
        self._made: weakref.finalize[Any, Any] | None = None
        self._index: Index | None = None
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows = np.empty(0, dtype=np.int64)
        self._without: list[int] = []
        self._samples: list[Any] = []
        self._count = 0

    def add_documents(self, embeddings: Any, idxs: Iterable[str]) -> None:
        """Add documents behind those that are there.

        Args:
            embeddings: (n, d) numbers: an array or a tensor. Of one that is zero every cosine is 0, as in
                MTEB.
            idxs: their n ids.

        Raises:
            CorpusError: they are no such numbers, hold NaN or infinity, or are not as many as ids.
            IndexExists: there is something in the folder already.
            IndexWriteError: the file system refuses.
        """
        given, names = Embeddings(embeddings), list(idxs)
        if given.rows != len(names):
            raise CorpusError(f"there are {given.rows:,} embeddings, and {len(names):,} ids")
        if not names:
            return
        array = given.read(0, given.rows)
        directed = array.any(axis=1)
        rows = np.flatnonzero(directed)
        if len(rows):
            self._append(array if directed.all() else array[rows])
        self._rows = np.concatenate([self._rows, rows + self._count])
        self._without += (np.flatnonzero(~directed) + self._count).tolist()
        self._samples.append(_spread(embeddings))
        self._numbers.update(zip(names, range(self._count, self._count + len(names)), strict=True))
        self._count += len(names)

    def _append(self, array: NDArray[np.floating]) -> None:
        if self._index is not None:
            self._index.add(embeddings=array)
            return
        place = self._folder
        if place is None:
            temporary = Path(tempfile.mkdtemp(prefix="qsearch-mteb-"))
            self._made = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            place = temporary / "index"
        options = BuildOptions(graph=self._options.get("method") == "graph")
        self._index = Index.build(None, place, embeddings=array, options=options)
        if self._folder is not None:
            self._made = weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any] | None = None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> _Answer:
        """Find the nearest documents, or put those that were ranked before in order.

        Args:
            embeddings: (q, d) numbers: of the queries.
            top_k: documents wanted for each, best first.
            similarity_fn: the model's similarity of (q, d) and (n, d), as (q, n); ``None``: the cosine.
            top_ranked: ids of the documents to put in order, by the id of a query.
            query_idx_to_id: the ids of the queries, by their number; needed with ``top_ranked``.

        Returns:
            For each query the scores, and the numbers of the documents: in the order in which they were
            added, or with ``top_ranked`` in its list for this query, as MTEB reads them.

        Raises:
            EncoderError: the similarity of the model is not the cosine.
            QueryError: the embeddings hold NaN or infinity or have other dimensions, a document that was
                ranked before was not added, or candidates are fewer than ``top_k``.
        """
        if not self._count:
            raise QueryError("there are no documents to search; call add_documents first")
        if not len(embeddings):
            return [], []
        queries = Embeddings(embeddings)
        array = queries.read(0, queries.rows)
        if similarity_fn is not None:
            self._check_similarity(embeddings, array, similarity_fn)
        if top_ranked is None:
            return self._nearest(array, min(top_k, self._count))
        if query_idx_to_id is None:
            raise QueryError("top_ranked needs the ids of the queries: give query_idx_to_id too")
        scores: list[list[float]] = []
        places: list[list[int]] = []
        for number in range(queries.rows):
            name = query_idx_to_id[number]
            of_query = self._reranked(array[number : number + 1], top_ranked.get(name, ()), top_k)
            scores.append(of_query[0])
            places.append(of_query[1])
        return scores, places

    def _nearest(self, queries: NDArray[np.floating], k: int) -> _Answer:
        scores: list[list[float]] = [[]] * len(queries)
        numbers: list[list[int]] = [[]] * len(queries)
        directed = np.flatnonzero(queries.any(axis=1))
        if self._index is not None and len(directed):
            found = self._index.search_vectors(queries[directed], k, **self._options)
            for query, positions, cosines in zip(
                directed.tolist(), found.positions, found.scores, strict=True
            ):
                there = positions >= 0
                scores[query] = cosines[there].tolist()
                numbers[query] = self._rows[positions[there]].tolist()
        zeros = set(range(len(queries))) - set(directed.tolist())
        for query in range(len(queries)):
            idle = range(self._count) if query in zeros else self._without
            if idle:
                scores[query], numbers[query] = _with_zeros(scores[query], numbers[query], idle, k)
        return scores, numbers

    def _reranked(
        self, query: NDArray[np.floating], names: Sequence[str], k: int
    ) -> tuple[list[float], list[int]]:
        """The k best of some documents, exactly, by their places among these."""
        places: dict[int, int] = {}
        for place, name in enumerate(names):
            number = self._numbers.get(name)
            if number is None:
                raise QueryError(f"document {name!r} was ranked before, and was not added")
            places.setdefault(number, place)
        if not places:
            return [], []
        scores: list[float] = []
        found: list[int] = []
        idle = sorted(set(places) & set(self._without)) if query.any() else sorted(places)
        wanted = np.searchsorted(self._rows, sorted(set(places) - set(idle)))
        if self._index is not None and len(wanted):
            condition = {"id": {"$in": [str(one) for one in wanted.tolist()]}}
            ranking = self._index.search_vectors(query, min(k, len(wanted)), where=condition)
            scores = ranking.scores[0].tolist()
            found = self._rows[ranking.positions[0]].tolist()
        scores, found = _with_zeros(scores, found, idle, k)
        return scores, [places[number] for number in found]

    def _check_similarity(
        self, embeddings: Any, queries: NDArray[np.floating], similarity_fn: Callable[..., Any]
    ) -> None:
        """Hold the model's similarity of some queries and documents against their cosines."""
        some = _spread(embeddings)
        left = unit_rows(_array(some))[0].astype(np.float64)
        for sample in self._samples:
            right = unit_rows(_array(sample))[0].astype(np.float64)
            cosines = left @ right.T
            theirs = as_numbers(similarity_fn(some, sample)).reshape(cosines.shape)
            worst = np.unravel_index(np.argmax(np.abs(theirs - cosines)), cosines.shape)
            if not abs(theirs[worst] - cosines[worst]) < _TOLERANCE:  # NaN neither
                raise EncoderError(
                    f"the model's similarity is not the cosine: it is {theirs[worst]:.4f} where that is "
                    f"{cosines[worst]:.4f}. {_ADVICE}"
                )

    def clear(self) -> None:
        """Throw the index away; documents can be added anew."""
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._made is not None:
            self._made()
            self._made = None
        self._forget()


_ADVICE = (
    "qsearch ranks by the cosine: normalize the embeddings, if the model is meant to be used so, or "
    "evaluate it without this index_backend"
)


def _check_name(model: Any) -> None:
    """Refuse a model that says that its similarity is a distance, or several vectors'."""
    named = getattr(getattr(model, "mteb_model_meta", None), "similarity_fn_name", None)
    name = getattr(named, "value", named)
    if isinstance(name, str) and name in _OTHERS:
        raise EncoderError(f"the model's similarity is {name}, not the cosine. {_ADVICE}")


def _spread(embeddings: Any) -> Any:
    """A copy of some rows, in the type that they have, as the model's similarity takes them."""
    some = embeddings[:: max(1, -(-len(embeddings) // _COMPARED))]
    for name in ("clone", "copy"):  # a view would keep all of them
        if hasattr(some, name):
            return getattr(some, name)()
    return some


def _array(embeddings: Any) -> NDArray[np.floating]:
    given = Embeddings(embeddings)
    return given.read(0, given.rows)


def _with_zeros(
    scores: list[float], numbers: list[int], idle: Iterable[int], k: int
) -> tuple[list[float], list[int]]:
    """The k best with documents among them of which the cosine is 0 because there is no direction."""
    every = [*zip(scores, numbers, strict=True), *((0.0, number) for number in idle)]
    every = sorted(every, key=lambda one: (-one[0], one[1]))[:k]
    return [score for score, _ in every], [number for _, number in every]
