"""Vectors, and results of a real run with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmark import running
from tests.benchmark.world import clustered, run


@pytest.fixture(scope="session", autouse=True)
def hurried() -> Iterator[None]:
    """Tests run beside others: what is measured then is not measured again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "MOST_BUSY", 0)
        yield


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    rows, queries = clustered(600, 40)
    np.save(folder / "vectors.f16.npy", rows.astype(np.float16))
    np.save(folder / "query_vectors.f32.npy", queries)
    return folder


@pytest.fixture(scope="session")
def measured(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a real run, small, in a folder as docs/benchmarks is."""
    place = tmp_path_factory.mktemp("benchmark")
    run(
        registry,
        place,
        "--systems",
        "qsearch,faiss FlatIP,usearch int8,NumPy,zvec",
        "--rounds",
        "2",
    )
    return place
