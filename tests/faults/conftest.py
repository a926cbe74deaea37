"""What the files of the battery share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.shim import build_shim

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder where files are made and removed by the thousand: in memory, where there is such a place."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="qsearch-faults-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
