"""ScaNN, as its own rules of thumb configure it for so many rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .base import Data, Floats, Ids, Searcher, Setting, System, unit

_BRUTE_FORCE, _PARTITIONED = 20_000, 100_000


class Open(Searcher):
    """A searcher."""

    def __init__(self, folder: Path, threads: int) -> None:
        import scann

        self._searcher = scann.scann_ops_pybind.load_searcher(str(folder))
        self._searcher.set_num_threads(threads)
        self._parallel = threads > 1

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """One query, or a batch on all threads."""
        values: dict[str, Any] = dict(setting.values)
        if "reorder" in values:
            values["pre_reorder_num_neighbors"] = max(values.pop("reorder"), k)
        if len(queries) == 1:
            found = self._searcher.search(queries[0], k, **values)[0][None]
        elif self._parallel:
            found = self._searcher.search_batched_parallel(queries, k, **values)[0]
        else:
            found = self._searcher.search_batched(queries, k, **values)[0]
        return np.asarray(found).astype(np.int64)


class Scann(System):
    """Partitions, asymmetric hashing, floats."""

    name = "ScaNN"
    about = (
        "its rules of thumb: brute force below 20,000 rows; score_ah(2, threshold 0.2) and "
        "reordering below 100,000; from there on a tree with the root of the rows as leaves, 5 "
        "to all of them searched"
    )
    distributions = ("scann",)
    modules = ("scann",)

    def settings(self, rows: int) -> list[Setting]:
        """Leaves and rows to reorder, as far as there are any."""
        if rows < _BRUTE_FORCE:
            return [Setting("brute force", exact=True)]
        if rows < _PARTITIONED:
            return [Setting(f"reorder {m}", {"reorder": m}) for m in (20, 50, 100, 300, 1000, 3000)]
        all_leaves = _leaves(rows)
        steps = [(5, 50), (20, 100), (40, 100), (80, 200), (160, 300), (320, 500), (640, 1000)]
        return [
            Setting(f"{n} leaves, reorder {m}", {"leaves_to_search": n, "reorder": m})
            for n, m in (*(one for one in steps if one[0] < all_leaves), (all_leaves, 1000))
        ]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Train, serialize."""
        import scann

        rows = unit(data.rows)
        builder = scann.scann_ops_pybind.builder(rows, 10, "dot_product")
        builder = builder.set_n_training_threads(threads)
        if len(rows) < _BRUTE_FORCE:
            builder = builder.score_brute_force()
        else:
            if len(rows) >= _PARTITIONED:
                leaves = _leaves(len(rows))
                builder = builder.tree(
                    leaves, leaves // 10, training_sample_size=min(len(rows), 250_000)
                )
            builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100)
        builder.build().serialize(str(folder))

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Load it."""
        return Open(folder, threads)


def _leaves(rows: int) -> int:
    return round(float(np.sqrt(rows)))


SYSTEMS: tuple[System, ...] = (Scann(),)
