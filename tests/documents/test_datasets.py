"""Names of ir_datasets are corpora, queries and judgments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qsearch import Index
from qsearch.documents import (
    Document,
    Fields,
    RejectedRecord,
    corpus_stem,
    open_corpus,
    read_judgments,
    read_queries,
)
from qsearch.errors import CorpusError, QueryError
from qsearch.evaluation import evaluate
from tests.datasets import (
    DOCUMENTS,
    Article,
    Judgment,
    Paper,
    Plain,
    Stance,
    Trial,
    article,
    register,
)
from tests.encoders import HashedWords
from tests.indexing.test_build import small_chunks
from tests.indexing.test_resuming import Fails

__all__ = ["small_chunks"]  # used by every test here


def test_documents_have_their_title_and_text_and_the_rest_is_metadata(dataset: str) -> None:
    corpus = open_corpus(dataset)
    assert (corpus.name, corpus.rereadable) == (dataset, True)
    found = list(corpus)
    assert len(found) == DOCUMENTS
    assert found == list(corpus)
    assert found[7] == Document(
        "d7", article(7).text, "the 7th", {"year": 1907, "authors": ["A", "B"]}, 8
    )
    assert isinstance(found[7], Document)
    assert found[7].content == article(7).default_text()


@pytest.fixture(scope="module")
def papers(dataset: str) -> str:
    paper = Paper(
        "p1", "Cats", "About cats.", "They purr.", "J", b"<x>", Stance.PRO, (Plain("a", "b"),)
    )
    return register("qsearch/papers", [paper])


def test_a_text_of_several_fields_is_whole_and_what_json_cannot_hold_is_left_out(
    papers: str,
) -> None:
    assert list(open_corpus(papers)) == [
        Document("p1", "About cats. They purr.", "Cats", {"journal": "J"}, 1)
    ]


def test_fields_may_be_named(papers: str) -> None:
    fields = Fields(text="abstract", title="journal", metadata="doc_id")
    assert list(open_corpus(papers, fields=fields)) == [
        Document("p1", "About cats.", "J", {"doc_id": "p1"}, 1)
    ]
    (kept,) = open_corpus(papers, fields={"metadata": ["abstract", "journal"]})
    assert isinstance(kept, Document)
    assert kept.metadata == {"abstract": "About cats.", "journal": "J"}
    (other,) = open_corpus(papers, fields={"id": "journal"})
    assert isinstance(other, Document)
    assert (other.id, other.metadata) == ("J", {"doc_id": "p1"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Plain("a", "The cat"), Document("a", "The cat", None, {}, 1)),
        (Article("a", " x", "", 1, []), Document("a", " x", None, {"year": 1, "authors": []}, 1)),
        (Article("a", "", "T", 1, []), Document("a", "", "T", {"year": 1, "authors": []}, 1)),
        (Article("a", "T t", "T", 1, []), Document("a", "T t", "T", {"year": 1, "authors": []}, 1)),
    ],
)
def test_texts_are_to_the_letter_what_stands_behind_the_title(
    dataset: str, request: pytest.FixtureRequest, given: Any, expected: Document
) -> None:
    name = register(f"qsearch/letters/{request.node.callspec.id}", [given])
    assert list(open_corpus(name)) == [expected]


def test_a_document_that_is_none_is_rejected_alone(dataset: str) -> None:
    name = register("qsearch/rejected", [Plain("a", " "), Plain("b", "x"), Plain("", "y")])
    first, second, third = open_corpus(name)
    assert isinstance(first, RejectedRecord)
    assert first.reason == "the text ('text') is empty"
    assert isinstance(second, Document)
    assert isinstance(third, RejectedRecord)
    assert (third.line, third.reason) == (3, "the id ('doc_id') is empty")


def test_where_nobody_says_what_the_text_is_it_can_be_named(dataset: str) -> None:
    name = register("qsearch/trials", [Trial("a", "Aspirin", "It helps.")])
    (rejected,) = open_corpus(name)
    assert isinstance(rejected, RejectedRecord)
    assert rejected.remedy == "text field"
    assert rejected.reason == "no text (looked for 'text', found 'doc_id', 'title', 'summary')"
    assert list(open_corpus(name, fields={"text": "summary"})) == [
        Document("a", "It helps.", "Aspirin", {}, 1)
    ]


def test_queries_and_judgments_come_by_the_same_name(dataset: str) -> None:
    queries = list(read_queries(dataset))
    assert len(queries) == 12
    assert queries[3] == ("q3", " ".join(article(3).text.split()[:3]))
    assert read_judgments(dataset) == {f"q{one}": {f"d{one}": 1} for one in range(12)}


def test_of_several_judgments_of_a_pair_the_highest_counts(dataset: str) -> None:
    judged = [("q", "a", 0, "1"), ("q", "a", 2, "2"), ("q", "a", 1, "3"), ("q", "b", -2.0, "1")]
    name = register("qsearch/subtopics", None, None, [Judgment(*one) for one in judged])
    assert read_judgments(name) == {"q": {"a": 2, "b": -2}}


@pytest.mark.parametrize("relevance", [0.5, float("nan"), None, "1"])
def test_a_judgment_that_is_none_is_an_error(dataset: str, relevance: object) -> None:
    name = register(f"qsearch/judged/{relevance}", None, None, [Judgment("q", "a", relevance)])
    with pytest.raises(QueryError, match="relevance of document 'a' for query 'q' must be a whole"):
        read_judgments(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("irds:qsearch/mad/test", "no dataset of this name; did you mean irds:qsearch/made/test?"),
        ("irds:zzz", "ir_datasets has no dataset of this name; 'ir_datasets list' names them"),
        ("irds:", "ir_datasets has no dataset of this name"),
    ],
)
def test_a_name_that_is_none_is_told_what_could_be_meant(
    dataset: str, name: str, told: str
) -> None:
    for read in (open_corpus, read_judgments, lambda one: list(read_queries(one))):
        with pytest.raises(CorpusError) as caught:
            read(name)  # type: ignore[operator]
        assert str(caught.value).startswith(f"{name}: ")
        assert told in str(caught.value)


def test_what_a_dataset_has_not_is_looked_for_in_its_relatives(dataset: str) -> None:
    with pytest.raises(
        CorpusError, match="irds:qsearch: has no judgments; there are some in irds:q"
    ):
        read_judgments("irds:qsearch")
    with pytest.raises(
        CorpusError, match="has no queries; there are some in .*irds:qsearch/made/test"
    ):
        list(read_queries("irds:qsearch"))
    name = register("qsearch/made/only-queries", None, [])
    with pytest.raises(CorpusError, match=r"has no documents; there are some in irds:qsearch$"):
        open_corpus(name)


def test_what_goes_wrong_while_reading_is_told(dataset: str) -> None:
    class Gone:
        def __iter__(self) -> Iterator[Plain]:
            yield Plain("a", "x")
            raise ConnectionError("the server is gone")

    name = register("qsearch/gone", Gone())
    with pytest.raises(
        CorpusError, match="ir_datasets cannot give its documents: the server is gone"
    ):
        list(open_corpus(name))


def test_without_the_package_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(CorpusError, match=r"irds:beir/scifact: .*pip install ir-datasets$"):
        open_corpus("irds:beir/scifact")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"format": "csv"}, "a dataset has no format; leave input_format= out"),
        ({"delimiter": ";"}, "a dataset has no delimiter"),
        ({"encoding": "cp1252"}, "a dataset has no encoding"),
    ],
)
def test_options_of_files_are_refused(dataset: str, options: Any, told: str) -> None:
    with pytest.raises(CorpusError, match=told):
        open_corpus(dataset, **options)


def test_an_index_bears_the_name_of_its_dataset() -> None:
    assert corpus_stem("irds:beir/scifact/test") == "beir-scifact-test"
    assert corpus_stem("irds:vaswani") == "vaswani"


def test_an_interrupted_build_of_a_dataset_goes_on(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        Index.build(dataset, tmp_path / "i", encoder=Fails(article(50).text))
    with Index.build(dataset, tmp_path / "i", encoder=HashedWords()) as index:
        assert index.build_report is not None
        assert index.build_report.resumed == 48
        assert [one.id for one in index] == [f"d{number}" for number in range(DOCUMENTS)]
        assert index.settings["corpus"] == dataset


def test_an_index_is_kept_in_step_with_a_dataset(dataset: str, tmp_path: Path) -> None:
    records = [
        *(article(number)._asdict() for number in range(1, DOCUMENTS)),
        {"doc_id": "x", "text": "y"},
    ]
    fields = {"id": "doc_id"}
    with Index.build(records, tmp_path / "i", encoder=HashedWords(), fields=fields) as index:
        report = index.sync(dataset)
        assert (report.added, report.deleted, report.unchanged) == (1, 1, DOCUMENTS - 1)


def test_an_evaluation_takes_names(dataset: str, tmp_path: Path) -> None:
    with Index.build(dataset, tmp_path / "i", encoder=HashedWords()) as index:
        found = evaluate(index, dataset, dataset, k=10, timed=False)
    assert found.source == f"queries of {dataset}"
    assert found.measure("exact", "nDCG@10").mean > 0.5
