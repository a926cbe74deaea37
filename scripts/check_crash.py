"""Kill −9 a real build at random moments, resume it, and compare with an undisturbed build.

    python scripts/check_crash.py CORPUS [--kills 20] [--seed 0] [--limit 6000]

Each line printed is one kill: when it came, what was left at the target and beside it, how many
documents were durable, and whether the resumed build gave the same files and the same documents.
Exits 1 if anything differs. (tests/store/test_crash.py kills at lines of the writer's code instead.)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from qsearch import verify_index
from qsearch.documents import Document, open_corpus
from qsearch.store.format import staging_path


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=6000, help="documents to take of the corpus")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        failures = check(Path(folder), options.corpus, options.limit, options.kills, options.seed)
    print(f"{options.kills} kills, {failures} with another result")
    raise SystemExit(failures > 0)


def check(folder: Path, source: Path, limit: int, kills: int, seed: int) -> int:
    """Kill and resume; returns how often the result differed."""
    corpus = folder / "corpus.jsonl"
    take(source, corpus, limit)
    reference, target = folder / "reference", folder / "index"
    started = time.perf_counter()
    subprocess.run(command(corpus, reference), check=True)
    span = time.perf_counter() - started
    expected = fingerprint(reference)
    print(f"an undisturbed build takes {span:.1f} s")
    generator = np.random.default_rng(seed)
    failures = 0
    for number in range(1, kills + 1):
        moment = float(generator.uniform(0, span))
        process = subprocess.Popen(command(corpus, target))
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        left = "the finished index" if target.exists() else "nothing at the target"
        durable = durable_documents(target)
        started = time.perf_counter()
        if not target.exists():
            subprocess.run(command(corpus, target), check=True)
        resumed = time.perf_counter() - started
        same = fingerprint(target) == expected and verify_index(target, deep=True).ok
        failures += not same
        print(
            f"{number:>3}  killed after {moment:6.1f} s  left: {left}, {durable:>5,} documents durable"
            f"  resumed in {resumed:5.1f} s  {'identical' if same else 'DIFFERENT'}",
            flush=True,
        )
        for path in sorted(target.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        target.rmdir()
    return failures


def take(source: Path, target: Path, limit: int) -> None:
    """Copy the first valid documents."""
    seen: set[str] = set()
    with open(target, "w", encoding="utf-8") as file:
        for record in open_corpus(source):
            if isinstance(record, Document) and record.id not in seen and len(seen) < limit:
                seen.add(record.id)
                file.write(json.dumps({"id": record.id, "text": record.content}) + "\n")


def command(corpus: Path, target: Path) -> list[str]:
    """The build, as a user starts it."""
    return [sys.executable, "-m", "qsearch", "-q", "build", str(corpus), "-o", str(target)]


def durable_documents(target: Path) -> int:
    """Documents that an interrupted build need not encode again."""
    catalog = staging_path(target) / "catalog.sqlite"
    if not catalog.exists():
        return 0
    connection = sqlite3.connect(catalog)
    try:
        return connection.execute("SELECT max(documents) FROM chunks").fetchone()[0] or 0
    except sqlite3.OperationalError:
        return 0  # killed before the tables were there
    finally:
        connection.close()


def fingerprint(index: Path) -> str:
    """A hash of every file of the segments and every document of the catalog."""
    digest = hashlib.sha256()
    for path in sorted(index.rglob("*.npy")):
        digest.update(str(path.relative_to(index)).encode())
        digest.update(path.read_bytes())
    connection = sqlite3.connect(index / "catalog.sqlite")
    for table in ("documents", "segments", "files", "canaries", "chunks"):
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
            digest.update(repr(row).encode())
    connection.close()
    return digest.hexdigest()


if __name__ == "__main__":
    main()
