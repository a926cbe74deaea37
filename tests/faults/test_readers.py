"""No answer mixes two commits, whatever a writer does in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults import form
from tests.faults.shim import preloaded


def test_eight_readers_beside_a_writer_each_answer_from_one_commit(quick: Path) -> None:
    first, commits = form.share(form.times(50, 50, 1_000))
    found: dict[str, Any] = preloaded(None, "reader_worker", str(quick), str(first), str(commits))
    print(f"{commits} commits: {found}")
    # A change that changes nothing for a reader, as compacting, is not told from the one before.
    assert found["changes seen"] > commits // 3
    assert found["looks"] > 2 * commits
    assert found["other commits"] > commits // 2
    assert found["behind"] > 0
