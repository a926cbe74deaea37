"""Every system of the benchmark answers what it is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.benchmark import data as data_sets
from scripts.benchmark import running
from scripts.benchmark.systems import systems
from scripts.benchmark.systems.base import Data, Setting, Unavailable
from tests.benchmark.world import clustered

HERE = (
    ["qsearch", "qsearch without graph", "qsearch untuned", "NumPy"]
    + ["faiss FlatIP", "faiss FlatL2Panorama", "faiss HNSW32_SQ8 + floats"]
    + ["faiss BinaryFlat + floats", "faiss IVF RaBitQfs + floats"]
    + ["usearch int8 + floats", "semantic_search_faiss", "semantic_search_usearch"]
)
"""Systems of packages that the project installs."""


@pytest.mark.parametrize("name", list(systems()))
@pytest.mark.filterwarnings("ignore")
def test_a_system_finds_what_is_near(name: str, tmp_path: Path) -> None:
    import onnxruntime  # noqa: F401 (cannot be imported behind usearch, see retrieval/old_graph.py)

    rows, queries = clustered(900, 6)
    data = Data(rows * np.float32(3), queries)
    truth, _ = data_sets.truth(rows, queries)
    system = systems()[name]
    try:
        system.load()
    except (ImportError, Unavailable) as error:
        if name in HERE:
            raise
        # Packages of the benchmark alone, which its environment has and the project's does not want; and
        # the kernels for AVX2, which are qsearch's own where there is no AVX-512.
        pytest.skip(f"is not installed here: {error}")
    system.build(data, tmp_path, 1)
    searcher = system.open(data, tmp_path, 1)
    for setting in system.settings(len(rows)):
        assert isinstance(setting, Setting)
        for k in (10, 100):
            found = searcher.search(queries, k, setting)
            assert found.shape == (6, k)
            assert (searcher.search(queries[:1], k, setting)[0] == found[0]).mean() > 0.9
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found[:, :10], truth[:, :10], strict=True)]
    assert np.mean(shares) > (0.999 if setting.exact else 0.4 if "search_faiss" in name else 0.8)
    searcher.close()


def test_systems_have_names_and_settings_of_their_own() -> None:
    for name, system in systems().items():
        assert system.name == name
        assert system.distributions
        for rows in (1000, 30_000, 1_000_000):
            names = [one.name for one in system.settings(rows)]
            assert names
            assert len(set(names)) == len(names)
    slugs = [running.slug(name) for name in systems()]
    assert len(set(slugs)) == len(slugs)
