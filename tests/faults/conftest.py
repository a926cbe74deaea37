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


def place_in_memory() -> Path | None:
    """Where files are made and removed by the thousand in no time; ``None`` where there is none."""
    return MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder for a process that makes thousands of files."""
    folder = Path(tempfile.mkdtemp(prefix="qsearch-faults-", dir=place_in_memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
