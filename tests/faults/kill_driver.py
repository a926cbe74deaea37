"""Kills writers at random moments of a change, over and over, and looks at what they leave.

Run as a process of its own: it forks, which a process with running threads had better not do. Every kill
has a number, which alone decides what is done. Prints one JSON object of what was met.

    python -m tests.faults.kill_driver FOLDER FIRST KILLS
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from qsearch import CorpusError, Index, QueryError, verify_index
from qsearch.store import Catalog
from tests.faults.form import ThrownAway
from tests.faults.limits import make_small
from tests.faults.model import (
    DIMENSIONS,
    OVERLAP,
    PASSAGES,
    VECTORS,
    Model,
    Record,
    Words,
    differences,
)

KINDS = ("texts", "passages", "vectors")
NAMES = ("add", "upsert", "sync", "delete", "compact", "several")
WORDS = "red green blue ink tea sea sun".split()
WATCHED = tuple(os.path.join("qsearch", room, "") for room in ("store", "indexing"))
LAST_LINES = 1500
"""Among the last lines of a change is its commit."""

Trace = Callable[[FrameType, str, Any], Any]


@dataclass(frozen=True)
class Change:
    """A change of an index and of its model, the same whenever it is made."""

    name: str
    kind: str
    records: tuple[Record, ...] = ()
    ids: tuple[str, ...] = ()

    def of_model(self, before: Model) -> Model:
        model = before.copy()
        if self.name in ("delete", "several"):
            model.delete(self.ids)
        if self.name in ("add", "upsert", "sync"):
            model.put(self.name, self.records)
        if self.name == "several":
            model.put("upsert", self.records)
        return model

    def of_index(self, index: Index) -> Any:
        corpus = [one.given() for one in self.records]
        options: dict[str, Any] = {}
        if self.kind == "vectors":
            options["embeddings"] = vectors_of(self.records)
        if self.name == "several":
            with index.changes() as changes:
                changes.delete(self.ids)
                changes.upsert(corpus, **options)
            return changes.report
        if self.name == "delete":
            return index.delete(self.ids)
        if self.name == "compact":
            return index.compact()
        return getattr(index, self.name)(corpus, **options)


def vectors_of(records: tuple[Record, ...]) -> np.ndarray:
    return VECTORS[[one.vector for one in records]].reshape(len(records), DIMENSIONS)


def new_record(name: str, kind: str, generator: np.random.Generator) -> Record:
    words = int(generator.integers(1, 24 if kind == "passages" else 5))
    return Record(
        name,
        " ".join(generator.choice(WORDS, size=words)),
        None if generator.integers(3) else "sun",
        {"n": int(generator.integers(100))},
        int(generator.integers(len(VECTORS) - 1)) if kind == "vectors" else None,
    )


def records_of(count: int, first: int, kind: str, seed: int) -> tuple[Record, ...]:
    generator = np.random.default_rng(seed)
    return tuple(new_record(f"d{first + n}", kind, generator) for n in range(count))


def history(kind: str) -> tuple[Change, ...]:
    """What the index that is changed has behind it: segments, a tail, rows that are gone, and a past."""
    some = records_of(30, 0, kind, 1)
    return (
        Change("add", kind, some[:18]),  # with this it is built
        Change("add", kind, some[18:26]),
        Change("delete", kind, ids=("d3", "d9", "d20")),
        Change("upsert", kind, tuple(replace(one, metadata={}) for one in some[10:14])),
        Change("add", kind, some[26:]),
    )


def build(path: Path, kind: str) -> None:
    first, *more = history(kind)
    options: dict[str, Any] = {"segment_rows": 12}
    if kind == "passages":
        options |= {"passages": PASSAGES, "overlap": OVERLAP}
    how: dict[str, Any] = {"encoder": Words()}
    if kind == "vectors":
        how = {"embeddings": vectors_of(first.records)}
    corpus = [one.given() for one in first.records]
    with Index.build(corpus, path, options=options, **how) as index:
        for change in more:
            change.of_index(index)


def change_of(name: str, kind: str, large: bool, model: Model) -> Change:
    ids = list(model.entries)
    if name == "delete":
        return Change(name, kind, ids=tuple(ids[:: 2 if large else 11]))
    if name == "compact":
        return Change(name, kind)
    count = 25 if large else 2
    if name == "add":
        return Change(name, kind, records_of(count, 100, kind, 2))
    kept = {one.id: one for one in records_of(30, 0, kind, 1)}
    if name == "sync":  # some are as they were, some are other, the rest is gone
        new = {one.id: one for one in records_of(count, 20, kind, 3)}
        there = {name: one for name, one in kept.items() if name in ids[5:22]}
        return Change(name, kind, tuple({**there, **new}.values()))
    if name == "several":
        return Change(name, kind, records_of(count, 25, kind, 4), tuple(ids[:3]))
    return Change(name, kind, records_of(count, 15, kind, 5))


def in_child(work: Callable[[], None]) -> int:
    """Begin ``work`` in a forked process; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            while error is not None:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
                error = error.__context__  # type: ignore[assignment]
            os._exit(1)
        os._exit(0)
    return child


