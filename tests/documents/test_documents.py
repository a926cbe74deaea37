"""Readers: what a document is, what is refused and where, and that nothing else is lost."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import re
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qsearch import Index
from qsearch.documents import FORMATS, Document, Fields, RejectedRecord, open_corpus
from qsearch.documents.lines import MAX_RECORD_BYTES, ByteSource
from qsearch.errors import CorpusError
from tests.encoders import HashedWords

SEPARATORS = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei"
"""Where ``str.splitlines`` breaks a text and a corpus must not."""

NAMES = {"jsonl": "c.jsonl", "csv": "c.csv", "tsv": "c.tsv", "text": "c.txt"}


class Files:
    """Writes bytes to a file of the right name and reads them back as a corpus."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, data: bytes, name: str = "c.jsonl") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def read(
        self, data: bytes | str, name: str = "c.jsonl", **options: Any
    ) -> list[Document | RejectedRecord]:
        raw = data.encode() if isinstance(data, str) else data
        return list(open_corpus(self.write(raw, name), **options))

    def documents(self, data: bytes | str, name: str = "c.jsonl", **options: Any) -> list[Document]:
        records = self.read(data, name, **options)
        assert [one for one in records if isinstance(one, RejectedRecord)] == []
        return [one for one in records if isinstance(one, Document)]

    def rejected(self, data: bytes | str, name: str = "c.jsonl", **options: Any) -> RejectedRecord:
        """The only record there is, which is no document."""
        (record,) = self.read(data, name, **options)
        assert isinstance(record, RejectedRecord)
        return record


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """For properties, whose examples may share a folder."""
    return Files(tmp_path_factory.mktemp("scratch"))


def kinds(records: Iterable[Document | RejectedRecord]) -> list[tuple[int | None, str]]:
    """Line and text, or line and ``!``."""
    return [(one.line, one.text if isinstance(one, Document) else "!") for one in records]


@contextmanager
def pipe(path: Path, chunks: Iterable[bytes]) -> Iterator[Path]:
    """A named pipe that ``chunks`` are written to, each when the one before it was taken."""
    os.mkfifo(path)

    def write() -> None:
        try:
            with open(path, "wb", buffering=0) as file:
                for chunk in chunks:
                    file.write(chunk)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield path
    finally:
        writer.join(timeout=60)
        assert not writer.is_alive()


def peak_bytes(corpus: Iterable[Document | RejectedRecord]) -> tuple[int, int]:
    """Records, and the most memory that Python held while they were read and dropped."""
    count = 0
    tracemalloc.start()
    try:
        for _ in corpus:
            count += 1
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def set_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# What a document is

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


cells = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\r\n",\t\0'))


@settings(deadline=None)
@given(
    st.sampled_from(["csv", "tsv"]),
    st.lists(st.tuples(cells.filter(str.strip), cells.filter(str.strip), cells), max_size=6),
)
@example("csv", [('"', '""', ","), ("\r\n", "x", "\n\n\r")][:1])
@example("csv", [("a", "x\r\ny", "\r")])
@example("tsv", [("a", "x\ty\nz", "\0")])
@example("csv", [("a", SEPARATORS, SEPARATORS)])
def test_delimited_files_give_back_every_cell(
    scratch: Files, format: str, rows: list[tuple[str, str, str]]
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(
        out, delimiter="\t" if format == "tsv" else ",", quoting=csv.QUOTE_ALL, lineterminator="\n"
    )
    writer.writerows([("id", "text", "note"), *rows])
    found = scratch.documents(out.getvalue(), NAMES[format])
    assert [(one.id, one.text, one.metadata["note"]) for one in found] == rows


@settings(deadline=None)
@given(st.lists(texts.filter(lambda text: not {"\n", "\r"} & set(text)), max_size=8))
@example([SEPARATORS, "\0", " padded "])
def test_text_files_give_back_every_line(scratch: Files, lines: list[str]) -> None:
    found = scratch.documents("".join(line + "\n" for line in lines), "c.txt")
    assert [one.text for one in found] == lines
    assert [one.id for one in found] == [str(number) for number in range(1, len(lines) + 1)]


@settings(deadline=None)
@given(st.sampled_from(sorted(NAMES)), st.binary(max_size=200))
@example("csv", b'text\n"')
@example("csv", b'a\n"\n"""')
@example("jsonl", b"\xef\xbb\xbf\xef\xbb\xbf{}")
def test_no_bytes_break_a_reader(scratch: Files, format: str, data: bytes) -> None:
    """Whatever the bytes, there are records with a line, or an error that names the file."""
    lines = data.count(b"\n") + 1
    try:
        numbers = [record.line or 0 for record in scratch.read(data, NAMES[format])]
    except CorpusError as error:
        numbers = [] if error.line is None else [error.line]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= lines for number in numbers)


@settings(deadline=None)
@given(st.text('"",\nab', max_size=60))
@example('"\n1\n2\n3\n')
@example('a\n"b\nc\n"""d\n')
@example('x","\nx","\nx","\n')
def test_every_line_of_a_csv_file_ends_up_in_a_record_or_a_reject(
    scratch: Files, body: str
) -> None:
    """Tagged lines, whatever quotes stand among them: none disappears."""
    lines = [f"{line}#{number}" for number, line in enumerate(body.split("\n"))]
    records = scratch.read("text,more\n" + "\n".join(lines) + "\n", "c.csv")
    kept = "".join(
        f"{one.text}{one.metadata['more'] or ''}"
        if isinstance(one, Document)
        else one.raw.decode() + "\n"
        for one in records
    )
    assert all(f"#{number}" in kept for number in range(len(lines)))


