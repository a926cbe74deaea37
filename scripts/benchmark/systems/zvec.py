"""zvec: a graph over int8 with its own refiner."""

from __future__ import annotations

from pathlib import Path

from .base import Data, Floats, Ids, Searcher, Setting, System, padded, unit


class Open(Searcher):
    """A collection."""

    def __init__(self, folder: Path) -> None:
        import zvec

        self._collection = zvec.open(str(folder / "zvec"), zvec.CollectionOption(read_only=True))

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """A query at a time."""
        import zvec

        effort = zvec.HnswQueryParam(ef=max(setting.values["ef"], k), is_using_refiner=True)
        found = []
        for query in queries:
            asked = zvec.Query(field_name="vector", vector=query, param=effort)
            hits = self._collection.query(queries=asked, topk=k, output_fields=[])
            found.append([int(hit.id) for hit in hits])
        return padded(found, k)


class Zvec(System):
    """HNSW."""

    name = "zvec int8 + floats"
    about = (
        "HNSW with its defaults (m 50, ef_construction 500), cosine, INT8 with its refiner; ef "
        "20 to 1,200"
    )
    distributions = ("zvec",)
    modules = ("zvec",)
    batches = False

    def settings(self, rows: int) -> list[Setting]:
        """The effort; its default is 300."""
        return [Setting(f"ef {ef}", {"ef": ef}) for ef in (20, 50, 100, 300, 600, 1200)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Insert, optimize."""
        import zvec

        zvec.init(query_threads=threads, optimize_threads=threads)
        index = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.COSINE, quantize_type=zvec.QuantizeType.INT8
        )
        vector = zvec.VectorSchema(
            "vector", zvec.DataType.VECTOR_FP32, data.rows.shape[1], index_param=index
        )
        schema = zvec.CollectionSchema(name="rows", vectors=vector)
        collection = zvec.create_and_open(str(folder / "zvec"), schema)
        for first in range(0, len(data.rows), 1000):
            some = unit(data.rows[first : first + 1000])
            collection.insert(
                [zvec.Doc(id=str(first + i), vectors={"vector": row}) for i, row in enumerate(some)]
            )
        collection.optimize()
        collection.flush()
        collection.close()

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Open it."""
        import zvec

        zvec.init(query_threads=threads, optimize_threads=threads)
        return Open(folder)


SYSTEMS: tuple[System, ...] = (Zvec(),)
