"""Exact search is brute force, bit for bit, and the bounds that prove it hold and are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import qsearch.codes.bounds
import qsearch.codes.int8
import qsearch.codes.rotated
import qsearch.retrieval.exact
from qsearch import Index
from qsearch.codes import (
    binary_codes,
    fit_rotation,
    fit_rotation_to,
    int8_codes,
    int8_query_codes,
    pack_blocks,
    rotated_codes,
    rotated_query_codes,
    rotation_error,
    unit_rows,
)
from qsearch.errors import IndexFormatError
from qsearch.kernels import kernel_paths, project, use_kernels
from qsearch.kernels.reference import cosine_gather
from qsearch.retrieval import ExactSearch
from qsearch.retrieval.ranking import unit_queries
from qsearch.store import Segment
from qsearch.store.segment import RotatedArrays

NATIVE = [path for path in kernel_paths() if path != "numpy"]
KINDS = ("random", "grid", "one-hot", "equal", "nearly equal", "duplicates", "low rank", "negative")


def oracle(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The definition: every row scored in float64, rounded to float32, ties by position."""
    every = np.arange(len(rows))
    scores = cosine_gather(rows, queries, np.tile(every, (len(queries), 1)))
    order = np.lexsort((np.broadcast_to(every, scores.shape), -scores), axis=1)[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def segment_of(
    rows: np.ndarray, first: int = 0, rotation: np.ndarray | None = None, energy: float = 0.88
) -> Segment:
    """A segment in memory."""
    if rotation is None:
        wide = rows.astype(np.float64)
        rotation = fit_rotation(wide.T @ wide, energy)
    int8 = int8_codes(rows)
    error = rotation_error(rotation)
    rotated = rotated_codes(rows, rotation, error)
    return Segment(
        id="memory",
        first_row=first,
        first_document=first,
        rows=len(rows),
        vectors=rows,
        int8=int8.codes,
        scale=int8.scale,
        residual=int8.residual,
        binary=pack_blocks(binary_codes(rows)),
        rotated=RotatedArrays(rotation, rotated.blocks, rotated.bounds),
        passages=None,
        graph=None,
    )


def segments_of(rows: np.ndarray, pieces: int = 1, energy: float = 0.88) -> list[Segment]:
    segments, first = [], 0
    for piece in np.array_split(rows, pieces):
        segments.append(segment_of(piece, first, energy=energy))
        first += len(piece)
    return segments


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


def rows_of(kind: str, n: int, d: int, generator: np.random.Generator) -> np.ndarray:
    rows = generator.standard_normal((n, d))
    if kind == "grid":
        rows = np.rint(rows)
        rows[~rows.any(axis=1)] = 1.0
    elif kind == "one-hot":
        rows = np.eye(d)[generator.integers(d, size=n)]
    elif kind == "equal":
        rows[:] = rows[0]
    elif kind == "nearly equal":
        rows = rows[0] * (1 + 1e-7 * generator.standard_normal((n, d)))
    elif kind == "duplicates":
        rows = rows[generator.integers(max(1, n // 3), size=n)]
    elif kind == "low rank":
        rank = max(1, d // 8)
        rows = generator.standard_normal((n, rank)) @ generator.standard_normal((rank, d))
        rows += 1e-3 * generator.standard_normal((n, d))
    elif kind == "negative":
        rows = -np.abs(rows)
    return unit_rows(rows)[0]


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
    assert whole.stages[2].rows.mean() < 400
    assert pieces.stages[2].rows.mean() < 500  # 670 with guesses about rows that are yet to come


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
    take = qsearch.retrieval.exact._Kept.take

    def watched(kept: qsearch.retrieval.exact._Kept, *block: Any) -> None:
        nonlocal longest
        take(kept, *block)
        longest = max(longest, kept.waiting)

    monkeypatch.setattr(qsearch.retrieval.exact._Kept, "take", watched)
    segments = [
        replace(segment_of(piece, first), rotated=None)  # so the floats are searched
        for piece, first in ((rows[:20_000], 0), (rows[20_000:], 20_000))
    ]
    truth = oracle(rows, queries, 2000)
    for k, most in ((1, 4096), (10, 4096), (2000, 32_000)):
        longest = 0
        check(segments, queries, k, 1, truth)
        assert 0 < longest <= most


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_refused(value: float) -> None:
    rows = rows_of("random", 100, 16, np.random.default_rng(0))
    segment = segment_of(rows.copy())
    segment.vectors[0] = value  # the codes still say that it is the nearest
    for path in kernel_paths():
        with use_kernels(path), pytest.raises(IndexFormatError, match="not finite"):
            ExactSearch([segment]).search(rows[:1], 5)


BOUNDS = ("rotated scale", "rotated residual", "rest")


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


# The bounds, in exact arithmetic


def exact_dot(left: np.ndarray, right: np.ndarray) -> Fraction:
    return sum(
        (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(left, right, strict=True)),
        Fraction(0),
    )


def small_rows(seed: int = 0, n: int = 24, d: int = 12) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return unit_rows(generator.standard_normal((n, d)) * (1.0 / (1 + np.arange(d))))[0]


def check_int8_residuals() -> None:
    """At least the length of what is lost, and hardly more."""
    for seed in range(4):
        rows = small_rows(seed)
        codes = qsearch.codes.int8.int8_codes(rows)
        for row, code, scale, residual in zip(rows, *codes, strict=True):
            lost = [
                Fraction(float(x)) - Fraction(float(scale)) * int(c)
                for x, c in zip(row, code, strict=True)
            ]
            square = sum((one * one for one in lost), Fraction(0))
            assert Fraction(float(residual)) ** 2 >= square
            assert Fraction(float(residual)) ** 2 <= square * (1 + Fraction(1, 10**6))


def check_rotated_bounds() -> None:
    """Residual and rest are at least what they stand for, and hardly more."""
    for seed in range(3):
        rows = small_rows(seed)
        wide = rows.astype(np.float64)
        rotation = np.ascontiguousarray(
            np.linalg.eigh(wide.T @ wide)[1][:, ::-1][:, :5].T, dtype=np.float32
        )
        error = rotation_error(rotation)
        gram = [[exact_dot(a, b) - (i == j) for j, b in enumerate(rotation)]
                for i, a in enumerate(rotation)]  # fmt: skip
        frobenius = sum((one * one for line in gram for one in line), Fraction(0))
        assert Fraction(error) ** 2 >= frobenius
        blocks, bounds = qsearch.codes.rotated.rotated_codes(rows, rotation, error)
        codes = blocks.transpose(0, 2, 1, 3).reshape(-1, 8)[: len(rows), :5].astype(int) - 128
        for i, row in enumerate(rows):
            scale, residual, rest = (Fraction(float(one)) for one in bounds[i // 16, :, i % 16])
            along = [exact_dot(axis, row) for axis in rotation]
            lost = sum(
                ((y - scale * int(c)) ** 2 for y, c in zip(along, codes[i], strict=True)),
                Fraction(0),
            )
            assert residual**2 >= lost
            assert residual**2 <= lost * (1 + Fraction(1, 10**6)) + Fraction(1, 10**20)
            left = exact_dot(row, row) - sum((y * y for y in along), Fraction(0)) / (
                1 + Fraction(error)
            )
            assert rest**2 >= left
            assert rest**2 <= left * (1 + Fraction(1, 10**6)) + Fraction(4 * error)


def check_intervals() -> None:
    """No cosine passes what the codes of row and query say; one that they say exactly is reached."""
    for seed in range(3):
        rows = small_rows(seed)
        queries = np.concatenate([small_rows(seed + 10, n=6), np.eye(12, dtype=np.float32)[:4]])
        units = unit_queries(queries)
        rotation = np.ascontiguousarray(
            np.linalg.eigh(rows.astype(np.float64).T @ rows)[1][:, ::-1][:, :5].T,
            dtype=np.float32,
        )
        error = rotation_error(rotation)
        int8 = int8_codes(rows)
        rotated = rotated_codes(rows, rotation, error)
        packed = rotated.blocks.transpose(0, 2, 1, 3).reshape(-1, 8)[: len(rows)].astype(int) - 128
        plain = qsearch.codes.bounds.int8_query_codes(units)
        head = qsearch.codes.bounds.rotated_query_codes(units, rotation, error)
        for i, query in enumerate(queries):
            length = exact_dot(query, query)
            for j, row in enumerate(rows):
                product = exact_dot(query, row)
                squared = product * product / (length * exact_dot(row, row))  # of the cosine
                for codes, code, (scale, residual, rest) in (
                    (plain, int8.codes[j], (int8.scale[j], int8.residual[j], 0.0)),
                    (head, packed[j], rotated.bounds[j // 16, :, j % 16]),
                ):
                    factor, along, beside, slack = (Fraction(one) for one in codes.intervals[i])
                    dot = int(codes.codes[i].astype(int) @ code)
                    bound = (
                        factor * Fraction(float(scale)) * dot
                        + along * Fraction(float(residual))
                        + beside * Fraction(float(rest))
                        + slack
                    )
                    if product > 0:
                        assert bound >= 0
                        assert bound * bound >= squared
                    else:
                        assert bound >= 0 or bound * bound <= squared


def check_query_lengths() -> None:
    """What a query's code may lose, and its length, are not understated."""
    for seed in range(3):
        units = small_rows(seed)
        codes, intervals = qsearch.codes.bounds.int8_query_codes(units)
        for unit, code, (factor, along, _, slack) in zip(units, codes, intervals, strict=True):
            lost = sum(
                ((Fraction(float(x)) - Fraction(factor) * int(c)) ** 2
                 for x, c in zip(unit, code, strict=True)),
                Fraction(0),
            )  # fmt: skip
            length = sum((Fraction(factor) ** 2 * int(c) ** 2 for c in code), Fraction(0))
            assert Fraction(along) ** 2 >= length
            # Beside the loss there is room for unit vectors that are rounded to float32.
            assert Fraction(slack) >= Fraction(2.0**-23)
            assert (Fraction(slack) - Fraction(2.0**-23)) ** 2 >= lost


ROUNDOFF, FLOAT_ROUNDOFF = Fraction(1, 2**53), Fraction(1, 2**24)


def some_axes(rows: np.ndarray, h: int) -> np.ndarray:
    wide = rows.astype(np.float64)
    axes = np.linalg.eigh(wide.T @ wide)[1][:, ::-1][:, :h].T
    return np.ascontiguousarray(axes, dtype=np.float32)


def check_product_error() -> None:
    """Products in float64 err by less, however they are summed, and the bound is not wide."""
    for d, h in ((12, 5), (40, 7), (64, 64)):
        rows = small_rows(d, n=6, d=d)
        axes = some_axes(small_rows(d + 1, n=80, d=d), h)
        bound = Fraction(qsearch.codes.rotated.product_error(h, d))
        by_theory = d * ROUNDOFF * Fraction(np.sqrt(h)) / (1 - d * ROUNDOFF)
        assert by_theory * (1 + Fraction(1, 2**20)) <= bound <= 2 * by_theory
        for kept in (project(rows, axes), rows.astype(np.float64) @ axes.T.astype(np.float64)):
            for row, found in zip(rows, kept, strict=True):
                errors = [
                    Fraction(float(one)) - exact_dot(axis, row)
                    for axis, one in zip(axes, found, strict=True)
                ]
                square = sum((one * one for one in errors), Fraction(0))
                assert 0 < square <= bound**2


def check_rotated_query_lengths() -> None:
    """What a query's rotated code may lose, its length and its rest are not understated."""
    for seed, n in ((0, 24), (1, 24), (2, 3)):  # few queries are projected by another kernel
        units = small_rows(seed, n=n)
        rotation = some_axes(small_rows(seed), 5)
        error = Fraction(rotation_error(rotation))
        codes, intervals = qsearch.codes.bounds.rotated_query_codes(
            units, rotation, rotation_error(rotation)
        )
        for unit, code, interval in zip(units, codes[:, :5], intervals, strict=True):
            factor, along, rest, slack = (Fraction(one) for one in interval)
            kept = [exact_dot(axis, unit) for axis in rotation]
            lost = sum(
                ((y - factor * int(c)) ** 2 for y, c in zip(kept, code, strict=True)),
                Fraction(0),
            )
            assert along >= 0
            assert along**2 >= sum((factor**2 * int(c) ** 2 for c in code), Fraction(0))
            left = exact_dot(unit, unit) - sum((y * y for y in kept), Fraction(0)) / (1 + error)
            assert rest >= 0
            assert rest**2 >= left
            assert rest**2 <= left + 2 * error + Fraction(1, 10**12)
            # The terms of docs/exactness.md: 4 u for unit vectors, 20 u for the scan, and what an
            # order of summation that is worse than this one could have hidden.
            constant = Fraction(11, 10) * error + 24 * FLOAT_ROUNDOFF
            products = 12 * ROUNDOFF * Fraction(np.sqrt(5.0))
            growth = (1 + error) * (1 + 4 * FLOAT_ROUNDOFF)
            spare = (slack - constant) / growth - products
            assert spare >= 0
            assert spare**2 >= lost
            assert spare**2 <= lost * (1 + Fraction(1, 10**6)) + Fraction(1, 10**20)


def check_scan_slack() -> None:
    """Six roundings of float32 fit the slack that the scan is given, and are not far below it."""
    generator = np.random.default_rng(0)
    worst = 0.0
    for _ in range(4000):
        dot = np.int32(generator.integers(2**24, 2**26) | 1)  # of 4,096 components
        scale = np.float32(generator.uniform(0.5, 1.0) / 2**26)
        factor, residual, rest = generator.uniform(0.2, 1.0, size=3).astype(np.float32)
        first = np.float32(dot) * scale
        second = np.float32(first + np.float32(factor * residual))
        third = np.float32(second + np.float32(factor * rest))
        exact = (
            Fraction(int(dot)) * Fraction(float(scale))
            + Fraction(float(factor)) * Fraction(float(residual))
            + Fraction(float(factor)) * Fraction(float(rest))
        )
        worst = max(worst, abs(float(Fraction(float(third)) - exact)))
    assert worst <= qsearch.codes.bounds._SCAN_SLACK
    assert worst >= qsearch.codes.bounds._SCAN_SLACK / 40


def check_native_roundings() -> None:
    from qsearch.kernels import _native

    generator = np.random.default_rng(0)
    for value in generator.uniform(-2, 2, size=500):
        exact = Fraction(value)
        assert exact <= Fraction(_native.round_up(value)) <= exact + abs(exact) / 2**21
        assert exact >= Fraction(_native.round_down(value)) >= exact - abs(exact) / 2**21
        score, factor = np.float32(value), float(generator.uniform(1e-3, 1))
        needed = (Fraction(float(score)) - Fraction(2.0**-24)) / Fraction(factor)
        threshold = Fraction(_native.scan_threshold(float(score), factor, 0.0))
        assert threshold <= needed
        assert needed - threshold <= abs(needed) * Fraction(2.0**-20) + Fraction(2.0**-100)
        others = generator.uniform(0, 1, size=2)
        factors = _native.scan_factors(factor, *others)
        for found, other in zip(factors, others, strict=True):
            exact = Fraction(other) / Fraction(factor)
            assert exact <= Fraction(found) <= exact * (1 + Fraction(1, 2**21))


def check_native_bounds() -> None:
    """A cosine is between what its int8 code says, and so is the score after its rounding.

    Rounding to float32 moves a number from -1 to 1 by half a unit in the last place, 2⁻²⁵.
    """
    from qsearch.kernels import _native

    half_a_unit = Fraction(1, 2**25)
    generator = np.random.default_rng(0)
    for _ in range(1000):
        factor, along, slack = generator.uniform((1e-3, 0.5, 0.0), (1e-2, 1.0, 1e-2)).tolist()
        scale, residual = map(float, generator.uniform((1e-3, 0), (2e-3, 2e-2)).astype(np.float32))
        dot = int(generator.integers(-50_000, 50_000))
        middle = Fraction(factor) * Fraction(scale) * dot
        width = Fraction(along) * Fraction(residual) + Fraction(slack)
        lower, upper = map(
            Fraction, _native.int8_bounds(factor, along, slack, scale, residual, dot)
        )
        assert middle + width <= upper <= middle + width + Fraction(1, 2**22)
        assert lower <= middle - width - half_a_unit
        assert lower >= middle - width - Fraction(1, 2**22)
    for score in generator.uniform(-1, 1, size=500).astype(np.float32):
        bound = score
        for _ in range(20):
            distance = Fraction(float(score)) - Fraction(float(bound))
            if _native.out(float(bound), float(score)):
                assert distance > half_a_unit
            else:
                assert distance < Fraction(1, 2**22)
            bound = np.nextafter(bound, np.float32(-np.inf)) - np.float32(2.0**-27)


SegmentOf = Callable[[np.ndarray, int], Segment]
"""Makes a segment of rows, whose first has a position."""


def last_row_wins(rows: np.ndarray, queries: np.ndarray, segment: SegmentOf) -> None:
    """The last row lies in a segment of its own: the best score of the others is known before it."""
    units = unit_rows(rows)[0]
    last = len(rows) - 1
    search = ExactSearch([segment(units[:last], 0), segment(units[last:], last)])
    assert search.search(queries, 1, 1).positions.tolist() == [[last]]


def tight_residual(segment: SegmentOf) -> None:
    """The last row loses its whole residual in the direction of the query, and wins by less."""
    step = 1.0 / 127
    losing, winning = 10.497 * step, 10.4995 * step  # both have code 10
    queries = np.zeros((1, 64), dtype=np.float32)
    queries[0, 1] = 1.0
    rows = np.zeros((200, 64))
    rows[:, 0] = 1.0
    rows[:, 1] = losing
    rows[-1, 1] = winning
    last_row_wins(rows, queries, segment)


def tight_rest(segment: SegmentOf) -> None:
    """The last row lies beside all kept axes, along the query's own rest, and wins by little."""
    d, kept = 64, 32
    queries = np.zeros((1, d), dtype=np.float32)
    queries[0, 0], queries[0, kept] = 0.6, 0.8
    rows = np.zeros((200, d))
    rows[:, 0] = 1.0
    winner = np.zeros(d)
    winner[0], winner[kept] = np.cos(0.3), np.sin(0.3)
    score = winner @ queries[0]
    rows[:-1] = 0.0
    rows[:-1, 0] = score - 0.001  # scores 0.6 (score - 0.001) by its first component,
    rows[:-1, kept] = (score - 0.001) * 0.4 / 0.8  # and the rest so that the sum is right
    rows[:-1, 1] = np.sqrt(1 - np.square(rows[0]).sum())
    rows[-1] = winner
    last_row_wins(rows, queries, segment)


def plain_segment(rows: np.ndarray, first: int) -> Segment:
    kept = 32 if rows[0, 32] else 64
    return segment_of(rows, first, np.eye(64, dtype=np.float32)[:kept])


def test_the_bounds_hold_in_exact_arithmetic() -> None:
    check_int8_residuals()
    check_rotated_bounds()
    check_intervals()
    check_query_lengths()
    check_product_error()
    check_rotated_query_lengths()
    check_scan_slack()


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
def test_native_roundings_go_outwards() -> None:
    check_native_roundings()
    check_native_bounds()


@pytest.mark.parametrize("path", kernel_paths())
def test_rows_that_only_their_bounds_let_through_are_found(path: str) -> None:
    with use_kernels(path):
        tight_residual(plain_segment)
        tight_rest(plain_segment)


def inwards(values: np.ndarray) -> np.ndarray:
    rounded = values.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > values, below, rounded)


def shrunk(which: int) -> SegmentOf:
    """Segments one of whose bounds is understated by 1%."""

    def make(rows: np.ndarray, first: int) -> Segment:
        segment = plain_segment(rows, first)
        assert segment.rotated is not None
        if which == 0:
            segment.residual[:] *= np.float32(0.99)
        else:
            segment.rotated.bounds[:, which] *= np.float32(0.99)
        return segment

    return make


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize(
    ("which", "search"), [(0, tight_residual), (1, tight_residual), (2, tight_rest)]
)
def test_a_bound_that_is_one_percent_too_small_gives_a_wrong_answer(
    which: int, search: Callable[..., None], path: str
) -> None:
    """So the searches above would notice."""
    with use_kernels(path), pytest.raises(AssertionError):
        search(shrunk(which))


def bare_rest(rows: np.ndarray, kept: np.ndarray, error: float) -> np.ndarray:
    return np.sqrt(1.0 - np.square(kept).sum(axis=1))


def understating(which: int) -> Callable[..., qsearch.codes.bounds.QueryCodes]:
    """``rotated_query_codes`` with one of the four numbers of a query 1% too small."""

    def make(*given: Any) -> qsearch.codes.bounds.QueryCodes:
        codes, intervals = rotated_query_codes(*given)
        intervals[:, which] *= 0.99
        return qsearch.codes.bounds.QueryCodes(codes, intervals)

    return make


@pytest.mark.parametrize(
    ("target", "name", "value", "noticed"),
    [
        (qsearch.codes.int8, "round_up", inwards, check_int8_residuals),
        (qsearch.codes.rotated, "round_up", inwards, check_rotated_bounds),
        (qsearch.codes.rotated, "ROUNDOFF", -(2.0**-20), check_rotated_bounds),
        (qsearch.codes.bounds, "ROUNDOFF", -(2.0**-45), check_query_lengths),
        (qsearch.codes.bounds, "_UNIT_SLACK", -(2.0**-22), check_query_lengths),
        (qsearch.codes.bounds, "_SCAN_SLACK", 0.0, check_scan_slack),
        (qsearch.codes.bounds, "_SCAN_SLACK", 0.0, check_rotated_query_lengths),
        (qsearch.codes.rotated, "product_error", lambda h, d: 0.0, check_product_error),
        (
            qsearch.codes.rotated,
            "product_error",
            lambda h, d: -1.1 * d * 2.0**-53 * h**0.5,
            check_product_error,
        ),
        (qsearch.codes.bounds, "product_error", lambda h, d: 0.0, check_rotated_query_lengths),
        (
            qsearch.codes.bounds,
            "product_error",
            lambda h, d: -1.1 * d * 2.0**-53 * h**0.5,
            check_rotated_query_lengths,
        ),
        (qsearch.codes.bounds, "rest_length", bare_rest, check_rotated_query_lengths),
        (qsearch.codes.bounds, "rotated_query_codes", understating(1), check_rotated_query_lengths),
        (qsearch.codes.bounds, "rotated_query_codes", understating(2), check_rotated_query_lengths),
        (qsearch.codes.bounds, "rotated_query_codes", understating(3), check_rotated_query_lengths),
    ],
)
def test_a_rounding_that_is_turned_inwards_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    target: object,
    name: str,
    value: object,
    noticed: Callable[[], None],
) -> None:
    monkeypatch.setattr(target, name, value)
    with pytest.raises(AssertionError):
        noticed()


def test_a_residual_that_is_understated_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = qsearch.codes.int8.int8_codes

    def understated(rows: np.ndarray) -> qsearch.codes.int8.Int8Codes:
        codes, scale, residual = real(rows)
        return qsearch.codes.int8.Int8Codes(codes, scale, residual * np.float32(0.99))

    monkeypatch.setattr(qsearch.codes.int8, "int8_codes", understated)
    with pytest.raises(AssertionError):
        check_int8_residuals()


def test_codes_of_queries_have_the_shapes_they_promise() -> None:
    units = small_rows(n=3, d=10)
    rotation = np.eye(10, dtype=np.float32)[:5]
    head = rotated_query_codes(units, rotation, rotation_error(rotation))
    assert head.codes.shape == (3, 8)
    assert head.codes.dtype == np.int8
    assert not head.codes[:, 5:].any()
    assert int8_query_codes(units).codes.shape == (3, 10)


@pytest.mark.parametrize("n", [1, 5, 64, 300])
def test_few_rows_of_many_dimensions_have_the_same_axes(n: int) -> None:
    generator = np.random.default_rng(n)
    spectrum = 1.0 / (1.0 + np.arange(512) / 8)
    rows = unit_rows(generator.standard_normal((n, 512)) * spectrum)[0]
    wide = rows.astype(np.float64)
    fitted, expected = fit_rotation_to(rows), fit_rotation(wide.T @ wide)
    assert len(fitted) == min(n, len(expected))
    assert rotation_error(fitted) < 1e-5
    kept = np.square(wide @ fitted.T).sum(), np.square(wide @ expected.T).sum()
    assert kept[0] == pytest.approx(kept[1], rel=1e-5)


def test_more_dimensions_than_axes_are_fitted_to(tmp_path: Path) -> None:
    rows = unit_rows(np.random.default_rng(0).standard_normal((400, 3000)))[0]
    with Index.build(None, tmp_path / "i", embeddings=rows) as index:
        result = index.search_vectors(rows[:3] + rows[3:6], k=5)
    positions, scores = oracle(rows, rows[:3] + rows[3:6], 5)
    assert np.array_equal(result.positions, positions)
    assert result.scores.tobytes() == scores.tobytes()
