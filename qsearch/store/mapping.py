"""Files as arrays, mapped read-only.

A map needs no file descriptor once it is made, but Python's own (``mmap``, and so ``numpy.memmap``) keeps
one: an index of a hundred segments would hold eight hundred, and many systems allow 256. So the C library
is asked directly where there is one that can be.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["let_go", "map_file"]

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
    """The pages of a file. An array that is made of it keeps it, and so do the array's views."""

    def __init__(self, address: int, size: int, library: Any) -> None:
        self.address, self.size = address, size
        # Not at the end of the process: another thread may still be reading.
        weakref.finalize(self, library.munmap, address, size).atexit = False

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "typestr": "|u1",
            "shape": (self.size,),
            "data": (self.address, True),  # read-only
        }


_HUGE_PAGE = 1 << 21


def map_file(descriptor: int, size: int, *, huge: bool = False) -> NDArray[np.uint8]:
    """Map the first ``size`` bytes of a file, which must be that long, and at least one.

    The descriptor may be closed afterwards.

    Args:
        descriptor: of the file.
        size: in bytes.
        huge: whether to ask Linux for pages of 2 MB, which it has for files where the file system keeps
            them so (ext4 and XFS in recent kernels). Codes are read everywhere, and finding small pages
            takes as long as reading them: of 100,000 rows an exact search took 1.4 ms by these and 1.2 by
            large ones, a walk along a graph 0.38 and 0.30, the first answer 0.24 s and 0.17. What is read
            here and there is better off with small ones.

    Raises:
        OSError: the system refuses.
    """
    if _LIBC is None:
        return np.frombuffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ), dtype=np.uint8)
    address = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE, descriptor, 0)
    if address is None or address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if huge and advice is not None and size >= _HUGE_PAGE:
        _LIBC.madvise(address, size, advice)  # a wish: what comes of it is nobody's error
    return np.asarray(_Map(address, size, _LIBC))


def let_go(array: NDArray[Any]) -> None:
    """Let go of the memory behind a mapped array; what is needed again is read from disk again."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None:
        return
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, _Map):
        _LIBC.madvise(owner.address, owner.size, advice)
