"""Encoding on a GPU beside SentenceTransformer.encode with its best batch size, in one run.

    scripts/gpu-python scripts/bench/gpu_encoding.py [CORPUS.jsonl.gz] [--texts 20000] [--repeats 5]
        [--model NAME] [--precisions float32 bfloat16]

Texts are taken evenly from the corpus (title and text, as a build encodes them); with few, they are taken
again in another order of their words. The library's batch size is chosen by one run each. Then both take
turns: each repetition times each of them once. Printed are texts and tokens a second, medians with the
smallest and largest, how many embeddings change in bits when a text is encoded alone, the largest distance
from the CPU's, what queries take by how many are computed together, and how long a whole build takes beside
encoding alone.

A machine without network wants a model that is carried there: --prepare FOLDER writes the default one, its
weights as float16 (half as large; both sides compute with what they are, in whatever precision is asked
for), and --model FOLDER takes it. --device cpu tries the script out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from qsearch import BuildOptions, Index, SentenceEncoder
from qsearch.documents import Document, open_corpus
from qsearch.encoding import DEFAULT_MODEL, locate_model, sentence

SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "wordnet.jsonl"

SIZES = (32, 64, 128, 256, 512, 1024)

ASKED = (1, 64, 1024)
QUERY_ROWS = (8, 16, 32, 64)
"""Queries at a time, and rows of the batches that they are computed in: the first is what is used."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cuda", help="cuda if not given")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="write the model there")
    arguments = parser.parse_args()
    on_gpu = arguments.device.startswith("cuda") and arguments.prepare is None
    if on_gpu and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no GPU; --device cpu tries the script out")
    if arguments.prepare is not None:
        plain = SentenceTransformer(str(locate_model(arguments.model).path), device="cpu")
        plain.half().save(str(arguments.prepare), create_model_card=False)
        return
    texts = texts_of(arguments.corpus, arguments.texts)
    told = "the CPU, to try out"
    if arguments.device.startswith("cuda"):
        told = torch.cuda.get_device_name(torch.device(arguments.device))
    print(f"{len(texts):,} texts of {arguments.corpus.name}; {told}, torch {torch.__version__}")
    reference = SentenceEncoder(arguments.model, device="cpu").encode_documents(texts[:200])
    for precision in arguments.precisions:
        compare(texts, reference, precision, arguments)
    build(texts, arguments)


def texts_of(corpus: Path, count: int) -> list[str]:
    """Contents of documents, evenly spread, and again with their words in another order."""
    contents = [one.content for one in open_corpus(str(corpus)) if isinstance(one, Document)]
    found = contents[:: max(1, len(contents) // count)][:count]
    generator = np.random.default_rng(0)
    while len(found) < count:
        words = contents[len(found) % len(contents)].split()
        found.append(" ".join(generator.permutation(words)))
    return found


def compare(
    texts: list[str], reference: np.ndarray, precision: str, arguments: argparse.Namespace
) -> None:
    """Everything for one precision."""
    library = SentenceTransformer(
        str(locate_model(arguments.model).path),
        device=arguments.device,
        model_kwargs={"dtype": getattr(torch, precision)},
    )
    ours = SentenceEncoder(arguments.model, device=arguments.device, precision=precision)
    tokens = sum(min(one, library.max_seq_length or one) for one in ours.token_counts(texts))

    def by_library(size: int) -> np.ndarray:
        found: np.ndarray = library.encode(texts, batch_size=size, show_progress_bar=False)
        return found

    print(f"\n{precision}: texts a second, {tokens / len(texts):.0f} tokens each")
    library.encode(texts[:2000])
    sizes = {size: seconds(lambda size=size: by_library(size)) for size in SIZES}
    best = min(sizes, key=lambda size: sizes[size])
    print(
        "  SentenceTransformer.encode by batch size: "
        + ", ".join(f"{size} {len(texts) / took:,.0f}" for size, took in sizes.items())
    )
    bulk = ours.encode_documents(texts)  # shapes become graphs
    systems: dict[str, Callable[[], np.ndarray]] = {
        f"SentenceTransformer, {best}": lambda: by_library(best),
        "qsearch": lambda: ours.encode_documents(texts),
    }
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(arguments.repeats):
        for name, encode in systems.items():
            times[name].append(seconds(encode))
    base = float(np.median(next(iter(times.values()))))
    for name, some in times.items():
        middle = float(np.median(some))
        rates = len(texts) / np.array([middle, max(some), min(some)])
        print(
            f"  {name:28} {rates[0]:10,.0f} ({rates[1]:,.0f} to {rates[2]:,.0f})   "
            f"{tokens / middle:12,.0f} tokens   {base / middle:5.2f} times",
            flush=True,
        )
    some = range(0, len(texts), max(1, len(texts) // 300))
    for name, encode_some, whole in (
        ("qsearch", ours.encode_documents, bulk),
        ("SentenceTransformer", lambda given: library.encode(given), by_library(best)),
    ):
        alone = np.concatenate([encode_some([texts[number]]) for number in some])
        differ = (alone != whole[list(some)]).any(axis=1).sum()
        print(f"  {name}: of {len(some)} embeddings {differ} have other bits alone than in bulk")
    apart = np.abs(bulk[: len(reference)] - reference).max()
    print(f"  the largest difference of a component from the CPU's float32: {apart:.1e}")
    queries(ours, library, texts)


def queries(ours: SentenceEncoder, library: SentenceTransformer, texts: list[str]) -> None:
    """Short texts, alone and some at a time; ours by how many rows a batch of them has."""
    some = [" ".join(text.split()[:8]) for text in texts[: max(ASKED)]]
    sizes = QUERY_ROWS if ours.model.device.type == "cuda" else QUERY_ROWS[:1]
    before = sentence._GPU_QUERY_ROWS
    systems: list[tuple[str, int, Callable[[list[str]], object]]] = [
        *((f"qsearch, {rows} rows", rows, ours.encode_queries) for rows in sizes),
        ("SentenceTransformer", before, lambda given: library.encode(given)),
    ]
    print("  queries, milliseconds for " + ", ".join(f"{count:,}" for count in ASKED))
    for name, rows, encode in systems:
        sentence._GPU_QUERY_ROWS = rows
        told = []
        for count in ASKED:
            run = partial(encode, some[:count])
            for _ in range(4):  # shapes become graphs
                run()
            each = [1000 * seconds(run) for _ in range(20)]
            told.append(f"{np.median(each):8.2f} ({min(each):.2f} to {max(each):.2f})")
        print(f"    {name:20} " + "  ".join(told), flush=True)
    sentence._GPU_QUERY_ROWS = before


def build(texts: list[str], arguments: argparse.Namespace) -> None:
    """A whole build beside encoding alone."""
    encoder = SentenceEncoder(arguments.model, device=arguments.device)
    encoder.encode_documents(texts)
    alone = seconds(lambda: encoder.encode_documents(texts))
    records = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (
            ("exact search and recall by request", BuildOptions()),
            ("with an index of keywords and a graph", BuildOptions(text_index=True, graph=True)),
        ):
            path = Path(folder, str(len(name)))
            took = seconds(
                lambda path=path, options=options: Index.build(
                    records, path, encoder=encoder, options=options
                ).close()
            )
            print(
                f"\na build ({name}): {took:.1f} s, which is {took / alone:.2f} times the {alone:.1f} s of "
                "encoding alone",
                flush=True,
            )


def seconds(run: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
