"""Every index format that was ever released stays readable."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qsearch import Index, Passage, verify_index
from qsearch.store import FORMAT_VERSION
from tests.encoders import HashedWords
from tests.store.golden.make import DOCUMENTS

GOLDEN = sorted((Path(__file__).parent / "golden").glob("format-*"))
WORDS = sorted((Path(__file__).parent / "golden").glob("words-*"))
SCORES = [0.505078117704, 0.410375970635]
PASSAGES = sorted((Path(__file__).parent / "golden").glob("passages-*"))


def test_the_current_format_has_a_golden_index() -> None:
    assert f"format-{FORMAT_VERSION}" in [path.name for path in GOLDEN]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
@pytest.mark.parametrize("method", ["exact", "binary", "graph"])
def test_a_golden_index_answers_as_on_its_first_day(path: Path, method: str) -> None:
    with Index.open(path, encoder=HashedWords()) as index:
        assert len(index) == 5
        for document in DOCUMENTS:
            title = f"{document['title']} " if "title" in document else ""
            hit = index.search(f"{title}{document['text']}", 1, method=method)[0]
            assert (hit.id, hit.text) == (document["id"], document["text"])
            assert hit.score == 1.0
        assert index.search("king queen and music")[0].metadata == {"tags": ["a", None]}


@pytest.mark.parametrize("path", PASSAGES, ids=lambda path: path.name)
@pytest.mark.parametrize("method", ["exact", "binary", "graph"])
def test_a_golden_index_of_passages_answers_as_on_its_first_day(path: Path, method: str) -> None:
    with Index.open(path, encoder=HashedWords()) as index:
        assert (len(index), index.rows) == (3, 6)
        begin, text = 57, "the city. A child has paper for school."
        if path.name != "passages-2":  # overlaps are longer since then
            begin, text = 54, f"of {text}"
        hit = index.search(f"Town {text}", 1, method=method)[0]
        assert (hit.id, hit.passage) == ("long", Passage(begin, 96, text))
        assert hit.score == 1.0
        assert index.search("cat and dog in the house", method=method)[0].id == "short"


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.name)
def test_a_golden_index_of_words_answers_as_on_its_first_day(path: Path) -> None:
    with Index.open(path, encoder=HashedWords()) as index:
        found = index.search("Cats", mode="keywords")
        assert [hit.id for hit in found] == ["cat", "late"]
        assert [round(hit.score, 12) for hit in found] == SCORES
        hit = index.search('"of the city" OR', 1, mode="hybrid")[0]
        assert (hit.id, hit.keyword_rank) == ("ship", 1)


@pytest.mark.parametrize("path", [*GOLDEN, *PASSAGES, *WORDS], ids=lambda path: path.name)
def test_a_golden_index_is_sound(path: Path) -> None:
    assert verify_index(path, deep=True).ok


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_the_next_change_puts_a_graph_of_today_in_the_place_of_an_old_one(
    path: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "index"))
    assert list(copy.rglob("graph.usearch"))
    with Index.open(copy, encoder=HashedWords()) as index:
        index.add([{"id": "new", "text": "a cat on the river"}])
        index.add([{"id": "newer", "text": "a ship in the city"}])  # who writes removes litter
        assert not list(copy.rglob("graph.usearch"))
        assert list(copy.rglob("links.npy"))
        for document in DOCUMENTS:
            title = f"{document['title']} " if "title" in document else ""
            hit = index.search(f"{title}{document['text']}", 1, method="graph")[0]
            assert (hit.id, hit.score) == (document["id"], 1.0)
    assert verify_index(copy, deep=True).ok