def kill_at(line: int) -> tuple[Trace, list[int]]:
    """A trace function that kills at a line of the watched files, and where the lines are counted."""
    count = [0]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not any(room in frame.f_code.co_filename for room in WATCHED):
            return None
        if event == "line":
            count[0] += 1
            if count[0] == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace, count


def make(change: Change, path: Path, trace: Trace | None = None) -> None:
    with Index.open(path, encoder=None if change.kind == "vectors" else Words()) as index:
        if trace is not None:
            threading.settrace(trace)
            sys.settrace(trace)
        try:
            change.of_index(index)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]


def measured(change: Change, path: Path, folder: Path) -> tuple[int, float]:
    """Lines and seconds of a change."""
    told = folder / "told"
    for traced in (True, False):
        target = folder / "measured"
        shutil.copytree(path, target)

        def work(target: Path = target, traced: bool = traced) -> None:
            trace, count = kill_at(-1)
            started = time.perf_counter()
            make(change, target, trace if traced else None)
            value = count[0] if traced else time.perf_counter() - started
            with open(told, "a") as file:
                file.write(f"{value}\n")

        if os.waitpid(in_child(work), 0)[1]:
            raise RuntimeError(f"{change.name} fails without a kill")
        shutil.rmtree(target)
    lines, seconds = told.read_text().split()
    told.unlink()
    return int(lines), float(seconds)


def require(found: list[str], when: str) -> None:
    if found:
        raise AssertionError(f"{when}: " + "; ".join(found))


def sound(path: Path, when: str) -> None:
    report = verify_index(path, deep=True)
    require(list(report.problems), when)


def state_of(index: Index, before: Model, after: Model) -> str:
    """Which of the two it holds."""
    wrong = differences(index, after, VECTORS[:-1:3], 5)
    if not wrong:
        return "after"
    require(differences(index, before, VECTORS[:-1:3], 5), f"neither before nor after ({wrong[0]})")
    return "before"


def litter(path: Path, changed: bool) -> list[str]:
    """Files that should not be there when a change has ended, or one that changes nothing."""
    catalog = Catalog.open(path)
    catalog.commit = 1 << 40
    listed = {entry.id: set(catalog.files(entry.id)) for entry in catalog.segments()}
    catalog.close()
    found = {
        one.name: {file.name for file in one.iterdir()} for one in (path / "segments").iterdir()
    }
    top = sorted(one.name for one in path.iterdir())
    if not changed:  # a transaction that never got to its commit leaves this, and it means nothing
        top = [one for one in top if one != "catalog.sqlite-journal"]
    wrong = [] if found == listed else [f"there is {found}, listed is {listed}"]
    if top != ["catalog.sqlite", "segments", "writer.lock"]:
        wrong.append(f"there is {top}")
    return wrong


