"""Every bound of docs/exactness.md against exact arithmetic, and that each is needed."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.codes.bounds
import qsearch.codes.int8
import qsearch.codes.rotated
import qsearch.retrieval.exact
from qsearch import Index
from qsearch.codes import (
    fit_rotation,
    fit_rotation_to,
    int8_codes,
    int8_query_codes,
    rotated_codes,
    rotated_query_codes,
    rotation_error,
    unit_rows,
)
from qsearch.kernels import Margins, kernel_paths, use_kernels
from qsearch.kernels.reference import project
from qsearch.retrieval import ExactSearch
from qsearch.retrieval.ranking import unit_queries
from qsearch.store import Segment
from tests.retrieval.segments import NATIVE, oracle, segment_of


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
    for seed, n in ((0, 24), (1, 24), (2, 3)):  # codes of few queries may be larger
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
    assert worst <= qsearch.codes.bounds.SCAN_SLACK
    assert worst >= qsearch.codes.bounds.SCAN_SLACK / 40


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


def check_native_sieve() -> None:
    """A sieve has as much room as a scan has, and what is not above -1 is not left out by it."""
    from qsearch.kernels import _native

    room = Fraction(qsearch.codes.bounds.SCAN_SLACK)
    generator = np.random.default_rng(0)
    for score in generator.uniform(-1, 1, size=500).astype(np.float32):
        factor, along, slack = generator.uniform((1e-3, 0.5, 0.0), (1e-2, 1.0, 1e-2)).tolist()
        needed = Fraction(float(score)) - Fraction(2.0**-24) - Fraction(slack) - room
        threshold = Fraction(_native.sieve_threshold(float(score), factor, slack))
        assert threshold <= needed / Fraction(factor)
        assert needed / Fraction(factor) - threshold <= abs(threshold) / 2**20 + Fraction(2.0**-100)
        residual_factor, least = map(Fraction, _native.sieve_factors(factor, along))
        exact = Fraction(along) / Fraction(factor)
        assert exact <= residual_factor <= exact * (1 + Fraction(1, 2**21))
        assert (room - 1) / Fraction(factor) <= least <= (2 * room - 1) / Fraction(factor)


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
    check_native_sieve()
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


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize(
    ("of", "field", "search"),
    [
        ("int8_margins", "growth", tight_residual),
        ("rotated_margins", "growth", tight_residual),
        ("rotated_margins", "outward", tight_rest),
    ],
)
def test_a_margin_that_is_one_percent_too_small_gives_a_wrong_answer(
    monkeypatch: pytest.MonkeyPatch, of: str, field: str, search: Callable[..., None], path: str
) -> None:
    """So a search takes the margins that the checks above hold to exact arithmetic."""
    real = getattr(qsearch.retrieval.exact, of)

    def understated(*given: Any) -> Margins:
        margins = real(*given)
        return margins._replace(**{field: 0.99 * getattr(margins, field)})

    monkeypatch.setattr(qsearch.retrieval.exact, of, understated)
    with use_kernels(path), pytest.raises(AssertionError):
        search(plain_segment)


def no_slack(h: int, d: int, error: float) -> float:
    return 0.0


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
        (qsearch.codes.bounds, "UNIT_SLACK", -(2.0**-22), check_query_lengths),
        (qsearch.codes.bounds, "SCAN_SLACK", 0.0, check_scan_slack),
        (qsearch.codes.bounds, "SCAN_SLACK", 0.0, check_rotated_query_lengths),
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
        (qsearch.codes.bounds, "rest_slack", no_slack, check_rotated_query_lengths),
        (qsearch.codes.rotated, "rest_slack", no_slack, check_rotated_bounds),
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
