"""Both ways together: each document of either ranking is scored by both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qsearch import BuildOptions, EncoderMismatch, Index, QueryError
from qsearch.keywords import DEFAULT_WEIGHT, TextRequest
from qsearch.keywords.bm25 import Bm25
from qsearch.keywords.fusion import RECIPROCAL_K, convex, reciprocal_ranks
from qsearch.options import TextSearchOptions, listed
from tests.encoders import WORDS, HashedWords
from tests.keywords.definition import bm25

QUERIES = ["cat and dog", "the river", '"king queen"', "music film paint law"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    generator = np.random.default_rng(3)
    records = [
        {"id": f"d{number}", "text": " ".join(generator.choice(WORDS, size=7))}
        for number in range(200)
    ]
    index = Index.build(
        records,
        tmp_path_factory.mktemp("hybrid") / "index",
        encoder=HashedWords(),
        options=BuildOptions(text_index=True),
    )
    index.delete([f"d{number}" for number in range(0, 200, 9)])
    return index


def everything(index: Index, query: str) -> dict[str, tuple[float, float]]:
    """Cosine and BM25 of each document."""
    told = index.text_index
    assert told is not None
    words = bm25(list(index), query, told["tokenizer"])
    return {hit.id: (hit.score, words[hit.id]) for hit in index.search(query, len(index))}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_hits_are_those_of_the_definition(index: Index, query: str, weight: float) -> None:
    depth, k = 20, 12
    scores = everything(index, query)
    order = list(scores)  # by cosine
    by_meaning = order[:depth]
    place = {document.id: number for number, document in enumerate(index)}
    holding = [name for name in place if scores[name][1] > 0]
    by_words = sorted(holding, key=lambda name: -scores[name][1])[:depth]
    union = sorted({*by_meaning, *by_words}, key=lambda name: place[name])
    most = max(scores[name][0] for name in union) + 1.0, max(scores[name][1] for name in union)
    fused = {
        name: weight * ((scores[name][0] + 1.0) / most[0])
        + (1.0 - weight) * (scores[name][1] / most[1] if most[1] else 0.0)
        for name in union
    }
    expected = sorted(union, key=lambda name: -fused[name])[:k]
    found = index.search(query, k, mode="hybrid", weight=weight, depth=depth)
    assert [hit.id for hit in found] == expected
    for hit in found:
        assert hit.score == fused[hit.id]
        assert (hit.cosine, hit.bm25) == scores[hit.id]
        assert hit.meaning_rank == (by_meaning.index(hit.id) + 1 if hit.id in by_meaning else None)
        assert hit.keyword_rank == (by_words.index(hit.id) + 1 if hit.id in by_words else None)
    assert found.certified
    assert found.method == "hybrid"


def test_reciprocal_ranks_are_on_request(index: Index) -> None:
    for hit in index.search("cat and dog", 10, mode="hybrid", fusion="rrf"):
        ranks = [rank for rank in (hit.meaning_rank, hit.keyword_rank) if rank is not None]
        assert hit.score == pytest.approx(sum(1 / (60 + rank) for rank in ranks), rel=1e-15)


def test_where_no_word_is_known_the_meaning_decides(index: Index) -> None:
    by_meaning = [hit.id for hit in index.search("unheard", 10)]
    found = index.search("unheard", 10, mode="hybrid")
    assert [hit.id for hit in found] == by_meaning
    assert {hit.bm25 for hit in found} == {0.0}
    assert {hit.keyword_rank for hit in found} == {None}


def test_the_part_by_meaning_may_be_less_than_exact(index: Index) -> None:
    found = index.search("cat and dog", 5, mode="hybrid", method="binary", candidates=100)
    assert not found.certified
    exact = index.search("cat and dog", 5, mode="hybrid")
    assert exact.certified


def test_what_was_deleted_is_not_found(index: Index) -> None:
    names = {document.id for document in index}
    for query in QUERIES:
        assert {hit.id for hit in index.search(query, 200, mode="hybrid")} <= names


def test_a_filter_holds_for_both(index: Index) -> None:
    names = [document.id for document in index][::7]
    where = {"id": {"$in": names}}
    scores = everything(index, "the cat")
    found = index.search("the cat", 100, mode="hybrid", where=where)
    assert {hit.id for hit in found} == set(names)
    assert {hit.id: (hit.cosine, hit.bm25) for hit in found} == {
        name: scores[name] for name in names
    }
    assert (
        max(hit.score for hit in found if hit.meaning_rank == 1) >= 0.5
    )  # of the best that is allowed


def test_a_batch_is_answered_as_its_queries_are(index: Index) -> None:
    alone = [index.search(query, 7, mode="hybrid") for query in QUERIES]
    assert index.search_batch(QUERIES, 7, mode="hybrid") == alone


def test_an_explanation_tells_of_both(index: Index) -> None:
    told = index.search("cat dog", 3, mode="hybrid", explain=True).explanation
    assert told is not None
    words = told.keywords
    assert words is not None
    assert (words.fusion, words.depth, words.cut) == ("convex", 100, False)
    assert words.weight == DEFAULT_WEIGHT
    assert [one.term for one in words.terms] == ["cat", "dog"]
    assert len(told.ranks) == 3
    assert told.stages
    words = index.search("cat", 3, mode="keywords", explain=True).explanation.keywords  # type: ignore[union-attr]
    assert words is not None
    assert (words.fusion, words.weight, words.depth) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"weight": 2}, "weight must be a number from 0 to 1, found 2"),
        ({"fusion": "sum"}, "unknown fusion 'sum'; known are convex, rrf"),
        ({"fusion": "rrf", "weight": 0.25}, "weight is of the fusion convex"),
        ({"depth": 3}, "depth must be at least k = 10, found 3"),
        ({"depth": 1.5}, "depth must be a whole number"),
        ({"all_passages": True}, "all_passages is of searches by meaning"),
    ],
)
def test_what_cannot_be_asked_is_told(index: Index, options: dict[str, object], told: str) -> None:
    with pytest.raises(QueryError, match=told):
        index.search("cat", **{"mode": "hybrid", **options})  # type: ignore[arg-type]


def test_the_encoder_is_checked_for_the_part_by_meaning(index: Index) -> None:
    other = Index.open(index.path, encoder=HashedWords(seed="b"))
    with pytest.raises(EncoderMismatch):
        other.search("cat", mode="hybrid")
    assert other.search("cat", mode="keywords")


def test_depth_is_three_times_k_and_at_least_a_hundred() -> None:
    asked = {name: option.default for name, (_, option) in listed(TextSearchOptions).items()}
    depths = [TextRequest.checked(k, {**asked, "mode": "hybrid"}).depth for k in (1, 33, 34, 500)]
    assert depths == [100, 100, 102, 1500]
    assert TextRequest.checked(1, asked).bm25 == Bm25(1.2, 0.75)


# Fusion


scores = arrays(np.float64, 7, elements=st.floats(0, 50))
cosines = arrays(np.float64, 7, elements=st.floats(-1, 1))


@given(cosines=cosines, words=scores, weight=st.floats(0, 1))
def test_a_convex_score_is_between_0_and_1_and_keeps_what_both_agree_on(
    cosines: np.ndarray, words: np.ndarray, weight: float
) -> None:
    fused = convex(cosines, words, weight)
    assert (fused >= 0).all()
    assert (fused <= 1 + 1e-12).all()
    for one in range(7):
        for other in range(7):
            if cosines[one] >= cosines[other] and words[one] >= words[other]:
                assert fused[one] >= fused[other]


def test_the_extremes_of_the_weight_are_one_ranking_each() -> None:
    by_meaning, by_words = np.array([0.1, 0.9, -1.0]), np.array([3.0, 0.0, 6.0])
    assert convex(by_meaning, by_words, 1.0).tolist() == [1.1 / 1.9, 1.0, 0.0]
    assert convex(by_meaning, by_words, 0.0).tolist() == [0.5, 0.0, 1.0]


def test_nothing_to_fuse_is_no_error() -> None:
    nothing = np.empty(0)
    assert convex(nothing, nothing, 0.5).tolist() == []
    assert convex(np.array([-1.0]), np.array([0.0]), 0.5).tolist() == [0.0]


def test_a_document_that_a_ranking_lacks_gets_nothing_of_it() -> None:
    found = reciprocal_ranks(np.array([1, 0, 2]), np.array([0, 0, 1]))
    k = RECIPROCAL_K
    assert found.tolist() == [1 / (k + 1), 0.0, 1 / (k + 2) + 1 / (k + 1)]


# Passages


@pytest.fixture
def passages(tmp_path: Path) -> Index:
    return Index.build(
        [
            {
                "id": "long",
                "title": "Town",
                "text": "The king and queen have music. Fish swim in the river of the city. "
                "A child has paper for school. Night and fire light up the tree.",
            },
            {"id": "short", "text": "cat and dog in the house"},
            {"id": "none", "title": "Only a fish title", "text": ""},
        ],
        tmp_path / "passages",
        encoder=HashedWords(),
        options=BuildOptions(passages=10, text_index=True),
    )


def test_a_hit_by_words_shows_the_passage_that_holds_most_of_them(passages: Index) -> None:
    (hit,) = passages.search("children paper tree", mode="keywords")
    assert hit.passage is not None
    assert "child has paper" in hit.passage.text
    (hit,) = passages.search('"light up"', mode="keywords")
    assert hit.passage is not None
    assert "light up" in hit.passage.text
    (hit,) = passages.search("town", mode="keywords")  # in the title alone
    assert hit.passage is not None
    assert hit.passage.begin == 0
    assert {hit.id for hit in passages.search("fish", mode="keywords")} == {"long", "none"}


def test_a_hit_by_both_shows_its_best_passage_by_meaning(passages: Index) -> None:
    by_meaning = {hit.id: hit for hit in passages.search("fish in the river", 3)}
    found = passages.search("fish in the river", 3, mode="hybrid", depth=3)
    assert len(found) == 3
    for hit in found:
        assert hit.passage == by_meaning[hit.id].passage
        assert hit.cosine == by_meaning[hit.id].score


def test_a_document_found_by_words_alone_shows_its_best_passage_too(passages: Index) -> None:
    every = {hit.id: hit for hit in passages.search("cat", 3)}
    last = max(every.values(), key=lambda hit: hit.rank)
    word = {"long": "queen", "short": "house", "none": "title"}[last.id]
    query = f"cat {word}"
    by_meaning = {hit.id: hit for hit in passages.search(query, 3)}
    found = passages.search(query, 2, mode="hybrid", depth=2)
    for hit in found:
        assert (hit.cosine, hit.passage) == (by_meaning[hit.id].score, by_meaning[hit.id].passage)
