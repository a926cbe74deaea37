"""The reference kernels against independent definitions, and every path against the reference."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qsearch import kernels
from qsearch.codes import binary_codes, int8_codes, pack_blocks, query_words, unit_rows
from qsearch.errors import QueryError
from qsearch.kernels import (
    LANES,
    Margins,
    hamming_distances,
    kernel_paths,
    lane_dot,
    reference,
    use_kernels,
)
from qsearch.kernels.reference import cosine_gather, hamming_nearest

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


NATIVE = [path for path in kernel_paths() if path != "numpy"]


def indices_into(n: int, shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Row numbers with repetitions and empty places."""
    return generator.integers(-1, n, size=shape)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize("d", [1, 15, 16, 31, 64, 100, 384, 385, 1024, 2100])
def test_gathers_equal_the_reference_bit_for_bit(d: int, path: str, threads: int) -> None:
    generator = np.random.default_rng(d)
    rows = unit_rows(generator.standard_normal((500, d)))[0]
    queries = (generator.standard_normal((7, d)) * 10.0 ** generator.integers(-30, 30)).astype("f4")
    indices = indices_into(500, (7, 611), generator)
    codes = int8_codes(rows)
    codes.codes[:2] = [[127], [-127]]  # the largest sums
    query_codes = int8_codes(unit_rows(queries)[0]).codes
    query_codes[0] = 127
    with use_kernels(path):
        scores = kernels.cosine_gather(rows, queries, indices, threads)
        approximate = kernels.int8_gather(codes.codes, codes.scale, query_codes, indices, threads)
    assert scores.tobytes() == reference.cosine_gather(rows, queries, indices).tobytes()
    expected = reference.int8_gather(codes.codes, codes.scale, query_codes, indices)
    assert approximate.tobytes() == expected.tobytes()


@pytest.mark.parametrize("most", [127, 32])
@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize("d", [1, 4, 15, 16, 17, 100, 384])
def test_what_is_made_of_queries_equals_the_reference_bit_for_bit(
    d: int, path: str, most: int
) -> None:
    generator = np.random.default_rng(d)
    rows = generator.standard_normal((70, d)).astype(np.float32)
    axes = generator.standard_normal((5, d)).astype(np.float32)
    with use_kernels(path):
        units = kernels.normalize(rows)
    assert units.tobytes() == reference.normalize(rows).tobytes()
    rows[3] = 0.0
    margins = Margins(*(1.0 + generator.random(7)))
    with use_kernels(path):
        codes, intervals = kernels.code_rows(rows, margins, most)
        projected, more = kernels.code_projections(rows, axes, 8, margins, most, 2)
    expected_codes, expected = reference.code_rows(rows, margins, most)
    assert np.abs(codes).max() == most
    assert np.array_equal(codes, expected_codes)
    assert intervals.tobytes() == expected.tobytes()
    expected_codes, expected = reference.code_projections(rows, axes, 8, margins, most)
    assert np.abs(projected).max() == most
    assert not projected[:, 5:].any()
    assert np.array_equal(projected, expected_codes)
    assert more.tobytes() == expected.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
