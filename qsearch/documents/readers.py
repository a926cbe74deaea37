"""Corpora: JSON Lines, CSV, TSV, text and Parquet files, standard input, and Python iterables.

Every reader streams, and yields a ``RejectedRecord`` for a record that is no document instead of
raising, so that the caller decides whether one bad line ends the build.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from qsearch.documents.delimited import read_delimited
from qsearch.documents.document import Document, DocumentMapper, Fields, RejectedRecord
from qsearch.documents.jsonl import read_json_lines, read_text_lines
from qsearch.documents.lines import ByteSource
from qsearch.documents.memory import IterableCorpus
from qsearch.documents.parquet import ParquetCorpus
from qsearch.errors import CorpusError
from qsearch.wording import words

__all__ = ["FORMATS", "Corpus", "open_corpus"]

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

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        """Yield the records in order."""
        ...


def open_corpus(
    source: str | Path | Iterable[Document | Mapping[str, Any]],
    *,
    format: str | None = None,
    fields: Fields | None = None,
    text_required: bool = True,
) -> Corpus:
    """Choose the reader for ``source``.

    Args:
        source: a path (gzip is recognised by content), ``-`` for standard input, or an iterable of
            ``Document`` or mappings.
        format: one of ``FORMATS``; by default from the file name, and ``jsonl`` for ``-``.
        fields: which field is which.
        text_required: whether a document without text is rejected.

    Raises:
        CorpusError: the format is not known, or cannot be read. A file that cannot be opened
            raises it when it is iterated over.
    """
    fields = fields or Fields()
    if not isinstance(source, str | Path):
        return IterableCorpus(source, fields, text_required)
    name = str(source)
    chosen = format or ("jsonl" if name == "-" else _format_of(name))
    if chosen not in FORMATS:
        raise CorpusError(f"unknown format {chosen!r}; known are {', '.join(FORMATS)}", path=name)
    if chosen == "parquet":
        return ParquetCorpus(name, fields, text_required)
    return _LineCorpus(name, chosen, fields, text_required)


def _format_of(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if not os.path.exists(name):
        raise CorpusError("cannot be opened (there is no such file)", path=name)
    if os.path.isdir(name):
        raise CorpusError("is a directory; give a file in it", path=name)
    raise CorpusError(
        f"cannot tell the format from the file name; give {words().input_format} ({', '.join(FORMATS)})",
        path=name,
    )


class _LineCorpus:
    """JSON Lines, CSV, TSV and text: all that is read line by line."""

    def __init__(self, name: str, format: str, fields: Fields, text_required: bool) -> None:
        self.name = name
        self.rereadable = name != "-" and not _is_pipe(name)
        self._format = format
        self._fields = fields
        self._text_required = text_required

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        # The fields of the user name nothing in a file that has none.
        fields = _TEXT_FIELDS if self._format == "text" else self._fields
        mapper = DocumentMapper(fields, text_required=self._text_required)
        with ByteSource(self.name) as source:
            if self._format == "jsonl":
                yield from read_json_lines(source, mapper)
            elif self._format == "text":
                yield from read_text_lines(source, mapper)
            else:
                yield from read_delimited(source, mapper, "\t" if self._format == "tsv" else ",")


def _is_pipe(name: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False
