"""Files that a command is asked to write: complete, or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qsearch.cli.output import OutputError
from qsearch.store.holding import index_around

__all__ = ["check_file", "same_file", "written"]

_LONGEST = 230
"""Bytes of a name, so that there is room for the one that it has while it is written."""


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths name one file, if it is there or not."""
    return os.path.realpath(one) == os.path.realpath(other)


def check_file(path: Path) -> None:
    """Refuse what ``written`` cannot replace.

    Raises:
        OutputError: there is something else than a file, no such folder, the name cannot be, or it lies
            inside of an index.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            what = "a directory" if target.is_dir() else "no regular file"
            raise OutputError(f"{path} is {what}; name a file")
        if not target.parent.is_dir():
            raise OutputError(
                f"{path} cannot be written (No such file or directory: {path.parent})"
            )
        if index_around(path) is not None:
            raise OutputError(f"{path} lies inside of an index; name a file elsewhere")
        if len(os.fsencode(target.name)) > _LONGEST:
            raise OutputError(f"{path} cannot be written (the name is too long)")
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{path} cannot be written ({error})") from error


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the name ``path`` at the end of the block, synced.

    Where the block ends with an error, what was at ``path`` is there as it was.

    Raises:
        OutputError: the file system refuses, or there is something else than a file.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        check_file(path)
        try:
            with open(part, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error})") from error