@pytest.mark.parametrize("path", kernel_paths())
@pytest.mark.parametrize("d", [1, 16, 33])
def test_the_first_row_that_has_no_direction_is_found(d: int, path: str, value: float) -> None:
    rows = np.full((7, d), np.finfo(np.float32).max, dtype=np.float32)
    rows[2:5] = 0.0
    rows[2:5, d // 2] = np.finfo(np.float32).smallest_subnormal
    with use_kernels(path):
        assert kernels.first_unusable(rows) == 7
        assert kernels.first_unusable(rows[:0]) == 0
        rows[3, d // 2] = rows[6, 0] = value
        assert kernels.first_unusable(rows) == 3


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize(
    ("n", "d"),
    [(1, 1), (7, 64), (8, 65), (63, 9), (64, 384), (1000, 384), (5000, 70), (9001, 2100)],
)
def test_the_nearest_equal_the_reference(n: int, d: int, path: str, threads: int) -> None:
    generator = np.random.default_rng(n + d)
    rows = generator.standard_normal((n, d)).astype(np.float32)
    rows[n // 2 :] = rows[: n - n // 2]  # many ties, far apart
    blocks = pack_blocks(binary_codes(rows))
    for count_of_queries in (1, 2, 6, 13):
        queries = query_words(
            binary_codes(generator.standard_normal((count_of_queries, d)).astype(np.float32))
        )
        for count in sorted({1, min(10, n), n // 3 + 1, n}):
            with use_kernels(path):
                found = kernels.hamming_nearest(blocks, queries, n, count, threads)
            assert np.array_equal(found, hamming_nearest(blocks, queries, n, count))


def test_rows_in_falling_order_of_distance_are_kept_in_bounds() -> None:
    """The worst order for a running threshold: every row is nearer than all before it."""
    rows = np.where(np.arange(300)[None] < np.arange(300)[:, None], 1.0, -1.0).astype(np.float32)
    blocks = pack_blocks(binary_codes(rows))
    query = query_words(binary_codes(np.ones((1, 300), dtype=np.float32)))
    for path in NATIVE:
        with use_kernels(path):
            found = kernels.hamming_nearest(blocks, query, 300, 5, 1)
        assert found.tolist() == [[299, 298, 297, 296, 295]]


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_no_order_of_rows_misleads_the_nearest(order: str) -> None:
    """What is guessed from the first rows is wrong where the nearest lie in front: it is found out."""
    generator = np.random.default_rng(5)
    rows = generator.standard_normal((20_000, 24)).astype(np.float32)
    few = generator.standard_normal((3, 24)).astype(np.float32)
    many = np.concatenate([few, generator.standard_normal((197, 24)).astype(np.float32)])
    nearness = ((rows > 0) == (few[0] > 0)).sum(axis=1)
    if order == "equal":
        rows[:] = rows[0]
    else:
        rows = rows[np.argsort(nearness if order == "rising" else -nearness, kind="stable")]
    blocks, words = pack_blocks(binary_codes(rows)), query_words(binary_codes(many))
    expected = hamming_nearest(blocks, words[:3], 20_000, 9000)
    expected_of_many = hamming_nearest(blocks, words, 20_000, 10)
    for path in NATIVE:
        with use_kernels(path):
            for threads in (1, 2):
                for count in (10, 300, 9000):
                    found = kernels.hamming_nearest(blocks, words[:3], 20_000, count, threads)
                    assert np.array_equal(found, expected[:, :count])
                found = kernels.hamming_nearest(blocks, words, 20_000, 10, threads)
                assert np.array_equal(found, expected_of_many)


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
@pytest.mark.parametrize("k", [2, 10, 100, 256, 257, 300, 1000, 9000])
def test_a_guess_is_wrong_one_time_in_two_thousand(k: int) -> None:
    """By the binomial distribution: ``rank`` or more of k - 1 documents in a share of the rows."""
    from qsearch.kernels import _native

    assert _native.safe_rank(k, 1.0) == k
    for share in (1e-6, 1e-4, 0.001, 0.004, 0.01, 0.03, 0.1, 0.22, 0.5, 0.9, 0.999):
        rank = _native.safe_rank(k, share)
        assert 1 <= rank <= k
        chances = [
            math.exp(
                math.lgamma(k) - math.lgamma(i + 1) - math.lgamma(k - i)
                + i * math.log(share) + (k - 1 - i) * math.log1p(-share)
            )
            for i in range(rank, k)
        ]  # fmt: skip
        assert math.fsum(chances) <= 0.0005


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
def test_shapes_are_checked_at_the_border() -> None:
    rows = unit_rows(np.random.default_rng(0).standard_normal((20, 16)))[0]
    blocks, words = pack_blocks(binary_codes(rows)), query_words(binary_codes(rows[:2]))
    with pytest.raises(ValueError, match="index is out of range"):
        kernels.cosine_gather(rows, rows[:1], np.array([[20]]))
    with pytest.raises(ValueError, match="equal dimensions"):
        kernels.cosine_gather(rows, np.ones((1, 15), np.float32), np.array([[0]]))
    with pytest.raises(ValueError, match="indices or result"):
        kernels.cosine_gather(rows, rows[:2], np.array([[0]]))
    with pytest.raises(ValueError, match="count must be"):
        kernels.hamming_nearest(blocks, words, 20, 21)
    with pytest.raises(ValueError, match="as many words"):
        kernels.hamming_nearest(blocks, np.ones((1, 2), np.uint64), 20, 1)
    with pytest.raises(ValueError, match="blocks have another shape"):
        kernels.hamming_nearest(blocks, words, 25, 1)
    with pytest.raises(TypeError):
        kernels.cosine_gather(rows.astype(np.float64), rows[:1], np.array([[0]]))


def test_a_path_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSEARCH_KERNELS", "abacus")
    with pytest.raises(QueryError, match="QSEARCH_KERNELS is 'abacus'; this machine has .*numpy"):
        kernels.kernel_path()
    with pytest.raises(QueryError, match="the path wanted is 'quill'"), use_kernels("quill"):
        pass
    monkeypatch.setenv("QSEARCH_KERNELS", "numpy")
    assert not kernels.has_native_kernels()


def test_threads_are_counted_by_variable_or_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= kernels.thread_count() <= 256
    for wanted, count in (("", kernels.thread_count()), ("1", 1), ("3", 3), ("256", 256)):
        monkeypatch.setenv("QSEARCH_THREADS", wanted)
        assert kernels.thread_count() == count


@pytest.mark.parametrize(
    "wanted",
    ["x", "0", "-3", "²", "٣", "1.5", " 2", "2\n", "257", "9" * 5000],
    ids=lambda one: one[:4],
)
def test_threads_that_cannot_be_are_named(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", wanted)
    with pytest.raises(QueryError, match="QSEARCH_THREADS is .*; it must be .* from 1 to 256"):
        kernels.thread_count()


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """The pool of the parent has none in the child, which must not wait for them."""
    rows = np.random.default_rng(0).standard_normal((5000, 32)).astype(np.float32)
    blocks, words = pack_blocks(binary_codes(rows)), query_words(binary_codes(rows[:1]))
    expected = kernels.hamming_nearest(blocks, words, 5000, 20, 3)
    child = os.fork()
    if child == 0:
        found = kernels.hamming_nearest(blocks, words, 5000, 20, 3)
        os._exit(0 if np.array_equal(found, expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
def test_python_threads_share_the_kernels() -> None:
    rows = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
    blocks, words = pack_blocks(binary_codes(rows)), query_words(binary_codes(rows[:8]))
    expected = hamming_nearest(blocks, words, 20_000, 50)

    def search(number: int) -> bool:
        some = slice(number % 8, number % 8 + 1)
        found = kernels.hamming_nearest(blocks, words[some], 20_000, 50, 2)
        return np.array_equal(found, expected[some])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(search, range(200)))
