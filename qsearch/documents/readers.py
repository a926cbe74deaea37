"""Corpora: JSON, CSV, TSV, text and Parquet files, folders, standard input, datasets, Python iterables.

Every reader streams, and yields a ``RejectedRecord`` for a record that is no document instead of
raising, so that the caller decides whether one bad line ends the build.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from qsearch.documents.compression import without_suffix
from qsearch.documents.datasets import DatasetCorpus, dataset_stem, is_dataset
from qsearch.documents.delimited import read_delimited
from qsearch.documents.delimiter import check_delimiter
from qsearch.documents.document import Document, DocumentMapper
from qsearch.documents.encodings import check_encoding
from qsearch.documents.fields import Fields, FieldsFound, as_fields
from qsearch.documents.foreign import refuse_name
from qsearch.documents.jsonl import read_json, read_text_lines
from qsearch.documents.lines import ByteSource
from qsearch.documents.memory import IterableCorpus
from qsearch.documents.parquet import ParquetCorpus
from qsearch.documents.rejected import RejectedRecord
from qsearch.documents.vectors import VECTOR_SUFFIXES, array_file
from qsearch.errors import CorpusError
from qsearch.wording import words

__all__ = ["FORMATS", "Corpus", "corpus_stem", "format_by_name", "open_corpus"]

FORMATS = ("jsonl", "csv", "tsv", "text", "parquet")
"""Names that ``open_corpus`` takes as ``format``."""

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
    ".text": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
}

_TEXT_FIELDS = Fields(id=(), text=("text",), title=(), metadata=())


class Corpus(Protocol):
    """A stream of documents.

    Attributes:
        name: as the user named it, for messages and for the index's record of where it came from.
        rereadable: whether it can be iterated over more than once.
    """

    name: str
    rereadable: bool

    @property
    def found(self) -> FieldsFound:
        """What the last reading has shown of the fields so far."""
        ...

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        """Yield the records in order."""
        ...


def open_corpus(
    source: str | Path | Iterable[Document | Mapping[str, Any]],
    *,
    format: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    fields: Fields | Mapping[str, Any] | None = None,
    text_required: bool = True,
) -> Corpus:
    """Choose the reader for ``source``.

    Args:
        source: the path of a file (compression is recognised by content) or of a folder that holds a
            ``corpus.jsonl`` (BEIR's form), ``-`` for standard input, ``irds:NAME`` for a dataset of
            ir_datasets, or an iterable of ``Document`` or mappings, also a frame of pandas.
        format: one of ``FORMATS``; by default from the file name, and ``jsonl`` for ``-``. ``jsonl`` is
            also a JSON array, and objects that are spread over lines.
        delimiter: what parts the columns of CSV and TSV; by default a tab in TSV, and told from the first
            lines in CSV (comma, semicolon, tab or bar).
        encoding: of text formats, as Python names it; by default UTF-8, or UTF-16 by its byte-order mark.
        fields: which field is which, also as a mapping such as ``{"text": "body"}``.
        text_required: whether a document without text is rejected.

    Raises:
        CorpusError: the format is not known, cannot be read, or does not go with what else is given. A
            file that cannot be opened raises it when it is iterated over.
    """
    fields = as_fields(fields)
    if not isinstance(source, str | Path):
        _refuse_idle("documents that are given as Python objects have", None, delimiter, encoding)
        return IterableCorpus(source, fields, text_required)
    name = str(source)
    if is_dataset(name):
        _refuse_idle("a dataset has", name, delimiter, encoding)
        if format is not None:
            raise CorpusError(
                f"a dataset has no format; leave {words().input_format} out", path=name
            )
        return DatasetCorpus(name, fields, text_required)
    if Path(name).is_dir() and name != "-":
        name = _corpus_in(Path(name))
    chosen = format or ("jsonl" if name == "-" else _format_of(name))
    if chosen not in FORMATS:
        raise CorpusError(f"unknown format {chosen!r}; known are {', '.join(FORMATS)}", path=name)
    if chosen == "parquet":
        _refuse_idle("Parquet has", name, delimiter, encoding)
        return ParquetCorpus(name, fields, text_required)
    if chosen not in ("csv", "tsv"):
        _refuse_idle(f"a file in the format {chosen} has", name, delimiter, None)
    if chosen == "text" and fields != Fields():
        raise CorpusError(
            f"a text file has no fields; leave {words().text_field} and the like out", path=name
        )
    if delimiter is not None:
        delimiter = check_delimiter(delimiter)
    if encoding is not None:
        encoding = check_encoding(encoding)
    return _TextCorpus(name, chosen, delimiter, encoding, fields, text_required)


def corpus_stem(name: str) -> str:
    """The name of a corpus without folder, format and compression; of a folder its own name.

    Of a dataset all parts of its name.

    >>> corpus_stem("data/c.v2.jsonl.gz"), corpus_stem("embeddings.npy"), corpus_stem("e.npz:docs")
    ('c.v2', 'embeddings', 'e')
    """
    if is_dataset(name):
        return dataset_stem(name)
    if Path(name).is_dir():
        return os.path.basename(os.path.realpath(name))
    name = array_file(name)
    stem = without_suffix(Path(name).name) or Path(name).name
    known = next((one for one in (*_SUFFIXES, *VECTOR_SUFFIXES) if stem.lower().endswith(one)), "")
    return stem[: len(stem) - len(known)] or stem


def _refuse_idle(what: str, name: str | None, delimiter: str | None, encoding: str | None) -> None:
    """Something that would do nothing was not meant to."""
    if delimiter is not None:
        raise CorpusError(f"{what} no delimiter; leave {words().delimiter} out", path=name)
    if encoding is not None:
        raise CorpusError(f"{what} no encoding to choose; leave {words().encoding} out", path=name)


def format_by_name(name: str) -> str | None:
    """Which of ``FORMATS`` the name of a file means; ``None``: it does not tell.

    >>> format_by_name("data/c.jsonl.gz"), format_by_name("notes")
    ('jsonl', None)
    """
    return _SUFFIXES.get(_suffix(name))


def _format_of(name: str) -> str:
    known = format_by_name(name)
    if known is not None:
        return known
    suffix = _suffix(name)
    if not os.path.exists(name):
        raise CorpusError("cannot be opened (there is no such file)", path=name)
    refuse_name(name, suffix)
    raise CorpusError(
        f"cannot tell the format from the file name; give {words().input_format} ({', '.join(FORMATS)})",
        path=name,
    )


def _suffix(name: str) -> str:
    return Path(without_suffix(Path(name).name)).suffix.lower()


def _corpus_in(folder: Path) -> str:
    """The corpus of a folder in BEIR's form, where queries and judgements stand beside it."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise CorpusError(f"cannot be opened ({error.strerror})", path=str(folder)) from error
    found = [one for one in inside if without_suffix(one.name) == "corpus.jsonl"]
    if len(found) == 1:
        return str(found[0])
    if found:
        names = " and ".join(one.name for one in found)
        raise CorpusError(f"holds {names}; give the one that is meant", path=str(folder))
    meant = [one.name for one in inside if one.is_file() and _suffix(one.name) in _SUFFIXES]
    meant += [f"{one.name}/" for one in inside if any(one.glob("corpus.jsonl*"))]
    advice = "there is nothing in it that could be a corpus"
    if meant:
        more = f" and {len(meant) - 8:,} more" if len(meant) > 8 else ""
        advice = f"give what is meant of it: {', '.join(meant[:8])}{more}"
    arrays = [one.name for one in inside if _suffix(one.name) in VECTOR_SUFFIXES]
    if arrays:
        more = f" and {len(arrays) - 8:,} more" if len(arrays) > 8 else ""
        advice += f"; embeddings are given with {words().vectors}: {', '.join(arrays[:8])}{more}"
    raise CorpusError(
        f"cannot be opened: it is a folder without a corpus.jsonl, as BEIR has it; {advice}",
        path=str(folder),
    )


class _TextCorpus:
    """JSON, CSV, TSV and text."""

    def __init__(
        self,
        name: str,
        format: str,
        delimiter: str | None,
        encoding: str | None,
        fields: Fields,
        text_required: bool,
    ) -> None:
        self.name = name
        self.rereadable = name != "-" and not _is_pipe(name)
        self._format = format
        self._delimiter = delimiter
        self._encoding = encoding
        self._fields = _TEXT_FIELDS if format == "text" else fields
        self._text_required = text_required
        self._mapper = self._new_mapper()

    def _new_mapper(self) -> DocumentMapper:
        return DocumentMapper(
            self._fields,
            text_required=self._text_required,
            numbered_by="row" if self._format in ("csv", "tsv") else "line",
        )

    @property
    def found(self) -> FieldsFound:
        return self._mapper.found()

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        mapper = self._mapper = self._new_mapper()
        with ByteSource(self.name, self._encoding) as source:
            if self._format == "jsonl":
                yield from read_json(source, mapper)
            elif self._format == "text":
                yield from read_text_lines(source, mapper)
            else:
                tab = "\t" if self._format == "tsv" else None
                yield from read_delimited(source, mapper, self._delimiter or tab)


def _is_pipe(name: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False
