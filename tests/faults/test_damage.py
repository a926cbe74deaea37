"""Whatever is wrong with a file of an index is named, is an error or harmless, and is never made sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.shim import LONG, preloaded, told

CASES = {"vectors": 1200, "passages": 800}
"""Damages; fifty times as many in the long form."""

LAUNDERED = 20
"""Of every so many one is changed and compacted too; of five in the long form."""

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


@pytest.mark.parametrize(
    ("form", "more"), [("vectors", "graph.usearch"), ("passages", "passages.npy")]
)
def test_damage_is_named_and_never_believed(tmp_path: Path, form: str, more: str) -> None:
    count, laundered = (50 * CASES[form], 5) if LONG else (CASES[form], LAUNDERED)
    found: dict[str, Any] = preloaded(
        None, "damage_worker", form, str(tmp_path), "0", str(count), str(laundered)
    )
    assert set(found["files"]) == FILES | {more}
    assert found["segments"] >= 3
    assert found["checked"] == count
    assert min(found["kinds"].values()) >= count // 40
    assert not found["failures"], told(found["failures"])
