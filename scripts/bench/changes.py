"""What changes of an index cost, and what they leave behind for the searches after them.

    python scripts/bench/changes.py VECTORS.npy QUERIES.npy [--corpus CORPUS.jsonl]
        [--only add single deleted compact open sync beside] [--rows 1000000] [--repeats 5]

add      1,000 vectors, added to an index of 10,000 rows and to one of --rows: seconds and bytes written.
single   1,000 adds of one vector, each a commit: median with and without the time inside of fsync, bytes
         written for each byte of a row, and searches afterwards beside those of an index built at once.
deleted  exact searches with 1%, 10% and 50% of all rows deleted, spread and in runs, beside those before.
compact  the size before and after half of the rows were deleted, and the memory beside that of a build.
open     opening an index of 1 segment and one of 100.
sync     an unchanged corpus (--corpus), whose vectors are those of VECTORS: seconds, and what was encoded.
beside   how long a reader in another process waits for documents while half of all are deleted, a quarter
         gets other metadata and as many as there were are added, and while nobody writes.

All of a comparison runs in one process and takes turns. Printed are medians with the smallest and largest.
On Linux with gcc the syncs are counted and timed by a library that is loaded before all others.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from search import mixed, unit

from qsearch import BuildOptions, Index
from qsearch.documents import open_corpus
from qsearch.encoding import EncoderIdentity
from qsearch.kernels import kernel_path, thread_count

PARTS = ("add", "single", "deleted", "compact", "open", "sync", "beside")
K = 10

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static long calls, nanoseconds;
static int timed(const char *name, int descriptor) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  int result = real(descriptor);
  clock_gettime(CLOCK_MONOTONIC, &after);
  __sync_fetch_and_add(&calls, 1);
  __sync_fetch_and_add(&nanoseconds, (after.tv_sec - before.tv_sec) * 1000000000L
                                       + after.tv_nsec - before.tv_nsec);
  return result;
}
int fsync(int descriptor) { return timed("fsync", descriptor); }
int fdatasync(int descriptor) { return timed("fdatasync", descriptor); }
long bench_sync_calls(void) { return calls; }
long bench_sync_nanoseconds(void) { return nanoseconds; }
"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--corpus")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if "BENCH_COUNTED" not in os.environ:
        count_syncs()
    print(
        f"{platform.processor() or platform.machine()}, {kernel_path()}, {thread_count()} threads"
    )
    rows = unit(np.load(options.vectors).astype(np.float32))
    queries = unit(np.load(options.queries).astype(np.float32))
    for part in options.only:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            print(f"\n{part}")
            globals()[f"measure_{part}"](rows, queries, Path(folder), options)


def count_syncs() -> None:
    """Run this script once more, with the library that counts syncs, where that is possible."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "counter.c", Path(folder) / "counter.so"
        source.write_text(COUNTER)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", source, "-o", library, "-ldl"], check=True
        )
        environment = {**os.environ, "LD_PRELOAD": str(library), "BENCH_COUNTED": "1"}
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)


def syncs() -> tuple[int, float]:
    """How many syncs there were, and milliseconds inside of them."""
    if "BENCH_COUNTED" not in os.environ:
        return 0, 0.0
    library = ctypes.CDLL(None)
    library.bench_sync_calls.restype = library.bench_sync_nanoseconds.restype = ctypes.c_long
    return library.bench_sync_calls(), library.bench_sync_nanoseconds() / 1e6


