"""JSON Lines and plain text: a record a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from qsearch.documents.columns import REPORTED_BYTES, doubled_names
from qsearch.documents.document import (
    Document,
    DocumentMapper,
    InvalidRecord,
    RejectedRecord,
    kind_of,
)
from qsearch.documents.lines import MAX_RECORD_BYTES, ByteSource

__all__ = ["read_json_lines", "read_text_lines"]


def read_json_lines(
    source: ByteSource, mapper: DocumentMapper
) -> Iterator[Document | RejectedRecord]:
    """Yield every line that is not blank."""
    for decoded in _decoded(source):
        if isinstance(decoded, RejectedRecord):
            yield decoded
            continue
        number, line, text = decoded
        try:
            record = _JSON.decode(text)
            if not isinstance(record, dict):
                hint = (
                    "; a JSON array becomes JSON Lines with: jq -c '.[]'"
                    if isinstance(record, list)
                    else ""
                )
                raise InvalidRecord(f"must be a JSON object, found {kind_of(record)}{hint}")
            document = mapper.document(record, number)
        except json.JSONDecodeError as error:
            hint = (
                "; one record a line is needed: jq -c . makes it so"
                if number == 1 and line.strip() in (b"{", b"[")
                else ""
            )
            reason = f"is not valid JSON ({error.msg} at column {error.colno}{hint})"
            yield RejectedRecord(number, reason, line)
        except RecursionError:
            yield RejectedRecord(number, "is JSON nested too deeply", line)
        except InvalidRecord as error:
            yield RejectedRecord(number, str(error), line)
        except ValueError as error:  # an integer of more digits than Python converts
            yield RejectedRecord(number, f"is not usable JSON ({error})", line)
        else:
            yield document


def read_text_lines(
    source: ByteSource, mapper: DocumentMapper
) -> Iterator[Document | RejectedRecord]:
    """Yield every line that is not blank."""
    for decoded in _decoded(source):
        if isinstance(decoded, RejectedRecord):
            yield decoded
            continue
        number, _, text = decoded
        if text.strip():
            yield mapper.document({"text": text}, number)


def _decoded(source: ByteSource) -> Iterator[tuple[int, bytes, str] | RejectedRecord]:
    """(number, line, line as text) of every line that is not blank and can be read."""
    for number, line, too_long in source.lines():
        if too_long:
            yield _too_long(number, line)
        elif line.strip():
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                yield RejectedRecord(number, f"is not UTF-8 (at byte {error.start + 1})", line)
            else:
                yield number, line, text


def _too_long(number: int, line: bytes) -> RejectedRecord:
    return RejectedRecord(
        number, f"is longer than {MAX_RECORD_BYTES >> 20} MiB", line[:REPORTED_BYTES]
    )


def _no_constant(name: str) -> None:
    raise InvalidRecord(f"is not valid JSON ({name} is no JSON number)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        doubled = doubled_names(name for name, _ in pairs)[0]
        raise InvalidRecord(f"has {doubled[:40]!r} twice in one object")
    return record


_JSON = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_object)
