"""An index to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import qsearch.store.editor
import qsearch.store.merging
from qsearch import Index
from tests.changes.helpers import records
from tests.encoders import HashedWords


@pytest.fixture
def index(tmp_path: Path, encoder: HashedWords) -> Index:
    return Index.build(records(0, 30), tmp_path / "index", encoder=encoder)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tails and steps of few rows, so that little is much."""
    monkeypatch.setattr(qsearch.store.merging, "_STEP_ROWS", 5)
    monkeypatch.setattr(qsearch.store.editor, "TAIL_ROWS", 8)
    monkeypatch.setattr(qsearch.store.merging, "TAIL_ROWS", 8)
