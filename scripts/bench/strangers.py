"""Whether a recall that is asked for is got by queries that are unlike the documents.

    python scripts/bench/strangers.py [--graph] [--vectors VECTORS.npy --queries QUERIES.npy] [--rows 60000]

Four made worlds (documents in clusters and queries from anywhere; documents and queries in two cones;
documents on a 16-dimensional sphere and queries off it; clusters of Zipf's sizes and queries of rare ones)
and, where vectors are given, real documents with real queries, with queries that are made stranger and
stranger, and with queries that are nearer to all documents than any is. For each recall and world: what the
same search gives without looking at the queries, what is got, by how many of 20 samples of 100 queries it
is reached, and the share answered exactly. Times decide nothing here: an exact search is said to take
forever.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

from qsearch import BuildOptions, Index
from qsearch.retrieval.costs import Costs

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
    parser.add_argument("--graph", action="store_true", help="search by a graph")
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
        queries |= near_many(generator, rows)
        worlds["real"] = rows, queries
    print(
        "world, queries: recall asked: by what, without checks, got, samples that reach it, exact"
    )
    for name, (rows, queries) in worlds.items():
        measure(name, rows, queries, graph=arguments.graph)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


def noise(generator: np.random.Generator, count: int, dimensions: int) -> np.ndarray:
    """Directions from anywhere."""
    return unit(generator.standard_normal((count, dimensions)))


def near_many(generator: np.random.Generator, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Queries that are nearer to all documents than any of these is."""
    centre = unit(rows.mean(axis=0)[None])
    some = generator.integers(len(rows), size=(QUERIES, 30))
    return {
        "means of 5": unit(rows[some[:, :5]].mean(axis=1)),
        "means of 30": unit(np.stack([rows[few].mean(axis=0) for few in some])),
        "centre": unit(centre + 0.1 * noise(generator, QUERIES, rows.shape[1])),
        "toward the centre": unit(rows[some[:, 0]] + centre),
    }


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

    sizes = 1 / np.arange(1, 5001)
    rare = unit(noise(generator, len(sizes), d) + noise(generator, 1, d))

    def of(clusters: np.ndarray) -> np.ndarray:
        return unit(rare[clusters] + 0.4 * noise(generator, len(clusters), d))

    def drawn(count: int) -> np.ndarray:
        return of(generator.choice(len(sizes), size=count, p=sizes / sizes.sum()))

    zipf = drawn(rows)
    of_zipf = {
        "like": drawn(QUERIES),
        "rare": of(generator.integers(len(sizes), size=QUERIES)),
        **near_many(generator, zipf),
    }
    return {
        "clusters": (near(rows), {"like": near(QUERIES), "anywhere": noise(generator, QUERIES, d)}),
        "cones": (around(axes[0], rows), {"like": around(axes[0], QUERIES), "gap": gap}),
        "manifold": (on(rows), {"like": on(QUERIES), **off}),
        "zipf": (zipf, of_zipf),
    }


def measure(name: str, rows: np.ndarray, queries: dict[str, np.ndarray], *, graph: bool) -> None:
    """Build an index, and ask it."""

    def alike(numbers: object, unit: float) -> tuple[np.ndarray, np.ndarray]:
        return (np.array(numbers) * unit,) * 2

    with (
        mock.patch.object(Costs, "exact", return_value=(1e6, 1e6)),
        mock.patch.object(Costs, "candidates", lambda *given: alike(given[3], 1e-3)),
        mock.patch.object(Costs, "beams", lambda *given: alike(given[4], 1e-6)),
        tempfile.TemporaryDirectory() as folder,
        Index.build(
            None, Path(folder) / "i", embeddings=rows, options=BuildOptions(graph=graph)
        ) as index,
    ):
        for kind, some in queries.items():
            ask(f"{name}, {kind}", index, some)


def ask(what: str, index: Index, queries: np.ndarray) -> None:
    """Every recall of one kind of query."""
    truth = index.search_vectors(queries, K).positions
    searcher = index._open.searcher
    for recall in RECALLS:
        plan = index.tuning.plan(recall, K) if index.tuning else None
        if plan is None or plan.exact:
            print(f"{what}: {recall}: exact ({'not measured' if plan is None else plan.reason})")
            continue
        source = searcher._graph if plan.method == "graph" else searcher._cascade
        naive, _ = source.search(queries, K, plan.candidates, plan.kept)
        found = index.search_vectors(queries, K, recall=recall)
        got = shares(found.positions, truth)
        samples = [
            np.random.default_rng(seed).choice(got, min(100, len(got)), replace=False).mean()
            for seed in range(20)
        ]
        print(
            f"{what}: {recall}: {plan.method} {plan.candidates}, "
            f"{shares(naive.positions, truth).mean():.3f}, {got.mean():.4f}, "
            f"{sum(one >= recall for one in samples)} of 20, {found.certified.mean():.0%}",
            flush=True,
        )


def shares(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Recall of each query."""
    return np.asarray((found[:, :, None] == truth[:, None, :]).any(axis=2).mean(axis=1))


if __name__ == "__main__":
    main()
