"""Around a write: taking hold of the staging place, what is left there, what refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
from qsearch.store.format import FORMAT_VERSION, SEGMENTS, staging_path
from qsearch.store.guard import holds_only_an_index
from qsearch.store.publish import make_directory, replaced_directories
from qsearch.store.reading import CLOSE_FILES, is_shortage
from qsearch.wording import words

__all__ = [
    "SettingsChanged",
    "Staging",
    "check_settings",
    "claim_staging",
    "published_settings",
    "real_target",
    "resuming",
    "writing",
]


def real_target(target: Path) -> Path:
    """The directory that ``target`` names: a link stays a link, and what it names is replaced."""
    try:
        return Path(os.path.realpath(target))
    except ValueError as error:  # a null character
        raise IndexExists(
            f"{str(target)!r} cannot be the name of an index ({error}); choose {words().other_place}"
        ) from error


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging place that this process holds.

    Attributes:
        path: of it.
        catalog: its catalog, locked.
        made: directories that were made for it, the deepest first.
    """

    path: Path
    catalog: Catalog
    made: tuple[Path, ...]

    def remove(self) -> None:
        """Delete it, and what was made for it. The catalog must be closed behind that."""
        shutil.rmtree(self.path, ignore_errors=True)
        for path in self.made:
            with suppress(OSError):  # something else is in it by now
                path.rmdir()


def claim_staging(target: Path, *, restart: bool) -> Staging:
    """Take hold of the staging place of ``target``, with the documents that an earlier build kept there.

    Args:
        target: as ``real_target`` returns it, checked.
        restart: throw away what an earlier build kept.

    Raises:
        IndexBusy: another process holds it.
        IndexExists: what is there is not ours.
        IndexWriteError: the file system refuses.
        IndexFormatError: what is there is not usable.
    """
    with resuming(target):
        return _claim(target, restart)


def _claim(target: Path, restart: bool) -> Staging:
    staging = staging_path(target)
    made = tuple(path for path in staging.parents if not path.exists())
    try:
        catalog = _lock(staging)
    except IndexFormatError:
        if not restart:
            raise
        shutil.rmtree(staging)
        catalog = _lock(staging)
    empty = False
    try:
        used = restart or bool(catalog.settings())
        # Where not a single document was kept nothing is lost, and nothing speaks against other settings.
        empty = restart or not used or not catalog.count()
        if used and (empty or _is_replaced_index(catalog, target)):
            shutil.rmtree(staging)  # under our lock: no other build is using it
            catalog.close()
            catalog = _lock(staging)
            empty = True
        if catalog.version != FORMAT_VERSION:
            raise IndexFormatError(f"it is of index format {catalog.version}")
        _remove_leftovers(target)
    except BaseException:
        if empty:
            Staging(staging, catalog, made).remove()
        catalog.close()
        raise
    return Staging(staging, catalog, made)


def _lock(staging: Path) -> Catalog:
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
        raise IndexFormatError(str(error)) from error
    except OSError as error:
        raise _refused(staging, error) from error


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


def _is_replaced_index(staging: Catalog, target: Path) -> bool:
    """Whether a crash between exchanging and deleting left the old index under the staging name."""
    complete = staging.settings().get("catalog_xxh3")
    return complete is not None and published_settings(target).get("replaces") == complete


def _remove_leftovers(target: Path) -> None:
    """Delete old indexes that a crash in the middle of an exchange left beside ``target``."""
    for path in replaced_directories(target):
        if holds_only_an_index(path):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an ``IndexWriteError``."""
    try:
        yield
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> IndexWriteError:
    """The error for a write that was refused."""
    advice = _ADVICE.get(
        error.errno or 0, "free some space, make the place writable or mend the disk"
    )
    return IndexWriteError(
        f"{error.filename or path} cannot be written ({error.strerror or error}); what was committed "
        f"is safe: {advice}, and run the same command again"
    )


_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "make the place writable",
    errno.EPERM: "make the place writable",
    errno.EROFS: "make the place writable",
    errno.EMFILE: CLOSE_FILES,
    errno.ENFILE: CLOSE_FILES,
    errno.EIO: "mend the disk",
}


@contextmanager
def resuming(target: Path) -> Iterator[None]:
    """Whatever of an index is damaged inside of this block, it is in the staging place of ``target``.

    What is advised for an index that is there does not help then: the build is to be begun anew.
    """
    try:
        yield
    except IndexFormatError as error:
        if is_shortage(error.__cause__):
            raise
        why = str(error).partition("; ")[0]
        raise IndexFormatError(
            f"the interrupted build in {staging_path(target)} cannot be resumed ({why}); add "
            f"{words().restart} to begin anew"
        ) from error


_NOT_DECISIVE = {"records in a chunk", "characters in a chunk", "characters encoded in a chunk"}
"""Settings of earlier versions, which did not resume a build that had cut its corpus otherwise."""


class SettingsChanged(IndexExists):
    """What an interrupted build has done was done with other settings.

    Attributes:
        earlier: these.
    """

    def __init__(self, message: str, earlier: dict[str, Any]) -> None:
        """Keep ``earlier`` beside the message."""
        super().__init__(message)
        self.earlier = earlier


def check_settings(target: Path, earlier: dict[str, Any], build: dict[str, Any]) -> None:
    """Refuse to go on with a build that had other settings.

    Raises:
        SettingsChanged: it had; each is named, with both values.
    """
    differing = sorted(
        key
        for key in (earlier.keys() | build.keys()) - _NOT_DECISIVE
        if earlier.get(key) != build.get(key)
    )
    if differing:
        changes = "; ".join(
            f"{key} was {json.dumps(earlier.get(key), sort_keys=True)}, "
            f"is {json.dumps(build.get(key), sort_keys=True)}"
            for key in differing
        )
        raise SettingsChanged(
            f"an interrupted build of {target} had other settings ({changes}); run it again with "
            f"those to finish it, or add {words().restart} to throw it away",
            earlier,
        )
