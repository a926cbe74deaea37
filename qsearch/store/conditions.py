"""Conditions as SQL: a tree becomes an expression with parameters. Nothing in it is of the user.

An expression is 1, 0 or NULL, which is neither. What a field is depends on where it is looked up: in the
metadata of documents, or among the distinct values of one field (``columns``).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qsearch.filters.conditions import (
    All,
    Among,
    And,
    Call,
    Compare,
    Condition,
    Contains,
    Exists,
    Field,
    Holds,
    Like,
    Literal,
    Member,
    Not,
    Operand,
    Or,
    Scalar,
    Truth,
    number_of,
)
from qsearch.store.format import LIST, OBJECT

__all__ = ["InMetadata", "InValues", "Lookup", "written"]

_FEW = 20
"""So many values of ``IN`` are parameters of their own; more are one, as JSON."""

_LONG = 50
"""A text that is looked for inside of others is long from here on."""


@dataclass(frozen=True, slots=True)
class Looked:
    """SQL expressions for a field.

    Attributes:
        scalar: the number or text; booleans are 1 and 0; NULL for lists, objects, and where it is missing.
        there: 1 where there is a value that is not null, else 0.
        is_list: 1 where it is a list.
        elements: a table of its elements, where it is a list.
        atom: of that table, the number or text that an element is.
        length: of the list.
        texts: whether it is a text wherever it is there.
    """

    scalar: str
    there: str
    is_list: str = "0"
    elements: str = ""
    atom: str = "atom"
    length: str = "NULL"
    texts: bool = False


class Lookup(ABC):
    """How fields are looked up, and the parameters of the statement so far."""

    def __init__(self) -> None:
        """Begin without parameters."""
        self.parameters: dict[str, Any] = {}
        self._names: dict[tuple[type, Any], str] = {}

    def bind(self, value: Any) -> str:
        """A parameter of this value."""
        key = type(value), value
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"p{len(self._names)}"
            self.parameters[name] = value
        return f":{name}"

    def text_at(self, source: str, place: Sequence[str], *key: str) -> str:
        """A text inside of JSON, where SQLite would cut it off: it takes NUL for the end."""
        return f"qs_text({', '.join((source, self.bind(json.dumps(place)), *key))})"

    def holds_nul(self, source: str) -> str:
        """Whether a text in the JSON of ``source`` may hold a NUL, which stands there as an escape."""
        return f"(instr({source}, {self.bind(_ESCAPED_NUL)}) > 0)"

    @abstractmethod
    def field(self, field: Field) -> Looked:
        """Expressions for a field."""


class InMetadata(Lookup):
    """Fields of a table that has the columns ``id``, ``title`` and ``metadata``."""

    def __init__(self, resolved: Mapping[Field, Sequence[tuple[str, ...]]]) -> None:
        """Take the names that each field may have, see ``resolved_fields``."""
        super().__init__()
        self._resolved = resolved

    def field(self, field: Field) -> Looked:
        """Expressions for a field."""
        names = self._resolved[field]
        if not names:
            return Looked("NULL", "0")
        if names[0] in (("id",), ("title",)):
            (name,) = names[0]
            return Looked(name, "1" if name == "id" else f"({name} IS NOT NULL)", texts=True)
        source, place, inner = self._at(names)
        kind = f"json_type({source}, {place})"
        nul = self.holds_nul("metadata")
        return Looked(
            f"(CASE WHEN {kind} IN ('array', 'object') THEN NULL WHEN {kind} = 'text' AND {nul} "
            f"THEN {self.text_at(source, inner)} ELSE json_extract({source}, {place}) END)",
            f"(coalesce({kind}, 'null') <> 'null')",
            f"(coalesce({kind}, '') = 'array')",
            f"json_each({source}, {place})",
            f"(CASE WHEN type = 'text' AND {nul} THEN {self.text_at(source, inner, 'key')} ELSE atom END)",
            f"json_array_length({source}, {place})",
        )

    def raw(self, parts: tuple[str, ...]) -> tuple[str, str]:
        """Expressions for the kind of a value, as ``json_type`` says it, and the value, lists as JSON."""
        if parts in (("id",), ("title",)):
            (name,) = parts
            return f"CASE WHEN {name} IS NULL THEN NULL ELSE 'text' END", name
        source, place, inner = self._at([parts])
        kind = f"json_type({source}, {place})"
        return kind, (
            f"CASE WHEN {kind} = 'text' AND {self.holds_nul('metadata')} "
            f"THEN {self.text_at(source, inner)} ELSE json_extract({source}, {place}) END"
        )

    def _at(self, names: Sequence[tuple[str, ...]]) -> tuple[str, str, tuple[str, ...]]:
        """The JSON and the path in it of a value, as SQLite says it and by its parts."""
        path = _path(names[0])
        if path is not None and len(names) == 1:
            return "metadata", self.bind(path), names[0]
        return f"qs_inner(metadata, {self.bind(json.dumps(names))})", self.bind('$."v"'), ("v",)


class InValues(Lookup):
    """The distinct values of one field: table ``field_values``, whose kinds are those of ``columns``."""

    def field(self, field: Field) -> Looked:
        """Expressions for the field, whichever it is called."""
        value = "field_values.value"  # json_each has a column of that name too
        return Looked(
            f"(CASE WHEN kind IN ({LIST}, {OBJECT}) THEN NULL ELSE {value} END)",
            "1",
            f"(kind = {LIST})",
            f"json_each({value})",
            f"(CASE WHEN type = 'text' AND {self.holds_nul(value)} THEN {self.text_at(value, (), 'key')} "
            "ELSE atom END)",
            f"json_array_length({value})",
        )


_NUL, _ESCAPED_NUL = "\0", "\\u0000"
_NOT_OF_SQLITE = frozenset("\0\ufffd\ufffe\uffff")
"""Characters that ``LIKE`` of SQLite takes for the end, or for each other."""


def _path(parts: Sequence[str]) -> str | None:
    """SQLite's path to a value; ``None`` where it cannot say it."""
    if any(not part or any(one in '"\\' or one < " " for one in part) for part in parts):
        return None
    return "$" + "".join(f'."{part}"' for part in parts)


