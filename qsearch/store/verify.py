"""Reading an index completely and saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsearch.codes import rotation_error
from qsearch.errors import QsearchError
from qsearch.kernels import lane_dot
from qsearch.kernels.reference import ROTATED_BLOCK_ROWS
from qsearch.store.catalog import Catalog, FileEntry, SegmentEntry
from qsearch.store.format import (
    ARRAYS,
    CATALOG,
    HEADER_BYTES,
    PASSAGES,
    ROTATED_ARRAYS,
    ROTATION,
    SEGMENTS,
    array_bytes,
    array_shape,
    kept_components,
    npy_header,
)
from qsearch.store.opening import checked_dimensions, checked_entries
from qsearch.store.segment import SEAL_ROWS, derived_arrays, file_checksum, read_rows

__all__ = ["VerifyReport", "verify_index"]

_ROTATION_TOLERANCE = 1e-4
_BOUND_TOLERANCE = 1e-12
"""What rounding in this check itself can hide of a squared length."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``verify_index`` found.

    Attributes:
        checked: what was looked at, one line each.
        problems: what is wrong, one sentence each; empty for a sound index.
        bytes_read: of the arrays and graphs.
    """

    checked: tuple[str, ...]
    problems: tuple[str, ...]
    bytes_read: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_index(
    path: str | Path, *, deep: bool = False, advance: Callable[[int], None] | None = None
) -> VerifyReport:
    """Check the catalog and the checksum of every file.

    Args:
        path: the index directory.
        deep: also derive every code from its float row again and compare, and check that the rows
            are finite and of unit length.
        advance: told how many bytes of the files were just read.

    Raises:
        IndexFormatError: there is no index, or its catalog cannot be opened at all.
    """
    path = Path(path)
    catalog = Catalog.open(path)
    checked: list[str] = []
    problems: list[str] = []
    size = 0
    try:
        structure = catalog.structure_problems()
        problems += [f"{CATALOG}: {problem}" for problem in structure]
        if not structure:
            for what, problem in _check_catalog(catalog):
                checked.append(what)
                if problem:
                    problems.append(f"{what}: {problem}")
            dimensions = checked_dimensions(catalog.settings(), catalog)
            for entry, files in checked_entries(catalog):
                directory = path / SEGMENTS / entry.id
                kept = (
                    kept_components(files[ROTATION].bytes, dimensions) if ROTATION in files else 0
                )
                for file in files.values():
                    name = f"{SEGMENTS}/{entry.id}/{file.name}"
                    problem = _check_file(
                        directory / file.name, entry, file, dimensions, kept, advance
                    )
                    checked.append(name)
                    size += file.bytes
                    if problem:
                        problems.append(f"{name}: {problem}")
                if deep and not problems:
                    checked.append(f"{SEGMENTS}/{entry.id}: codes derived again")
                    problems += [
                        f"{SEGMENTS}/{entry.id}/{problem}"
                        for problem in (
                            *_check_codes(directory, entry, dimensions),
                            *(_check_rotated(directory, entry, dimensions) if kept else ()),
                            *_check_passages(catalog, directory, entry),
                        )
                    ]
    except QsearchError as error:
        problems.append(str(error))
    finally:
        catalog.close()
    return VerifyReport(tuple(checked), tuple(problems), size)


def _check_catalog(catalog: Catalog) -> Iterator[tuple[str, str | None]]:
    expected = catalog.settings().get("catalog_xxh3")
    found = catalog.digest()
    yield (
        f"{CATALOG}: settings and lists",
        None if found == expected else f"checksum is {found}, should be {expected}",
    )
    position = row = 0
    for entry in catalog.segments():
        first, count = entry.first_document, entry.documents
        what = f"{CATALOG}: documents {first:,} to {first + count - 1:,}"
        found = catalog.documents_digest(first, count)
        if first != position:
            yield what, f"should begin at {position:,}"
        elif entry.first_row != row:
            yield what, f"their rows should begin at {row:,}"
        elif found != entry.documents_xxh3:
            yield what, f"checksum is {found}, should be {entry.documents_xxh3}"
        else:
            yield what, None
        position += entry.documents
        row += entry.rows
    count = catalog.count()
    yield (
        f"{CATALOG}: number of documents",
        None if count == position else f"there are {count:,}, the segments hold {position:,}",
    )


def _check_file(
    path: Path,
    entry: SegmentEntry,
    file: FileEntry,
    dimensions: int,
    kept: int,
    advance: Callable[[int], None] | None,
) -> str | None:
    try:
        size = path.stat().st_size
        if size != file.bytes:
            return f"has {size:,} bytes, should have {file.bytes:,}"
        with open(path, "rb") as opened:
            header = opened.read(HEADER_BYTES)
        found = file_checksum(path, advance)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if found != file.xxh3:
        return f"checksum is {found}, should be {file.xxh3}"
    for array in (*ARRAYS, *ROTATED_ARRAYS, PASSAGES):
        if array.name == file.name:
            shape = array_shape(array.name, entry.rows, dimensions, kept)
            if size != array_bytes(array.dtype, shape) or header != npy_header(array.dtype, shape):
                return f"is not an array of {array.dtype} {shape}"
    return None


def _check_codes(directory: Path, entry: SegmentEntry, dimensions: int) -> Iterator[str]:
    """Derive every code again; yield the first row that differs, for each array."""
    stored = {
        array.name: np.load(directory / array.name, mmap_mode="r", allow_pickle=False)
        for array in ARRAYS
        if array.name != "vectors.npy"
    }
    wrong: set[str] = set()
    with open(directory / "vectors.npy", "rb") as vectors:
        for start in range(0, entry.rows, SEAL_ROWS):
            count = min(SEAL_ROWS, entry.rows - start)
            rows = read_rows(vectors, start, count, dimensions)
            if "vectors.npy" not in wrong:
                lengths = np.sqrt(lane_dot(rows, rows))
                bad = np.flatnonzero(~(np.abs(lengths - 1.0) < 1e-6))
                if len(bad):
                    wrong.add("vectors.npy")
                    yield f"vectors.npy: row {start + bad[0]} has length {lengths[bad[0]]:.7f}, not 1"
            for name, derived in derived_arrays(rows).items():
                per_unit = 8 if name == "binary.npy" else 1
                first = start // per_unit
                same = stored[name][first : first + len(derived)] == derived
                if name not in wrong and not same.all():
                    wrong.add(name)
                    unit = int(np.argmin(same.reshape(len(derived), -1).all(axis=1)))
                    yield f"{name}: row {start + unit * per_unit} is not what its float row gives"


def _check_passages(catalog: Catalog, directory: Path, entry: SegmentEntry) -> Iterator[str]:
    """Check that rows go through the documents in order, and passages lie inside of their texts."""
    if PASSAGES.name not in catalog.files(entry.id):
        if entry.documents != entry.rows:
            yield f"{PASSAGES.name}: is missing: {entry.rows:,} rows, {entry.documents:,} documents"
        return
    stored = np.load(directory / PASSAGES.name, mmap_mode="r", allow_pickle=False)
    last = -1
    for start in range(0, entry.rows, SEAL_ROWS):
        some = np.array(stored[start : start + SEAL_ROWS])
        steps = np.diff(some[:, 0], prepend=last)
        wrong = (some[:, 0] < 0) | (steps < 0) | (steps > 1)
        if wrong.any():
            yield f"{PASSAGES.name}: row {start + int(np.argmax(wrong))} is of no next document"
            return
        last = int(some[-1, 0])
        documents = catalog.documents((entry.first_document + some[:, 0]).tolist())
        for row, (number, begin, end) in enumerate(some.tolist(), start):
            length = len(documents[entry.first_document + number].text)
            if not 0 <= begin <= end <= length or (begin == end and length):
                yield (
                    f"{PASSAGES.name}: row {row} is from {begin} to {end} in a text of {length} characters"
                )
                return
    if last != entry.documents - 1:
        yield f"{PASSAGES.name}: ends at document {last}, should at {entry.documents - 1}"


def _check_rotated(directory: Path, entry: SegmentEntry, dimensions: int) -> Iterator[str]:
    """Check that what the rotated codes promise holds, for each row; yield the first that breaks it.

    Not by deriving them again: another processor's matrix product may round the last bit otherwise,
    and what counts is that no bound is too small.
    """
    stored = {
        array.name: np.load(directory / array.name, mmap_mode="r", allow_pickle=False)
        for array in ROTATED_ARRAYS
    }
    rotation = np.array(stored[ROTATION], dtype=np.float64)
    kept = len(rotation)
    error = rotation_error(rotation)
    if not error < _ROTATION_TOLERANCE:
        yield f"{ROTATION}: its rows are not orthonormal ({error:.1e})"
        return
    with open(directory / "vectors.npy", "rb") as vectors:
        for start in range(0, entry.rows, SEAL_ROWS):
            count = min(SEAL_ROWS, entry.rows - start)
            rows = read_rows(vectors, start, count, dimensions)
            first = start // ROTATED_BLOCK_ROWS
            some = slice(first, first + -(-count // ROTATED_BLOCK_ROWS))
            blocks = stored["rotated.npy"][some].transpose(0, 2, 1, 3)
            codes = blocks.reshape(len(blocks) * ROTATED_BLOCK_ROWS, -1)[:count, :kept] - 128.0
            bounds = stored["bounds.npy"][some].transpose(1, 0, 2).reshape(3, -1)[:, :count]
            scale, residual, rest = bounds.astype(np.float64)
            along = rows.astype(np.float64) @ rotation.T
            lost = along - scale[:, None] * codes
            left = lane_dot(rows, rows) - np.einsum("ij,ij->i", along, along)
            lost = np.einsum("ij,ij->i", lost, lost)
            for name, bad in (
                ("residual", ~(lost <= np.square(residual) + _BOUND_TOLERANCE)),
                ("rest", ~(left <= np.square(rest) + _BOUND_TOLERANCE)),
            ):
                if bad.any():
                    row = start + int(np.argmax(bad))
                    yield f"bounds.npy: the {name} of row {row} is too small for its codes"
                    return
