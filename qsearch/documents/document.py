"""What a document is, and how a record of a file becomes one.

No file is opened here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qsearch.wording import words

__all__ = ["Document", "DocumentMapper", "Fields", "InvalidRecord", "RejectedRecord", "kind_of"]

_MAX_NESTING = 100
"""Levels of arrays and objects in metadata. What Python's json takes depends on how deep the caller
stands, and metadata that was stored must be readable from everywhere."""

_TOO_DEEP = f"metadata nested deeper than {_MAX_NESTING} levels"


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus.

    Attributes:
        id: the user's own identifier, unique in an index.
        text: the text; may be empty where there is a title, or the embedding is given (``--vectors``).
        title: optional; encoded in front of the text.
        metadata: any JSON object; kept and returned, never interpreted.
        line: where the document stood in its file, from 1; ``None`` if it came from memory.
    """

    id: str
    text: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None

    @property
    def content(self) -> str:
        """What is encoded: title, one space, text (the convention of BEIR and MTEB)."""
        return f"{self.title} {self.text}".rstrip() if self.title else self.text

    def __hash__(self) -> int:
        """Of id, text and title; metadata, which has no hash, is left out."""
        return hash((self.id, self.text, self.title))


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that is no document, and why.

    Attributes:
        line: line or row number, from 1.
        reason: one sentence without a full stop.
        raw: the record as it stood in the file, or its beginning where it is very long.
    """

    line: int
    reason: str
    raw: bytes = b""


class InvalidRecord(ValueError):
    """Raised while a record is turned into a document; the reader adds the place."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a record are which.

    Attributes:
        id: names to look for, in this order. Where the first record has none of them, documents
            are numbered by their line; from then on an ``id`` is refused, and the other way round.
        text: names to look for, in this order.
        title: names to look for, in this order; optional in every record.
        metadata: the fields to keep as metadata; ``None`` keeps all that are not used above.
    """

    id: tuple[str, ...] = ("id", "_id")
    text: tuple[str, ...] = ("text",)
    title: tuple[str, ...] = ("title",)
    metadata: tuple[str, ...] | None = None


class DocumentMapper:
    """Turns records into documents by ``Fields``, and remembers whether this corpus has ids."""

    def __init__(self, fields: Fields, *, text_required: bool = True) -> None:
        """Set ``text_required=False`` where embeddings are given and texts are not needed."""
        self._fields = fields
        self._text_required = text_required
        self._has_ids: bool | None = None

    def document(self, record: Mapping[str, Any], line: int) -> Document:
        """Make a document of ``record``.

        Raises:
            InvalidRecord: a field is missing, of another type, or not storable.
        """
        fields = self._fields
        id_field = _first_present(record, fields.id)
        text_field = _first_present(record, fields.text)
        title_field = _first_present(record, fields.title)
        title = _optional_string(record, title_field)
        document = Document(
            id=self._id(record, id_field, line),
            text=self._text(record, text_field, title),
            title=title,
            metadata=self._metadata(record, {id_field, text_field, title_field}),
            line=line,
        )
        self._has_ids = id_field is not None
        return document

    def _id(self, record: Mapping[str, Any], name: str | None, line: int) -> str:
        wanted = " or ".join(repr(one) for one in self._fields.id) or "none"
        if name is None:
            if self._has_ids:
                raise InvalidRecord(
                    f"no id (looked for {wanted}), though earlier documents have one"
                )
            return str(line)
        if self._has_ids is False:
            raise InvalidRecord(
                f"has an id ({name!r}), though earlier documents have none and are numbered by line"
            )
        value = record[name]
        if isinstance(value, int) and not isinstance(value, bool):
            try:
                return str(value)
            except ValueError as error:
                raise InvalidRecord(
                    f"the id ({name!r}) is an integer of too many digits"
                ) from error
        if not isinstance(value, str):
            raise InvalidRecord(
                f"the id ({name!r}) must be a string or an integer, found {kind_of(value)}"
            )
        if not value.strip():
            raise InvalidRecord(f"the id ({name!r}) is empty")
        return _storable(value, name)

    def _text(self, record: Mapping[str, Any], name: str | None, title: str | None) -> str:
        if name is None or record[name] is None:
            if not self._text_required:
                return ""
            wanted = " or ".join(repr(one) for one in self._fields.text)
            found = ", ".join(repr(str(key)[:40]) for key in list(record)[:8]) or "no field at all"
            raise InvalidRecord(
                f"no text (looked for {wanted}, found {found}; see {words().text_field})"
            )
        value = record[name]
        if not isinstance(value, str):
            raise InvalidRecord(f"the text ({name!r}) must be a string, found {kind_of(value)}")
        # Labelled sets hold documents of which only the title is left: that is something to encode.
        if self._text_required and not value.strip() and title is None:
            raise InvalidRecord(f"the text ({name!r}) is empty")
        return _storable(value, name)

    def _metadata(self, record: Mapping[str, Any], used: set[str | None]) -> dict[str, Any]:
        chosen = self._fields.metadata
        kept = {
            key: value
            for key, value in record.items()
            if (key not in used if chosen is None else key in chosen)
        }
        if not kept:
            return kept
        try:
            encoded = json.dumps(kept, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidRecord(f"metadata that JSON cannot hold ({error})") from error
        except RecursionError as error:
            raise InvalidRecord(_TOO_DEEP) from error
        if _nesting_above(kept, _MAX_NESTING):
            raise InvalidRecord(_TOO_DEEP)
        _storable(encoded, "metadata")
        return kept


def _nesting_above(value: dict[str, Any], limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not level:
            return False
    return True


def _first_present(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in record), None)


def _optional_string(record: Mapping[str, Any], name: str | None) -> str | None:
    if name is None or record[name] is None:
        return None
    value = record[name]
    if not isinstance(value, str):
        raise InvalidRecord(f"the title ({name!r}) must be a string, found {kind_of(value)}")
    return _storable(value, name) if value.strip() else None


def _storable(value: str, name: str) -> str:
    """Refuse unpaired surrogates: they are no Unicode text and no tokenizer or database takes them."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRecord(
            f"{name!r} is not valid Unicode text (at character {error.start})"
        ) from error
    return value


def kind_of(value: object) -> str:
    """What a JSON value is, in words for a message."""
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        float: "a number",
        int: "a number",
    }
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
