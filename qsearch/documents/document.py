"""What a document is, and how a record of a file becomes one.

No file is opened here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qsearch.documents.fields import FieldMatcher, Fields, FieldsFound
from qsearch.documents.rejected import InvalidRecord
from qsearch.documents.values import MAX_NESTING

__all__ = ["Document", "DocumentMapper", "content", "kind_of", "surrogate_in"]

_TOO_DEEP = f"metadata nested deeper than {MAX_NESTING} levels"


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
        return content(self.title, self.text)

    def __hash__(self) -> int:
        """Of id, text and title; metadata, which has no hash, is left out."""
        return hash((self.id, self.text, self.title))


def content(title: str | None, text: str) -> str:
    """What is encoded of a document: title, one space, text (the convention of BEIR and MTEB)."""
    return f"{title} {text}".rstrip() if title else text


class DocumentMapper:
    """Turns records into documents by ``Fields``, and remembers whether this corpus has ids.

    Attributes:
        numbered_by: what the numbers count that stand for ids, see ``FieldsFound``.
    """

    def __init__(
        self, fields: Fields, *, text_required: bool = True, numbered_by: str = "record"
    ) -> None:
        """Make documents of the records of one corpus.

        Args:
            fields: which field is which.
            text_required: ``False`` where embeddings are given and texts are not needed.
            numbered_by: see there; a reader that finds out later may still set it.
        """
        self._fields = fields
        self._text_required = text_required
        self.numbered_by = numbered_by
        self._matcher = FieldMatcher(fields)
        self._has_ids: bool | None = None

    def found(self) -> FieldsFound:
        """What was seen of the fields so far."""
        return self._matcher.found(self.numbered_by if self._has_ids is False else None)

    def document(self, record: Mapping[str, Any], line: int, number: int | None = None) -> Document:
        """Make a document of ``record``.

        Args:
            record: name and value of its fields.
            line: where it stands.
            number: its id, where this corpus has none; by default the line.

        Raises:
            InvalidRecord: a field is missing, of another type, or not storable.
        """
        matched = self._matcher.match(record)
        title = _optional_string(record, matched.title)
        document = Document(
            id=self._id(record, matched.id, line if number is None else number),
            text=self._text(record, matched.text, title),
            title=title,
            metadata=_metadata({name: record[name] for name in matched.metadata}),
            line=line,
        )
        self._has_ids = matched.id is not None
        if matched.id is None and self._fields.id is None:
            self._matcher.sample(record)
        return document

    def _id(self, record: Mapping[str, Any], name: str | None, number: int) -> str:
        if name is None:
            missing = f"no id ({_looked_for(self._fields.wanted('id'), record)})"
            if self._has_ids:
                raise InvalidRecord(f"{missing}, though earlier documents have one")
            if self._fields.named("id"):
                raise InvalidRecord(missing, "id field")
            return str(number)
        if self._has_ids is False:
            raise InvalidRecord(
                f"has an id ({name!r}), though earlier documents have none and are numbered"
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
        if name is None:
            if not self._text_required:
                return ""
            raise InvalidRecord(
                f"no text ({_looked_for(self._fields.wanted('text'), record)})", "text field"
            )
        value = record[name]
        if value is None:
            if not self._text_required:
                return ""
            raise InvalidRecord(f"the text ({name!r}) is null")
        if not isinstance(value, str):
            raise InvalidRecord(f"the text ({name!r}) must be a string, found {kind_of(value)}")
        # Labelled sets hold documents of which only the title is left: that is something to encode.
        if self._text_required and not value.strip() and title is None:
            raise InvalidRecord(f"the text ({name!r}) is empty")
        return _storable(value, name)


def _looked_for(names: Sequence[str], record: Mapping[Any, Any]) -> str:
    wanted = " or ".join(map(repr, names))
    found = ", ".join(repr(str(key)[:40]) for key in list(record)[:8]) or "no field at all"
    return f"looked for {wanted}, found {found}"


def _metadata(kept: dict[str, Any]) -> dict[str, Any]:
    if not kept:
        return kept
    try:
        encoded = json.dumps(kept, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRecord(f"metadata that JSON cannot hold ({error})") from error
    except RecursionError as error:
        raise InvalidRecord(_TOO_DEEP) from error
    if _nesting_above(kept, MAX_NESTING):
        raise InvalidRecord(_TOO_DEEP)
    _storable(encoded, "metadata")
    if _has_other_keys(kept):  # to JSON 1 and "1" are one name, of which the last value counts
        decoded: dict[str, Any] = json.loads(encoded)
        return decoded
    return kept


def _has_other_keys(value: Any) -> bool:
    """Whether an object inside of a value has a key that is no text."""
    if isinstance(value, dict):
        return any(not isinstance(key, str) for key in value) or any(
            map(_has_other_keys, value.values())
        )
    return isinstance(value, list | tuple) and any(map(_has_other_keys, value))


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


def _optional_string(record: Mapping[str, Any], name: str | None) -> str | None:
    if name is None or record[name] is None:
        return None
    value = record[name]
    if not isinstance(value, str):
        raise InvalidRecord(f"the title ({name!r}) must be a string, found {kind_of(value)}")
    return _storable(value, name) if value.strip() else None


def _storable(value: str, name: str) -> str:
    """Refuse unpaired surrogates: they are no Unicode text and no tokenizer or database takes them."""
    place = surrogate_in(value)
    if place is not None:
        raise InvalidRecord(f"{name!r} is not valid Unicode text (at character {place})")
    return value


def surrogate_in(text: str) -> int | None:
    r"""Where the first half of a surrogate pair stands, which makes a string no text; ``None``: nowhere.

    Examples:
        >>> surrogate_in("a\ud800"), surrogate_in("a")
        (1, None)
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


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
