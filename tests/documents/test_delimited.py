"""CSV and TSV: every cell comes back, and a stray quote costs its own line only."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qsearch.documents import Document, RejectedRecord, open_corpus
from qsearch.documents.lines import MAX_RECORD_BYTES
from qsearch.errors import CorpusError
from tests.documents.corpora import NAMES, SEPARATORS, Files, kinds, peak_bytes, pipe

cells = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from('\r\n",\t')
)


@settings(deadline=None)
@given(
    st.sampled_from(["csv", "tsv"]),
    st.lists(st.tuples(cells.filter(str.strip), cells.filter(str.strip), cells), max_size=6),
)
@example("csv", [('"', '""', ","), ("\r\n", "x", "\n\n\r")][:1])
@example("csv", [("a", "x\r\ny", "\r")])
@example("tsv", [("a", "x\ty\nz", "\x01")])
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


def test_a_header_alone_is_an_empty_corpus(files: Files) -> None:
    assert files.read("id,text\n", "c.csv") == []


def test_a_byte_order_mark_before_a_quoted_header_is_dropped(files: Files) -> None:
    assert files.documents(b'\xef\xbb\xbf"id","text"\n1,a\n', "c.csv")[0].id == "1"


def test_a_quoted_csv_record_over_16_mib_is_rejected_though_no_line_is(files: Files) -> None:
    line = b"x" * (1 << 20) + b"\n"
    data = b'id,text\n1,a\n2,"' + line * 17 + b'"\n3,b\n'
    records = files.read(data, "c.csv")
    assert kinds(records[:2]) == [(2, "a"), (3, "!")]
    assert "is longer than 16 MiB" in records[1].reason
    assert kinds(records)[-1] == (21, "b")


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
        (b"1", "the text ('text') is null (has 1 column, the header has 3)"),
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


def test_columns_that_a_spreadsheet_left_empty_are_none(files: Files) -> None:
    records = files.read("id,text,,\n1,a,,\n2,b,,,,\n3,c\n4,d,,lost\n", "c.csv")
    assert kinds(records) == [(2, "a"), (3, "b"), (4, "c"), (5, "!")]
    assert isinstance(records[0], Document)
    assert records[0].metadata == {}
    assert records[3] == RejectedRecord(5, "has 4 columns, the header has 2", b"4,d,,lost")


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
        (b",,text\n", ":1: names a column twice: ''"),
        (b"\n\nid, id\n", ":3: names a column twice: 'id'"),
        (b"id,t\xff\n", ":1: the header is not UTF-8"),
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
