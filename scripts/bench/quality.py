"""nDCG@10 on a labelled set in BEIR's form, float and quantized routes side by side.

    python scripts/bench/quality.py FOLDER [FOLDER ...] [--model NAME] [--precision bfloat16]
        [--passages 256 128:32 ...]

FOLDER holds corpus.jsonl[.gz], queries.jsonl[.gz] and qrels.tsv (query, document, relevance; a
header is skipped). The corpus is built with a graph into a temporary index, every judged query is
searched by every route, and the mean nDCG@10 is printed with a 95% interval of the paired
difference to the float route (bootstrap over queries, 2,000 samples). With --passages the corpus is
also built split into passages, of at most so many tokens and overlap, and searched exactly.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qsearch import BuildOptions, Index
from qsearch.encoding import DEFAULT_MODEL
from qsearch.evaluation import ndcg_at_k

ROUTES: tuple[tuple[str, int | None], ...] = (
    ("exact", None),
    ("binary", 100),
    ("binary", 1000),
    ("graph", 100),
)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--precision", default="float32", help="dtype of the weights")
    parser.add_argument(
        "--passages", nargs="*", default=[], metavar="N[:M]", help="N tokens, M overlap"
    )
    options = parser.parse_args()
    for folder in options.folders:
        evaluate(folder, options.model, options.precision, options.passages)


def evaluate(folder: Path, model: str, precision: str, passages: Sequence[str]) -> None:
    """Print a line per route."""
    queries = {
        str(record["_id"]): record["text"]
        for record in map(json.loads, read_lines(find(folder, "queries.jsonl")))
    }
    judgements = read_qrels(folder / "qrels.tsv")
    judged = [query for query in queries if query in judgements]
    texts = [queries[query] for query in judged]
    reference: np.ndarray | None = None

    def judge(index: Index, name: str, method: str, candidates: int | None) -> None:
        nonlocal reference
        results = index.search_batch(texts, 10, method=method, candidates=candidates)
        values = np.array(
            [
                ndcg_at_k([hit.id for hit in result], judgements[query], 10)
                for query, result in zip(judged, results, strict=True)
            ]
        )
        reference = values if reference is None else reference
        low, high = bootstrap(values - reference)
        print(
            f"  {name:<24} nDCG@10 {values.mean():.4f}   difference to exact "
            f"{(values - reference).mean():+.4f} [{low:+.4f}, {high:+.4f}]",
            flush=True,
        )

    for number, size in enumerate(["", *passages]):
        tokens, _, overlap = size.partition(":")
        with tempfile.TemporaryDirectory() as temporary:
            started = time.perf_counter()
            index = Index.build(
                str(find(folder, "corpus.jsonl")),
                Path(temporary) / "index",
                encoder=model,
                precision=precision,
                options=BuildOptions(
                    graph=not size,
                    passages=int(tokens) if size else None,
                    overlap=int(overlap or 0),
                ),
            )
            print(
                f"{folder.name}: {len(index):,} documents, {index.rows:,} rows in "
                f"{time.perf_counter() - started:.0f} s, {index.settings['truncated']:,} truncated, "
                f"{len(judged)} judged queries, {model}, {precision}",
                flush=True,
            )
            for method, candidates in ROUTES[:1] if number else ROUTES:
                name = method if candidates is None else f"{method}, {candidates} candidates"
                judge(index, f"passages of {size}" if size else name, method, candidates)
            index.close()


def bootstrap(differences: np.ndarray) -> tuple[float, float]:
    """95% interval of the mean."""
    generator = np.random.default_rng(0)
    picks = generator.integers(len(differences), size=(2000, len(differences)))
    means = differences[picks].mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def find(folder: Path, name: str) -> Path:
    """The file, or its compressed form."""
    plain = folder / name
    return plain if plain.exists() else folder / (name + ".gz")


def read_lines(path: Path) -> list[bytes]:
    """Lines of a file that may be compressed."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        return [line for line in file.read().split(b"\n") if line.strip()]


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """Relevance by query and document."""
    judgements: dict[str, dict[str, float]] = defaultdict(dict)
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter="\t"):
            if len(row) >= 3 and row[2].lstrip("-").isdigit():
                judgements[row[0]][row[1]] = float(row[2])
    return dict(judgements)


if __name__ == "__main__":
    main()
