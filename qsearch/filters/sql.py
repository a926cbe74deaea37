"""A condition in SQL's words becomes a tree. What is not in this grammar is an error that says what is.

::

    condition   disjunct [OR disjunct]…
    disjunct    conjunct [AND conjunct]…
    conjunct    NOT conjunct | predicate
    predicate   operand = | == | != | <> | < | <= | > | >= operand
                operand [NOT] IN (value, …) | operand [NOT] IN :list
                value [NOT] IN field                                     (membership of a list)
                operand [NOT] BETWEEN value AND value
                operand [NOT] LIKE pattern [ESCAPE character]
                operand IS [NOT] NULL | TRUE | FALSE | value
                contains(operand, value)
                operand | ( condition )
    operand     value | field | function(operand, …)
    value       'text' | 12 | -1.5e3 | TRUE | FALSE | :name
    field       name | name.name | "any name"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from qsearch.errors import QueryError
from qsearch.filters.conditions import (
    FUNCTIONS,
    MOST_DEPTH,
    RESERVED,
    Among,
    And,
    Call,
    Compare,
    Comparison,
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
)
from qsearch.filters.values import MOST_VALUES, checked_scalar, checked_values
from qsearch.wording import words

__all__ = ["parsed", "parsed_field"]

MOST_CHARACTERS = 20_000
MOST_PATTERN = 400

_MOST_DIGITS, _SHOWN_DIGITS = 4000, 40

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+)
  | (?P<text>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
  | (?P<parameter>:[^\W\d]\w*)
  | (?P<word>[^\W\d]\w*)
  | (?P<sign><=|>=|<>|!=|==|[=<>(),.+-])
    """,
    re.VERBOSE,
)

_COMPARISONS: dict[str, Comparison] = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}

_ALLOWED = (
    "a condition is made of comparisons (= != < <= > >=), AND, OR, NOT, IN (…), BETWEEN, LIKE, IS NULL, "
    f"contains(field, value), 'value' IN field, and the functions {', '.join(FUNCTIONS)}; fields are named "
    "plainly or in double quotes, texts stand in single quotes, :name takes a parameter"
)


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def parsed(text: str, parameters: Mapping[str, Any] | None = None) -> Condition:
    """The tree of a condition.

    Args:
        text: of the condition.
        parameters: values of its ``:names``; lists of values behind ``IN``.

    Raises:
        QueryError: it is none; the message says where, and what is allowed.
    """
    if len(text) > MOST_CHARACTERS:
        raise QueryError(
            f"the condition has {len(text):,} characters, at most {MOST_CHARACTERS:,} are allowed; give "
            "long lists as a parameter (IN :name)"
        )
    return _parsed(text, dict(parameters)) if parameters else _parsed_alone(text)


def _parsed(text: str, parameters: dict[str, Any]) -> Condition:
    parser = _Parser(text, parameters)
    condition = parser.condition()
    parser.end()
    return condition


@lru_cache(maxsize=64)
def _parsed_alone(text: str) -> Condition:
    """Of a text that says all: it is asked again for every query."""
    return _parsed(text, {})


def parsed_field(text: str) -> Field:
    """The field that a text names.

    Raises:
        QueryError: it names none.
    """
    if not isinstance(text, str):
        raise QueryError(f"the name of a field is a text, found {type(text).__name__}")
    if '"' not in text and all(text.split(".")):  # no word is reserved where there are only names
        return Field(tuple(text.split(".")))
    parser = _Parser(text, {})
    field = parser.field()
    parser.end()
    return field


