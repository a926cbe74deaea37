"""NumPy: what a few lines do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import Data, Floats, Ids, Searcher, Setting, System, best, unit


class Open(Searcher):
    """Floats in memory."""

    def __init__(self, folder: Path) -> None:
        self._rows: Floats = np.load(folder / "floats.npy", allow_pickle=False)

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """A matrix product, argpartition, and a sort of what is left."""
        scores = queries @ self._rows.T
        some = np.argpartition(scores, -k, axis=1)[:, -k:]
        return best(some, np.take_along_axis(scores, some, 1), k)


class Numpy(System):
    """Brute force."""

    name = "NumPy"
    about = "float32 matrix product and argpartition"
    distributions = ("numpy",)

    def settings(self, rows: int) -> list[Setting]:
        """One."""
        return [Setting("exact", exact=True)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Write the unit rows."""
        np.save(folder / "floats.npy", unit(data.rows))

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Read them."""
        return Open(folder)


SYSTEMS: tuple[System, ...] = (Numpy(),)
