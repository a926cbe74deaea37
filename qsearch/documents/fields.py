"""Which field of a record is which: the names that are looked for, and what was found of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from qsearch.documents.rejected import InvalidRecord, Remedy
from qsearch.errors import CorpusError

__all__ = ["FieldMatcher", "Fields", "FieldsFound", "MatchedFields", "Role", "as_fields"]

Role = Literal["id", "text", "title", "metadata"]
_ROLES: tuple[Role, ...] = get_args(Role)

_USUAL: dict[Role, tuple[str, ...]] = {"id": ("id", "_id"), "text": ("text",), "title": ("title",)}

_REMEDIES: dict[Role, Remedy] = {"id": "id field", "text": "text field"}

_SEEN = 16
"""How many names of fields are kept for a message."""

_SAMPLED_RECORDS = 1000
_SAMPLED_FIELDS = 64
_LONGEST_ID = 128

_ID_NAME = re.compile(
    r"(article|cordu|doc|document|gu|item|message|p|paper|passage|pm|pmc|product|record|row|u|uu)id"
    r"|(doc|document)no|doi|identifier|isbn|key|number|ref|sku|uri|url"
)
"""Names of fields that hold ids in corpora about; without case and punctuation."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a record are which: for each a name, or several that are looked for in this order.

    Names match whatever their case; one that is the same to the letter goes before one that is not. A
    name that is given here and that no record has is an error.

    Attributes:
        id: required in every record; ``None`` looks for ``id`` and ``_id``, and where the first record
            has neither, documents are numbered. From then on an id is refused, and the other way round.
        text: required in every record; ``None`` looks for ``text``.
        title: optional in every record; ``None`` looks for ``title``.
        metadata: the fields to keep as metadata; ``None`` keeps all that are not used above.
    """

    id: str | Sequence[str] | None = None
    text: str | Sequence[str] | None = None
    title: str | Sequence[str] | None = None
    metadata: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Make tuples of what was given."""
        for role in _ROLES:
            object.__setattr__(self, role, _names(role, getattr(self, role)))

    def named(self, role: Role) -> tuple[str, ...]:
        """The names that were given; empty where the usual ones count."""
        return tuple(getattr(self, role) or ())

    def wanted(self, role: Role) -> tuple[str, ...]:
        """The names to look for."""
        given: tuple[str, ...] | None = getattr(self, role)
        return _USUAL.get(role, ()) if given is None else given


def as_fields(fields: Fields | Mapping[str, Any] | None) -> Fields:
    """``Fields``, also of a mapping such as ``{"text": "body"}``.

    Raises:
        CorpusError: the mapping names something else.
    """
    if isinstance(fields, Fields):
        return fields
    if not isinstance(fields, Mapping | None):
        raise CorpusError(
            f'fields must be a qsearch.Fields or a mapping such as {{"text": "body"}}, found a '
            f"{type(fields).__name__}"
        )
    given = dict(fields or {})
    if unknown := [name for name in given if name not in _ROLES]:
        raise CorpusError(
            f"fields takes {', '.join(_ROLES)}, each with the name of a field in the corpus; "
            f"found {unknown[0]!r}"
        )
    return Fields(**given)


def _names(role: Role, given: object) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise CorpusError(
            f"the {role} field must be a name or a list of names, found {given!r:.80}"
        )
    return tuple(names)


@dataclass(frozen=True, slots=True)
class FieldsFound:
    """What reading a corpus has shown of its fields; all of it, when it was read to the end.

    Attributes:
        missing: names that were given and that no record has had, with what they were given for.
        seen: names that records had, the first ones.
        numbered_by: what the ids count where records have none: ``line``, ``row`` or ``record``.
        id_like: fields that could be ids, where documents are numbered, the likeliest first.
    """

    missing: tuple[tuple[Role, str], ...] = ()
    seen: tuple[str, ...] = ()
    numbered_by: str | None = None
    id_like: tuple[str, ...] = ()


class MatchedFields(NamedTuple):
    """The fields of one record; ``metadata`` are those to keep."""

    id: str | None
    text: str | None
    title: str | None
    metadata: tuple[str, ...]


