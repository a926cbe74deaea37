"""The index: build, open, search. A facade that joins the rooms below and computes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsearch.documents import Document, Embeddings, Fields, open_corpus
from qsearch.encoding import (
    DEFAULT_MODEL,
    UNNAMED_MODEL,
    ContractCheck,
    Encoder,
    EncoderContract,
    EncoderIdentity,
    adapted,
    check_contract,
    load_encoder,
    load_encoder_of,
)
from qsearch.errors import EncoderError, IndexClosed, QueryError
from qsearch.indexing import BuildOptions, BuildReport, Progress, build_index
from qsearch.locks import ProcessLock
from qsearch.options import METHODS, RetrievalOptions, SearchOptions, documented, settled
from qsearch.results import SearchResult, VectorResult
from qsearch.retrieval import Tuning, check_queries
from qsearch.snapshot import Snapshot
from qsearch.wording import words

__all__ = ["METHODS", "Index"]


class Index:
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

    path: Path
    build_report: BuildReport | None
    _snapshot: Snapshot | None
    _given_encoder: Encoder | str | None
    _device: str
    _backend: str
    _encoder: Encoder | None
    _lock: ProcessLock

    def __init__(self, *arguments: object, **named: object) -> None:
        """Not so: ``Index.open`` opens an index, ``Index.build`` makes one."""
        raise TypeError("Index.open(path) opens an index, Index.build(corpus, path) makes one")

    # Making and opening

    @classmethod
    def build(
        cls,
        corpus: str | Path | Iterable[Document | Mapping[str, Any]] | None,
        path: str | Path,
        *,
        encoder: Encoder | str | Any | None = None,
        embeddings: Any = None,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "float32",
        input_format: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        fields: Fields | Mapping[str, Any] | None = None,
        options: BuildOptions | Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """Build an index, or finish one whose build was interrupted.

        Args:
            corpus: a file (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.txt``, ``.parquet``, also
                compressed), a folder with a ``corpus.jsonl``, ``-`` for standard input, or documents;
                ``None`` only with ``embeddings``.
            path: the index directory to make.
            encoder: a model's name or path, a ``SentenceTransformer``, or an ``Encoder``. By default
                all-MiniLM-L6-v2, or none where ``embeddings`` are given.
            embeddings: (n, d) numbers made elsewhere, one row for each record of the corpus: an array,
                nested lists or a torch tensor, or the path of a file (``.npy``, ``.npz``, ``.fvecs``,
                ``.bvecs``; ``vectors.npz:name`` is one of several arrays).
            device: where a named model runs: ``auto``, ``cpu``, ``cuda``.
            backend: what runs a named model: ``onnx`` (on CPU, faster), ``torch``, or ``auto``: onnx
                where that is possible.
            precision: dtype of a named model's weights: ``float32``, ``bfloat16`` or ``float16``.
            input_format: ``jsonl``, ``csv``, ``tsv``, ``text`` or ``parquet``; by default from the
                file name.
            delimiter: what parts the columns of CSV and TSV; by default told from the first lines.
            encoding: of a text file that is not UTF-8, as Python names it (``cp1252``).
            fields: which field is which, as ``Fields`` or as a mapping such as ``{"text": "body"}``.
            options: what else can be set: ``BuildOptions``, or a mapping of their names.
            progress: is told what is done.

        Returns:
            The open index; what was done is its ``build_report``.

        Raises:
            QsearchError: one of its kinds; the message says what to do. What was durable stays, and
                the next build of the same index goes on from there.

        Examples:
            Embeddings of your own, without an encoder, are searched by vector:

            >>> import numpy as np
            >>> vectors = np.eye(4, dtype=np.float32)
            >>> index = Index.build(None, tmp / "axes", embeddings=vectors)
            >>> index.search_vectors(np.array([[0.0, 3.0, 1.0, 0.0]]), k=2).positions
            array([[1, 2]])
        """
        given = None if embeddings is None else Embeddings(embeddings)
        opened = None
        if corpus is not None:
            opened = open_corpus(
                corpus,
                format=input_format,
                delimiter=delimiter,
                encoding=encoding,
                fields=fields,
                text_required=given is None,
            )
        if encoder is None and given is None:
            encoder = DEFAULT_MODEL
        used: list[Encoder] = []

        def load() -> Encoder:
            if isinstance(encoder, str | Path):
                used.append(
                    load_encoder(str(encoder), device=device, backend=backend, precision=precision)
                )
            else:
                used.append(adapted(encoder))
            return used[0]

        report = build_index(
            opened,
            Path(path),
            load_encoder=None if encoder is None else load,
            embeddings=given,
            options=options,
            progress=progress,
        )
        index = cls.open(path, encoder=used[0] if used else None)
        index.build_report = report
        return index

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
            device: where a named model runs.
            backend: what runs a named model, see ``build``.

        Raises:
            IndexFormatError: it is missing, half written, damaged, or of another version.
        """
        index = object.__new__(cls)
        index.path = Path(path)
        index.build_report = None
        index._given_encoder = str(encoder) if isinstance(encoder, Path) else encoder
        index._device, index._backend = device, backend
        index._encoder = None
        index._lock = ProcessLock()
        index._snapshot = Snapshot.open(index.path)
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, an index is where it is and how it was opened."""
        self._open  # a closed one stays closed  # noqa: B018
        given = self._given_encoder
        return _opened_again, (
            type(self),
            os.path.abspath(self.path),
            given,
            self._device,
            self._backend,
        )

    def close(self) -> None:
        """Let go of catalog and maps; whatever is asked afterwards is an error.

        A search that another thread is in the middle of ends as it would have, or in that error.
        """
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

    def __enter__(self) -> Index:
        """Return self."""
        self._open  # noqa: B018
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
        return isinstance(id, str) and bool(self._open.catalog.lines_of([id]))

    @property
    def dimensions(self) -> int:
        """Components of a vector."""
        return self._open.dimensions

    @property
    def rows(self) -> int:
        """Number of vectors: of passages, where documents are split into them, else of documents."""
        return self._open.rows

    @property
    def has_graph(self) -> bool:
        """Whether ``method="graph"`` is possible."""
        return all(segment.graph is not None for segment in self._open.segments)

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
        """What was measured at build about recall; ``None`` where nothing was."""
        return self._open.tuning

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

    # Searching

    @documented(SearchOptions)
    def search(self, query: str, k: int = 10, **options: Unpack[SearchOptions]) -> SearchResult:
        """Find the k documents nearest to a text.

        Args:
            query: the text.
            k: hits wanted; an index with fewer documents gives them all.
            **options: see ``SearchOptions``.

        Raises:
            QueryError: the query is empty, k is below 1, or an option is out of its range.
            EncoderMismatch: the encoder is not the one that the index was built with.
            EncoderError: the encoder cannot be loaded, or there is none.
        """
        return self.search_batch([query], k, **options)[0]

    @documented(SearchOptions)
    def search_batch(
        self, queries: Iterable[str], k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[SearchResult]:
        """Search several texts at once; faster than one after the other, with the same results.

        Args:
            queries: the texts: any iterable of strings.
            k: hits wanted for each.
            **options: see ``SearchOptions``.

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
        asked = settled(SearchOptions, options, "search")
        explain = asked.pop("explain")
        request = snapshot.searcher.request(k, **asked)
        texts = _checked_texts(queries)
        if not texts:
            return []
        encoder = self._checked_encoder(snapshot)
        vectors = check_queries(encoder.encode_queries(texts), snapshot.dimensions)
        return snapshot.answers(request, vectors, explain=explain)

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
        asked = settled(SearchOptions, options, "search_by_vectors")
        explain = asked.pop("explain")
        request = snapshot.searcher.request(k, **asked)
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
        request = snapshot.searcher.request(
            k, **settled(RetrievalOptions, options, "search_vectors")
        )
        vectors = check_queries(queries, snapshot.dimensions)
        return snapshot.arrays(snapshot.searcher.search(vectors, request))

    # The encoder

    def check_encoder(self) -> ContractCheck:
        """Load the encoder and hold it against the contract, without refusing it.

        Raises:
            EncoderError: it cannot be loaded, or the index has none.
        """
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

    def _checked_encoder(self, snapshot: Snapshot) -> Encoder:
        with self._lock:
            if self._encoder is None:
                contract = self._contract_of(snapshot)
                encoder = self._load_encoder(contract)
                check_contract(contract, encoder).require(str(self.path))
                self._encoder = encoder
            return self._encoder

    def _load_encoder(self, contract: EncoderContract) -> Encoder:
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
        if not text.strip():
            raise QueryError(f"{which} is empty")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise QueryError(
                f"{which} is not valid Unicode text: the character at {error.start} is half of a "
                "surrogate pair"
            ) from None
    return texts
