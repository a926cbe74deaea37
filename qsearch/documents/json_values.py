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

# A line feed ends a string too: JSON does not allow one inside, and a quote that is missing must not
# turn the rest of the file inside out.
_IN_STRING = re.compile(rb'(?:[^"\\\n]|\\[^\n])*+', re.DOTALL)
_STRUCTURE = re.compile(rb'["\[\]{},\n]')
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
        self._value = bytearray()
        self._size = 0
        self._value_line = line

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
                position += found != b"\n"
                continue
            match = _STRUCTURE.search(block, position)
            if match is None:
                break
            position = match.end()
            found = match.group()
            if found == b"\n":
                yield from self._line_end(block, kept, position)
                kept = position
            elif found == b'"':
                self._in_string = True
            elif self._depth or found in b"{":
                self._depth += 1 if found in b"{[" else -1 if found in b"}]" else 0
                if not self._depth and not self._in_array:
                    self._keep(block[kept:position])
                    kept = position
                    yield self._take()
            elif found == b"[" and not self._in_array:
                self._keep(block[kept : position - 1])
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
        if not self._depth and not self._in_array and self._begun():
            yield self._take()  # between values nothing but values may stand

    def _begun(self) -> bool:
        return self._size > 0

    def _keep(self, data: bytes) -> None:
        """Add to the value; of one that is too long only the beginning."""
        if not self._size:
            stripped = data.lstrip(_BLANK)
            if not stripped:
                return
            # Line feeds are handed over one by one, so that none stands before the value here.
            self._value_line = self._line
            data = stripped
        self._size += len(data)
        room = MAX_RECORD_BYTES + 2 * len(_BLANK) - len(self._value)
        self._value += data[:room]

    def _take(self, reason: str | None = None) -> Value:
        raw = bytes(self._value).rstrip(_BLANK)
        if self._size > len(self._value) or len(raw) > MAX_RECORD_BYTES:
            reason = f"is longer than {MAX_RECORD_BYTES >> 20} MiB"
        if reason is not None:
            raw = raw[:REPORTED_BYTES]
        line = self._value_line if self._size else self._line
        self._number += 1
        self._value, self._size, self._depth = bytearray(), 0, 0
        self._in_string = False
        return Value(self._number, line, raw, reason)
