"""Search speed beside faiss, turbovec and NumPy, in one run, as ratios with recall@10 next to each.

    pip install turbovec
    python scripts/bench/search.py VECTORS.npy QUERIES.npy [--rows 1000000] [--repeats 7]

All that is compared runs in one process on the same vectors, one thread unless a line says otherwise,
and takes turns: each repetition times every system once, so that a machine that slows down slows down
all of them. Printed are medians with the smallest and largest of the repetitions, and ratios of medians.

Every second query is given to the build as a sample to measure recall with (``--tune-queries``); speed and
recall are measured with the others.

With --rows more rows are made from those there are: row n is a mixture, at random from 1 : 0 to
0.5 : 0.5, of row n modulo the number of rows and of another row chosen at random, normalised. That
keeps the geometry of the real texts: each new row lies between two of them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "QSEARCH_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402 (it reads the variables when it is imported)

K = 10
BATCH = 64
SINGLES = 32

Search = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--rows", type=int, help="make so many rows of those there are")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--graph", action="store_true", help="also build faiss HNSW32,SQ8")
    arguments = parser.parse_args()
    rows, queries = loaded(arguments)
    with tempfile.TemporaryDirectory() as folder:
        run(rows, queries[1::2].copy(), queries[::2].copy(), Path(folder) / "index", arguments)


def loaded(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Rows, as many as are asked for, and queries, of length 1."""
    rows = unit(np.load(arguments.vectors).astype(np.float32))
    queries = unit(np.load(arguments.queries).astype(np.float32))
    return (mixed(rows, arguments.rows) if arguments.rows else rows), queries


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mixed(rows: np.ndarray, count: int) -> np.ndarray:
    """``count`` rows, see the top of this file."""
    generator = np.random.default_rng(0)
    made = np.empty((count, rows.shape[1]), dtype=np.float32)
    for start in range(0, count, 100_000):
        numbers = np.arange(start, min(count, start + 100_000))
        share = generator.uniform(0.0, 0.5, size=(len(numbers), 1)).astype(np.float32)
        share[numbers < len(rows)] = 0.0
        others = rows[generator.integers(len(rows), size=len(numbers))]
        made[numbers] = unit((1 - share) * rows[numbers % len(rows)] + share * others)
    return made


