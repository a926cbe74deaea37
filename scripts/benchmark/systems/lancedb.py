"""LanceDB: without an index, and with the one that it makes by default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .base import Data, Floats, Ids, Searcher, Setting, System, padded, unit


class Open(Searcher):
    """A table."""

    def __init__(self, folder: Path) -> None:
        import lancedb

        self._table = lancedb.connect(folder / "lance").open_table("rows")

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """One query, or several, which share a scan."""
        asked = self._table.search(list(queries) if len(queries) > 1 else queries[0])
        asked = asked.distance_type("cosine")
        if "nprobes" in setting.values:
            asked = asked.nprobes(setting.values["nprobes"])
            asked = asked.refine_factor(setting.values["refine"])
        hits = asked.select(["number", "_distance"]).limit(k).to_arrow()
        numbers = hits["number"].to_pylist()
        if len(queries) == 1:
            return padded([numbers], k)
        found: list[list[int]] = [[] for _ in queries]
        for query, number in zip(hits["query_index"].to_pylist(), numbers, strict=True):
            found[query].append(number)
        return padded(found, k)


class LanceFlat(System):
    """All rows, compared."""

    name = "LanceDB"
    about = "a table without a vector index, cosine"
    distributions = ("lancedb",)
    modules = ("lancedb",)
    environment: ClassVar[Mapping[str, str]] = {"LANCE_LOG": "error"}

    def settings(self, rows: int) -> list[Setting]:
        """One."""
        return [Setting("exact", exact=True)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Write the table."""
        self.index(self.table(data, folder), len(data.rows))

    def table(self, data: Data, folder: Path) -> Any:
        """Numbers and unit rows."""
        import lancedb
        import pyarrow as pa

        rows = unit(data.rows)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        columns = {"number": pa.array(np.arange(len(rows))), "vector": vectors}
        return lancedb.connect(folder / "lance").create_table("rows", pa.table(columns))

    def index(self, table: Any, rows: int) -> None:
        """None."""

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Open it."""
        return Open(folder)


class LanceIvfPq(LanceFlat):
    """Lists of product codes, rescored with floats."""

    name = "LanceDB IVF_PQ + floats"
    about = (
        "create_index with its defaults (IVF_PQ), cosine; nprobes 5 to 300, refine_factor 10 to 100"
    )

    def settings(self, rows: int) -> list[Setting]:
        """Lists and candidates."""
        return [
            Setting(f"nprobes {n}, refine {m}", {"nprobes": n, "refine": m})
            for n, m in (
                (5, 10),
                (20, 10),
                (20, 30),
                (50, 30),
                (100, 30),
                (100, 100),
                (300, 100),
            )
        ]

    def index(self, table: Any, rows: int) -> None:
        """With its defaults."""
        table.create_index(metric="cosine", vector_column_name="vector")


SYSTEMS: tuple[System, ...] = (LanceFlat(), LanceIvfPq())
