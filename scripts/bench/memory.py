"""Peak memory of ``qsearch build`` at several corpus sizes.

    python scripts/bench/memory.py CORPUS.jsonl[.gz] --sizes 10000 100000 [--vectors FILE.npy]

For each size so many lines, evenly spread over CORPUS so that every size has the same mix of short and
long texts, are built into a temporary index by a process of its own, and the operating system's
figure for that process's peak resident memory is printed. With
--vectors nothing is encoded, so that what is left is the memory of reading, coding and storing.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    peaks = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            peak, seconds = build(Path(folder), options.corpus, size, options.vectors)
        peaks.append(peak)
        print(
            f"{size:>9,} documents  peak {peak / 2**20:7.1f} MiB  ({peak / peaks[0]:.3f} of the first)"
            f"  {seconds:7.1f} s",
            flush=True,
        )


def build(folder: Path, corpus: Path, size: int, vectors: Path | None) -> tuple[int, float]:
    """Build an index of ``size`` documents; returns (peak bytes, seconds)."""
    compressed = corpus.suffix == ".gz"
    part = folder / "part.jsonl"
    opened = gzip.open if compressed else open
    with opened(corpus, "rb") as source:
        total = sum(1 for _ in source)
    with opened(corpus, "rb") as source, open(part, "wb") as target:
        step = max(1, total // size)
        target.writelines(islice(source, 0, step * size, step))
    command = [
        sys.executable,
        "-m",
        "qsearch",
        "-q",
        "build",
        str(part),
        "-o",
        str(folder / "index"),
    ]
    command += ["--skip-invalid"]  # registry-100k has a few ids twice
    if vectors is not None:
        copy_rows(vectors, folder / "part.npy", size)
        command += ["--vectors", str(folder / "part.npy")]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the build of {size} documents failed")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS
    return usage.ru_maxrss * unit, time.perf_counter() - started


def copy_rows(source: Path, target: Path, count: int) -> None:
    """Copy the first rows of a ``.npy`` file, a piece at a time.

    A process's peak begins at the size of the one that started it, so this one has to stay small.
    """
    with open(source, "rb") as read, open(target, "wb") as write:
        np.lib.format.read_magic(read)
        (_, d), fortran, dtype = np.lib.format.read_array_header_1_0(read)
        header = {"descr": dtype.str, "fortran_order": fortran, "shape": (count, d)}
        np.lib.format.write_array_header_1_0(write, header)
        left = count * d * dtype.itemsize
        while left:
            piece = read.read(min(left, 1 << 20))
            left -= write.write(piece)


if __name__ == "__main__":
    main()