def written() -> int:
    """Bytes that this process has written to files."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar"):
            return int(line.split()[1])
    return 0


def spread(values: list[float], unit_name: str = "ms") -> str:
    """Median, smallest and largest."""
    return (
        f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) {unit_name}, "
        f"{len(values)} times"
    )


def records(first: int, count: int) -> list[dict[str, str]]:
    """Documents without words."""
    return [{"id": f"new {first + number}", "text": "x"} for number in range(count)]


def built(rows: np.ndarray, path: Path, **options: int) -> Index:
    """An index of these rows."""
    return Index.build(None, path, embeddings=rows, options=BuildOptions(**options))


def measure_add(
    rows: np.ndarray, queries: np.ndarray, folder: Path, options: argparse.Namespace
) -> None:
    """1,000 rows, to a small index and to a large one: into an empty tail, and into one that overflows."""
    new = mixed(rows[::-1], 1000)
    indexes = {
        count: built(mixed(rows, count), folder / str(count)) for count in (10_000, options.rows)
    }
    for there in (0, 900):
        times: dict[int, list[float]] = {count: [] for count in indexes}
        sizes: dict[int, list[float]] = {count: [] for count in indexes}
        for _ in range(options.repeats):
            for count, index in indexes.items():
                if there:
                    index.add(records(len(new), there), embeddings=new[:there])
                before, started = written(), time.perf_counter()
                index.add(records(0, len(new)), embeddings=new)
                times[count].append(1000 * (time.perf_counter() - started))
                sizes[count].append((written() - before) / new.nbytes)
                index.delete([one["id"] for one in records(0, len(new) + there)])
        for count in indexes:
            print(
                f"  to {count:>10,} rows, {there} of them in the tail: {spread(times[count])}; "
                f"{np.median(sizes[count]):.2f} bytes written for each byte of a row"
            )
        small, large = (float(np.median(times[count])) for count in indexes)
        print(f"  ratio {large / small:.2f}")


def measure_single(
    rows: np.ndarray, queries: np.ndarray, folder: Path, options: argparse.Namespace
) -> None:
    """1,000 commits of one row each, in the course of which the tail becomes a segment."""
    base, earlier, new = rows[:-5000], rows[-5000:-1000], rows[-1000:]
    index = built(base, folder / "grown")
    for first in range(0, len(earlier), 1100):  # the last leaves a tail that is soon full
        some = earlier[first : first + 1100]
        index.add(records(len(new) + first, len(some)), embeddings=some)
    segments = index.segments
    took, without, counts = [], [], []
    before = written()
    for number in range(len(new)):
        calls, inside = syncs()
        started = time.perf_counter()
        index.add(records(number, 1), embeddings=new[number : number + 1])
        took.append(1000 * (time.perf_counter() - started))
        calls, inside = syncs()[0] - calls, syncs()[1] - inside
        without.append(took[-1] - inside)
        counts.append(calls)
    print(f"  segments: {segments} before, {index.segments} behind")
    print(f"  an add: {spread(took)}; without its syncs {spread(without)}")
    print(f"  syncs: {np.median(counts):.0f} each")
    print(f"  written: {(written() - before) / new.nbytes:.1f} bytes for each byte of a row")
    fresh = built(rows, folder / "fresh")
    compare(
        {"built at once": fresh, "grown": index}, queries, options.repeats, base="built at once"
    )


def compare(indexes: dict[str, Index], queries: np.ndarray, repeats: int, *, base: str) -> None:
    """Exact searches of several indexes, in turns: one by one and in a batch."""
    singles = queries[:50]
    kinds: dict[str, Callable[[Index], object]] = {
        "one by one": lambda index: [index.search_vectors(one[None], K) for one in singles],
        "in a batch": lambda index: index.search_vectors(queries[:256], K),
    }
    for kind, search in kinds.items():
        times: dict[str, list[float]] = {name: [] for name in indexes}
        for _ in range(repeats + 1):
            for name, index in indexes.items():
                started = time.perf_counter()
                search(index)
                times[name].append(1000 * (time.perf_counter() - started))
        of_base = float(np.median(times[base][1:]))
        for name, some in times.items():
            count = len(singles) if kind == "one by one" else len(queries[:256])
            each = [one / count for one in some[1:]]
            ratio = np.median(some[1:]) / of_base
            print(f"  {kind}, {name:<22} {spread(each)}; ratio {ratio:.2f}")


def measure_deleted(
    rows: np.ndarray, queries: np.ndarray, folder: Path, options: argparse.Namespace
) -> None:
    """Searches of an index from which rows were deleted."""
    index = built(rows, folder / "whole")
    index.close()
    generator = np.random.default_rng(1)
    indexes = {"nothing deleted": Index.open(folder / "whole")}
    for share in (0.01, 0.1, 0.5):
        for kind in ("spread", "in runs"):
            name = f"{share:.0%} {kind}"
            path = folder / name.replace(" ", "_").replace("%", "")
            shutil.copytree(folder / "whole", path)
            count = int(share * len(rows))
            if kind == "spread":
                gone = generator.choice(len(rows), count, replace=False)
            else:
                starts = generator.choice(len(rows) // 256, count // 256, replace=False) * 256
                gone = (starts[:, None] + np.arange(256)).ravel()
            indexes[name] = Index.open(path)
            indexes[name].delete([str(one) for one in gone])
    compare(indexes, queries, options.repeats, base="nothing deleted")


def measure_compact(
    rows: np.ndarray, queries: np.ndarray, folder: Path, options: argparse.Namespace
) -> None:
    """The room that compacting gives back, and the memory that it takes."""
    for step in ("build", "delete", "compact"):
        program = (
            "import sys, numpy as np; from qsearch import Index\n"
            "step, path, vectors = sys.argv[1:]\n"
            "if step == 'build': Index.build(None, path, embeddings=vectors)\n"
            "elif step == 'delete':\n"
            "    index = Index.open(path); index.delete([str(n) for n in range(0, len(index), 2)])\n"
            "else:\n"
            "    report = Index.open(path).compact()\n"
            "    print(f'  bytes {report.bytes[0]:,} before, {report.bytes[1]:,} after')\n"
            "(line,) = (one for one in open('/proc/self/status') if one.startswith('VmHWM'))\n"
            "print(f'  {step}: at most {int(line.split()[1]) / 1024:,.0f} MiB in memory', flush=True)\n"
        )
        vectors = folder / "vectors.npy"
        if step == "build":
            np.save(vectors, rows)
        sys.stdout.flush()
        subprocess.run(
            [sys.executable, "-c", program, step, str(folder / "index"), str(vectors)], check=True
        )


def measure_open(
    rows: np.ndarray, queries: np.ndarray, folder: Path, options: argparse.Namespace
) -> None:
    """Opening few segments and many."""
    some = rows[:100_000]
    paths = {"1 segment": folder / "one", "100 segments": folder / "many"}
    built(some, paths["1 segment"]).close()
    built(some, paths["100 segments"], segment_rows=len(some) // 100).close()
    times: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(10 * options.repeats):
        for name, path in paths.items():
            started = time.perf_counter()
            index = Index.open(path)
            times[name].append(1000 * (time.perf_counter() - started))
            index.close()
    for name, taken in times.items():
        print(f"  {name:<14} {spread(taken)}")


READER = """
import json, sys, time
from qsearch import Index
path, count = sys.argv[1], int(sys.argv[2])
index = Index.open(path)
print("open", flush=True)
took, number = [], 0
while sys.stdin.readline().strip() != "end":  # a line: go on for a while
    ends = time.perf_counter() + 0.2
    while time.perf_counter() < ends:
        number = (number + 7919) % count
        started = time.perf_counter()
        index.get([str(number)])
        took.append(1000 * (time.perf_counter() - started))
    print("on", flush=True)
