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

from qsearch.store.catalog import FileEntry
from qsearch.store.format import ARRAYS, HEADER_BYTES, PASSAGES, PENDING, raw_bytes
from qsearch.store.publish import sync_directory, sync_file
from qsearch.store.segment import write_arrays

__all__ = ["PendingSegment"]

_VECTORS = ARRAYS[0].name


class PendingSegment:
    """The directory ``pending`` beside the closed segments of a staging place.

    It holds ``vectors.npy``, and ``passages.npy`` where rows are passages, behind a reserved header. It
    knows nothing of the catalog: how many of its rows count is what the caller says.
    """

    def __init__(self, segments: Path, *, passages: bool) -> None:
        """Take the directory of all segments; ``passages``: whether rows are passages."""
        self._segments = segments
        self._passages = passages
        self.path = segments / PENDING

    def append(
        self, row: int, rows: NDArray[np.float32], passages: NDArray[np.int64] | None
    ) -> None:
        """Write rows behind the first ``row`` rows, and sync them; what was there is overwritten.

        Raises:
            OSError: the file system refuses.
        """
        self._append(_VECTORS, row, rows.astype("<f4", copy=False))
        if passages is not None:
            self._append(PASSAGES.name, row, passages.astype("<i8"))

    def _append(self, name: str, row: int, rows: NDArray[Any]) -> None:
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
            sync_file(file.fileno())

    def take_back(self, segment: Path) -> None:
        """Make a directory that is no closed segment (any more) the pending one, if there is none."""
        if self.path.exists():
            shutil.rmtree(segment)
        else:
            os.rename(segment, self.path)

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
            if file.name not in (_VECTORS, PASSAGES.name):
                file.unlink()
        os.rename(path, self.path)
        sync_directory(self._segments)

    def cut(self, rows: int, dimensions: int) -> str | None:
        """Cut off what lies behind the first ``rows`` rows; says what is wrong if they are not there."""
        if not rows:
            if self.path.exists():
                shutil.rmtree(self.path)
            return None
        row_bytes = {_VECTORS: 4 * dimensions}
        if self._passages:
            row_bytes[PASSAGES.name] = 24
        for name, one in row_bytes.items():
            path = self.path / name
            size = HEADER_BYTES + rows * one
            if not path.is_file() or path.stat().st_size < size:
                return f"{path} is missing or too short"
            os.truncate(path, size)
        return None

    def close(
        self, first: int, rows: int, dimensions: int, advance: Callable[[int], None]
    ) -> tuple[str, dict[str, FileEntry], float]:
        """Complete the segment, sync it and give it its name; from then on there is none pending.

        Args:
            first: rows in the segments before it.
            rows: of this one.
            dimensions: of a row.
            advance: told how many rows were just coded.

        Returns:
            Its name, its files, and the error of its rotation.

        Raises:
            OSError: the file system refuses.
        """
        files, error = write_arrays(self.path, rows, dimensions, advance, passages=self._passages)
        listing = json.dumps([first, [(one.name, one.bytes, one.xxh3) for one in files.values()]])
        # Named by content: one name never means two different segments, not even for a reader
        # that opened the catalog of an index which is being replaced.
        name = xxhash.xxh3_128(listing.encode()).hexdigest()[:16]
        sync_directory(self.path)
        os.rename(self.path, self._segments / name)
        sync_directory(self._segments)
        return name, files, error