def test_fields_and_title_and_metadata_of_a_record_are_told_apart(files: Files) -> None:
    (document,) = files.documents('{"_id": "a", "title": "T", "text": "x", "year": 1, "t": [{}]}')
    assert document == Document("a", "x", "T", {"year": 1, "t": [{}]}, 1)
    assert document.content == "T x"


def test_fields_can_be_named_and_metadata_chosen(files: Files) -> None:
    fields = Fields(id=("key",), text=("body", "abstract"), title=("head",), metadata=("year",))
    data = (
        '{"key": "a", "abstract": "x", "head": "T", "year": 1, "id": 5}\n{"key": "b", "body": "y"}'
    )
    assert files.documents(data, fields=fields) == [
        Document("a", "x", "T", {"year": 1}, 1),
        Document("b", "y", None, {}, 2),
    ]


def test_the_first_name_that_is_there_counts_and_the_other_becomes_metadata(files: Files) -> None:
    (document,) = files.documents('{"_id": "a", "id": "b", "text": "x"}')
    assert (document.id, document.metadata) == ("b", {"_id": "a"})


@pytest.mark.parametrize("title", ["null", '""', '" "'])
def test_an_empty_title_is_none(files: Files, title: str) -> None:
    (document,) = files.documents(f'{{"text": "x", "title": {title}}}')
    assert document.title is None
    assert document.content == "x"


@pytest.mark.parametrize(
    ("id", "expected"), [("7", "7"), ("-1", "-1"), ('"a\\u0000\\n"', "a\0\n"), ('" a "', " a ")]
)
def test_ids_are_strings_or_integers(files: Files, id: str, expected: str) -> None:
    assert files.documents(f'{{"id": {id}, "text": "x"}}')[0].id == expected


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("1.0", "the id ('id') must be a string or an integer, found a number"),
        ("1e400", "the id ('id') must be a string or an integer, found a number"),
        ("true", "the id ('id') must be a string or an integer, found a boolean"),
        ("null", "the id ('id') must be a string or an integer, found null"),
        ("[]", "the id ('id') must be a string or an integer, found an array"),
        ("{}", "the id ('id') must be a string or an integer, found an object"),
        ('""', "the id ('id') is empty"),
        ('"\\u2003"', "the id ('id') is empty"),
    ],
)
def test_other_ids_are_refused(files: Files, id: str, reason: str) -> None:
    assert files.rejected(f'{{"id": {id}, "text": "x"}}').reason == reason


def test_documents_without_ids_are_numbered_by_their_line(files: Files) -> None:
    found = files.documents('{"text": "a"}\n\n{"text": "b"}\n')
    assert [(one.id, one.line) for one in found] == [("1", 1), ("3", 3)]


def test_an_id_is_refused_where_earlier_documents_have_none(files: Files) -> None:
    records = files.read('{"text": "a"}\n{"text": "b", "id": "1"}\n{"text": "c"}\n')
    assert kinds(records) == [(1, "a"), (2, "!"), (3, "c")]
    assert "earlier documents have none" in records[1].reason


def test_a_missing_id_is_refused_where_earlier_documents_have_one(files: Files) -> None:
    records = files.read('{"text": "a", "id": "2"}\n{"text": "b"}\n{"text": "c", "_id": "3"}\n')
    assert kinds(records) == [(1, "a"), (2, "!"), (3, "c")]
    assert records[1].reason == (
        "no id (looked for 'id' or '_id'), though earlier documents have one"
    )


# What is no document

