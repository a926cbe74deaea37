"""Reading an index completely and saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsearch.errors import QsearchError
from qsearch.kernels import lane_dot
from qsearch.store.catalog import Catalog, FileEntry, SegmentEntry
from qsearch.store.format import (
    ARRAYS,
    CATALOG,
    HEADER_BYTES,
    SEGMENTS,
    array_bytes,
    array_shape,
    npy_header,
)
from qsearch.store.segment import SEAL_ROWS, derived_arrays, file_checksum, read_rows

__all__ = ["VerifyReport", "verify_index"]


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
    path: Path, *, deep: bool = False, advance: Callable[[int], None] | None = None
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
            dimensions = int(catalog.settings().get("dimensions", 0))
            for entry in catalog.segments():
                directory = path / SEGMENTS / entry.id
                for file in catalog.files(entry.id).values():
                    name = f"{SEGMENTS}/{entry.id}/{file.name}"
                    problem = _check_file(directory / file.name, entry, file, dimensions, advance)
                    checked.append(name)
                    size += file.bytes
                    if problem:
                        problems.append(f"{name}: {problem}")
                if deep and not problems:
                    checked.append(f"{SEGMENTS}/{entry.id}: codes derived again")
                    problems += [
                        f"{SEGMENTS}/{entry.id}/{problem}"
                        for problem in _check_codes(directory, entry, dimensions)
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
    position = 0
    for entry in catalog.segments():
        what = f"{CATALOG}: documents {entry.first_position:,} to {entry.first_position + entry.rows - 1:,}"
        found = catalog.documents_digest(entry.first_position, entry.rows)
        if entry.first_position != position:
            yield what, f"should begin at {position:,}"
        elif found != entry.documents_xxh3:
            yield what, f"checksum is {found}, should be {entry.documents_xxh3}"
        else:
            yield what, None
        position += entry.rows
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
    for array in ARRAYS:
        if array.name == file.name:
            shape = array_shape(array.name, entry.rows, dimensions)
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
