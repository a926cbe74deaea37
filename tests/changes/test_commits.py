"""Several changes in one commit, readers that stay on theirs, and one writer at a time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qsearch.indexing.upkeep
import qsearch.store.editor
import qsearch.store.edits
import qsearch.store.merging
from qsearch import (
    BuildOptions,
    Index,
    IndexBusy,
    IndexClosed,
    IndexWriteError,
    QueryError,
)
from qsearch.store.edits import DocumentEdits
from tests.changes.helpers import ids, records, sound
from tests.encoders import HashedWords


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
    assert index.get("d1").text == "at last"
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
        assert reader.get("d2").text == "cat dog number 2"
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
    assert reader.get("d1").metadata == {"n": "newer"}


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