class FieldMatcher:
    """Finds fields by name, and remembers what it has seen of them."""

    def __init__(self, fields: Fields) -> None:
        """Look for ``fields``."""
        self.fields = fields
        self._missing = {(role, name): None for role in _ROLES for name in fields.named(role)}
        self._seen: dict[str, None] = {}
        # Most records of a corpus have the same fields as the one before them.
        self._keys: tuple[object, ...] | None = None
        self._matched = MatchedFields(None, None, None, ())
        self._sampled = 0
        self._values: dict[str, set[Any]] = {}

    def match(self, record: Mapping[Any, Any]) -> MatchedFields:
        """Tell the fields of a record apart.

        Raises:
            InvalidRecord: two differ in case only, and both could be meant.
        """
        keys = tuple(record)
        if keys != self._keys:
            layout = _Layout(keys)
            self._see(layout)
            self._matched = self._match(layout)
            self._keys = keys
        return self._matched

    def _match(self, layout: _Layout) -> MatchedFields:
        key, text, title = (self._find(layout, role) for role in _ROLES[:3])
        if title in (key, text) and not self.fields.named("title"):
            title = None
        used = {name for name in (key, text, title) if name is not None}
        if self.fields.metadata is None:
            kept = tuple(key for key in layout.keys if key not in used)
        else:
            chosen = {layout.find("metadata", (name,)) for name in self.fields.metadata}
            kept = tuple(key for key in layout.keys if key in chosen)
        return MatchedFields(key, text, title, kept)

    def _find(self, layout: _Layout, role: Role) -> str | None:
        return layout.find(role, self.fields.wanted(role))

    def _see(self, layout: _Layout) -> None:
        for key in layout.keys[: _SEEN * 4]:
            if len(self._seen) < _SEEN:
                self._seen[str(key)[:40]] = None
        for role, name in tuple(self._missing):
            if layout.has(name):
                del self._missing[role, name]

    def sample(self, record: Mapping[Any, Any]) -> None:
        """Look for fields that could be ids in a record that has none."""
        if self._sampled >= _SAMPLED_RECORDS:
            return
        self._sampled += 1
        if self._sampled == 1:
            used = self._matched[:3]
            names = [name for name in record if isinstance(name, str) and name.strip()]
            self._values = {name: set() for name in names[:_SAMPLED_FIELDS] if name not in used}
        for name, values in tuple(self._values.items()):
            value = record.get(name)
            if _could_be_id(name, value) and value not in values:
                values.add(value)
            else:
                del self._values[name]

    def found(self, numbered_by: str | None) -> FieldsFound:
        """What was seen so far, where documents are numbered by that or, with ``None``, are not."""
        known = [name for name in self._values if _is_id_name(name)]
        others = [name for name in self._values if name not in known and self._sampled > 1]
        return FieldsFound(
            tuple(self._missing),
            tuple(self._seen),
            numbered_by,
            () if numbered_by is None else (*known, *others),
        )


def _is_id_name(name: str) -> bool:
    return _ID_NAME.fullmatch(re.sub(r"[\W_]", "", name.casefold())) is not None


def _could_be_id(name: str, value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        return False
    return not value.isspace() if _is_id_name(name) else not re.search(r"\s", value)


class _Layout:
    """The names of a record's fields."""

    def __init__(self, keys: tuple[Any, ...]) -> None:
        self.keys = keys
        self._exact = {key for key in keys if isinstance(key, str)}
        self._folded: dict[str, list[str]] = {}
        for key in keys:
            if isinstance(key, str):
                self._folded.setdefault(key.casefold(), []).append(key)

    def has(self, name: str) -> bool:
        return name.casefold() in self._folded

    def find(self, role: Role, names: Sequence[str]) -> str | None:
        """The first of ``names`` that is there to the letter, else the first that is there at all."""
        for name in names:
            if name in self._exact:
                return name
        for name in names:
            if similar := self._folded.get(name.casefold()):
                if len(similar) > 1:
                    raise InvalidRecord(
                        f"{similar[0]!r} and {similar[1]!r} could both be the {role} (looked for {name!r})",
                        _REMEDIES.get(role),
                    )
                return similar[0]
        return None