JSON_REJECTS = {
    b'{"text": "a"': "is not valid JSON (Expecting ',' delimiter at column 13)",
    b"text": "is not valid JSON (Expecting value at column 1)",
    b'{"text": "a"} {}': "is not valid JSON (Extra data at column 15)",
    b'{"text": "a\tb"}': "is not valid JSON (Invalid control character at at column 12)",
    b"\xef\xbb\xbf\xef\xbb\xbf{}": "is not valid JSON (Expecting value at column 1)",
    b"{": "is not valid JSON (Expecting property name enclosed in double quotes at column 2)",
    b"[": "is not valid JSON (Expecting value at column 2)",
    b"[]": "must be a JSON object, found an array; a JSON array becomes JSON Lines with",
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
    b"{}": "no text (looked for 'text', found no field at all; see --text-field)",
    b'{"body": "a", "id": 1}': "no text (looked for 'text', found 'body', 'id'; see --text-field)",
    b'{"text": null}': "no text (looked for 'text', found 'text'; see --text-field)",
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


@pytest.mark.parametrize("opening", [b"{", b"["])
def test_json_spread_over_lines_is_told_how_to_become_json_lines(
    files: Files, opening: bytes
) -> None:
    records = files.read(opening + b'\n  "text": "a"\n')
    assert "one record a line is needed: jq -c ." in records[0].reason
    assert len(records) == 2


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


@pytest.mark.parametrize("format", sorted(NAMES))
def test_text_may_be_missing_where_it_is_not_required(files: Files, format: str) -> None:
    data = {
        "jsonl": '{"id": "a"}\n{"id": "b", "text": null}\n{"id": "c", "text": ""}\n',
        "csv": 'id,text\na\nb,\nc,""\n',
        "tsv": 'id\ttext\na\nb\t\nc\t""\n',
        "text": "a\n\nc\n",
    }[format]
    found = files.documents(data, NAMES[format], text_required=False)
    expected = ["a", "c"] if format == "text" else ["", "", ""]
    assert [one.text for one in found] == expected


@pytest.mark.parametrize("format", sorted(NAMES))
def test_blank_files_hold_no_document(files: Files, format: str) -> None:
    for data in (b"", b"\n", b"\r\n\n\r\n", b"\xef\xbb\xbf", b"  \n"):
        assert files.read(data, NAMES[format]) == []
        assert files.read(gzip.compress(data), NAMES[format]) == []


@pytest.mark.parametrize("format", sorted(NAMES))
def test_an_empty_corpus_cannot_be_built(files: Files, format: str) -> None:
    path = files.write(b"", NAMES[format])
    with pytest.raises(CorpusError, match="c\\..*: is empty"):
        Index.build(path, files.folder / "index", encoder=HashedWords())


def test_a_header_alone_is_an_empty_corpus(files: Files) -> None:
    assert files.read("id,text\n", "c.csv") == []


# Lines


@pytest.mark.parametrize("format", sorted(NAMES))
def test_lines_end_at_line_feeds_only(files: Files, format: str) -> None:
    # JSON does not allow control characters as they are.
    text = "a\u2028b\u2029c\u0085d" if format == "jsonl" else SEPARATORS
    rows = {
        "jsonl": [f'{{"text": "{text}"}}', '{"text": "z"}'],
        "text": [text, "z"],
    }.get(format, ["text", text, "z"])
    found = files.documents("\n".join(rows), NAMES[format])
    assert [one.text for one in found] == [text, "z"]
    assert found[1].line == len(rows)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("format", sorted(NAMES))
def test_line_ends_and_a_byte_order_mark_are_no_part_of_a_record(
    files: Files, format: str, bom: bytes, last: bool, end: bytes
) -> None:
    rows = {
        "jsonl": [b'{"text": "a"}', b'{"text": "b"}'],
        "csv": [b"text", b"a", b"b"],
        "tsv": [b"text", b'"a"', b"b"],
        "text": [b"a", b"b"],
    }[format]
    data = bom + end.join(rows) + (end if last else b"")
    found = files.documents(data, NAMES[format])
    assert [one.text for one in found] == ["a", "b"]


def test_a_byte_order_mark_before_a_quoted_header_is_dropped(files: Files) -> None:
    assert files.documents(b'\xef\xbb\xbf"id","text"\n1,a\n', "c.csv")[0].id == "1"


def test_a_text_file_of_other_bytes_is_rejected_line_by_line(files: Files) -> None:
    records = files.read(b"a\nb\xe9\nc\n", "c.txt")
    assert kinds(records) == [(1, "a"), (2, "!"), (3, "c")]
    assert records[1] == RejectedRecord(2, "is not UTF-8 (at byte 2)", b"b\xe9")


def test_lines_of_unicode_spaces_are_blank_in_a_text_file(files: Files) -> None:
    found = files.documents("a\n\u3000\n\u2028\xa0\nb\n", "c.txt")
    assert kinds(found) == [(1, "a"), (4, "b")]


def test_a_text_file_needs_no_names_of_fields(files: Files) -> None:
    fields = Fields(id=("key",), text=("body",), title=("text",))
    assert files.documents("a\n", "c.txt", fields=fields) == [Document("1", "a", None, {}, 1)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("over", [0, 1, 2, 3])
def test_a_line_of_16_mib_is_read_and_a_longer_one_rejected(
    files: Files, over: int, end: bytes
) -> None:
    line = b"x" * (MAX_RECORD_BYTES + over)
    records = files.read(b"a\n" + line + end + (b"b\n" if end else b""), "c.txt")
    lengths = [(one.line, len(one.text)) for one in records if isinstance(one, Document)]
    after = [(3, 1)] if end else []
    if over == 0:
        assert lengths == [(1, 1), (2, MAX_RECORD_BYTES), *after]
    else:
        assert lengths == [(1, 1), *after]
        assert records[1] == RejectedRecord(2, "is longer than 16 MiB", b"x" * 65_536)


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_the_same_for_json_and_csv(files: Files, over: int) -> None:
    size = MAX_RECORD_BYTES + over
    framed = {
        "c.jsonl": b'{"text": "' + b"x" * (size - 12) + b'"}\n{"text": "b"}\n',
        "c.csv": b"text,n\n" + b"x" * (size - 2) + b",1\nb,2\n",
        "c.tsv": b'text\n"' + b"x" * (size - 2) + b'"\nb\n',
    }
    for name, data in framed.items():
        long, short = files.read(data, name)
        assert isinstance(long, RejectedRecord) == bool(over)
        assert not over or (long.reason, len(long.raw)) == ("is longer than 16 MiB", 65_536)
        assert kinds([short])[0][1] == "b"
        assert short.line == (long.line or 0) + 1


def test_a_quoted_csv_record_over_16_mib_is_rejected_though_no_line_is(files: Files) -> None:
    line = b"x" * (1 << 20) + b"\n"
    data = b'id,text\n1,a\n2,"' + line * 17 + b'"\n3,b\n'
    records = files.read(data, "c.csv")
    assert kinds(records[:2]) == [(2, "a"), (3, "!")]
    assert "is longer than 16 MiB" in records[1].reason
    assert kinds(records)[-1] == (21, "b")


# Streams


@pytest.mark.parametrize("format", sorted(NAMES))
def test_gzip_is_recognised_by_content(files: Files, format: str) -> None:
    plain = {"jsonl": '{"text": "é"}', "text": "é"}.get(format, "text\né").encode()
    for name in (NAMES[format] + ".gz", NAMES[format]):
        assert files.documents(gzip.compress(plain), name)[0].text == "é"
    assert files.documents(plain, NAMES[format] + ".gz")[0].text == "é"


def test_gzip_members_one_after_the_other_are_one_corpus(files: Files) -> None:
    data = gzip.compress(b'{"text": "a"}\n{"te') + gzip.compress(b'xt": "b"}\n') + b"\0" * 16
    assert kinds(files.documents(data)) == [(1, "a"), (2, "b")]


COMPRESSED = gzip.compress(
    b"".join(b'{"text": "%d"}\n' % (number * number) for number in range(2000)), mtime=0
)


@settings(deadline=None)
@given(st.integers(0, len(COMPRESSED) * 8 - 1))
@example(641)  # in a code that no byte uses
def test_a_flipped_bit_in_a_gzip_file_is_an_error_or_harmless(scratch: Files, bit: int) -> None:
    data = bytearray(COMPRESSED)
    data[bit // 8] ^= 1 << bit % 8
    records: list[Document | RejectedRecord] = []
    reason = ""
    try:
        records = scratch.read(bytes(data))
    except CorpusError as error:
        reason = str(error)
    if bit < 16:
        assert all(isinstance(one, RejectedRecord) for one in records)
    elif records:
        assert kinds(records) == [(number + 1, str(number * number)) for number in range(2000)]
    else:
        assert re.search(r"cannot be read on after line .*is the file complete\?", reason)


@settings(deadline=None)
@given(st.integers(2, len(COMPRESSED) - 1))
@example(2)
@example(len(COMPRESSED) - 1)
@example(len(COMPRESSED) - 8)
def test_a_gzip_file_cut_off_anywhere_is_an_error(scratch: Files, size: int) -> None:
    with pytest.raises(CorpusError, match="cannot be read on after line"):
        scratch.read(COMPRESSED[:size])


def test_what_was_whole_before_the_damage_is_handed_out_first(files: Files) -> None:
    data = bytearray(COMPRESSED)
    data[-5] ^= 1
    records = iter(open_corpus(files.write(bytes(data))))
    whole = kinds(next(records) for _ in range(2000))
    assert whole == [(number + 1, str(number * number)) for number in range(2000)]
    with pytest.raises(CorpusError, match="after line 2000 "):
        next(records)


def test_rubbish_after_a_gzip_stream_is_an_error(files: Files) -> None:
    with pytest.raises(CorpusError, match="after line 1 .*Not a gzipped file"):
        files.read(gzip.compress(b'{"text": "a"}\n') + b'{"text": "b"}\n')


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_standard_input_is_json_lines_by_default(
    monkeypatch: pytest.MonkeyPatch, compress: Any
) -> None:
    set_stdin(monkeypatch, compress(b'\xef\xbb\xbf{"text": "a\xe2\x80\xa8"}\nno\n'))
    corpus = open_corpus("-")
    assert kinds(corpus) == [(1, "a\u2028"), (2, "!")]
    assert (corpus.name, corpus.rereadable) == ("-", False)
    assert not sys.stdin.buffer.closed


def test_standard_input_takes_the_other_formats_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    set_stdin(monkeypatch, b"id;text\ta\tb\n1\tx\ty\n")
    fields = Fields(id=("a",), text=("b",))
    assert [one.id for one in open_corpus("-", format="tsv", fields=fields)] == ["x"]
    with pytest.raises(CorpusError, match="Parquet cannot be read from a stream"):
        open_corpus("-", format="parquet")


def test_a_program_reads_its_standard_input() -> None:
    code = "from qsearch.documents import open_corpus; print([d.text for d in open_corpus('-')])"
    done = subprocess.run(
        [sys.executable, "-c", code], input=b'{"text": "a"}\n', capture_output=True, check=True
    )
    assert done.stdout == b"['a']\n"


@pytest.mark.parametrize("stdin", [None, io.StringIO("x")])
def test_files_are_read_where_there_is_no_standard_input(
    files: Files, monkeypatch: pytest.MonkeyPatch, stdin: Any
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert kinds(files.read("a\n", "c.txt")) == [(1, "a")]
    with pytest.raises(CorpusError, match="-: cannot be opened"):
        list(open_corpus("-"))


def test_a_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    set_stdin(monkeypatch, b"")
    sys.stdin.close()
    with pytest.raises(CorpusError, match="cannot be opened"):
        list(open_corpus("-"))


def test_an_empty_moment_of_a_non_blocking_standard_input_is_not_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b'{"text": "a"}\n')
    with os.fdopen(reading, "rb") as buffer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
        records = iter(open_corpus("-"))
        assert kinds([next(records)]) == [(1, "a")]
        assert os.get_blocking(reading)
        os.write(writing, b'{"text": "b"}\n')
        os.close(writing)
        assert kinds(records) == [(2, "b")]


def test_a_record_is_handed_out_before_a_pipe_sends_the_next(files: Files) -> None:
    taken = threading.Event()
    seen = []

    def chunks() -> Iterator[bytes]:
        yield b'{"text": "a"}\n{"te'
        seen.append(taken.wait(30))
        yield b'xt": "b"}\n'

    with pipe(files.folder / "pipe", chunks()) as path:
        records = iter(open_corpus(path, format="jsonl"))
        assert kinds([next(records)]) == [(1, "a")]
        taken.set()
        assert kinds(records) == [(2, "b")]
    assert seen == [True]


def test_gzip_is_recognised_in_a_pipe_that_sends_a_byte_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = gzip.compress(b'{"text": "a"}\n')
    monkeypatch.setattr(sys, "stdin", _SmallReads(data))
    assert kinds(open_corpus("-")) == [(1, "a")]


def test_a_stream_of_one_byte_is_no_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _SmallReads(b"a"))
    assert kinds(open_corpus("-", format="text")) == [(1, "a")]


class _SmallReads(io.BytesIO):
    """A standard input of which there is only ever one byte to be had."""

    @property
    def buffer(self) -> io.BytesIO:
        return self

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(1)


def test_a_pipe_is_read_once_and_a_file_as_often_as_needed(files: Files) -> None:
    with pipe(files.folder / "pipe", [b"a\nb\n"]) as path:
        corpus = open_corpus(path, format="text")
        assert not corpus.rereadable
        assert kinds(corpus) == [(1, "a"), (2, "b")]
    again = open_corpus(files.write(b"a\n", "c.txt"))
    assert again.rereadable
    assert kinds(again) == kinds(again) == [(1, "a")]


def test_a_file_is_closed_when_its_reader_is_dropped_half_way(files: Files) -> None:
    path = files.write(b"a\nb\n", "c.txt")
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        records = iter(open_corpus(path))
        next(records)
        records.close()  # type: ignore[attr-defined] # (a generator)
    assert len(os.listdir("/dev/fd")) == before


def test_reading_200_mb_through_a_pipe_takes_no_memory(files: Files) -> None:
    line = b'{"text": "%s"}\n' % (b"word " * 13_000)
    count = 200_000_000 // len(line) + 1
    with pipe(files.folder / "pipe", (line for _ in range(count))) as path:
        records, peak = peak_bytes(open_corpus(path, format="jsonl"))
    assert records == count
    assert peak < 8 << 20


def test_a_gzip_bomb_takes_no_more_memory_than_a_long_line(files: Files) -> None:
    stream = zlib.compressobj(1, wbits=31)
    blank = bytes(1 << 20)
    data = b"".join(stream.compress(blank) for _ in range(128)) + stream.flush()
    corpus = open_corpus(files.write(data, "c.txt"))
    count, peak = peak_bytes(corpus)
    assert count == 1
    assert peak < 5 * MAX_RECORD_BYTES


# Delimited files


def test_columns_are_fields(files: Files) -> None:
    (document,) = files.documents(' _id ,title,text, year\na,T,"x, ""y""",1999\n', "c.csv")
    assert document == Document("a", 'x, "y"', "T", {"year": "1999"}, 2)


def test_a_record_of_several_lines_is_named_by_its_first(files: Files) -> None:
    found = files.documents('\n\nid,text\n\n1,"a\n\nb"\n\n2,c\n', "c.csv")
    assert kinds(found) == [(5, "a\n\nb"), (9, "c")]


def test_line_ends_inside_a_cell_are_kept_as_they_are(files: Files) -> None:
    (document,) = files.documents(b'text\r\n"a\r\nb\nc\rd"\r\n', "c.csv")
    assert document.text == "a\r\nb\nc\rd"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1,a,m,extra", "has 4 columns, the header has 3"),
        (b"1", "no text (looked for 'text', found 'id', 'text', 'm'; see --text-field)"),
        (b"1,,m", "the text ('text') is empty"),
        (b",a,m", "the id ('id') is empty"),
        (b"1,\xff,m", "is not UTF-8"),
        (b'1,"a"b,m', "is not valid delimited text (',' expected after '\"')"),
        (b"1,a\rb,m", "is not valid delimited text (a carriage return outside quotes)"),
    ],
)
def test_a_row_that_is_no_document_is_rejected_alone(files: Files, row: bytes, reason: str) -> None:
    records = files.read(b"id,text,m\n0,x,m\n" + row + b"\r\n2,y,m\n", "c.csv")
    assert kinds(records) == [(2, "x"), (3, "!"), (4, "y")]
    assert records[1] == RejectedRecord(3, reason, row)


