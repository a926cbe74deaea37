"""Files of an index that no commit names: of changes that were cut short, and of commits that are past."""

from __future__ import annotations

import shutil
from pathlib import Path

from qsearch.store.catalog import Catalog
from qsearch.store.format import NEW_CATALOG, PENDING, SEGMENTS
from qsearch.store.staging import writing

__all__ = ["remove_litter"]


def remove_litter(index: Path, catalog: Catalog, *, keep_pending: bool = False) -> None:
    """Remove segments, and files of segments, that the catalog does not list. The writer's lock is held.

    Who has them mapped goes on reading them: the system keeps what has no name until nobody does.

    Args:
        index: the directory.
        catalog: which lists the segments of the change under way too.
        keep_pending: leave the segment that is being filled.

    Raises:
        IndexWriteError: the file system refuses.
    """
    listed = {entry.id for entry in catalog.segments()}
    with writing(index):
        for name in (NEW_CATALOG, NEW_CATALOG + "-journal"):
            (index / name).unlink(missing_ok=True)
        for path in list((index / SEGMENTS).iterdir()):
            if path.name in listed:
                known = catalog.files(path.name)
                for file in path.iterdir():
                    if file.name not in known:
                        file.unlink()
            elif path.is_dir() and not (keep_pending and path.name == PENDING):
                shutil.rmtree(path)
