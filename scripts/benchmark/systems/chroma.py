"""Chroma: a persistent client in the process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .base import Data, Floats, Ids, Searcher, Setting, System, padded, unit

_DEFAULT = 100


class Open(Searcher):
    """A collection. Its effort is stored with it, and counts from when it is opened the next time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._collection = collection(folder)
        # As it was left: whoever was killed did not put the default back.
        self._effort = self._collection.configuration["hnsw"]["ef_search"]

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """By vectors, ids only."""
        self._change(setting.values["ef"])
        found = self._collection.query(query_embeddings=queries, n_results=k, include=[])
        return padded([[int(one) for one in ids] for ids in found["ids"]], k)

    def _change(self, effort: int) -> None:
        from chromadb.api.shared_system_client import SharedSystemClient

        if effort != self._effort:
            self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
            SharedSystemClient.clear_system_cache()
            self._effort, self._collection = effort, collection(self._folder)

    def close(self) -> None:
        """Put the default back, for the next turn."""
        self._change(_DEFAULT)


class Chroma(System):
    """HNSW over floats, with its defaults."""

    name = "Chroma"
    about = (
        "PersistentClient, space cosine, otherwise its defaults; ef_search 100 (its default), "
        "200, 400, 800 and 1,600"
    )
    distributions = ("chromadb",)
    modules = ("chromadb",)
    environment: ClassVar[Mapping[str, str]] = {"ANONYMIZED_TELEMETRY": "False"}

    def settings(self, rows: int) -> list[Setting]:
        """The effort."""
        return [Setting(f"ef {ef}", {"ef": ef}) for ef in (100, 200, 400, 800, 1600)]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Add all rows, in batches as large as it takes."""
        opened = client(folder)
        configuration = {"hnsw": {"space": "cosine", "num_threads": threads}}
        collection = opened.create_collection(
            "rows", embedding_function=None, configuration=configuration
        )
        step = min(5000, opened.get_max_batch_size())
        for first in range(0, len(data.rows), step):
            some = unit(data.rows[first : first + step])
            collection.add(ids=[str(first + i) for i in range(len(some))], embeddings=some)

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Open the collection."""
        return Open(folder)


def client(folder: Path) -> Any:
    """Of the database in the folder."""
    import chromadb

    return chromadb.PersistentClient(
        str(folder / "chroma"), settings=chromadb.Settings(anonymized_telemetry=False)
    )


def collection(folder: Path) -> Any:
    """The only one there is."""
    return client(folder).get_collection("rows", embedding_function=None)


SYSTEMS: tuple[System, ...] = (Chroma(),)
