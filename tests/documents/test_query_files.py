"""Query files in every form that people have them in."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from qsearch.documents import read_queries, read_query_texts
from qsearch.errors import QueryError

EXPECTED = [("q1", 'what "is" it, really'), ("q2", "où ça")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.jsonl", '{"_id": "q1", "text": "what \\"is\\" it, really"}\n{"_id": "q2", "text": "où ça"}\n'),
        ("q.json", '{"ID": "q1", "Query": "what \\"is\\" it, really"}\n\n{"id": "q2", "query": "où ça"}'),
        ("q.tsv", 'q1\twhat "is" it, really\nq2\toù ça\n'),
        ("q.tsv", 'query-id\ttext\r\nq1\twhat "is" it, really\r\nq2\toù ça\r\n'),
        ("q.tsv", 'Text\tlang\tqid\nwhat "is" it, really\ten\tq1\noù ça\tfr\tq2\n'),
        ("q.csv", '_id,text\nq1,"what ""is"" it, really"\nq2,où ça\n'),
        ("q.csv", 'q1,"what ""is"" it, really"\nq2,où ça\n'),
        ("q.csv", 'qid;query\nq1;"what ""is"" it, really"\nq2;où ça\n'),
        ("queries", 'q1\twhat "is" it, really\nq2\toù ça'),
        ("queries", '{"_id": "q1", "text": "what \\"is\\" it, really"}\n{"_id": "q2", "text": "où ça"}\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gzip"])
def test_ids_and_texts_are_found(tmp_path: Path, name: str, content: str, encoding: str) -> None:
    path = tmp_path / name
    if encoding == "gzip":
        path = path.with_name(name + ".gz")
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_bytes(content.encode(encoding))
    assert list(read_queries(str(path))) == EXPECTED
    assert read_query_texts(str(path)) == [text for _, text in EXPECTED]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("q.txt", "one\n\n{not json\ntab\there\n", [("1", "one"), ("3", "{not json"), ("4", "tab\there")]),
        ("q", "one\ntwo, three\n", [("1", "one"), ("2", "two, three")]),
        ("q.csv", "text\nfirst\nsecond\n", [("2", "first"), ("3", "second")]),
        ("q.jsonl", '\n{"text": "a"}\n{"text": "b"}\n', [("2", "a"), ("3", "b")]),
        ("q.tsv", "", []),
        ("q.tsv", "id\ttext\n", []),
        ("q.txt", "\n \n", []),
        ("q.csv", '1,"two\nlines"\n2,x\n', [("1", "two\nlines"), ("2", "x")]),
    ],
)  # fmt: skip
def test_queries_without_ids_have_the_numbers_of_their_lines(
    tmp_path: Path, name: str, content: str, expected: list[tuple[str, str]]
) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert list(read_queries(str(tmp_path / name))) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.tsv", "only a text\n", r"q\.tsv:1: has 1 column, expected 2; .*called \.txt"),
        ("q.tsv", "1\ta\n2\tb\tc\n", r"q\.tsv:2: has 3 columns, expected 2"),
        ("q.tsv", "1\ta\n1\tb\n", r"q\.tsv:2: has the id '1', which .*q\.tsv:1 has already"),
        ("q.tsv", "1\ta\n\tb\n", r"q\.tsv:2: has no id, though earlier queries have one"),
        ("q.jsonl", "plain text\n", r"q\.jsonl:1: is not valid JSON .*an object a line"),
        ("q.jsonl", '["a", "b"]\n', r"q\.jsonl:1: must be an object with a \"text\""),
        ("q.jsonl", '{"title": "a"}\n', r"must be an object with a \"text\", found 'title'"),
        ("q.jsonl", '{"text": "a"}\n{"_id": 3, "text": "b"}\n', r"q\.jsonl:2: has an id, though"),
        ("q.csv", 'a,b\n"never closed\n', r"q\.csv:2: has 1 column"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(QueryError, match=message):
        list(read_queries(str(tmp_path / name)))