def test_a_short_row_lacks_its_last_columns_only(files: Files) -> None:
    (document,) = files.documents("id,text,m\n1,a\n", "c.csv")
    assert document.metadata == {"m": None}


def test_a_rejected_record_is_kept_as_it_stood_in_the_file(files: Files) -> None:
    raw = b'1,"a ""b""\r\nc",m,"extra"'
    records = files.read(b"id,text,m\r\n" + raw + b"\r\n", "c.csv")
    assert records == [RejectedRecord(2, "has 4 columns, the header has 3", raw)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,text,id\n", ":1: names a column twice: 'id'"),
        (b"text,,\n", ":1: names a column twice: ''"),
        (b"\n\nid, id\n", ":3: names a column twice: 'id'"),
        (b"id,t\xff\n", ":1: the header is not UTF-8"),
        (b"\xff\xfei\0d\0", ":1: the header is not UTF-8"),
        (b'id,"text\n1,a\n', ":1: has a quote that is not closed properly by line 2"),
        (b'"id"x,text\n', ":1: is not valid delimited text"),
        (b"id,text\r1,a\r2,b\r", ":1: is not valid delimited text (a carriage return outside"),
        (b"x" * (MAX_RECORD_BYTES + 1), ":1: is longer than 16 MiB"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_header_that_cannot_be_used_is_an_error(files: Files, data: bytes, message: str) -> None:
    with pytest.raises(CorpusError) as caught:
        files.read(data, "c.csv")
    assert message in str(caught.value)


def test_a_header_of_very_many_columns_is_checked_in_linear_time(files: Files) -> None:
    header = ",".join(map(str, range(200_000)))
    with pytest.raises(CorpusError, match="names a column twice: '7'"):
        files.read(header + ",7\n", "c.csv")


def test_a_stray_quote_costs_its_own_line_only(files: Files) -> None:
    rows = "".join(f"{number},t{number}\n" for number in range(4, 1000))
    records = files.read(f'id,text\n2,a\n3,"b\n{rows}', "c.csv")
    assert kinds(records) == [(2, "a"), (3, "!")] + [(n, f"t{n}") for n in range(4, 1000)]
    reason = "has a quote that is not closed properly by line 999 (unexpected end of data)"
    assert records[1] == RejectedRecord(3, reason, b'3,"b')


def test_a_stray_quote_that_meets_another_costs_these_lines_only(files: Files) -> None:
    records = files.read('id,text\n2,"a\n3,b\n4,"c" d\n5,e\n', "c.csv")
    assert kinds(records) == [(2, "!"), (3, "b"), (4, "!"), (5, "e")]


def test_stray_quotes_on_every_line_lose_no_line_silently(files: Files) -> None:
    """No line is read more than twice, so what fails twice is left out, and said to be."""
    lines = [b'%d","' % number for number in range(2, 50)]
    records = files.read(b"id,text\n" + b"\n".join(lines) + b"\n", "c.csv")
    rejects = [one for one in records if isinstance(one, RejectedRecord)]
    assert b"\n".join(one.raw for one in rejects) == b"\n".join(lines)
    assert rejects[-1].reason.endswith("; all these lines are left out")


def test_a_runaway_quote_is_read_in_bounded_memory_and_linear_time(files: Files) -> None:
    cell = b"x" * 65_000

    def chunks() -> Iterator[bytes]:
        yield b'id,text\n0,"unclosed\n'
        for number in range(1, 1000):
            yield b"%d,%s\n" % (number, cell)

    with pipe(files.folder / "pipe", chunks()) as path:
        tracemalloc.start()
        try:
            found = [(one.line, type(one)) for one in open_corpus(path, format="csv")]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found == [(2, RejectedRecord)] + [(line, Document) for line in range(3, 1002)]
    assert peak < 12 * MAX_RECORD_BYTES


def test_a_record_of_endless_columns_is_read_in_bounded_memory(files: Files) -> None:
    """Every cell is small here, only the record never ends."""
    cell = b"x" * 65_000 + b'","'

    def chunks() -> Iterator[bytes]:
        yield b'id,text\n0,"'
        for _ in range(1000):
            yield cell + b"\n"

    with pipe(files.folder / "pipe", chunks()) as path:
        count, peak = peak_bytes(open_corpus(path, format="csv"))
    assert count > 1
    assert peak < 12 * MAX_RECORD_BYTES


def test_two_delimited_files_can_be_read_at_the_same_time(files: Files) -> None:
    long = "x" * 200_000
    first = iter(open_corpus(files.write(f"text\na\n{long}\n".encode(), "1.csv")))
    second = iter(open_corpus(files.write(f"text\nb\n{long}\n".encode(), "2.csv")))
    assert kinds([next(first), next(second)]) == [(2, "a"), (2, "b")]
    first.close()  # type: ignore[attr-defined] # (a generator)
    assert kinds(second) == [(3, long)]


# Parquet


@pytest.fixture
def parquet(files: Files) -> Any:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def read(columns: dict[str, Any], **options: Any) -> list[Document | RejectedRecord]:
        pq.write_table(pa.table(columns), files.folder / "c.parquet")
        return list(open_corpus(files.folder / "c.parquet", **options))

    return read


def test_parquet_columns_are_fields(parquet: Any) -> None:
    columns = {
        "_id": [3, 4],
        "text": ["a", "b\u2028\0"],
        "title": [None, "T"],
        "day": [datetime.date(2020, 2, 29), None],
        "moment": [datetime.datetime(2020, 1, 2, 3, 4, 5, 6)] * 2,
        "price": [decimal.Decimal("1.10"), None],
        "ratio": [0.5, float("nan")],
        "nested": [[{"d": datetime.date(2020, 1, 1), "x": [1.5, float("inf")]}], []],
    }
    assert parquet(columns) == [
        Document(
            "3",
            "a",
            None,
            {
                "day": "2020-02-29",
                "moment": "2020-01-02T03:04:05.000006",
                "price": "1.10",
                "ratio": 0.5,
                "nested": [{"d": "2020-01-01", "x": [1.5, None]}],
            },
            1,
        ),
        Document(
            "4",
            "b\u2028\0",
            "T",
            {
                "day": None,
                "moment": "2020-01-02T03:04:05.000006",
                "price": None,
                "ratio": None,
                "nested": [],
            },
            2,
        ),
    ]


def test_parquet_of_many_row_groups_is_read_in_order(files: Files) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": [str(number) for number in range(2000)]})
    pq.write_table(table, files.folder / "c.parquet", row_group_size=300)
    corpus = open_corpus(files.folder / "c.parquet")
    assert corpus.rereadable
    assert kinds(corpus) == kinds(corpus) == [(n + 1, str(n)) for n in range(2000)]


def test_parquet_rows_that_are_no_documents_are_rejected_alone(parquet: Any) -> None:
    records = parquet({"text": ["a", None, "", "b"]})
    assert kinds(records) == [(1, "a"), (2, "!"), (3, "!"), (4, "b")]
    assert records[2] == RejectedRecord(3, "the text ('text') is empty", b"{'text': ''}")


def test_bytes_in_parquet_are_rejected_not_guessed(parquet: Any) -> None:
    (metadata,) = parquet({"text": ["a"], "raw": [b"\0"]})
    assert "metadata that JSON cannot hold (Object of type bytes" in metadata.reason
    (text,) = parquet({"text": [b"a"]})
    assert text.reason == "the text ('text') must be a string, found a bytes"
    (chosen,) = parquet({"text": ["a"], "raw": [b"\0"]}, fields=Fields(metadata=()))
    assert chosen.metadata == {}


def test_moments_finer_than_python_holds_are_kept_as_text(parquet: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    (document,) = parquet(
        {
            "text": ["a"],
            "moment": pa.array([1], pa.timestamp("ns")),
            "zoned": pa.array([1], pa.timestamp("ns", tz="UTC")),
            "time": pa.array([1], pa.time64("ns")),
        }
    )
    assert document.metadata["moment"] == "1970-01-01T00:00:00.000000001"
    assert document.metadata["zoned"].startswith("1970-01-01T00:00:00.000000001")
    assert document.metadata["time"] == "00:00:00.000000001"


def test_values_that_python_cannot_hold_cost_their_row_only(parquet: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    two = [0, 1, 2]
    damaged = pa.Array.from_buffers(
        pa.string(),
        2,
        [
            None,
            pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in two)),
            pa.py_buffer(b"\xffa"),
        ],
    )
    for column in (
        damaged,
        pa.array([10**7, 1], pa.date32()),
        pa.array([2**60, 1], pa.timestamp("us")),
        pa.array([1, 1000], pa.duration("ns")),
    ):
        first, second = parquet({"text": ["a", "b"], "x": column})
        assert isinstance(first, RejectedRecord)
        assert first.reason.startswith("the value of 'x' cannot be read (")
        assert first.raw == b"{'text': 'a', 'x': <unreadable>}"
        assert isinstance(second, Document)


def test_a_map_in_parquet_becomes_pairs(parquet: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    pairs = pa.array([[("k", datetime.date(2020, 1, 1))]], pa.map_(pa.string(), pa.date32()))
    (document,) = parquet({"text": ["a"], "m": pairs})
    assert document.metadata == {"m": [["k", "2020-01-01"]]}


def test_a_parquet_column_named_twice_is_an_error(files: Files) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, files.folder / "c.parquet")
    with pytest.raises(CorpusError, match="names a column twice: 'text'"):
        list(open_corpus(files.folder / "c.parquet"))


def test_an_over_long_parquet_row_is_rejected(parquet: Any) -> None:
    records = parquet({"text": ["x" * (MAX_RECORD_BYTES + 1), "x" * MAX_RECORD_BYTES]})
    assert isinstance(records[1], Document)
    assert records[0].reason == "is longer than 16 MiB"
    assert len(records[0].raw) <= 65_536


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1hello PAR1", b'{"text": "a"}\n'])
def test_a_file_that_is_no_parquet_is_an_error(files: Files, data: bytes) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(CorpusError, match="is not a readable Parquet file"):
        files.read(data, "c.parquet")


def test_a_damaged_parquet_file_is_an_error_or_its_rows_are_all_there(files: Files) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": [f"text {n}" for n in range(50)], "n": [[n] for n in range(50)]})
    pq.write_table(table, files.folder / "whole.parquet")
    whole = (files.folder / "whole.parquet").read_bytes()
    refused = 0
    for bit in range(0, len(whole) * 8, 31):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        try:
            assert len(files.read(bytes(data), "c.parquet")) == 50
        except CorpusError:
            refused += 1
    assert refused > 50
    for size in range(1, len(whole), 97):
        with pytest.raises(CorpusError):
            files.read(whole[:size], "c.parquet")


def test_a_parquet_name_is_a_file_and_never_an_address() -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(CorpusError, match="cannot be opened \\(No such file or directory\\)"):
        list(open_corpus("s3://no-such-bucket/c.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(CorpusError, match="pip install pyarrow"):
        open_corpus("c.parquet")


# Choosing a reader


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("c.jsonl", "jsonl"),
        ("c.ndjson", "jsonl"),
        ("c.JSON", "jsonl"),
        ("c.csv.GZ", "csv"),
        ("c.tab", "tsv"),
        ("v1.2.text.gz", "text"),
    ],
)
def test_the_format_is_told_by_the_name(files: Files, name: str, format: str) -> None:
    data = {"jsonl": '{"text": "a,b"}', "csv": 'text\n"a,b"', "tsv": "text\na,b", "text": "a,b"}
    assert files.documents(data[format], name)[0].text == "a,b"


@pytest.mark.parametrize("name", ["c", "c.gz", "c.doc", "jsonl", ".jsonl.zst", "c.csv.bz2"])
def test_a_name_that_tells_nothing_needs_a_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("cat")
    with pytest.raises(CorpusError, match="give input_format="):
        open_corpus(tmp_path / name)


def test_a_given_format_counts_more_than_the_name(files: Files) -> None:
    assert files.documents('{"text": "a"}', "c.csv", format="jsonl")[0].text == "a"


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CorpusError) as caught:
        open_corpus("c.jsonl", format="xml")
    assert all(known in str(caught.value) for known in FORMATS)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["missing", "folder", "nul\0"])
