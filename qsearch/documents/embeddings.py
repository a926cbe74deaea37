"""Embeddings that were made elsewhere: a ``.npy`` file or an array, read a block at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import CorpusError

__all__ = ["Embeddings"]


class Embeddings:
    """(n, d) embeddings in float16, float32 or float64.

    Attributes:
        name: for messages.
        rows: n.
        dimensions: d.
    """

    def __init__(self, source: str | Path | NDArray[np.floating]) -> None:
        """Open a file, or wrap an array.

        A file is read and not mapped: mapped pages would count as memory in use.

        Raises:
            CorpusError: it cannot be read, or is no such array.
        """
        self._array: NDArray[np.floating] | None = None
        self._path = Path()
        self._offset = 0
        shape: tuple[int, ...]
        dtype: np.dtype[Any]
        if isinstance(source, np.ndarray):
            self.name = "<embeddings>"
            self._array = source
            shape, fortran, dtype = source.shape, False, source.dtype
        else:
            self.name = str(source)
            self._path = Path(source)
            shape, fortran, dtype, self._offset = _read_header(self._path)
        if len(shape) != 2 or dtype.kind != "f" or dtype.itemsize > 8:
            raise CorpusError(
                f"must hold a two-dimensional array of float16, float32 or float64, found {dtype} "
                f"{shape}",
                path=self.name,
            )
        if fortran:
            raise CorpusError(
                "is in Fortran order; save it with numpy.save(path, numpy.ascontiguousarray(array))",
                path=self.name,
            )
        if shape[0] < 0:
            raise CorpusError(f"has a damaged header: {shape[0]} rows", path=self.name)
        if shape[1] < 1:
            raise CorpusError("has rows without components", path=self.name)
        self.rows: int = shape[0]
        self.dimensions: int = shape[1]
        self._dtype = dtype
        if self._array is None:
            size = self._path.stat().st_size
            expected = self._offset + math.prod(shape) * dtype.itemsize
            if size < expected:
                raise CorpusError(
                    f"is cut off: it should have {expected:,} bytes and has {size:,}",
                    path=self.name,
                )

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        """Rows ``start`` to ``stop - 1``, or up to the last: (at most stop - start, d)."""
        stop = min(stop, self.rows)
        start = min(start, stop)
        if self._array is not None:
            return self._array[start:stop]
        count = (stop - start) * self.dimensions
        offset = self._offset + start * self.dimensions * self._dtype.itemsize
        try:
            values = np.fromfile(self._path, dtype=self._dtype, count=count, offset=offset)
        except OSError as error:
            raise CorpusError(f"cannot be read ({error.strerror})", path=self.name) from error
        if len(values) < count:
            raise CorpusError("was cut off while it was read", path=self.name)
        return values.reshape(stop - start, self.dimensions)


def _read_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                header = np.lib.format.read_array_header_1_0(file)
            else:
                header = np.lib.format.read_array_header_2_0(file)
            return (*header, file.tell())
    except OSError as error:
        raise CorpusError(f"cannot be opened ({error.strerror})", path=str(path)) from error
    except Exception as error:  # a damaged header also raises what ast and tokenize raise
        reason = str(error) or type(error).__name__
        raise CorpusError(f"is not a .npy file ({reason:.300})", path=str(path)) from error
