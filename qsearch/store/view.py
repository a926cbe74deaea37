"""An index as a change sees it: what is there by id, and the rows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.store.catalog import Catalog
from qsearch.store.format import POSITIONS, SEGMENTS, VECTORS
from qsearch.store.opening import checked_dimensions, checked_settings_of_a_change, set_commit
from qsearch.store.segment import map_array

__all__ = ["IndexView", "rows_of_a_segment"]


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
        self.dimensions = checked_dimensions(self._settings, catalog)
        self.split = self._settings.get("passages") is not None
        documents = self._settings.get("documents", 0)  # of a format before positions
        self.first_new = int(self._settings.get("positions", documents))

    @classmethod
    def read(cls, index: Path) -> IndexView:
        """Open an index to look at it.

        Raises:
            IndexFormatError: it is missing, or damaged.
        """
        catalog = Catalog.open(index)
        try:
            with catalog.view():
                set_commit(catalog)
                return IndexView(index, catalog)
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
        for entry in self.catalog.segments():
            here = [one for one in positions if entry.first_document <= one <= entry.last_document]
            if not here:
                continue
            numbers = np.array(here) - entry.first_document
            directory = self.index / SEGMENTS / entry.id
            files = self.catalog.files(entry.id)
            if entry.documents <= entry.last_document - entry.first_document:
                of_segment = map_array(directory, POSITIONS, files, (entry.documents,))
                numbers = np.searchsorted(of_segment, here)
            shape = (entry.rows, self.dimensions)
            vectors = map_array(directory, VECTORS, files, shape)
            found |= zip(here, np.asarray(vectors[numbers]), strict=True)
        return found

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
