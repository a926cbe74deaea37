"""Kills writers at random moments of a change, over and over, and looks at what they leave.

``python -m tests.faults.kill_worker FOLDER FIRST KILLS``, with the library of ``shim.py`` preloaded. Every
kill has a number, which alone decides what is done. Prints one JSON object of what was met.
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
from qsearch.store.format import NEW_CATALOG, PENDING, SEGMENTS
from tests.faults.checks import no_litter
from tests.faults.children import begun, in_child, run_cases
from tests.faults.limits import OF_A_FEW, make_small
from tests.faults.model import (
    DIMENSIONS,
    OVERLAP,
    PASSAGES,
    VECTORS,
    Model,
    Record,
    differences,
    encoder,
)
from tests.faults.shim import CHANGING, ORDERING, Shim

KINDS = ("texts", "passages", "vectors")
NAMES = ("add", "upsert", "sync", "delete", "compact", "several")
WORDS = "red green blue ink tea sea sun".split()
WATCHED = tuple(os.path.join("qsearch", room, "") for room in ("store", "indexing"))
QUERIES = VECTORS[::4]
JOURNAL = "catalog.sqlite-journal"
MOST_FAILURES = 5

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
    return np.array([one.vector for one in records]).reshape(len(records), DIMENSIONS)


def new_record(name: str, kind: str, generator: np.random.Generator) -> Record:
    words = int(generator.integers(1, 24 if kind == "passages" else 5))
    return Record(
        name,
        " ".join(generator.choice(WORDS, size=words)),
        None if generator.integers(3) else "sun",
        {"n": int(generator.integers(100))},
        tuple(generator.choice(VECTORS).tolist()) if kind == "vectors" else None,
    )


def records_of(count: int, first: int, kind: str, seed: int) -> tuple[Record, ...]:
    generator = np.random.default_rng(seed)
    return tuple(new_record(f"d{first + n}", kind, generator) for n in range(count))


def history(kind: str) -> tuple[Change, ...]:
    """What the index that is changed has behind it: segments, a tail, rows that are gone, and a past."""
    some = records_of(38, 0, kind, 1)
    return (
        Change("add", kind, some[:18]),  # with this it is built
        Change("add", kind, some[18:26]),
        Change("delete", kind, ids=("d3", "d9", "d20")),
        Change("upsert", kind, tuple(replace(one, metadata={}) for one in some[10:14])),
        Change("add", kind, some[26:34]),
        Change("add", kind, some[34:]),
    )


def build(path: Path, kind: str) -> None:
    first, *more = history(kind)
    options: dict[str, Any] = {"segment_rows": 24}
    if kind == "passages":
        options |= {"passages": PASSAGES, "overlap": OVERLAP}
    how: dict[str, Any] = {"encoder": encoder()}
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
        count = 25 if large else 4  # with which the tail is full, and the third small segment made
        return Change(name, kind, records_of(count, 100, kind, 2))
    kept = {one.id: one for one in records_of(38, 0, kind, 1)}
    if name == "sync":  # some are as they were, some are other, the rest is gone
        new = {one.id: one for one in records_of(count, 20, kind, 3)}
        there = {name: one for name, one in kept.items() if name in ids[5:22]}
        return Change(name, kind, tuple({**there, **new}.values()))
    if name == "several":
        return Change(name, kind, records_of(count, 25, kind, 4), tuple(ids[:3]))
    return Change(name, kind, records_of(count, 15, kind, 5))


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
    with opened(path, change.kind) as index:
        if trace is not None:
            threading.settrace(trace)
            sys.settrace(trace)
        try:
            change.of_index(index)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]


def opened(path: Path, kind: str) -> Index:
    return Index.open(path, encoder=None if kind == "vectors" else encoder())


WAYS = ("call", "call of a commit", "line", "moment")
"""Ways to choose when a change is killed."""


def lengths(change: Change, path: Path, way: str) -> dict[str, float]:
    """How long a change is: in lines; or in calls and seconds, which counting lines would distort."""
    if way == "line":
        trace, count = kill_at(-1)
        make(change, path, trace)
        return {"line": count[0]}
    shim = Shim()
    shim.begin(path)
    started = time.perf_counter()
    make(change, path)
    return {
        "moment": time.perf_counter() - started,
        "call": shim.calls(CHANGING),
        "call of a commit": shim.calls(ORDERING),
    }


def require(found: list[str], when: str) -> None:
    if found:
        raise AssertionError(f"{when}: " + "; ".join(found))


def sound(path: Path, when: str) -> None:
    report = verify_index(path, deep=True)
    require(list(report.problems), when)


def state_of(index: Index, before: Model, after: Model) -> str:
    """Which of the two it holds."""
    wrong = differences(index, after, QUERIES, 5)
    if not wrong:
        return "after"
    require(differences(index, before, QUERIES, 5), f"neither before nor after ({wrong[0]})")
    return "before"


def killed(change: Change, path: Path, way: str, when: float) -> bool:
    """Kill a change in a process of its own; says whether it was not done before."""

    def work() -> None:
        trace = kill_at(1 + int(when))[0] if way == "line" else None
        if way == "moment":  # nobody handles this signal: the process ends as it stands
            signal.setitimer(signal.ITIMER_REAL, max(when, 1e-6))
        elif way != "line":
            kinds = CHANGING if way == "call" else ORDERING
            Shim().begin(path, fail_at=1 + int(when), kinds=kinds)
        make(change, path, trace)
        signal.setitimer(signal.ITIMER_REAL, 0)

    status = os.waitpid(begun(work), 0)[1]
    if status and not os.WIFSIGNALED(status):
        raise AssertionError(f"the change ended by itself: {status}")
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGALRM)


def examine(
    change: Change, before: Model, path: Path, number: int, way: str, when: float
) -> Counter[str]:
    """Kill a change of the index once, and look at what is left."""
    generator = np.random.default_rng(number)
    after, met = change.of_model(before), Counter[str]()
    reader = opened(path, change.kind)
    commit = reader.commit
    if not killed(change, path, way, when):
        met["too late"] += 1
        return met
    met["killed"] += 1
    met[f"at a {way}"] += 1
    met["in the commit"] += (path / JOURNAL).exists()
    met["with a new catalog"] += (path / NEW_CATALOG).exists()
    verify_first = generator.integers(2)  # either may be the first to see what was left
    if verify_first:
        sound(path, "verify after the kill")
    require(differences(reader, before, QUERIES, 5), "the reader from before")
    index = opened(path, change.kind)
    state = state_of(index, before, after)
    if not verify_first:
        sound(path, "verify after opening")
    catalog = Catalog.open(path)
    settings = catalog.settings()
    underway = settings.get("underway")
    kept = sum(one.records for one in catalog.chunks()) if underway else 0
    catalog.close()
    if change.name != "compact":
        met[state] += 1
        met["merging"] += index.commit > commit and (path / SEGMENTS / PENDING).exists()
    else:
        met["compacted" if index.commit > commit else "not compacted"] += 1
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
        other = Change("several", change.kind, records_of(4, 300, change.kind, 6))
        other = replace(other, ids=tuple(list(first.entries)[1:3]))
        other.of_index(index)
        model = other.of_model(first)
        purposed = bool(underway and underway["purpose"])
        if thrown.count != purposed:
            raise AssertionError(f"told {thrown.count} times that a change was thrown away")
        met["thrown away"] += purposed
    require(differences(index, model, QUERIES, 5), "after going on")
    if index.commit > commit:  # one that changes nothing has nothing to clean up
        no_litter(path)
    sound(path, "verify after going on")
    require(differences(reader, before, QUERIES, 5), "the reader from before, at the end")
    if generator.integers(2):
        index.compact()
        reader.refresh()
        require(differences(reader, model, QUERIES, 5), "after compacting")
        no_litter(path)
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
    if change.name in ("add", "upsert", "sync", "delete"):
        if state == "before" and report.resumed != kept:
            raise AssertionError(f"{report.resumed} of {kept} records were not done again")
        met["resumed"] += report.resumed > 0


class ThrownAway(logging.Handler):
    """Counts the changes of which the log says that they were thrown away."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "thrown away" in record.getMessage()


