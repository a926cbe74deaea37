"""The segment that is being filled: rows on their way into the next closed one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.store.format import (
    HEADER_BYTES,
    PASSAGES,
    PENDING,
    POSITIONS,
    VECTORS,
    ArrayFile,
    raw_bytes,
)
from qsearch.store.publish import sync_directory, sync_file
from qsearch.store.reading import reading
from qsearch.store.rows import FileEntry
from qsearch.store.segment import read_bytes, write_arrays

__all__ = ["PendingSegment"]


class PendingSegment:
    """The directory ``pending`` beside the closed segments of a staging place.

    It holds ``vectors.npy``, ``passages.npy`` where rows are passages, and ``positions.npy`` where the
    positions of its documents may have gaps, behind a reserved header. It knows nothing of the catalog:
    how many of its rows count is what the caller says.
    """

    def __init__(self, segments: Path, *, passages: bool, positions: bool = False) -> None:
        """Take the directory of all segments; whether rows are passages, and there may be gaps."""
        self._segments = segments
        self._passages = passages
        self._positions = positions
        self.path = segments / PENDING

    def append(
        self,
        row: int,
        rows: NDArray[np.float32],
        passages: NDArray[np.int64] | None,
        document: int = 0,
        positions: NDArray[np.int64] | None = None,
        *,
        sync: bool = True,
    ) -> None:
        """Write rows behind the first ``row`` rows, and sync them; what was there is overwritten.

        Args:
            row: rows that are there.
            rows: (n, d) float32.
            passages: (n, 3) int64 where rows are passages.
            document: documents that are there, where positions are given.
            positions: (m,) int64 of the documents.
            sync: ``False`` leaves that to ``close``.

        Raises:
            OSError: the file system refuses.
        """
        self._append(VECTORS.name, row, rows.astype("<f4", copy=False), sync)
        if passages is not None:
            self._append(PASSAGES.name, row, passages.astype("<i8"), sync)
        if positions is not None:
            self._append(POSITIONS.name, document, positions.astype("<i8").reshape(-1, 1), sync)

    def _append(self, name: str, row: int, rows: NDArray[Any], sync: bool) -> None:
        path = self.path / name
        if not path.exists():
            self.path.mkdir(exist_ok=True)
            with open(path, "wb") as file:
                file.write(b"\0" * HEADER_BYTES)  # the header is known when the segment is closed
            sync_directory(self.path)
            sync_directory(self._segments)
        with open(path, "r+b") as file:
            size = HEADER_BYTES + row * rows.shape[1] * rows.itemsize
            file.truncate(size)
            file.seek(size)
            file.write(raw_bytes(rows))
            file.flush()
            if sync:
                sync_file(file.fileno())

    def read(self, array: ArrayFile, rows: int, row_bytes: int) -> bytes:
        """The first ``rows`` rows of one of its arrays.

        Raises:
            IndexFormatError: it cannot be read, or ends before them.
        """
        path = self.path / array.name
        with reading(path), open(path, "rb") as file:
            return read_bytes(file, 0, rows, row_bytes)

    def take_back(self, segment: Path) -> None:
        """Make a directory that is no closed segment (any more) the pending one, if there is none."""
        if self.path.exists():
            shutil.rmtree(segment)
        else:
            os.rename(segment, self.path)

    def take_named(self, segment: str) -> None:
        """Make the segment that was just given this name the pending one again, if there is none."""
        path = self._segments / segment
        if path.is_dir() and not self.path.exists():
            os.rename(path, self.path)
            sync_directory(self._segments)

    def reopen(self, segment: str) -> None:
        """Make a segment that was closed the pending one again, in the place of the one there is.

        Nothing happens where there is no such segment: then that has been done before a crash.
        """
        path = self._segments / segment
        if not path.is_dir():
            return
        if self.path.exists():
            shutil.rmtree(self.path)
        for file in path.iterdir():
            if file.name not in (VECTORS.name, PASSAGES.name, POSITIONS.name):
                file.unlink()
        os.rename(path, self.path)
        sync_directory(self._segments)

    def cut(self, rows: int, dimensions: int, documents: int = 0) -> str | None:
        """Cut off what lies behind the first ``rows`` rows; says what is wrong if they are not there."""
        if not rows:
            if self.path.exists():
                shutil.rmtree(self.path)
            return None
        sizes = {VECTORS.name: 4 * dimensions * rows}
        if self._passages:
            sizes[PASSAGES.name] = 24 * rows
        if self._positions:
            sizes[POSITIONS.name] = 8 * documents
        for name, one in sizes.items():
            path = self.path / name
            size = HEADER_BYTES + one
            if not path.is_file() or path.stat().st_size < size:
                return f"{path} is missing or too short"
            os.truncate(path, size)
        return None

    def close(
        self,
        first: int,
        rows: int,
        dimensions: int,
        advance: Callable[[int], None],
        documents: int = 0,
        announce: Callable[[str], None] = lambda name: None,
    ) -> tuple[str, dict[str, FileEntry], float]:
        """Complete the segment, sync it and give it its name; from then on there is none pending.

        Args:
            first: rows in the segments before it, or the position of its first document.
            rows: of this one.
            dimensions: of a row.
            advance: told how many rows were just coded.
            documents: how many have a position of their own in ``positions.npy``; 0: none, and the file
                is litter from then on. Who goes on with what was cut short here still needs it.
            announce: told the name before it is given.

        Returns:
            Its name, its files, and the error of its rotation.

        Raises:
            OSError: the file system refuses.
        """
        files, error = write_arrays(
            self.path, rows, dimensions, advance, passages=self._passages, positions=documents
        )
        listing = json.dumps([first, [(one.name, one.bytes, one.xxh3) for one in files.values()]])
        # Named by content: one name never means two different segments, not even for a reader
        # that opened the catalog of an index which is being replaced.
        name = xxhash.xxh3_128(listing.encode()).hexdigest()[:16]
        sync_directory(self.path)
        announce(name)
        os.rename(self.path, self._segments / name)
        sync_directory(self._segments)
        return name, files, error
