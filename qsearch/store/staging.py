"""Before and around a write: may the target be replaced, who holds the staging place, what refused."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qsearch.errors import (
    IndexBusy,
    IndexExists,
    IndexFormatError,
    IndexWriteError,
    QsearchError,
)
from qsearch.store.catalog import Catalog
from qsearch.store.format import (
    APPLICATION_ID,
    CATALOG,
    SEGMENT_FILES,
    SEGMENTS,
    staging_path,
)
from qsearch.store.publish import make_directory, replaced_directories
from qsearch.wording import words

__all__ = [
    "check_target",
    "is_replaced_index",
    "lock_staging",
    "published_settings",
    "real_target",
    "refused",
    "remove_leftovers",
    "unusable",
    "writing",
]


def real_target(target: Path) -> Path:
    """The directory that ``target`` names: a link stays a link, and what it names is replaced."""
    return Path(os.path.realpath(target))


def check_target(target: Path, *, replace: bool) -> None:
    """Refuse a target that may not be replaced, before any work is done.

    Args:
        target: as ``real_target`` returns it.
        replace: whether an index may be replaced.

    Raises:
        IndexExists: there is an index and ``replace`` is false, or something that is no index.
    """
    if target.suffix in (".building", ".replaced") or not target.name:
        raise IndexExists(f"{target} cannot be the name of an index; choose {words().other_place}")
    staging = staging_path(target)
    if staging.exists() and not _holds_only_an_index(staging):
        raise IndexExists(
            f"{staging}, where the index would be built, holds other things; move them away, or "
            f"choose {words().other_place}"
        )
    for parent in target.parents:
        if _is_catalog(parent / CATALOG):
            raise IndexExists(
                f"{target} lies inside of the index {parent}, which is replaced as a whole; choose "
                f"{words().other_place}"
            )
    if not os.path.lexists(target):
        return
    if os.path.ismount(target):
        raise IndexExists(
            f"{target} is a mount point and cannot be exchanged; use {target / 'index'}"
        )
    if _holds_only_an_index(target) and (_is_catalog(target / CATALOG) or _is_ruin(target)):
        if not replace:
            what = "an index" if _is_catalog(target / CATALOG) else "a damaged index"
            raise IndexExists(
                f"there is {what} at {target} already; add {words().force} to replace it "
                f"(it stays in use until the new one is complete), or choose {words().other_place}"
            )
    elif not target.is_dir() or any(target.iterdir()):
        raise IndexExists(
            f"{target} exists and is not a qsearch index; choose {words().other_place}"
        )


def _holds_only_an_index(directory: Path) -> bool:
    """Whether there is nothing in it that is not an index's: nothing else is ever deleted.

    By names only: opening and closing the catalog of a build in this process would drop its lock.
    """
    return directory.is_dir() and all(
        path.name == SEGMENTS or path.name.startswith(CATALOG) for path in directory.iterdir()
    )


def _is_ruin(directory: Path) -> bool:
    """Whether segments are there, and nothing but them and what may have been their catalog.

    Not where the catalog is a database of something else: that is not ours to replace.
    """
    header = _header(directory / CATALOG)
    if header[:16] == _SQLITE and header[68:] not in (b"", bytes(4)):
        return False
    segments = directory / SEGMENTS
    return segments.is_dir() and all(_is_segment(path) for path in segments.iterdir())


def _is_segment(path: Path) -> bool:
    """Whether a directory has a name that segments have, and only files that they have."""
    if not path.is_dir() or not re.fullmatch("[0-9a-f]{16}|pending", path.name):
        return False
    return all(one.name.removesuffix(".unfinished") in SEGMENT_FILES for one in path.iterdir())


_SQLITE = b"SQLite format 3\0"


def _header(path: Path) -> bytes:
    """What SQLite keeps first; as much as there is."""
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        return file.read(72)


def _is_catalog(path: Path) -> bool:
    """Whether a file is the catalog of an index."""
    header = _header(path)
    # SQLite keeps the application id at offset 68.
    return header[:16] == _SQLITE and header[68:] == APPLICATION_ID.to_bytes(4, "big")


def lock_staging(staging: Path) -> Catalog:
    """Open the staging catalog under an exclusive lock, creating what is not there.

    Raises:
        IndexBusy: another process holds it.
        IndexWriteError: the file system refuses.
        IndexFormatError: what is there is no usable catalog.
    """
    try:
        make_directory(staging / SEGMENTS)
        return Catalog.create(staging)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise IndexBusy(
                f"another process is building {staging.with_suffix('')}; wait for it, or end it"
            ) from error
        raise IndexWriteError(
            f"{staging} cannot be written ({error}); make the place writable or choose "
            f"{words().other_place}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise IndexFormatError(unusable(staging, str(error))) from error
    except OSError as error:
        raise refused(staging, error) from error


def published_settings(target: Path) -> dict[str, Any]:
    """Settings of the index at ``target``; none where there is no readable index."""
    try:
        catalog = Catalog.open(target)
    except QsearchError:
        return {}
    try:
        return catalog.settings()
    except QsearchError:
        return {}
    finally:
        catalog.close()


def is_replaced_index(staging: Catalog, target: Path) -> bool:
    """Whether a crash between exchanging and deleting left the old index under the staging name."""
    complete = staging.settings().get("catalog_xxh3")
    return complete is not None and published_settings(target).get("replaces") == complete


def remove_leftovers(target: Path) -> None:
    """Delete old indexes that a crash in the middle of an exchange left beside ``target``."""
    for path in replaced_directories(target):
        if _holds_only_an_index(path):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an ``IndexWriteError``."""
    try:
        yield
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> IndexWriteError:
    """The error for a write that was refused."""
    return IndexWriteError(
        f"{error.filename or path} cannot be written ({error.strerror or error}); what was committed "
        "is safe: free some space or make the place writable and run the same command again"
    )


def unusable(staging: Path, why: str) -> str:
    """The message for an interrupted build that cannot be gone on with."""
    return (
        f"the interrupted build in {staging} cannot be resumed ({why}); add {words().restart} to "
        "begin anew"
    )
