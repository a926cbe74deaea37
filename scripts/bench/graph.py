"""What a graph takes, and what it gives: an index is built with one, and searched by it and without.

    python scripts/bench/graph.py VECTORS.npy QUERIES.npy [--rows 1000000] [--tune] [--threads 1]

VECTORS holds (n, d) rows, QUERIES (q, d) queries that are not among them; with --tune every second query
is what recall is measured with, and the others are searched for. Prints seconds of the build with and
without the graph and its bytes; then for beams of several widths and for recalls the recall@10, and
milliseconds of a query alone and of one in batches of 64: medians of --rounds rounds, with the least and
the most in brackets.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

K, BATCH = 10, 64


def main() -> None:
    """Build, search, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--rows", type=int, help="take no more")
    parser.add_argument("--tune", action="store_true", help="measure recall with half the queries")
    parser.add_argument("--threads", type=int, default=1, help="to search with")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    from qsearch import BuildOptions, Index
    from qsearch.indexing import index_sizes
    from qsearch.kernels import kernel_path

    rows = np.load(arguments.vectors, mmap_mode="r")[: arguments.rows]
    queries = np.load(arguments.queries).astype(np.float32)
    options: dict[str, Any] = {}
    if arguments.tune:
        options, queries = {"tune_queries": queries[1::2]}, queries[::2]
    print(f"{len(rows):,} rows of {rows.shape[1]}, {len(queries)} queries, kernels {kernel_path()}")
    with tempfile.TemporaryDirectory() as folder:
        for graph in (False, True):
            path = Path(folder) / ("with" if graph else "without")
            started = time.perf_counter()
            Index.build(
                None, path, embeddings=rows, options=BuildOptions(graph=graph, **options)
            ).close()
            sizes = index_sizes(path)
            parts = ("links.npy", "sketches.npy", "center.npy")
            print(
                f"built {'with' if graph else 'without'} a graph in {time.perf_counter() - started:.1f} s, "
                f"{sum(sizes.values()) / 1e6:,.0f} MB"
                + (
                    f", {sum(sizes[one] for one in parts) / 1e6:,.0f} of it the graph"
                    if graph
                    else ""
                )
            )
        os.environ["QSEARCH_THREADS"] = str(arguments.threads)
        for name, ways in (("without", RECALLS), ("with", [*WIDTHS, *RECALLS, *ALIKE])):
            with Index.open(Path(folder) / name) as index:
                print(f"{name} a graph, {arguments.threads} threads")
                _searched(index, queries, [{}, *ways], arguments.rounds)


WIDTHS: list[dict[str, Any]] = [
    {"method": "graph", "candidates": width} for width in (16, 32, 64, 100, 200, 400, 800)
]
RECALLS: list[dict[str, Any]] = [{"recall": recall} for recall in (0.9, 0.95, 0.99)]
ALIKE: list[dict[str, Any]] = [{**way, "alike": True} for way in RECALLS]


def _searched(
    index: Any, queries: NDArray[np.float32], ways: Sequence[dict[str, Any]], rounds: int
) -> None:
    exact = index.search_vectors(queries, K)
    ones = [queries[number : number + 1] for number in range(len(queries))]
    batches = [queries[first : first + BATCH] for first in range(0, len(queries), BATCH)]
    times: dict[int, tuple[list[float], list[float]]] = {n: ([], []) for n in range(len(ways))}
    for _ in range(rounds + 1):  # the first brings all into memory
        for number, way in enumerate(ways):
            for some, found in zip((ones, batches), times[number], strict=True):
                started = time.perf_counter()
                for part in some:
                    index.search_vectors(part, K, **way)
                found.append(1000 * (time.perf_counter() - started) / len(queries))
    for number, way in enumerate(ways):
        scores = np.concatenate([index.search_vectors(one, K, **way).scores for one in ones])
        recall = float((scores >= exact.scores[:, -1:]).mean())
        told = ", ".join(f"{name} {value}" for name, value in way.items()) or "exact"
        print(f"  {told:32} recall {recall:.4f}  alone {_told(times[number][0])} ms  ", end="")
        print(f"in batches {_told(times[number][1])} ms")


def _told(times: Sequence[float]) -> str:
    some = times[1:]
    return f"{statistics.median(some):.3f} ({min(some):.3f} to {max(some):.3f})"


if __name__ == "__main__":
    main()
