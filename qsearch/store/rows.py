"""Rows of the catalog's tables, and their checksums."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

__all__ = [
    "FIRST_COMMIT",
    "ChunkEntry",
    "FileEntry",
    "MaskEntry",
    "SegmentEntry",
    "StoredDocument",
    "TailRow",
    "as_json",
    "decoded_document",
    "document_row",
    "row_checksum",
    "sample_row",
]

FIRST_COMMIT = 1
"""The number of the commit that a build makes."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the catalog returns it."""

    position: int
    id: str
    title: str | None
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A row of ``segments``.

    Attributes:
        id: name of the directory.
        first_row: rows in the segments before this one.
        rows: of this segment.
        first_document: position of its first document.
        last_document: position of its last document.
        documents: how many. They have gaps between them where that is fewer than the positions.
        documents_xxh3: checksum of what the catalog holds of them; in formats before 3.
        came: the commit from which on it is there.
    """

    id: str
    first_row: int
    rows: int
    first_document: int
    last_document: int
    documents: int
    documents_xxh3: str | None = None
    came: int = FIRST_COMMIT


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A row of ``files``."""

    name: str
    bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class MaskEntry:
    """A row of ``masks``: rows of a segment that live, of so many documents, and a bit for each."""

    rows: int
    documents: int
    bits: bytes


@dataclass(frozen=True, slots=True)
class TailRow:
    """A row of ``tail``.

    Attributes:
        row: its number, rising in document order.
        position: of its document.
        span: begin and end of the passage in the document's text; ``None`` where rows are documents.
        vector: unit row, little-endian float32.
    """

    row: int
    position: int
    span: tuple[int, int] | None
    vector: bytes

    def checksum(self) -> int:
        """Of all columns."""
        first, last = self.span or (None, None)
        return row_checksum(
            [self.row, self.position, first, last, xxhash.xxh3_64_hexdigest(self.vector)]
        )

    def values(self) -> tuple[Any, ...]:
        """The columns of the table."""
        first, last = self.span or (None, None)
        return self.row, self.position, first, last, self.vector, self.checksum()


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """A row of ``chunks``.

    Attributes:
        digest: of the records that went in.
        records: how many.
        documents: accepted so far, this chunk included.
        rows: of all these documents.
    """

    digest: str
    records: int
    documents: int
    rows: int


def row_checksum(values: Sequence[Any]) -> int:
    """XXH3 (64 bits, as SQLite's signed integers) of the columns of a row."""
    digest = xxhash.xxh3_64_intdigest(as_json(values))
    return digest - (1 << 64) if digest >> 63 else digest


def as_json(row: Sequence[Any]) -> bytes:
    """What a checksum is made of. A BLOB where a text should be has one that nobody stored."""
    try:
        # As those of a tail are, a thousand times in every small change: the same as below, sooner.
        return f"[{', '.join([_QUICKLY[type(value)](value) for value in row])}]".encode("ascii")
    except KeyError:
        return _encoded(row).encode("ascii")


_QUICKLY: dict[type, Callable[[Any], str]] = {
    int: str,
    type(None): lambda value: "null",
    str: json.encoder.encode_basestring_ascii,
}
_encoded = json.JSONEncoder(ensure_ascii=True, default=repr).encode


def decoded_document(
    position: int, id: object, title: object, text: object, metadata: object
) -> StoredDocument | None:
    """A document of the columns that one has; ``None``: they are not such."""
    if not isinstance(id, str) or not isinstance(title, str | None) or not isinstance(text, str):
        return None
    if metadata is None:
        return StoredDocument(position, id, title, text, {})
    if not isinstance(metadata, str):
        return None
    try:
        decoded = json.loads(metadata)
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict):
        return None
    return StoredDocument(position, id, title, text, decoded)


def document_row(
    position: int,
    id: str,
    title: str | None,
    text: str,
    metadata: str | None,
    line: int | None,
    came: int,
    went: int | None = None,
) -> tuple[Any, ...]:
    """The columns of ``documents``, the checksum made."""
    columns = (position, id, title, text, metadata, line, came)
    return (*columns, went, row_checksum(columns))


def sample_row(number: int, vector: bytes) -> tuple[int, bytes, int]:
    """The columns of ``samples``, the checksum made."""
    return number, vector, row_checksum([number, xxhash.xxh3_64_hexdigest(vector)])
