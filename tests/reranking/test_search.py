"""A search whose best hits a cross-encoder puts in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qsearch import BuildOptions, Hit, Index, Reranker, RerankerIdentity
from qsearch.documents import Document
from qsearch.encoding.onnx import cache
from qsearch.errors import EncoderError, QueryError
from qsearch.reranking import Pair, load_reranker
from tests.encoders import WORDS, HashedWords

DOCUMENTS = [
    {"id": word, "title": word, "text": " ".join(WORDS[number : number + 5])}
    for number, word in enumerate(WORDS[-70:], len(WORDS) - 70)
]
QUERY = "cat dog bird fish tree"


class Scorer:
    """A reranker of any function of a pair; remembers what it was asked."""

    def __init__(self, function: Callable[[str, str], float], longest: int = 1000) -> None:
        self.function = function
        self.longest = longest
        self.asked: list[list[Pair]] = []

    def identity(self) -> RerankerIdentity:
        return RerankerIdentity("a function", activation="identity", max_length=self.longest)

    def score(
        self, pairs: Sequence[Pair], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        self.asked.append(list(pairs))
        if advance is not None:
            for _ in pairs:
                advance(1)
        return np.array([self.function(query, text) for query, text in pairs], np.float32)

    def truncated(self, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
        return np.array([len(query) + len(text) > self.longest for query, text in pairs])


def by_length(query: str, text: str) -> float:
    return float(len(text))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    path = tmp_path_factory.mktemp("i") / "index"
    return Index.build(DOCUMENTS, path, encoder=HashedWords())


def content_of(hit: Hit) -> str:
    return Document(hit.id, hit.text, hit.title).content


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recall": 0.9},
        {"method": "cascade"},
        {"method": "binary", "candidates": 60},
        {"method": "exact", "explain": True},
    ],
)
def test_the_best_of_a_search_are_ordered_by_other_scores(
    index: Index, options: dict[str, object]
) -> None:
    before = index.search(QUERY, 20, **options)
    after = index.search(QUERY, 5, rerank=Scorer(by_length), rerank_depth=20, **options)
    expected = sorted(before, key=lambda hit: (-len(content_of(hit)), hit.rank))[:5]
    assert [hit.id for hit in after] == [hit.id for hit in expected]
    assert [hit.rank for hit in after] == [1, 2, 3, 4, 5]
    for hit, same in zip(after, expected, strict=True):
        assert (hit.score, hit.retrieval_rank) == (same.score, same.rank)
        assert hit.rerank_score == len(content_of(hit))
    assert (after.certified, after.method) == (before.certified, before.method)
    assert before.reranking is None
    assert all((hit.rerank_score, hit.retrieval_rank) == (None, None) for hit in before)


def test_ties_stay_in_the_order_before(index: Index) -> None:
    before = index.search(QUERY, 30)
    equal = index.search(QUERY, 30, rerank=Scorer(lambda query, text: 1.0), rerank_depth=30)
    assert [hit.id for hit in equal] == [hit.id for hit in before]
    halves = Scorer(lambda query, text: float(len(text) % 2))
    after = index.search(QUERY, 30, rerank=halves, rerank_depth=30)
    for half in (0, 1):
        of_half = [hit.retrieval_rank for hit in after if hit.rerank_score == half]
        assert of_half == sorted(of_half)
        assert len(of_half) > 3
    assert [hit.rerank_score for hit in after] == sorted(
        (hit.rerank_score for hit in after), reverse=True
    )


def test_nothing_beyond_the_depth_comes_up(index: Index) -> None:
    first = {hit.id for hit in index.search(QUERY, 12)}
    after = index.search(QUERY, 10, rerank=Scorer(by_length), rerank_depth=12)
    assert {hit.id for hit in after} < first
    assert after.reranking is not None
    assert after.reranking.pairs == 12
    wide = index.search(QUERY, 60, rerank=Scorer(by_length), rerank_depth=12)
    assert len(wide) == wide.reranking.pairs == 60  # at least k
    everything = index.search(QUERY, 2, rerank=Scorer(by_length), rerank_depth=1000)
    assert everything.reranking.pairs == len(DOCUMENTS)
    assert index.search(QUERY, 2, rerank=Scorer(by_length)).reranking.pairs == 50


def test_a_query_is_scored_with_title_and_text(index: Index) -> None:
    scorer = Scorer(by_length)
    index.search(QUERY, 3, rerank=scorer)
    contents = {content_of(hit) for hit in index.search(QUERY, 50)}
    (asked,) = scorer.asked
    assert {query for query, _ in asked} == {QUERY}
    assert {text for _, text in asked} == contents
    assert "cat cat dog bird fish tree" in contents


def test_several_queries_are_scored_together_with_the_same_results(
    index: Index, tiny_cross_encoder: Path
) -> None:
    queries = [QUERY, "king queen", "the a of and", "law war"]
    scorer = Scorer(lambda query, text: len(text) * len(query))
    together = index.search_batch(queries, 4, rerank=scorer, rerank_depth=25)
    assert [len(asked) for asked in scorer.asked] == [100]
    apart = [index.search(query, 4, rerank=scorer, rerank_depth=25) for query in queries]
    assert together == apart
    name = str(tiny_cross_encoder)
    together = index.search_batch(queries, 4, rerank=name, rerank_depth=25)
    apart = [index.search(query, 4, rerank=name, rerank_depth=25) for query in queries]
    assert together == apart
    assert len({hit.rerank_score for result in together for hit in result}) == 16
    assert index.search_batch([], rerank=scorer) == []


def test_passages_are_scored_where_documents_are_split(tmp_path: Path) -> None:
    story = " ".join(WORDS[:40])
    records = [
        {"id": "story", "title": "tale", "text": story},
        {"id": "other", "text": "law war"},
    ]
    options = BuildOptions(passages=10)
    index = Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    scorer = Scorer(by_length)
    found = index.search("the a of", 2, rerank=scorer)
    (asked,) = scorer.asked
    by_id = {hit.id: hit for hit in found}
    passage = by_id["story"].passage
    assert passage is not None
    assert passage.text != story
    assert {text for _, text in asked} == {f"tale {passage.text}", "law war"}
    index.search("the a of", 2, rerank=scorer, all_passages=True)
    assert len(scorer.asked[-1]) == index.rows
    nearest = index.search("the a of", 3, all_passages=True, rerank=scorer, rerank_depth=4)
    assert len(nearest) == 3
    assert nearest.reranking.pairs == 4


def test_a_result_says_by_what_it_was_reranked(index: Index, tiny_cross_encoder: Path) -> None:
    result = index.search(QUERY, 3, rerank=tiny_cross_encoder, explain=True)
    reranking = result.reranking
    assert reranking is not None
    identity = reranking.identity
    assert identity.model == str(tiny_cross_encoder)
    assert identity.weights is not None
    assert (identity.activation, identity.max_length) == ("sigmoid", 64)
    assert repr(result).splitlines()[0].endswith(f"certified, reranked by {identity.label}>")
    assert f"rerank_score={result[0].rerank_score:.4f}, score=" in repr(result)
    reranker = load_reranker(str(tiny_cross_encoder))
    scores = reranker.score([(QUERY, hit.content) for hit in result])
    assert [hit.rerank_score for hit in result] == scores.tolist()
    explanation = result.explanation
    assert explanation is not None
    stage = explanation.stages[-1]
    assert (stage.name, stage.rows, stage.unit) == ("rerank", 50, "pairs")
    assert stage.milliseconds > 0
    before = index.search(QUERY, 50, explain=True)
    for hit, ranks in zip(result, explanation.ranks, strict=True):
        assert before.explanation.ranks[hit.retrieval_rank - 1] == ranks


def test_texts_that_are_cut_are_counted_for_each_query(index: Index) -> None:
    scorer = Scorer(by_length, longest=60)
    long, short = index.search_batch(
        ["a very long query " * 3, "cat"], 5, rerank=scorer, rerank_depth=7
    )
    assert (long.reranking.truncated, short.reranking.truncated) == (7, 0)


def test_a_cross_encoder_object_is_reranked_with(index: Index, tiny_cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder

    loaded = CrossEncoder(str(tiny_cross_encoder), device="cpu")
    by_object = index.search(QUERY, 8, rerank=loaded)
    by_path = index.search(QUERY, 8, rerank=str(tiny_cross_encoder))
    assert [hit.id for hit in by_object] == [hit.id for hit in by_path]
    own, other = by_object.reranking.identity, by_path.reranking.identity
    assert own.weights == other.weights
    pairs = [(QUERY, hit.content) for hit in by_object]
    np.testing.assert_allclose(
        [hit.rerank_score for hit in by_object], loaded.predict(pairs), atol=1e-5
    )


def test_a_named_model_is_loaded_once(
    index: Index, tiny_cross_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.search(QUERY, 2, rerank=str(tiny_cross_encoder))
    monkeypatch.setenv("QSEARCH_CACHE", str(tiny_cross_encoder / "no cache"))
    monkeypatch.setattr(cache, "find_export_of", None)
    assert len(index.search(QUERY, 2, rerank=tiny_cross_encoder)) == 2


def test_progress_tells_pairs(index: Index) -> None:
    told: list[object] = []

    class Told:
        def begin(self, phase: str, total: int | None, unit: str) -> None:
            told.append((phase, total, unit))

        def advance(self, count: int, *, resumed: bool = False) -> None:
            told.append(count)

        def end(self) -> None:
            told.append("end")

    index.search_batch(
        [QUERY, "king"], 3, rerank=Scorer(by_length), rerank_depth=9, progress=Told()
    )
    assert told == [("rerank", 18, "pairs"), *[1] * 18, "end"]
    told.clear()
    index.search_batch([QUERY], 3, progress=Told())
    assert told == []
    broken = Scorer(lambda query, text: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.search_batch([QUERY], 3, rerank=broken, progress=Told())
    assert told[-1] == "end"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_score_is_refused(index: Index, value: float) -> None:
    scorer = Scorer(lambda query, text: value if text.startswith("cat") else 1.0)
    with pytest.raises(EncoderError, match=r"a function gave -?(nan|inf) for the query 'cat dog"):
        index.search(QUERY, rerank=scorer)


def test_other_shapes_than_one_number_a_pair_are_refused(index: Index) -> None:
    class Wrong(Scorer):
        def score(
            self, pairs: Sequence[Pair], advance: Callable[[int], None] | None = None
        ) -> NDArray[np.float32]:
            return np.zeros((len(pairs), 2), np.float32)

    with pytest.raises(EncoderError, match=r"gave float32 \(50, 2\) for 50 pairs"):
        index.search(QUERY, rerank=Wrong(by_length))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rerank_depth": 20}, "name one with rerank="),
        ({"rerank": "m", "rerank_depth": 0}, "rerank_depth must be at least 1, found 0"),
        ({"rerank": "m", "rerank_depth": 1.5}, "rerank_depth must be a whole number, found 1.5"),
        ({"rerank": "m", "rerank_depth": True}, "rerank_depth must be a whole number, found True"),
        ({"rerank": "m", "k": 0}, "k must be at least 1"),
        ({"rerank": "m", "k": "2"}, "k must be a whole number"),
        (
            {"rerank": "m", "method": "binary", "candidates": 20},
            "candidates must be at least rerank_depth = 50, found 20",
        ),
        (
            {"rerank": "m", "method": "binary", "candidates": 2},
            "candidates must be at least k = 50, found 2",
        ),
    ],
)
def test_what_makes_no_sense_is_an_error_before_anything_is_loaded(
    index: Index, options: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        index.search(QUERY, **{"k": 10, **options})


def test_what_is_no_reranker_is_refused(index: Index, tiny_bert: Path) -> None:
    for wrong in (HashedWords(), 3, ["a", "b"]):
        with pytest.raises(
            EncoderError, match=r"a reranker is the name or path of a cross-encoder"
        ):
            index.search(QUERY, rerank=wrong)
    with pytest.raises(EncoderError, match="bi-encoder"):
        index.search(QUERY, rerank=tiny_bert)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rerank'"):
        index.search_by_vectors(np.ones((1, 24)), rerank=Scorer(by_length))


def test_an_empty_index_has_nothing_to_rerank(tmp_path: Path) -> None:
    index = Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=HashedWords())
    index.delete("a")
    result = index.search("cat", rerank=Scorer(by_length))
    assert (len(result), result.reranking.pairs) == (0, 0)


def test_a_class_with_three_methods_is_a_reranker() -> None:
    assert isinstance(Scorer(by_length), Reranker)
    assert not isinstance(HashedWords(), Reranker)
