"""A writer that is killed at any moment leaves the commit before or the one after, and the next goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults import form
from tests.faults.shim import preloaded, told

MOMENTS = {
    "at a call": "between two calls that change files",
    "at a call of a commit": "between the syncs, renames and removals of SQLite's commits and ours",
    "at a line": "at a line of qsearch/store or qsearch/indexing",
    "at a moment": "somewhere, by the clock",
}

MET = {
    "in the commit": "SQLite's journal was there",
    "with a new catalog": "compacting had written one that was not in its place yet",
    "before": "the index held what it held before",
    "after": "the index held what was to be",
    "not compacted": "the catalog was the old one",
    "compacted": "the catalog was the new one",
    "underway": "some steps were kept",
    "segment half named": "a full segment had its name announced, and was not registered",
    "resumed": "the next run of the same change went on behind these steps",
}
"""Met by a hundred kills."""

MET_SELDOM = {
    "merging": "the change was done, and the merging behind it was not",
    "thrown away": "another change threw away what was kept, and said so",
    "refused": "the next run of the same change was told that its documents are there, or gone",
}


def test_a_kill_at_any_moment_of_a_change_leaves_one_commit_whole(
    library: Path, quick: Path
) -> None:
    first, count = form.share(form.times(30, 100, 5_000))
    # Some end before they are killed: a moment by the clock comes too late where the machine is quick.
    more = -(-count // 5)
    found: dict[str, Any] = preloaded(
        library, "kill_worker", str(quick), str(first + first // 5), str(count + more)
    )
    assert not found["failures"], told(found["failures"])
    met = found["met"]
    print(f"{met['killed']} kills: {met}")
    assert met["killed"] >= count
    wanted = {**MOMENTS, **(MET if count >= 100 else {}), **(MET_SELDOM if form.LONG else {})}
    if count >= 50:
        assert not {name for name in wanted if not met.get(name)}
