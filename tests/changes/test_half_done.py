"""What fails, or is interrupted, in the middle: nothing of it stays, and nobody is kept out."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.store.selecting
from qsearch import CorpusError, Document, Index, IndexFormatError, QueryError
from qsearch.store.edits import DocumentEdits
from qsearch.store.readers import Readers
from tests.changes.helpers import ids, records, sound
from tests.encoders import HashedWords

MANY = 2000


@pytest.mark.parametrize("kind", [IndexFormatError, KeyboardInterrupt, OverflowError])
@pytest.mark.parametrize("where", ["_insert", "_change_metadata", "_note", "_delete"])
def test_half_a_step_is_never_committed(
    index: Index, where: str, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever catches it inside of the block has lost the block."""
    before = [(one.id, one.text, one.metadata) for one in index]
    changed = [
        {"id": "d4", "text": "other words", "n": 4},
        {"id": "d5", "text": "cat dog number 5", "n": 55},
        {"id": "new", "text": "new"},
    ]
    own = getattr(DocumentEdits, where)

    def fails(*arguments: Any) -> None:
        own(*arguments)  # SQLite has it by now
        raise kind("in the middle")

    def block(*, more: bool) -> None:
        with index.changes() as changes:
            changes.add([{"id": "z", "text": "z"}])
            with monkeypatch.context() as patched, suppress(kind):
                patched.setattr(DocumentEdits, where, fails)
                changes.upsert(iter(changed))
            if more:
                changes.delete("d9")

    for more in (True, False):
        with pytest.raises(
            QueryError, match=r"failed \(in the middle\).*nothing of the block was committed"
        ):
            block(more=more)
        assert [(one.id, one.text, one.metadata) for one in index] == before
        assert index.commit == 1
        assert sound(index)
    changes = index.changes()

    def again() -> None:
        with changes, monkeypatch.context() as patched, suppress(kind):
            patched.setattr(DocumentEdits, where, fails)
            changes.upsert(iter(changed))

    with pytest.raises(QueryError):
        again()
    with changes:  # another block of the same
        changes.upsert(iter(changed))
    assert changes.report is not None
    assert (changes.report.added, changes.report.replaced, changes.report.metadata) == (1, 1, 1)
    assert sound(index)


def test_a_document_whose_line_is_no_number_of_sqlite_is_no_document(index: Index) -> None:
    for line in (2**63, -1, "a", 1.5, True):
        document = Document("new", "text", line=line)  # type: ignore[arg-type]  # as callers may
        with pytest.raises(CorpusError, match="the line must be a whole number"):
            index.add([document])
        report = index.add(iter([document, Document(f"of {line}", "x")]), skip_invalid=True)
        assert (report.added, report.rejected) == (1, 1)
    assert sound(index)


def readers_of(index: Index) -> Readers:
    found = index._open.catalog._source
    assert isinstance(found, Readers)
    return found


def interrupted_soon(work: Callable[[], object], seconds: float) -> None:
    """Do it again and again, until Ctrl-C comes after some time."""
    came: list[float] = []

    def alarmed(*ignored: object) -> None:
        came.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, alarmed)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        ends = time.monotonic() + 5.0
        while time.monotonic() < ends:
            work()
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGALRM, before)
    raise AssertionError(f"Ctrl-C was lost: {came}, {signal.getsignal(signal.SIGINT)}")


