"""The index: build, open, search. A facade that joins the rooms below and computes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Document, Embeddings, Fields, open_corpus
from qsearch.encoding import (
    DEFAULT_MODEL,
    UNNAMED_MODEL,
    ContractCheck,
    Encoder,
    EncoderContract,
    EncoderIdentity,
    check_contract,
    load_encoder,
    load_encoder_of,
)
from qsearch.encoding.contract import contract_from_store
from qsearch.errors import EncoderError, IndexFormatError, QueryError
from qsearch.indexing import BuildOptions, Progress, build_index
from qsearch.options import METHODS, RetrievalOptions, SearchOptions, documented, settled
from qsearch.results import Explanation, Hit, Passage, SearchResult, StageReport, VectorResult
from qsearch.retrieval import (
    Ranking,
    Request,
    Searcher,
    Tuning,
    check_queries,
    stage_ranks,
)
from qsearch.store import Catalog, Segment
from qsearch.store.format import SEGMENTS
from qsearch.wording import words

__all__ = ["METHODS", "Index"]

_OPEN_ATTEMPTS = 5


class Index:
    """A searchable collection of documents in a directory.

    Open one with ``Index.open``, make one with ``Index.build``. Safe to share between threads. Use it
    as a context manager, or call ``close``.

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
    """

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        segments: list[Segment],
        settings: dict[str, Any],
        encoder: Encoder | str | None,
        device: str,
        backend: str,
    ) -> None:
        """Use ``Index.open`` or ``Index.build``."""
        self.path = path
        self._catalog = catalog
        self._segments = segments
        self._settings = settings
        self._given_encoder = encoder
        self._device = device
        self._backend = backend
        self._encoder: Encoder | None = None
        self._lock = threading.RLock()

    # Making and opening

    @classmethod
    def build(
        cls,
        corpus: str | Path | Iterable[Document | Mapping[str, Any]] | None,
        path: str | Path,
        *,
        encoder: Encoder | str | None = None,
        embeddings: str | Path | NDArray[np.floating] | None = None,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "float32",
        input_format: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        fields: Fields | Mapping[str, Any] | None = None,
        options: BuildOptions | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """Build an index, or finish one whose build was interrupted.

        Args:
            corpus: a file (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.txt``, ``.parquet``, also
                compressed), a folder with a ``corpus.jsonl``, ``-`` for standard input, or documents;
                ``None`` only with ``embeddings``.
            path: the index directory to make.
            encoder: a model's name or path, or an ``Encoder``. By default all-MiniLM-L6-v2, or none
                where ``embeddings`` are given.
            embeddings: (n, d) floats made elsewhere, one row for each record of the corpus, as an
                array or a ``.npy`` file.
            device: where a named model runs: ``auto``, ``cpu``, ``cuda``.
            backend: what runs a named model: ``onnx`` (on CPU, faster), ``torch``, or ``auto``: onnx
                where that is possible.
            precision: dtype of a named model's weights: ``float32``, ``bfloat16`` or ``float16``.
            input_format: ``jsonl``, ``csv``, ``tsv``, ``text`` or ``parquet``; by default from the
                file name.
            delimiter: what parts the columns of CSV and TSV; by default told from the first lines.
            encoding: of a text file that is not UTF-8, as Python names it (``cp1252``).
            fields: which field is which, as ``Fields`` or as a mapping such as ``{"text": "body"}``.
            options: what else can be set.
            progress: is told what is done.

        Returns:
            The open index.

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
        if isinstance(encoder, str) or (encoder is None and given is None):
            name = encoder or DEFAULT_MODEL
            used: list[Encoder] = []

            def load() -> Encoder:
                used.append(load_encoder(name, device=device, backend=backend, precision=precision))
                return used[0]

            build_index(
                opened,
                Path(path),
                load_encoder=load,
                embeddings=given,
                options=options,
                progress=progress,
            )
            return cls.open(path, encoder=used[0])
        build_index(
            opened,
            Path(path),
            load_encoder=None if encoder is None else lambda: encoder,
            embeddings=given,
            options=options,
            progress=progress,
        )
        return cls.open(path, encoder=encoder)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | str | None = None,
        device: str = "auto",
        backend: str = "auto",
    ) -> Index:
        """Open an index for searching.

        Sizes and headers of all files are checked before they are mapped; their contents are not
        read (``qsearch verify`` does that). The encoder is loaded, and held against the contract of
        the index, when the first text is searched.

        Args:
            path: the index directory.
            encoder: a model's name or path, or an ``Encoder``; by default the one that the index
                names.
            device: where a named model runs.
            backend: what runs a named model, see ``build``.

        Raises:
            IndexFormatError: it is missing, half written, damaged, or of another version.
        """
        path = Path(path)
        for _ in range(_OPEN_ATTEMPTS):
            catalog = Catalog.open(path)
            try:
                return cls(path, catalog, *_open_segments(path, catalog), encoder, device, backend)
            except BaseException as error:
                catalog.close()
                # Another index may have taken the place of this one between two files.
                if not isinstance(error, IndexFormatError) or not catalog.was_replaced():
                    raise
        raise IndexFormatError(f"{path} is being replaced over and over; try again")

    def close(self) -> None:
        """Close the catalog and forget the maps; further searches are an error."""
        self._catalog.close()
        self._segments = []
        self.__dict__.pop("_searcher", None)

    def __enter__(self) -> Index:
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close."""
        self.close()

    # What it holds

    def __len__(self) -> int:
        """Number of documents."""
        return int(self._settings["documents"])

    @property
    def dimensions(self) -> int:
        """Components of a vector."""
        return int(self._settings["dimensions"])

    @property
    def rows(self) -> int:
        """Number of vectors: of passages, where documents are split into them, else of documents."""
        return int(self._settings.get("rows", self._settings["documents"]))

    @property
    def has_graph(self) -> bool:
        """Whether ``method="graph"`` is possible."""
        return all(segment.graph is not None for segment in self._segments)

    @property
    def format(self) -> int:
        """Version of the format in which it was written."""
        return self._catalog.version

    @property
    def settings(self) -> dict[str, Any]:
        """What the catalog says about the index: JSON values."""
        return dict(self._settings)

    @cached_property
    def contract(self) -> EncoderContract | None:
        """What the index promises about its encoder; ``None`` where it has none."""
        return contract_from_store(self._settings.get("encoder"), self._catalog.canaries())

    @property
    def encoder_identity(self) -> EncoderIdentity | None:
        """The encoder that the index was built with; ``None`` where it has none."""
        return None if self.contract is None else self.contract.identity

    def ids(self, positions: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ids of the documents at ``positions``.

        Args:
            positions: any shape, as in ``VectorResult``; −1 gives ``None``.

        Returns:
            Strings, in the same shape.
        """
        flat = np.asarray(positions).ravel()
        found = self._catalog.documents(int(one) for one in flat if one >= 0)
        ids = np.empty(len(flat), dtype=object)
        ids[:] = [found[int(one)].id if one >= 0 else None for one in flat]
        return ids.reshape(np.shape(positions))

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
        self, queries: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[SearchResult]:
        """Search several texts at once; faster than one after the other, with the same results.

        Args:
            queries: the texts.
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
        if isinstance(queries, str):
            raise QueryError("search_batch takes a list of texts; use search for one text")
        asked = settled(SearchOptions, options, "search")
        explain = asked.pop("explain")
        request = self._searcher.request(k, **asked)
        for number, query in enumerate(queries):
            if not isinstance(query, str):
                raise QueryError(f"query {number} must be a string, found {type(query).__name__}")
            if not query.strip():
                raise QueryError(
                    "the query is empty" if len(queries) == 1 else f"query {number} is empty"
                )
        if not queries:
            return []
        encoder = self._checked_encoder()
        vectors = check_queries(encoder.encode_queries(list(queries)), self.dimensions)
        ranking = self._searcher.search(vectors, request)
        hits_of = self._hits(ranking)
        results = []
        for number, (positions, hits) in enumerate(zip(ranking.positions, hits_of, strict=True)):
            explanation = None
            if explain:
                found = positions[positions >= 0]
                ranks = stage_ranks(self._segments, vectors[number : number + 1], found)
                explanation = _explanation(request, ranking, number, ranks)
            results.append(
                SearchResult(hits, bool(ranking.certified[number]), request.method, explanation)
            )
        return results

    def _hits(self, ranking: Ranking) -> list[tuple[Hit, ...]]:
        """The documents of a ranking, for each of its queries."""
        documents = self._searcher.documents.documents(ranking.positions)
        spans = self._spans(ranking.positions)
        stored = self._catalog.documents(int(one) for one in documents.ravel() if one >= 0)
        found = []
        for number, (positions, scores) in enumerate(zip(documents, ranking.scores, strict=True)):
            hits: list[Hit] = []
            for place in np.flatnonzero(positions >= 0):
                one = stored[int(positions[place])]
                passage = None
                if spans is not None:
                    begin, end = (int(side) for side in spans[number, place])
                    if not 0 <= begin <= end <= len(one.text):
                        raise IndexFormatError(
                            f"a passage of document {one.id!r} lies outside of its text; {words().verify} "
                            "tells which file is damaged"
                        )
                    passage = Passage(begin, end, one.text[begin:end])
                hits.append(
                    Hit(
                        len(hits) + 1,
                        float(scores[place]),
                        one.id,
                        one.text,
                        one.title,
                        one.metadata,
                        passage,
                    )
                )
            found.append(tuple(hits))
        return found

    def _spans(self, positions: NDArray[np.int64]) -> NDArray[np.int64] | None:
        documents = self._searcher.documents
        return documents.spans(positions) if documents.split else None

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
        request = self._searcher.request(k, **settled(RetrievalOptions, options, "search_vectors"))
        ranking = self._searcher.search(check_queries(queries, self.dimensions), request)
        return VectorResult(
            self._searcher.documents.documents(ranking.positions),
            ranking.scores,
            ranking.certified,
            self._spans(ranking.positions),
        )

    def check_encoder(self) -> ContractCheck:
        """Load the encoder and hold it against the contract, without refusing it.

        Raises:
            EncoderError: it cannot be loaded, or the index has none.
        """
        contract = self.contract
        if contract is None:
            raise EncoderError(self._without_encoder())
        return check_contract(contract, self._load_encoder(contract))

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index, loaded and held against the contract the first time.

        Raises:
            EncoderMismatch: it is another one.
            EncoderError: it cannot be loaded, or the index has none.
        """
        return self._checked_encoder()

    @cached_property
    def tuning(self) -> Tuning | None:
        """What was measured at build about recall; ``None`` where nothing was."""
        stored = self._settings.get("tuning")
        return None if stored is None else Tuning.from_json(stored)

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self._segments, self.tuning)

    def _checked_encoder(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                contract = self.contract
                if contract is None:
                    raise EncoderError(self._without_encoder())
                encoder = self._load_encoder(contract)
                check_contract(contract, encoder).require(str(self.path))
                self._encoder = encoder
            return self._encoder

    def _load_encoder(self, contract: EncoderContract) -> Encoder:
        given, identity = self._given_encoder, contract.identity
        if given is not None and not isinstance(given, str):
            return given
        if given is None and (identity.weights is None or identity.model == UNNAMED_MODEL):
            raise EncoderError(
                f"{self.path} was built with an encoder of your own ({identity.model}); pass it to "
                "Index.open(path, encoder=...)"
            )
        return load_encoder_of(identity, model=given, device=self._device, backend=self._backend)

    def _without_encoder(self) -> str:
        return (
            f"{self.path} was built from vectors without an encoder and can only be searched by "
            f"vector (Index.search_vectors); name the model at build with {words().model} to search by text"
        )


def _open_segments(path: Path, catalog: Catalog) -> tuple[list[Segment], dict[str, Any]]:
    """Map what the catalog lists; returns it with the settings."""
    settings = catalog.settings()
    dimensions = settings.get("dimensions")
    if not isinstance(dimensions, int) or dimensions < 1:
        raise IndexFormatError(f"{catalog.path} lacks the setting 'dimensions'")
    segments = [
        Segment.open(path / SEGMENTS / entry.id, entry, catalog.files(entry.id), dimensions)
        for entry in catalog.segments()
    ]
    documents = settings.get("documents")
    if sum(segment.rows for segment in segments) != settings.get("rows", documents) or (
        sum(entry.documents for entry in catalog.segments()) != documents
    ):
        raise IndexFormatError(f"{catalog.path} lists other segments than it should")
    return segments, settings


def _explanation(
    request: Request, ranking: Ranking, number: int, ranks: dict[str, NDArray[np.int64]]
) -> Explanation:
    queries = len(ranking.positions)
    return Explanation(
        request.plan.reason,
        request.plan.recall,
        tuple(
            StageReport(
                stage.name,
                int(stage.rows[number]),
                int(stage.bytes[number]),
                None if stage.seconds is None else 1000.0 * stage.seconds / queries,
            )
            for stage in ranking.stages
        ),
        tuple(
            {name: int(of_stage[i]) for name, of_stage in ranks.items()}
            for i in range(len(ranks["binary"]))
        ),
    )
