"""Directories with an index to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.changing.helpers import PETS, write
from tests.cli.running import run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A directory with ``indexes/pets``, of texts."""
    folder = tmp_path_factory.mktemp("changes")
    done = run("build", write(folder / "pets.jsonl", PETS), "-m", tiny_bert, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "place"))


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """A directory with ``indexes/v``, of vectors without texts."""
    np.save(tmp_path / "v.npy", np.eye(5, dtype=np.float32))
    assert run("build", "--vectors", "v.npy", cwd=tmp_path).returncode == 0
    return tmp_path
