"""Recall@10 and milliseconds per query of every route, beside sentence-transformers' own helpers.

    python scripts/bench/routes.py VECTORS.npy QUERIES.npy [--repeats 5] [--threads 1]

All in one process and one run, because absolute times on a shared machine do not hold. Every route
answers all queries as one batch and one query at a time; the median over the repeats is printed
with the smallest and the largest. The truth is qsearch's exact search.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    limits = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "QSEARCH_THREADS"),
        str(options.threads),
    )
    if any(os.environ.get(name) != value for name, value in limits.items()):
        # These are read when the libraries are loaded: start again with them set.
        os.environ.update(limits)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    compare(options.vectors, options.queries, options.repeats)


def compare(vectors_path: Path, queries_path: Path, repeats: int) -> None:
    """Build, search by every route, print a table."""
    from sentence_transformers import quantize_embeddings
    from sentence_transformers.util.quantization import (
        semantic_search_faiss,
        semantic_search_usearch,
    )

    from qsearch import BuildOptions, Index
    from qsearch.codes import unit_rows
    from qsearch.evaluation import recall_at_k

    vectors = unit_rows(np.load(vectors_path, allow_pickle=False))[0]
    queries = unit_rows(np.load(queries_path, allow_pickle=False))[0]
    print(f"{len(vectors):,} rows, {vectors.shape[1]} dimensions, {len(queries)} queries")

    def helper(
        search: Callable[..., tuple[Any, ...]], **settings: object
    ) -> Callable[[np.ndarray], np.ndarray]:
        built: dict[str, object] = {}

        def run(some: np.ndarray) -> np.ndarray:
            results = search(
                some,
                **(built or {"corpus_embeddings": settings["corpus"]}),
                **{key: value for key, value in settings.items() if key != "corpus"},
                top_k=10,
                output_index=not built,
            )
            if not built:
                built["corpus_index"] = results[2]
            rows = [[hit["corpus_id"] for hit in hits] for hits in results[0]]
            return np.array([row + [-1] * (10 - len(row)) for row in rows])

        return run

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        index = Index.build(
            None, Path(folder) / "index", embeddings=vectors, options=BuildOptions(graph=True)
        )
        print(f"built with graph in {time.perf_counter() - started:.1f} s")

        def ours(method: str, candidates: int | None) -> Callable[[np.ndarray], np.ndarray]:
            return lambda some: (
                index.search_vectors(some, 10, method=method, candidates=candidates).positions
            )

        routes: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
            ("qsearch exact", ours("exact", None))
        ]
        routes += [
            (f"qsearch {method}, {count} candidates", ours(method, count))
            for method, counts in (
                ("binary", (40, 100, 400, 1000, 1600)),
                ("graph", (10, 30, 100, 256)),
            )
            for count in counts
        ]
        # The helpers are given what they need to do their best: the ranges of the corpus itself.
        ranges = np.vstack([vectors.min(axis=0), vectors.max(axis=0)])
        for name, search, precision, times in (
            ("faiss", semantic_search_faiss, "ubinary", 4),
            ("faiss", semantic_search_faiss, "ubinary", 40),
            ("faiss", semantic_search_faiss, "uint8", 4),
            ("usearch", semantic_search_usearch, "ubinary", 4),
            ("usearch", semantic_search_usearch, "int8", 4),
        ):
            settings: dict[str, object] = {
                "corpus": quantize_embeddings(vectors, precision, ranges=ranges),
                "corpus_precision": precision,
                "rescore_multiplier": times,
            }
            if precision in ("int8", "uint8"):
                settings["ranges"] = ranges
            routes.append(
                (f"semantic_search_{name} {precision} x{times}", helper(search, **settings))
            )
        truth = routes[0][1](queries)
        print(
            f"{'route':<38} {'recall@10':>9}  {'ms/query, batch':>24}  {'ms/query, one by one':>24}"
        )
        few = queries[:50]
        for name, search in routes:
            found = search(queries)
            recall = recall_at_k(found, truth, 10).mean()
            batch = timed(lambda search=search: search(queries), repeats, len(queries))
            single = timed(
                lambda search=search: [search(query[None]) for query in few], repeats, len(few)
            )
            print(
                f"{name:<38} {recall:>9.4f}  {spread(batch):>24}  {spread(single):>24}", flush=True
            )
        index.close()


def timed(work: Callable[[], object], repeats: int, count: int) -> list[float]:
    """Milliseconds per query of each repeat."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1e3 / count)
    return times


def spread(times: list[float]) -> str:
    """Median, smallest and largest."""
    return f"{np.median(times):.3f} [{min(times):.3f}, {max(times):.3f}]"


if __name__ == "__main__":
    main()
