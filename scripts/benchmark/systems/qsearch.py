"""qsearch: exact and by recall from codes, and its graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .base import Data, Floats, Ids, Searcher, Setting, System, Unavailable


class Open(Searcher):
    """An open index."""

    def __init__(self, folder: Path) -> None:
        from qsearch import Index

        self._index = Index.open(folder / "index")

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """By vectors."""
        options: dict[str, Any] = dict(setting.values)
        if "candidates" in options:
            options["candidates"] = max(options["candidates"], k)
        return self._index.search_vectors(queries, k, **options).positions

    def note(self) -> str:
        """The kernels, and what a recall became."""
        from qsearch.kernels import kernel_path

        said = [f"kernels {kernel_path()}"]
        tuning = self._index.tuning
        if tuning is None:
            return said[0]
        for recall in RECALLS:
            plans = [tuning.plan(recall, 10, queries) for queries in (1, 64)]
            ways = ["exact" if one.exact else f"{one.candidates} candidates" for one in plans]
            said.append(f"{recall}: {ways[0]}, in batches {ways[1]}")
        return "; ".join(said)


RECALLS = (0.999, 0.99, 0.95, 0.9)


class Qsearch(System):
    """The engine, with what it measures about recall on a sample of queries."""

    name = "qsearch"
    about = (
        "exact, and at recall 0.999, 0.99, 0.95 and 0.9, measured at the build with the other "
        "half of the queries (tune_queries)"
    )
    distributions = ("qsearch", "usearch")
    modules = ("qsearch.index",)
    graph: ClassVar[bool] = False
    tuned: ClassVar[bool] = True
    plans: ClassVar[bool] = True

    def settings(self, rows: int) -> list[Setting]:
        """Exact, and the recalls."""
        recalls = [Setting(f"recall {one}", {"recall": one}, promises=one) for one in RECALLS]
        return [Setting("exact", exact=True), *recalls]

    def load(self) -> None:
        """Import it; NumPy does not count as qsearch."""
        import qsearch.kernels

        if not qsearch.kernels.has_native_kernels():
            raise Unavailable("installed without its native kernels")
        super().load()

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Build from the rows as they are."""
        from qsearch import BuildOptions, Index

        tuned: Mapping[str, Any] = {}
        if self.tuned and len(data.sample):
            tuned = {"tune_queries": data.sample, "tuned_on": "other queries of the set"}
        options = BuildOptions(graph=self.graph, **tuned)
        Index.build(None, folder / "index", embeddings=data.rows, options=options).close()

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Open; nothing is read yet."""
        return Open(folder)


class QsearchUntuned(Qsearch):
    """Without the sample: by what it measures with its own rows, which is what a build does of itself."""

    name = "qsearch untuned"
    about = "at recall 0.999, 0.99, 0.95 and 0.9, measured at the build with rows of its own"
    tuned = False

    def settings(self, rows: int) -> list[Setting]:
        """The recalls; exact search is the same."""
        return super().settings(rows)[1:]


class QsearchGraph(Qsearch):
    """Its HNSW graph over int8 codes, rescored with floats."""

    name = "qsearch graph"
    about = "method graph: a usearch HNSW graph over int8 codes, candidates rescored with floats"
    graph = True

    def settings(self, rows: int) -> list[Setting]:
        """Numbers of candidates."""
        return [
            Setting(f"{m} candidates", {"method": "graph", "candidates": m})
            for m in (10, 30, 100, 300, 1000, 3000)
            if m <= rows
        ]


class QsearchAvx2(Qsearch):
    """The same with the kernels of a processor without AVX-512."""

    name = "qsearch (AVX2)"
    about = "as qsearch, with QSEARCH_KERNELS=avx2: what a processor without AVX-512 does"
    environment: ClassVar[Mapping[str, str]] = {"QSEARCH_KERNELS": "avx2"}

    def load(self) -> None:
        """Import it, where it differs from the one above."""
        from qsearch.kernels import kernel_paths

        if kernel_paths()[0] != "avx512":
            raise Unavailable(f"the best kernels here are {kernel_paths()[0]}: the same as qsearch")
        super().load()


SYSTEMS: tuple[System, ...] = (Qsearch(), QsearchUntuned(), QsearchGraph(), QsearchAvx2())
