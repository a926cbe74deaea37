"""turbovec: codes of 4 bits, scanned, rescored with floats."""

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
    """Codes in memory and mapped floats."""

    def __init__(self, folder: Path) -> None:
        import turbovec

        self._index = turbovec.TurboQuantIndex.load(str(folder / "codes.tv"))
        self._index.prepare()
        self._floats = open_floats(folder)

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """So many candidates, rescored."""
        many = min(max(setting.values["candidates"], k), len(self._floats))
        found = np.asarray(self._index.search(queries, many)[1], dtype=np.int64)
        return rescored(queries, found.reshape(len(queries), -1), self._floats, k)


class Turbovec(System):
    """TurboQuant."""

    name = "turbovec 4 bit + floats"
    about = (
        "TurboQuantIndex of 4 bits, calibrated with 1,024 rows drawn at random (its "
        "documentation); 10 to 300 candidates rescored with floats in NumPy"
    )
    distributions = ("turbovec",)
    modules = ("turbovec",)

    def settings(self, rows: int) -> list[Setting]:
        """Numbers of candidates."""
        return [
            Setting(f"{m} candidates", {"candidates": m})
            for m in (10, 15, 20, 30, 100, 300)
            if m <= rows
        ]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Calibrate, add, write."""
        import turbovec

        rows = save_floats(data, folder)
        generator = np.random.default_rng(0)
        index = turbovec.TurboQuantIndex(rows.shape[1], 4)
        drawn = generator.choice(len(rows), min(1024, len(rows)), replace=False)
        index.calibrate(rows[drawn])
        index.add(rows)
        index.write(str(folder / "codes.tv"), durable=False)

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Load the codes, map the floats."""
        return Open(folder)


SYSTEMS: tuple[System, ...] = (Turbovec(),)
