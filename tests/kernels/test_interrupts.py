"""Ctrl-C is answered in the middle of a kernel, not at its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

import qsearch.kernels as kernels
from qsearch.codes import (
    binary_codes,
    center_of,
    int8_codes,
    int8_query_codes,
    pack_blocks,
    query_words,
    sketches_of,
    unit_rows,
)
from qsearch.kernels import dispatch
from qsearch.kernels.dispatch import NUMPY
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.exact import ExactSearch, _Best
from tests.retrieval.segments import segment_of

pytestmark = [
    pytest.mark.skipif(kernels.kernel_path() == NUMPY, reason="no native kernels"),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers"),
]


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Has a signal come very soon, whose handler raises."""

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.01)  # type: ignore[misc]
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


ROWS, DIMENSIONS = 20_000, 64


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return unit_rows(np.random.default_rng(0).standard_normal((ROWS, DIMENSIONS)))[0]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("few", [False, True])
def test_an_exact_search_ends_early(
    interrupt: Callable[[], None], rows: np.ndarray, threads: int, few: bool
) -> None:
    """Of many queries some are never looked at. Few are searched over and over."""
    search = ExactSearch([segment_of(rows)])
    queries = np.ascontiguousarray(np.tile(rows[:3], (1 if few else 40_000, 1)))
    best = _Best(len(queries), 10)
    living = Allowed((None,), (ROWS,))

    def go_on() -> None:
        for _ in range(100_000 if few else 1):
            best.rows = 0
            search._update(best, range(1), queries, threads, living)

    interrupt()
    with pytest.raises(Interrupted):
        go_on()
    if not few:
        assert (best.positions < 0).any()
    assert search.search(rows[:3], 10, threads).positions[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("width", [100, 10_000])  # a walk, and a scan
def test_a_search_by_graph_ends_early(
    interrupt: Callable[[], None], rows: np.ndarray, threads: int, width: int
) -> None:
    coded, center = int8_codes(rows), center_of(iter([rows]))
    graph = kernels.GraphRows(coded.codes, coded.scale, sketches_of(rows, center), center)
    links = np.arange(1, ROWS + 1, dtype=np.uint32)[:, None]
    arrays = SimpleNamespace(links=links, sketches=graph.sketches, center=center)
    segment = SimpleNamespace(
        graph=arrays, int8=coded.codes, scale=coded.scale, vectors=rows, first_row=0
    )
    segments = kernels.GraphSegments([segment])
    queries = np.ascontiguousarray(np.tile(rows[:4], (20_000, 1)))
    codes = int8_query_codes(queries).codes
    alone = kernels.graph_top_k(segments, [None], queries[:4], codes[:4], 3, width, 20)
    interrupt()
    with pytest.raises(Interrupted):
        kernels.graph_top_k(segments, [None], queries, codes, 3, width, 20, (), threads)
    again = kernels.graph_top_k(segments, [None], queries[:4], codes[:4], 3, width, 20)
    assert np.array_equal(again.positions, alone.positions)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_building_a_graph_ends_early(
    interrupt: Callable[[], None], rows: np.ndarray, threads: int
) -> None:
    coded, center = int8_codes(rows), center_of(iter([rows]))
    graph = kernels.GraphRows(coded.codes, coded.scale, sketches_of(rows, center), center)
    added: list[int] = []
    interrupt()
    with pytest.raises(Interrupted):
        kernels.build_links(graph, 64, 100, added.append, threads)
    assert sum(added) < ROWS


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_binary_search_ends_early(
    interrupt: Callable[[], None], rows: np.ndarray, threads: int
) -> None:
    blocks = pack_blocks(binary_codes(rows))
    words = query_words(binary_codes(np.tile(rows[:4], (20_000, 1))))
    result = np.full((len(words), 100), -7)
    interrupt()
    with pytest.raises(Interrupted):
        dispatch._native.hamming_nearest(
            kernels.kernel_path(), blocks, words, ROWS, None, result, threads
        )
    assert (result == -7).any()
    found = kernels.hamming_nearest(blocks, words[:4], ROWS, 1, threads)
    assert found.ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("threads", [1, 3])
def test_gathering_ends_early(
    interrupt: Callable[[], None], rows: np.ndarray, threads: int
) -> None:
    indices = np.random.default_rng(0).integers(ROWS, size=(400, 50_000))
    queries = np.ascontiguousarray(np.tile(rows[:4], (100, 1)))
    codes = int8_codes(rows)
    path, result = kernels.kernel_path(), np.full(indices.shape, -7.0, dtype=np.float32)
    interrupt()
    with pytest.raises(Interrupted):
        dispatch._native.cosine_gather(path, rows, queries, indices, result, threads)
    assert (result == -7).any()
    result[:] = -7
    interrupt()
    with pytest.raises(Interrupted):
        dispatch._native.int8_gather(
            path, codes.codes, codes.scale, codes.codes[:400], indices, result, threads
        )
    assert (result == -7).any()
