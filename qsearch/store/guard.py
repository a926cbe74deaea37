"""What a build may replace: nothing but an index, or what is left of one, is ever deleted."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qsearch.errors import IndexExists
from qsearch.store.format import (
    APPLICATION_ID,
    CATALOG,
    NEW_CATALOG,
    PENDING,
    SEGMENT_FILES,
    SEGMENTS,
    WRITER_LOCK,
    staging_path,
)
from qsearch.store.holding import file_header
from qsearch.wording import words

__all__ = ["check_target", "holds_only_an_index", "is_index_directory"]

_SQLITE = b"SQLite format 3\0"
_SQLITE_HEADER = 100

_BESIDE_CATALOG = {
    CATALOG,
    CATALOG + "-wal",
    CATALOG + "-shm",
    CATALOG + "-journal",
    NEW_CATALOG,
    NEW_CATALOG + "-journal",
    SEGMENTS,
    WRITER_LOCK,
}


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
    _check_parents(target)
    staging = staging_path(target)
    if os.path.lexists(staging) and not holds_only_an_index(staging):
        raise IndexExists(
            f"{staging}, where the index would be built, holds other things; move them away, or "
            f"choose {words().other_place}"
        )
    if not os.path.lexists(target):
        return
    if os.path.ismount(target):
        raise IndexExists(
            f"{target} is a mount point and cannot be exchanged; use {target / 'index'}"
        )
    found = _kind(target)
    if found is None:
        inner = _index_inside(target)
        if inner is not None:
            raise IndexExists(
                f"{target} is no index, but holds one ({inner}); name an index, or choose "
                f"{words().other_place}"
            )
        raise IndexExists(
            f"{target} exists and is not a qsearch index; choose {words().other_place}"
        )
    if found and not replace:
        raise IndexExists(
            f"there is {found} at {target} already; add {words().force} to replace it "
            f"(it stays in use until the new one is complete), or choose {words().other_place}"
        )


def is_index_directory(directory: Path) -> bool:
    """Whether a directory has the two things that an index is made of, by their names."""
    return os.path.isfile(directory / CATALOG) and os.path.isdir(directory / SEGMENTS)


def _check_parents(target: Path) -> None:
    """An index inside of another would go with it."""
    for parent in target.parents:
        if is_index_directory(parent):
            raise IndexExists(
                f"{target} lies inside of the index {parent}, which holds nothing but its own files; "
                f"choose {words().other_place}"
            )
        if parent.name and os.path.isfile(staging_path(parent) / CATALOG):
            raise IndexExists(
                f"{target} lies inside of {parent}, an index whose build is not finished; choose "
                f"{words().other_place}"
            )


def _index_inside(target: Path) -> Path | None:
    if not target.is_dir():
        return None
    return next((one for one in sorted(target.iterdir()) if is_index_directory(one)), None)


def holds_only_an_index(directory: Path) -> bool:
    """Whether there is nothing in it that is not an index's, by names."""
    if not directory.is_dir():
        return False
    for path in directory.iterdir():
        if path.name not in _BESIDE_CATALOG or path.is_dir() != (path.name == SEGMENTS):
            return False
        if path.name == SEGMENTS and not all(map(_is_segment, path.iterdir())):
            return False
    return True


def _is_segment(path: Path) -> bool:
    named = path.name == PENDING or re.fullmatch("[0-9a-f]{16}", path.name)
    return bool(
        named
        and path.is_dir()
        and all(
            one.name.removesuffix(".unfinished") in SEGMENT_FILES and one.is_file()
            for one in path.iterdir()
        )
    )


def _kind(directory: Path) -> str | None:
    """What a directory holds: an index or a damaged one; "": nothing at all; ``None``: what is not ours.

    Where the catalog is gone, or is no database any more, there must be arrays under the names that only
    an index gives them. A sound database of another application is not ours, whatever stands beside it.
    """
    if directory.is_dir() and not any(directory.iterdir()):
        return ""
    if not holds_only_an_index(directory):
        return None
    catalog = directory / CATALOG
    header: bytes | None = b""
    if catalog.exists():
        header = file_header(catalog, _SQLITE_HEADER)
        if header is None:
            return "an index"
        if header.startswith(_SQLITE) and len(header) == _SQLITE_HEADER:
            # SQLite keeps the application id at offset 68.
            ours = header[68:72] == APPLICATION_ID.to_bytes(4, "big")
            return "an index" if ours else None
    segments = directory / SEGMENTS
    arrays = segments.is_dir() and any(
        file.name in SEGMENT_FILES for segment in segments.iterdir() for file in segment.iterdir()
    )
    return "a damaged index" if arrays else None
