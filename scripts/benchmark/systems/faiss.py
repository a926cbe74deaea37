"""faiss: flat, Panorama, a graph of 8-bit scalars, signs with floats, and RaBitQ in lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .base import (
    Data,
    Floats,
    Ids,
    Searcher,
    Setting,
    System,
    Unavailable,
    best,
    save_floats,
    unit,
)

GRAPH_EFFORTS = (16, 32, 64, 128, 256, 512, 1024, 2048)


class Open(Searcher):
    """An index with parameters for each search."""

    def __init__(self, path: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        self._index = faiss.read_index(str(path))

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """Search with the parameters of the setting."""
        return np.asarray(self._index.search(queries, k, params=self.parameters(k, setting))[1])

    def parameters(self, k: int, setting: Setting) -> Any:
        """None, by default."""
        return None


class Faiss(System):
    """What all of them have in common."""

    distributions = ("faiss-cpu",)
    modules = ("faiss",)
    factory: ClassVar[str] = "Flat"
    opener: ClassVar[type[Open]] = Open

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Train, add, write."""
        import faiss

        faiss.omp_set_num_threads(threads)
        rows = unit(data.rows)
        index = self.empty(len(rows), rows.shape[1])
        index.train(rows)
        index.add(rows)
        faiss.write_index(index, str(folder / "index.faiss"))

    def empty(self, rows: int, dimensions: int) -> Any:
        """The index before anything is in it."""
        import faiss

        return faiss.index_factory(dimensions, self.factory, faiss.METRIC_INNER_PRODUCT)

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Read it."""
        return self.opener(folder / "index.faiss", threads)


class OpenFlat(Open):
    """Floats, compared by faiss's own loop or by its BLAS."""

    def parameters(self, k: int, setting: Setting) -> Any:
        """Which of the two: where queries times dimensions reach a number, faiss takes BLAS."""
        import faiss

        faiss.cvar.distance_compute_blas_threshold = 1 if setting.values["blas"] else 1 << 30


class FlatIP(Faiss):
    """Every float, compared."""

    name = "faiss FlatIP"
    about = (
        "IndexFlatIP, by its own loop and by BLAS (distance_compute_blas_threshold; of itself it "
        "takes BLAS for 334 queries of 384 dimensions or more)"
    )
    opener = OpenFlat

    def settings(self, rows: int) -> list[Setting]:
        """The two."""
        return [
            Setting("exact", {"blas": False}, exact=True),
            Setting("exact, BLAS", {"blas": True}, exact=True),
        ]


class Panorama(Faiss):
    """Floats in levels, with bounds from each level: exact."""

    name = "faiss FlatL2Panorama"
    about = "PCAd,FlatL2Panorama8_512 on the unit rows, as in faiss's own benchmark of it"

    def settings(self, rows: int) -> list[Setting]:
        """One."""
        return [Setting("exact", exact=True)]

    def empty(self, rows: int, dimensions: int) -> Any:
        """Of unit rows, the order by L2 is that by cosine; turning them by PCA changes no distance."""
        import faiss

        if not hasattr(faiss, "IndexFlatL2Panorama"):
            raise Unavailable(f"faiss {faiss.__version__} has no FlatL2Panorama")
        turned = f"PCA{dimensions}," if rows >= dimensions else ""  # PCA learns from as many rows
        return faiss.index_factory(dimensions, f"{turned}FlatL2Panorama8_512", faiss.METRIC_L2)


class OpenGraph(Open):
    """A graph under a refinement with floats."""

    def parameters(self, k: int, setting: Setting) -> Any:
        """The effort of the graph, and how many times as many candidates as are wanted."""
        import faiss

        graph = faiss.SearchParametersHNSW(efSearch=max(setting.values["ef"], k))
        return faiss.IndexRefineSearchParameters(
            k_factor=setting.values["k_factor"], base_index_params=graph
        )


