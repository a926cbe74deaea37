"""Who holds a catalog: asked without taking, or dropping, a lock.

A build holds its catalog under SQLite's exclusive lock, a change and every read under others. On POSIX such
a lock belongs to the process, and is gone as soon as the process closes any descriptor of the file, whoever
opened it. So the catalogs that this process holds or has connections to are listed here, and no other code
opens one of these by itself.
"""

from __future__ import annotations

import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qsearch.locks import ProcessLock
from qsearch.store.format import CATALOG, SEGMENTS, staging_path
from qsearch.wording import words

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # the module or nothing

__all__ = [
    "closing",
    "connect",
    "disconnect",
    "file_header",
    "file_identity",
    "index_around",
    "is_held",
    "opening",
    "unfinished",
]

_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
"""The bytes of a database that SQLite locks to read it, all of them to keep others from it
(https://www.sqlite.org/src/file?name=src/os.h)."""

_guard = ProcessLock(fork_waits=True)  # SQLite is used under it
_held: set[tuple[int, int]] = set()  # device and inode of each catalog that this process holds
_connected: Counter[tuple[int, int]] = Counter()  # and of those that it has connections to


if hasattr(os, "register_at_fork"):  # a child holds nothing of what its parent holds
    os.register_at_fork(after_in_child=_held.clear)


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Lock a catalog inside of this block; it counts as held from its end until ``closing``."""
    with _guard:
        yield
        _held.add(_identity(path))


@contextmanager
def closing(file: tuple[int, int]) -> Iterator[None]:
    """Close a catalog inside of this block; its device and inode do not count as held behind it."""
    with _guard:
        yield
        _held.discard(file)


def connect(file: tuple[int, int]) -> None:
    """Tell that connections to a catalog may be made from now on, until ``disconnect``."""
    with _guard:
        _connected[file] += 1


def disconnect(file: tuple[int, int]) -> None:
    """Tell that the connections which ``connect`` announced are closed."""
    with _guard:
        _connected[file] -= 1
        if _connected[file] <= 0:
            del _connected[file]


def index_around(path: Path) -> Path | None:
    """The index that a place is inside of, wherever links lead; ``None``: of none."""
    parents = Path(os.path.realpath(path)).parents
    for parent in parents[:3]:  # a file of a segment is the deepest
        if (parent / CATALOG).is_file() and (parent / SEGMENTS).is_dir():
            return parent
    return None


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; ``None`` where there is no file."""
    try:
        return _identity(path)
    except OSError:
        return None


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def file_header(path: Path, size: int) -> bytes | None:
    """The first bytes of a file that may be a catalog; ``None`` where this process has it open as one.

    Raises:
        OSError: it cannot be read.
    """
    with _guard:
        identity = _identity(path)
        if identity in _held or identity in _connected:
            return None
        with open(path, "rb") as file:
            return file.read(size)


def is_held(catalog: Path) -> bool:
    """Whether a process holds a staging catalog; false too where that cannot be found out."""
    if os.name == "nt":
        return False
    try:
        with _guard:
            identity = _identity(catalog)
            if identity in _held:
                return True
            if identity in _connected:
                return False  # nobody else can, while this process reads
            with open(catalog, "rb") as file:
                return _locked(file.fileno())
    except OSError:
        return False


def _locked(descriptor: int) -> bool:
    """Ask the kernel whether reading would have to wait (``F_GETLK``)."""
    # struct flock: whence and type are first on Linux, last elsewhere.
    if sys.platform == "linux":
        layout, kind = "hhqqi4x", 0
        asked = (fcntl.F_RDLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
    else:
        layout, kind = "qqihh8x", 3
        asked = (_SHARED_FIRST, _SHARED_SIZE, 0, fcntl.F_RDLCK, os.SEEK_SET)
    answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(layout, *asked))
    return bool(struct.unpack(layout, answer)[kind] != fcntl.F_UNLCK)


def unfinished(index: Path) -> str | None:
    """What to tell of an index of which there is only its first build; ``None`` if there is none."""
    catalog = staging_path(index) / CATALOG
    if not catalog.is_file():
        return None
    if is_held(catalog):
        return f"{index} is being built at this moment; it can be searched when it is complete"
    return (
        f"{index} is half written: its build was interrupted; run the same {words().build} again to "
        "finish it"
    )
