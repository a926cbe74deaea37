"""Threads, children, a replacement and a closing: who reads the catalog reads the one that was opened."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from qsearch import BuildOptions, Index, IndexClosed, IndexFormatError
from qsearch.store import Catalog
from qsearch.store.readers import Readers

DOCUMENTS = 400


def build(path: Path, name: str) -> None:
    rows = np.random.default_rng(0).standard_normal((DOCUMENTS, 8)).astype(np.float32)
    records = [{"id": f"{name}{number}", "text": f"{name} {number}"} for number in range(DOCUMENTS)]
    Index.build(records, path, embeddings=rows, options=BuildOptions(force=True)).close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build(tmp_path / "index", "old")
    return tmp_path / "index"


def in_threads(count: int, work: object) -> list[BaseException]:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()  # type: ignore[operator] # (a function)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def test_threads_do_not_wait_for_each_other(path: Path) -> None:
    """All of them are in the middle of a read at the same moment."""
    readers = Readers(path / "catalog.sqlite")
    meeting = threading.Barrier(12, timeout=60)

    def read() -> None:
        with readers.reading() as connection:
            assert connection.execute("SELECT count(*) FROM documents").fetchone() == (DOCUMENTS,)
            meeting.wait()

    before = len(os.listdir("/dev/fd"))
    assert not in_threads(12, read)
    assert len(os.listdir("/dev/fd")) <= before + 8  # few are kept
    readers.close()
    assert len(os.listdir("/dev/fd")) == before - 1


def test_a_read_within_a_read_needs_no_second_connection(path: Path) -> None:
    """There is none to be had where another catalog took the place of this one."""
    reader = Index.open(path)
    with Index.open(path) as writer:
        writer.delete("old3")
        writer.compact()
    found: list[object] = []

    def read() -> None:
        found.extend([[one.id for one in reader], reader.past, len(reader.get(["old3"]))])

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(60)
    assert found == [[f"old{number}" for number in range(DOCUMENTS)], 0, 1]


def test_threads_read_what_was_opened_where_another_index_took_its_place(path: Path) -> None:
    catalog = Catalog.open(path)
    build(path, "new")
    meeting = threading.Barrier(6, timeout=60)

    def read() -> None:
        meeting.wait()
        for position in range(50):
            assert catalog.ids([position]) == {position: f"old{position}"}
            assert catalog.documents([position])[position].text == f"old {position}"

    assert not in_threads(6, read)
    assert catalog.was_replaced()
    catalog.close()


def test_threads_share_a_connection_where_no_more_files_may_be_open(path: Path) -> None:
    catalog = Catalog.open(path)
    meeting = threading.Barrier(4, timeout=60)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def read() -> None:
        meeting.wait()
        for position in range(50):
            assert catalog.ids([position]) == {position: f"old{position}"}

    highest = max(int(name) for name in os.listdir("/dev/fd"))
    held = [os.dup(0) for _ in range(highest)]  # no gap below the limit is left
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1, limits[1]))
        failed = in_threads(4, read)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in held:
            os.close(descriptor)
    assert not failed
    catalog.close()


def test_a_catalog_that_another_thread_closes_ends_in_an_answer_or_that_error(path: Path) -> None:
    for _ in range(20):
        catalog = Catalog.open(path)
        started = threading.Barrier(5, timeout=60)
        answers: list[dict[int, str]] = []

        def read(
            catalog: Catalog = catalog,
            started: threading.Barrier = started,
            answers: list[dict[int, str]] = answers,
        ) -> None:
            started.wait()
            while True:
                answers.append(catalog.ids(range(100)))

        closing = threading.Thread(
            target=lambda started=started, catalog=catalog: (started.wait(), catalog.close())  # type: ignore[misc]
        )
        closing.start()
        failed = in_threads(4, read)
        closing.join()
        assert [type(error) for error in failed] == [IndexClosed] * 4
        assert all(len(one) == 100 for one in answers)
        with pytest.raises(IndexClosed, match=r"was closed; open it again with Index\.open"):
            catalog.settings()


def test_children_read_while_threads_of_the_parent_do(path: Path) -> None:
    catalog = Catalog.open(path)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            catalog.documents(range(200))

    def fork() -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            right = catalog.ids([7]) == {7: "old7"} and len(catalog.documents(range(300))) == 300
            catalog.close()
            os._exit(0 if right else 1)
        return os.waitpid(child, 0)[1]

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        became = [fork() for _ in range(60)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert became == [0] * 60
    catalog.close()


def test_ids_are_read_without_texts(path: Path, tmp_path: Path) -> None:
    """The id stands before the text: what is damaged behind it does not matter."""
    connection = sqlite3.connect(path / "catalog.sqlite")
    connection.execute("UPDATE documents SET metadata = 'no JSON' WHERE position = 3")
    connection.commit()
    connection.close()
    catalog = Catalog.open(path)
    assert catalog.ids([3, 3, 1]) == {3: "old3", 1: "old1"}
    with pytest.raises(IndexFormatError, match="the document at position 3 is not one"):
        catalog.documents([3])
    with pytest.raises(IndexFormatError, match="lacks the document at position 4000"):
        catalog.ids([1, 4000])
    catalog.close()
