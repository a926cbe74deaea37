"""What the system refuses in the middle of a change is told, and harms nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.recorded import HISTORIES
from tests.faults.shim import LONG, build_shim, preloaded, told

SHORT = {"tail": 0, "large": 40, "compact": 30, "upgrade": 20, "merge": 30, "passages": 20}
"""Refusals of each history, chosen by chance; 0: all there are. The long form has all of each."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize("name", HISTORIES if LONG else SHORT)
def test_what_is_refused_is_told_and_the_next_try_works(
    library: Path, tmp_path: Path, name: str
) -> None:
    """ENOSPC, EIO, EMFILE, EACCES at the n-th call, reading too, and a disk that is full from there on."""
    count = 0 if LONG else SHORT[name]
    found: dict[str, Any] = preloaded(
        library, "refusal_worker", name, str(tmp_path), "0", str(count)
    )
    assert found["checked"] == (count or found["cases"])
    assert min(found["calls"]) > 100
    assert not found["failures"], told(found["failures"])
