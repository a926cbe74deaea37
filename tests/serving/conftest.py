from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qsearch import BuildOptions, Index
from tests.encoders import HashedWords
from tests.serving.served import Client, served

WORDS = ("red", "green", "blue", "round", "square", "warm", "cold", "old", "new", "far")


def documents(count: int) -> list[dict[str, Any]]:
    """Documents that differ, with metadata; the last one is titled and not ASCII."""
    made: list[dict[str, Any]] = [
        {
            "id": f"d{number}",
            "text": " ".join(WORDS[number // step % len(WORDS)] for step in (1, 10, 100)),
            "year": 2000 + number % 20,
        }
        for number in range(count)
    ]
    made[-1] = {"id": "a/b c?é", "title": "Käse", "text": "a café 🧀 far far away"}
    return made


@pytest.fixture(scope="session")
def served_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of some hundred documents with a text index."""
    path = tmp_path_factory.mktemp("serving") / "colours"
    options = BuildOptions(text_index=True)
    Index.build(documents(300), path, encoder=HashedWords(), options=options).close()
    return path


@pytest.fixture
def index(served_path: Path) -> Iterator[Index]:
    with Index.open(served_path, encoder=HashedWords()) as opened:
        yield opened


@pytest.fixture
def client(index: Index) -> Iterator[Client]:
    with served(index, refresh=None) as ready:
        yield ready
