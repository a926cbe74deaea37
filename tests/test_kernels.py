"""The reference kernels against independent definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qsearch.codes import binary_codes, pack_blocks, query_words
from qsearch.kernels import LANES, cosine_gather, hamming_distances, hamming_nearest, lane_dot

floats = st.floats(-1e3, 1e3, width=32)


def lane_dot_by_hand(left: np.ndarray, right: np.ndarray) -> float:
    """The defined order, one Python float at a time."""
    lanes = [0.0] * LANES
    for i, (a, b) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        lanes[i % LANES] += a * b
    width = LANES
    while width > 1:
        width //= 2
        lanes = [lanes[j] + lanes[j + width] for j in range(width)]
    return lanes[0]


@given(st.integers(1, 70).flatmap(lambda d: npst.arrays(np.float32, (2, d), elements=floats)))
def test_sums_run_in_the_defined_order(pair: np.ndarray) -> None:
    assert lane_dot(pair[:1], pair[1:])[0] == lane_dot_by_hand(pair[0], pair[1])


@given(
    st.integers(1, 70).flatmap(
        lambda d: npst.arrays(np.float32, (9, d), elements=st.floats(2.0**-10, 1, width=32))
    )
)
def test_a_score_is_the_cosine_rounded_to_float32(rows: np.ndarray) -> None:
    scores = cosine_gather(rows, rows[:2], np.arange(9)[None].repeat(2, axis=0))
    for i in range(2):
        for j in range(9):
            dot = math.fsum(a * b for a, b in zip(rows[i].tolist(), rows[j].tolist(), strict=True))
            norms = math.sqrt(math.fsum(a * a for a in rows[i].tolist())) * math.sqrt(
                math.fsum(b * b for b in rows[j].tolist())
            )
            assert abs(float(scores[i, j]) - dot / norms) <= 2.0**-24


def test_a_vector_scores_exactly_one_with_itself_at_any_scale() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 131)).astype(np.float32)
    for factor in (1e-30, 1.0, 3e30):
        queries = (rows * np.float32(factor)).astype(np.float32)
        scores = cosine_gather(queries, queries, np.arange(50)[:, None])
        assert (scores == 1.0).all()


def test_a_score_does_not_depend_on_what_is_scored_with_it() -> None:
    rows = np.random.default_rng(1).standard_normal((64, 100)).astype(np.float32)
    queries = rows[:5] + rows[5:10]
    everything = cosine_gather(rows, queries, np.arange(64)[None].repeat(5, axis=0))
    for i in range(5):
        for j in range(64):
            alone = cosine_gather(rows[j : j + 1], queries[i : i + 1], np.zeros((1, 1), np.int64))
            assert alone[0, 0] == everything[i, j]


def test_empty_places_score_minus_infinity() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert cosine_gather(rows, rows[:1], np.array([[0, -1]])).tolist() == [[1.0, -np.inf]]


@pytest.mark.parametrize("d", [1, 7, 64, 65, 384, 1000])
@pytest.mark.parametrize("n", [1, 8, 9, 100])
def test_hamming_distances_count_differing_bits(n: int, d: int) -> None:
    rows = np.random.default_rng(d * n).standard_normal((n, d)).astype(np.float32)
    queries = -rows[:3]
    blocks = pack_blocks(binary_codes(rows))
    found = hamming_distances(blocks, query_words(binary_codes(queries)), n)
    expected = ((rows > 0)[None] != (queries > 0)[:, None]).sum(axis=2)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("count", [1, 5, 100])
def test_the_nearest_by_hamming_distance_are_ordered_and_ties_go_by_row(count: int) -> None:
    rows = np.random.default_rng(7).standard_normal((100, 9)).astype(np.float32)  # many ties
    blocks = pack_blocks(binary_codes(rows))
    queries = query_words(binary_codes(rows[:4]))
    distances = hamming_distances(blocks, queries, 100)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :count]
    assert np.array_equal(hamming_nearest(blocks, queries, 100, count), expected)
