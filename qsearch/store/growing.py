"""The segment that a change is filling: the one that is pending, and how many of its rows count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsearch.store.format import PASSAGES, POSITIONS, SEGMENTS, VECTORS
from qsearch.store.merging import Source, write_merged
from qsearch.store.pending import PendingSegment
from qsearch.store.rows import FileEntry, SegmentEntry, TailRow
from qsearch.store.staging import writing
from qsearch.store.tail import tail_rows

__all__ = ["Closed", "GrowingSegment"]

Closed = tuple[SegmentEntry, Mapping[str, FileEntry], float]
"""A segment that was closed: its entry but for its commit and first row, files, error of the rotation."""


class GrowingSegment:
    """Rows on their way into the next closed segment.

    Attributes:
        pending: its files.
        rows: how many count.
        documents: of these rows.
    """

    def __init__(self, index: Path, dimensions: int, *, split: bool) -> None:
        """Begin with none.

        Args:
            index: the directory.
            dimensions: of a row.
            split: whether rows are passages.
        """
        self.pending = PendingSegment(index / SEGMENTS, passages=split, positions=True)
        self._dimensions, self._split = dimensions, split
        self.rows = self.documents = 0

    def restore(self, rows: int, documents: int) -> str | None:
        """Keep the first rows; says what is wrong if they are not there."""
        wrong = self.pending.cut(rows, self._dimensions, documents)
        if wrong is None:
            self.rows, self.documents = rows, documents
        return wrong

    def append(
        self,
        positions: NDArray[np.int64],
        rows: NDArray[np.float32],
        passages: NDArray[np.int64] | None,
    ) -> None:
        """Write rows behind those that are there, and sync them.

        Args:
            positions: (m,) of their documents.
            rows: (n, d) float32.
            passages: (n, 3), documents numbered from 0; ``None``: row r is document r.

        Raises:
            OSError: the file system refuses.
        """
        if passages is not None:
            passages = passages + np.array([self.documents, 0, 0])
        self.pending.append(self.rows, rows, passages, self.documents, positions)
        self.rows += len(rows)
        self.documents += len(positions)

    def append_tail(self, tail: Sequence[TailRow]) -> None:
        """Write the rows of the tail behind those that are there, and sync them."""
        if not tail:
            return
        positions = np.array([row.position for row in tail], dtype=np.int64)
        rows = np.frombuffer(b"".join(row.vector for row in tail), dtype="<f4")
        documents, numbers = np.unique(positions, return_inverse=True)
        passages = None
        if self._split:
            spans = np.array([row.span for row in tail], dtype=np.int64)
            passages = np.column_stack([numbers.reshape(-1), spans])
        self.append(documents, rows.reshape(len(positions), self._dimensions), passages)

    def vectors_of(self, positions: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Unit rows of those of some documents that are here, where rows are documents."""
        if not self.rows or not len(positions):
            return {}
        here, rows = self._positions(), self._vectors()
        numbers = np.searchsorted(here, positions).clip(max=len(here) - 1)
        return {
            at: rows[number].copy()
            for at, number in zip(positions, numbers.tolist(), strict=True)
            if here[number] == at
        }

    def as_tail(self) -> list[TailRow]:
        """What is here, as rows of a tail."""
        passages = None
        if self._split:
            data = self.pending.read(PASSAGES, self.rows, 24)
            passages = np.frombuffer(data, dtype="<i8").reshape(-1, 3)
        return tail_rows(0, self._positions(), self._vectors(), passages)

    def close(self, advance: Callable[[int], None], announce: Callable[[str], None]) -> Closed:
        """Make a segment of what is here, synced and with its name. ``forget`` it when it is registered.

        Args:
            advance: told how many rows were just coded.
            announce: told the name before it is given: until the segment is registered, its rows are
                found there by who goes on with what was cut short.

        Raises:
            OSError: the file system refuses.
        """
        positions = self._positions()
        first, last = int(positions[0]), int(positions[-1])
        gaps = self.documents if self.documents <= last - first else 0
        name, files, error = self.pending.close(
            first, self.rows, self._dimensions, advance, gaps, announce
        )
        return SegmentEntry(name, 0, self.rows, first, last, self.documents), files, error

    def forget(self) -> None:
        """Begin anew with none."""
        self.rows = self.documents = 0

    def merged(self, sources: Sequence[Source], advance: Callable[[int], None]) -> Closed | None:
        """Make a segment of the living rows of several; ``None``: there are none.

        Raises:
            IndexFormatError: what is to be copied is damaged.
            IndexWriteError: the file system refuses.
        """
        with writing(self.pending.path):
            found = write_merged(sources, self.pending, self._dimensions, advance)
        if found is None:
            return None
        _, files, error, entry = found
        return entry, files, error

    def _positions(self) -> NDArray[np.int64]:
        return np.frombuffer(self.pending.read(POSITIONS, self.documents, 8), dtype="<i8")

    def _vectors(self) -> NDArray[np.float32]:
        data = self.pending.read(VECTORS, self.rows, 4 * self._dimensions)
        return np.frombuffer(data, dtype="<f4").reshape(-1, self._dimensions)
