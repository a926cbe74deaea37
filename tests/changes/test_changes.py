"""Changes of an index, as the library's user makes them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.indexing.upkeep
import qsearch.store.editor
import qsearch.store.edits
import qsearch.store.merging
from qsearch import (
    BuildOptions,
    CorpusError,
    EncoderError,
    EncoderMismatch,
    Index,
    IndexBusy,
    IndexClosed,
    IndexWriteError,
    QueryError,
)
from qsearch.store import FORMAT_VERSION
from qsearch.store.edits import DocumentEdits
from tests.changes.helpers import ids, records, sound
from tests.encoders import HashedWords

GOLDEN = Path(__file__).parent.parent / "store" / "golden"


# Adding


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
    assert index.get("d3").text == "cat dog number 3"  # type: ignore[union-attr]


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
    assert index.get("b").text == "y"  # type: ignore[union-attr]


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


# Upserting and syncing


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
    assert index.get("d1").metadata == {"n": "other"}  # type: ignore[union-attr]
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


# Deleting


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


# Several changes in one commit


def test_several_changes_are_one_commit(index: Index) -> None:
    with index.changes() as changes:
        changes.delete(["d1", "d2"])
        changes.add([{"id": "d1", "text": "again"}])
        changes.upsert([{"id": "d1", "text": "and again"}, {"id": "d3", "text": "tree"}])
        changes.delete("d1")
        changes.add([{"id": "d1", "text": "at last"}])
        assert index.commit == 1
        assert "d2" in index
    assert changes.report is not None
    assert changes.report.commit == index.commit == 2
    assert index.get("d1").text == "at last"  # type: ignore[union-attr]
    assert ids(index)[-2:] == ["d3", "d1"]
    assert len(index) == 29
    assert sound(index)


def test_an_exception_undoes_all(index: Index, small: None) -> None:
    def broken(count: int) -> None:
        with index.changes() as changes:
            changes.add(records(100, count))
            changes.delete("d1")
            raise ZeroDivisionError

    for count in (2, 20):
        with pytest.raises(ZeroDivisionError):
            broken(count)
        assert len(Index.open(index.path)) == 30
        assert sound(index)
        assert index.commit == 1
    assert index.add(records(100, 20)).added == 20
    assert sound(index)


@pytest.mark.parametrize("kind", [IndexWriteError, KeyboardInterrupt])
def test_a_block_that_cannot_be_undone_now_lets_go_of_the_index(
    index: Index,
    small: None,
    kind: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The disk may be full for undoing too: the next change does it."""
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 0)  # every step is kept

    def refused(edits: DocumentEdits) -> Iterator[bool]:
        raise kind("the disk is full")

    def broken() -> None:
        with index.changes() as changes:
            changes.add(records(100, 20))
            raise ZeroDivisionError

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "qsearch"):
        patched.setattr(DocumentEdits, "thrown_away", refused)
        with pytest.raises(ZeroDivisionError if kind is IndexWriteError else kind):
            broken()
    assert caplog.text.count("is thrown away by the next change") == (kind is IndexWriteError)
    assert len(Index.open(index.path)) == 30
    assert index.delete("d1").deleted == 1  # nobody has the lock
    assert len(index) == 29
    assert index.unfinished is None
    assert sound(index)


# Readers


def test_a_change_of_a_block_that_failed_in_the_middle_cannot_be_committed(index: Index) -> None:
    """Half of it would be: where the exception is caught inside of the block, nothing is committed."""
    before = ids(index)

    def broken() -> Iterator[dict[str, Any]]:
        yield from records(1000, 3000)
        raise ZeroDivisionError

    def caught() -> None:
        with index.changes() as changes:
            with pytest.raises(ZeroDivisionError):
                changes.add(broken())
            changes.delete(before[0])

    with pytest.raises(QueryError, match="nothing of the block was committed"):
        caught()
    assert ids(index) == before
    assert sound(index)
    # What did nothing before it failed leaves the block as it was.
    with index.changes() as changes:
        with pytest.raises(QueryError, match="nothing was deleted"):
            changes.delete([before[0], "not there"])
        changes.delete(before[1])
    assert ids(index) == [before[0], *before[2:]]


