"""Codes equal their plain NumPy definition, bit for bit, and what they lose is bounded."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sentence_transformers import quantize_embeddings

from qsearch.codes import (
    binary_codes,
    int8_codes,
    pack_blocks,
    query_words,
    unit_rows,
    unpack_blocks,
    usable_rows,
)
from qsearch.kernels import hamming_distances

rows_of_any_kind = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 20), st.integers(1, 70)),
    elements=st.floats(-1, 1, width=32, allow_subnormal=False),
)


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return unit_rows(rows)[0]


@pytest.mark.parametrize("d", [8, 24, 384, 1000])
def test_binary_codes_are_those_of_sentence_transformers(d: int) -> None:
    rows = unit(300, d)
    rows[5, 3] = 0.0
    rows[6] = np.abs(rows[6])
    assert np.array_equal(binary_codes(rows), quantize_embeddings(rows, "ubinary"))


@pytest.mark.parametrize("d", [8, 384])
def test_binary_codes_are_those_of_faiss(d: int) -> None:
    rows = unit(200, d)
    index = faiss.IndexBinaryFlat(d)
    index.add(binary_codes(rows))
    distances, found = index.search(binary_codes(rows[:5]), 200)
    words = query_words(binary_codes(rows))
    ours = hamming_distances(pack_blocks(binary_codes(rows)), words[:5], 200)
    assert np.array_equal(np.take_along_axis(ours, found, axis=1), distances)


@given(rows_of_any_kind)
def test_blocks_give_their_rows_back(rows: np.ndarray) -> None:
    codes = binary_codes(rows)
    blocks = pack_blocks(codes)
    assert blocks.shape == (-(-len(rows) // 8), -(-codes.shape[1] // 8), 8)
    assert np.array_equal(unpack_blocks(blocks, len(rows), codes.shape[1]), codes)


def test_blocks_of_pieces_join_up() -> None:
    codes = binary_codes(unit(100, 130))
    joined = np.concatenate([pack_blocks(codes[:64]), pack_blocks(codes[64:])])
    assert np.array_equal(joined, pack_blocks(codes))


@given(rows_of_any_kind)
def test_int8_codes_are_their_definition(rows: np.ndarray) -> None:
    result = int8_codes(rows)
    for row, code, scale in zip(rows, result.codes, result.scale, strict=True):
        expected = np.abs(row).max() / np.float32(127)
        assert scale == expected
        assert scale.dtype == np.float32
        if expected > 0:
            assert np.array_equal(code, np.rint(row / expected).astype(np.int8))
        else:
            assert not code.any()


@given(rows_of_any_kind)
def test_the_residual_is_an_upper_bound_and_tight(rows: np.ndarray) -> None:
    result = int8_codes(rows)
    wide = np.longdouble
    lost = rows.astype(wide) - result.scale.astype(wide)[:, None] * result.codes.astype(wide)
    exact = np.sqrt((lost * lost).sum(axis=1))
    assert (result.residual >= exact).all()
    assert (result.residual <= exact * (1 + 1e-6) + 1e-44).all()


def test_a_code_does_not_depend_on_its_neighbours() -> None:
    rows = unit(500, 384)
    together = int8_codes(rows)
    for i in (0, 17, 499):
        alone = int8_codes(rows[i : i + 1])
        assert np.array_equal(alone.codes[0], together.codes[i])
        assert alone.scale[0] == together.scale[i]
        assert alone.residual[0] == together.residual[i]


@pytest.mark.parametrize("factor", [1e-45, 1e-38, 1e38])
def test_codes_stand_tiny_and_huge_rows(factor: float) -> None:
    rows = (unit(5, 16) * factor).astype(np.float32)
    result = int8_codes(rows)
    assert np.isfinite(result.scale).all()
    assert np.isfinite(result.residual).all()
    assert (np.abs(result.codes.astype(int)) <= 127).all()


@settings(max_examples=200)
@given(
    npst.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 40)),
        elements=st.floats(allow_nan=True, allow_infinity=True),
    )
)
def test_unit_rows_have_length_one_or_are_refused(rows: np.ndarray) -> None:
    result, usable = unit_rows(rows)
    expected = np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)
    assert np.array_equal(usable, expected)
    lengths = np.sqrt((result.astype(np.float64) ** 2).sum(axis=1))
    assert np.allclose(lengths[usable], 1.0, atol=1e-6)
    assert not result[~usable].any()


def test_a_unit_row_is_the_float64_quotient_rounded_once() -> None:
    rows = np.random.default_rng(3).standard_normal((50, 384)).astype(np.float32)
    wide = rows.astype(np.longdouble)
    exact = wide / np.sqrt((wide * wide).sum(axis=1))[:, None]
    assert np.array_equal(unit_rows(rows)[0], exact.astype(np.float32))


def test_rows_are_usable_where_they_have_a_direction() -> None:
    some = np.zeros((3000, 5))
    some[1::3] = 1e-320
    some[2::3, 3] = 1e300
    some[7, 0], some[1300, 4], some[2999, 2] = np.nan, np.inf, -np.inf
    for dtype in (np.float16, np.float32, np.float64):
        with np.errstate(over="ignore"):
            rows = some.astype(dtype)
        assert (usable_rows(rows) == unit_rows(rows)[1]).all()
    assert usable_rows(np.zeros((2, 0))).tolist() == [False, False]
