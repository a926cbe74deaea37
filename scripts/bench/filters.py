"""Filtered search beside faiss, LanceDB and sqlite-vec, in one run, with recall@10 next to each time.

    pip install lancedb sqlite-vec          # what is not there is left out, and named
    python scripts/bench/filters.py VECTORS.npy QUERIES.npy [--rows 1000000] [--graph] [--switch]

Rows are made as ``search.py`` says. Each has two numbers from 0 to 1 in its metadata: ``even``, the place
of the row in a random order, and ``near``, its place in the order of the distance to one of the queries. A
condition ``even < 0.01`` allows 1% of the rows wherever they lie; ``near < 0.01`` allows those that are
nearest to where the queries come from, ``near >= 0.99`` those that are farthest. The queries are the twenty
that are nearest to that one.

One thread, one query at a time; each repetition times every system once, in turns, and the exact search
without a filter among them. Printed are medians of milliseconds a query, with the smallest and the largest
repetition, their ratio to the unfiltered search of the same run, and recall@10 against brute force over the
allowed rows. The time that a condition takes to become a mask is printed apart, first and again, with the
field indexed and without.

--switch prints what gathering and scanning take at numbers of allowed rows around where qsearch switches.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from search import loaded, processor  # isort: skip  (sets one thread, before NumPy looks)
import numpy as np

K = 10
QUERIES = 20
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.99)

Search = Callable[[np.ndarray], np.ndarray]
"""One query of shape (1, d) to k row numbers."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--rows", type=int, help="make so many rows of those there are")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--graph", action="store_true", help="also faiss HNSW32, which takes minutes to build"
    )
    parser.add_argument("--switch", action="store_true", help="only gathering against scanning")
    parser.add_argument("--only-qsearch", action="store_true", help="leave the others out")
    arguments = parser.parse_args()
    rows, queries = loaded(arguments)
    anchor = queries[0]
    queries = queries[np.argsort(-(queries @ anchor))[:QUERIES]].copy()
    fields = {
        "even": np.random.default_rng(1).permutation(len(rows)) / len(rows),
        "near": np.argsort(np.argsort(-(rows @ anchor))) / len(rows),
    }
    with tempfile.TemporaryDirectory() as folder:
        run(rows, queries, fields, Path(folder), arguments)


def conditions() -> list[tuple[str, str, float]]:
    """What is asked: text, field, share of the rows."""
    asked = [(f"even < {share}", "even", share) for share in SHARES]
    asked += [(f"near < {share}", "near", share) for share in SHARES]
    return asked + [(f"near >= {1 - share:g}", "near", share) for share in SHARES]


def run(
    rows: np.ndarray,
    queries: np.ndarray,
    fields: dict[str, np.ndarray],
    folder: Path,
    arguments: argparse.Namespace,
) -> None:
    """Build everything, measure, print."""
    from qsearch import BuildOptions, Index
    from qsearch.kernels import kernel_path

    n, d = rows.shape
    records = (
        {
            "id": str(number),
            "text": "",
            "even": float(even),
            "near": float(near),
            "twin": float(even),
        }
        for number, (even, near) in enumerate(zip(*fields.values(), strict=True))
    )
    started = time.perf_counter()
    options = BuildOptions(index_fields=("even", "near"))
    index = Index.build(records, folder / "index", embeddings=rows, options=options)
    print(f"{n:,} rows of {d} dimensions, {len(queries)} queries, k = {K}, one thread, one by one")
    print(f"{processor()}, kernels {kernel_path()}, {arguments.repeats} repetitions in turns")
    print(f"qsearch built its index in {time.perf_counter() - started:.1f} s", flush=True)
    if arguments.switch:
        switch(index, queries, n, arguments.repeats)
        return
    print_masks(index, arguments.repeats)
    systems: dict[str, Callable[[str, np.ndarray], Search | None]] = {
        "qsearch": lambda where, _: lambda one: index.search_vectors(one, K, where=where).positions
    }
    if not arguments.only_qsearch:
        for name, make in OTHERS.items():
            if name.startswith("faiss HNSW") and not arguments.graph:
                continue
            try:
                started = time.perf_counter()
                systems[name] = make(rows, fields, folder)
                print(f"{name} built in {time.perf_counter() - started:.1f} s", flush=True)
            except ImportError as error:
                print(f"{name} is left out: {error}")
        print("usearch is left out: its Python package takes no predicate")
    for where, field, share in conditions():
        allowed = (
            fields[field] >= float(where.split()[2]) if ">=" in where else fields[field] < share
        )
        print(f"\n{where}: {int(allowed.sum()):,} rows")
        places = np.flatnonzero(allowed)
        exact = (queries.astype(np.float64) @ rows[places].T.astype(np.float64)).argsort(axis=1)
        truth = places[exact[:, ::-1][:, : min(K, len(places))]]
        searches: dict[str, Search] = {
            "qsearch, no filter": lambda one: index.search_vectors(one, K).positions
        }
        for name, prepare in systems.items():
            found = prepare(where, allowed)
            if found is not None:
                searches[name] = found
        compare(searches, queries, truth, arguments.repeats)


