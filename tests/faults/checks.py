"""What must be true of an index after every fault."""

from __future__ import annotations

from pathlib import Path

from qsearch import verify_index
from qsearch.store import Catalog, set_commit
from tests.faults import recorded
from tests.faults.states import UNIMPORTANT

__all__ = ["held", "no_litter", "verified"]


def held(index: Path) -> recorded.Contents:
    """What it holds; every answer that it gives is exact."""
    with recorded.opened(index) as opened:
        recorded.check_answers(opened)
        return recorded.contents_of(opened)


def verified(index: Path) -> None:
    """It is sound, every code included."""
    report = verify_index(index, deep=True)
    assert report.ok, report.problems


def no_litter(index: Path) -> None:
    """There is nothing that no commit names."""
    catalog = Catalog.open(index)
    set_commit(catalog)
    listed = {
        f"segments/{entry.id}/{name}"
        for entry in catalog.segments()
        for name in catalog.files(entry.id)
    }
    catalog.close()
    found = {str(path.relative_to(index)) for path in index.rglob("*") if path.is_file()}
    found -= {"catalog.sqlite", *UNIMPORTANT}
    assert found == listed, (found - listed, listed - found)
