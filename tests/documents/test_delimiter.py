"""What parts columns: named, said by the file, or told from its first lines."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsearch.documents import open_corpus
from qsearch.documents.delimiter import DELIMITERS
from qsearch.errors import CorpusError
from tests.documents.corpora import Files

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")).filter(
    str.strip
)


@settings(deadline=None)
@given(st.sampled_from(DELIMITERS), st.lists(st.tuples(cells, cells), max_size=5))
def test_the_delimiter_of_a_plain_header_is_found_whatever_the_rows(
    scratch: Files, delimiter: str, rows: list[tuple[str, str]]
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([("id", "text"), *rows])
    found = scratch.documents(out.getvalue(), "c.csv")
    assert [(one.id, one.text) for one in found] == rows


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ('id;text;"a,b,c,d"\n1;x;y\n', {"a,b,c,d": "y"}),  # quoted commas do not count
        ('"id";"text"\n1;x\n', {}),
        ("id;text;last, first\n1;x;y\n2;x;y\n", {"last, first": "y"}),
        ("id,text,a|b\n1,x,y\n2,x,y\n", {"a|b": "y"}),
        ('id,text,a|b\n1,"x\n\nx",y\n2,x,y\n', {"a|b": "y"}),
        ("id|text|a;b\n", {}),
        ("sep=;\nid;text;a,b,c\n1;x;y\n", {"a,b,c": "y"}),
        ("sep=\t\r\nid\ttext\r\n1\tx\r\n", {}),
    ],
)
def test_headers_that_hold_other_delimiters_are_told_by_the_rows(
    files: Files, data: str, fields: dict[str, str]
) -> None:
    found = files.documents(data, "c.csv")
    assert all(one.metadata == fields for one in found)
    assert [one.id for one in found] == ["1", "2"][: len(found)]


def test_lines_are_counted_with_the_line_that_says_the_delimiter(files: Files) -> None:
    (document,) = files.documents("sep=;\nid;text\n1;x\n", "c.csv")
    assert document.line == 3


def test_a_column_alone_is_one_of_a_comma_separated_file(files: Files) -> None:
    assert files.documents("text\na;b|c\n", "c.csv")[0].text == "a;b|c"


@pytest.mark.parametrize(
    ("delimiter", "data"),
    [
        ("#", "id#text\n1#a,b;c\n"),
        (";", "id;text\n1;a,b\n"),
        (",", "id,te;x;t,text\n1,2,a\n"),
        ("tab", "id\ttext\n1\ta,b\n"),
        ("\\t", "id\ttext\n1\ta,b\n"),
        ("\t", "id\ttext\n1\ta,b\n"),
        ("¦", "id¦text\n1¦a\n"),
        (";", "sep=;\nid;text\n1;a\n"),
    ],
)
@pytest.mark.parametrize("name", ["c.csv", "c.tsv"])
def test_a_delimiter_can_be_named(files: Files, name: str, delimiter: str, data: str) -> None:
    (document,) = files.documents(data, name, delimiter=delimiter)
    assert document.text.startswith("a")


def test_tsv_has_tabs_whatever_its_header(files: Files) -> None:
    (document,) = files.documents("text\tid,a,b\nx\ty\n", "c.tsv")
    assert (document.text, document.metadata) == ("x", {"id,a,b": "y"})


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r", "\0", "semi"])
def test_what_cannot_be_a_delimiter_is_refused(delimiter: str) -> None:
    with pytest.raises(CorpusError, match="delimiter= takes one character"):
        open_corpus("c.csv", delimiter=delimiter)


@pytest.mark.parametrize("format", ["jsonl", "text", "parquet"])
def test_a_delimiter_that_nothing_could_use_is_refused(format: str) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(CorpusError, match="no delimiter; leave delimiter= out"):
        open_corpus("c", format=format, delimiter=";")
    with pytest.raises(CorpusError, match="no delimiter"):
        open_corpus([], delimiter=";")


def test_a_short_row_says_how_many_columns_it_has(files: Files) -> None:
    reject = files.rejected("id,text\n1\n", "c.csv")
    assert reject.reason == "the text ('text') is null (has 1 column, the header has 2)"