class _Parser:
    def __init__(self, text: str, parameters: dict[str, Any]) -> None:
        self._text = text
        self._parameters = parameters
        self._unused = set(parameters)
        self._depth = 0
        self._at = 0
        self._tokens = list(self._tokenized())
        if len(self._tokens) == 1:
            raise QueryError("the condition is empty; " + _ALLOWED)

    def _tokenized(self) -> list[_Token]:
        found = []
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                self._refuse_character(at)
            kind = str(match.lastgroup)
            if kind != "space":
                found.append(_Token(kind, match.group(), at))
            at = match.end()
        found.append(_Token("end", "", len(self._text)))
        return found

    def _refuse_character(self, at: int) -> NoReturn:
        character = self._text[at]
        if character == "'":
            self._refuse("a text that is not ended with a single quote", at)
        if character == '"':
            self._refuse("a name that is not ended with a double quote", at)
        if character == ";":
            self._refuse("a semicolon: there is one condition, and no other statement", at)
        if self._text.startswith(("--", "/*"), at):
            self._refuse("a comment", at)
        if character in "?$@":
            self._refuse(f"{character!r}: parameters are written :name", at)
        self._refuse(f"{character!r}", at)

    def _refuse(self, what: str, at: int | None = None) -> NoReturn:
        at = self._next.place if at is None else at
        before, behind = self._text[max(0, at - 24) : at], self._text[at : at + 24]
        raise QueryError(
            f"the condition cannot be read at character {at + 1} ({before}»{behind}): found {what}; "
            + _ALLOWED
        )

    # Tokens

    @property
    def _next(self) -> _Token:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _word(self, *words: str) -> bool:
        """Take these words, if they are next."""
        for offset, word in enumerate(words):
            if self._at + offset >= len(self._tokens):
                return False
            token = self._tokens[self._at + offset]
            if token.kind != "word" or token.text.lower() != word:
                return False
        self._at += len(words)
        return True

    def _sign(self, sign: str) -> bool:
        if self._next.kind == "sign" and self._next.text == sign:
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._sign(sign):
            self._refuse(f"{self._shown()}, where {sign!r} is expected")

    def _shown(self) -> str:
        token = self._next
        if token.kind == "end":
            return "the end"
        if token.kind == "word" and token.text.lower() in RESERVED:
            return f"{token.text.upper()}"
        return repr(token.text[:40])

    def end(self) -> None:
        """Nothing may follow, and every parameter must have been asked for."""
        if self._next.kind != "end":
            self._refuse(f"{self._shown()}, where the condition should end")
        if self._unused:
            raise QueryError(
                f"the condition has no :{min(self._unused)}; parameters are given for those that it has"
            )

    # Grammar

    def condition(self) -> Condition:
        """OR binds least."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise QueryError(f"the condition is nested more than {MOST_DEPTH} deep")
        some = [self._disjunct()]
        while self._word("or"):
            some.append(self._disjunct())
        self._depth -= 1
        return some[0] if len(some) == 1 else Or(tuple(some))

    def _disjunct(self) -> Condition:
        some = [self._conjunct()]
        while self._word("and"):
            some.append(self._conjunct())
        return some[0] if len(some) == 1 else And(tuple(some))

    def _conjunct(self) -> Condition:
        denied = 0
        while self._word("not"):
            denied += 1
        if denied > MOST_DEPTH:
            raise QueryError(f"the condition is nested more than {MOST_DEPTH} deep")
        found = self._predicate()
        if denied % 2 == 0:
            return found
        return found.condition if isinstance(found, Not) else Not(found)  # twice is as if never

    def _predicate(self) -> Condition:
        if self._sign("("):
            inner = self.condition()
            self._expect(")")
            return self._judged(inner)
        if (
            self._next.kind == "word"
            and self._next.text.lower() == "contains"
            and self._tokens[self._at + 1].text == "("
        ):
            self._at += 2
            operand = self._operand()
            self._expect(",")
            value = self._value("what it may contain")
            self._expect(")")
            return self._judged(Contains(operand, value))
        left = self._operand()
        return self._behind(left)

    def _judged(self, condition: Condition) -> Condition:
        """``IS [NOT] TRUE`` and ``FALSE`` behind a condition."""
        if not self._word("is"):
            return condition
        denied = self._word("not")
        if self._word("true"):
            found: Condition = Holds(condition)
        elif self._word("false"):
            found = Holds(Not(condition))
        else:
            self._refuse(f"{self._shown()}, where TRUE or FALSE is expected")
        return Not(found) if denied else found

    def _behind(self, left: Operand) -> Condition:
        token = self._next
        if token.kind == "sign" and token.text in _COMPARISONS:
            self._at += 1
            return _compared(_COMPARISONS[token.text], left, self._operand())
        if self._word("is"):
            return self._is(left)
        denied = self._word("not")
        found: Condition
        if self._word("in"):
            found = self._in(left)
        elif self._word("between"):
            low = self._operand()
            if not self._word("and"):
                self._refuse(f"{self._shown()}, where AND is expected")
            high = self._operand()
            found = And((_compared(">=", left, low), _compared("<=", left, high)))
        elif self._word("like"):
            found = self._like(left)
        elif denied:
            self._refuse(f"{self._shown()}, where IN, BETWEEN or LIKE is expected")
        else:
            if token.kind == "word" and token.text.lower() in RESERVED - {"and", "or"}:
                self._refuse(self._shown())
            found = Truth(left)
        return Not(found) if denied else found

    def _is(self, left: Operand) -> Condition:
        denied = self._word("not")
        if self._word("null"):
            return Exists(left) if denied else Not(Exists(left))
        found: Condition
        if self._word("true"):
            found = Holds(Truth(left))
        elif self._word("false"):
            found = Holds(Not(Truth(left)))
        else:
            found = Holds(_compared("=", left, self._operand()))
        return Not(found) if denied else found

    def _in(self, left: Operand) -> Condition:
        if self._next.kind == "parameter":
            values = self._parameter()
            if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
                name = self._tokens[self._at - 1].text
                raise QueryError(
                    f"the parameter {name} behind IN must be a list, such as [2020, 2021], found "
                    f"{values!r:.80}"
                )
            return Among(left, checked_values(values))
        if self._sign("("):
            if self._sign(")"):
                return Among(left, ())
            some = [self._value("a value")]
            while self._sign(","):
                some.append(self._value("a value"))
            self._expect(")")
            if len(some) > MOST_VALUES:
                raise QueryError(
                    f"IN has {len(some):,} values, at most {MOST_VALUES:,} are allowed"
                )
            return Among(left, tuple(some))
        if not isinstance(left, Literal):
            self._refuse(f"{self._shown()}, where a list of values in parentheses is expected")
        return Member(self.field(), left.value)

    def _like(self, left: Operand) -> Condition:
        pattern = self._value("a pattern")
        if not isinstance(pattern, str):
            self._refuse("a pattern that is no text")
        if len(pattern) > MOST_PATTERN:
            raise QueryError(
                f"the pattern of LIKE has {len(pattern):,} characters, at most {MOST_PATTERN} are allowed"
            )
        escape = None
        if self._word("escape"):
            given = self._value("a character")
            if not isinstance(given, str) or len(given) != 1:
                self._refuse("an ESCAPE that is not one character")
            escape = given
        return Like(left, pattern, escape)

    def _operand(self) -> Operand:
        token = self._next
        if token.kind in ("text", "number", "parameter") or token.text in ("+", "-"):
            return Literal(self._value("a value"))
        if token.kind == "word" and token.text.lower() in ("true", "false"):
            return Literal(self._value("a value"))
        if token.kind == "word" and token.text.lower() == "null":
            self._refuse("NULL: whether a field is missing is asked by IS NULL and IS NOT NULL")
        if token.kind == "word" and self._tokens[self._at + 1].text == "(":
            return self._call()
        if token.kind not in ("word", "quoted"):
            self._refuse(f"{self._shown()}, where a field or a value is expected")
        return self.field()

    def _call(self) -> Call:
        token = self._take()
        name = token.text.lower()
        if name not in FUNCTIONS:
            self._refuse(f"the function {token.text}()", token.place)
        self._expect("(")
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise QueryError(f"the condition is nested more than {MOST_DEPTH} deep")
        some = [self._operand()]
        while self._sign(","):
            some.append(self._operand())
        self._depth -= 1
        self._expect(")")
        least, most = FUNCTIONS[name]
        if not least <= len(some) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            self._refuse(f"{name}() with {len(some)} arguments, it takes {wanted}", token.place)
        return Call(name, tuple(some))

    def field(self) -> Field:
        """A name, or several with dots between them."""
        parts = []
        exact = False
        while True:
            token = self._next
            if token.kind == "quoted":
                parts.append(token.text[1:-1].replace('""', '"'))
                exact = True
            elif token.kind == "word" and token.text.lower() not in RESERVED:
                parts.append(token.text)
            else:
                self._refuse(f"{self._shown()}, where the name of a field is expected")
            self._at += 1
            if not self._sign("."):
                return Field(tuple(parts), exact)

    def _value(self, what: str) -> Scalar:
        token = self._next
        if token.kind == "text":
            self._at += 1
            return checked_scalar(token.text[1:-1].replace("''", "'"), "a text")
        if token.kind == "parameter":
            return checked_scalar(self._parameter(), token.text)
        if self._word("true"):
            return True
        if self._word("false"):
            return False
        negative = False
        if token.text in ("+", "-"):
            self._at += 1
            negative = token.text == "-"
        if self._next.kind != "number":
            self._refuse(f"{self._shown()}, where {what} is expected")
        text = self._take().text
        # Python reads no whole number of more than 4,300 digits; as a float it is too large, and refused.
        whole = len(text) <= _MOST_DIGITS and not any(one in ".eE" for one in text)
        number = int(text) if whole else float(text)
        shown = text if len(text) <= _SHOWN_DIGITS else f"{text[:_SHOWN_DIGITS]}…"
        return checked_scalar(-number if negative else number, shown)

    def _parameter(self) -> Any:
        token = self._take()
        name = token.text[1:]
        if name not in self._parameters:
            known = ", ".join(f":{one}" for one in sorted(self._parameters)) or "none"
            raise QueryError(
                f"of the parameter {token.text} no value is given ({known} given); add it with "
                f"{words().params}"
            )
        self._unused.discard(name)
        return self._parameters[name]


def _compared(operator: Comparison, left: Operand, right: Operand) -> Condition:
    """A comparison, its literal on the right."""
    if isinstance(left, Literal) and not isinstance(right, Literal):
        return Compare(_MIRRORED[operator], right, left)
    return Compare(operator, left, right)


_MIRRORED: dict[Comparison, Comparison] = {
    "=": "=",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}
