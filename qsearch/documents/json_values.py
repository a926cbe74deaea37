"""JSON values that are not a line each: the elements of an array, or objects one after the other.

Where a value ends is told by its brackets alone, in one pass and bounded memory; what it is, and
whether it is valid, is for the reader of the value to say. So a value that is broken inside costs only
itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from qsearch.documents.columns import REPORTED_BYTES
from qsearch.documents.lines import MAX_RECORD_BYTES

__all__ = ["Value", "read_values"]

# A line feed ends a string too: JSON does not allow one inside. What follows in such a value cannot be
# told apart any more, up to a line that begins like the value did.
_IN_STRING = re.compile(rb'(?:[^"\\\n]++|\\[^\n])*+', re.DOTALL)
_STRING = rb'"(?:[^"\\\n]++|\\[^\n])*+"'
# To the next byte that counts: inside of a value commas do not.
_OUTSIDE = re.compile(rb'(?:[^"\[\]{},\n]++|' + _STRING + rb")*+", re.DOTALL)
_INSIDE = re.compile(rb'(?:[^"\[\]{}\n]++|' + _STRING + rb")*+", re.DOTALL)
_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Value:
    """One value as it stands in the file.

    Attributes:
        number: from 1, counted through the file.
        line: on which it begins, from 1.
        raw: its bytes, or the first of them where there is a ``reason``.
        reason: why it cannot be read.
    """

    number: int
    line: int
    raw: bytes
    reason: str | None = None


def read_values(begin: bytes, blocks: Iterable[bytes], line: int) -> Iterator[Value]:
    """Yield the values of a file, those of its arrays one by one.

    Args:
        begin: the first bytes.
        blocks: those after them.
        line: on which they begin.
    """
    scanner = _Scanner(line)
    for block in chain((begin,), blocks):
        yield from scanner.scan(block)
    yield from scanner.end()


class _Scanner:
    """Tells values apart; its state is what a block may end in the middle of."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._number = 0
        self._in_array = False
        self._after_comma = False
        self._depth = 0  # of brackets inside of the value
        self._in_string = False
        self._escaped = False  # the block ended after a backslash
        self._damaged = False  # a string in the value ended with its line
        self._value = bytearray()
        self._size = 0
        self._value_line = line
        self._value_column = 0
        self._column = 0  # of what is kept next
        self._line_blank = True  # nothing but blanks was kept of this line

    def scan(self, block: bytes) -> Iterator[Value]:
        position = kept = 0
        if self._escaped and block:
            self._escaped = False
            position = 1 if block[:1] != b"\n" else 0
        while position < len(block):
            if self._in_string:
                match = _IN_STRING.match(block, position)
                position = match.end() if match else position
                if position == len(block):
                    break
                found = block[position : position + 1]
                if found == b"\\" and position + 1 == len(block):
                    self._escaped = True
                    break
                self._in_string = False
                self._damaged |= found != b'"'
                position += found != b"\n"
                continue
            match = (_INSIDE if self._depth else _OUTSIDE).match(block, position)
            position = match.end() if match else position
            if position == len(block):
                break
            found = block[position : position + 1]
            position += 1
            if found == b"\n":
                yield from self._line_end(block, kept, position)
                kept = position
            elif found == b'"':
                self._in_string = True
            elif found == b"{" and self._begins_anew(block[kept : position - 1]):
                yield self._take()
                self._keep(block[kept:position])
                kept = position
                self._depth = 1
            elif self._depth or found == b"{":
                self._depth += 1 if found in b"{[" else -1 if found in b"}]" else 0
                if not self._depth and not self._in_array:
                    self._keep(block[kept:position])
                    kept = position
                    yield self._take()
            elif found == b"[" and not self._in_array:
                self._keep(block[kept : position - 1])
                self._column += 1
                kept = position
                if self._begun():
                    yield self._take()
                self._in_array, self._after_comma = True, False
            elif found == b"[":
                self._depth += 1
            elif found == b"}" or not self._in_array:
                continue  # belongs to nothing, and is told with what stands around it
            else:
                self._keep(block[kept : position - 1])
                self._column += 1
                kept = position
                yield from self._element_end(last=found == b"]")
        self._keep(block[kept:])

    def end(self) -> Iterator[Value]:
        whole = self._begun() and not self._depth
        if whole:
            yield self._take()
        if self._in_array or self._begun():
            what = "array" if self._in_array else "record"
            yield self._take(f"the file ends inside of the {what}; is it complete?")

    def _element_end(self, *, last: bool) -> Iterator[Value]:
        if self._begun():
            yield self._take()
        elif not last or self._after_comma:
            yield self._take("a comma of the array has no value beside it")
        self._in_array, self._after_comma = not last, not last

    def _line_end(self, block: bytes, kept: int, position: int) -> Iterator[Value]:
        self._keep(block[kept:position])
        self._line += 1
        self._column, self._line_blank = 0, True
        if not self._depth and not self._in_array and self._begun():
            yield self._take()  # between values nothing but values may stand

    def _begun(self) -> bool:
        return self._size > 0

    def _begins_anew(self, before: bytes) -> bool:
        """Whether a brace with that ``before`` it ends a damaged value, and begins the next."""
        return (
            self._damaged
            and self._line_blank
            and not before.strip(_BLANK)
            and self._column + len(before) <= self._value_column
        )

    def _keep(self, data: bytes) -> None:
        """Add to the value; of one that is too long only the beginning."""
        stripped = data.lstrip(_BLANK)
        column = self._column + len(data) - len(stripped)
        self._column += len(data)
        self._line_blank &= not stripped
        if not self._size:
            if not stripped:
                return
            # Line feeds are handed over one by one, so that none stands before the value here.
            self._value_line, self._value_column = self._line, column
            data = stripped
        self._size += len(data)
        room = MAX_RECORD_BYTES + 2 * len(_BLANK) - len(self._value)
        self._value += data[:room]

    def _take(self, reason: str | None = None) -> Value:
        raw = bytes(self._value).rstrip(_BLANK + b"," * self._damaged)
        if self._size > len(self._value) or len(raw) > MAX_RECORD_BYTES:
            reason = f"is longer than {MAX_RECORD_BYTES >> 20} MiB"
        if reason is not None:
            raw = raw[:REPORTED_BYTES]
        line = self._value_line if self._size else self._line
        self._number += 1
        self._value, self._size, self._depth = bytearray(), 0, 0
        self._in_string = self._damaged = False
        return Value(self._number, line, raw, reason)
