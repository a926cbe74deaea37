"""Files as arrays, mapped read-only, and what is said where one cannot be read.

A map needs no file descriptor once it is made, but Python's own (``mmap``, and so ``numpy.memmap``) keeps
one: an index of a hundred segments would hold eight hundred, and many systems allow 256. So the C library
is asked directly where there is one that can be.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qsearch.errors import IndexFormatError
from qsearch.wording import words

__all__ = ["let_go", "map_array", "reading"]

_READ = 1  # PROT_READ: the same on Linux, macOS and the BSDs
_SHARED = 1  # MAP_SHARED
_FAILED = ctypes.c_void_p(-1).value


def _library() -> Any:
    """The C library with ``mmap``, ``munmap`` and ``madvise``, or ``None``."""
    if os.name != "posix":
        return None
    try:
        library = ctypes.CDLL(None, use_errno=True)
        library.mmap.restype = ctypes.c_void_p
        library.mmap.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
        ]  # fmt: skip
        library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return library


_LIBC = _library()


class _Map:
    """The pages of a file. An array that is made of it keeps it."""

    def __init__(self, address: int, size: int, library: Any) -> None:
        self.address, self.size = address, size
        weakref.finalize(self, library.munmap, address, size).atexit = False

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "typestr": "|u1",
            "shape": (self.size,),
            "data": (self.address, True),  # read-only
        }


def map_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
    """Map a part of a file, whose size has been seen to be large enough.

    Args:
        path: of the file.
        dtype: of the array.
        shape: of the array.
        offset: where it begins in the file, in bytes.

    Raises:
        OSError: it cannot be opened or mapped.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if _LIBC is None or not size:
        return np.asarray(np.memmap(path, dtype, mode="r", offset=offset, shape=shape))
    with open(path, "rb") as file:
        address = _LIBC.mmap(None, offset + size, _READ, _SHARED, file.fileno(), 0)
    if address is None or address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    whole = np.asarray(_Map(address, offset + size, _LIBC))
    return whole[offset:].view(dtype).reshape(shape)


def let_go(array: NDArray[Any]) -> None:
    """Let go of the memory behind a mapped array; what is needed again is read from disk again."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None:
        return
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        mapped = getattr(owner, "_mmap", None)
        if mapped is not None:
            mapped.madvise(advice)
            return
        owner = owner.base
    if isinstance(owner, _Map):
        _LIBC.madvise(owner.address, owner.size, advice)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an ``IndexFormatError`` that says what to do."""
    try:
        yield
    except OSError as error:
        advice = "restore it from a copy, or build the index again with " + words().rebuild
        if error.errno in (errno.EMFILE, errno.ENFILE):
            advice = "close what is not needed, or raise the limit (ulimit -n)"
        elif error.errno == errno.ENOMEM:
            advice = (
                "the system has no room, or no more places, for further maps (vm.max_map_count)"
            )
        elif error.errno in (errno.EACCES, errno.EPERM):
            advice = "give yourself the right to read it"
        raise IndexFormatError(f"{path} cannot be read ({error.strerror}); {advice}") from error
