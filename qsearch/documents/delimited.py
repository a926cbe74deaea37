"""CSV and TSV: a header, then a record a row, which may hold line ends inside quotes."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from itertools import islice

from qsearch.documents.columns import REPORTED_BYTES, unique_columns
from qsearch.documents.delimiter import (
    DELIMITERS,
    SAMPLED_LINES,
    only_delimiter,
    said_delimiter,
    sniffed_delimiter,
)
from qsearch.documents.document import Document, DocumentMapper
from qsearch.documents.encodings import encoding_advice
from qsearch.documents.lines import MAX_RECORD_BYTES, ByteSource, Line
from qsearch.documents.rejected import InvalidRecord, RejectedRecord
from qsearch.errors import CorpusError

__all__ = ["read_delimited"]


def read_delimited(
    source: ByteSource, mapper: DocumentMapper, delimiter: str | None
) -> Iterator[Document | RejectedRecord]:
    """Yield every record; raises ``CorpusError`` only for an unusable header.

    Args:
        source: the file.
        mapper: makes documents; those without an id get the number of their row, the header not counted.
        delimiter: ``None`` tells it from the first lines.
    """
    lines = _RecordLines(source)
    # Raised and not put back: the limit is the process's, and another reader may be at work.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_RECORD_BYTES))
    rows = csv.reader(lines, delimiter=lines.delimiter(delimiter), strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        lines.begin()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if header is None:
                reason = lines.rejected(error).reason
                raise CorpusError(reason, path=source.name, line=lines.first) from error
            number += 1
            yield lines.rejected(error)
            continue
        if not row:
            continue
        if header is None:
            header = _header(source, row, lines)
            continue
        number += 1
        try:
            yield mapper.document(_row_record(source, header, row), lines.first, number)
        except InvalidRecord as error:
            if len(row) < len(header):
                error = InvalidRecord(f"{error} ({_columns(row, header)})", error.remedy)
            yield error.rejected(lines.first, lines.raw())


class _RecordLines:
    """Feeds the csv module with lines, and keeps those of the record that it is reading.

    Bytes that are not UTF-8 travel through the csv module as lone surrogates, so that only the
    record that holds them is rejected and not the rest of the file.

    Attributes:
        first: number of the record's first line.
        last: number of the last line handed out.
    """

    def __init__(self, source: ByteSource) -> None:
        self._lines = source.lines(keep_ends=True)
        self._ahead: deque[Line] = deque()
        self._again = io.BytesIO()
        self._read_twice = 0
        self._kept = bytearray()
        self.first = 1
        self.last = 0

    def __iter__(self) -> _RecordLines:
        return self

    def __next__(self) -> str:
        if line := self._again.readline():
            self.last += 1
        else:
            self.last, line, _ = self._ahead.popleft() if self._ahead else next(self._lines)
        before = len(self._kept)
        self._kept += line
        if before + len(line.rstrip(b"\r\n")) > MAX_RECORD_BYTES:
            raise _RecordTooLong
        return line.decode("utf-8", "surrogateescape")

    def delimiter(self, given: str | None) -> str:
        """What parts columns: what is given, or can be told from the header, or the lines after it.

        A first line such as ``sep=;`` says so.
        """
        for line in self._lines:
            self._ahead.append(line)
            if line[1].strip():
                break
        else:
            return given or DELIMITERS[0]
        header = line[1].decode("utf-8", "surrogateescape")
        if said := said_delimiter(header):
            self._ahead.clear()
            self.last = line[0]
            return given or said
        if known := given or only_delimiter(header):
            return known
        self._ahead.extend(islice(self._lines, SAMPLED_LINES))
        sample = (line for _, line, too_long in self._ahead if not too_long)
        return sniffed_delimiter([line.decode("utf-8", "surrogateescape") for line in sample])

    def begin(self) -> None:
        """The next line is the first of a record."""
        self.first = self.last + 1
        self._kept = bytearray()

    def raw(self) -> bytes:
        """The lines of the record, without the last line end."""
        return bytes(self._kept).removesuffix(b"\n").removesuffix(b"\r")

    def rejected(self, error: csv.Error) -> RejectedRecord:
        """Reject the record, or only its first line if a quote there swallowed the lines after it.

        Those lines are read again, but none a second time: a file of nothing but stray quotes is
        read in linear time.
        """
        # The csv module's own words on this one advise on how to call it.
        detail = "a carriage return outside quotes" if "new-line" in str(error) else str(error)
        if self.last == self.first and isinstance(error, _RecordTooLong):
            reason = detail
        elif self.last == self.first:
            reason = f"is not valid delimited text ({detail})"
        else:
            reason = f"has a quote that is not closed properly by line {self.last} ({detail})"
            if self.first > self._read_twice:
                line, end, rest = self._kept.partition(b"\n")
                self._again = io.BytesIO(rest)
                self._read_twice, self.last, self._kept = self.last, self.first, line + end
            else:
                reason += "; all these lines are left out"
        raw = self.raw()
        return RejectedRecord(
            self.first, reason, raw if len(raw) <= MAX_RECORD_BYTES else raw[:REPORTED_BYTES]
        )


class _RecordTooLong(csv.Error):
    def __str__(self) -> str:
        return f"is longer than {MAX_RECORD_BYTES >> 20} MiB"


def _header(source: ByteSource, row: list[str], lines: _RecordLines) -> list[str]:
    names = [column.strip() for column in row]
    if names.count("") > 1:  # spreadsheets write columns that were emptied
        while names and not names[-1]:
            names.pop()
    names = unique_columns(source.name, names, lines.first)
    try:
        "".join(names).encode("utf-8")
    except UnicodeEncodeError:
        raise CorpusError(
            f"the header is not {source.encoding}; {encoding_advice(lines.raw())}",
            path=source.name,
            line=lines.first,
        ) from None
    return names


def _row_record(source: ByteSource, header: list[str], row: list[str]) -> dict[str, str | None]:
    if any(row[len(header) :]):
        raise InvalidRecord(_columns(row, header))
    for value in row:
        if "\0" in value:
            raise InvalidRecord("holds a NUL byte, which no text has")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidRecord(f"is not {source.encoding}", "encoding") from None
    return {name: row[column] if column < len(row) else None for column, name in enumerate(header)}


def _columns(row: list[str], header: list[str]) -> str:
    has = "1 column" if len(row) == 1 else f"{len(row)} columns"
    return f"has {has}, the header has {len(header)}"
