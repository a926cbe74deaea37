"""qsearch: exact, and by recall from codes and a graph."""

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
            for alike in (False, True):
                plans = [tuning.plan(recall, 10, queries, alike=alike) for queries in (1, 64)]
                ways = [_way(one) for one in plans]
                name = f"{recall} alike" if alike else f"{recall}"
                said.append(f"{name}: {ways[0]}, in batches {ways[1]}")
        return "; ".join(said)


RECALLS = (0.999, 0.99, 0.95, 0.9)
WIDTHS = (16, 32, 64, 128, 256, 512)


def _asked(recall: float, *, alike: bool = False) -> Setting:
    """A recall for queries of any kind, or for those like the sample."""
    if alike:
        return Setting(
            f"recall {recall}, alike", {"recall": recall, "alike": True}, promises=recall
        )
    return Setting(f"recall {recall}", {"recall": recall}, promises=recall)


def _way(plan: Any) -> str:
    if plan.exact:
        return "exact"
    return f"{plan.candidates} candidates" + (" of the graph" if plan.method == "graph" else "")


class Qsearch(System):
    """The engine, with what it measures about recall on a sample of queries."""

    name = "qsearch"
    about = (
        "built with --graph: exact, and at recall 0.999, 0.99, 0.95 and 0.9, for queries of any kind and "
        "for those alike, measured at the build with the other half of the queries (tune_queries); in "
        "plots also walks of 16 to 512"
    )
    distributions = ("qsearch",)
    modules = ("qsearch.index",)
    graph: ClassVar[bool] = True
    tuned: ClassVar[bool] = True
    plans: ClassVar[bool] = True

    def settings(self, rows: int) -> list[Setting]:
        """Exact, and the recalls."""
        widths = [
            Setting(f"a walk of {width}", {"method": "graph", "candidates": width})
            for width in WIDTHS
            if width <= rows // 20
        ]
        alike = [_asked(recall, alike=True) for recall in RECALLS]
        recalls = [_asked(recall) for recall in RECALLS]
        return [Setting("exact", exact=True), *recalls, *alike, *widths]

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
    about = "as qsearch, measured at the build with rows of its own"
    tuned = False

    def settings(self, rows: int) -> list[Setting]:
        """The recalls; exact search and walks are the same."""
        return [one for one in super().settings(rows) if one.promises]


class QsearchPlain(Qsearch):
    """Without a graph: what a build makes of itself."""

    name = "qsearch without graph"
    about = "as qsearch, without --graph: exact, and at recalls by the codes alone"
    graph = False

    def settings(self, rows: int) -> list[Setting]:
        """Exact, which is the same as with a graph, for data where no graph is built; and the recalls."""
        return [Setting("exact", exact=True), *(_asked(recall) for recall in RECALLS)]


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


SYSTEMS: tuple[System, ...] = (Qsearch(), QsearchUntuned(), QsearchPlain(), QsearchAvx2())
