"""A power cut at any moment of a change leaves the commit before it or the one after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.recorded import HISTORIES
from tests.faults.shim import LONG, build_shim, preloaded, told

SHORT = {
    "tail": 25,
    "large": 90,
    "compact": 60,
    "upgrade": 30,
    "merge": 60,
    "passages": 25,
    "compact passages": 20,
}
"""States of each history; the long form has 50,000 in all."""

MIXED = {
    "tail": 100,
    "large": 22,
    "compact": 40,
    "upgrade": 40,
    "merge": 40,
    "passages": 25,
    "compact passages": 40,
}
"""In the long form: states that chance makes, of each moment."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize("name", HISTORIES)
def test_a_power_cut_leaves_one_commit_whole(library: Path, tmp_path: Path, name: str) -> None:
    count, mixed = (1 << 30, MIXED[name]) if LONG else (SHORT[name], 2)
    found: dict[str, Any] = preloaded(
        library, "crash_worker", name, str(tmp_path), "0", str(count), str(mixed)
    )
    assert found["differing"] == [], "the log does not tell all that was done"
    assert found["calls"] > 30
    assert found["checked"] >= min(SHORT[name], 20)
    assert not found["failures"], told(found["failures"])
