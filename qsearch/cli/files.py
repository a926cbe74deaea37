"""Files that a command is asked to write: complete, or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qsearch.cli.output import OutputError

__all__ = ["written"]


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the name ``path`` at the end of the block, synced.

    Where the block ends with an error, what was at ``path`` is there as it was.

    Raises:
        OutputError: the file system refuses, or there is something else than a file.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    if target.exists() and not target.is_file():
        what = "a directory" if target.is_dir() else "no regular file"
        raise OutputError(f"{path} is {what}; name a file")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
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
