"""Documents and mappings from memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qsearch.documents import Document, Fields, RejectedRecord, open_corpus
from qsearch.errors import CorpusError
from tests.documents.corpora import kinds


def test_mappings_and_documents_from_memory_are_a_corpus() -> None:
    records = [{"id": 1, "text": "a", "m": (1, 2)}, Document("b", "x", "T", {"n": 1})]
    corpus = open_corpus(records)
    assert corpus.rereadable
    assert list(corpus) == [
        Document("1", "a", None, {"m": [1, 2]}, 1),
        Document("b", "x", "T", {"n": 1}, 2),
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (5, "documents or mappings, found int"),
        (b"corpus.jsonl", "documents or mappings, found bytes"),
        ({"a": {"text": "x"}}, r"found dict; one document is given as \[document\]"),
    ],
)
def test_what_holds_no_documents_is_refused_before_it_is_read(source: Any, told: str) -> None:
    with pytest.raises(CorpusError, match=told):
        open_corpus(source)


def test_what_gives_its_records_by_number_is_read() -> None:
    class Numbered:
        def __getitem__(self, number: int) -> dict[str, str]:
            return [{"text": "a"}, {"text": "b"}][number]

    numbered: Any = Numbered()
    assert kinds(open_corpus(numbered)) == [(1, "a"), (2, "b")]


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
