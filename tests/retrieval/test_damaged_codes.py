"""Damage that a search meets is an error or costs time, and never an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from qsearch.errors import IndexFormatError
from qsearch.kernels import kernel_paths, use_kernels
from qsearch.retrieval import ExactSearch
from qsearch.store import Segment
from tests.retrieval.segments import NATIVE, oracle, rows_of, segment_of, segments_of
from tests.retrieval.test_exact import BOUNDS, check


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_refused(value: float) -> None:
    rows = rows_of("random", 100, 16, np.random.default_rng(0))
    segment = segment_of(rows.copy())
    segment.vectors[0] = value  # the codes still say that it is the nearest
    for path in kernel_paths():
        with use_kernels(path), pytest.raises(IndexFormatError, match="not finite"):
            ExactSearch([segment]).search(rows[:1], 5)


def with_damage(segment: Segment, array: str, rows: Sequence[int], value: float) -> Segment:
    """A copy where some rows, by position, have another value in one of their bounds."""
    assert segment.rotated is not None
    scale, residual = segment.scale.copy(), segment.residual.copy()
    bounds = segment.rotated.bounds.copy()
    places = np.array([row - segment.first_row for row in rows], dtype=np.int64)
    places = places[(places >= 0) & (places < segment.rows)]
    if array in BOUNDS:
        bounds[places // 16, BOUNDS.index(array), places % 16] = value
    else:
        (scale if array == "scale" else residual)[places] = value
    rotated = replace(segment.rotated, bounds=bounds)
    return replace(segment, scale=scale, residual=residual, rotated=rotated)


@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize("array", [*BOUNDS, "scale", "residual"])
def test_no_row_hides_behind_a_bound_that_is_damaged(array: str, path: str) -> None:
    """Its floats decide."""
    generator = np.random.default_rng(0)
    rows = rows_of("random", 200, 16, generator)
    queries = np.concatenate([rows[37:38], -rows[37:38], rows[150:151]])
    queries = np.concatenate([queries, generator.standard_normal((5, 16))]).astype(np.float32)
    sound, truth = segments_of(rows, 2, energy=0.3), oracle(rows, queries, 200)
    values = [np.nan, np.inf, -np.inf]
    if array not in BOUNDS:  # there what no cosine can be is seen too
        values += [1e30, -1e30]
    with use_kernels(path):
        for value in values:
            for damage in ([37], [150], range(200)):
                segments = [with_damage(segment, array, damage, value) for segment in sound]
                for k in (1, 5, 200):
                    for threads in (1, 3):
                        check(segments, queries[:1], k, threads, (truth[0][:1], truth[1][:1]))
                        check(segments, queries, k, threads, truth)


@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize("threads", [1, 2])
def test_codes_that_claim_scores_which_no_row_has_are_refused(threads: int, path: str) -> None:
    generator = np.random.default_rng(0)
    segment = segment_of(rows_of("random", 500, 16, generator))
    segment.scale[:] *= np.float32(1.2)
    segment.residual[:] = 0
    queries = generator.standard_normal((3, 16)).astype(np.float32)
    with use_kernels(path):
        for query in queries:
            with pytest.raises(IndexFormatError, match="codes that contradict its rows"):
                ExactSearch([segment]).search(query[None], 1, threads)
