"""JSON and plain text: a record a line, or a JSON array of records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from qsearch.documents.columns import REPORTED_BYTES, doubled_names
from qsearch.documents.document import Document, DocumentMapper, kind_of
from qsearch.documents.json_values import Value, read_values
from qsearch.documents.lines import MAX_RECORD_BYTES, ByteSource, Line
from qsearch.documents.rejected import InvalidRecord, RejectedRecord

__all__ = ["read_json", "read_text_lines"]


def read_json(source: ByteSource, mapper: DocumentMapper) -> Iterator[Document | RejectedRecord]:
    """Yield every record of JSON Lines, of a JSON array, or of objects spread over lines.

    What the file is its beginning tells: no line of JSON Lines begins with a bracket, and none is a
    brace alone.
    """
    number, first = source.first()
    lines = source.lines()
    begin = b""
    if first != b"[":
        line = next(lines, None)
        if line is None:
            return
        if line[1].strip() != b"{":
            yield from _read_lines(source, _chained(line, lines), mapper)
            return
        begin = line[1] + b"\n"
    mapper.numbered_by = "record"
    for value in read_values(begin, source.blocks(), number):
        yield _value_record(source, value, mapper)


def read_text_lines(
    source: ByteSource, mapper: DocumentMapper
) -> Iterator[Document | RejectedRecord]:
    """Yield every line that is not blank."""
    for decoded in _decoded(source, source.lines()):
        if isinstance(decoded, RejectedRecord):
            yield decoded
            continue
        number, line, text = decoded
        if "\0" in text:
            yield RejectedRecord(number, "holds a NUL byte, which no text has", line)
        elif text.strip():
            yield mapper.document({"text": text}, number)


def _chained(line: Line, lines: Iterator[Line]) -> Iterator[Line]:
    yield line
    yield from lines


def _read_lines(
    source: ByteSource, lines: Iterator[Line], mapper: DocumentMapper
) -> Iterator[Document | RejectedRecord]:
    for decoded in _decoded(source, lines):
        if isinstance(decoded, RejectedRecord):
            yield decoded
            continue
        number, line, text = decoded
        try:
            document = mapper.document(_record(text), number)
        except json.JSONDecodeError as error:
            reason = f"is not valid JSON ({_complaint(error)} at column {error.colno})"
            yield RejectedRecord(number, reason, line)
        except InvalidRecord as error:
            yield error.rejected(number, line)
        else:
            yield document


def _value_record(
    source: ByteSource, value: Value, mapper: DocumentMapper
) -> Document | RejectedRecord:
    try:
        if value.reason is not None:
            raise InvalidRecord(value.reason)
        try:
            text = value.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _not_encoded(source, error) from error
        return mapper.document(_record(text), value.line, value.number)
    except json.JSONDecodeError as error:
        where = f"character {error.pos + 1} of the record"
        if "\n" in text:
            where = f"line {value.line + error.lineno - 1}, column {error.colno}"
        reason = f"is not valid JSON ({_complaint(error)} at {where})"
        return RejectedRecord(value.line, f"record {value.number} {reason}", value.raw)
    except InvalidRecord as error:
        # Records may share a line.
        found = InvalidRecord(f"record {value.number}: {error}", error.remedy)
        return found.rejected(value.line, value.raw)


def _complaint(error: json.JSONDecodeError) -> str:
    """What ``error`` says, without the place: some of the decoder's sentences end with "at"."""
    return error.msg.removesuffix(" at")


def _record(text: str) -> dict[str, Any]:
    """The object that ``text`` is."""
    try:
        record = _JSON.decode(text)
    except RecursionError as error:
        raise InvalidRecord("is JSON nested too deeply") from error
    except (json.JSONDecodeError, InvalidRecord):
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise InvalidRecord(f"is not usable JSON ({error})") from error
    if not isinstance(record, dict):
        raise InvalidRecord(f"must be a JSON object, found {kind_of(record)}")
    return record


def _decoded(
    source: ByteSource, lines: Iterable[Line]
) -> Iterator[tuple[int, bytes, str] | RejectedRecord]:
    """(number, line, line as text) of every line that is not blank and can be read."""
    for number, line, too_long in lines:
        if too_long:
            reason = f"is longer than {MAX_RECORD_BYTES >> 20} MiB"
            yield RejectedRecord(number, reason, line[:REPORTED_BYTES])
        elif line.strip():
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                yield _not_encoded(source, error).rejected(number, line)
            else:
                yield number, line, text


def _not_encoded(source: ByteSource, error: UnicodeDecodeError) -> InvalidRecord:
    return InvalidRecord(f"is not {source.encoding} (at byte {error.start + 1})", "encoding")


def _no_constant(name: str) -> None:
    raise InvalidRecord(f"is not valid JSON ({name} is no JSON number)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        doubled = doubled_names(name for name, _ in pairs)[0]
        raise InvalidRecord(f"has {doubled[:40]!r} twice in one object")
    return record


_JSON = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_object)
