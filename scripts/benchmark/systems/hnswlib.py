"""hnswlib: a graph over floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import Data, Floats, Ids, Searcher, Setting, System, unit


class Open(Searcher):
    """A graph in memory."""

    def __init__(self, folder: Path, dimensions: int, threads: int) -> None:
        import hnswlib

        self._index = hnswlib.Index("ip", dimensions)
        self._index.load_index(str(folder / "graph.bin"))
        self._index.set_num_threads(threads)

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """With so much effort."""
        self._index.set_ef(max(setting.values["ef"], k))
        return np.asarray(self._index.knn_query(queries, k)[0]).astype(np.int64)


class Hnswlib(System):
    """HNSW."""

    name = "hnswlib"
    about = "inner product of unit rows, M 16, ef_construction 200 (its README); ef 16 to 2,048"
    distributions = ("hnswlib",)
    modules = ("hnswlib",)

    def settings(self, rows: int) -> list[Setting]:
        """The effort."""
        return [Setting(f"ef {ef}", {"ef": ef}) for ef in (16, 32, 64, 128, 256, 512, 1024, 2048)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Add all rows, save."""
        import hnswlib

        rows = unit(data.rows)
        index = hnswlib.Index("ip", rows.shape[1])
        index.init_index(len(rows), M=16, ef_construction=200)
        index.add_items(rows, num_threads=threads)
        index.save_index(str(folder / "graph.bin"))

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Load it."""
        return Open(folder, data.rows.shape[1], threads)


SYSTEMS: tuple[System, ...] = (Hnswlib(),)
