"""Query files in every form that people have them in."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from qsearch.documents import read_queries, read_query_texts
from qsearch.errors import CorpusError, QueryError

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
        ("q.csv", 'sep=;\r\nqid;query\r\nq1;"what ""is"" it, really"\r\nq2;où ça\r\n'),
        ("q.json", '[{"_id":"q1", "text": "what \\"is\\" it, really"},\n\n{"_id": "q2", "text": "où ça"}]'),
        ("q.json", '{\n"_id": "q1",\n"text": "what \\"is\\" it, really"\n}\n{"_id":"q2", "text": "où ça"}'),
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
        ("q.json", '\n[{"text": "a"},\n\n{"text": "b"}]', [("1", "a"), ("2", "b")]),
        ("q.json", "[]", []),
        ("q.tsv", "", []),
        ("q.tsv", "id\ttext\n", []),
        ("q.csv", "sep=;\n", []),
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
        ("q.jsonl", '["a", "b"]\n', r"q\.jsonl:1: record 1: must be an object with a \"text\""),
        ("q.jsonl", '{"title": "a"}\n', r"must be an object with a \"text\", found 'title'"),
        ("q.jsonl", '{"text": "a"}\n{"_id": 3, "text": "b"}\n', r"q\.jsonl:2: has an id, though"),
        ("q.json", '[{"text": "a"},\n\n{"text": 3}]', r"q\.json:3: record 2: must be an object"),
        ("q.json", '[{"text": "a"},\n{"text"', r"q\.json:2: record 2: the file ends inside of the array"),
        ("q.csv", 'a,b\n"never closed\n', r"q\.csv:2: has 1 column"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(QueryError, match=message):
        list(read_queries(str(tmp_path / name)))


def test_a_folder_of_beir_holds_queries(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is a folder; give the file with the queries"):
        list(read_queries(str(tmp_path)))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "document"}')
    (tmp_path / "queries.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "q", "text": "query"}'))
    assert list(read_queries(str(tmp_path))) == [("q", "query")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.html", b"<p>text", "is a page of HTML"),
        ("q.xlsx", b"PK\3\4", "is a spreadsheet; save its table as CSV"),
        ("q.parquet", b"PAR1\x15", "is a Parquet file; save its table as JSON Lines or CSV"),
        ("q", b"PAR1\x15", "is a Parquet file; save its table as JSON Lines or CSV"),
        ("q.txt", "one\n".encode("utf-16-le"), r"is no text \(save it in UTF-8\)$"),
    ],
)  # fmt: skip
def test_what_holds_no_queries_is_refused_without_options_that_are_not_there(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        list(read_queries(str(tmp_path / name)))
