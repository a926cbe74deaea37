"""Opening the files of an index for reading, and saying what to do where the system refuses."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qsearch.errors import IndexFormatError
from qsearch.wording import words

__all__ = ["CLOSE_FILES", "is_shortage", "opened", "reading"]

CLOSE_FILES = (
    "close what is not needed, or raise the number of files that a process may have open "
    "(ulimit -n)"
)
"""What to do where no more files can be opened."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in the place of a file must not be waited for
)


def is_shortage(error: BaseException | None) -> bool:
    """Whether the system lacks something at the moment, memory or places for files: nothing is damaged."""
    return isinstance(error, OSError) and error.errno in (
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an ``IndexFormatError`` that says what to do."""
    try:
        yield
    except OSError as error:
        advice = f"restore it from a copy, or build the index again with {words().rebuild}"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            advice = CLOSE_FILES
        elif error.errno == errno.ENOMEM:
            advice = (
                "the system has no room, or no more places, for further maps (ulimit -v, "
                "vm.max_map_count)"
            )
        elif error.errno in (errno.EACCES, errno.EPERM):
            advice = "give the user of this process the right to read it"
        raise IndexFormatError(
            f"{path} cannot be read ({error.strerror or error}); {advice}"
        ) from error


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """Open a file; yields its descriptor and its size. A link to a file is one.

    Raises:
        IndexFormatError: it cannot be read, or is no file: a directory, a pipe, a device.
    """
    with reading(path):
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IndexFormatError(
                    f"{path} is not a file; restore it from a copy, or build the index again with "
                    f"{words().rebuild}"
                )
            yield descriptor, status.st_size
        finally:
            os.close(descriptor)
