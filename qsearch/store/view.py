"""An index as a change sees it: what is there by id, and the rows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.store.catalog import Catalog
from qsearch.store.format import POSITIONS, SEGMENTS, VECTORS
from qsearch.store.opening import (
    check_counts,
    checked_dimensions,
    checked_settings_of_a_change,
    set_commit,
)
from qsearch.store.rows import SegmentEntry
from qsearch.store.segment import map_array

__all__ = ["IndexView", "rows_of_a_segment"]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows of a segment, where rows are documents.

    Attributes:
        positions: of its documents; ``None``: there is one at each between the first and the last.
        vectors: (rows, d) float32.
    """

    positions: NDArray[np.int64] | None
    vectors: NDArray[np.float32]


class IndexView:
    """The newest commit of an index. Use as a context manager.

    Attributes:
        index: the directory.
        catalog: reads the documents.
        dimensions: of a row.
        split: whether rows are passages.
        first_new: new documents would have positions from here on.
    """

    def __init__(self, index: Path, catalog: Catalog) -> None:
        """Use ``open``."""
        self.index = index
        self.catalog = catalog
        self._settings = checked_settings_of_a_change(catalog)
        self._tail = catalog.tail()
        check_counts(catalog, self._settings, self._tail)
        self.dimensions = checked_dimensions(self._settings, catalog)
        self.split = self._settings.get("passages") is not None
        documents = self._settings.get("documents", 0)  # of a format before positions
        self.first_new = int(self._settings.get("positions", documents))
        self._held: list[tuple[SegmentEntry, _Rows]] | None = None

    @classmethod
    def read(cls, index: Path, *, rows: bool = False) -> IndexView:
        """Open an index to look at it.

        Args:
            index: the directory.
            rows: whether ``vectors_of`` is wanted: whoever changes the index may remove its files.

        Raises:
            IndexFormatError: it is missing, or damaged.
        """
        catalog = Catalog.open(index)
        try:
            with catalog.view():
                set_commit(catalog)
                view = IndexView(index, catalog)
                if rows:
                    view._held = [(one, view._mapped(one)) for one in catalog.segments()]
                return view
        except BaseException:
            catalog.close()
            raise

    @property
    def start(self) -> int:
        """Documents that the next call of a change adds have positions from here on."""
        return self.first_new

    def settings(self) -> dict[str, Any]:
        """As they were committed, but for what was measured about recall."""
        return dict(self._settings)

    def vectors_of(self, positions: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Unit rows of documents of the commit, where rows are documents.

        Raises:
            IndexFormatError: a file cannot be read, or is not what it should be.
        """
        wanted = set(positions)
        found: dict[int, NDArray[np.float32]] = {
            row.position: np.frombuffer(row.vector, dtype="<f4")
            for row in self._tail
            if row.position in wanted
        }
        entries: Sequence[tuple[SegmentEntry, _Rows | None]] | None = self._held
        if entries is None:
            entries = [(one, None) for one in self.catalog.segments()]
        for entry, held in entries:
            here = [one for one in positions if entry.first_document <= one <= entry.last_document]
            if not here:
                continue
            rows = held or self._mapped(entry)
            numbers = np.array(here) - entry.first_document
            if rows.positions is not None:
                numbers = np.searchsorted(rows.positions, here)
            found |= zip(here, np.asarray(rows.vectors[numbers]), strict=True)
        return found

    def _mapped(self, entry: SegmentEntry) -> _Rows:
        directory, files = self.index / SEGMENTS / entry.id, self.catalog.files(entry.id)
        positions = None
        if entry.documents <= entry.last_document - entry.first_document:
            positions = map_array(directory, POSITIONS, files, (entry.documents,))
        vectors = map_array(directory, VECTORS, files, (entry.rows, self.dimensions))
        return _Rows(positions, vectors)

    def close(self) -> None:
        """Let go of the catalog."""
        self.catalog.close()

    def __enter__(self) -> IndexView:
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close."""
        self.close()


def rows_of_a_segment(catalog: Catalog) -> int:
    """After how many rows a segment is closed, as the index was built."""
    build = catalog.read_settings(only=("build",))[0].get("build")
    told = build.get("segment rows") if isinstance(build, dict) else None
    return told if isinstance(told, int) and told > 0 else 1 << 20
