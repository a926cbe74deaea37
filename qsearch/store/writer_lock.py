"""One writer at a time: a lock on a file of the index, which the kernel lets go of whatever happens."""

from __future__ import annotations

import datetime
import errno
import json
import os
import socket
import sys
import time
from pathlib import Path

from qsearch.errors import IndexBusy, IndexFormatError, IndexWriteError
from qsearch.store.format import WRITER_LOCK
from qsearch.store.reading import CLOSE_FILES
from qsearch.wording import words

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["WriterLock"]

_POLL_SECONDS = 0.02
_MOST_BYTES = 1000


class WriterLock:
    """The right to change an index. Use as a context manager, or call ``release``."""

    def __init__(self, descriptor: int) -> None:
        """Use ``take``."""
        self._descriptor = descriptor
        self._process = os.getpid()

    @classmethod
    def take(cls, index: Path, wait: float = 0.0, *, what: str = "changed") -> WriterLock:
        """Take the lock of an index, or say who has it.

        Args:
            index: its directory.
            wait: seconds to wait for another writer.
            what: is done with the index, for those who do not get it: "changed", "checked".

        Raises:
            IndexBusy: another writer has it, in this process or another.
            IndexFormatError: there is no such directory.
            IndexWriteError: the file system refuses.
        """
        path = index / WRITER_LOCK
        ends = time.monotonic() + wait
        while True:
            descriptor = _opened(path)
            try:
                if _try_lock(descriptor):
                    if _same_file(descriptor, path):
                        _write_owner(descriptor, path, what)
                        return cls(descriptor)
                    # Another index took the place of this one meanwhile: its lock is the one.
                elif time.monotonic() >= ends:
                    raise IndexBusy(_busy(index, descriptor, wait))
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            time.sleep(_POLL_SECONDS)

    def release(self) -> None:
        """Let go of it. In a forked child nothing happens: it is the parent's."""
        if self._descriptor < 0:
            return
        if sys.platform != "win32" and self._process == os.getpid():
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a child may have the descriptor too
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> WriterLock:
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go of it."""
        self.release()


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except FileNotFoundError:
        raise IndexFormatError(
            f"there is no index at {path.parent}; make one with {words().build}"
        ) from None
    except NotADirectoryError:
        raise IndexFormatError(f"{path.parent} is a file; an index is a directory") from None
    except OSError as error:
        why = error.strerror or str(error)
        advice = "free some space or mend the disk and try again"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "it can be searched as it is; to change it, make it writable or copy it"
        elif error.errno in (errno.EMFILE, errno.ENFILE):
            advice = CLOSE_FILES
        raise IndexWriteError(f"{path.parent} cannot be changed ({why}); {advice}") from error


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise IndexWriteError(
            f"the index cannot be locked ({error.strerror or error}); put it on a file system with locks"
        ) from error
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _write_owner(descriptor: int, path: Path, what: str) -> None:
    """Say who has the lock, for those who do not get it."""
    owner = {
        "what": what,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    except OSError as error:
        raise IndexWriteError(
            f"{path} cannot be written ({error.strerror or error}); free some space and try again"
        ) from error


def _busy(index: Path, descriptor: int, waited: float) -> str:
    what, advice = "changed", f"wait for it ({words().wait} does), or end it"
    try:
        owner = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
        told = f"process {owner['process']} on {owner['host']}, since {owner['since']}"
        what = str(owner.get("what", what))
        if (owner["process"], owner["host"]) == (os.getpid(), socket.gethostname()):
            told = told.replace(",", " (this one),", 1)
            advice += (
                "; what is to be one commit goes into the block of Index.changes() that is open"
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        told = "another process"
    if waited > 0:
        told += f", and was for the {waited:g} seconds of waiting"
    return f"{index} is being {what} by {told}; {advice}"
