"""The ranking by words is the one that is defined, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsearch import BuildOptions, Index, QueryError
from tests.encoders import HashedWords
from tests.keywords.definition import bm25, ranked

WORDS = (
    "cat",
    "Cats",
    "dog",
    "running",
    "runs",
    "naïve",
    "naive",
    "東京都庁",
    "京都",
    "a",
    "ß",
    "x-y",
)
QUOTED = ('"cat dog"', '"runs a"', "京", "x", '"東京')
queries = st.lists(st.sampled_from([*WORDS, *QUOTED]), min_size=1, max_size=6).map(" ".join)


def made(path: Path, records: list[tuple[str | None, str]], language: str) -> Index:
    return Index.build(
        [
            {"id": str(number), "text": text or "word", **({"title": title} if title else {})}
            for number, (title, text) in enumerate(records)
        ],
        path,
        encoder=HashedWords(),
        options=BuildOptions(text_index=True, language=language, force=True),
    )


@pytest.fixture(scope="module", params=["en", "de", "zh"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    generator = np.random.default_rng(0)

    def text() -> str:
        return " ".join(generator.choice(WORDS, size=generator.integers(9)))

    records = [(text() if number % 3 else None, text()) for number in range(25)]
    return made(tmp_path_factory.mktemp("world") / "index", records, request.param)


@settings(max_examples=15, deadline=None)
@given(
    query=queries,
    k1=st.sampled_from([0.0, 0.9, 1.2, 3.0]),
    b=st.sampled_from([0.0, 0.4, 0.75, 1.0]),
)
def test_scores_are_those_of_the_definition(world: Index, query: str, k1: float, b: float) -> None:
    told = world.text_index
    assert told is not None
    found = world.search(query, 15, mode="keywords", k1=k1, b=b)
    expected = ranked(bm25(list(world), query, told["tokenizer"], k1, b), 15)
    assert [(hit.id, hit.score) for hit in found] == expected
    assert [hit.bm25 for hit in found] == [hit.score for hit in found]
    assert found.certified


def test_a_title_counts_as_text_does(tmp_path: Path) -> None:
    with made(tmp_path / "i", [("cat", "dog"), (None, "cat dog"), ("x", "y")], "en") as index:
        first, second = index.search("cat", mode="keywords")
        assert (first.id, second.id) == ("0", "1")
        assert first.score == second.score


def test_a_phrase_does_not_go_from_a_title_into_the_text(tmp_path: Path) -> None:
    with made(tmp_path / "i", [("old cat", "dog"), (None, "cat dog")], "en") as index:
        assert [hit.id for hit in index.search('"cat dog"', mode="keywords")] == ["1"]


def test_a_word_that_stands_twice_in_the_query_counts_twice(tmp_path: Path) -> None:
    with made(tmp_path / "i", [(None, "cat"), (None, "dog")], "en") as index:
        once, twice = index.search("cat", mode="keywords"), index.search("cat cat", mode="keywords")
        assert twice[0].score == 2 * once[0].score


def test_equal_scores_are_in_document_order_and_k_are_given(tmp_path: Path) -> None:
    with made(tmp_path / "i", [(None, "cat dog")] * 50, "en") as index:
        found = [hit.id for hit in index.search("cat", 7, mode="keywords")]
        assert found == [str(number) for number in range(7)]


def test_documents_that_hold_no_word_of_the_query_are_no_hits(tmp_path: Path) -> None:
    with made(tmp_path / "i", [(None, "cat"), (None, "dog")], "en") as index:
        assert [hit.id for hit in index.search("cat", 10, mode="keywords")] == ["0"]
        assert not index.search("nowhere", 10, mode="keywords")


def test_a_filter_leaves_documents_out_and_their_words_in_the_statistics(tmp_path: Path) -> None:
    with made(tmp_path / "i", [(None, "cat"), (None, "cat dog"), (None, "bird")], "en") as index:
        everything = {hit.id: hit.score for hit in index.search("cat", mode="keywords")}
        assert set(everything) == {"0", "1"}
        for where, names in (("id <> '0'", ["1"]), ("id = '2'", []), ("id < '9'", ["0", "1"])):
            found = index.search("cat", mode="keywords", where=where)
            assert [hit.id for hit in found] == names
            assert all(everything[hit.id] == hit.score for hit in found)


def test_what_is_kept_of_earlier_queries_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsearch.keywords.postings.MOST_BYTES", 40)
    with made(tmp_path / "i", [(None, "cat dog bird"), (None, "cat")], "en") as index:
        before = [index.search(word, mode="keywords")[0].score for word in ("cat", "dog", "bird")]
        again = [index.search(word, mode="keywords")[0].score for word in ("cat", "dog", "bird")]
        assert again == before
        postings = index._open.text_search._postings
        assert postings._bytes == sum(one.nbytes for one in postings._kept.values()) <= 40


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"k1": -1}, "k1 must be a number from 0 to 1000, found -1"),
        ({"k1": float("nan")}, "k1 must be a number from 0 to 1000, found nan"),
        ({"b": 1.5}, "b must be a number from 0 to 1, found 1.5"),
        ({"b": True}, "b must be a number from 0 to 1, found True"),
        ({"mode": "words"}, "unknown mode 'words'; known are meaning, keywords, hybrid"),
        ({"weight": 0.1}, "weight does nothing in the mode keywords; leave it out"),
        ({"recall": 0.9}, "recall is of searches by meaning; leave it out, or the mode"),
        ({"all_passages": True}, "all_passages is of searches by meaning"),
    ],
)
def test_what_cannot_be_asked_is_told(tmp_path: Path, option: dict[str, object], told: str) -> None:
    with (
        made(tmp_path / "i", [(None, "cat")], "en") as index,
        pytest.raises(QueryError, match=told),
    ):
        index.search("cat", **{"mode": "keywords", **option})  # type: ignore[arg-type]


def test_a_number_of_bm25_says_nothing_in_a_search_by_meaning(tmp_path: Path) -> None:
    with (
        made(tmp_path / "i", [(None, "cat")], "en") as index,
        pytest.raises(QueryError, match="k1 does nothing in the mode meaning"),
    ):
        index.search("cat", k1=2.0)


def test_no_encoder_is_loaded_for_words(tmp_path: Path) -> None:
    encoder = HashedWords()
    made(tmp_path / "i", [(None, "cat")], "en").close()
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        assert index.search("cat", mode="keywords")[0].id == "0"
    assert not encoder.encoded


def test_an_index_of_vectors_is_searched_by_its_words(tmp_path: Path) -> None:
    index = Index.build(
        [{"id": "a", "text": "cat"}, {"id": "b", "text": "dog"}],
        tmp_path / "i",
        embeddings=np.eye(2),
        options={"text_index": True},
    )
    assert [hit.id for hit in index.search("dogs", mode="keywords")] == ["b"]
