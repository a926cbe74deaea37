"""Pairs a second of a cross-encoder beside CrossEncoder.predict, in one run, and what its scores are worth.

    python scripts/bench/reranking.py CORPUS.jsonl.gz [--queries 4] [--depth 50] [--repeats 5]
                                      [--threads 1 2] [--sizes minilm tiny] [--model PATH]

There is no real cross-encoder without a model hub, so by default models of random weights are made, of the
sizes of MiniLM-L6 (6 layers, 384 dimensions) and of a tiny one (2 layers, 128): that is enough for speed,
and says nothing of quality. Their tokenizer is all-MiniLM-L6-v2's, so that pairs have the lengths that real
ones have. Queries are beginnings of documents of the corpus, texts are other documents, taken evenly.

The library gets the best of several batch sizes, found first, and takes turns with qsearch: each repetition
times each once. Printed are medians with the smallest and largest, and ratios of medians; the largest
difference of a score; and how many scores change when a pair is scored alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

SIZES = {"minilm": (6, 384, 12, 1536), "tiny": (2, 128, 2, 512)}
BATCH_SIZES = (1, 4, 8, 16, 32, 64)

Pairs = list[tuple[str, str]]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--queries", type=int, default=4)
    parser.add_argument("--depth", type=int, default=50, help="texts for each query")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", nargs="+", choices=sorted(SIZES), default=["minilm", "tiny"])
    parser.add_argument("--model", type=Path, help="a cross-encoder, instead of random weights")
    arguments = parser.parse_args()
    pairs = pairs_of(arguments.corpus, arguments.queries, arguments.depth)
    print(f"{len(pairs):,} pairs of {arguments.corpus.name}, {os.cpu_count()} processors, ", end="")
    print(f"{platform.machine()}; medians of {arguments.repeats}", flush=True)
    if arguments.model is not None:
        measure(str(arguments.model), arguments.model, pairs, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QSEARCH_CACHE"] = str(Path(folder) / "cache")
        for size in arguments.sizes:
            model = random_model(Path(folder) / size, *SIZES[size])
            measure(f"random weights of the size {size}", model, pairs, arguments)


def pairs_of(corpus: Path, queries: int, depth: int) -> Pairs:
    """Each query with its texts."""
    from qsearch.documents import Document, open_corpus

    contents = [one.content for one in open_corpus(str(corpus)) if isinstance(one, Document)]
    step = max(1, len(contents) // (queries * (depth + 1)))
    some = contents[::step][: queries * (depth + 1)]
    asked = [" ".join(one.split()[:10]) for one in some[:queries]]
    texts = some[queries:]
    return [
        (query, text)
        for number, query in enumerate(asked)
        for text in texts[number * depth : (number + 1) * depth]
    ]


def random_model(folder: Path, layers: int, width: int, heads: int, inner: int) -> Path:
    """A BERT of this size with one label, and the tokenizer of all-MiniLM-L6-v2."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from qsearch.encoding import DEFAULT_MODEL, locate_model

    tokenizer = AutoTokenizer.from_pretrained(locate_model(DEFAULT_MODEL).path)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def measure(name: str, model: Path, pairs: Pairs, arguments: argparse.Namespace) -> None:
    """Print what there is to say of one model."""
    import torch
    from sentence_transformers import CrossEncoder

    from qsearch.reranking import load_reranker

    library = CrossEncoder(str(model), device="cpu", local_files_only=True)
    onnx = load_reranker(str(model), device="cpu", backend="onnx")
    plain = load_reranker(str(model), device="cpu", backend="torch")
    lengths = [len(one) for one in library[0].tokenizer(pairs, truncation=True)["input_ids"]]
    print(f"\n{name}; tokens of a pair: {np.median(lengths):.0f} at the median, ", end="")
    print(f"{max(lengths)} at most, {int(onnx.truncated(pairs).sum())} pairs cut")
    for threads in arguments.threads:
        os.environ["QSEARCH_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        best = max(BATCH_SIZES, key=lambda size: rate(lambda: predict(library, pairs, size), pairs))
        systems: dict[str, Callable[[], np.ndarray]] = {
            f"CrossEncoder.predict, batches of {best}": partial(predict, library, pairs, best),
            "qsearch, onnx": lambda: onnx.score(pairs),
            "qsearch, torch": lambda: plain.score(pairs),
        }
        found: dict[str, list[float]] = {one: [] for one in systems}
        for score in systems.values():
            score()
        for _ in range(arguments.repeats):
            for one, score in systems.items():
                found[one].append(rate(score, pairs))
        first = np.median(next(iter(found.values())))
        print(f"{threads} thread{'s' if threads > 1 else ''}, pairs a second:")
        for one, rates in found.items():
            print(
                f"  {one:36}{np.median(rates):8.1f}   {min(rates):.1f} to {max(rates):.1f}"
                f"   {np.median(rates) / first:5.2f} times",
                flush=True,
            )
    expected = predict(library, pairs, 32)
    some = pairs[:: max(1, len(pairs) // 60)]
    for one, score in (
        ("CrossEncoder.predict", lambda given: predict(library, given, 32)),
        ("qsearch, onnx", onnx.score),
        ("qsearch, torch", plain.score),
    ):
        bulk = score(pairs)[:: max(1, len(pairs) // 60)]
        alone = np.concatenate([score([pair]) for pair in some])
        print(
            f"  {one:36}{int((bulk != alone).sum())} of {len(some)} scores differ alone and in bulk; "
            f"largest difference to predict {np.abs(score(pairs) - expected).max():.1e}"
        )


def predict(library: object, pairs: Pairs, size: int) -> np.ndarray:
    """Scores by the library."""
    return library.predict(pairs, batch_size=size, show_progress_bar=False)  # type: ignore[attr-defined]


def rate(score: Callable[[], np.ndarray], pairs: Pairs) -> float:
    """Pairs a second."""
    started = time.perf_counter()
    score()
    return len(pairs) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
