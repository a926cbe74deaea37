"""usearch: a graph over int8, rescored with floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import (
    Data,
    Floats,
    Ids,
    Searcher,
    Setting,
    System,
    open_floats,
    rescored,
    save_floats,
)


class Open(Searcher):
    """A graph in memory and mapped floats."""

    def __init__(self, folder: Path, threads: int) -> None:
        from usearch.index import Index

        self._index = Index.restore(str(folder / "graph.usearch"))
        self._floats = open_floats(folder)
        self._threads = threads

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """Three times as many candidates as are wanted, rescored."""
        self._index.expansion_search = max(setting.values["ef"], k)
        many = min(3 * k, len(self._floats))
        found = self._index.search(queries, many, threads=self._threads)
        keys = np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)
        return rescored(queries, keys, self._floats, k)


class Usearch(System):
    """HNSW."""

    name = "usearch int8 + floats"
    about = (
        "Index(metric cos, dtype i8), connectivity 16 and expansion_add 128 (its defaults); "
        "expansion_search 32 to 2,048, 3k candidates rescored with floats in NumPy"
    )
    distributions = ("usearch",)
    modules = ("usearch.index",)

    def settings(self, rows: int) -> list[Setting]:
        """The effort."""
        return [Setting(f"ef {ef}", {"ef": ef}) for ef in (32, 64, 128, 256, 512, 1024, 2048)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Add all rows, save graph and floats."""
        from usearch.index import Index

        rows = save_floats(data, folder)
        index = Index(ndim=rows.shape[1], metric="cos", dtype="i8")
        index.add(np.arange(len(rows), dtype=np.uint64), rows, threads=threads)
        index.save(str(folder / "graph.usearch"))

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Load the graph, map the floats."""
        return Open(folder, threads)


SYSTEMS: tuple[System, ...] = (Usearch(),)
