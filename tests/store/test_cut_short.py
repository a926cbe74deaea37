"""Half a commit, on a place that nobody may write: SQLite's journal says what is to be undone first."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from qsearch import Index, verify_index
from tests.encoders import HashedWords
from tests.store.crash_driver import in_child

NOBODY = 65534


@pytest.fixture
def half(tmp_path: Path, encoder: HashedWords) -> Path:
    """An index as it lies there when a writer was killed with a part of its pages written."""
    index = tmp_path / "index"
    some = [{"id": f"d{number}", "text": f"cat {number} " * 40} for number in range(300)]
    Index.build(some, index, encoder=encoder).close()
    writer = sqlite3.connect(index / "catalog.sqlite", isolation_level=None)
    writer.execute("PRAGMA cache_size = 5")  # pages: what is changed goes to the file at once
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE documents SET text = text || 'x'")
    half = shutil.copytree(index, tmp_path / "half")
    writer.execute("ROLLBACK")
    writer.close()
    assert (half / "catalog.sqlite-journal").stat().st_size > 0
    assert (half / "catalog.sqlite").read_bytes() != (index / "catalog.sqlite").read_bytes()
    for folder in (*tmp_path.parents[:-1], tmp_path):
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    return half


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else")
def test_who_may_not_undo_half_a_commit_is_told(half: Path) -> None:
    def as_nobody() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with pytest.raises(Exception, match="was cut short, and cannot be undone here") as refused:
            Index.open(half)
        assert "open the index once where it can be written" in str(refused.value)

    assert in_child(as_nobody) == 0
    # What the message says to do.
    with Index.open(half) as index:
        (found,) = index.get(["d7"])
        assert found.text.endswith("cat 7 ")
    assert not (half / "catalog.sqlite-journal").exists()
    assert verify_index(half, deep=True).ok

    def reads() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with Index.open(half) as index:
            assert len(index) == 300

    assert in_child(reads) == 0
