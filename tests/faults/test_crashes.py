"""A power cut at any moment of a change leaves the commit before it or the one after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults import form
from tests.faults.recorded import HISTORIES
from tests.faults.shim import preloaded, told

WHOLE = ("tail", "compact", "upgrade")
"""Of these every moment is looked at; what unsynced calls left there is no chance."""

IN_SUITE = {"compact": 100}
"""States that the suite looks at, of 309; of the other two every one."""

SOME = {"large": 90, "merge": 60, "passages": 25, "compact passages": 20}
"""States of the others, by ``scripts/faults``, chance among them."""

MIXED = {
    "tail": 320,
    "large": 56,
    "compact": 101,
    "upgrade": 140,
    "merge": 102,
    "passages": 66,
    "compact passages": 112,
}
"""In the long form: states that chance makes, of each moment. 50,000 in all."""

EVERY = 1 << 30


@pytest.mark.parametrize("name", form.times(list(WHOLE), list(HISTORIES), list(HISTORIES)))
def test_a_power_cut_leaves_one_commit_whole(library: Path, quick: Path, name: str) -> None:
    fewer = form.times(IN_SUITE, SOME, {})
    count, mixed = fewer.get(name, EVERY), 0 if name in WHOLE else 2
    if form.LONG:
        mixed = MIXED[name]
    arguments = (0, count, mixed, form.PART, form.PARTS)
    found: dict[str, Any] = preloaded(
        library, "crash_worker", name, str(quick), *map(str, arguments)
    )
    assert not found["failures"], told(found["failures"])
    print(f"{name}: {found['checked']} of {found['states']} states, of {found['calls']} calls")
    assert found["differing"] == [], "the log does not tell all that was done"
    assert found["calls"] > 30
    if form.PARTS == 1:
        assert found["checked"] == min(count, found["states"])
        assert found["checked"] >= 20
