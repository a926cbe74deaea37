"""Embeddings that were made elsewhere: a file or an array, read a block at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents.numbers import as_components, as_numbers
from qsearch.documents.vectors import VectorFile, open_vectors
from qsearch.errors import CorpusError

__all__ = ["Embeddings"]


class Embeddings:
    """(n, d) embeddings in float16, float32 or float64; integers are taken as floats.

    Attributes:
        name: for messages.
        rows: n.
        dimensions: d.
    """

    def __init__(self, source: Any) -> None:
        """Open a file, or wrap an array.

        Args:
            source: the path of a file (see ``open_vectors``), or numbers in memory (see ``as_numbers``).

        Raises:
            CorpusError: it cannot be read, or is no such array.
        """
        if isinstance(source, str | Path):
            self.name = str(source)
            self._file = open_vectors(source)
        else:
            self.name = "<embeddings>"
            try:
                array = as_numbers(source)
            except ValueError as error:
                raise CorpusError(
                    f"must hold a two-dimensional array of real numbers, {error}", path=self.name
                ) from error
            self._file = VectorFile(array.shape, array.dtype, lambda start, stop: array[start:stop])
        shape, dtype = self._file.shape, self._file.dtype
        if len(shape) != 2 or dtype.kind not in "fiu":
            raise CorpusError(
                f"must hold a two-dimensional array of real numbers, found {dtype} {shape}"
                + ("; one vector v is given as v[None, :]" if len(shape) == 1 else ""),
                path=self.name,
            )
        if shape[1] < 1:
            raise CorpusError("has rows without components", path=self.name)
        self.rows: int = shape[0]
        self.dimensions: int = shape[1]

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        """Rows ``start`` to ``stop - 1``, or up to the last: (at most stop - start, d)."""
        stop = min(stop, self.rows)
        return as_components(self._file.read(min(start, stop), stop))
