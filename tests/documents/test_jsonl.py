"""JSON Lines: every document comes back, and a line that is none costs itself only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qsearch.documents import Document, RejectedRecord
from tests.documents.corpora import SEPARATORS, Files, kinds

# A document does not tell an absent title from an empty one.
titles = st.none() | st.text().filter(str.strip)
texts = st.text().filter(str.strip)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
metadata = st.dictionaries(
    st.text().filter(lambda name: name not in {"id", "_id", "text", "title"}), values, max_size=4
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(texts, texts, titles, metadata), max_size=6), st.booleans(), st.booleans()
)
@example([("i", SEPARATORS, SEPARATORS, {SEPARATORS: SEPARATORS})], False, False)
@example([("i", "\0", "\0", {"\0": "\0"})], False, False)
@example([("a\r", "\ra\r\n", "a\n", {"\r": "\r"})], True, True)
def test_json_lines_give_back_every_document(
    scratch: Files, rows: list[tuple[Any, ...]], ascii_only: bool, crlf: bool
) -> None:
    lines = [
        json.dumps({"id": key, "text": text, "title": title} | more, ensure_ascii=ascii_only)
        for key, text, title, more in rows
    ]
    data = "".join(line + ("\r\n" if crlf else "\n") for line in lines)
    expected = [Document(*row, line) for line, row in enumerate(rows, 1)]
    assert scratch.documents(data) == expected


JSON_REJECTS = {
    b'{"text": "a"': "is not valid JSON (Expecting ',' delimiter at column 13)",
    b"text": "is not valid JSON (Expecting value at column 1)",
    b'{"text": "a"} {}': "is not valid JSON (Extra data at column 15)",
    b'{"text": "a\tb"}': "is not valid JSON (Invalid control character at column 12)",
    b"\xef\xbb\xbf\xef\xbb\xbf{}": "is not valid JSON (Expecting value at column 1)",
    b"{": "is not valid JSON (Expecting property name enclosed in double quotes at column 2)",
    b"[": "is not valid JSON (Expecting value at column 2)",
    b"[]": "must be a JSON object, found an array",
    b'"text"': "must be a JSON object, found a string",
    b"1": "must be a JSON object, found a number",
    b"1.5": "must be a JSON object, found a number",
    b"true": "must be a JSON object, found a boolean",
    b"null": "must be a JSON object, found null",
    b"NaN": "is not valid JSON (NaN is no JSON number)",
    b'{"text": "a", "x": NaN}': "is not valid JSON (NaN is no JSON number)",
    b'{"text": "a", "x": [-Infinity]}': "is not valid JSON (-Infinity is no JSON number)",
    b'{"text": "a", "x": 1e999}': "metadata that JSON cannot hold (Out of range float",
    b'{"text": "\xff"}': "is not UTF-8 (at byte 11)",
    b'{"text": "\xed\xa0\x80"}': "is not UTF-8 (at byte 11)",
    b"\xff\xfe{\x00}\x00": "is not UTF-8 (at byte 1)",
    b'{"text": "a\\ud800"}': "'text' is not valid Unicode text (at character 1)",
    b'{"text": "a", "title": "\\udfff"}': "'title' is not valid Unicode text (at character 0)",
    b'{"text": "a", "id": "\\ud800"}': "'id' is not valid Unicode text (at character 0)",
    b'{"text": "a", "x": "\\ud800"}': "'metadata' is not valid Unicode text",
    b'{"text": "a", "\\ud800": 1}': "'metadata' is not valid Unicode text",
    b"{}": "no text (looked for 'text', found no field at all)",
    b'{"body": "a", "id": 1}': "no text (looked for 'text', found 'body', 'id')",
    b'{"text": null}': "the text ('text') is null",
    b'{"text": 1}': "the text ('text') must be a string, found a number",
    b'{"text": ["a"]}': "the text ('text') must be a string, found an array",
    b'{"text": ""}': "the text ('text') is empty",
    b'{"text": " \\n\\u00a0"}': "the text ('text') is empty",
    b'{"text": "a", "title": 1}': "the title ('title') must be a string, found a number",
    b'{"text": "a", "text": "b"}': "has 'text' twice in one object",
    b'{"text": "a", "m": [{"k": 1, "k": 1}]}': "has 'k' twice in one object",
    b'{"text": "a", "x": ' + b"9" * 10_000 + b"}": "is not usable JSON (Exceeds the limit",
    b'{"text": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "is JSON nested too deeply",
    b'{"text": "a", "x": ' + b'{"x":' * 100_000: "is JSON nested too deeply",
    b"[" * 100_000: "is JSON nested too deeply",
}


@pytest.mark.parametrize("line", JSON_REJECTS, ids=lambda line: repr(line[:40]))
def test_a_line_that_is_no_document_is_rejected_alone(files: Files, line: bytes) -> None:
    named = b'"id": ' in line
    good = [b'{"text": "%s"%s}' % (text, b', "id": "%s"' % text * named) for text in (b"x", b"y")]
    records = files.read(good[0] + b"\r\n\n" + line + b"\r\n" + good[1] + b"\n")
    assert kinds(records) == [(1, "x"), (3, "!"), (4, "y")]
    assert isinstance(records[1], RejectedRecord)
    assert JSON_REJECTS[line] in records[1].reason
    assert records[1].raw == line


def test_metadata_may_be_nested_as_deep_as_it_can_be_read_back_from_anywhere(files: Files) -> None:
    def nested(levels: int) -> str:
        return '{"text": "x", "n": ' + "[" * levels + "]" * levels + "}"

    assert files.documents(nested(100))[0].metadata
    assert files.rejected(nested(101)).reason == "metadata nested deeper than 100 levels"
    assert files.rejected(nested(900)).reason == "metadata nested deeper than 100 levels"


def test_integers_keep_all_their_digits(files: Files) -> None:
    number = "1234567890" * 400
    (document,) = files.documents(f'{{"id": {number}, "text": "x", "n": {number}}}')
    assert document.id == number
    assert document.metadata["n"] == int(number)


def test_a_reason_does_not_repeat_a_huge_field_name(files: Files) -> None:
    assert len(files.rejected(json.dumps({"x" * 1_000_000: 1})).reason) < 200


def test_a_record_of_very_many_names_is_checked_for_doubles_in_linear_time(files: Files) -> None:
    names = [f'"{number}": 0' for number in range(200_000)]
    reason = files.rejected("{" + ", ".join([*names, '"199999": 1']) + "}").reason
    assert reason == "has '199999' twice in one object"
