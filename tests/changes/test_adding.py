"""Documents are added, replaced and synced: what is encoded, what is counted, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qsearch import (
    BuildOptions,
    CorpusError,
    Index,
)
from tests.changes.helpers import ids, records, sound
from tests.encoders import HashedWords


def test_what_was_added_is_found_and_stays(index: Index, encoder: HashedWords) -> None:
    encoder.encoded.clear()
    report = index.add([{"id": "king", "text": "king queen", "title": "Royal", "n": 1}])
    assert (report.added, report.documents, report.commit) == (1, 31, 2)
    assert encoder.encoded[-1:] == ["Royal king queen"]
    hit = index.search("Royal king queen", 1)[0]
    assert (hit.id, hit.title, hit.metadata, hit.score) == ("king", "Royal", {"n": 1}, 1.0)
    with Index.open(index.path, encoder=HashedWords()) as again:
        assert again.search("Royal king queen", 1)[0] == hit
        assert len(again) == again.rows == 31
        assert again.commit == 2
    assert sound(index)


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        ([{"id": "new", "text": "a"}, {"id": "d3", "text": "b"}], "the id 'd3' in .*index already"),
        ([{"id": "new", "text": "a"}, {"id": "new", "text": "b"}], "duplicate id 'new'"),
        ([{"id": "new", "text": "a"}, {"id": "other"}], "text"),
        ([{"id": "new", "text": "a"}, {"id": "bad", "text": "not a number"}], "NaN"),
    ],
)
def test_a_change_that_fails_changes_nothing(
    index: Index, corpus: list[dict[str, str]], told: str
) -> None:
    before = (index.path / "catalog.sqlite").read_bytes()
    for source in (corpus, iter(corpus)):  # what cannot be read twice is not surveyed
        with pytest.raises(CorpusError, match=told):
            index.add(source)
    assert "new" not in index
    assert (index.path / "catalog.sqlite").read_bytes() == before
    assert index.add([{"id": "new", "text": "a"}]).added == 1


def test_invalid_records_are_left_out_where_that_is_asked_for(index: Index) -> None:
    some = [{"id": "new", "text": "a"}, {"id": "d3", "text": "b"}, {"text": ""}, {"id": "x"}]
    report = index.add(some, skip_invalid=True)
    assert (report.added, report.rejected) == (1, 3)
    assert report.rejects is not None
    lines = [json.loads(line) for line in report.rejects.read_text().splitlines()]
    assert "already" in lines[0]["reason"]
    assert index.get("d3").text == "cat dog number 3"


def test_what_another_change_left_out_is_not_reported_again(tmp_path: Path) -> None:
    options = BuildOptions(skip_invalid=True)
    some = [{"id": "a", "text": "x"}, {"id": "b", "text": ""}]
    index = Index.build(some, tmp_path / "index", encoder=HashedWords(), options=options)
    assert index.upsert([], skip_invalid=True).rejected == 0


def test_what_is_left_out_is_not_counted_as_added(tmp_path: Path) -> None:
    index = Index.build(
        [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], tmp_path / "two", embeddings=np.eye(2)
    )
    some = [{"id": "a", "text": "x"}, {"id": "b", "text": "z"}, {"id": "c", "text": "w"}]
    report = index.upsert(some, embeddings=np.array([[1, 0], [0, 0], [0, 0]]), skip_invalid=True)
    assert (report.added, report.replaced, report.unchanged, report.rejected) == (0, 0, 1, 2)
    assert index.get("b").text == "y"


def test_vectors_that_came_in_the_same_commit_are_known(tmp_path: Path, small: None) -> None:
    index = Index.build(None, tmp_path / "index", embeddings=np.eye(4))
    some = [{"id": f"n{number}", "text": ""} for number in range(30)]
    rows = np.random.default_rng(0).standard_normal((30, 4))
    with index.changes() as changes:
        changes.add(some[:20], embeddings=rows[:20])
        changes.upsert(some[10:], embeddings=rows[10:])
    assert changes.report is not None
    assert (changes.report.added, changes.report.replaced, changes.report.unchanged) == (30, 0, 10)
    assert ids(index)[4:] == [one["id"] for one in some]


def test_nothing_to_add_makes_no_commit(index: Index) -> None:
    report = index.add([])
    assert (report.added, report.commit, index.commit) == (0, 1, 1)


def test_only_what_changed_is_encoded(index: Index, encoder: HashedWords) -> None:
    some = records(0, 3)
    some[1]["n"] = "other"
    some[2]["text"] = "fish"
    encoder.encoded.clear()
    report = index.upsert([*some, {"id": "new", "text": "tree"}])
    assert (report.added, report.replaced, report.metadata, report.unchanged) == (1, 1, 1, 1)
    assert encoder.encoded[-2:] == ["fish", "tree"]
    # Other metadata keep their place, another text arrives anew.
    assert ids(index) == ["d0", "d1", *[f"d{n}" for n in range(3, 30)], "d2", "new"]
    assert index.get("d1").metadata == {"n": "other"}
    assert index.search("fish", 1)[0].id == "d2"
    assert sound(index)


def test_an_index_is_what_it_was_synced_with(index: Index, encoder: HashedWords) -> None:
    corpus = [*records(10, 30), {"id": "d10x", "text": "late"}]
    corpus[0] = {"id": "d10", "text": "another"}
    planned = index.sync(corpus, dry_run=True)
    assert ids(index) == [f"d{n}" for n in range(30)]
    assert index.commit == 1
    report = index.sync(corpus)
    for one in (planned, report):
        assert (one.added, one.replaced, one.unchanged, one.deleted) == (11, 1, 19, 10)
    assert {one.id: one.text for one in index} == {one["id"]: one["text"] for one in corpus}
    encoder.encoded.clear()
    again = index.sync(corpus)
    assert (again.unchanged, again.commit, encoder.encoded) == (31, report.commit, [])
    assert sound(index)


def test_a_corpus_without_documents_empties_an_index_where_that_is_meant(index: Index) -> None:
    invalid = [{"id": "d1", "text": ""}]
    for corpus, skip in (([], False), (iter([]), False), (invalid, True)):
        for dry_run in (True, False):
            with pytest.raises(CorpusError, match="delete all 30 of.*allow_empty=True"):
                index.sync(corpus, dry_run=dry_run, skip_invalid=skip)

    def emptied() -> None:
        with index.changes() as changes:
            changes.delete("d1")
            changes.sync([])

    with pytest.raises(CorpusError, match="delete all 29 of"):
        emptied()
    assert (len(index), index.commit) == (30, 1)
    assert index.sync([], dry_run=True, allow_empty=True).deleted == 30
    assert index.sync([], allow_empty=True).deleted == 30
    assert index.sync([]).deleted == 0  # of none that is left
    assert len(index) == index.rows == 0
    result = index.search("cat")
    assert (len(result), result.certified) == (0, True)
    assert index.search_vectors(np.ones((2, 24))).positions.shape == (2, 0)
    for method in ("binary", "cascade"):
        assert len(index.search("cat", method=method)) == 0
    index.compact()
    assert len(Index.open(index.path)) == 0
    assert sound(index)
    assert index.add(records(0, 3)).documents == 3
    assert ids(index) == ["d0", "d1", "d2"]
    assert sound(index)


def test_metadata_of_another_kind_are_other_metadata(index: Index) -> None:
    """To Python True is 1, and 1 is 1.0."""
    first = {"flag": True, "zero": 0, "list": [1, True], "half": 2.0, "deep": {"a": 0.0, "b": None}}
    then = {"flag": 1, "zero": False, "list": [True, 1], "half": 2, "deep": {"a": -0.0, "b": None}}
    index.add([{"id": "m", "text": "t", **first}])
    assert index.upsert([{"id": "m", "text": "t", **dict(reversed(first.items()))}]).unchanged == 1
    report = index.upsert([{"id": "m", "text": "t", **then}])
    assert (report.metadata, report.unchanged) == (1, 0)
    found = index.get("m")
    assert found is not None
    assert json.dumps(found.metadata, sort_keys=True) == json.dumps(then, sort_keys=True)


def test_an_id_twice_in_one_sync_is_an_error(index: Index) -> None:
    for one in ("d3", "new"):
        twice = [{"id": one, "text": "a"}, {"id": one, "text": "b"}]
        for options in ({}, {"dry_run": True}):
            with pytest.raises(CorpusError, match=f"'{one}'"):
                index.sync(iter(twice), **options)
        with pytest.raises(CorpusError, match=f"duplicate id '{one}'"):
            index.upsert(iter(twice))
    assert index.commit == 1


def test_vectors_without_documents_are_not_synced(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    index = Index.build(None, tmp_path / "index", embeddings=rows)
    for dry_run in (False, True):
        with pytest.raises(CorpusError, match="give the documents too"):
            index.sync(embeddings=rows, dry_run=dry_run)
    assert (index.commit, len(index)) == (1, 20)
