"""The index: build, open, search. A facade that joins the rooms below and computes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsearch.documents import (
    Document,
    Embeddings,
    Fields,
    check_text,
    checked_ids,
    open_corpus,
    surrogate_in,
)
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
from qsearch.filters import Where, as_condition, as_field
from qsearch.indexing import (
    ADD,
    SYNC,
    UPSERT,
    BuildOptions,
    BuildReport,
    ChangeReport,
    Changes,
    Changing,
    CompactReport,
    Progress,
    Source,
    TextIndexReport,
    build_index,
    change_index,
    compact_index,
    compare_index,
    delete_from,
    delete_matching,
    index_fields,
    index_text,
)
from qsearch.locks import ProcessLock
from qsearch.options import (
    METHODS,
    ChangeOptions,
    RetrievalOptions,
    SearchOptions,
    TextSearchOptions,
    documented,
    settled,
)
from qsearch.reordering import reordered, taken
from qsearch.reranking import Rerankers
from qsearch.results import SearchResult, VectorResult
from qsearch.retrieval import Tuning, check_queries
from qsearch.snapshot import Snapshot
from qsearch.store import FieldReport
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
    _encoder: tuple[Any, Encoder] | None  # and the contract that it was held against
    _rerankers: Rerankers
    _lock: ProcessLock  # of the encoder
    _refreshing: ProcessLock
    _swapping: ProcessLock

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
                compressed), a folder with a ``corpus.jsonl``, ``-`` for standard input, ``irds:NAME`` for
                a dataset of ir_datasets, or documents; ``None`` only with ``embeddings``.
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
        index = cls.open(path, encoder=used[0] if used else None, device=device, backend=backend)
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
        index.path = Path(path)
        index.build_report = None
        index._given_encoder = str(encoder) if isinstance(encoder, Path) else encoder
        index._device, index._backend = device, backend
        index._encoder = None
        index._rerankers = Rerankers(device, backend)
        index._lock, index._refreshing = ProcessLock(), ProcessLock()
        index._swapping = ProcessLock()
        index._snapshot = Snapshot.open(index.path, device=device)
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, an index is where it is and how it was opened."""
        self._check_open()  # a closed one stays closed
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
        snapshot = self._open
        return snapshot.vectors_at(snapshot.positions_of(checked_ids(ids)))

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
        segments = self._open.segments
        wanted = bool(self._open.settings.get("graph"))
        return (wanted or any(one.graph is not None for one in segments)) and not any(
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

    # Changing

    @documented(ChangeOptions)
    def add(
        self,
        corpus: str | Path | Iterable[Document | Mapping[str, Any]] | None = None,
        **options: Unpack[ChangeOptions],
    ) -> ChangeReport:
        """Add documents, in one commit; all or, where something is wrong, none.

        A large change that was interrupted goes on where it stopped when it is run again. Afterwards this
        ``Index`` answers from the new commit; others do when they are opened or refreshed.

        Args:
            corpus: as ``Index.build`` takes it; ``None`` only with ``embeddings``.
            **options: see ``ChangeOptions``.

        Returns:
            What was done.

        Raises:
            CorpusError: an id is there already, or a record is invalid.
            IndexBusy: another writer is at it.
            EncoderMismatch: the encoder is not the one that the index was built with.
            QsearchError: other kinds; the index is as it was.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "blue"}], tmp / "growing")
            >>> index.add([{"id": "b", "text": "red"}, {"id": "c", "text": "a green tree"}]).added
            2
            >>> [document.id for document in index], index.search("crimson", k=1)[0].id
            (['a', 'b', 'c'], 'b')
        """
        return self._take(ADD, corpus, options, "add")

    @documented(ChangeOptions)
    def upsert(
        self,
        corpus: str | Path | Iterable[Document | Mapping[str, Any]] | None = None,
        **options: Unpack[ChangeOptions],
    ) -> ChangeReport:
        """Add documents, or put them in the place of those of the same id, in one commit.

        Only documents whose text or title is new are encoded; where nothing but metadata changed, nothing
        else is written.

        Args:
            corpus: as ``Index.build`` takes it; ``None`` only with ``embeddings``.
            **options: see ``ChangeOptions``.

        Raises:
            QsearchError: as ``add``, but for ids that are there.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "blue"}], tmp / "changing")
            >>> report = index.upsert([{"id": "a", "text": "red"}, {"id": "b", "text": "blue"}])
            >>> report.added, report.replaced, len(index)
            (1, 1, 2)
        """
        return self._take(UPSERT, corpus, options, "upsert")

    @documented(ChangeOptions)
    def sync(
        self,
        corpus: str | Path | Iterable[Document | Mapping[str, Any]] | None = None,
        *,
        dry_run: bool = False,
        **options: Unpack[ChangeOptions],
    ) -> ChangeReport:
        """Make the index hold exactly the documents of a corpus, in one commit.

        New ones are added, those whose text or title changed are encoded again, those of which only
        metadata changed are not, and those that the corpus does not have are deleted.

        Args:
            corpus: as ``Index.build`` takes it.
            dry_run: change nothing, and tell how many documents of each kind there are.
            **options: see ``ChangeOptions``.

        Raises:
            QsearchError: as ``upsert``.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], tmp / "same")
            >>> report = index.sync([{"id": "b", "text": "y"}, {"id": "c", "text": "z"}])
            >>> report.added, report.unchanged, report.deleted
            (1, 1, 1)
        """
        return self._take(SYNC, corpus, options, "sync", dry_run=dry_run)

    def delete(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        missing_ok: bool = False,
        where: Where | None = None,
        params: Mapping[str, Any] | None = None,
        missing_fields_ok: bool = False,
        wait: float = 0.0,
        progress: Progress | None = None,
    ) -> ChangeReport:
        """Delete documents by their ids, or those for which a condition holds, in one commit.

        The encoder is not needed.

        Args:
            ids: one, or several.
            missing_ok: pass over ids that there are not.
            where: a condition instead of ids, see ``SearchOptions``.
            params: values of its names.
            missing_fields_ok: let it speak of fields that no document has.
            wait: seconds to wait for another writer.
            progress: is told what is done.

        Raises:
            QueryError: there is no document of an id, or it is given twice, or the condition is none;
                nothing is deleted.
            IndexBusy: another writer is at it.
            IndexWriteError: the file system refuses; the index is as it was.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], tmp / "less")
            >>> index.delete("a").documents, "a" in index
            (1, False)
        """
        self._check_open()
        changing = self._changing(wait, progress)
        if ids is not None and where is None:
            report = delete_from(changing, checked_ids(ids), missing_ok=missing_ok)
        elif ids is None and where is not None:
            condition = as_condition(where, params)
            report = delete_matching(changing, condition, missing_fields_ok=missing_fields_ok)
        else:
            raise QueryError("delete takes ids, or a condition with where=")
        self.refresh()
        return report

    def index_fields(
        self,
        names: str | Iterable[str],
        *,
        drop: bool = False,
        missing_fields_ok: bool = False,
        wait: float = 0.0,
        progress: Progress | None = None,
    ) -> int:
        """Make filters on fields fast, in one commit: their values are kept as arrays in the catalog.

        Args:
            names: of fields of the metadata, or ``title``, as conditions have them.
            drop: index them no longer.
            missing_fields_ok: also fields that no document has yet.
            wait: seconds to wait for another writer.
            progress: is told what is done.

        Returns:
            The number of the commit.

        Raises:
            QueryError: no document has a field, or one that is to be dropped is not indexed.
            IndexBusy: another writer is at it.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "x", "year": 1999}], tmp / "years")
            >>> index.index_fields("year")
            2
            >>> [field.name for field in index.fields if field.indexed]
            ['year']
        """
        self._check_open()
        fields = [as_field(one) for one in ([names] if isinstance(names, str) else names)]
        if not fields:
            raise QueryError("name the fields that are to be indexed")
        commit = index_fields(
            self._changing(wait, progress), fields, drop=drop, missing_fields_ok=missing_fields_ok
        )
        self.refresh()
        return commit

    def compact(self, *, wait: float = 0.0, progress: Progress | None = None) -> CompactReport:
        """Give back the room of what was deleted or replaced, and join small segments.

        Whoever has an earlier commit open goes on reading it. Each new segment is a commit that changes no
        answer, so that what was done before an interruption is not done again; the last one is the catalog.

        Args:
            wait: seconds to wait for another writer.
            progress: is told what is done.

        Raises:
            IndexBusy: another writer is at it.
            IndexFormatError: what is to be copied is damaged; nothing is changed.
            IndexWriteError: the file system refuses; the index is as it was.
        """
        self._check_open()
        report = compact_index(self._changing(wait, progress))
        self.refresh()
        return report

    def index_text(
        self,
        *,
        language: str | None = None,
        drop: bool = False,
        wait: float = 0.0,
        progress: Progress | None = None,
    ) -> TextIndexReport:
        """Make the text index that searches by keywords need, anew where there is one, in one commit.

        The catalog is written anew, without what was deleted or replaced. Whoever has an earlier commit
        open goes on reading it.

        Args:
            language: of the texts (ISO 639): what their words are; by default that of the text index there
                is, or of the passages, or English.
            drop: take the text index away instead.
            wait: seconds to wait for another writer.
            progress: is told what is done.

        Raises:
            OptionError: the language is no code of one, or there is one beside ``drop``.
            IndexBusy: another writer is at it.
            IndexFormatError: what is to be copied is damaged; nothing is changed.
            IndexWriteError: the file system refuses; the index is as it was.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "Blue whales sing."}], tmp / "words")
            >>> index.index_text().tokenizer
            'porter unicode61 remove_diacritics 2'
            >>> [hit.id for hit in index.search("a whale's song", mode="keywords")]
            ['a']
        """
        self._check_open()
        report = index_text(self._changing(wait, progress), language, drop=drop)
        self.refresh()
        return report

    def changes(self, *, wait: float = 0.0, progress: Progress | None = None) -> Changes:
        """Several changes that become one commit; nothing of them where the block ends with an error.

        Args:
            wait: seconds to wait for another writer.
            progress: is told what is done.

        Raises:
            IndexBusy: another writer is at it.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], tmp / "both")
            >>> with index.changes() as changes:
            ...     changes.delete("a")
            ...     changes.add([{"id": "c", "text": "z"}])
            >>> [document.id for document in index], changes.report.commit
            (['b', 'c'], 2)
        """
        self._check_open()
        return Changes(self._changing(wait, progress), self._source, self._refreshed)

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

    def _changing(self, wait: float, progress: Progress | None) -> Changing:
        return Changing(self.path, self._encoder_of_changes, wait, progress)

    def _encoder_of_changes(self) -> Encoder | None:
        snapshot = self._open
        return None if snapshot.contract is None else self._checked_encoder(snapshot)

    def _take(
        self,
        kind: str,
        corpus: Any,
        options: Mapping[str, Any],
        caller: str,
        *,
        dry_run: bool = False,
    ) -> ChangeReport:
        self._check_open()
        asked = settled(ChangeOptions, options, caller)
        how = self._changing(asked.pop("wait"), asked.pop("progress"))
        source = self._source(corpus, asked)
        if dry_run:
            return compare_index(how, kind, source)
        report = change_index(how, kind, source)
        self.refresh()
        return report

    def _source(self, corpus: Any, asked: Mapping[str, Any]) -> Source:
        """Where records come from; ``asked`` are all of ``RecordOptions``."""
        given = None if asked["embeddings"] is None else Embeddings(asked["embeddings"])
        opened = None
        if corpus is not None:
            opened = open_corpus(
                corpus,
                format=asked["input_format"],
                delimiter=asked["delimiter"],
                encoding=asked["encoding"],
                fields=asked["fields"],
                text_required=given is None,
            )
        rejects = None if asked["rejects"] is None else Path(asked["rejects"])
        return Source(opened, given, bool(asked["skip_invalid"]), rejects)

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
        asked = settled(TextSearchOptions, options, "search")
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
        asked = settled(SearchOptions, options, "search_by_vectors")
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
        request = snapshot.request(k, settled(RetrievalOptions, options, "search_vectors"))
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
        told = snapshot.settings.get("encoder")
        with self._lock:
            if self._encoder is None or self._encoder[0] != told:  # another index may be there now
                contract = self._contract_of(snapshot)
                encoder = self._load_encoder(contract)
                check_contract(contract, encoder).require(str(self.path))
                self._encoder = told, encoder
            return self._encoder[1]

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
        check_text(which, text)
    return texts
