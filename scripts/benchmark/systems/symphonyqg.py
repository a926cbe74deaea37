"""SymphonyQG, in the library of RaBitQ's authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import Data, Floats, Ids, Searcher, Setting, System, unit


class Open(Searcher):
    """A graph in memory."""

    def __init__(self, folder: Path, threads: int) -> None:
        import rabitqlib

        self._index = rabitqlib.SymqgIndex.load(str(folder / "graph.qg"))
        self._threads = threads

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """With so much effort."""
        ef = max(setting.values["ef"], k)
        if len(queries) == 1:
            found = self._index.search(queries, k, ef)[0]
        else:
            found = self._index.search_batch(queries, k, ef, num_threads=self._threads)[0]
        return np.asarray(found).astype(np.int64)


class SymphonyQG(System):
    """A graph whose edges carry codes."""

    name = "SymphonyQG"
    about = (
        "rabitqlib's SymqgIndex, inner product of unit rows, degree 32, ef_construction 200; ef "
        "20 to 3,200"
    )
    distributions = ("rabitqlib",)
    modules = ("rabitqlib",)

    def settings(self, rows: int) -> list[Setting]:
        """The effort."""
        return [Setting(f"ef {ef}", {"ef": ef}) for ef in (20, 50, 100, 200, 400, 800, 1600, 3200)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Build, save."""
        import rabitqlib

        rows = unit(data.rows)
        index = rabitqlib.SymqgIndex(rows.shape[1], 32, "ip")
        index.build(rows, 200, num_threads=threads)
        index.save(str(folder / "graph.qg"))

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Load it."""
        return Open(folder, threads)


SYSTEMS: tuple[System, ...] = (SymphonyQG(),)
