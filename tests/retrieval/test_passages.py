"""Documents are found by their best passages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import qsearch.indexing.chunks
from qsearch import (
    BuildOptions,
    Document,
    Index,
    Passage,
    verify_index,
)
from qsearch.indexing.passages import PassageSplitter
from tests.encoders import WORDS, HashedWords
from tests.indexing.towns import OPTIONS, town

QUERIES = ["cat dog", "king of the river", "title 5 music", "night", "doctor law war paper"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """150 documents in several segments."""
    options = dataclasses.replace(OPTIONS, segment_rows=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 16)
        return Index.build(
            town(150), tmp_path_factory.mktemp("town") / "i", encoder=HashedWords(), options=options
        )


def test_rows_are_the_passages_in_order_of_documents(index: Index) -> None:
    documents = [Document(one["id"], one["text"], one.get("title")) for one in town(150)]
    split = PassageSplitter(HashedWords(), 20, 6).split(documents)
    assert index.rows == len(split.contents) > 500
    assert len(index) == 150
    assert len(index._open.segments) > 2
    rows = np.concatenate([segment.vectors for segment in index._open.segments])
    expected = HashedWords().encode_documents(split.contents)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(rows, expected, atol=1e-6)
    passages = np.concatenate(
        [one.passages + np.array([one.first_document, 0, 0]) for one in index._open.segments]
    )
    assert np.array_equal(passages, split.passages)
    for segment in index._open.segments:  # no document is in two segments
        assert segment.passages is not None
        assert segment.passages[0, 0] == 0
    assert verify_index(index.path, deep=True).ok


@pytest.mark.parametrize("k", [1, 3, 10, 149, 150, 400])
@pytest.mark.parametrize("method", [None, "binary", "cascade", "graph"])
def test_a_document_comes_once_by_its_best_passage(
    index: Index, method: str | None, k: int
) -> None:
    candidates = None if method is None else index.rows
    many = index.search_batch(QUERIES, k, method=method, candidates=candidates)
    every = index.search_batch(QUERIES, index.rows, all_passages=True)
    for result, passages in zip(many, every, strict=True):
        assert len(passages) == index.rows
        best: dict[str, tuple[float, Passage | None]] = {}
        for hit in passages:
            best.setdefault(hit.id, (hit.score, hit.passage))
        expected = [(name, *rest) for name, rest in list(best.items())[:k]]
        assert [(hit.id, hit.score, hit.passage) for hit in result] == expected
        assert [hit.rank for hit in result] == list(range(1, min(k, 150) + 1))
        assert passages.certified
        assert result.certified or method == "cascade"
        for hit in result:
            assert hit.passage is not None
            assert hit.text[hit.passage.begin : hit.passage.end] == hit.passage.text


@pytest.mark.parametrize("method", ["binary", "cascade", "graph"])
def test_few_candidates_still_give_as_many_documents_as_were_asked_for(
    index: Index, method: str
) -> None:
    for result in index.search_batch(QUERIES, 12, method=method, candidates=12):
        assert len({hit.id for hit in result}) == len(result) == 12
        assert [hit.score for hit in result] == sorted((hit.score for hit in result), reverse=True)
        assert not result.certified


def test_arrays_give_documents_and_where_their_passages_are(index: Index) -> None:
    vectors = HashedWords().encode_queries(QUERIES)
    found = index.search_vectors(vectors, 5)
    results = index.search_batch(QUERIES, 5)
    assert found.spans is not None
    assert found.positions.shape == found.scores.shape == found.spans.shape[:2] == (5, 5)
    ids = index.ids(found.positions)
    for number, result in enumerate(results):
        assert ids[number].tolist() == [hit.id for hit in result]
        spans = [(hit.passage.begin, hit.passage.end) for hit in result if hit.passage]
        assert [tuple(span) for span in found.spans[number].tolist()] == spans
    every = index.search_vectors(vectors, 40, all_passages=True)
    assert len(set(every.positions[0].tolist())) < 40


def test_explain_counts_what_was_done_twice(index: Index) -> None:
    once = index.search("cat dog", 3, explain=True).explanation
    again = index.search("cat dog", 140, explain=True).explanation
    assert once is not None
    assert again is not None
    rows = {stage.name: stage.rows for stage in again.stages}
    assert len(again.ranks) == 140
    assert rows.get("rotated codes", rows.get("float scan", 0)) % index.rows == 0
    assert max(rows.values()) >= 2 * index.rows  # 420 rows at first hold fewer documents


def test_one_document_of_very_many_passages_does_not_hide_others(tmp_path: Path) -> None:
    records = [{"id": "book", "text": "cat dog " * 4000}]
    records += [{"id": f"d{i}", "text": f"cat dog {word}"} for i, word in enumerate(WORDS[20:60])]
    index = Index.build(
        records, tmp_path / "i", encoder=HashedWords(), options=BuildOptions(passages=16)
    )
    assert index.rows > 500
    result = index.search("cat dog", 20)
    assert result[0].id == "book"
    assert result[0].passage == Passage(0, 63, ("cat dog " * 8).rstrip())  # the first of equals
    assert len({hit.id for hit in result}) == 20
    assert result.certified
    every = index.search("cat dog", 20, all_passages=True)
    assert {hit.id for hit in every} == {"book"}