def run(
    rows: np.ndarray,
    queries: np.ndarray,
    sample: np.ndarray,
    folder: Path,
    arguments: argparse.Namespace,
) -> None:
    """Build everything, measure, print."""
    import faiss
    import turbovec

    from qsearch import BuildOptions, Index
    from qsearch.codes import binary_codes, query_words
    from qsearch.kernels import hamming_nearest, kernel_path

    faiss.omp_set_num_threads(1)
    n, d = rows.shape
    started = time.perf_counter()
    options = BuildOptions(tune_queries=sample, tuned_on="other queries of the set")
    index = Index.build(None, folder, embeddings=rows, options=options)
    print(f"{n:,} rows of {d} dimensions, {len(queries)} queries, k = {K}, batches of {BATCH}")
    print(f"{processor()}, kernels {kernel_path()}, {arguments.repeats} repetitions")
    print(f"qsearch built its index in {time.perf_counter() - started:.1f} s", flush=True)
    flat = faiss.IndexFlatIP(d)
    flat.add(rows)
    signs = faiss.IndexBinaryFlat(d)
    signs.add(binary_codes(rows))
    quantized = turbovec.TurboQuantIndex(d, 4)
    quantized.add(rows)
    quantized.prepare()
    truth = index.search_vectors(queries, K).positions
    segments = index._segments
    codes = binary_codes(queries)

    def exact(some: np.ndarray) -> np.ndarray:
        return index.search_vectors(some, K).positions

    def faiss_flat(some: np.ndarray) -> np.ndarray:
        return flat.search(some, K)[1]

    def numpy_product(some: np.ndarray) -> np.ndarray:
        scores = some @ rows.T
        best = np.argpartition(scores, -K, axis=1)[:, -K:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    def at_recall(recall: float) -> Search:
        return lambda some: index.search_vectors(some, K, recall=recall).positions

    def turbo(candidates: int) -> Search:
        def search(some: np.ndarray) -> np.ndarray:
            found = np.asarray(quantized.search(some, candidates)[1]).reshape(len(some), -1)
            found = found.astype(np.int64)
            scores = np.einsum("qd,qcd->qc", some, rows[found])
            order = np.argsort(-scores, axis=1)[:, :K]
            return np.take_along_axis(found, order, axis=1)

        return search

    def recall_of(search: Search) -> float:
        found = search(queries)
        return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(truth, found, strict=True)]))

    enough = next(
        m for m in (10, 12, 15, 20, 30, 40, 64, 100, 200, 400, 800) if recall_of(turbo(m)) >= 0.999
    )
    systems: dict[str, tuple[Search, int, float]] = {
        "qsearch exact, one by one": (exact, 1, 1.0),
        "faiss IndexFlatIP, one by one": (faiss_flat, 1, recall_of(faiss_flat)),
        "qsearch exact": (exact, BATCH, 1.0),
        "faiss IndexFlatIP": (faiss_flat, BATCH, recall_of(faiss_flat)),
        "NumPy product + argpartition": (numpy_product, BATCH, recall_of(numpy_product)),
        "qsearch recall=0.999": (at_recall(0.999), BATCH, recall_of(at_recall(0.999))),
        f"turbovec 4 bit, {enough} + floats": (turbo(enough), BATCH, recall_of(turbo(enough))),
        "qsearch recall=0.99": (at_recall(0.99), BATCH, recall_of(at_recall(0.99))),
    }
    words = query_words(codes)
    for m in (10, 100, 1000):
        systems[f"qsearch Hamming scan, {m} nearest"] = (
            lambda some, m=m: hamming_nearest(
                segments[0].binary, words[: len(some)], segments[0].rows, m
            ),
            BATCH,
            float("nan"),
        )
        systems[f"faiss IndexBinaryFlat, {m} nearest"] = (
            lambda some, m=m: signs.search(codes[: len(some)], m)[1],
            BATCH,
            float("nan"),
        )
    graph_name = None
    if arguments.graph:
        graph = faiss.index_factory(d, "HNSW32,SQ8", faiss.METRIC_INNER_PRODUCT)
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        started = time.perf_counter()
        graph.train(rows)
        graph.add(rows)
        print(f"faiss built HNSW32,SQ8 in {time.perf_counter() - started:.1f} s", flush=True)
        faiss.omp_set_num_threads(1)
        for effort in (16, 24, 32, 48, 64, 96, 128, 192, 256, 512):
            graph.hnsw.efSearch = effort
            if recall_of(lambda some: graph.search(some, K)[1]) >= 0.985:
                break
        graph_name = f"faiss HNSW32,SQ8, ef {effort}"
        systems[graph_name] = (
            lambda some: graph.search(some, K)[1],
            BATCH,
            recall_of(lambda some: graph.search(some, K)[1]),
        )
    times = measured(systems, queries, arguments.repeats)
    print(f"\n{'':38}{'recall@10':>10}{'ms a query':>12}   smallest to largest")
    for name, (_, _, recall) in systems.items():
        some = times[name]
        shown = "" if np.isnan(recall) else f"{recall:.4f}"
        print(f"{name:38}{shown:>10}{np.median(some):12.4f}   {min(some):.4f} to {max(some):.4f}")

    def ratio(name: str, ours: str, theirs: str) -> None:
        value = np.median(times[theirs]) / np.median(times[ours])
        recalls = f"recall {systems[ours][2]:.4f} against {systems[theirs][2]:.4f}"
        print(f"{name:58}{value:8.2f} times   {'' if 'nan' in recalls else recalls}")

    print()
    ratio(
        "exact, one by one, against faiss IndexFlatIP",
        "qsearch exact, one by one",
        "faiss IndexFlatIP, one by one",
    )
    ratio("exact, batches, against faiss IndexFlatIP", "qsearch exact", "faiss IndexFlatIP")
    ratio("exact, batches, against NumPy", "qsearch exact", "NumPy product + argpartition")
    for m in (10, 100, 1000):
        ratio(
            f"Hamming scan, {m} nearest, against faiss IndexBinaryFlat",
            f"qsearch Hamming scan, {m} nearest",
            f"faiss IndexBinaryFlat, {m} nearest",
        )
    ratio(
        "recall=0.999 against turbovec",
        "qsearch recall=0.999",
        f"turbovec 4 bit, {enough} + floats",
    )
    if graph_name:
        ratio("recall=0.99 against faiss HNSW32,SQ8", "qsearch recall=0.99", graph_name)
    two_threads(index, queries, arguments.repeats)
    stages(index, queries)
    differences(index, np.concatenate([queries, sample]))
    promises(index, queries)


