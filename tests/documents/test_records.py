"""Records: which field is which, and what an id is."""

from __future__ import annotations

import pytest

from qsearch.documents import Document, Fields
from tests.documents.corpora import Files, kinds


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
        "no id (looked for 'id' or '_id', found 'text'), though earlier documents have one"
    )