def examine(
    change: Change, before: Model, path: Path, number: int, lines: int, seconds: float
) -> Counter[str]:
    """Kill a change of the index once, and look at what is left. Runs in a process of its own."""
    generator = np.random.default_rng(number)
    encoder = None if change.kind == "vectors" else Words()
    after, met = change.of_model(before), Counter[str]()
    reader = Index.open(path, encoder=encoder)
    if generator.integers(3):  # two thirds at a line, most of these near the commit
        span = LAST_LINES if generator.integers(2) else lines
        line = max(1, lines - int(generator.integers(min(span, lines))))
        writer = in_child(lambda: make(change, path, kill_at(line)[0]))
        met["at a line"] += 1
    else:
        writer = in_child(lambda: make(change, path))
        time.sleep(generator.random() * seconds)
        os.kill(writer, signal.SIGKILL)
        met["at a moment"] += 1
    status = os.waitpid(writer, 0)[1]
    if not os.WIFSIGNALED(status):
        if status:
            raise AssertionError("the change failed by itself")
        met["too late"] += 1
        return met
    met["killed"] += 1
    met["journal"] += (path / "catalog.sqlite-journal").exists()
    if generator.integers(2):  # either may be the first to see what was left
        sound(path, "verify after the kill")
    require(differences(reader, before, VECTORS[:-1:3], 5), "the reader from before")
    index = Index.open(path, encoder=encoder)
    state = state_of(index, before, after)
    sound(path, "verify after opening")
    met[state] += change.name != "compact"
    catalog = Catalog.open(path)
    underway = catalog.settings().get("underway")
    kept = sum(one.records for one in catalog.chunks()) if underway else 0
    catalog.close()
    met["underway"] += underway is not None
    met["segment half named"] += "sealing" in (underway or {})
    thrown = ThrownAway()
    logging.getLogger("qsearch").addHandler(thrown)
    commit = index.commit
    if generator.integers(2):
        go_on_with_the_same(index, change, state, kept, met)
        model = after
    else:
        first = after if state == "after" else before
        other = Change("several", change.kind, records_of(4, 300, change.kind, 6), ids=("d1",))
        other = replace(other, ids=tuple(list(first.entries)[1:3]))
        other.of_index(index)
        model = other.of_model(first)
        purposed = bool(underway and underway["purpose"])
        if thrown.count != purposed:
            raise AssertionError(f"told {thrown.count} times that a change was thrown away")
        met["thrown away"] += purposed
    require(differences(index, model, VECTORS[:-1:3], 5), "after going on")
    require(litter(path, index.commit > commit), "after going on")
    sound(path, "verify after going on")
    require(differences(reader, before, VECTORS[:-1:3], 5), "the reader from before, at the end")
    index.compact()
    reader.refresh()
    require(differences(reader, model, VECTORS[:-1:3], 5), "after compacting")
    sound(path, "verify after compacting")
    return met


def go_on_with_the_same(
    index: Index, change: Change, state: str, kept: int, met: Counter[str]
) -> None:
    try:
        report = change.of_index(index)
    except (CorpusError, QueryError):  # its documents are there, or gone, already
        if state == "before" or change.name not in ("add", "delete", "several"):
            raise
        met["refused"] += 1
        return
    if change.name in ("add", "upsert", "sync"):
        if state == "before" and report.resumed != kept:
            raise AssertionError(f"{report.resumed} of {kept} records were not done again")
        met["resumed"] += report.resumed > 0


def main(folder: Path, first: int, kills: int) -> Counter[str]:
    make_small()
    logging.getLogger("qsearch").addHandler(logging.NullHandler())
    models, changes = {}, {}
    for kind in KINDS:
        # In a child: threads of the encoder must not be there when this process forks.
        base = folder / kind
        if os.waitpid(in_child(functools.partial(build, base, kind)), 0)[1]:
            raise RuntimeError(f"the index of {kind} could not be built")
        models[kind] = functools.reduce(lambda m, c: c.of_model(m), history(kind), Model(kind))
        for name in NAMES:
            for large in (False, True)[: 1 if name == "compact" else 2]:
                change = change_of(name, kind, large, models[kind])
                changes[len(changes)] = change, *measured(change, base, folder)
    met: Counter[str] = Counter()
    number = first
    while met["killed"] < kills:
        change, lines, seconds = changes[number % len(changes)]
        target = folder / "index"
        shutil.copytree(folder / change.kind, target)
        told = folder / "met"

        def work() -> None:
            found = examine(change, models[change.kind], target, number, lines, seconds)  # noqa: B023
            told.write_text(json.dumps(found))  # noqa: B023

        if os.waitpid(in_child(work), 0)[1]:
            raise RuntimeError(
                f"kill {number}: {change.kind}, {change.name} of {len(change.records)} records"
            )
        met.update(json.loads(told.read_text()))
        shutil.rmtree(target)
        number += 1
    return met


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
