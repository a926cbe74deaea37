"""Making one segment of several: the living rows of each, in order.

Small segments cost every search a little, so they are merged by themselves: four of a size become one of
the next size. A row is written anew once for each size, some log₄ n times in all. Only segments that follow
each other are merged, so that rows stay in the order of their documents, whatever was merged when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.store.format import PASSAGES, POSITIONS, TAIL_ROWS, VECTORS
from qsearch.store.pending import PendingSegment
from qsearch.store.reading import reading
from qsearch.store.rows import FileEntry, SegmentEntry
from qsearch.store.segment import file_checksum, read_bytes, read_rows
from qsearch.wording import words

__all__ = ["FANOUT", "Source", "check_files", "compact_groups", "tier_groups", "write_merged"]

FANOUT = 4
"""So many segments of a size become one."""

_STEP_ROWS = 8192
_COPIED = (VECTORS.name, PASSAGES.name, POSITIONS.name)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A segment to be merged.

    Attributes:
        directory: of it.
        entry: what the catalog says of it.
        files: of the segment.
        living: (n,) bool; ``None``: all rows.
    """

    directory: Path
    entry: SegmentEntry
    files: Mapping[str, FileEntry]
    living: NDArray[np.bool_] | None


def tier_groups(living: Sequence[int], rows: Sequence[int], most: int) -> list[range]:
    """Which segments to merge now, so that there are few of each size.

    Args:
        living: rows of each segment that live, in document order.
        rows: all rows of each.
        most: a segment has at most so many rows.

    Returns:
        Numbers of segments that follow each other. A single one is to be written without its dead rows,
        which are more than the living.
    """
    tiers = [_tier(count) for count in living]
    highest = max(tiers, default=0)
    for tier in range(highest + 1):
        first = 0
        while first < len(tiers):
            last = first
            total = 0
            while last < len(tiers) and tiers[last] <= tier and total + living[last] <= most:
                total += living[last]
                last += 1
            if last - first >= FANOUT:
                return [range(first, last)]
            first = max(last, first + 1)
    return [
        range(number, number + 1) for number, count in enumerate(living) if 2 * count < rows[number]
    ]


def compact_groups(living: Sequence[int], rows: Sequence[int], most: int) -> list[range]:
    """Which segments to merge so that there are as few as can be, and no dead rows."""
    groups = []
    first = 0
    while first < len(living):
        last, total = first + 1, living[first]
        while last < len(living) and total + living[last] <= most:
            total += living[last]
            last += 1
        if last - first > 1 or living[first] < rows[first]:
            groups.append(range(first, last))
        first = last
    return groups


def _tier(rows: int) -> int:
    """0 up to twice the rows of a tail, and one more for each ``FANOUT`` times as many."""
    tier, most = 0, 2 * TAIL_ROWS
    while rows > most:
        tier, most = tier + 1, FANOUT * most
    return tier


def write_merged(
    sources: Sequence[Source],
    pending: PendingSegment,
    dimensions: int,
    advance: Callable[[int], None],
) -> tuple[str, dict[str, FileEntry], float, SegmentEntry] | None:
    """Write the living rows of segments as a new one; ``None`` where none lives.

    Args:
        sources: segments that follow each other.
        pending: where the new one is made; nothing is there.
        dimensions: of a row.
        advance: told how many rows were just coded.

    Returns:
        Its name, its files, the error of its rotation, and its entry for the catalog.

    Raises:
        IndexFormatError: what is to be copied is not what was written.
        OSError: the file system refuses.
    """
    row = document = 0
    first = last = -1
    for source in sources:
        check_files(source.directory, source.files, _COPIED, "nothing was changed")
        before = document  # the source counts its own
        for rows, passages, positions in _living(source, dimensions):
            if passages is not None:
                passages = passages + np.array([before, 0, 0])
            pending.append(row, rows, passages, document, positions, sync=False)
            first = int(positions[0]) if first < 0 and len(positions) else first
            last = int(positions[-1]) if len(positions) else last
            row += len(rows)
            document += len(positions)
    if not row:
        return None
    gaps = document if document <= last - first else 0
    name, files, error = pending.close(first, row, dimensions, advance, gaps)
    return name, files, error, SegmentEntry(name, 0, row, first, last, document)


