"""What an ``Index`` is as a Python object: closed, iterated over, printed, pickled, given odd values."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import (
    Document,
    EncoderError,
    Hit,
    Index,
    IndexClosed,
    IndexExists,
    QueryError,
    SearchResult,
)
from tests.encoders import HashedWords

TEXTS = ["cat dog", "king queen", "river bank", "fish bird", "cat king"]


@pytest.fixture
def index(tmp_path: Path, encoder: HashedWords) -> Iterator[Index]:
    records = [
        {"id": f"d{number}", "text": text, "title": "T" if number else None, "year": 2000 + number}
        for number, text in enumerate(TEXTS)
    ]
    with Index.build(records, tmp_path / "index", encoder=encoder) as index:
        yield index


USES: list[Callable[[Index], Any]] = [
    lambda index: index.search("cat"),
    lambda index: index.search_batch(["cat", "dog"]),
    lambda index: index.search_vectors(np.ones((1, 3))),
    lambda index: index.ids([0]),
    lambda index: index.documents([0]),
    lambda index: len(index),
    lambda index: list(index),
    lambda index: "d0" in index,
    lambda index: index.dimensions,
    lambda index: index.rows,
    lambda index: index.settings,
    lambda index: index.contract,
    lambda index: index.tuning,
    lambda index: index.encoder,
    lambda index: index.encoder_identity,
    lambda index: index.check_encoder(),
    lambda index: index.check_vectors(),
    lambda index: index.has_graph,
    lambda index: index.format,
    lambda index: pickle.dumps(index),
    lambda index: index.__enter__(),
]


@pytest.mark.parametrize("searched", [False, True])
@pytest.mark.parametrize("use", USES)
def test_a_closed_index_says_so_whatever_is_asked(
    index: Index, use: Callable[[Index], Any], searched: bool
) -> None:
    if searched:
        index.search("cat")
    index.close()
    index.close()
    with pytest.raises(IndexClosed, match="was closed; open it again with Index.open"):
        use(index)
    assert index.closed
    assert repr(index).endswith("closed>")


def test_an_index_closed_by_another_thread_never_gives_an_empty_answer(index: Index) -> None:
    whole = index.search_vectors(np.eye(index.dimensions)[:1], 3).positions.tolist()
    stop = threading.Event()
    wrong: list[object] = []
    closed = 0

    def search() -> None:
        nonlocal closed
        while not stop.is_set():
            try:
                found = shared[0].search_vectors(np.eye(index.dimensions)[:1], 3)
                hits = shared[0].search("cat", 3)
            except IndexClosed:
                closed += 1
            except BaseException as error:
                wrong.append(error)
            else:
                if found.positions.tolist() != whole or len(hits) != 3:
                    wrong.append(found)

    shared = [Index.open(index.path, encoder=HashedWords())]
    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        shared[0].search_vectors(np.eye(index.dimensions)[:1], 3)
        shared[0].close()
        shared[0] = Index.open(index.path, encoder=HashedWords())
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_any_iterable_of_texts_is_searched(index: Index) -> None:
    texts = ["cat dog", "T cat king"]
    expected = index.search_batch(texts)
    assert [result[0].id for result in expected] == ["d0", "d4"]
    for given in (
        tuple(texts),
        (text for text in texts),
        map(str, texts),
        np.array(texts),
        np.array(texts, dtype=object),
        dict.fromkeys(texts).keys(),
        iter(texts),
    ):
        assert index.search_batch(given) == expected
    assert index.search_batch([]) == []
    assert index.search_batch(iter(())) == []
    assert index.search_batch(np.array([], dtype=str)) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cat", "use search for one text"),
        (b"cat", "use search for one text"),
        ({"q1": "cat"}, r"a mapping; give its \.values\(\)"),
        (7, "an iterable of texts, found int"),
        (None, "an iterable of texts, found NoneType"),
        (["cat", 7], "query 1 must be a string, found int"),
        (["cat", float("nan")], "query 1 must be a string, found float"),
        (["cat", " "], "query 1 is empty"),
        (["cat\udc80", "a"], "query 0 is not valid Unicode text: the character at 3"),
        (np.array(3), "an iterable of texts, found ndarray"),
    ],
)
def test_what_is_no_text_is_an_error_that_says_which(
    index: Index, given: Any, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        index.search_batch(given)


@pytest.mark.parametrize("query", ["\ud800", "", 7, None, b"cat", ["cat"]])
def test_a_single_query_that_is_no_text_is_an_error(index: Index, query: Any) -> None:
    with pytest.raises(QueryError, match="the query (is|must)"):
        index.search(query)


def test_documents_come_by_position_and_by_iterating(index: Index) -> None:
    assert len(index) == 5
    first, last = index.documents([0, 4])
    assert first == Document("d0", "cat dog", None, {"year": 2000})
    assert last == Document("d4", "cat king", "T", {"year": 2004})
    assert [document.id for document in index] == [f"d{number}" for number in range(5)]
    assert index.documents(np.array([2], dtype=np.uint8))[0].id == "d2"
    assert index.documents([]) == []
    assert len({*index}) == 5
    assert "d3" in index
    assert "d5" not in index
    assert 3 not in index


def test_iterating_goes_through_more_than_is_held_at_a_time(
    tmp_path: Path, encoder: HashedWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsearch.snapshot._DOCUMENTS_AT_A_TIME", 3)
    records = [{"id": str(number), "text": f"cat {number}"} for number in range(10)]
    index = Index.build(records, tmp_path / "ten", encoder=encoder)
    assert [(one.id, one.text) for one in index] == [(one["id"], one["text"]) for one in records]


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([5], "no document at position 5: the index holds 5, at positions from 0 to 4"),
        ([-2], "no document at position -2"),
        ([1 << 62], "no document at position"),
        ([0.5], "must be whole numbers, found float64"),
        ([1.0], "must be whole numbers, found float64"),
        (["a"], "must be whole numbers"),
        ([True], "must be whole numbers, found bool"),
        ([[1], [1, 2]], "must be an array of whole numbers"),
        ([None], "must be whole numbers"),
    ],
)
def test_positions_that_cannot_be_are_errors(index: Index, positions: Any, message: str) -> None:
    for use in (index.ids, index.documents):
        with pytest.raises(QueryError, match=message):
            use(positions)


def test_ids_have_the_shape_of_the_positions_and_none_for_none(index: Index) -> None:
    assert index.ids([[0, -1], [2, 4]]).tolist() == [["d0", None], ["d2", "d4"]]
    assert index.ids(3) == "d3"
    assert index.ids(np.empty((0, 4))).shape == (0, 4)
    with pytest.raises(QueryError, match="position -1"):
        index.documents([-1])
    with pytest.raises(QueryError, match="one axis"):
        index.documents([[0]])


def test_things_tell_what_they_are(index: Index) -> None:
    assert repr(index) == (
        f"<Index {str(index.path)!r}: 5 documents, {index.dimensions} dimensions, "
        f"{index.encoder_identity.model}>"
    )
    result = index.search("cat", k=1)
    assert repr(result) == f"<SearchResult: 1 hit, exact, certified>\n  {result[0]!r}"
    assert repr(result[0]).startswith("Hit(rank=1, score=")
    assert f"id={result[0].id!r}" in repr(result[0])
    long = Hit(1, 0.5, "x", "word " * 100, "t " * 100, {"a": [1]})
    assert len(repr(long)) < 200
    vectors = index.search_vectors(np.eye(index.dimensions)[:2], 3)
    assert repr(vectors) == "<VectorResult: 2 × 3, 2 certified>"


def test_hits_and_results_can_be_kept_in_sets(index: Index) -> None:
    twice = [index.search("cat"), index.search("cat")]
    assert len({hit for result in twice for hit in result}) == 5
    assert len(set(twice)) == 1
    assert isinstance(twice[0], SearchResult)


def test_an_index_is_not_made_by_its_class() -> None:
    with pytest.raises(TypeError, match=r"Index\.open\(path\) opens an index"):
        Index("path")


def test_a_build_tells_what_it_did(index: Index) -> None:
    assert index.build_report is not None
    assert index.build_report.documents == 5
    assert Index.open(index.path).build_report is None


def test_a_pickled_index_opens_itself_again(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(index.path.parent)
    opened = Index.open(index.path.name, encoder=HashedWords())
    packed = pickle.dumps(opened)
    monkeypatch.chdir("/")
    again = pickle.loads(packed)
    assert again.search("cat") == opened.search("cat")
    opened.close()
    assert len(again) == 5


def test_an_index_that_was_built_is_pickled_by_the_name_of_its_model(
    tmp_path: Path, tiny_bert: Path
) -> None:
    """What runs the model is something of this process."""
    built = Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=tiny_bert)
    again = pickle.loads(pickle.dumps(built))
    assert again.search("cat") == built.search("cat")


def test_an_encoder_is_something_that_encodes(index: Index) -> None:
    with pytest.raises(EncoderError, match="a SentenceTransformer, or an object.*found dict"):
        Index.open(index.path, encoder={}).search("cat")
    with pytest.raises(EncoderError, match="found object"):
        Index.build([{"text": "a"}], index.path.parent / "other", encoder=object())


def test_a_sentence_transformer_is_an_encoder(tmp_path: Path, tiny_bert: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_bert), device="cpu")
    records = [{"id": "a", "text": "cat"}, {"id": "b", "text": "king queen"}]
    index = Index.build(records, tmp_path / "st", encoder=model)
    assert index.search("cat", k=1)[0].id == "a"
    with pytest.raises(EncoderError, match="encoder of your own.*pass it"):
        Index.open(tmp_path / "st").search("cat")
    assert Index.open(tmp_path / "st", encoder=model).search("cat", k=1)[0].id == "a"


def test_what_is_no_text_is_in_no_index(tmp_path: Path) -> None:
    index = Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=HashedWords())
    assert "\ud800" not in index
    for ask in (index.get, index.vectors, index.delete):
        with pytest.raises(QueryError, match="not valid Unicode text"):
            ask("\ud800")


def test_what_is_no_path_is_told() -> None:
    for path in (None, b"index", 3):
        with pytest.raises(TypeError, match="takes the path of an index"):
            Index.open(path)  # type: ignore[arg-type]
    with pytest.raises(IndexExists, match="cannot be the name of an index"):
        Index.build([{"id": "a", "text": "cat"}], "a\0b", encoder=HashedWords())
