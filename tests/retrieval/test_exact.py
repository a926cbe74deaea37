"""Exact search equals its definition, bit for bit, on rows of every kind and order."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import qsearch.codes.int8
import qsearch.codes.rotated
import qsearch.retrieval.floats
from qsearch.codes import (
    rotated_query_codes,
    unit_rows,
)
from qsearch.kernels import kernel_paths, most_code, use_kernels
from qsearch.retrieval import ExactSearch
from qsearch.store import Segment
from tests.retrieval.segments import KINDS, NATIVE, oracle, rows_of, segment_of, segments_of


def check(
    segments: list[Segment],
    queries: np.ndarray,
    k: int,
    threads: int = 1,
    truth: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Exact search over ``segments`` equals the definition, bit for bit.

    ``truth`` is what ``oracle`` says, for at least k, where it is known already.
    """
    if truth is None:
        rows = np.concatenate([segment.vectors for segment in segments])
        truth = oracle(rows, queries, k)
    ranking = ExactSearch(segments).search(queries, k, threads)
    positions, scores = (one[:, :k] for one in truth)
    assert ranking.certified.all()
    assert np.array_equal(ranking.positions, positions)
    assert ranking.scores.tobytes() == scores.tobytes()


@settings(deadline=None)
@given(
    n=st.integers(1, 300),
    d=st.integers(1, 70),
    k=st.integers(1, 40),
    pieces=st.integers(1, 3),
    kind=st.sampled_from(KINDS),
    path=st.sampled_from(kernel_paths()),
    threads=st.integers(1, 3),
    energy=st.sampled_from([0.05, 0.5, 0.88, 1.0]),
    scale=st.sampled_from([1e-38, 1e-20, 1.0, 1e37]),
    seed=st.integers(0, 2**32 - 1),
)
@example(1, 1, 1, 1, "random", "numpy", 1, 0.88, 1.0, 0)
@example(300, 64, 1, 1, "equal", kernel_paths()[0], 2, 0.88, 1.0, 0)
@example(300, 3, 300, 3, "grid", kernel_paths()[0], 3, 0.05, 1.0, 0)
def test_exact_search_is_brute_force(
    n: int,
    d: int,
    k: int,
    pieces: int,
    kind: str,
    path: str,
    threads: int,
    energy: float,
    scale: float,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    rows = rows_of(kind, n, d, generator)
    others = [rows[:2], -rows[-1:], generator.standard_normal((4, d)), np.eye(d)[:1]]
    queries = (np.concatenate(others) * scale).astype(np.float32)
    queries = queries[queries.any(axis=1)]
    with use_kernels(path):
        check(segments_of(rows, min(pieces, n), energy), queries, min(k, n), threads)


@pytest.mark.parametrize("d", [1, 2, 3, 17, 63, 64, 65, 100, 384, 385, 1023, 4096])
def test_exact_search_in_every_dimension(d: int) -> None:
    generator = np.random.default_rng(d)
    n = 2000 if d < 1000 else 150
    centres = generator.standard_normal((40, d))
    rows = unit_rows(
        centres[generator.integers(40, size=n)] + 0.3 * generator.standard_normal((n, d))
    )[0]
    queries = generator.standard_normal((13, d)).astype(np.float32)
    queries[:4] = rows[:4]
    rotation = None
    if d > 1000:  # the axes of so many dimensions take long to find, and any will do
        axes = np.linalg.qr(generator.standard_normal((d, 101)))[0].T
        rotation = np.ascontiguousarray(axes, dtype=np.float32)
    half = n // 2
    segments = [segment_of(rows[:half], 0, rotation), segment_of(rows[half:], half, rotation)]
    for path in kernel_paths():
        with use_kernels(path):
            for k in (1, 10, n):
                check(segments, queries, k, threads=2)


@pytest.mark.parametrize("path", kernel_paths())
@pytest.mark.parametrize(
    ("queries", "threads"),
    [(31, 2), (32, 2), (33, 2), (96, 7), (97, 7), (111, 7), (112, 7), (193, 13), (200, 3)],
)
def test_many_queries_on_many_threads(path: str, queries: int, threads: int) -> None:
    """Threads share out rows, in passes of some queries, or queries: the answers are the same."""
    generator = np.random.default_rng(queries)
    rows = rows_of("grid", 700, 12, generator)  # many are equally near
    asked = generator.standard_normal((queries, 12)).astype(np.float32)
    with use_kernels(path):
        check(segments_of(rows, 2, 0.88), asked, 7, threads)


@pytest.mark.parametrize("path", NATIVE)
def test_few_rows_are_scored(path: str) -> None:
    """The codes are of use: on rows like real embeddings a scan leaves few of them."""
    generator = np.random.default_rng(1)
    spectrum = 1.0 / (1.0 + np.arange(256) / 16)
    rows = unit_rows(generator.standard_normal((20_000, 256)) * spectrum)[0]
    queries = (rows[:20] + 0.02 * generator.standard_normal((20, 256))).astype(np.float32)
    with use_kernels(path):
        ranking = ExactSearch(segments_of(rows)).search(queries, 10, 1)
    scanned, reached, rescored = (stage.rows for stage in ranking.stages[1:])
    assert (scanned == 20_000).all()
    assert np.median(reached) < 3000
    assert np.median(rescored) < 100
    assert (rescored >= 10).all()
    assert all(stage.seconds is not None and stage.seconds > 0 for stage in ranking.stages)


@pytest.mark.skipif("avx2" not in kernel_paths(), reason="no AVX2")
def test_codes_of_many_queries_do_not_overflow_where_sums_have_few_bits() -> None:
    rows = unit_rows(np.random.default_rng(1).standard_normal((100, 64)))[0]
    rotation = np.eye(64, dtype=np.float32)[:32]
    with use_kernels("avx2"):
        assert most_code(3) < 127 == most_code(2)
        for count in (2, 3):
            codes = rotated_query_codes(rows[:count], rotation, 0.0).codes
            assert np.abs(codes).max() == most_code(count)


@pytest.mark.parametrize("threads", [1, 2])
def test_pieces_are_not_searched_again(threads: int) -> None:
    """What is guessed within a segment holds for it: else each segment would be searched twice."""
    generator = np.random.default_rng(1)
    spectrum = 1.0 / (1.0 + np.arange(64) / 8)
    rows = unit_rows(generator.standard_normal((20_000, 64)) * spectrum)[0]
    queries = (rows[:20] + 0.02 * generator.standard_normal((20, 64))).astype(np.float32)
    if not NATIVE:
        pytest.skip("no native kernels")
    whole = ExactSearch(segments_of(rows)).search(queries, 10, threads)
    pieces = ExactSearch(segments_of(rows, 10)).search(queries, 10, threads)
    assert np.array_equal(pieces.positions, whole.positions)
    reached = whole.stages[2].rows.mean()
    # Coarser codes of a query let more pass, and so do threads that do not run side by side.
    most = 400 if most_code(len(queries)) == 127 else 500
    assert reached < (most if threads == 1 else 1.4 * most)
    # 1.7 with guesses about rows to come. Threads that share a piece each begin with less.
    assert pieces.stages[2].rows.mean() < (1.25 if threads == 1 else 1.6) * reached


class World(NamedTuple):
    """Rows in an order that means something, as one segment and as two, and every row ranked."""

    queries: np.ndarray
    segments: dict[int, list[Segment]]
    truth: tuple[np.ndarray, np.ndarray]


@cache
def world(order: str) -> World:
    """20,000 rows whose score against the first query rises, falls, or is always the same."""
    generator = np.random.default_rng(5)
    queries = generator.standard_normal((3, 24)).astype(np.float32)
    rows = unit_rows(generator.standard_normal((20_000, 24)))[0]
    rising = np.argsort(rows @ queries[0])
    if order == "equal":
        rows[:] = rows[0]
    else:
        rows = rows[rising if order == "rising" else rising[::-1]]
    segments = {pieces: segments_of(rows, pieces) for pieces in (1, 2)}
    return World(queries, segments, oracle(rows, queries, 9000))


@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_no_order_of_rows_misleads_the_search(order: str, pieces: int, path: str) -> None:
    """What is guessed from the first rows is wrong where the best lie in front: it is found out.

    9,000 documents are more than may wait to be scored, so rows are scored in between too.
    """
    queries, segments, truth = world(order)
    with use_kernels(path):
        for k in (10, 300, 9000):
            for threads in (1, 2):  # 2: for so few queries, threads divide the rows
                check(segments[pieces], queries, k, threads, truth)


@pytest.mark.parametrize("path", NATIVE)
def test_more_queries_than_one_pass_takes(path: str) -> None:
    few, whole, _ = world("falling")
    rows = whole[1][0].vectors[::10].copy()
    others = np.random.default_rng(6).standard_normal((197, 24)).astype(np.float32)
    queries = np.concatenate([few, others])
    segments, truth = segments_of(rows, 2), oracle(rows, queries, 10)
    with use_kernels(path):
        for threads in (1, 2):
            check(segments, queries, 10, threads, truth)


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_a_search_of_floats_keeps_few_rows_of_any_order(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(5)
    rows = unit_rows(generator.standard_normal((50_000, 16)))[0]
    queries = generator.standard_normal((3, 16)).astype(np.float32)
    rising = np.argsort(rows @ queries[0])
    rows = rows[rising if order == "rising" else rising[::-1]]
    if order == "equal":
        rows[:] = rows[0]
    longest = 0
    take = qsearch.retrieval.floats._Kept.take

    def watched(kept: qsearch.retrieval.floats._Kept, *block: Any) -> None:
        nonlocal longest
        take(kept, *block)
        longest = max(longest, kept.waiting)

    monkeypatch.setattr(qsearch.retrieval.floats._Kept, "take", watched)
    segments = [
        replace(segment_of(piece, first), rotated=None)  # so the floats are searched
        for piece, first in ((rows[:20_000], 0), (rows[20_000:], 20_000))
    ]
    truth = oracle(rows, queries, 2000)
    for k, most in ((1, 4096), (10, 4096), (2000, 32_000)):
        longest = 0
        check(segments, queries, k, 1, truth)
        assert 0 < longest <= most


BOUNDS = ("rotated scale", "rotated residual", "rest")
