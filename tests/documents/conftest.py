"""Fixtures of the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents.corpora import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """For properties, whose examples may share a folder."""
    return Files(tmp_path_factory.mktemp("scratch"))