def test_what_cannot_be_opened_is_an_error_that_names_it(
    tmp_path: Path, format: str, name: str
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CorpusError, match="cannot be opened") as caught:
        list(open_corpus(tmp_path / name, format=format))
    assert caught.value.path == str(tmp_path / name)


def test_a_byte_source_can_keep_line_ends(files: Files) -> None:
    path = files.write(b"\xef\xbb\xbfa\r\nb\n\nc")
    with ByteSource(path) as source:
        kept = [line for _, line, _ in source.lines(keep_ends=True)]
    with ByteSource(path) as source:
        bare = [line for _, line, _ in source.lines()]
    assert kept == [b"a\r\n", b"b\n", b"\n", b"c"]
    assert bare == [b"a", b"b", b"", b"c"]


# Iterables


def test_mappings_and_documents_from_memory_are_a_corpus() -> None:
    records = [{"id": 1, "text": "a", "m": (1, 2)}, Document("b", "x", "T", {"n": 1})]
    corpus = open_corpus(records)
    assert corpus.rereadable
    assert list(corpus) == [
        Document("1", "a", None, {"m": (1, 2)}, 1),
        Document("b", "x", "T", {"n": 1}, 2),
    ]


def test_a_document_keeps_the_line_it_had_in_its_file() -> None:
    assert kinds(open_corpus([Document("b", "x", line=7)])) == [(7, "x")]


