"""Who reads, checks and changes an index at the same time, and how long who waits for whom."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qsearch.store.database
import qsearch.store.selecting
import qsearch.store.verify
from qsearch import (
    Index,
    IndexBusy,
    IndexClosed,
    IndexWriteError,
    QueryError,
    upgrade_index,
    verify_index,
)
from qsearch.snapshot import Snapshot
from qsearch.store.format import FORMAT_VERSION
from qsearch.store.writer_lock import WriterLock
from tests.encoders import HashedWords


def records(first: int, count: int) -> list[dict[str, Any]]:
    return [{"id": f"d{n}", "text": f"cat number {n}", "n": n} for n in range(first, first + count)]


@pytest.fixture
def index(tmp_path: Path, encoder: HashedWords) -> Index:
    return Index.build(records(0, 30), tmp_path / "index", encoder=encoder)


def other(index: Index) -> Index:
    return Index.open(index.path, encoder=HashedWords())


# Checking


def test_nobody_checks_what_is_being_changed(index: Index) -> None:
    with index.changes() as changes:
        changes.delete("d3")
        with pytest.raises(IndexBusy, match="is being changed by process .*this one"):
            verify_index(index.path)
    assert verify_index(index.path).ok


def test_nobody_changes_what_is_being_checked(index: Index) -> None:
    index.delete("d9")
    met: list[str] = []

    def advance(count: int) -> None:
        if not met:
            with other(index) as second, pytest.raises(IndexBusy) as busy:
                second.delete("d3")
            met.append(str(busy.value))

    assert verify_index(index.path, advance=advance).ok
    assert "is being checked by" in met[0]
    assert index.delete("d3").deleted == 1


def test_a_check_waits_for_a_writer(index: Index) -> None:
    lock = WriterLock.take(index.path)
    threading.Timer(0.2, lock.release).start()
    assert verify_index(index.path, wait=30.0).ok


def test_a_check_beside_many_commits_finds_no_damage(index: Index) -> None:
    stop = threading.Event()

    def change() -> None:
        with other(index) as writer:
            number = 100
            while not stop.is_set():
                writer.add(records(number, 3), wait=30.0)
                writer.delete([f"d{number}"], wait=30.0)
                number += 3

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(12):
            assert verify_index(index.path, deep=True, wait=30.0).problems == ()
    finally:
        stop.set()
        writer.join()


def test_a_check_makes_no_file(index: Index) -> None:
    lock = index.path / "writer.lock"
    assert not lock.exists()
    assert verify_index(index.path, deep=True).ok
    assert not lock.exists()


def test_what_the_first_writer_did_meanwhile_is_checked_again(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = qsearch.store.verify._verified
    calls: list[bool] = []

    def beside(*arguments: Any) -> Any:
        calls.append((index.path / "writer.lock").exists())
        if len(calls) == 1:
            with other(index) as writer:
                writer.delete("d3")
            return replace(real(*arguments), problems=("half of two commits",))
        return real(*arguments)

    monkeypatch.setattr(qsearch.store.verify, "_verified", beside)
    assert verify_index(index.path).ok
    assert calls == [False, True]


def test_what_cannot_be_locked_is_checked_all_the_same(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is read only has no writer."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise IndexWriteError("read only")

    monkeypatch.setattr(WriterLock, "take", refuse)
    assert verify_index(index.path, deep=True).ok


# Reading for long


def test_a_condition_without_an_index_lets_commits_through(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads some documents at a time, all of the commit that it began with."""
    monkeypatch.setattr(qsearch.store.selecting, "_AT_A_TIME", 8)
    monkeypatch.setattr(qsearch.store.database, "_PATIENCE", 0.05)
    real = qsearch.store.selecting._Selection._with
    pieces: list[int] = []

    def beside(*arguments: Any) -> Any:
        """Between two pieces another thread commits."""

        def change() -> None:
            with other(index) as writer:
                writer.delete([f"d{20 + number}"])
                writer.upsert([{**record, "n": -1} for record in records(25 + number, 1)])

        number = len(pieces)
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        pieces.append(number)
        return real(*arguments)

    monkeypatch.setattr(qsearch.store.selecting._Selection, "_with", beside)
    with other(index) as reader:
        found = [one.id for one in reader.find("n >= 0")]
    assert found == [f"d{n}" for n in range(30)]
    assert len(pieces) == 4
    index.refresh()
    assert len(index) == 26


