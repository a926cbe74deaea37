"""nDCG@10 on a labelled set in BEIR's form, float and quantized routes side by side.

    python scripts/bench/quality.py FOLDER [FOLDER ...] [--model NAME] [--precision bfloat16]
        [--passages 256 128:32 ...]

FOLDER holds corpus.jsonl[.gz], queries.jsonl[.gz] and qrels.tsv, as ``qsearch eval`` takes it. The corpus
is built with a graph into a temporary index, every judged query is searched by every route, and the mean
nDCG@10 is printed with a 95% interval of the paired difference to the float route. With --passages the
corpus is also built split into passages, of at most so many tokens and overlap, and searched exactly.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from qsearch import BuildOptions, Index
from qsearch.documents import read_judgments, read_queries
from qsearch.encoding import DEFAULT_MODEL
from qsearch.evaluation import difference, evaluate

ROUTES = ("exact", "binary:100", "binary:1000", "graph:100")


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
        measure(folder, options.model, options.precision, options.passages)


def measure(folder: Path, model: str, precision: str, passages: Sequence[str]) -> None:
    """Print a line per route."""
    queries = dict(read_queries(str(folder)))
    judgments = read_judgments(str(folder))
    judged = {name: text for name, text in queries.items() if name in judgments}
    reference = None
    for size in ("", *passages):
        tokens, _, overlap = size.partition(":")
        with tempfile.TemporaryDirectory() as temporary:
            started = time.perf_counter()
            index = Index.build(
                folder,
                Path(temporary) / "index",
                encoder=model,
                precision=precision,
                options=BuildOptions(
                    graph=not size,
                    passages=int(tokens) if size else None,
                    overlap=int(overlap or 0),
                    skip_invalid=True,
                ),
            )
            print(
                f"{folder.name}: {len(index):,} documents, {index.rows:,} rows in "
                f"{time.perf_counter() - started:.0f} s, {index.settings['truncated']:,} truncated, "
                f"{len(judged)} judged queries, {model}, {precision}",
                flush=True,
            )
            ways = ROUTES[:1] if size else ROUTES
            found = evaluate(index, judged, judgments, ways=ways, k=10, timed=False)
            index.close()
        for one in found.ways:
            values = one.measures["nDCG@10"]
            reference = values if reference is None else reference
            less = difference(values, reference)
            told = (
                ""
                if less.interval is None
                else f"[{less.interval.low:+.4f}, {less.interval.high:+.4f}]"
            )
            name = f"passages of {size}" if size else one.name
            mean = found.measure(one.name, "nDCG@10").mean
            print(
                f"  {name:<24} nDCG@10 {mean:.4f}   difference to exact {less.mean:+.4f} {told}",
                flush=True,
            )


if __name__ == "__main__":
    main()