def test_a_generator_is_read_once_and_not_ahead() -> None:
    taken = []

    def source() -> Iterator[dict[str, str]]:
        for number in range(3):
            taken.append(number)
            yield {"text": str(number)}

    corpus = open_corpus(source())
    assert not corpus.rereadable
    assert kinds([next(iter(corpus))]) == [(1, "0")]
    assert taken == [0]


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


circular: list[Any] = []
circular.append(circular)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("text", "must be a qsearch.Document or a mapping, found a str"),
        (None, "must be a qsearch.Document or a mapping, found a NoneType"),
        (Hostile(), "must be a qsearch.Document or a mapping, found a Hostile"),
        ({}, "no text"),
        ({"text": b"a"}, "the text ('text') must be a string, found a bytes"),
        ({"text": "a", "x": {1}}, "metadata that JSON cannot hold"),
        ({"text": "a", "x": float("nan")}, "metadata that JSON cannot hold"),
        ({"text": "a", "x": circular}, "metadata that JSON cannot hold"),
        ({"text": "a", "x": 10**5000}, "metadata that JSON cannot hold"),
        ({"text": "a", "x": deep(100_000)}, "metadata nested deeper than 100 levels"),
        ({"text": "a", "x": deep(300)}, "metadata nested deeper than 100 levels"),
        ({"text": "a", "x": Hostile()}, "metadata that JSON cannot hold"),
        ({"text": "a", "id": 10**5000}, "the id ('id') is an integer of too many digits"),
        ({"text": "\ud800"}, "'text' is not valid Unicode text (at character 0)"),
        (Document("", "a"), "the id ('id') is empty"),
        (Document("a", " "), "the text ('text') is empty"),
        (Document("a", "b", metadata={"x": {1}}), "metadata that JSON cannot hold"),
        (Document("a", "b", metadata=None), "the metadata must be a mapping, found a NoneType"),
        (Document("a", "b", title=1), "the title ('title') must be a string, found a number"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_objects_that_are_no_documents_are_rejected_alone(record: Any, reason: str) -> None:
    good = Document("z", "y")
    first, second = open_corpus([record, good])
    assert isinstance(first, RejectedRecord)
    assert first.reason.startswith(reason)
    assert first.line == 1
    assert len(first.raw) <= 65_536
    assert isinstance(second, Document)


def test_a_document_without_text_passes_where_text_is_not_required() -> None:
    assert kinds(open_corpus([Document("a", "")], text_required=False)) == [(1, "")]


def test_the_names_of_fields_are_for_mappings_and_not_for_documents() -> None:
    records = [{"key": "a", "body": "x"}, Document("b", "y")]
    fields = Fields(id=("key",), text=("body",))
    assert kinds(open_corpus(records, fields=fields)) == [(1, "x"), (2, "y")]
