"""What holds for every format that is read line by line."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qsearch import Index
from qsearch.documents import Document, Fields, RejectedRecord
from qsearch.documents.lines import MAX_RECORD_BYTES
from qsearch.errors import CorpusError
from tests.documents.corpora import NAMES, SEPARATORS, Files, kinds
from tests.encoders import HashedWords


@settings(deadline=None)
@given(
    st.lists(
        st.text().filter(lambda text: text.strip() and not {"\n", "\r", "\0"} & set(text)),
        max_size=8,
    )
)
@example([SEPARATORS, "\x01", " padded "])
def test_text_files_give_back_every_line(scratch: Files, lines: list[str]) -> None:
    found = scratch.documents("".join(line + "\n" for line in lines), "c.txt")
    assert [one.text for one in found] == lines
    assert [one.id for one in found] == [str(number) for number in range(1, len(lines) + 1)]


@settings(deadline=None)
@given(st.sampled_from(sorted(NAMES)), st.binary(max_size=200))
@example("csv", b'text\n"')
@example("csv", b'a\n"\n"""')
@example("jsonl", b"\xef\xbb\xbf\xef\xbb\xbf{}")
@example("jsonl", b"[\x01")
def test_no_bytes_break_a_reader(scratch: Files, format: str, data: bytes) -> None:
    """Whatever the bytes, there are records with a line, or an error that names the file."""
    lines = data.count(b"\n") + 1
    try:
        numbers = [record.line or 0 for record in scratch.read(data, NAMES[format])]
    except CorpusError as error:
        numbers = [] if error.line is None else [error.line]
    # A line of JSON may hold an array with any number of records.
    assert numbers == sorted(numbers if format == "jsonl" else set(numbers))
    assert all(1 <= number <= lines for number in numbers)


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


def test_a_text_file_of_other_bytes_is_rejected_line_by_line(files: Files) -> None:
    records = files.read(b"a\nb\xe9\nc\n", "c.txt")
    assert kinds(records) == [(1, "a"), (2, "!"), (3, "c")]
    assert records[1] == RejectedRecord(2, "is not UTF-8 (at byte 2)", b"b\xe9")


def test_lines_of_unicode_spaces_are_blank_in_a_text_file(files: Files) -> None:
    found = files.documents("a\n\u3000\n\u2028\xa0\nb\n", "c.txt")
    assert kinds(found) == [(1, "a"), (4, "b")]


def test_a_text_file_has_no_fields_to_name(files: Files) -> None:
    with pytest.raises(
        CorpusError, match="has no fields; leave Fields\\(text=...\\) and the like out"
    ):
        files.read("a\n", "c.txt", fields=Fields(text="body"))
    assert files.documents("a\n", "c.txt", fields=Fields()) == [Document("1", "a", None, {}, 1)]


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
