"""Encoding speed beside sentence-transformers, in one run, and what encoding is worth to the bit.

    python scripts/bench/encoding.py CORPUS.jsonl.gz [--texts 2000] [--repeats 3] [--threads 1 2]

Texts are taken evenly from the corpus (title and text, as a build encodes them). Systems take turns:
each repetition times each of them once. Printed are medians with the smallest and largest, ratios of
medians, how many embeddings change when a text is encoded alone instead of in bulk, the cost of other
precisions in cosine, and the time of a query from a cold start.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--starts", type=int, default=5, help="cold starts to time")
    parser.add_argument("--precisions", action="store_true", help="also bfloat16 and float16")
    arguments = parser.parse_args()
    texts = texts_of(arguments.corpus, arguments.texts)
    print(f"{len(texts):,} texts of {arguments.corpus.name}, {os.cpu_count()} processors, ", end="")
    print(f"{platform.machine()}; medians of {arguments.repeats}\n", flush=True)
    speeds(texts, arguments.threads, arguments.repeats)
    bits(texts)
    if arguments.precisions:
        precisions(texts)
    cold_starts(arguments.corpus, arguments.starts)


def texts_of(corpus: Path, count: int) -> list[str]:
    """The contents of documents, evenly spread."""
    from qsearch.documents import Document, open_corpus

    contents = [one.content for one in open_corpus(str(corpus)) if isinstance(one, Document)]
    step = max(1, len(contents) // count)
    return contents[::step][:count]


def speeds(texts: list[str], threads: list[int], repeats: int) -> None:
    """Texts a second."""
    import torch
    from sentence_transformers import SentenceTransformer

    from qsearch.encoding import DEFAULT_MODEL, load_encoder, locate_model

    library = SentenceTransformer(str(locate_model(DEFAULT_MODEL).path), device="cpu")
    onnx = load_encoder(DEFAULT_MODEL, device="cpu", backend="onnx")
    plain = load_encoder(DEFAULT_MODEL, device="cpu", backend="torch")
    systems: dict[str, Callable[[], np.ndarray]] = {
        "SentenceTransformer.encode": lambda: library.encode(texts, show_progress_bar=False),
        "qsearch, onnx": lambda: onnx.encode_documents(texts),
        "qsearch, torch": lambda: plain.encode_documents(texts),
    }
    for number in threads:
        os.environ["QSEARCH_THREADS"] = str(number)
        torch.set_num_threads(number)
        found: dict[str, list[float]] = {name: [] for name in systems}
        for encode in systems.values():
            encode_some(encode)
        for _ in range(repeats):
            for name, encode in systems.items():
                started = time.perf_counter()
                encode()
                found[name].append(len(texts) / (time.perf_counter() - started))
        print(f"{number} thread{'s' if number > 1 else ''}, texts a second:")
        for name, rates in found.items():
            ratio = np.median(rates) / np.median(found["SentenceTransformer.encode"])
            print(
                f"  {name:28}{np.median(rates):8.1f}   {min(rates):.1f} to {max(rates):.1f}"
                f"   {ratio:5.2f} times",
                flush=True,
            )


def encode_some(encode: Callable[[], np.ndarray]) -> None:
    """Warm up."""
    encode()


def bits(texts: list[str]) -> None:
    """How many embeddings change when a text is encoded alone."""
    from sentence_transformers import SentenceTransformer

    from qsearch.encoding import DEFAULT_MODEL, load_encoder, locate_model

    library = SentenceTransformer(str(locate_model(DEFAULT_MODEL).path), device="cpu")
    some = texts[:: max(1, len(texts) // 300)]
    print(f"\nembeddings that differ in bits alone and in bulk, of {len(some)}:")
    for name, encode in (
        ("SentenceTransformer.encode", lambda given: library.encode(given)),
        ("qsearch, onnx", load_encoder(DEFAULT_MODEL, device="cpu").encode_documents),
    ):
        bulk = encode(some)
        alone = np.concatenate([encode([text]) for text in some])
        differing = (bulk != alone).any(axis=1).sum()
        print(f"  {name:28}{differing:8}   by at most {np.abs(bulk - alone).max():.1e}", flush=True)


def precisions(texts: list[str]) -> None:
    """What other precisions cost in cosine."""
    from qsearch.codes import unit_rows
    from qsearch.encoding import DEFAULT_MODEL, load_encoder

    some = texts[:: max(1, len(texts) // 200)]
    full = unit_rows(load_encoder(DEFAULT_MODEL, device="cpu").encode_documents(some))[0]
    print(f"\ncosine with float32, of {len(some)} texts:")
    for precision in ("bfloat16", "float16"):
        encoder = load_encoder(DEFAULT_MODEL, device="cpu", precision=precision)
        started = time.perf_counter()
        rows = unit_rows(encoder.encode_documents(some))[0]
        seconds = time.perf_counter() - started
        cosines = 1 - 0.5 * np.square(rows.astype(np.float64) - full).sum(axis=1)
        print(
            f"  {precision:28}{np.median(cosines):.6f} at the median, {cosines.min():.6f} at worst; "
            f"{len(some) / seconds:.0f} texts a second",
            flush=True,
        )


def cold_starts(corpus: Path, count: int) -> None:
    """Seconds of `qsearch query`, each in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        sample = Path(__file__).parent.parent / "sample" / "wordnet.jsonl"
        command = [sys.executable, "-m", "qsearch"]
        subprocess.run([*command, "-q", "build", str(sample), "-o", str(index)], check=True)
        print("\nqsearch query from a cold start, 4,000 documents, seconds:")
        for backend in ("auto", "torch"):
            times = []
            for _ in range(count):
                started = time.perf_counter()
                subprocess.run(
                    [*command, "query", "a place to sleep", "-i", str(index), "--backend", backend],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                times.append(time.perf_counter() - started)
            print(f"  {backend:28}{np.median(times):8.3f}   {min(times):.3f} to {max(times):.3f}")


if __name__ == "__main__":
    main()
