"""Search by meaning, by keywords and by both: quality, speed, and what the text index takes on disk.

    python scripts/bench/hybrid.py quality FOLDER... [--work DIR] [--model NAME]
    python scripts/bench/hybrid.py speed FOLDER [--work DIR] [--copies N]

``quality``: each FOLDER holds corpus.jsonl[.gz], queries.jsonl[.gz] and qrels.tsv (query, document,
relevance). It prints nDCG@10 and recall@100 of the three modes with 95% intervals and those of the paired
difference to ``meaning``; a sweep of the weight, and the weight that the other collections choose for each;
BM25 beside bm25s (``pip install bm25s``) on the same tokens.

``speed``: FOLDER holds corpus.jsonl[.gz], vectors.f16.npy, queries.jsonl and query_vectors.f32.npy. With
``--copies N`` the corpus is taken N times: in every copy but the first each word is replaced, with a
probability of one in three, by a word of the whole corpus, drawn by how often it stands there; vectors get
noise of a tenth of their length. It prints milliseconds of a query in each mode, in a new process (cold:
the first query, the encoder left out) and later (warm: median and 95th percentile of one after the other),
and sizes on disk with and without the text index.

``--work`` keeps the indexes, which take minutes to make.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qsearch import BuildOptions, Index
from qsearch.documents import (
    Document,
    open_corpus,
    read_judgments,
    read_queries,
    read_query_texts,
)
from qsearch.encoding import DEFAULT_MODEL
from qsearch.evaluation import WEIGHTS, difference, evaluate, gains_by_weight, mean_of
from qsearch.evaluation.tables import shown_difference, shown_quantity
from qsearch.options import TextSearchOptions, listed

MODES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("meaning", {"mode": "meaning"}),
    ("keywords", {"mode": "keywords"}),
    ("hybrid", {"mode": "hybrid"}),
    ("hybrid, rrf", {"mode": "hybrid", "fusion": "rrf"}),
)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    quality = commands.add_parser("quality")
    quality.add_argument("folders", type=Path, nargs="+")
    quality.add_argument("--model", default=DEFAULT_MODEL)
    speed = commands.add_parser("speed")
    speed.add_argument("folder", type=Path)
    speed.add_argument("--copies", type=int, default=1)
    speed.add_argument("--first", help=argparse.SUPPRESS)
    for one in (quality, speed):
        one.add_argument("--work", type=Path, help="where indexes are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        if options.command == "quality":
            measure_quality(options.folders, options.model, work)
        elif options.first is not None:
            print(json.dumps(first_query(options.folder, work / options.first)))
        else:
            measure_speed(options.folder, options.copies, work)


def defaults() -> dict[str, Any]:
    """The options of a search by text, but for those of reranking."""
    known = listed(TextSearchOptions).items()
    return {name: option.default for name, (_, option) in known if not name.startswith("rerank")}


# Quality


class Collection:
    """A labelled set, indexed."""

    def __init__(self, folder: Path, model: str, work: Path) -> None:
        """Index it, if that was not done."""
        self.name = folder.name
        queries = dict(read_queries(str(folder)))
        self.judgments = read_judgments(str(folder))
        self.judged = tuple(query for query in queries if query in self.judgments)
        self.texts = tuple(queries[query] for query in self.judged)
        path = work / f"{folder.name}-quality"
        started = time.perf_counter()
        if not path.exists():
            options = BuildOptions(text_index=True, skip_invalid=True)
            Index.build(folder, path, encoder=model, options=options).close()
            print(f"{self.name}: built in {time.perf_counter() - started:.0f} s", flush=True)
        self.index = Index.open(path)

    def by_weight(self) -> list[float]:
        """Mean nDCG@10 of a hybrid search for each of ``WEIGHTS``."""
        vectors = self.index.encoder.encode_queries(self.texts)
        gains = gains_by_weight(self.index._open, self.judged, self.texts, vectors, self.judgments)
        found: list[float] = gains.mean(axis=1).tolist()
        return found


def measure_quality(folders: Sequence[Path], model: str, work: Path) -> None:
    """Print all tables of quality."""
    collections = [Collection(folder, model, work) for folder in folders]
    ways = dict(MODES)
    for one in collections:
        print(f"{one.name}: {len(one.index):,} documents, {len(one.judged):,} judged queries")
        queries = dict(zip(one.judged, one.texts, strict=True))
        found = evaluate(one.index, queries, one.judgments, ways=ways, timed=False)
        for way in found.ways:
            told = []
            for name in ("nDCG@10", "R@100"):
                mean = mean_of(way.measures[name])
                more = difference(way.measures[name], found["meaning"].measures[name])
                told.append(
                    f"{shown_quantity(mean)} ({shown_difference(more.mean, more.interval)})"
                )
            print(f"  {way.name:<12} nDCG@10 {told[0]}  recall@100 {told[1]}", flush=True)
    sweep(collections)
    for one in collections:
        beside_bm25s(one)


def sweep(collections: Sequence[Collection]) -> None:
    """Print nDCG@10 for each weight, and the one that the other collections choose for each."""
    table = np.array([one.by_weight() for one in collections])
    print("nDCG@10 by weight " + " ".join(f"{weight:6.2f}" for weight in WEIGHTS))
    for one, row in zip(collections, table, strict=True):
        print(f"  {one.name:<16}" + " ".join(f"{value:.4f}" for value in row))
    print(f"  {'mean':<16}" + " ".join(f"{value:.4f}" for value in table.mean(axis=0)))
    for number, one in enumerate(collections):
        others = np.delete(table, number, axis=0)
        if len(others):
            chosen = int(np.argmax(others.mean(axis=0)))
            print(
                f"  {one.name}: the others choose {WEIGHTS[chosen]}, which gives "
                f"{table[number, chosen]:.4f}; its own best is {WEIGHTS[int(table[number].argmax())]} "
                f"with {table[number].max():.4f}"
            )
    print(f"  all together choose {WEIGHTS[int(table.mean(axis=0).argmax())]}", flush=True)


def beside_bm25s(collection: Collection) -> None:
    """Compare BM25 with bm25s on the same tokens."""
    try:
        import bm25s
    except ImportError:
        print("bm25s is not installed")
        return
    from qsearch.store.text_index import tokenized

    index = collection.index
    tokenizer = (index.text_index or {})["tokenizer"]
    documents = list(index)
    fields = [text for one in documents for text in (one.title or "", one.text)]
    tokens = tokenized(tokenizer, fields)
    joined = [title + text for title, text in zip(tokens[::2], tokens[1::2], strict=True)]
    other = bm25s.BM25(method="lucene", k1=1.2, b=0.75, dtype="float64")
    other.index(joined, show_progress=False)
    names = [one.id for one in documents]
    equal = ties = 0
    worst = 0.0
    asked = tokenized(tokenizer, [text.replace('"', " ") for text in collection.texts])
    texts = [text.replace('"', " ") for text in collection.texts]
    for result, words in zip(index.search_batch(texts, 100, mode="keywords"), asked, strict=True):
        known = [word for word in words if word in other.vocab_dict]
        scores = dict(zip(names, other.get_scores(known), strict=True)) if known else {}
        theirs = sorted(
            (one for one in names if scores.get(one, 0.0) > 0), key=lambda one: -scores[one]
        )[: len(result)]
        ours = [hit.id for hit in result]
        worst = max([worst, *(abs(hit.score - scores[hit.id]) for hit in result)])
        equal += ours == theirs
        # Where two scores differ by rounding alone, either order is right.
        ties += ours != theirs and np.allclose(
            [scores[one] for one in ours], [scores[one] for one in theirs], rtol=1e-9, atol=0
        )
    print(
        f"{collection.name}: beside bm25s: {equal:,} of {len(texts):,} rankings of 100 are equal, {ties:,} "
        f"more but for ties; the largest difference of a score is {worst:.2g}",
        flush=True,
    )


# Speed


def queries_of(folder: Path) -> tuple[list[str], np.ndarray]:
    """Texts and vectors."""
    return read_query_texts(str(folder)), np.load(folder / "query_vectors.f32.npy")


def documents_of(folder: Path, copies: int) -> Iterator[dict[str, Any]]:
    """Records of the corpus, and of changed copies of it."""
    records = [one for one in open_corpus(folder) if isinstance(one, Document)]
    pool = np.array([word for one in records for word in one.text.split()], dtype=object)
    generator = np.random.default_rng(0)
    for copy in range(copies):
        for number, one in enumerate(records):
            words = one.text.split()
            if copy and words:
                other = generator.random(len(words)) < 1 / 3
                drawn = pool[generator.integers(len(pool), size=len(words))]
                words = [b if new else a for a, b, new in zip(words, drawn, other, strict=True)]
            yield {
                "id": f"{copy}-{number}",
                "title": one.title,
                "text": " ".join(words) if copy else one.text,
            }


def vectors_of(folder: Path, copies: int) -> np.ndarray:
    """(n, d) float32 for these."""
    vectors = np.load(folder / "vectors.f16.npy").astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    generator = np.random.default_rng(1)
    size = 0.1 / np.sqrt(vectors.shape[1])
    parts = [vectors]
    for _ in range(copies - 1):
        parts.append(vectors + generator.normal(0, size, vectors.shape).astype(np.float32))
    return np.concatenate(parts)


def measure_speed(folder: Path, copies: int, work: Path) -> None:
    """Print milliseconds and sizes."""
    texts, vectors = queries_of(folder)
    name = f"speed-{copies}"
    path = work / name
    if not path.exists():
        started = time.perf_counter()
        given = vectors_of(folder, copies)
        records = ({**one, "text": one["text"] or " "} for one in documents_of(folder, copies))
        Index.build(records, path, embeddings=given).close()
        print(f"built in {time.perf_counter() - started:.0f} s", flush=True)
    index = Index.open(path)
    before = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    catalog = (path / "catalog.sqlite").stat().st_size
    if index.text_index is None:
        started = time.perf_counter()
        report = index.index_text()
        now = (path / "catalog.sqlite").stat().st_size
        print(
            f"text index in {time.perf_counter() - started:.0f} s: the catalog has {catalog:,} bytes "
            f"without, {now:,} with it; the whole index {before:,} and {report.bytes[1]:,}",
            flush=True,
        )
    print(f"{len(index):,} documents, {index.text_index}")
    command = [sys.executable, __file__, "speed", str(folder), "--work", str(work), "--first", name]
    firsts = [
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for _ in range(3)
    ]
    for mode in ("meaning", "keywords", "hybrid"):
        times = []
        for text, vector in [*zip(texts, vectors, strict=True)] * 2:
            started = time.perf_counter()
            answer(index, mode, text, vector)
            times.append(1000 * (time.perf_counter() - started))
        first, second = times[: len(texts)], times[len(texts) :]
        cold = np.median([one[mode] for one in firsts])
        print(
            f"  {mode:<9} first query of a process {cold:8.1f} ms; a new query {np.median(first):7.2f} ms "
            f"(95%: {np.quantile(first, 0.95):.2f}), the same again {np.median(second):7.2f} ms (95%: "
            f"{np.quantile(second, 0.95):.2f})",
            flush=True,
        )


def answer(index: Index, mode: str, text: str, vector: np.ndarray) -> None:
    """A search of ten hits, whose vector is known where one is needed."""
    snapshot = index._open
    asked = {**defaults(), "mode": mode}
    snapshot.text_answers(10, asked, [text], lambda texts: vector[None, :])


def first_query(folder: Path, path: Path) -> dict[str, float]:
    """Milliseconds of the first query in each mode, opening the index anew for each."""
    texts, vectors = queries_of(folder)
    found = {}
    for mode in ("meaning", "keywords", "hybrid"):
        started = time.perf_counter()
        with Index.open(path) as index:
            answer(index, mode, texts[0], vectors[0])
        found[mode] = 1000 * (time.perf_counter() - started)
    return found


if __name__ == "__main__":
    main()
