"""A condition holds in every mode, with a cross-encoder behind it and with passages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qsearch import Index
from tests.encoders import HashedWords
from tests.reranking.test_search import Scorer, by_length

WORDS = "cat dog fish tree king queen river stone".split()
DOCUMENTS = [
    {
        "id": f"d{n}",
        "text": ". ".join(
            f"{WORDS[(n + i) % 8]} {WORDS[(n * i + 1) % 8]} word{n}" for i in range(6)
        ),
        "n": n,
        "odd": n % 2 == 1,
    }
    for n in range(80)
]


@pytest.fixture(scope="module", params=[None, 8], ids=["documents", "passages"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    options: dict[str, Any] = {"text_index": True, "passages": request.param, "segment_rows": 100}
    path: Path = tmp_path_factory.mktemp("modes") / "index"
    index = Index.build(DOCUMENTS, path, encoder=HashedWords(), options=options)
    index.delete([f"d{n}" for n in range(0, 80, 9)])
    return index


@pytest.mark.parametrize("rerank", [None, Scorer(by_length)], ids=["plain", "reranked"])
@pytest.mark.parametrize("mode", ["meaning", "keywords", "hybrid"])
def test_only_documents_that_a_condition_holds_for_are_found(
    index: Index, mode: str, rerank: Scorer | None
) -> None:
    where = "odd AND n BETWEEN 10 AND 60"
    allowed = {one.id for one in index.find(where)}
    assert len(allowed) > 10
    how: dict[str, Any] = {} if rerank is None else {"rerank": rerank}
    found = index.search("cat river word11", 200, where=where, mode=mode, **how)
    names = [hit.id for hit in found]
    assert len(set(names)) == len(names)
    assert set(names) <= allowed
    if mode != "keywords":  # of which some hold no word of the query
        assert set(names) == allowed
    assert (found.reranking is not None) == (rerank is not None)
    few = index.search("cat river word11", 3, where=where, mode=mode)
    assert len(few) == 3
    without = index.search("cat river word11", 200, mode=mode)
    order = [hit.id for hit in without if hit.id in allowed]
    if mode == "keywords":  # the statistics are those of all documents, with or without a condition
        assert [hit.id for hit in few] == order[:3]
        scores = {hit.id: hit.score for hit in without}
        assert [hit.score for hit in few] == [scores[hit.id] for hit in few]
    if mode == "meaning":
        assert [hit.id for hit in few] == order[:3]
    assert not index.search("cat", 5, where="n < 0", mode=mode).hits