def test_a_read_that_is_interrupted_keeps_no_writer_out(
    index: Index, encoder: HashedWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Readers._begin

    def begins(readers: Readers, connection: sqlite3.Connection) -> None:
        own(readers, connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Readers, "_begin", begins)
        with pytest.raises(KeyboardInterrupt):
            index.get("d7")
    readers = readers_of(index)
    assert not any(one.connection.in_transaction for one in [readers._first, *readers._idle])
    with Index.open(index.path, encoder=encoder) as other:
        assert other.delete("d1").deleted == 1
    assert index.get("d7") is not None
    # And where even that was cut short, the next read does it.
    readers._first.connection.execute("BEGIN")
    assert index.get("d7") is not None
    assert index.refresh()
    assert len(index) == 29


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_ctrl_c_at_any_moment_leaves_no_read_open(index: Index) -> None:
    readers = readers_of(index)
    for number in range(100):
        interrupted_soon(lambda: index.get("d7"), 0.001 + 0.0001 * number)
        assert not readers._first.connection.in_transaction
        assert index.get("d7") is not None


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_ctrl_c_ends_a_condition_and_is_not_taken_for_another_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.store.selecting, "_INSTRUCTIONS", 50)  # often in our code
    rows = np.eye(8, dtype=np.float32)[np.arange(MANY) % 8]
    some = [{"id": str(n), "text": f"cat {n}", "n": n} for n in range(MANY)]
    numbers = itertools.count()
    with Index.build(some, tmp_path / "many", embeddings=rows) as index:

        def count() -> int:  # what is known is not looked for again
            return index.count(f"n > {next(numbers)} OR n < 1")

        for number in range(60):
            interrupted_soon(count, 0.001 + 0.0005 * number)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(qsearch.store.selecting, "MOST_SECONDS", -1.0)
            with pytest.raises(QueryError, match="took longer than"):
                count()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_comparison_sees_one_commit(tmp_path: Path) -> None:
    """Whatever another writer does while the records are read."""
    rows = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    some = [{"id": str(n), "text": f"cat {n}"} for n in range(200)]
    with Index.build(some, tmp_path / "i", embeddings=rows) as index:
        index.delete([str(n) for n in range(0, 200, 20)])

        def corpus() -> Iterator[dict[str, Any]]:
            yield from some[5:]
            with Index.open(index.path) as other:
                other.delete("30")
                other.compact()

        found = index.sync(corpus(), embeddings=rows[5:], dry_run=True)
        assert (found.added, found.unchanged, found.replaced, found.deleted) == (9, 186, 0, 4)
        assert len(index) == 190


def test_a_change_goes_to_the_index_that_was_opened(
    tmp_path: Path, encoder: HashedWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process has gone since."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Index.build(records(0, 30), tmp_path / name / "idx", encoder=encoder).close()
    monkeypatch.chdir(tmp_path / "a")
    with Index.open("idx", encoder=encoder) as index:
        assert str(index.path) == "idx"
        monkeypatch.chdir(tmp_path / "b")
        assert index.path == tmp_path / "a" / "idx"
        assert index.delete("d5").deleted == 1
        assert index.refresh() is False
        with index.changes() as changes:
            changes.delete("d6")
        index.compact()
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        assert index.delete("d7").deleted == 1
        monkeypatch.chdir(tmp_path / "a")
        assert str(index.path) == "idx"
    with Index.open(tmp_path / "b" / "idx", encoder=encoder) as other:
        assert len(other) == 30
    with Index.open(tmp_path / "a" / "idx", encoder=encoder) as again:
        assert len(again) == 27
        assert not {"d5", "d6", "d7"} & set(ids(again))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_a_handler_of_ctrl_c_that_goes_on_is_left_to_do_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.store.selecting, "_INSTRUCTIONS", 50)
    some = [{"id": str(n), "text": f"cat {n}", "n": n} for n in range(MANY)]
    rows = np.eye(8, dtype=np.float32)[np.arange(MANY) % 8]
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    alarm = signal.signal(signal.SIGALRM, lambda *ignored: signal.raise_signal(signal.SIGINT))
    try:
        with Index.build(some, tmp_path / "many", embeddings=rows) as index:
            for number in range(20):
                signal.setitimer(signal.ITIMER_REAL, 0.002)
                assert index.count(f"n >= {number} OR n < 0") == MANY - number
                while len(came) <= number:
                    time.sleep(0.001)
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGALRM, alarm)


def test_a_block_that_is_open_is_not_begun_again(index: Index) -> None:
    def records_and_an_end() -> Iterator[dict[str, Any]]:
        yield from records(100, 5000)
        raise ZeroDivisionError

    def block() -> None:
        with changes:
            with suppress(ZeroDivisionError):
                changes.add(records_and_an_end())
            with pytest.raises(ValueError, match="this block is open"):
                changes.__enter__()

    changes = index.changes()
    with pytest.raises(QueryError, match="nothing of the block was committed"):
        block()
    assert (len(index), index.commit) == (30, 1)


def test_what_was_not_done_in_a_block_is_not_counted(
    index: Index, encoder: HashedWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Any:
        raise ZeroDivisionError

    with index.changes() as changes:
        changes.add([{"id": "good", "text": "cat"}])
        with monkeypatch.context() as patched, suppress(ZeroDivisionError):
            patched.setattr(encoder, "encode_documents", broken)
            changes.add([{"id": "x", "text": "dog"}, {"id": "y", "text": "bird"}])
    assert changes.report is not None
    assert (changes.report.added, changes.report.documents) == (1, 31)
