"""A file, or some pages of it, that came back as zeros: the commonest damage of all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qsearch.codes import unit_rows
from qsearch.errors import IndexFormatError
from qsearch.kernels import kernel_paths, use_kernels
from qsearch.retrieval import ExactSearch
from qsearch.store import Segment
from tests.retrieval.segments import segment_of

ROWS, DIMENSIONS = 6000, 96
NATIVE = [path for path in kernel_paths() if path != "numpy"]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    generator = np.random.default_rng(0)
    spectrum = 1.0 / (1.0 + np.arange(DIMENSIONS) / 12)
    return unit_rows(generator.standard_normal((ROWS, DIMENSIONS)) * spectrum)[0]


def zeroed(segment: Segment, name: str, part: slice) -> Segment:
    """The segment with some bytes of an array set to zero."""
    assert segment.rotated is not None
    if name in ("blocks", "bounds", "rotation"):
        array = getattr(segment.rotated, name).copy()
        array.reshape(-1).view(np.uint8)[part] = 0
        return dataclasses.replace(
            segment, rotated=dataclasses.replace(segment.rotated, **{name: array})
        )
    array = getattr(segment, name).copy()
    array.reshape(-1).view(np.uint8)[part] = 0
    return dataclasses.replace(segment, **{name: array})


PARTS = {
    "all": slice(None),
    "the first page": slice(0, 4096 - 128),
    "a page": slice(4096 * 3 - 128, 4096 * 4 - 128),
    "the last pages": slice(-9000, None),
}


@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["scale", "int8", "blocks", "bounds"])
def test_zeros_in_codes_hide_no_row(rows: np.ndarray, name: str, part: str, path: str) -> None:
    """Where a row's codes cannot be those of a row, its floats decide: the answer is the same."""
    sound = segment_of(rows)
    queries = np.ascontiguousarray(rows[::97] + 0.2 * rows[1::97][: len(rows[::97])])
    with use_kernels(path):
        expected = ExactSearch([sound]).search(queries, 10)
        found = ExactSearch([zeroed(sound, name, PARTS[part])]).search(queries, 10)
        alone = ExactSearch([zeroed(sound, name, PARTS[part])]).search(queries[:1], 10, 2)
    assert np.array_equal(found.positions, expected.positions)
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(alone.positions, expected.positions[:1])


@pytest.mark.parametrize("path", kernel_paths())
@pytest.mark.parametrize("part", PARTS)
def test_zeros_in_rows_are_an_error(rows: np.ndarray, part: str, path: str) -> None:
    """A row of zeros has no direction. One that no query comes near is not met."""
    broken = zeroed(segment_of(rows), "vectors", PARTS[part])
    gone = np.flatnonzero((broken.vectors != rows).any(axis=1))
    with use_kernels(path), pytest.raises(IndexFormatError, match="verify"):
        ExactSearch([broken]).search(rows[gone[len(gone) // 2]][None], 10)