def test_a_reader_stays_on_its_commit(index: Index, encoder: HashedWords) -> None:
    reader = Index.open(index.path, encoder=encoder)
    index.upsert([{"id": "d1", "text": "cat dog number 1", "n": "new"}, {"id": "d2", "text": "x"}])
    index.upsert([{"id": "d1", "text": "cat dog number 1", "n": "newer"}])
    index.delete("d3")
    index.add([{"id": "late", "text": "late"}])

    def as_it_was() -> None:
        assert [one.metadata for one in reader][:3] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert [one.id for one in reader] == [f"d{n}" for n in range(30)]
        assert reader.get("d2").text == "cat dog number 2"  # type: ignore[union-attr]
        assert reader.search("cat dog number 3", 1)[0].id == "d3"
        assert "late" not in reader
        assert len(reader) == 30

    as_it_was()
    index.compact()
    as_it_was()
    index.add([{"id": "later", "text": "later"}])
    as_it_was()
    middle = Index.open(index.path, encoder=encoder)
    assert reader.refresh()
    assert not reader.refresh()
    assert ids(reader) == ids(index) == ids(middle)
    assert reader.get("d1").metadata == {"n": "newer"}  # type: ignore[union-attr]


def test_an_index_that_was_replaced_is_found_by_refresh(index: Index, encoder: HashedWords) -> None:
    reader = Index.open(index.path)
    force = BuildOptions(force=True)
    Index.build(records(0, 3), index.path, encoder=encoder, options=force).close()
    assert len(reader) == 30
    assert reader.refresh()
    assert len(reader) == 3


def test_a_closed_index_is_not_changed(index: Index) -> None:
    index.close()
    for change in (
        lambda: index.add(records(50, 1)),
        lambda: index.delete("d1"),
        lambda: index.sync([]),
        index.compact,
        index.changes,
        index.refresh,
        lambda: index.get("d1"),
    ):
        with pytest.raises(IndexClosed):
            change()
    assert len(Index.open(index.path)) == 30


# Writers


def _hold(path: Path, ready: Any, done: Any) -> None:
    with Index.open(path).changes() as changes:
        changes.delete("d1")
        ready.set()
        done.wait(60)


