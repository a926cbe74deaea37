"""Whatever is wrong with a file of an index is named, is an error or harmless, and is never made sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qsearch.store.format import GRAPH_ARRAYS
from tests.faults import form
from tests.faults.shim import preloaded, told

COUNT = form.times(300, 1_000, 50_000)
"""Damages of each index."""

LAUNDERED = form.times(20, 20, 5)
"""Of every so many one is changed and compacted too; more often where that could hide the damage."""

FILES = {
    "binary.npy",
    "bounds.npy",
    "catalog.sqlite",
    "int8.npy",
    "positions.npy",
    "residual.npy",
    "rotated.npy",
    "rotation.npy",
    "scale.npy",
    "vectors.npy",
}


GRAPH_FILES = {array.name for array in GRAPH_ARRAYS}


@pytest.mark.parametrize(
    ("kind", "more"), [("vectors", GRAPH_FILES), ("passages", {"passages.npy"})]
)
def test_damage_is_named_and_never_believed(quick: Path, kind: str, more: set[str]) -> None:
    first, count = form.share(COUNT)
    arguments = (0, first, count, LAUNDERED)
    found: dict[str, Any] = preloaded(None, "damage_worker", kind, str(quick), *map(str, arguments))
    assert not found["failures"], told(found["failures"])
    print(f"{kind}: {found['checked']} damages: {found['kinds']}")
    assert set(found["files"]) == FILES | more
    assert found["segments"] >= 3
    assert found["checked"] == count
    if form.PARTS == 1:
        assert min(found["kinds"].values()) >= count // 50
