"""sqlite-vec: a virtual table, scanned; by floats, or by signs and then floats."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from .base import Data, Floats, Ids, Searcher, Setting, System, Unavailable, padded, unit

_MOST = 4096  # nearest that one query may ask for

_EXACT = "SELECT rowid FROM rows WHERE floats MATCH :query AND k = :k ORDER BY distance"
_SIGNS = """
WITH near AS (
  SELECT rowid, floats FROM rows WHERE signs MATCH vec_quantize_binary(:query) AND k = :many
)
SELECT rowid FROM near ORDER BY vec_distance_cosine(floats, :query) LIMIT :k
"""


class Open(Searcher):
    """A connection."""

    def __init__(self, path: Path) -> None:
        self._connection = connected(path)

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """A statement for each query."""
        times = setting.values.get("times")
        found = []
        for query in queries:
            values = {"query": query.tobytes(), "k": k, "many": min(_MOST, k * (times or 1))}
            if times is None:
                del values["many"]
            rows = self._connection.execute(_EXACT if times is None else _SIGNS, values)
            found.append([row[0] for row in rows])
        return padded(found, k)


class SqliteVec(System):
    """vec0."""

    name = "sqlite-vec"
    about = (
        "vec0 with float[d] (cosine) and bit[d]: exact, and signs rescored with floats, 8 to 100 "
        "times as many as are wanted (its documentation)"
    )
    distributions = ("sqlite-vec",)
    modules = ("sqlite_vec",)
    batches = False

    def settings(self, rows: int) -> list[Setting]:
        """Exact, and by signs."""
        return [
            Setting("exact", exact=True),
            *(Setting(f"signs ×{n}", {"times": n}) for n in (8, 20, 40, 100)),
        ]

    def load(self) -> None:
        """Import it, and an SQLite that loads extensions."""
        super().load()
        sqlite()

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """One transaction."""
        connection = connected(folder / "rows.sqlite")
        d = data.rows.shape[1]
        connection.execute(
            "CREATE VIRTUAL TABLE rows USING vec0("
            f"floats float[{d}] distance_metric=cosine, signs bit[{d}])"
        )
        with connection:
            for first in range(0, len(data.rows), 10_000):
                some = unit(data.rows[first : first + 10_000])
                connection.executemany(
                    "INSERT INTO rows (rowid, floats, signs) VALUES (?, ?, vec_quantize_binary(?))",
                    ((first + i, row.tobytes(), row.tobytes()) for i, row in enumerate(some)),
                )
        connection.close()

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Connect."""
        return Open(folder / "rows.sqlite")


def sqlite() -> ModuleType:
    """SQLite with extensions: Python's own, where it was built so, or that of pysqlite3-binary."""
    import sqlite3

    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return sqlite3
    try:
        import pysqlite3
    except ImportError:
        raise Unavailable("this Python's sqlite3 loads no extensions") from None
    found: ModuleType = pysqlite3
    return found


def connected(path: Path) -> Any:
    """With the extension."""
    import sqlite_vec

    connection = sqlite().connect(str(path))
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    connection.enable_load_extension(False)
    return connection


SYSTEMS: tuple[System, ...] = (SqliteVec(),)
