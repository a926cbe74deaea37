"""The index: open, read, search. A facade that joins the rooms below and computes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsearch.changeable import Changeable
from qsearch.errors import EncoderError, EncoderMismatch, IndexClosed, QueryError
from qsearch.kernels import thread_count
from qsearch.lazily import cached_property
from qsearch.locks import ProcessLock
from qsearch.options import (
    METHODS,
    RetrievalOptions,
    SearchOptions,
    TextSearchOptions,
    documented,
    settled,
)
from qsearch.reordering import reordered, taken
from qsearch.results import SearchResult, VectorResult
from qsearch.retrieval import Tuning, check_queries
from qsearch.snapshot import Snapshot
from qsearch.streams import device_name
from qsearch.wording import words

if TYPE_CHECKING:
    from qsearch.documents import Document
    from qsearch.encoding import ContractCheck, Encoder, EncoderContract, EncoderIdentity
    from qsearch.filters import Where
    from qsearch.indexing import Progress
    from qsearch.reranking import Rerankers
    from qsearch.store import FieldReport

__all__ = ["METHODS", "Index"]

_REFUSED_SECONDS = 10.0
"""A model that was loaded and refused is not loaded again for so long: many may ask at a time."""


class Index(Changeable):
    """A searchable collection of documents in a directory.

    Open one with ``Index.open``, make one with ``Index.build``. Safe to share between threads, and with
    children of ``os.fork``; pickled, it opens itself again where it is unpickled. Use it as a context
    manager, or call ``close``. Its length is the number of documents, and iterating over it gives them
    in order.

    Attributes:
        path: the directory.
        build_report: what ``build`` did, where it made this index; else ``None``.

    Examples:
        >>> from qsearch import Index
        >>> index = Index.build(
        ...     [
        ...         {"id": "a", "text": "A kitten is a young cat."},
        ...         {"id": "b", "text": "The stock market fell sharply."},
        ...         {"id": "c", "text": "Dogs bark at strangers."},
        ...     ],
        ...     tmp / "pets",
        ... )
        >>> len(index)
        3
        >>> result = index.search("baby feline", k=2)
        >>> [hit.id for hit in result], result.certified
        (['a', 'c'], True)
        >>> [document.id for document in index], "b" in index
        (['a', 'b', 'c'], True)
    """

    _snapshot: Snapshot | None
    _given_encoder: Encoder | str | None
    _device: str
    _backend: str
    _encoder: tuple[Any, Encoder] | None  # and the contract that it was held against
    _refused: tuple[Any, float, EncoderMismatch] | None  # contract, when, why
    _lock: ProcessLock  # of the encoder
    _refreshing: ProcessLock
    _swapping: ProcessLock

    def __init__(self, *arguments: object, **named: object) -> None:
        """Not so: ``Index.open`` opens an index, ``Index.build`` makes one."""
        raise TypeError("Index.open(path) opens an index, Index.build(corpus, path) makes one")

    # Making and opening

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | str | Any | None = None,
        device: str = "auto",
        backend: str = "auto",
    ) -> Index:
        """Open an index for searching.

        Sizes and headers of all files are checked before they are mapped; their contents are not
        read (``qsearch verify`` does that). The encoder is loaded, and held against the contract of
        the index, when the first text is searched.

        Args:
            path: the index directory.
            encoder: a model's name or path, a ``SentenceTransformer``, or an ``Encoder``; by default the
                one that the index names.
            device: where a named model runs, also one that reranks, and where exact searches do: ``cpu``;
                ``cuda`` or names of GPUs (``cuda:0,cuda:1``), each of which holds a part of the index;
                ``auto``: the GPUs there are, for searches as soon as it pays to load the index there (32
                queries at once, or 1,000 in all) and if it fits. The answers are the same to the bit.
            backend: what runs a named model, see ``build``; also one that reranks.

        Raises:
            IndexFormatError: it is missing, half written, damaged, or of another version.
        """
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"Index.open takes the path of an index, found {type(path).__name__}")
        index = object.__new__(cls)
        index._named = Path(path)
        index._place = Path(os.path.abspath(path))
        index.build_report = None
        index._given_encoder = str(encoder) if isinstance(encoder, Path) else encoder
        index._encoder_name = None
        index._device, index._backend = device_name(device), backend
        index._encoder = index._refused = None
        index._lock, index._refreshing = ProcessLock(), ProcessLock()
        index._swapping = ProcessLock()
        index._snapshot = Snapshot.open(index.path, device=index._device)
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, an index is where it is and how it was opened."""
        self._check_open()  # a closed one stays closed
        given = self._given_encoder if self._encoder_name is None else self._encoder_name
        return _opened_again, (
            type(self),
            str(self._place),
            given,
            self._device,
            self._backend,
        )

    def close(self) -> None:
        """Let go of catalog and maps; whatever is asked afterwards is an error.

        A search that another thread is in the middle of ends as it would have, or in that error.
        """
        with self._swapping:
            snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            snapshot.catalog.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._snapshot is None

    @property
    def _open(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            raise IndexClosed(f"{self.path} was closed; open it again with Index.open")
        return snapshot

    def _check_open(self) -> None:
        """For what asks nothing of the snapshot itself.

        Raises:
            IndexClosed: it was closed.
        """
        _ = self._open

    def __enter__(self) -> Index:
        """Return self."""
        self._check_open()
        return self

    def __exit__(self, *exception: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """What it is and how large."""
        snapshot = self._snapshot
        if snapshot is None:
            return f"<Index {str(self.path)!r}: closed>"
        told = snapshot.settings.get("encoder")
        encoder = told.get("model") if isinstance(told, dict) else "no encoder"
        passages = f" in {snapshot.rows:,} passages" if snapshot.searcher.documents.split else ""
        return (
            f"<Index {str(self.path)!r}: {snapshot.documents:,} documents{passages}, "
            f"{snapshot.dimensions:,} dimensions, {encoder}>"
        )

    # What it holds

    def __len__(self) -> int:
        """Number of documents."""
        return self._open.documents

    def __iter__(self) -> Iterator[Document]:
        """Every document, in order. A few are in memory at a time."""
        return self._open.all_documents()

    def __contains__(self, id: object) -> bool:
        """Whether there is a document of this id."""
        from qsearch.documents import surrogate_in

        catalog = self._open.catalog
        return isinstance(id, str) and surrogate_in(id) is None and bool(catalog.lines_of([id]))

    @property
    def commit(self) -> int:
        """Number of the commit that it answers from: 1 as it was built, and one more for each change."""
        return self._open.commit

    @property
    def measured(self) -> dict[str, Any] | None:
        """What ``tuning`` was measured on; ``None``: nothing, or what nobody wrote down (before format 3).

        Its ``commit``, ``rows`` and ``segments``, and how many rows came ``later``: searches at a recall
        compare those exactly. Where so much has changed that it says nothing any more, that is all rows.
        """
        snapshot = self._open
        told = snapshot.settings.get("measured")
        return {**told, "later": snapshot.rows_later} if isinstance(told, dict) else None

    @property
    def segments(self) -> int:
        """In how many segments the rows are, beside the newest ones, which the catalog holds."""
        return self._open.stored_segments

    @property
    def dead_rows(self) -> int:
        """Rows of documents that are gone, which no search looks at; ``compact`` gives back their room."""
        return self._open.dead_rows

    @property
    def past(self) -> int:
        """Documents and metadata of earlier commits that are kept until ``compact``."""
        return self._open.catalog.past()

    @property
    def unfinished(self) -> tuple[str, int] | None:
        """A change that is under way, or was interrupted: its kind, and how many records of it are kept.

        The same change goes on with them; another one, also ``compact``, throws them away.
        """
        return self._open.catalog.unfinished()

    @overload
    def get(self, ids: str) -> Document: ...  # type: ignore[overload-overlap]

    @overload
    def get(self, ids: Iterable[str]) -> list[Document]: ...

    def get(self, ids: str | Iterable[str]) -> Document | list[Document]:
        """Documents by their ids.

        Args:
            ids: one, or several.

        Returns:
            The document, or a list in the order of ``ids``.

        Raises:
            QueryError: there is no document of an id.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "blue"}], tmp / "got")
            >>> index.get("a").text, [one.id for one in index.get(["a"])]
            ('blue', ['a'])
        """
        from qsearch.documents import checked_ids

        snapshot = self._open
        found = snapshot.documents_at(snapshot.positions_of(checked_ids(ids)))
        return found[0] if isinstance(ids, str) else found

    def vectors(self, ids: str | Iterable[str]) -> list[NDArray[np.float32]]:
        """The unit rows of documents, as they are stored.

        Args:
            ids: one, or several.

        Returns:
            For each document (rows, d) float32: one row, or one for each passage.

        Raises:
            QueryError: there is no document of an id.
        """
        from qsearch.documents import checked_ids

        snapshot = self._open
        return snapshot.vectors_at(snapshot.positions_of(checked_ids(ids)))

    def check_vectors(self) -> None:
        """Hold all rows against their checksums, before they are copied to where none tells of damage.

        Raises:
            IndexFormatError: some are damaged; names the file.
        """
        self._open.check_vectors()

    @property
    def fields(self) -> list[FieldReport]:
        """The fields of the metadata: their kinds, how many documents have them, and which are indexed.

        An index of a format before 4 has to read all metadata for it.
        """
        return self._open.selections.fields.reports()

    def find(
        self,
        where: Where,
        *,
        params: Mapping[str, Any] | None = None,
        missing_fields_ok: bool = False,
    ) -> Iterator[Document]:
        """Documents for which a condition holds, in order. A few are in memory at a time.

        Args:
            where: the condition, see ``search``.
            params: values of the names in it.
            missing_fields_ok: let it speak of fields that no document has.

        Raises:
            QueryError: it is no condition, a field is not there, or it took too long.

        Examples:
            >>> index = Index.build(
            ...     [{"id": "a", "text": "x", "year": 1999}, {"id": "b", "text": "y", "year": 2024}],
            ...     tmp / "found",
            ... )
            >>> [document.id for document in index.find("year > :since", params={"since": 2000})]
            ['b']
            >>> index.count({"year": {"$lt": 2030}})
            2
        """
        snapshot = self._open
        found = snapshot.selections.positions(where, params, missing_ok=missing_fields_ok)
        return snapshot.documents_at_each(found.tolist())

    def count(
        self,
        where: Where,
        *,
        params: Mapping[str, Any] | None = None,
        missing_fields_ok: bool = False,
    ) -> int:
        """How many documents a condition holds for.

        Args:
            where: the condition, see ``search``.
            params: values of the names in it.
            missing_fields_ok: let it speak of fields that no document has.

        Raises:
            QueryError: as ``find``.
        """
        selections = self._open.selections
        return selections.allowed(where, params, missing_ok=missing_fields_ok).documents or 0

    def is_quick(
        self,
        where: Where,
        *,
        params: Mapping[str, Any] | None = None,
        missing_fields_ok: bool = False,
    ) -> bool:
        """Whether a search under this condition need not look through the metadata of all documents.

        It need not where its fields are indexed, or where the same was asked for lately.

        Args:
            where: the condition, see ``search``.
            params: values of the names in it.
            missing_fields_ok: let it speak of fields that no document has.

        Raises:
            QueryError: as ``find``.
        """
        return self._open.selections.is_quick(where, params, missing_ok=missing_fields_ok)

    @property
    def dimensions(self) -> int:
        """Components of a vector."""
        return self._open.dimensions

    @property
    def rows(self) -> int:
        """Number of vectors: of passages, where documents are split into them, else of documents."""
        return self._open.rows

    @property
    def searches_on(self) -> str:
        """Where exact searches run at the moment: ``cpu``, or the GPUs that hold the index."""
        placing = self._open.placing
        return "cpu" if placing is None else placing.where

    @property
    def has_graph(self) -> bool:
        """Whether ``method="graph"`` is possible."""
        segments = self._open.segments
        wanted = bool(self._open.settings.get("graph"))
        return (wanted or any(one.has_graph for one in segments)) and not any(
            one.graph_problem for one in segments
        )

    @property
    def text_index(self) -> dict[str, str] | None:
        """Language and tokenizer of the text index; ``None`` where there is none."""
        tokenizer = self._open.text_search.tokenizer
        if tokenizer is None:
            return None
        told = self._open.settings.get("text_index")
        language = told["language"] if isinstance(told, dict) else "not known (damaged)"
        return {"language": language, "tokenizer": tokenizer}

    @property
    def format(self) -> int:
        """Version of the format in which it was written."""
        return self._open.catalog.version

    @property
    def settings(self) -> dict[str, Any]:
        """What the catalog says about the index: JSON values."""
        return dict(self._open.settings)

    @property
    def contract(self) -> EncoderContract | None:
        """What the index promises about its encoder; ``None`` where it has none."""
        return self._open.contract

    @property
    def encoder_identity(self) -> EncoderIdentity | None:
        """The encoder that the index was built with; ``None`` where it has none."""
        contract = self._open.contract
        return None if contract is None else contract.identity

    @property
    def tuning(self) -> Tuning | None:
        """What was measured about recall, with the times of so many threads as a search would have now.

        ``None`` where nothing was measured.
        """
        tuning = self._open.tuning
        return None if tuning is None else tuning.on(thread_count())

    def ids(self, positions: ArrayLike) -> NDArray[np.object_]:
        """Ids of the documents at ``positions``.

        Args:
            positions: whole numbers in any shape, as in ``VectorResult``; −1 gives ``None``.

        Returns:
            Strings, in the same shape.

        Raises:
            QueryError: a position is no whole number, or out of range.
        """
        return self._open.ids(positions)

    def documents(self, positions: ArrayLike) -> list[Document]:
        """Documents by their positions in the corpus.

        Args:
            positions: (n,) whole numbers from 0, as in a row of ``VectorResult.positions``.

        Returns:
            n documents, in the order of ``positions``.

        Raises:
            QueryError: a position is no whole number, or out of range, or there is more than one axis.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "blue"}, {"id": "b", "text": "red"}], tmp / "d")
            >>> [document.text for document in index.documents([1, 0])]
            ['red', 'blue']
        """
        return self._open.documents_at(positions)

    # Commits

    def refresh(self) -> bool:
        """Answer from the newest commit from now on; returns whether there was a newer one.

        Searches that are going on in other threads end on the commit that they began with.
        """
        with self._refreshing:  # else a thread that began earlier could go back behind another one
            before = self._open
            now = Snapshot.open(self.path, before, self._device)
            if now.commit == before.commit and not before.catalog.was_replaced():
                now.catalog.close()
                return False
            # What another thread is reading from the old one it reads to the end: it is not closed here.
            with self._swapping:
                if self._snapshot is None:  # closed meanwhile, and stays so
                    now.catalog.close()
                    self._check_open()
                self._snapshot = now
            return True

    def _refreshed(self) -> None:
        if self._snapshot is not None:
            self.refresh()

    # Searching

    @documented(TextSearchOptions)
    def search(self, query: str, k: int = 10, **options: Unpack[TextSearchOptions]) -> SearchResult:
        """Find the k documents nearest to a text.

        Args:
            query: the text.
            k: hits wanted; an index with fewer documents gives them all.
            **options: see ``TextSearchOptions``.

        Raises:
            QueryError: the query is empty, k is below 1, or an option is out of its range.
            EncoderMismatch: the encoder is not the one that the index was built with.
            EncoderError: the encoder, or what reranks, cannot be loaded or run, or there is no encoder.
        """
        return self.search_batch([query], k, **options)[0]

    @documented(TextSearchOptions)
    def search_batch(
        self,
        queries: Iterable[str],
        k: int = 10,
        *,
        progress: Progress | None = None,
        **options: Unpack[TextSearchOptions],
    ) -> list[SearchResult]:
        """Search several texts at once; faster than one after the other, with the same results.

        Args:
            queries: the texts: any iterable of strings.
            k: hits wanted for each.
            progress: is told what is done, where hits are reranked: the rest takes no time.
            **options: see ``TextSearchOptions``.

        Returns:
            One result for each query, in order.

        Raises:
            QsearchError: as ``search``.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "blue"}, {"id": "b", "text": "red"}], tmp / "c")
            >>> [[hit.id for hit in result] for result in index.search_batch(["azure", "scarlet"], k=1)]
            [['a'], ['b']]
        """
        snapshot = self._open
        asked = settled(TextSearchOptions, options, "search()")
        rerank, depth = taken(k, asked)

        def encoded(some: Sequence[str]) -> NDArray[np.float32]:
            encoder = self._checked_encoder(snapshot)
            return check_queries(encoder.encode_queries(some), snapshot.dimensions)

        texts = _checked_texts(queries)
        results = snapshot.text_answers(depth, asked, texts, encoded)
        if rerank is None or not texts:
            return results
        return reordered(results, texts, k, self._rerankers.find(rerank), progress)

    @documented(SearchOptions)
    def search_by_vectors(
        self, queries: ArrayLike, k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[SearchResult]:
        """Search by vectors that you already have, for the documents with their texts.

        As ``search_vectors``, whose arrays take less time where positions are enough.

        Args:
            queries: see ``search_vectors``.
            k: hits wanted for each.
            **options: see ``SearchOptions``.

        Returns:
            One result for each query, in order.

        Raises:
            QueryError: see ``search_vectors``.

        Examples:
            >>> vectors = np.array([[1, 0], [1, 1], [0, 1]], dtype=np.float32)
            >>> index = Index.build(None, tmp / "by", embeddings=vectors)
            >>> [hit.id for hit in index.search_by_vectors([[2.0, 0.0]], k=2)[0]]
            ['0', '1']
        """
        snapshot = self._open
        asked = settled(SearchOptions, options, "search_by_vectors()")
        explain = asked.pop("explain")
        request = snapshot.request(k, asked)
        vectors = check_queries(queries, snapshot.dimensions)
        return snapshot.answers(request, vectors, explain=explain)

    @documented(RetrievalOptions)
    def search_vectors(
        self, queries: NDArray[np.floating], k: int = 10, **options: Unpack[RetrievalOptions]
    ) -> VectorResult:
        """Search by vectors that you already have: arrays in, arrays out.

        Only the dimension can be checked here: that the vectors come from the encoder of the index
        is for the caller to see to.

        Args:
            queries: (q, d) numbers, of any length but zero; taken as float32.
            k: documents wanted for each.
            **options: see ``RetrievalOptions``.

        Raises:
            QueryError: another shape or dimension, NaN, infinity or a zero vector; k below 1.

        Examples:
            >>> vectors = np.array([[1, 0], [1, 1], [0, 1]], dtype=np.float32)
            >>> index = Index.build(None, tmp / "plane", embeddings=vectors)
            >>> result = index.search_vectors(np.array([[2.0, 0.0], [0.0, 5.0]]), k=2)
            >>> result.positions
            array([[0, 1],
                   [2, 1]])
            >>> result.scores
            array([[1.        , 0.70710677],
                   [1.        , 0.70710677]], dtype=float32)
            >>> index.ids(result.positions)
            array([['0', '1'],
                   ['2', '1']], dtype=object)
        """
        snapshot = self._open
        request = snapshot.request(k, settled(RetrievalOptions, options, "search_vectors()"))
        vectors = check_queries(queries, snapshot.dimensions)
        request = snapshot.searcher.for_together(request, len(vectors))
        return snapshot.arrays(snapshot.searcher.search(vectors, request))

    # The encoder

    def check_encoder(self) -> ContractCheck:
        """Load the encoder and hold it against the contract, without refusing it.

        Raises:
            EncoderError: it cannot be loaded, or the index has none.
        """
        from qsearch.encoding import check_contract

        contract = self._contract_of(self._open)
        return check_contract(contract, self._load_encoder(contract))

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index, loaded and held against the contract the first time.

        Raises:
            EncoderMismatch: it is another one.
            EncoderError: it cannot be loaded, or the index has none.
        """
        return self._checked_encoder(self._open)

    @cached_property
    def _rerankers(self) -> Rerankers:
        from qsearch.reranking import Rerankers

        return Rerankers(self._device, self._backend)

    def _checked_encoder(self, snapshot: Snapshot) -> Encoder:
        from qsearch.encoding import check_contract

        told = snapshot.settings.get("encoder")
        with self._lock:
            if self._encoder is None or self._encoder[0] != told:  # another index may be there now
                self._refuse_again(told)
                contract = self._contract_of(snapshot)
                try:
                    encoder = self._load_encoder(contract)
                    check_contract(contract, encoder).require(str(self.path))
                except EncoderMismatch as error:
                    if self._given_encoder is None or isinstance(self._given_encoder, str):
                        # Not the error itself, whose traceback holds the model.
                        again = EncoderMismatch(str(error), error.differences)
                        self._refused = told, time.monotonic(), again
                    raise
                self._encoder = told, encoder
            return self._encoder[1]

    def _refuse_again(self, told: object) -> None:
        """Say at once what was found a moment ago: to load a model takes seconds."""
        if self._refused is None:
            return
        of, when, error = self._refused
        if of == told and time.monotonic() - when < _REFUSED_SECONDS:
            raise EncoderMismatch(str(error), error.differences)
        self._refused = None

    def _encoder_of_changes(self) -> Encoder | None:
        snapshot = self._open
        return None if snapshot.contract is None else self._checked_encoder(snapshot)

    def _load_encoder(self, contract: EncoderContract) -> Encoder:
        from qsearch.encoding import UNNAMED_MODEL, adapted, load_encoder_of

        given, identity = self._given_encoder, contract.identity
        if given is not None and not isinstance(given, str):
            return adapted(given)
        if given is None and (identity.weights is None or identity.model == UNNAMED_MODEL):
            raise EncoderError(
                f"{self.path} was built with an encoder of your own ({identity.model}); pass it to "
                "Index.open(path, encoder=...)"
            )
        return load_encoder_of(identity, model=given, device=self._device, backend=self._backend)

    def _contract_of(self, snapshot: Snapshot) -> EncoderContract:
        if snapshot.contract is None:
            raise EncoderError(
                f"{self.path} was built from vectors without an encoder and can only be searched by "
                f"vector ({words().search_vectors}); name the model at build with {words().model} to "
                "search by text"
            )
        return snapshot.contract


def _opened_again(
    kind: type[Index], path: str, encoder: Encoder | str | None, device: str, backend: str
) -> Index:
    return kind.open(path, encoder=encoder, device=device, backend=backend)


def _checked_texts(queries: Iterable[str]) -> list[str]:
    """The texts to search for.

    Raises:
        QueryError: it is no iterable of strings, or one of them is empty or no Unicode text.
    """
    from qsearch.documents import check_text

    if isinstance(queries, str | bytes):
        raise QueryError("search_batch takes several texts; use search for one text")
    if isinstance(queries, Mapping):
        raise QueryError("search_batch takes texts, found a mapping; give its .values()")
    try:
        texts = list(queries)
    except TypeError:
        raise QueryError(
            f"search_batch takes an iterable of texts, found {type(queries).__name__}"
        ) from None
    for number, text in enumerate(texts):
        which = "the query" if len(texts) == 1 else f"query {number}"
        if not isinstance(text, str):
            raise QueryError(f"{which} must be a string, found {type(text).__name__}")
        check_text(which, text)
    return texts
