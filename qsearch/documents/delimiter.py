"""What parts the columns of a delimited file: given, or told from its first lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from qsearch.errors import CorpusError
from qsearch.wording import words

__all__ = [
    "DELIMITERS",
    "SAMPLED_LINES",
    "check_delimiter",
    "only_delimiter",
    "said_delimiter",
    "sniffed_delimiter",
]

DELIMITERS = (",", ";", "\t", "|")
"""Those that are told apart, the most usual first."""

SAMPLED_LINES = 20

_NAMES = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


def check_delimiter(delimiter: str) -> str:
    r"""The delimiter that was named: a character, ``\t`` or ``tab``.

    Raises:
        CorpusError: it is none.
    """
    chosen = _NAMES.get(delimiter, delimiter)
    if len(chosen) != 1 or chosen in '"\r\n\0':
        raise CorpusError(
            f"{words().delimiter} takes one character that is no quote and no line end, or tab; "
            f"found {delimiter!r}"
        )
    return chosen


def said_delimiter(line: str) -> str | None:
    r"""What a first line says that parts columns, as Excel writes and understands it; it is no header.

    >>> said_delimiter("sep=;\r\n"), said_delimiter("sep;text"), said_delimiter('sep="')
    (';', None, None)
    """
    said = re.fullmatch(r'sep=([^"\r\n])\s*', line)  # what no table can be parted by is a header
    return None if said is None else said.group(1)


def only_delimiter(header: str) -> str | None:
    """The only delimiter that stands in a header outside of quotes; ``None`` if there are several.

    >>> only_delimiter('id;"last, first";text'), only_delimiter("text"), only_delimiter("a,b;c")
    (';', ',', None)
    """
    bare = re.sub(r'"[^"]*("|$)', "", header)
    there = [one for one in DELIMITERS if one in bare]
    if len(there) > 1:
        return None
    return there[0] if there else DELIMITERS[0]


def sniffed_delimiter(lines: Sequence[str]) -> str:
    """The delimiter that parts most of the first records into as many columns as the header.

    Of several that do, the one with more columns, and then the first of ``DELIMITERS``.

    >>> sniffed_delimiter(["id;name, first;text", "1;Ada;a, b, c", "2;Bob;d"])
    ';'
    """

    def fit(delimiter: str) -> tuple[float, int]:
        rows = list(_rows(lines, delimiter))
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        width = len(rows[0])
        alike = sum(len(row) == width for row in rows[1:])
        return alike / max(1, len(rows) - 1), width

    return max(DELIMITERS, key=fit)


def _rows(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    """The records in the first lines, as far as they can be parted so."""
    try:
        yield from (row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row)
    except csv.Error:  # a record that ends behind the lines, or is none
        return
