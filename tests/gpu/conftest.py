from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests have few rows, and devices that hold fewer of them."""
    monkeypatch.setattr("qsearch.gpu.slabs._LEAST_ROWS", 0)