print(json.dumps(took))
"""


def measure_beside(
    rows: np.ndarray, queries: np.ndarray, folder: Path, options: argparse.Namespace
) -> None:
    """What a reader waits for a writer that changes much."""
    half = len(rows) // 2
    index = built(rows, folder / "index")
    new = mixed(rows[::-1], 2 * half)
    changes: dict[str, Callable[[], object]] = {
        "nobody writes": lambda: time.sleep(5.0),
        "half is deleted": lambda: index.delete([str(n) for n in range(half, 2 * half)]),
        "metadata are changed": lambda: index.upsert(
            [{"id": str(n), "text": "", "n": n} for n in range(half // 2)],
            embeddings=rows[: half // 2],
        ),
        "as many are added": lambda: index.add(records(0, len(new)), embeddings=new),
    }
    for name, change in changes.items():
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(folder / "index"), str(half)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if reader.stdin is None or reader.stdout is None:
            raise RuntimeError("the reader has no pipes")
        reader.stdout.readline()
        over = threading.Event()
        keeping = threading.Thread(target=keep_on, args=(reader.stdin, reader.stdout, over))
        keeping.start()
        started = time.perf_counter()
        change()
        took = time.perf_counter() - started
        over.set()
        keeping.join()
        told, _ = reader.communicate("end\n")
        waited = json.loads(told)
        print(
            f"  {name:<22} {took:6.2f} s; {len(waited):,} reads: median {np.median(waited):.2f} ms, 99.9% "
            f"{np.quantile(waited, 0.999):.1f} ms, longest {max(waited):.1f} ms"
        )


def keep_on(asks: IO[str], tells: IO[str], over: threading.Event) -> None:
    """Have a reader go on."""
    while not over.is_set():
        asks.write("\n")
        asks.flush()
        tells.readline()


class Refusing:
    """An encoder that must not be asked for a document, and counts where it is."""

    def __init__(self, dimensions: int) -> None:
        """Of these dimensions."""
        self._dimensions = dimensions
        self.encoded = 0

    def identity(self) -> EncoderIdentity:
        """Nobody's."""
        return EncoderIdentity(model="refusing", dimensions=self._dimensions)

    def encode_documents(
        self, texts: list[str], advance: Callable[[int], None] = lambda count: None
    ) -> np.ndarray:
        """Count."""
        self.encoded += len(texts)
        return np.ones((len(texts), self._dimensions), dtype=np.float32)

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        """Whatever."""
        return np.ones((len(texts), self._dimensions), dtype=np.float32)

    def truncated(self, texts: list[str]) -> int:
        """None."""
        return 0


def measure_sync(
    rows: np.ndarray, queries: np.ndarray, folder: Path, options: argparse.Namespace
) -> None:
    """A corpus that is as it was."""
    if options.corpus is None:
        print("  needs --corpus")
        return
    corpus = folder / "corpus.jsonl"  # in which no id comes twice
    with open(corpus, "w", encoding="utf-8") as file:
        for number, one in enumerate(open_corpus(options.corpus)):
            record = {
                "id": f"{number}",
                "text": getattr(one, "text", ""),
                **getattr(one, "metadata", {}),
            }
            file.write(json.dumps(record) + "\n")
    encoder = Refusing(rows.shape[1])
    index = Index.build(corpus, folder / "index", encoder=encoder)
    encoder.encoded = 0
    times = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        report = index.sync(corpus)
        times.append(time.perf_counter() - started)
    print(
        f"  {report.unchanged:,} documents: {spread(times, 's')}; {encoder.encoded} were encoded, commit "
        f"{report.commit}"
    )


if __name__ == "__main__":
    main()
