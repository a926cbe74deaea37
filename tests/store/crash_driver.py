"""Builds an index over and over, each time killed at another line, and resumes it.

Run as a process of its own: it forks, which a process with running threads had better not do.
Prints one JSON object. ``python -m tests.store.crash_driver FOLDER KILLS [passages]``
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import qsearch.indexing.chunks
from qsearch import BuildOptions, Index, QsearchError, verify_index
from qsearch.encoding.canaries import canary_texts
from tests.encoders import WORDS, HashedWords

PASSAGES = sys.argv[-1] == "passages"
OPTIONS = BuildOptions(segment_rows=60, force=True, passages=8 if PASSAGES else None)
WORDS_ENCODED = 8 if PASSAGES else 5
"""In each text that is encoded: whole documents, or the two halves of each."""
WATCHED = (
    "store/writer.py",
    "store/pending.py",
    "store/publish.py",
    "store/catalog.py",
    "store/segment.py",
    "indexing/build.py",
    "indexing/filling.py",
    "indexing/chunks.py",
    "store/staging.py",
)


def corpus(seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [
        {
            "id": f"{seed}-{n}",
            "text": " ".join(generator.choice(WORDS, size=16 if PASSAGES else 5)),
            "n": n,
        }
        for n in range(150)
    ]


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked process; returns its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def kill_at(line: int, counter: Path | None = None) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that kills the process at the ``line``-th line of the watched files."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            count += 1
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)
            if counter is not None:
                counter.write_text(str(count))
        return trace

    return trace


def snapshot(index: Path) -> dict[str, Any]:
    connection = sqlite3.connect(index / "catalog.sqlite")
    try:
        tables = {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for name in ("documents", "segments", "files", "chunks", "canaries")
        }
    finally:
        connection.close()
    files = {
        str(path.relative_to(index)): path.read_bytes()
        for path in sorted(index.rglob("*"))
        if path.is_file() and path.name != "catalog.sqlite"
    }
    return {"files": files, **tables}


def main(folder: Path, kills: int) -> dict[str, int]:
    old, new = corpus(1), corpus(2)
    Index.build(old, folder / "old", encoder=HashedWords(), options=OPTIONS).close()
    Index.build(new, folder / "new", encoder=HashedWords(), options=OPTIONS).close()
    expected = {"old": snapshot(folder / "old"), "new": snapshot(folder / "new")}
    target = folder / "index"
    counter = folder / "lines"

    def build(line: int, count: Path | None = None) -> None:
        sys.settrace(kill_at(line, count))
        Index.build(new, target, encoder=HashedWords(), options=OPTIONS)

    lines = {}
    for with_old in (False, True):
        shutil.rmtree(target, ignore_errors=True)
        if with_old:
            shutil.copytree(folder / "old", target)
        if in_child(lambda: build(-1, counter)) != 0:
            raise RuntimeError("the build that counts lines failed")
        lines[with_old] = int(counter.read_text())
    found = {
        "lines": lines[True],
        "killed": 0,
        "old": 0,
        "new": 0,
        "half": 0,
        "durable": 0,
        "again": 0,
    }
    generator = np.random.default_rng(0)
    for number in range(kills):
        with_old = bool(number % 2)
        # Half of the kills anywhere, half among the last lines, where the index is put in place.
        span = lines[with_old] if number % 4 < 2 else 400
        line = int(lines[with_old] - generator.integers(span))
        for path in [*folder.glob("index*"), *folder.glob(".index*")]:
            shutil.rmtree(path)
        if with_old:
            shutil.copytree(folder / "old", target)
        status = in_child(functools.partial(build, line))
        if not os.WIFSIGNALED(status):
            raise RuntimeError(f"the build was not killed at line {line}: status {status}")
        found["killed"] += 1
        # What is at the target is the old index or the new one, whole; or nothing if there was none.
        try:
            Index.open(target).close()
            state = next(name for name in ("old", "new") if snapshot(target) == expected[name])
            if not verify_index(target, deep=True).ok:
                raise RuntimeError(f"damaged after a kill at line {line}")
        except QsearchError:
            if with_old:
                raise
            state = "half"
        found[state] += 1
        durable = 0
        staging = folder / "index.building" / "catalog.sqlite"
        if state != "new" and staging.is_file():
            connection = sqlite3.connect(staging)
            try:
                durable = connection.execute("SELECT max(documents) FROM chunks").fetchone()[0] or 0
            except sqlite3.OperationalError:
                pass  # killed before the tables were there
            finally:
                connection.close()
        encoder = HashedWords()
        Index.build(new, target, encoder=encoder, options=OPTIONS).close()
        again = sum(len(text.split()) == WORDS_ENCODED for text in encoder.encoded)
        again -= (150 - durable) * (2 if PASSAGES else 1)
        found["durable"] += durable
        canaries = [one.text for one in canary_texts(None)]
        found["again"] += max(
            0, again - sum(len(text.split()) == WORDS_ENCODED for text in canaries)
        )
        if snapshot(target) != expected["new"]:
            raise RuntimeError(f"another result after a kill at line {line}")
        left = sorted(path.name for path in folder.iterdir() if "index" in path.name)
        if left != ["index"]:
            raise RuntimeError(f"left behind after a kill at line {line}: {left}")
    return found


if __name__ == "__main__":
    # Here and not above: pytest imports this module too, to look for doctests.
    qsearch.indexing.chunks._CHUNK_RECORDS = 16
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