def compare(
    searches: dict[str, Search], queries: np.ndarray, truth: np.ndarray, repeats: int
) -> None:
    """Time all of them in turns, and print."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    recall: dict[str, float] = {}
    for name, search in searches.items():
        found = [np.asarray(search(query[None])).ravel() for query in queries]
        hits = [
            len(set(one.tolist()) & set(true.tolist()))
            for one, true in zip(found, truth, strict=True)
        ]
        recall[name] = sum(hits) / truth.size
    for _ in range(repeats):
        for name, search in searches.items():
            started = time.perf_counter()
            for query in queries:
                search(query[None])
            times[name].append(1000.0 * (time.perf_counter() - started) / len(queries))
    base = float(np.median(times["qsearch, no filter"]))
    for name, some in times.items():
        middle = float(np.median(some))
        told = "" if name == "qsearch, no filter" else f"   recall {recall[name]:.4f}"
        print(
            f"  {name:28s} {middle:9.3f} ms ({min(some):.3f} to {max(some):.3f})  "
            f"{middle / base:6.3f}{told}",
            flush=True,
        )


def print_masks(index: Any, repeats: int) -> None:
    """What a condition costs before the search."""
    from qsearch import Index

    print("\nThe mask: milliseconds, first and again")
    for where in (
        "even < 0.001",
        "even < 0.5",
        "even >= 0.2 AND near < 0.7",
        "twin < 0.001",
        "twin < 0.5",
    ):
        first, again = [], []
        for _ in range(repeats):
            with Index.open(index.path) as opened:
                opened.count("id = '0'")  # opens the connection
                for times in (first, again):
                    started = time.perf_counter()
                    opened.count(where)
                    times.append(1000.0 * (time.perf_counter() - started))
        kind = "not indexed" if "twin" in where else "indexed"
        print(
            f"  {where:28s} {kind:12s} {np.median(first):9.2f} ({min(first):.2f} to {max(first):.2f})"
            f"  {np.median(again):6.3f}",
            flush=True,
        )


def switch(index: Any, queries: np.ndarray, n: int, repeats: int) -> None:
    """Gathering against scanning."""
    from qsearch.retrieval import exact

    print("\nallowed rows   gathered ms   scanned ms   (one query; a batch of 64 queries, a query)")
    batch = np.tile(queries, (4, 1))[:64]
    for count in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072):
        if count > n // 4:
            break
        cells = []
        exact._READ_FOR_ONE = exact._READ_FOR_SEVERAL = 1 << 40
        for most in (1 << 40, 0):
            exact._FEW_ROWS = most
            where = f"even < {count / n}"
            index.search_vectors(queries[:1], K, where=where)
            one, many = [], []
            for _ in range(repeats):
                started = time.perf_counter()
                for query in queries:
                    index.search_vectors(query[None], K, where=where)
                one.append(1000.0 * (time.perf_counter() - started) / len(queries))
                started = time.perf_counter()
                index.search_vectors(batch, K, where=where)
                many.append(1000.0 * (time.perf_counter() - started) / len(batch))
            cells.append((np.median(one), np.median(many)))
        (gathered, gathered64), (scanned, scanned64) = cells
        print(
            f"{count:12,}   {gathered:9.3f}   {scanned:9.3f}   {gathered64:9.3f}   {scanned64:9.3f}",
            flush=True,
        )


# The others


def faiss_flat(rows: np.ndarray, fields: dict[str, np.ndarray], folder: Path) -> Any:
    """IndexFlatIP with IDSelectorBitmap."""
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)

    def prepare(where: str, allowed: np.ndarray) -> Search:
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParameters(sel=selector)
        return lambda one: flat.search(one, K, params=parameters)[1]

    return prepare


def faiss_graph(effort: int) -> Any:
    """HNSW32 with IDSelectorBitmap."""

    def make(rows: np.ndarray, fields: dict[str, np.ndarray], folder: Path) -> Any:
        import faiss

        if not GRAPHS:
            faiss.omp_set_num_threads(2)
            graph = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction = 100
            graph.add(rows)
            faiss.omp_set_num_threads(1)
            GRAPHS.append(graph)

        def prepare(where: str, allowed: np.ndarray) -> Search:
            bits = np.packbits(allowed, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=effort)
            return lambda one: GRAPHS[0].search(one, K, params=parameters)[1]

        return prepare

    return make


GRAPHS: list[Any] = []


def lancedb_flat(rows: np.ndarray, fields: dict[str, np.ndarray], folder: Path) -> Any:
    """LanceDB without a vector index, prefiltered, with scalar indexes on the fields."""
    import lancedb
    import pyarrow as pa

    d = rows.shape[1]
    columns = {"number": pa.array(np.arange(len(rows)))}
    columns |= {name: pa.array(values) for name, values in fields.items()}
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), d)
    table = lancedb.connect(folder / "lance").create_table("rows", pa.table(columns))
    for name in fields:
        table.create_scalar_index(name)

    def prepare(where: str, allowed: np.ndarray) -> Search:
        def search(one: np.ndarray) -> np.ndarray:
            query = table.search(one[0]).distance_type("cosine").where(where, prefilter=True)
            return query.select(["number"]).limit(K).to_arrow()["number"].to_numpy()

        return search

    return prepare


def sqlite_vec(rows: np.ndarray, fields: dict[str, np.ndarray], folder: Path) -> Any:
    """sqlite-vec: a vec0 table with metadata columns."""
    import sqlite_vec as extension

    try:
        import pysqlite3 as sqlite3  # where Python's own loads no extensions
    except ImportError:
        import sqlite3

    connection = sqlite3.connect(folder / "vec.sqlite")
    connection.enable_load_extension(True)
    extension.load(connection)
    connection.enable_load_extension(False)
    columns = ", ".join(f"{name} float" for name in fields)
    connection.execute(
        "CREATE VIRTUAL TABLE rows USING vec0("
        f"vector float[{rows.shape[1]}] distance_metric=cosine, {columns})"
    )
    names = ", ".join(fields)
    with connection:
        connection.executemany(
            f"INSERT INTO rows (rowid, vector, {names}) VALUES (?, ?, ?, ?)",
            (
                (number, row.tobytes(), *map(float, values))
                for number, (row, *values) in enumerate(zip(rows, *fields.values(), strict=True))
            ),
        )

    def prepare(where: str, allowed: np.ndarray) -> Search:
        query = f"SELECT rowid FROM rows WHERE vector MATCH ? AND k = {K} AND {where}"

        def search(one: np.ndarray) -> np.ndarray:
            return np.array([row[0] for row in connection.execute(query, (one.tobytes(),))])

        return search

    return prepare


OTHERS: dict[str, Any] = {
    "faiss FlatIP": faiss_flat,
    "faiss HNSW32, ef 64": faiss_graph(64),
    "faiss HNSW32, ef 256": faiss_graph(256),
    "LanceDB, prefilter": lancedb_flat,
    "sqlite-vec": sqlite_vec,
}


if __name__ == "__main__":
    main()
