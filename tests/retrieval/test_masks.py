"""Every way of retrieval over the rows that are allowed, held against brute force over these rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qsearch.kernels import RowMask, kernel_paths, use_kernels
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.binary import BinaryCandidates
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.exact import ExactSearch, search_floats
from qsearch.retrieval.ranking import search_candidates
from qsearch.store import Segment
from tests.kernels.patterns import PATTERNS, pattern
from tests.retrieval.segments import KINDS, oracle, rows_of, segments_of


def deleted(segments: list[Segment], allowed: np.ndarray) -> list[Segment]:
    """The segments without the rows that are not allowed."""
    return [
        replace(one, living=RowMask.of(allowed[one.first_row : one.first_row + one.rows]))
        for one in segments
    ]


def expected(
    rows: np.ndarray, allowed: np.ndarray, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    there = np.flatnonzero(allowed)
    positions, scores = oracle(rows[there], queries, k)
    return there[positions], scores


@pytest.mark.parametrize("path", kernel_paths())
@pytest.mark.parametrize("kind", PATTERNS)
def test_an_exact_search_is_brute_force_over_the_rows_that_are_left(kind: str, path: str) -> None:
    generator = np.random.default_rng(11)
    for pieces, n, d in ((1, 700, 33), (3, 5_000, 48)):
        rows = generator.standard_normal((n, d)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        allowed = pattern(kind, n, generator)
        segments = deleted(segments_of(rows, pieces), allowed)
        queries = np.concatenate([rows[::600], generator.standard_normal((30, d))]).astype("f4")
        for k in {1, min(10, int(allowed.sum())), min(300, int(allowed.sum()))}:
            truth = expected(rows, allowed, queries, k)
            for threads, some in ((1, slice(None)), (1, slice(1)), (3, slice(2))):
                with use_kernels(path):
                    found = ExactSearch(segments).search(queries[some], k, threads)
                np.testing.assert_array_equal(found.positions, truth[0][some])
                assert found.scores.tobytes() == truth[1][some].tobytes()
                assert found.certified.all()


@pytest.mark.parametrize("kind", KINDS)
def test_ties_and_odd_rows_under_masks(kind: str) -> None:
    generator = np.random.default_rng(5)
    rows = rows_of(kind, 900, 24, generator)
    queries = np.concatenate([rows[:5], rows_of("random", 5, 24, generator)])
    for share in (0.9, 0.4, 0.03):
        allowed = generator.random(900) < share
        segments = deleted(segments_of(rows, 2), allowed)
        truth = expected(rows, allowed, queries, 12)
        for found in (
            ExactSearch(segments).search(queries, 12, 1),
            search_floats(segments, queries, 12),
            search_candidates(
                segments, [BinaryCandidates(one) for one in segments], queries, 12, 900
            ),
            Cascade(segments).search(queries, 12, 900, 900)[0],
        ):
            np.testing.assert_array_equal(found.positions, truth[0])
            assert found.scores.tobytes() == truth[1].tobytes()
            assert found.certified.all()


def test_candidates_are_never_rows_that_are_not_allowed() -> None:
    generator = np.random.default_rng(2)
    rows = generator.standard_normal((3_000, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    allowed = pattern("runs", 3_000, generator)
    segments = deleted(segments_of(rows, 4), allowed)
    binary = [BinaryCandidates(one) for one in segments]
    queries = rows[~allowed][:20]  # whose nearest row is not allowed
    for found in (
        search_candidates(segments, binary, queries, 10, 40),
        Cascade(segments).search(queries, 10, 40, 20)[0],
    ):
        assert allowed[found.positions].all()
        assert not found.certified.any()


def test_a_segment_without_an_allowed_row_is_not_looked_at() -> None:
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((600, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    allowed = np.arange(600) >= 200
    segments = deleted(segments_of(rows, 3), allowed)
    assert Allowed.living(segments).counts == (0, 200, 200)
    segments[0].vectors[:] = np.nan  # whoever looks finds damage
    found = ExactSearch(segments).search(rows[300:310], 1, 1)
    assert found.positions[:, 0].tolist() == list(range(300, 310))
    scans = [stage for stage in found.stages if stage.name in ("rotated codes", "float product")]
    assert [stage.rows.tolist() for stage in scans] == [[400] * 10]