class Hnsw(Faiss):
    """A graph over 8-bit scalars."""

    name = "faiss HNSW32_SQ8 + floats"
    about = "HNSW32_SQ8,RFlat, k_factor 2, efConstruction 200; efSearch 16 to 2,048"
    opener = OpenGraph

    def empty(self, rows: int, dimensions: int) -> Any:
        """With the effort that the other graphs here are built with; 40 is faiss's own."""
        import faiss

        index = faiss.index_factory(dimensions, "HNSW32_SQ8,RFlat", faiss.METRIC_INNER_PRODUCT)
        faiss.downcast_index(index.base_index).hnsw.efConstruction = 200
        return index

    def settings(self, rows: int) -> list[Setting]:
        """The effort."""
        return [Setting(f"ef {ef}", {"ef": ef, "k_factor": 2}) for ef in GRAPH_EFFORTS]


class OpenLists(Open):
    """Lists under a refinement with floats."""

    def parameters(self, k: int, setting: Setting) -> Any:
        """How many lists, and how many times as many candidates as are wanted."""
        import faiss

        lists = faiss.IVFSearchParameters(nprobe=setting.values["nprobe"])
        return faiss.IndexRefineSearchParameters(
            k_factor=setting.values["k_factor"],
            base_index_params=faiss.SearchParametersPreTransform(index_params=lists),
        )


class RaBitQ(Faiss):
    """Lists of one-bit codes, scanned fast."""

    name = "faiss IVF RaBitQfs + floats"
    about = (
        "RRd,IVFn,RaBitQfs,RFlat (RaBitQ wants a random rotation first) with n the power of two next to "
        "four times the root of the rows, nprobe 4 to n, k_factor 10, 40 or 200"
    )
    opener = OpenLists

    def settings(self, rows: int) -> list[Setting]:
        """Numbers of lists."""
        most = lists(rows)
        return [
            Setting(f"nprobe {n}, k_factor {m}", {"nprobe": n, "k_factor": m})
            for n in (*(2**i for i in range(2, 12) if 2**i < most), most)
            for m in (10, 40, 200)
        ]

    def empty(self, rows: int, dimensions: int) -> Any:
        """So many lists as faiss's guidelines say."""
        import faiss

        return faiss.index_factory(
            dimensions,
            f"RR{dimensions},IVF{lists(rows)},RaBitQfs,RFlat",
            faiss.METRIC_INNER_PRODUCT,
        )


def lists(rows: int) -> int:
    """The power of two next to four times the root of the rows, at least one."""
    return int(2 ** max(0, round(np.log2(max(1.0, 4 * np.sqrt(rows))))))


class OpenSigns(Searcher):
    """Signs, then floats."""

    def __init__(self, folder: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        self._index = faiss.read_index_binary(str(folder / "signs.faiss"))
        self._floats: Floats = np.load(folder / "floats.npy", mmap_mode="r", allow_pickle=False)

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """The nearest by signs, in the order of the floats."""
        many = min(max(setting.values["candidates"], k), self._index.ntotal)
        found = self._index.search(np.packbits(queries > 0, axis=1), many)[1]
        ids = np.ascontiguousarray(found, dtype=np.int64)
        return best(ids, products(queries, ids, self._floats), k)


def products(queries: Floats, ids: Ids, rows: Floats) -> Floats:
    """Inner products of each query with some rows, by faiss, on its threads."""
    import faiss

    scores = np.empty(ids.shape, dtype=np.float32)
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    faiss.fvec_inner_products_by_idx(
        *(faiss.swig_ptr(one) for one in (scores, asked, rows, ids)), rows.shape[1], *ids.shape
    )
    return scores


class BinaryFlat(Faiss):
    """Signs of all rows, compared; the nearest rescored."""

    name = "faiss BinaryFlat + floats"
    about = "IndexBinaryFlat over signs; 100 to 16,000 candidates rescored with floats by faiss"

    def settings(self, rows: int) -> list[Setting]:
        """Numbers of candidates."""
        return [
            Setting(f"{m} candidates", {"candidates": m})
            for m in (100, 400, 1000, 4000, 16_000)
            if m <= rows
        ]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Signs and floats."""
        import faiss

        rows = save_floats(data, folder)
        index = faiss.IndexBinaryFlat(rows.shape[1])
        index.add(np.packbits(rows > 0, axis=1))
        faiss.write_index_binary(index, str(folder / "signs.faiss"))

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Read the signs, map the floats."""
        return OpenSigns(folder, threads)


SYSTEMS: tuple[System, ...] = (FlatIP(), Panorama(), Hnsw(), BinaryFlat(), RaBitQ())