# The expression


def written(condition: Condition, lookup: Lookup) -> str:
    """A condition as an SQL expression: 1, 0, or NULL where it is neither."""
    return _Writer(lookup).condition(condition)


class _Writer:
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def condition(self, one: Condition) -> str:
        """An expression for it, in parentheses where it needs them."""
        match one:
            case All():
                return "1"
            case And(conditions):
                return self._joined("AND", conditions)
            case Or(conditions):
                return self._joined("OR", conditions)
            case Not(inner):
                return f"(NOT {self.condition(inner)})"
            case Holds(inner):
                return f"coalesce({self.condition(inner)}, 0)"
            case Exists(operand):
                return self._looked(operand).there
            case Truth(operand):
                return f"({_number(self._looked(operand).scalar, 'qs_truth')} <> 0)"
            case Compare(operator, left, Literal(value)) if not isinstance(left, Literal):
                return self._against_value(operator, self._looked(left), value)
            case Compare(operator, left, right):
                return self._against(operator, self._looked(left), self._looked(right))
            case Among(operand, values):
                return self._among(self._looked(operand), values)
            case Like(operand, pattern, escape):
                return self._like(self._looked(operand), pattern, escape)
            case Member(operand, value):
                looked = self._looked(operand)
                equal = self._against_value("=", looked, value)
                return f"(CASE WHEN {looked.is_list} THEN {self._in_list(looked, value)} ELSE {equal} END)"
            case Contains(operand, value):
                return self._contains(self._looked(operand), value)

    def _joined(self, word: str, conditions: Sequence[Condition]) -> str:
        """Balanced: SQLite bounds how deep an expression is."""
        if len(conditions) == 1:
            return self.condition(conditions[0])
        half = len(conditions) // 2
        left, right = conditions[:half], conditions[half:]
        return f"({self._joined(word, left)} {word} {self._joined(word, right)})"

    def _looked(self, operand: Operand) -> Looked:
        if isinstance(operand, Field):
            return self._lookup.field(operand)
        if isinstance(operand, Literal):
            value = operand.value
            given = int(value) if isinstance(value, bool) else value
            return Looked(self._lookup.bind(given), "1")
        return self._called(operand)

    def _called(self, operand: Call) -> Looked:
        looked = [self._looked(one) for one in operand.arguments]
        sql = f"qs_{operand.name}({', '.join(one.scalar for one in looked)})"
        if operand.name == "length" and looked[0].elements:
            (one,) = looked
            sql = f"(CASE WHEN {one.is_list} THEN {one.length} ELSE {sql} END)"
        return Looked(sql, f"({sql} IS NOT NULL)")

    def _against_value(self, operator: str, looked: Looked, value: Scalar) -> str:
        sql = _SQL[operator]
        bound = self._lookup.bind(int(value) if isinstance(value, bool) else value)
        if isinstance(value, str) and looked.texts:
            return f"({looked.scalar} {sql} {bound})"
        if isinstance(value, str):
            number = number_of(value)
            other = "NULL"
            if number is not None:
                other = f"{looked.scalar} {sql} {self._lookup.bind(number)}"
            found = (
                f"(CASE typeof({looked.scalar}) WHEN 'text' THEN {looked.scalar} {sql} {bound} "
                f"ELSE {other} END)"
            )
        else:
            convert = "qs_truth" if isinstance(value, bool) else "qs_number"
            found = f"({_number(looked.scalar, convert)} {sql} {bound})"
        return self._settled(operator, found, looked.there)

    def _against(self, operator: str, left: Looked, right: Looked) -> str:
        sql = _SQL[operator]
        found = (
            f"(CASE WHEN typeof({left.scalar}) = 'text' AND typeof({right.scalar}) = 'text' "
            f"THEN {left.scalar} {sql} {right.scalar} "
            f"ELSE {_number(left.scalar)} {sql} {_number(right.scalar)} END)"
        )
        return self._settled(operator, found, f"({left.there} AND {right.there})")

    def _settled(self, operator: str, found: str, there: str) -> str:
        """What cannot be compared is not equal, and different."""
        if operator not in ("=", "!="):
            return found
        otherwise = 0 if operator == "=" else 1
        return f"(CASE WHEN {there} THEN coalesce({found}, {otherwise}) END)"

    def _among(self, looked: Looked, values: Sequence[Scalar]) -> str:
        """True and false are numbers here, and ask for no words."""
        texts = [one for one in values if isinstance(one, str)]
        numbers = [
            int(one) if isinstance(one, bool) else one for one in values if not isinstance(one, str)
        ]
        if looked.texts and texts and not numbers:
            return f"({looked.scalar} IN {self._list(texts)})"
        written_so = [number for one in texts if (number := number_of(one)) is not None]
        of_text = f"{looked.scalar} IN {self._list(texts)}"
        if numbers:
            of_text += f" OR coalesce(qs_number({looked.scalar}) IN {self._list(numbers)}, 0)"
        of_number = f"{looked.scalar} IN {self._list([*numbers, *written_so])}"
        return (
            f"(CASE WHEN {looked.there} THEN coalesce(CASE typeof({looked.scalar}) WHEN 'text' "
            f"THEN ({of_text}) ELSE {of_number} END, 0) END)"
        )

    def _list(self, values: Sequence[Scalar]) -> str:
        some = list(dict.fromkeys(values))
        if len(some) <= _FEW:
            return f"({', '.join(self._lookup.bind(one) for one in some)})"
        encoded = json.dumps(some, ensure_ascii=False)
        element = "value"
        if (
            _ESCAPED_NUL in encoded
        ):  # SQLite would cut these off, as texts inside of texts it does not
            encoded = json.dumps([json.dumps(one) if isinstance(one, str) else one for one in some])
            element = "CASE type WHEN 'text' THEN qs_text(value, '[]') ELSE value END"
        every = self._lookup.bind(encoded)
        return f"(SELECT {element} FROM json_each({every}))"  # noqa: S608 (a parameter)

    def _like(self, looked: Looked, pattern: str, escape: str | None) -> str:
        bound = self._lookup.bind(pattern)
        sql = f"{looked.scalar} LIKE {bound}"
        arguments = f"{looked.scalar}, {bound}"
        if escape is not None:
            sql += f" ESCAPE {self._lookup.bind(escape)}"
            arguments += f", {self._lookup.bind(escape)}"
        ours = f"qs_like({arguments})"
        if _NOT_OF_SQLITE.isdisjoint(pattern + (escape or "")):
            nul = f"instr({looked.scalar}, {self._lookup.bind(_NUL)}) > 0"
            sql = f"CASE WHEN {nul} THEN {ours} ELSE {sql} END"
        else:
            sql = ours
        return (
            f"(CASE WHEN {looked.there} THEN (CASE typeof({looked.scalar}) WHEN 'text' THEN {sql} "
            "ELSE 0 END) END)"
        )

    def _in_list(self, looked: Looked, value: Scalar) -> str:
        if not looked.elements:
            return "0"
        equal = self._against_value("=", Looked(looked.atom, "(atom IS NOT NULL)"), value)
        return f"EXISTS (SELECT 1 FROM {looked.elements} WHERE {equal})"  # noqa: S608 (parameters)

    def _contains(self, looked: Looked, value: Scalar) -> str:
        of_text = "0"
        if isinstance(value, str):
            bound = self._lookup.bind(value)
            # SQLite compares at every place, which takes minutes where a long text repeats itself.
            holds = "qs_holds" if len(value) > _LONG else "instr"
            of_text = (
                f"(CASE typeof({looked.scalar}) WHEN 'text' THEN {holds}({looked.scalar}, {bound}) > 0 "
                "ELSE 0 END)"
            )
        return (
            f"(CASE WHEN NOT {looked.there} THEN NULL WHEN {looked.is_list} "
            f"THEN {self._in_list(looked, value)} ELSE {of_text} END)"
        )


_SQL = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def _number(scalar: str, convert: str = "qs_number") -> str:
    return f"(CASE typeof({scalar}) WHEN 'text' THEN {convert}({scalar}) ELSE {scalar} END)"
