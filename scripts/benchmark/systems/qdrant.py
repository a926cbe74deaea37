"""Qdrant's local mode: the client without a server, which compares all rows in NumPy."""

from __future__ import annotations

from pathlib import Path

from .base import Data, Floats, Ids, Searcher, Setting, System, padded, unit


class Open(Searcher):
    """A client."""

    def __init__(self, folder: Path) -> None:
        from qdrant_client import QdrantClient

        self._client = QdrantClient(path=str(folder / "qdrant"))

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """A query at a time."""
        found = []
        for query in queries:
            hits = self._client.query_points("rows", query=query, limit=k, with_payload=False)
            found.append([int(point.id) for point in hits.points])
        return padded(found, k)


class QdrantLocal(System):
    """Local mode."""

    name = "Qdrant local mode"
    about = "QdrantClient(path=…), cosine; no server, and so none of Qdrant's indexes"
    distributions = ("qdrant-client",)
    modules = ("qdrant_client",)
    batches = False
    most_rows = 20_000
    why_no_more = "its own advice is to have at most 20,000 points in this mode"

    def settings(self, rows: int) -> list[Setting]:
        """One."""
        return [Setting("exact", exact=True)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Upload in batches."""
        import warnings

        from qdrant_client import QdrantClient, models

        warnings.simplefilter("ignore")  # of how many points there are
        client = QdrantClient(path=str(folder / "qdrant"))
        vectors = models.VectorParams(size=data.rows.shape[1], distance=models.Distance.COSINE)
        client.create_collection("rows", vectors_config=vectors)
        for first in range(0, len(data.rows), 1000):
            some = unit(data.rows[first : first + 1000])
            ids = list(range(first, first + len(some)))
            client.upsert("rows", models.Batch(ids=ids, vectors=some.tolist()))
        client.close()

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Read all points."""
        import warnings

        warnings.simplefilter("ignore")
        return Open(folder)


SYSTEMS: tuple[System, ...] = (QdrantLocal(),)
