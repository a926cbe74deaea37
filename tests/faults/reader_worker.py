"""Eight readers beside a writer, each a process of its own; each answer is held against its commit.

``python -m tests.faults.reader_worker FOLDER SEED COMMITS``. What the index holds after change n follows
from the seed and n alone, so every process knows it. A document that every change gives other metadata says
which one a reader is on; all else that it finds must be of the same. Prints one JSON object of what it met.
"""

from __future__ import annotations

import functools
import json
import logging
import mmap
import os
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qsearch import Index, verify_index
from tests.faults.children import begun, in_child
from tests.faults.kill_worker import Change, new_record, vectors_of
from tests.faults.limits import OF_A_FEW, make_small
from tests.faults.model import VECTORS, Model, Record, differences

READERS = 8
PATIENCE = 120.0
"""Seconds after which a process that waits for another one gives up."""

MARKER = "which change"
IDS = 60
BEGUN, DONE = 0, 1


def marker(number: int) -> Record:
    """Metadata change with every change, the vector with every fifth."""
    vector = VECTORS[number // 5 % len(VECTORS)]
    return Record(MARKER, "", None, {"number": number}, tuple(vector.tolist()))


def change_of(seed: int, number: int, model: Model) -> list[Change]:
    """Change ``number`` of an index that is as the model says: one commit."""
    generator = np.random.default_rng([seed, number])
    ids = [one for one in model.entries if one != MARKER]
    name = str(generator.choice(["add", "upsert", "upsert", "delete", "sync", "compact"]))
    if number % 17 == 16:
        name = "delete all"
    if number % 7 == 6:
        name = "compact"
    count = int(generator.integers(1, 20 if generator.integers(3) == 0 else 5))
    some = [f"d{one}" for one in generator.choice(IDS, size=count, replace=False)]
    if name == "add":
        some = [one for one in some if one not in ids]
    new = [new_record(one, "vectors", generator) for one in some]
    if name == "compact":
        return [Change("compact", "vectors")]
    if name.startswith("delete"):
        gone = ids if name == "delete all" else [one for one in some if one in ids]
        changes = [Change("delete", "vectors", ids=tuple(gone))]
    elif name == "sync":
        changes = [Change("sync", "vectors", (*new, marker(number)))]
    else:
        changes = [Change(name, "vectors", tuple(new))]
    return [*changes, Change("upsert", "vectors", (marker(number),))]


def states(seed: int, commits: int) -> list[Model]:
    """What the index holds after each change; after a compaction what it held before."""
    model = Model("vectors")
    model.put("add", [marker(0)])
    found = [model]
    for number in range(1, commits + 1):
        for change in change_of(seed, number, model):
            model = change.of_model(model)
        found.append(model)
    return found


class Board:
    """Numbers that all processes see: changes that were begun and done, and what each reader has seen."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (2 + READERS))

    def __getitem__(self, place: int) -> int:
        return int(struct.unpack_from("q", self._memory, 8 * place)[0])

    def __setitem__(self, place: int, value: int) -> None:
        struct.pack_into("q", self._memory, 8 * place, value)


def write(path: Path, seed: int, models: Sequence[Model], board: Board) -> None:
    """Make all changes. Before every third the writer waits until somebody has seen the one before."""
    generator = np.random.default_rng(1)
    index = Index.open(path)
    for number in range(1, len(models)):
        board[BEGUN] = number
        changes = change_of(seed, number, models[number - 1])
        if changes[0].name == "compact":
            index.compact()
        else:
            with index.changes() as block:
                for change in changes:
                    if change.name == "delete":
                        block.delete(change.ids)
                        continue
                    corpus = [one.given() for one in change.records]
                    take = getattr(block, change.name)
                    take(corpus, embeddings=vectors_of(change.records))
        board[DONE] = number
        if generator.integers(3) == 0:
            ends = time.monotonic() + PATIENCE
            while max(board[2 + one] for one in range(READERS)) < number:
                if time.monotonic() > ends:
                    raise AssertionError(f"nobody saw change {number} in {PATIENCE} seconds")
                time.sleep(0.001)


def read(path: Path, models: Sequence[Model], board: Board, own: int, told: Path) -> None:
    """Open or refresh and look at everything, until the last change was seen."""
    generator = np.random.default_rng(1000 + own)
    met: Counter[str] = Counter()
    index = Index.open(path)
    on = last_of(number_of(index), models)
    parent = os.getppid()
    while on < len(models) - 1:
        if os.getppid() != parent:
            raise AssertionError("the others are gone")
        done = board[DONE]
        how = int(generator.integers(4))
        if how == 0:
            index.close()
            index = Index.open(path)
        elif how < 3:
            index.refresh()
        # Else it stays where it is, and must answer as before.
        number = number_of(index)
        last = last_of(number, models)
        if how == 3 and last != on:
            raise AssertionError(f"a reader went from change {on} to {last} by itself")
        if how < 3 and last < done:
            raise AssertionError(f"change {done} was done, a reader saw {number} afterwards")
        if number > board[BEGUN]:
            raise AssertionError(f"change {number} was seen before it was begun")
        queries = generator.choice(VECTORS, size=2)
        for _ in range(int(generator.integers(1, 3))):
            wrong = differences(index, models[number], queries, int(generator.integers(1, 12)))
            if wrong:
                raise AssertionError(f"reader on change {number}: " + "; ".join(wrong))
        met["looks"] += 1
        met["behind"] += board[DONE] > last
        met["other commits"] += how < 3 and last != on
        met[f"change {number}"] = 1
        on = last
        board[2 + own] = max(board[2 + own], last)
    told.write_text(json.dumps(met))


def last_of(number: int, models: Sequence[Model]) -> int:
    """The last change with the content of a change: compactions behind it leave it as it is."""
    while number + 1 < len(models) and models[number + 1].entries == models[number].entries:
        number += 1
    return number


def number_of(index: Index) -> int:
    return int(index.get(MARKER).metadata["number"])  # type: ignore[union-attr]


def main(folder: Path, seed: int, commits: int) -> dict[str, Any]:
    make_small(OF_A_FEW)
    logging.getLogger("qsearch").addHandler(logging.NullHandler())
    path = folder / "index"
    models = states(seed, commits)

    def build() -> None:
        options = {"segment_rows": 16}
        vectors = vectors_of((marker(0),))
        Index.build([marker(0).given()], path, embeddings=vectors, options=options).close()

    in_child(build)
    board = Board()
    told = [folder / f"reader {own}" for own in range(READERS)]
    children = {
        begun(functools.partial(read, path, models, board, own, told[own]))
        for own in range(READERS)
    }
    children.add(begun(functools.partial(write, path, seed, models, board)))
    failed = False
    while children:
        child, status = os.wait()
        children.discard(child)
        if status and not failed:
            failed = True
            for one in children:
                os.kill(one, signal.SIGKILL)
    if failed:
        raise RuntimeError("a reader or the writer failed")
    report = verify_index(path, deep=True)
    if not report.ok:
        raise RuntimeError("; ".join(report.problems))
    met: Counter[str] = Counter()
    for one in told:
        met.update(json.loads(one.read_text()))
    seen = [name for name in met if name.startswith("change ")]
    counts = {name: count for name, count in met.items() if name not in seen}
    return {**counts, "changes seen": len(seen), "changes": len({id(one) for one in models})}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
