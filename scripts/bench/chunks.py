"""What a chunk of a build costs and is worth: encoding so much text at a time, and what can be lost.

    python scripts/bench/chunks.py CORPUS.jsonl[.gz] [--documents 2000] [--backend onnx|torch]
        [--bytes 16384 32768 65536 1048576] [--at-least 1 32 64 128 256]

The first documents of CORPUS are cut as a build with all-MiniLM-L6-v2 cuts them, with several limits, and
encoded two chunks at a time. Printed are chunks, documents a second, bytes that count a second of one
thread (which other work on the machine does not change), and seconds that a chunk takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

from qsearch.documents import Document, open_corpus
from qsearch.encoding import DEFAULT_MODEL, load_encoder
from qsearch.indexing.chunks import ChunkLimit, ChunkReader, chunk_limit


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--backend", default="onnx")
    parser.add_argument(
        "--bytes", type=int, nargs="+", default=[1 << 14, 1 << 15, 1 << 16, 1 << 20]
    )
    parser.add_argument("--at-least", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    records = islice(open_corpus(options.corpus), options.documents)
    documents = [one for one in records if isinstance(one, Document)]
    encoder = load_encoder(DEFAULT_MODEL, device="cpu", backend=options.backend)
    encoder.encode_documents([one.content for one in documents[:16]])
    limit = chunk_limit(encoder, given=False, passages=False)
    size = sum(limit.encoded_bytes(one.content) for one in documents)
    for encoded in options.bytes:
        for least in options.at_least:
            chunks = list(cut(documents, replace(limit, encoded=encoded, least=least)))
            wall, spent = time.perf_counter(), time.process_time()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(encoder.encode_documents, chunks))
            wall, spent = time.perf_counter() - wall, time.process_time() - spent
            print(
                f"{encoded:>9,} bytes, at least {least:>4}: {len(chunks):>5,} chunks  "
                f"{len(documents) / wall:7.1f} documents/s  {size / spent:9,.0f} bytes/s of one thread  "
                f"{2 * wall / len(chunks):6.2f} s a chunk"
            )


def cut(documents: list[Document], limit: ChunkLimit) -> Iterator[list[str]]:
    """Texts of each chunk."""
    reader = ChunkReader(iter(documents), limit)
    while chunk := reader.next():
        yield [one.content for one in chunk if isinstance(one, Document)]


if __name__ == "__main__":
    main()