class Kills:
    """Indexes, changes of them, and how long these are."""

    def __init__(self, folder: Path) -> None:
        """Build the indexes, in children: threads must not be there when this process forks."""
        self.folder = folder
        self.models: dict[str, Model] = {}
        self.changes: list[Change] = []
        self._lengths: dict[tuple[int, str], float] = {}
        for kind in KINDS:
            in_child(functools.partial(build, folder / kind, kind))
            self.models[kind] = functools.reduce(
                lambda model, change: change.of_model(model), history(kind), Model(kind)
            )
            for name in NAMES:
                for large in (
                    False,
                    True,
                ):  # compacting twice: there is no other renaming of a catalog
                    self.changes.append(change_of(name, kind, large, self.models[kind]))

    def described(self, number: int) -> str:
        change = self.changes[number % len(self.changes)]
        return f"kill {number}: {change.kind}, {change.name} of {len(change.records)} records"

    def way(self, number: int) -> str:
        """In which way the moment of a kill is chosen: each change by each, turn by turn."""
        turn = number // len(self.changes) + number % len(self.changes)
        return WAYS[turn % len(WAYS)]

    def length(self, number: int) -> float:
        """How long the change of a kill is, measured once, in a child."""
        which, way = number % len(self.changes), self.way(number)
        if (which, way) not in self._lengths:
            target, told = self.folder / "measured", self.folder / "told"
            change = self.changes[which]
            shutil.copytree(self.folder / change.kind, target)
            in_child(lambda: told.write_text(json.dumps(lengths(change, target, way))) and None)
            shutil.rmtree(target)
            for one, length in json.loads(told.read_text()).items():
                self._lengths[which, one] = length
        return self._lengths[which, way]

    def check(self, number: int) -> None:
        """Kill, examine, and add to what was met."""
        change = self.changes[number % len(self.changes)]
        target = self.folder / "index"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder / change.kind, target)
        when = self.length(number) * float(np.random.default_rng([number, 1]).random())
        before = self.models[change.kind]
        met = examine(change, before, target, number, self.way(number), when)
        with open(self.folder / "met", "a") as file:
            file.write(json.dumps(met) + "\n")


def main(folder: Path, first: int, count: int) -> dict[str, Any]:
    make_small(OF_A_FEW)
    logging.getLogger("qsearch").addHandler(logging.NullHandler())
    kills = Kills(folder)
    met: Counter[str] = Counter()
    failures = []
    for number in range(first, first + count):
        kills.length(number)  # measured here, where it is kept
        # One a process: what it has opened, and threads that searched, are not to be forked again.
        (failure,) = run_cases([number], kills.check, seconds=120.0)
        if failure is not None:
            failures.append(f"{kills.described(number)}\n{failure}")
            if len(failures) == MOST_FAILURES:
                break
    for line in (folder / "met").read_text().splitlines():
        met.update(json.loads(line))
    return {"met": met, "failures": failures}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
