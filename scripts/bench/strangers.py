"""Whether a recall that is asked for is got by queries that are unlike the documents.

    python scripts/bench/strangers.py [--vectors VECTORS.npy --queries QUERIES.npy] [--rows 60000]

Three made worlds (documents in clusters and queries from anywhere; documents and queries in two cones;
documents on a 16-dimensional sphere and queries off it) and, where vectors are given, real documents with
real queries and with queries that are made stranger and stranger. For each recall and world: what the same
candidates give without looking at the queries, what is got, by how many of 20 samples of 100 queries it is
reached, and the share answered exactly. Times decide nothing here: an exact search is said to take forever.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from qsearch import Index
from qsearch.retrieval.exact import ExactSearch

K = 10
QUERIES = 2000
RECALLS = (0.9, 0.95, 0.98, 0.99, 0.999)

World = tuple[np.ndarray, dict[str, np.ndarray]]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--dimensions", type=int, default=384)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    worlds = made_worlds(generator, arguments.rows, arguments.dimensions)
    if arguments.vectors:
        rows = unit(np.load(arguments.vectors).astype(np.float32))
        queries = {"like": unit(np.load(arguments.queries).astype(np.float32))}
        some = rows[generator.choice(len(rows), QUERIES)]
        for length in (0.5, 1.0, 2.0):
            strange = unit(some + length * noise(generator, QUERIES, rows.shape[1]))
            queries[f"noise {length}"] = strange
        queries["anywhere"] = noise(generator, QUERIES, rows.shape[1])
        worlds["real"] = rows, queries
    print("world, queries: recall asked: without checks, got, samples that reach it, exact")
    for name, (rows, queries) in worlds.items():
        measure(name, rows, queries)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


def noise(generator: np.random.Generator, count: int, dimensions: int) -> np.ndarray:
    """Directions from anywhere."""
    return unit(generator.standard_normal((count, dimensions)))


def made_worlds(generator: np.random.Generator, rows: int, d: int) -> dict[str, World]:
    """Documents and several kinds of queries."""
    centres = noise(generator, 300, d)

    def near(count: int) -> np.ndarray:
        return unit(centres[generator.integers(300, size=count)] + 0.5 * noise(generator, count, d))

    axes = noise(generator, 2, d)
    inner = generator.standard_normal((48, d))

    def around(axis: np.ndarray, count: int) -> np.ndarray:
        return unit(axis + unit(generator.standard_normal((count, 48)) @ inner))

    basis = np.linalg.qr(generator.standard_normal((d, 16)))[0].T

    def on(count: int) -> np.ndarray:
        return unit(generator.standard_normal((count, 16)) @ basis)

    off = {
        f"off by {length}": unit(on(QUERIES) + length * noise(generator, QUERIES, d))
        for length in (0.5, 1.0, 2.0)
    }
    gap = unit(around(axes[1], QUERIES) + 0.7 * noise(generator, QUERIES, d))
    return {
        "clusters": (near(rows), {"like": near(QUERIES), "anywhere": noise(generator, QUERIES, d)}),
        "cones": (around(axes[0], rows), {"like": around(axes[0], QUERIES), "gap": gap}),
        "manifold": (on(rows), {"like": on(QUERIES), **off}),
    }


def measure(name: str, rows: np.ndarray, queries: dict[str, np.ndarray]) -> None:
    """Build an index, and ask it."""
    taken = ExactSearch.milliseconds
    ExactSearch.milliseconds = lambda *ignored: 1e6  # type: ignore[method-assign]
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Index.build(None, Path(folder) / "i", embeddings=rows) as index,
        ):
            for kind, some in queries.items():
                ask(f"{name}, {kind}", index, some)
    finally:
        ExactSearch.milliseconds = taken  # type: ignore[method-assign]


def ask(what: str, index: Index, queries: np.ndarray) -> None:
    """Every recall of one kind of query."""
    truth = index.search_vectors(queries, K).positions
    cascade = index._open.searcher._cascade
    for recall in RECALLS:
        plan = index.tuning.plan(recall, K) if index.tuning else None
        if plan is None or plan.exact:
            print(f"{what}: {recall}: exact ({'not measured' if plan is None else plan.reason})")
            continue
        naive, _ = cascade.search(queries, K, plan.candidates, plan.kept)
        found = index.search_vectors(queries, K, recall=recall)
        got = shares(found.positions, truth)
        samples = [
            np.random.default_rng(seed).choice(got, min(100, len(got)), replace=False).mean()
            for seed in range(20)
        ]
        print(
            f"{what}: {recall}: {shares(naive.positions, truth).mean():.3f}, {got.mean():.4f}, "
            f"{sum(one >= recall for one in samples)} of 20, {found.certified.mean():.0%}",
            flush=True,
        )


def shares(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Recall of each query."""
    return np.asarray((found[:, :, None] == truth[:, None, :]).any(axis=2).mean(axis=1))


if __name__ == "__main__":
    main()
