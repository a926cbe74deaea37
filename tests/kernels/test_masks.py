"""Row masks: bits and what they mean, and every kernel under them."""

from __future__ import annotations

import numpy as np
import pytest

from qsearch.codes import binary_codes, pack_blocks, query_words
from qsearch.kernels import RowMask, hamming_nearest, kernel_paths, use_kernels
from qsearch.kernels.reference import hamming_distances
from tests.kernels.patterns import PATTERNS, pattern


@pytest.mark.parametrize("rows", [1, 7, 8, 15, 16, 17, 64, 65, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mask_says_what_it_was_made_of(rows: int, share: float) -> None:
    allowed = np.random.default_rng(rows).random(rows) < share
    mask = RowMask.of(allowed)
    assert len(mask.bits) == -(-rows // 16) * 2
    assert mask.rows == rows
    assert mask.allowed == allowed.sum()
    np.testing.assert_array_equal(mask.to_bools(), allowed)
    np.testing.assert_array_equal(mask.indices(), np.flatnonzero(allowed))
    assert mask.blocks == sum(allowed[i : i + 16].any() for i in range(0, rows, 16))
    for first in range(0, rows, 40):
        last = min(rows, first + 29)
        np.testing.assert_array_equal(mask.to_bools(first, last), allowed[first:last])


def test_pieces_of_a_mask_join_up() -> None:
    allowed = np.random.default_rng(4).random(1_003) < 0.5
    mask = RowMask.of(allowed)
    pieces = [mask.piece(first, min(1_003, first + 96)) for first in range(0, 1_003, 96)]
    np.testing.assert_array_equal(np.concatenate([one.to_bools() for one in pieces]), allowed)
    assert sum(one.allowed for one in pieces) == mask.allowed


def test_both_masks_must_allow_a_row() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 77)) < 0.5
    both = RowMask.of(one) & RowMask.of(other)
    np.testing.assert_array_equal(both.to_bools(), one & other)
    with pytest.raises(ValueError, match="77 and of 76 rows"):
        RowMask.of(one) & RowMask.of(other[:76])


@pytest.mark.parametrize("path", kernel_paths())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", PATTERNS)
def test_the_nearest_by_bits_are_those_that_are_allowed(kind: str, threads: int, path: str) -> None:
    generator = np.random.default_rng(7)
    for rows, d, count in ((1, 3, 1), (200, 70, 5), (9_001, 40, 33)):
        codes = binary_codes(generator.standard_normal((rows, d)).astype(np.float32))
        words = query_words(binary_codes(generator.standard_normal((9, d)).astype(np.float32)))
        blocks = pack_blocks(codes)
        allowed = pattern(kind, rows, generator)
        some = min(count, int(allowed.sum()))
        with use_kernels(path):
            found = hamming_nearest(blocks, words, rows, some, threads, RowMask.of(allowed))
        there = np.flatnonzero(allowed)
        distances = hamming_distances(blocks, words, rows)[:, there]
        order = np.lexsort((np.broadcast_to(there, distances.shape), distances), axis=1)
        np.testing.assert_array_equal(found, there[order[:, :some]])


@pytest.mark.parametrize("path", [one for one in kernel_paths() if one != "numpy"])
def test_native_kernels_look_at_the_mask_first(path: str) -> None:
    codes = pack_blocks(binary_codes(np.random.default_rng(1).standard_normal((40, 8))))
    words = query_words(binary_codes(np.ones((1, 8), dtype=np.float32)))

    def search(mask: RowMask, count: int) -> None:
        with use_kernels(path):
            hamming_nearest(codes, words, 40, count, 1, mask)

    with pytest.raises(ValueError, match="another shape"):
        search(RowMask.of(np.ones(60, dtype=bool)), 1)
    with pytest.raises(ValueError, match="behind the last"):
        search(RowMask(np.full(6, 255, dtype=np.uint8), 40), 1)
    with pytest.raises(ValueError, match="count must be 1 to the rows that are allowed"):
        search(RowMask.of(np.arange(40) < 5), 6)