def check_files(
    directory: Path, files: Mapping[str, FileEntry], names: Sequence[str], what: str
) -> None:
    """Hold files that are to be copied against their checksums: damage must not be given a new one.

    Args:
        directory: of the segment.
        files: of the segment.
        names: which of them, where they are there.
        what: is so far done, for the message.

    Raises:
        IndexFormatError: one is damaged.
    """
    for name in names:
        file = files.get(name)
        if file is None:
            continue
        path = directory / name
        try:
            found = file_checksum(path)
        except FileNotFoundError:
            found = "gone"
        if found != file.xxh3:
            raise IndexFormatError(
                f"{path} is damaged: its checksum is {found}, should be {file.xxh3}; {what}: "
                f"restore it from a copy, or build the index again with {words().rebuild}"
            )


def _living(
    source: Source, dimensions: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64] | None, NDArray[np.int64]]]:
    """Living rows, their passages (documents numbered without the dead), and the documents' positions."""
    entry = source.entry
    positions = None
    if POSITIONS.name in source.files:
        with _opened(source.directory / POSITIONS.name) as file:
            data = read_bytes(file, 0, entry.documents, 8)
        positions = np.frombuffer(data, dtype="<i8")
    with ExitStack() as stack:
        vectors, passages = (
            stack.enter_context(_opened(source.directory / one.name))
            if one.name in source.files
            else None
            for one in (VECTORS, PASSAGES)
        )
        if vectors is None:
            raise IndexFormatError(f"segment {entry.id} has no vectors")
        yield from _blocks(source, vectors, passages, positions, dimensions)


def _opened(path: Path) -> BinaryIO:
    with reading(path):
        return open(path, "rb")


def _blocks(
    source: Source,
    vectors: BinaryIO,
    passages: BinaryIO | None,
    positions: NDArray[np.int64] | None,
    dimensions: int,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64] | None, NDArray[np.int64]]]:
    """See ``_living``. Files are read, not mapped: memory does not grow with them."""
    entry = source.entry
    done = 0  # documents
    owner_before = -1
    for start in range(0, entry.rows, _STEP_ROWS):
        stop = min(start + _STEP_ROWS, entry.rows)
        rows = np.arange(start, stop)
        if source.living is not None:
            rows = rows[source.living[start:stop]]
        if not len(rows):
            continue
        owners = rows
        some = None
        if passages is not None:
            data = read_bytes(passages, start, stop - start, 24)
            some = np.frombuffer(data, dtype="<i8").reshape(-1, 3)[rows - start]
            owners = some[:, 0].copy()
        if owners[0] < owner_before or owners[-1] >= entry.documents or (np.diff(owners) < 0).any():
            raise IndexFormatError(
                f"{source.directory / PASSAGES.name} is damaged: a passage is of no document, or of one "
                f"before; restore it from a copy, or build the index again with {words().rebuild}"
            )
        new = np.diff(owners, prepend=owner_before) != 0
        owner_before = int(owners[-1])
        numbers = owners[new]
        if some is not None:
            some[:, 0] = done - 1 + np.cumsum(new)
        done += len(numbers)
        found = entry.first_document + numbers if positions is None else positions[numbers]
        block = read_rows(vectors, start, stop - start, dimensions)[rows - start]
        if not np.isfinite(block).all():
            raise IndexFormatError(
                f"{source.directory / VECTORS.name} is damaged: it holds NaN or infinity; restore it from "
                f"a copy, or build the index again with {words().rebuild}"
            )
        yield block, some, np.asarray(found, dtype=np.int64)
