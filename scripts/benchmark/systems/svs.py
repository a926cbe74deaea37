"""Intel's Scalable Vector Search: Vamana over floats, and over its own codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .base import Data, Floats, Ids, Searcher, Setting, System, unit


class Open(Searcher):
    """A graph in memory."""

    def __init__(self, folder: Path, threads: int, codes: tuple[int, int] | None) -> None:
        import svs

        floats = svs.VectorDataLoader(str(folder / "data"), svs.DataType.float32)
        loader: Any = svs.LVQLoader(floats, *codes) if codes else floats
        self._index = svs.Vamana(
            str(folder / "config"),
            svs.GraphLoader(str(folder / "graph")),
            loader,
            svs.DistanceType.MIP,
            num_threads=threads,
        )

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """With so wide a window."""
        self._index.search_window_size = max(setting.values["window"], k)
        return np.asarray(self._index.search(queries, k)[0]).astype(np.int64)


class Vamana(System):
    """Over floats."""

    name = "SVS Vamana"
    about = (
        "degree 64, window 128 at the build, alpha 0.95, inner product of unit rows; window 16 "
        "to 1,024"
    )
    distributions = ("scalable-vs",)
    modules = ("svs",)
    codes: ClassVar[tuple[int, int] | None] = None

    def settings(self, rows: int) -> list[Setting]:
        """The window."""
        return [Setting(f"window {w}", {"window": w}) for w in (16, 32, 64, 128, 256, 512, 1024)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Build over floats, save, and open once, since that makes the codes."""
        import svs

        parameters = svs.VamanaBuildParameters(alpha=0.95, graph_max_degree=64, window_size=128)
        index = svs.Vamana.build(
            parameters, unit(data.rows), svs.DistanceType.MIP, num_threads=threads
        )
        index.save(str(folder / "config"), str(folder / "graph"), str(folder / "data"))
        self.open(data, folder, threads)

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Load it."""
        return Open(folder, threads, self.codes)


class VamanaLvq(Vamana):
    """Over codes of 4 bits, rescored with 8 more."""

    name = "SVS Vamana LVQ4x8"
    about = "as SVS Vamana, over LVQ4x8 codes, which its documentation recommends"
    codes = (4, 8)


SYSTEMS: tuple[System, ...] = (Vamana(), VamanaLvq())