def test_one_writer_at_a_time(index: Index) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(index.path, ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(IndexBusy, match=f"by process {other.pid} on .*wait="):
        index.delete("d2")
    with pytest.raises(IndexBusy):
        Index.build(
            records(0, 1),
            index.path,
            encoder=HashedWords(),
            options=BuildOptions(force=True),
        )
    assert "d1" in Index.open(index.path)  # which does not wait
    threading.Timer(0.2, done.set).start()
    index.delete("d2", wait=60)
    other.join()
    assert other.exitcode == 0
    assert index.commit == 3
    assert len(index) == 28


def test_two_writers_of_one_process(index: Index) -> None:
    with index.changes() as changes:
        with pytest.raises(IndexBusy, match=f"by process {os.getpid()}"):
            Index.open(index.path).delete("d1")
        changes.delete("d2")
    assert len(index) == 29


def test_threads_take_turns(index: Index) -> None:
    failed: list[BaseException] = []

    def add(number: int) -> None:
        try:
            Index.open(index.path, encoder=HashedWords()).add(
                [{"id": f"t{number}", "text": f"thread {number}"}], wait=60
            )
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert index.refresh()
    assert len(index) == 38
    assert index.commit == 9


def test_a_disk_that_may_not_be_written(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refusing(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if str(path).endswith("writer.lock"):
            raise OSError(30, "Read-only file system", str(path))
        return real(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(IndexWriteError, match="cannot be changed.*it can be searched as it is"):
        index.delete("d1")
    assert len(index.search("cat", 3)) == 3


# Of every kind


def test_an_index_of_vectors_takes_vectors(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    index = Index.build(None, tmp_path / "index", embeddings=rows[:20])
    assert index.add(embeddings=rows[20:30]).added == 10
    assert ids(index) == [str(number) for number in range(30)]
    assert index.ids(index.search_vectors(rows[25:26], 1).positions).tolist() == [["25"]]
    with pytest.raises(EncoderError, match="give a vector for each document"):
        index.add([{"id": "x", "text": "words"}])
    with pytest.raises(EncoderMismatch, match="has 3 dimensions, .* has 8"):
        index.add(embeddings=np.ones((2, 3)))
    with pytest.raises(CorpusError, match="2 records.*1 rows"):
        index.add([{"id": "x", "text": ""}, {"id": "y", "text": ""}], embeddings=rows[:1])
    with pytest.raises(CorpusError, match="neither documents nor embeddings"):
        index.add()
    # The same text with another vector is another document.
    report = index.upsert(
        [{"id": "3", "text": ""}, {"id": "4", "text": ""}], embeddings=rows[[3, 35]]
    )
    assert (report.unchanged, report.replaced) == (1, 1)
    (stored,) = index.vectors(["4"])
    assert stored.shape == (1, 8)
    np.testing.assert_allclose(stored[0], rows[35] / np.linalg.norm(rows[35]), rtol=1e-6)
    assert sound(index)


def test_another_encoder_is_refused_before_anything_is_added(index: Index) -> None:
    with pytest.raises(EncoderMismatch):
        Index.open(index.path, encoder=HashedWords(seed="b")).add(records(50, 1))
    assert Index.open(index.path, encoder=HashedWords(seed="b")).delete("d1").deleted == 1
    assert sound(index)


def test_passages_of_a_changed_index(tmp_path: Path, small: None) -> None:
    def text(number: int) -> str:
        return " ".join(f"w{number}s{i} is here." for i in range(number % 7 + 1))

    corpus = [{"id": str(number), "text": text(number)} for number in range(40)]
    options = BuildOptions(passages=12, overlap=4)
    encoder = HashedWords()
    index = Index.build(corpus[:10], tmp_path / "index", encoder=encoder, options=options)
    index.add(corpus[10:14])
    index.delete(["3", "11", "12"])
    index.add(corpus[14:])
    index.upsert([{"id": "5", "text": text(6)}, {"id": "20", "text": text(20)}])
    assert sound(index)
    for _ in range(2):
        for one in index:
            hit = index.search(one.text.split(".")[-2] + ".", 1)[0]
            assert hit.passage is not None
            assert hit.passage.text in hit.text
        assert len(index) == 37
        assert index.rows == sum(len(one) for one in index.vectors(ids(index)))
        index.compact()
        assert sound(index)


def test_small_segments_are_merged_and_graphs_made(tmp_path: Path, small: None) -> None:
    rows = np.random.default_rng(0).standard_normal((600, 8)).astype(np.float32)
    index = Index.build(
        None, tmp_path / "index", embeddings=rows[:50], options=BuildOptions(graph=True)
    )
    for first in range(50, 600, 10):
        index.add(embeddings=rows[first : first + 10])
    segments = len(list((index.path / "segments").iterdir()))
    assert segments < 14
    assert index.has_graph
    found = index.search_vectors(rows, 1, method="graph").positions[:, 0]
    assert (found == np.arange(600)).mean() > 0.9
    assert sound(index)
    reader = Index.open(index.path)
    index.delete([str(number) for number in range(0, 600, 2)])
    index.compact()
    assert reader.search_vectors(rows[:5], 1).positions[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert index.search_vectors(rows[:5], 1).positions[1::2, 0].tolist() == [1, 3]
    assert sound(index)


def test_compacting_gives_back_the_room(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 32)).astype(np.float32)
    corpus = [{"id": str(number), "text": "word " * 50} for number in range(len(rows))]
    index = Index.build(corpus, tmp_path / "index", embeddings=rows)
    index.delete([str(number) for number in range(0, len(rows), 2)])
    assert index.past == 2000
    report = index.compact()
    assert (report.rows, report.past) == (0, 2000) or report.rows == 2000
    assert report.bytes[1] < 0.6 * report.bytes[0]
    assert index.past == 0
    again = index.compact()
    assert again.commit == index.commit
    assert again.bytes[0] == again.bytes[1]
    assert sound(index)


# Recall


def test_recall_is_measured_again_when_much_has_changed(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((9000, 16)).astype(np.float32)
    index = Index.build(None, tmp_path / "index", embeddings=rows[:5000])
    assert index.measured is not None
    assert (index.measured["rows"], index.measured["commit"]) == (5000, 1)
    index.add(embeddings=rows[5000:5900])
    assert index.measured["rows"] == 5000  # 900 rows more are searched exactly
    queries = generator.standard_normal((50, 16)).astype(np.float32)
    truth = index.search_vectors(queries, 10).positions
    found = index.search_vectors(queries, 10, recall=0.9).positions
    shared = [len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True)]
    assert np.mean(shared) >= 9.0
    index.add(embeddings=rows[5900:7500])
    assert index.measured["rows"] >= 7000
    index.delete([str(number) for number in range(500)])
    assert index.measured["rows"] == index.rows - sum(
        segment.rows for segment in index._open.segments if segment.id == "tail"
    )
    assert sound(index)


# Earlier formats, copies


@pytest.mark.parametrize("name", ["format-1", "format-2", "passages-2"])
def test_the_first_change_upgrades_an_index(tmp_path: Path, name: str) -> None:
    path = tmp_path / "index"
    shutil.copytree(GOLDEN / name, path)
    reader = Index.open(path, encoder=HashedWords())
    before = [(one.id, one.text, one.title, one.metadata) for one in reader]
    index = Index.open(path, encoder=HashedWords())
    index.add([{"id": "added", "text": "some more words"}])
    assert (index.format, reader.format) == (FORMAT_VERSION, int(name[-1]))
    for one in (index, reader):
        assert [(d.id, d.text, d.title, d.metadata) for d in one][: len(before)] == before
    assert index.search("some more words", 1)[0].id == "added"
    assert sound(index)


def test_a_damaged_index_is_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "index"
    shutil.copytree(GOLDEN / "format-2", path)
    with sqlite3.connect(path / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE documents SET text = 'other' WHERE position = 1")
    catalog.close()
    index = Index.open(path, encoder=HashedWords())
    with pytest.raises(qsearch.IndexFormatError, match="are not what was written"):
        index.delete("4")
    assert index.format == Index.open(path).format == 2


def test_a_copy_is_an_index_of_its_own(index: Index, tmp_path: Path) -> None:
    index.delete("d1")
    index.add(records(50, 3))
    shutil.copytree(index.path, tmp_path / "copy")
    copy = Index.open(tmp_path / "copy", encoder=HashedWords())
    copy.delete("d2")
    assert len(copy) == 31
    assert len(Index.open(index.path)) == 32
    assert sound(copy)


def test_an_encoder_that_is_gone_stops_only_what_needs_it(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_CACHE", str(tmp_path / "cache"))
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    Index.build(records(0, 6), tmp_path / "index", encoder=str(model), device="cpu").close()
    shutil.rmtree(model)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # its export, which would do
    with Index.open(tmp_path / "index", device="cpu") as index:
        with pytest.raises(EncoderError, match="model"):
            index.add(records(10, 1))
        assert (index.commit, "d10" in index) == (1, False)
        assert index.upsert([{**records(2, 1)[0], "n": 5}]).metadata == 1
        assert index.delete("d1").deleted == 1
        index.compact()
        assert [one.metadata["n"] for one in index] == [0, 5, 3, 4, 5]
        assert sound(index)


def test_vectors_without_documents_are_not_synced(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    index = Index.build(None, tmp_path / "index", embeddings=rows)
    for dry_run in (False, True):
        with pytest.raises(CorpusError, match="give the documents too"):
            index.sync(embeddings=rows, dry_run=dry_run)
    assert (index.commit, len(index)) == (1, 20)