def measured(
    systems: dict[str, tuple[Search, int, float]], queries: np.ndarray, repeats: int
) -> dict[str, list[float]]:
    """Milliseconds for one query, per repetition, of every system in turn."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for repeat in range(repeats + 1):
        for name, (search, batch, _) in systems.items():
            # Other queries each time, and the same for all systems.
            some = np.roll(queries, -repeat * 37, axis=0)
            if "Hamming" in name or "Binary" in name:
                some = queries
            parts = [some[i : i + 1] for i in range(SINGLES)] if batch == 1 else [some[:batch]]
            started = time.perf_counter()
            for part in parts:
                search(part)
            elapsed = time.perf_counter() - started
            if repeat:  # the first is to warm up
                times[name].append(1000.0 * elapsed / sum(map(len, parts)))
    return times


def two_threads(index: Any, queries: np.ndarray, repeats: int) -> None:
    """One query at a time with one and with two threads, in turn."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(repeats + 1):
        for threads, found in times.items():
            os.environ["QSEARCH_THREADS"] = str(threads)
            started = time.perf_counter()
            for i in range(SINGLES):
                index.search_vectors(queries[i : i + 1], K)
            if repeat:
                found.append(1000.0 * (time.perf_counter() - started) / SINGLES)
    os.environ["QSEARCH_THREADS"] = "1"
    one, two = np.median(times[1]), np.median(times[2])
    print(
        f"{'exact, one by one, two threads against one':58}{one / two:8.2f} times   "
        f"{one:.4f} and {two:.4f} ms"
    )


def stages(index: Any, queries: np.ndarray) -> None:
    """How many rows each stage of the exact search looked at, and how many queries are certified."""
    from qsearch.retrieval import ExactSearch

    ranking = ExactSearch(index._segments).search(queries, K, 1)
    print(f"\ncertified: {int(ranking.certified.sum())} of {len(queries)} queries")
    for stage in ranking.stages[1:]:
        print(
            f"rows at {stage.name:16} median {np.median(stage.rows):>10,.0f}   "
            f"99th percentile {np.quantile(stage.rows, 0.99):>10,.0f}"
        )


def differences(index: Any, queries: np.ndarray) -> None:
    """Compare exact search with the definition: every row scored in float64, ties by position."""
    from qsearch.kernels import cosine_gather
    from qsearch.retrieval.ranking import top_k

    found = index.search_vectors(queries, K)
    different = 0
    for i in range(len(queries)):
        scores, positions = [], []
        for segment in index._segments:
            every = np.arange(segment.rows)
            scores.append(cosine_gather(segment.vectors, queries[i : i + 1], every[None])[0])
            positions.append(every + segment.first_row)
        best, where = top_k(np.concatenate(scores), np.concatenate(positions), K)
        different += not (
            np.array_equal(where, found.positions[i]) and np.array_equal(best, found.scores[i])
        )
    print(f"queries whose hits or scores differ from brute force: {different} of {len(queries)}")


def promises(index: Any, queries: np.ndarray) -> None:
    """Whether 20 random samples of 100 queries get the recall that is asked for."""
    generator = np.random.default_rng(0)
    truth = index.search_vectors(queries, K).positions
    for asked in (0.9, 0.95, 0.98, 0.99, 0.999):
        plan = index.tuning.plan(asked, K)
        found = index.search_vectors(queries, K, recall=asked).positions
        recalls = np.array([len(set(a) & set(b)) / K for a, b in zip(truth, found, strict=True)])
        samples = [
            recalls[generator.choice(len(recalls), min(100, len(recalls)), replace=False)].mean()
            for _ in range(20)
        ]
        reached = sum(sample >= asked for sample in samples)
        way = f"exact ({plan.reason})" if plan.exact else f"{plan.candidates:,} candidates"
        print(
            f"recall {asked:<5} asked: {way}; {np.mean(recalls):.4f} on average, "
            f"reached by {reached} of 20 samples, the lowest {min(samples):.4f}"
        )


def processor() -> str:
    """The name of the processor, and how many there are."""
    from qsearch.evaluation.machine import processor_name

    return f"{processor_name()}, {os.cpu_count()} processors"


if __name__ == "__main__":
    main()