def test_a_writer_that_readers_keep_waiting_says_so(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.store.database, "_PATIENCE", 0.05)
    reader = sqlite3.connect(index.path / "catalog.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM documents").fetchone()
    with pytest.raises(IndexBusy, match="was being read for longer"):
        index.delete("d3")
    reader.execute("COMMIT")
    reader.close()
    assert index.delete("d3").deleted == 1
    assert verify_index(index.path).ok


def test_a_catalog_that_another_program_put_in_wal_mode_is_put_back(index: Index) -> None:
    path = index.path / "catalog.sqlite"
    with sqlite3.connect(path) as foreign:
        assert foreign.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal"
    foreign.close()
    index.delete("d3")
    with sqlite3.connect(path) as foreign:
        assert foreign.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    foreign.close()
    assert verify_index(index.path).ok


def test_a_catalog_in_wal_mode_that_is_open_is_not_changed_and_says_what_to_do(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.store.database, "_PATIENCE", 0.05)
    index.close()
    with sqlite3.connect(index.path / "catalog.sqlite") as foreign:
        foreign.execute("PRAGMA journal_mode = WAL")
    foreign.close()
    with other(index) as again, pytest.raises(IndexBusy, match="WAL mode.*qsearch.upgrade_index"):
        again.delete("d3")
    assert upgrade_index(index.path) == (FORMAT_VERSION, FORMAT_VERSION, True)
    with other(index) as again:
        assert again.delete("d3").deleted == 1
    assert verify_index(index.path).ok


# Threads of one index


def test_a_refresh_never_goes_back(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that opened an older commit, and is slow, does not put it in the place of a newer one."""
    opened, go_on = threading.Event(), threading.Event()
    real = Snapshot.open
    calls: list[int] = []

    def slow(*arguments: Any, **options: Any) -> Snapshot:
        found = real(*arguments, **options)
        calls.append(found.commit)
        if len(calls) == 1:
            opened.set()
            go_on.wait(5.0)
        return found

    with other(index) as writer:
        writer.delete("d1")
    monkeypatch.setattr(Snapshot, "open", slow)
    first = threading.Thread(target=index.refresh)
    first.start()
    assert opened.wait(5.0)
    monkeypatch.setattr(Snapshot, "open", real)
    with other(index) as writer:
        writer.delete("d2")
    second = threading.Thread(target=index.refresh)
    second.start()
    second.join(0.3)
    go_on.set()
    first.join()
    second.join()
    assert index.commit == 3


def test_what_was_closed_meanwhile_stays_closed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with other(index) as writer:
        writer.delete("d1")
    real = Snapshot.open

    def closing(*arguments: Any, **options: Any) -> Snapshot:
        index.close()
        return real(*arguments, **options)

    monkeypatch.setattr(Snapshot, "open", closing)
    with pytest.raises(IndexClosed):
        index.refresh()
    assert index.closed


# Blocks of changes


def test_a_block_takes_what_the_methods_of_an_index_take(index: Index) -> None:
    with index.changes() as changes:
        with pytest.raises(QueryError, match="ids must be strings, found 1"):
            changes.delete([1], missing_ok=True)  # type: ignore[list-item] # (wrong on purpose)
        with pytest.raises(QueryError, match="ids must be strings"):
            changes.delete(7)  # type: ignore[arg-type] # (wrong on purpose)
        with pytest.raises(QueryError, match="not valid Unicode"):
            changes.delete("\ud800")
        with pytest.raises(TypeError, match=r"changes.add\(\) got an unexpected keyword .*'wait'"):
            changes.add(records(100, 1), wait=1.0)  # type: ignore[call-arg] # (wrong on purpose)
        changes.delete(one for one in ["d1", "d2"])
        changes.add(records(100, 2))
    assert changes.report is not None
    assert (changes.report.deleted, changes.report.added) == (2, 2)


def test_the_past_is_counted_alike_for_every_reader(index: Index) -> None:
    before = other(index)
    index.delete(["d1", "d2"])
    index.upsert([{**record, "n": -1} for record in records(10, 3)])
    assert (before.past, index.past) == (0, 5)
    with index.changes() as changes:
        changes.add(records(100, 50))
        with other(index) as reader:
            assert reader.past == 5
    assert index.past == 5
    index.compact()
    assert index.past == 0
