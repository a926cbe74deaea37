"""An index that evaluations are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qsearch import BuildOptions, Index
from tests.encoders import HashedWords
from tests.evaluation.world import DOCUMENTS, record


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluated") / "index"
    options = BuildOptions(graph=True, text_index=True, segment_rows=500)
    Index.build(map(record, range(DOCUMENTS)), path, encoder=HashedWords(), options=options).close()
    return path


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    with Index.open(path, encoder=HashedWords()) as opened:
        yield opened
