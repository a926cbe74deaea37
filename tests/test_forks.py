"""A forked child searches, whatever the threads of its parent were doing."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qsearch import BuildOptions, Index
from qsearch.codes import unit_rows
from qsearch.lazily import cached_property, lazily
from qsearch.locks import ProcessLock
from tests.encoders import HashedWords

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

CHILD_SECONDS = 60  # a child that takes longer hangs


def in_child(work: Callable[[], bool]) -> int:
    """Fork, and return what became of the child: 0 where ``work`` is true."""
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    generator = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(300)])
    records = [
        {"id": str(number), "text": " ".join(generator.choice(words, 8))} for number in range(3000)
    ]
    return Index.build(records, tmp_path / "index", encoder=HashedWords())


def test_children_search_while_threads_of_the_parent_do(index: Index) -> None:
    queries = unit_rows(np.random.default_rng(1).standard_normal((8, index.dimensions)))[0]
    vectors = index.search_vectors(queries, 5)
    texts = index.search_batch(["word1 word2", "word7"], 5)
    stop = threading.Event()
    failed: list[BaseException] = []

    def search() -> None:
        try:
            while not stop.is_set():
                index.search_vectors(queries, 5)
                index.search("word1 word2", 5)
                index.ids(vectors.positions)
        except BaseException as error:
            failed.append(error)

    def same() -> bool:
        found = index.search_vectors(queries, 5)
        return (
            np.array_equal(found.positions, vectors.positions)
            and np.array_equal(found.scores, vectors.scores)
            and index.search_batch(["word1 word2", "word7"], 5) == texts
        )

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        became = [in_child(same) for _ in range(25)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert became == [0] * 25
    assert not failed
    assert same()


def test_several_workers_are_forked_from_one_index(index: Index) -> None:
    """As a server that loads first and forks then does it; each child has threads and children too."""
    expected = index.search("word5 word6", 3)

    def work() -> bool:
        found: list[bool] = []
        threads = [
            threading.Thread(
                target=lambda: found.append(index.search("word5 word6", 3) == expected)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return all(found) and in_child(lambda: index.search("word5 word6", 3) == expected) == 0

    assert [in_child(work) for _ in range(4)] == [0] * 4


def test_a_child_keeps_the_index_that_was_replaced(index: Index, tmp_path: Path) -> None:
    expected = index.search("word5 word6", 3)
    Index.build(
        [{"id": "other", "text": "word5"}],
        index.path,
        encoder=HashedWords(),
        options=BuildOptions(force=True),
    )
    assert in_child(lambda: index.search("word5 word6", 3) == expected) == 0


def _search_in_worker(index: Index) -> list[str]:
    return [hit.id for hit in index.search("word5 word6", 3)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_index_is_handed_to_the_workers_of_a_pool(index: Index, method: str) -> None:
    expected = _search_in_worker(index)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_search_in_worker, [index] * 4) == [expected] * 4


def test_the_loader_of_torch_forks_workers_that_search(index: Index) -> None:
    from torch.utils.data import DataLoader

    expected = [index.search(f"word{number}", 2)[0].id for number in range(6)]

    class Found:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, number: int) -> str:
            return index.search(f"word{number}", 2)[0].id

    workers = min(2, len(os.sched_getaffinity(0)))  # it warns of more
    loader = DataLoader(Found(), num_workers=workers, batch_size=None)  # type: ignore[arg-type]
    assert list(loader) == expected


def test_a_lock_that_another_thread_holds_is_free_in_a_child() -> None:
    lock, held, done = ProcessLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    def take() -> bool:
        with lock, lock:
            return True

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert in_child(take) == 0
    done.set()
    thread.join()
    with lock:  # the forking thread's own lock stays its own
        assert in_child(take) == 0
    assert take()


def test_a_fork_waits_for_a_lock_that_says_so() -> None:
    lock, held = ProcessLock(fork_waits=True), threading.Event()
    order: list[str] = []

    def hold() -> None:
        with lock:
            held.set()
            for _ in range(1000):  # gives the forking thread every opportunity
                time.sleep(0)
            order.append("released")

    def take() -> bool:
        with lock:
            return True

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert in_child(take) == 0
    order.append("forked")
    thread.join()
    assert order == ["released", "forked"]
    assert take()


class Slow:
    """Its property takes a while."""

    @cached_property
    def value(self) -> int:
        computing.set()
        time.sleep(0.3)
        return 7


computing = threading.Event()


def test_a_property_that_another_thread_computes_is_computed_in_a_child() -> None:
    computing.clear()
    one, other = Slow(), Slow()
    thread = threading.Thread(target=lambda: one.value)
    thread.start()
    computing.wait()
    assert in_child(lambda: one.value == other.value == 7) == 0
    thread.join()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(id(other.value))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [id(other.value)] * 4


def test_a_fork_waits_for_what_another_thread_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child has its half of the module, and a lock that nobody gives back."""
    (tmp_path / "takes_a_while.py").write_text("import time\ntime.sleep(0.3)\nvalue = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    find, _ = lazily("tests", {"value": "takes_a_while"})
    thread = threading.Thread(target=find, args=("value",))
    thread.start()
    time.sleep(0.1)
    assert in_child(lambda: importlib.import_module("takes_a_while").value == 7) == 0
    thread.join()
    # What the program imports by itself, which may be all that it does, is not waited for.
    (tmp_path / "takes_long.py").write_text("import time\ntime.sleep(3.0)\n")
    thread = threading.Thread(target=importlib.import_module, args=("takes_long",))
    thread.start()
    time.sleep(0.1)
    started = time.monotonic()
    assert in_child(lambda: True) == 0
    assert time.monotonic() - started < 2.0
    thread.join()
    # Nor is the forking thread's own import.
    (tmp_path / "forks.py").write_text(
        "import os, time\nstarted = time.monotonic()\nchild = os.fork()\n"
        "if not child:\n    os._exit(0)\nos.waitpid(child, 0)\ntook = time.monotonic() - started\n"
    )
    assert importlib.import_module("forks").took < 3.0


def test_forks_of_several_threads_leave_nothing_held(index: Index) -> None:
    """While others are inside of what a fork waits for, and one presses Ctrl-C."""
    slow = " OR ".join(f"lower(upper(lower(id))) LIKE '%{number}%x'" for number in range(4))
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            index.count(f"{slow} OR id = '{time.monotonic()}'")
            with Index.open(index.path, encoder=HashedWords()) as other:
                other.search("word1", 2)

    def fork() -> None:
        for _ in range(5):
            assert in_child(lambda: bool(index.search("word1", 2))) == 0

    readers = [threading.Thread(target=read) for _ in range(2)]
    forkers = [threading.Thread(target=fork) for _ in range(3)]
    for thread in (*readers, *forkers):
        thread.start()
    for thread in forkers:
        thread.join(120)
        assert not thread.is_alive()
    stop.set()
    for thread in readers:
        thread.join(60)
        assert not thread.is_alive()
    assert index.search("word1", 2)
    assert in_child(lambda: bool(index.search("word2", 2))) == 0


def test_ctrl_c_waits_until_after_a_fork() -> None:
    lock, held = ProcessLock(fork_waits=True), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            time.sleep(0.5)

    def forked() -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        found.append(in_child(lambda: True))
        time.sleep(5)

    found: list[int] = []
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.raises(KeyboardInterrupt):
        forked()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with lock:
        pass
    assert in_child(lambda: True) == 0
