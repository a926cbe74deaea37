"""Whether the codes of rows are those of their floats, for chosen rows or for all.

Verification asks it of every row, and the first search of a few: whole files that are swapped, empty or of
another index are seen by that, which a certificate cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import binary_codes, int8_codes, pack_blocks, rotation_error, sketches_of
from qsearch.errors import IndexFormatError
from qsearch.kernels import NO_ROW
from qsearch.kernels.reference import BLOCK_ROWS, ROTATED_BLOCK_ROWS
from qsearch.store.format import PASSAGES, POSITIONS, ROTATION
from qsearch.store.segment import RotatedArrays, Segment, array_checksum
from qsearch.store.tail import TAIL
from qsearch.wording import words

__all__ = ["check_sample", "code_problems", "graph_problems", "rotation_problem", "sample_rows"]

_SAMPLE_ROWS = 16
_LENGTH_TOLERANCE = 1e-6
_ROTATION_TOLERANCE = 1e-4
_FACTOR_TOLERANCE = 1e-6
_BOUND_TOLERANCE = 1e-12
"""What rounding in this check itself can hide of a squared length."""


def check_sample(segment: Segment) -> None:
    """Look at some rows of a segment, evenly spread, the first and the last among them.

    What says which documents its rows belong to is small, and damage in it looks like any other number: it
    is read completely.

    Raises:
        IndexFormatError: one of them is damaged.
    """
    if segment.rotated is not None and segment.rotated.stored is not None:
        segment.rotated.error()
    rows = sample_rows(segment)
    for name, problem in (
        *_list_problems(segment),
        *code_problems(segment, rows),
        *_passage_problems(segment, rows),
    ):
        what = "the tail of the index" if segment.id == TAIL else f"{name} of segment {segment.id}"
        raise IndexFormatError(
            f"{what} is damaged: {problem}; {words().verify} tells more, {words().rebuild} builds the "
            "index again"
        )


def sample_rows(segment: Segment) -> NDArray[np.int64]:
    """Some rows of a segment, evenly spread, the first and the last among them; rising."""
    rows = np.linspace(0, segment.rows - 1, _SAMPLE_ROWS).astype(np.int64)
    different = np.append(True, np.diff(rows) > 0)  # np.unique would import numpy.ma, for 10 ms
    chosen: NDArray[np.int64] = rows[different]
    return chosen


def _list_problems(segment: Segment) -> Iterator[tuple[str, str]]:
    for array, values in ((PASSAGES, segment.passages), (POSITIONS, segment.positions)):
        expected = segment.lists_xxh3.get(array.name)
        if values is None or expected is None:
            continue
        found = array_checksum(array, values)
        if found != expected:
            yield array.name, f"its checksum is {found}, should be {expected}"


def code_problems(segment: Segment, rows: NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    """What is wrong with the codes of ``rows``: for each file its name and the first row that shows it."""
    floats = segment.vectors[rows]
    with np.errstate(all="ignore"):
        wide = floats.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    wrong = ~(np.abs(lengths - 1.0) < _LENGTH_TOLERANCE)
    if wrong.any():
        first = int(np.argmax(wrong))
        told = f"has length {lengths[first]:.7f}, not 1"
        if not np.isfinite(lengths[first]):
            told = "is not finite"
        yield "vectors.npy", f"row {rows[first]} {told}"
        rows, floats = rows[~wrong], floats[~wrong]
        if not len(rows):
            return
    int8 = int8_codes(floats)
    places = np.arange(len(rows))
    bits = pack_blocks(binary_codes(floats))[places // BLOCK_ROWS, :, places % BLOCK_ROWS]
    for name, stored, derived in (
        ("int8.npy", segment.int8[rows], int8.codes),
        ("scale.npy", segment.scale[rows], int8.scale),
        ("residual.npy", segment.residual[rows], int8.residual),
        ("binary.npy", segment.binary[rows // BLOCK_ROWS, :, rows % BLOCK_ROWS], bits),
    ):
        different = (stored != derived).reshape(len(rows), -1).any(axis=1)
        if different.any():
            yield name, f"row {rows[np.argmax(different)]} is not what its float row gives"
    if segment.rotated is not None:
        yield from _rotated_problems(segment.rotated, rows, floats)


def graph_problems(segment: Segment, rows: NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    """What is wrong with the graph at ``rows``, as ``code_problems``; not whether links are good."""
    graph = segment.graph
    if graph is None:
        return
    stored = graph.sketches[rows].reshape(len(rows), -1).view(np.uint32)
    with np.errstate(all="ignore"):
        derived = sketches_of(segment.vectors[rows], graph.center)
        derived = derived.reshape(len(rows), -1).view(np.uint32)
        factors = stored[:, -1].view(np.float32), derived[:, -1].view(np.float32)
        # Another version of NumPy may add up in another order.
        wrong = ~np.isclose(*factors, rtol=_FACTOR_TOLERANCE, atol=0)
    wrong |= (stored[:, :-1] != derived[:, :-1]).any(axis=1)
    if wrong.any():
        yield "sketches.npy", f"row {rows[np.argmax(wrong)]} is not what its float row gives"
    links = graph.links[rows]
    there = links != NO_ROW
    wrong = (there & (links >= segment.rows)).any(axis=1) | (links == rows[:, None]).any(axis=1)
    wrong |= (there[:, 1:] > there[:, :-1]).any(axis=1)
    if wrong.any():
        yield (
            "links.npy",
            f"row {rows[np.argmax(wrong)]} leads to rows that there are not, or to itself",
        )


def rotation_problem(rotated: RotatedArrays) -> tuple[str, str] | None:
    """What is wrong with the axes themselves."""
    with np.errstate(all="ignore"):
        error = rotation_error(rotated.rotation)
    if not error < _ROTATION_TOLERANCE:
        return ROTATION, f"its rows are not orthonormal ({error:.1e})"
    if rotated.stored is not None and rotated.stored[0] < 0.99 * error:
        return (
            ROTATION,
            f"it is by {error:.1e} from orthonormal, the catalog says {rotated.stored[0]:.1e}",
        )
    return None


def _rotated_problems(
    rotated: RotatedArrays, rows: NDArray[np.int64], floats: NDArray[np.float32]
) -> Iterator[tuple[str, str]]:
    """What the rotated codes promise and does not hold.

    Not by deriving them again: another processor's matrix product may round the last bit otherwise,
    and what counts is that no bound is too small.
    """
    blocks, places = rows // ROTATED_BLOCK_ROWS, rows % ROTATED_BLOCK_ROWS
    kept = len(rotated.rotation)
    stored = rotated.blocks[blocks, :, places].reshape(len(rows), -1)[:, :kept]
    with np.errstate(all="ignore"):
        scale, residual, rest = rotated.bounds[blocks, :, places].astype(np.float64).T
        wide = floats.astype(np.float64)
        along = wide @ rotated.rotation.T.astype(np.float64)
        lost = along - scale[:, None] * (stored - 128.0)
        left = np.einsum("ij,ij->i", wide, wide) - np.einsum("ij,ij->i", along, along)
        lost = np.einsum("ij,ij->i", lost, lost)
        for name, bad in (
            ("residual", ~(lost <= np.square(residual) + _BOUND_TOLERANCE)),
            ("rest", ~(left <= np.square(rest) + _BOUND_TOLERANCE)),
        ):
            if bad.any():
                row = rows[np.argmax(bad)]
                yield "bounds.npy", f"the {name} of row {row} is too small for its codes"
                return


def _passage_problems(segment: Segment, rows: NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    if segment.passages is None:
        return
    numbers, begins, ends = segment.passages[rows].T
    wrong = (begins < 0) | (ends < begins)
    steps = np.diff(numbers)
    wrong[1:] |= (steps < 0) | (steps > np.diff(rows))
    if wrong.any():
        yield (
            PASSAGES.name,
            f"row {rows[np.argmax(wrong)]} is of no next document, or of no part of it",
        )
