"""How an index is made and changed: the part of it that writes.

What only searches never imports what is used here.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from qsearch.errors import QueryError
from qsearch.options import ChangeOptions, documented, settled
from qsearch.streams import device_name

if TYPE_CHECKING:
    from qsearch.documents import Corpus, Document, Embeddings, Fields
    from qsearch.encoding import Encoder
    from qsearch.filters import Where
    from qsearch.indexing import (
        BuildOptions,
        BuildReport,
        ChangeReport,
        Changes,
        Changing,
        CompactReport,
        Progress,
        Source,
        TextIndexReport,
    )

__all__ = ["Changeable"]


class Changeable(ABC):
    """What is made of documents, and changed by commits. ``Index`` is.

    Attributes:
        path: the directory.
        build_report: what ``build`` did, where it made this index; else ``None``.
    """

    _named: Path
    _place: Path
    _encoder_name: str | None  # by which the given encoder was loaded, if it was

    @property
    def path(self) -> Path:
        """The directory, as it was named; absolute where the working directory is another one by now."""
        try:
            same = os.path.abspath(self._named) == str(self._place)
        except OSError:  # the working directory is gone
            same = False
        return self._named if same else self._place

    build_report: BuildReport | None

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
    ) -> Self:
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
        from qsearch.encoding import DEFAULT_MODEL, adapted, load_encoder
        from qsearch.indexing import build_index

        device = device_name(device)
        opened, given = _opened(corpus, embeddings, input_format, delimiter, encoding, fields)
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
        if isinstance(encoder, str | Path):  # pickled, an index names its model
            index._encoder_name = str(encoder)
        return index

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
        return self._take("add", corpus, options)

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
        return self._take("upsert", corpus, options)

    @documented(ChangeOptions)
    def sync(
        self,
        corpus: str | Path | Iterable[Document | Mapping[str, Any]] | None = None,
        *,
        dry_run: bool = False,
        allow_empty: bool = False,
        **options: Unpack[ChangeOptions],
    ) -> ChangeReport:
        """Make the index hold exactly the documents of a corpus, in one commit.

        New ones are added, those whose text or title changed are encoded again, those of which only
        metadata changed are not, and those that the corpus does not have are deleted.

        Args:
            corpus: as ``Index.build`` takes it.
            dry_run: change nothing, and tell how many documents of each kind there are.
            allow_empty: let a corpus without a valid document delete all; else it is an error.
            **options: see ``ChangeOptions``. A record that ``skip_invalid`` leaves out is not there: the
                document of its id is deleted.

        Raises:
            CorpusError: the corpus holds no valid document.
            QsearchError: as ``upsert``.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], tmp / "same")
            >>> report = index.sync([{"id": "b", "text": "y"}, {"id": "c", "text": "z"}])
            >>> report.added, report.unchanged, report.deleted
            (1, 1, 1)
        """
        return self._take("sync", corpus, options, dry_run=dry_run, allow_empty=allow_empty)

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
            QueryError: there is no document of an id, or it is given twice, or the condition is none or
                empty; nothing is deleted.
            IndexBusy: another writer is at it.
            IndexWriteError: the file system refuses; the index is as it was.

        Examples:
            >>> index = Index.build([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], tmp / "less")
            >>> index.delete("a").documents, "a" in index
            (1, False)
        """
        from qsearch.documents import checked_ids
        from qsearch.filters import as_condition
        from qsearch.indexing import delete_from, delete_matching

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
        from qsearch.filters import as_field
        from qsearch.indexing import index_fields

        self._check_open()
        fields = [as_field(one) for one in ([names] if isinstance(names, str) else names)]
        if not fields:
            raise QueryError("name the fields that are to be indexed")
        commit = index_fields(
            self._changing(wait, progress), fields, drop=drop, missing_fields_ok=missing_fields_ok
        )
        self.refresh()
        return commit

    def index_graph(
        self, *, drop: bool = False, wait: float = 0.0, progress: Progress | None = None
    ) -> int:
        """Make a graph for an index that has none, or a damaged one, and measure recall with it.

        Args:
            drop: take it away instead.
            wait: seconds to wait for another writer.
            progress: is told what is done.

        Returns:
            The number of the commit.

        Raises:
            IndexBusy: another writer is at it.
            IndexFormatError: what it is made of is damaged.

        Examples:
            >>> index = Index.build(None, tmp / "later", embeddings=np.eye(3, dtype=np.float32))
            >>> index.index_graph() > 1, index.has_graph
            (True, True)
            >>> index.search_vectors(np.eye(3)[:1], k=1, method="graph").positions
            array([[0]])
        """
        from qsearch.indexing import index_graph

        self._check_open()
        commit = index_graph(self._changing(wait, progress), drop=bool(drop))
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
            IndexFormatError: what is to be copied is damaged; no answer is changed.
            IndexWriteError: the file system refuses; the index answers as before.
        """
        from qsearch.indexing import compact_index

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
        from qsearch.indexing import index_text

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
        from qsearch.indexing import Changes

        self._check_open()
        return Changes(self._changing(wait, progress), self._source, self._refreshed)

    def _changing(self, wait: float, progress: Progress | None) -> Changing:
        from qsearch.indexing import Changing

        return Changing(self.path, self._encoder_of_changes, wait, progress)

    def _take(
        self,
        kind: str,
        corpus: Any,
        options: Mapping[str, Any],
        *,
        dry_run: bool = False,
        allow_empty: bool = False,
    ) -> ChangeReport:
        from qsearch.indexing import change_index, compare_index

        self._check_open()
        asked = settled(ChangeOptions, options, f"{kind}()")
        how = self._changing(asked.pop("wait"), asked.pop("progress"))
        source = replace(self._source(corpus, asked), allow_empty=allow_empty)
        if dry_run:
            return compare_index(how, kind, source)
        report = change_index(how, kind, source)
        self.refresh()
        return report

    def _source(self, corpus: Any, asked: Mapping[str, Any]) -> Source:
        """Where records come from; ``asked`` are all of ``RecordOptions``."""
        from qsearch.indexing import Source

        names = ("input_format", "delimiter", "encoding", "fields")
        opened, given = _opened(corpus, asked["embeddings"], *(asked[name] for name in names))
        rejects = None if asked["rejects"] is None else Path(asked["rejects"])
        return Source(opened, given, bool(asked["skip_invalid"]), rejects)

    # What an index does besides

    @classmethod
    @abstractmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | str | Any | None = None,
        device: str = "auto",
        backend: str = "auto",
    ) -> Self:
        """Open an index."""

    @abstractmethod
    def refresh(self) -> bool:
        """Answer from the newest commit from now on; returns whether there was a newer one."""

    @abstractmethod
    def _check_open(self) -> None:
        """Raise ``IndexClosed`` where it was closed."""

    @abstractmethod
    def _refreshed(self) -> None:
        """Refresh, where it was not closed."""

    @abstractmethod
    def _encoder_of_changes(self) -> Encoder | None:
        """The encoder of the index, held against its contract; ``None``: it has none."""


def _opened(
    corpus: Any,
    embeddings: Any,
    input_format: str | None,
    delimiter: str | None,
    encoding: str | None,
    fields: Fields | Mapping[str, Any] | None,
) -> tuple[Corpus | None, Embeddings | None]:
    """What is read: documents, and embeddings of them; see ``Changeable.build``."""
    from qsearch.documents import Embeddings, open_corpus

    given = None if embeddings is None else Embeddings(embeddings)
    if corpus is None:
        return None, given
    opened = open_corpus(
        corpus,
        format=input_format,
        delimiter=delimiter,
        encoding=encoding,
        fields=fields,
        text_required=given is None,
    )
    return opened, given
