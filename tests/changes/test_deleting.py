"""Documents are deleted, and gone in every way of retrieval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qsearch import (
    BuildOptions,
    Index,
    QueryError,
)
from tests.changes.helpers import records, sound
from tests.encoders import HashedWords


def test_an_empty_condition_deletes_nothing(index: Index) -> None:
    """It may be that of a program which found nothing to ask for."""

    def block() -> None:
        with index.changes() as changes:
            changes.delete(where={})

    for delete in (lambda: index.delete(where={}), block):
        with pytest.raises(QueryError, match=r"condition is empty.*allow_empty=True"):
            delete()
    assert (len(index), index.commit) == (30, 1)


@pytest.mark.parametrize("fields", [(), ("n",), ("n", "lang")])
def test_an_index_of_words_with_indexed_fields_is_changed(
    fields: tuple[str, ...], tmp_path: Path, encoder: HashedWords
) -> None:
    options = BuildOptions(text_index=True, index_fields=fields)
    some = [{**one, "lang": "en"} for one in records(0, 30)]
    with Index.build(some, tmp_path / "i", encoder=encoder, options=options) as index:
        index.add([{"id": "x", "text": "a submarine", "n": 100, "lang": "de"}])
        index.upsert([{"id": "d3", "text": "a boat", "n": 101, "lang": "de"}])
        for order in (1, -1):
            with index.changes() as changes:
                steps = [
                    lambda: changes.delete(where="n = 5 OR n = 6"),
                    lambda: changes.add([{"id": f"y{order}", "text": "a ship", "n": 70}]),  # noqa: B023 (called in this round)
                    lambda: changes.delete(where=f"n = {8 + order}"),  # noqa: B023 (called in this round)
                ]
                for step in steps[::order]:
                    step()
        assert index.count("lang = 'de'") == 2
        assert [hit.id for hit in index.search("submarine", mode="keywords")] == ["x"]
        assert len(index) == 30 + 1 + 2 - 4
        assert sound(index)


def test_what_was_deleted_is_gone_in_every_way_of_retrieval(index: Index) -> None:
    index.delete(["d3", "d4"])
    assert "d3" not in index
    assert len(index) == 28
    for options in ({}, {"method": "binary"}, {"method": "cascade"}, {"recall": 0.9}):
        found = index.search("cat dog number 3", 40, **options)
        assert {hit.id for hit in found} == {f"d{n}" for n in range(30)} - {"d3", "d4"}
    with pytest.raises(QueryError, match="no document at position 3: it was deleted"):
        index.documents([3])
    with pytest.raises(QueryError, match="no document of the id 'd3'"):
        index.get("d3")
    explained = index.search("cat dog number 5", 1, explain=True).explanation
    assert explained is not None
    assert explained.ranks[0] == {"binary": 1, "int8": 1}
    assert sound(index)


def test_a_search_among_no_documents_is_explained_too(index: Index) -> None:
    index.delete([one.id for one in index])
    result = index.search("cat", explain=True)
    assert len(result) == 0
    assert result.explanation is not None
    assert result.explanation.ranks == ()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("no", "no document of the id 'no' in"),
        (["d1", "no", "nor"], "no document of the id 'no', nor of 1 more"),
        (["d1", "d1"], "'d1' is given twice"),
        ([1], "ids must be strings, found 1"),
        (7, "ids must be strings, found int"),
    ],
)
def test_an_id_that_is_not_there_is_an_error(index: Index, wanted: Any, told: str) -> None:
    with pytest.raises(QueryError, match=told):
        index.delete(wanted)
    assert len(index) == 30


def test_missing_ids_can_be_passed_over(index: Index) -> None:
    assert index.delete(["d1", "no"], missing_ok=True).deleted == 1
    assert index.delete(["d1"], missing_ok=True).deleted == 0
