"""Records a history and recovers from the states that a power cut may leave of it.

``python -m tests.faults.crash_worker HISTORY FOLDER SEED COUNT MIXED PART PARTS``, with the library of
``shim.py`` preloaded: one part of so many states, with so many that chance makes of each moment. Prints
one JSON object.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import recorded
from tests.faults.checks import held, no_litter, verified
from tests.faults.children import in_child, run_cases
from tests.faults.recorded import HISTORIES, Contents, History
from tests.faults.shim import Call, Kind, Op, Shim, read_log
from tests.faults.states import (
    State,
    World,
    digest,
    read_state,
    states_at,
    write_state,
)


@dataclass(frozen=True, slots=True)
class Case:
    """A state, and what it may be.

    Attributes:
        state: of the folder.
        done: steps whose calls had returned.
        where: for people.
    """

    state: State
    done: int
    where: str


class Recording:
    """A history, its log, and what the index held after each of its steps."""

    def __init__(self, name: str, folder: Path) -> None:
        """Do it, in children."""
        self.history: History = HISTORIES[name]
        self.folder = folder
        self._seen: set[tuple[bytes, int]] = set()
        place = folder / "recorded"
        place.mkdir()
        index = place / "index"
        in_child(lambda: self.history.prepare(index))
        in_child(lambda: self._keep_contents(0, index))
        self.start = World(place)
        in_child(lambda: self._record(index))
        self.calls = read_log(folder / "log")
        self.after = read_state(place)
        self.expected: list[Contents] = [
            self._contents(number) for number in range(len(self.history.steps) + 1)
        ]

    def _keep_contents(self, number: int, index: Path) -> None:
        with recorded.opened(index) as opened:
            found = recorded.contents_of(opened)
        told = [[*one[:4], one[4].hex()] for one in found]
        (self.folder / f"contents-{number}").write_text(json.dumps(told))

    def _contents(self, number: int) -> Contents:
        told = json.loads((self.folder / f"contents-{number}").read_text())
        return [(a, b, c, d, bytes.fromhex(e)) for a, b, c, d, e in told]

    def _record(self, index: Path) -> None:
        shim = Shim()
        shim.begin(index.parent, log=self.folder / "log")
        for number, step in enumerate(self.history.steps, 1):
            step(index)
            shim.mark(number)
            self._keep_contents(number, index)
        shim.end()

    def cases(self, seed: int, mixed: int) -> Iterator[Case]:
        """Different states, of every moment; the same for the same seed."""
        generator = random.Random(seed)
        seen: set[tuple[bytes, int]] = set()
        done = 0
        world = copy.deepcopy(self.start)
        for number in range(len(self.calls) + 1):
            if number:
                call = self.calls[number - 1]
                if call.op is Op.MARK:
                    done = call.offset
                else:
                    world.do(call)
            for way, state in states_at(world, generator, mixed):
                key = (digest(state), done)
                if key not in seen:
                    seen.add(key)
                    yield Case(state, done, f"{way} after {_named(self.calls, number)}")

    def differing(self) -> list[str]:
        """Files which the log does not make what they are."""
        world = copy.deepcopy(self.start)
        for call in self.calls:
            if call.op is not Op.MARK:
                world.do(call)
        found = world.seen()
        return sorted(
            path
            for path in found.keys() | self.after.keys()
            if found.get(path) != self.after.get(path) or (path in found) != (path in self.after)
        )

    def check(self, case: Case, place: Path) -> None:
        """Recover, verify, go on, compact, verify."""
        shim = Shim()
        shim.begin(place.parent, kinds=Kind(0))
        shim.without_syncs()
        shutil.rmtree(place, ignore_errors=True)
        write_state(case.state, place)
        index = place / "index"
        found = held(index)
        allowed = range(case.done, min(case.done + 2, len(self.expected)))
        step = next((one for one in allowed if self.expected[one] == found), None)
        assert step is not None, (
            f"it holds what it held after {[n for n, one in enumerate(self.expected) if one == found]} "
            f"steps ({len(found)} documents), {case.done} had returned"
        )
        if not self._new(place, step):
            return
        verified(index)
        with _no_warning():  # what was kept is there, whatever was cut
            for again in range(step, len(self.history.steps)):
                self.history.steps[again](index)
                assert held(index) == self.expected[again + 1]
        if not self._new(place, len(self.history.steps)):
            return
        # One more change, of another kind, on top of it.
        recorded.changed(index, "upsert", recorded.records(900, 903))
        with recorded.opened(index) as opened:
            opened.delete("d901")
            expected = recorded.contents_of(opened)
        assert expected[:-2] == self.expected[-1]
        recorded.compact(index)
        assert held(index) == expected
        verified(index)
        no_litter(index)

    def _new(self, place: Path, step: int) -> bool:
        """Whether this is no state from which everything was done already, with the same outcome."""
        left = digest(read_state(place)), step
        found = left not in self._seen
        self._seen.add(left)
        return found


class _Strict(logging.Handler):
    """Where a warning is an error."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage())


@contextmanager
def _no_warning() -> Iterator[None]:
    handler, logger = _Strict(logging.WARNING), logging.getLogger("qsearch")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _named(calls: list[Call], number: int) -> str:
    if not number:
        return "nothing"
    call = calls[number - 1]
    return f"call {number} of {len(calls)}: {call.op.name} {call.path} {call.other} {call.offset}"


def chosen(total: int, count: int, seed: int) -> set[int]:
    """So many of all numbers below ``total``, spread over them."""
    if count >= total:
        return set(range(total))
    generator = random.Random(seed)
    edges = [total * number // count for number in range(count + 1)]
    return {generator.randrange(*pair) for pair in itertools.pairwise(edges)}


def main(
    name: str, folder: Path, seed: int, count: int, mixed: int, part: int, parts: int
) -> dict[str, object]:
    recorded.small_sizes()
    recording = Recording(name, folder)
    total = sum(1 for _ in recording.cases(seed, mixed))
    numbers = {one for one in chosen(total, count, seed) if one % parts == part}
    wanted = (case for number, case in enumerate(recording.cases(seed, mixed)) if number in numbers)
    failures: list[str] = []
    checked = 0
    while not failures and (
        some := list(itertools.islice(wanted, 200))
    ):  # not all of them in memory at once
        outcomes = run_cases(
            some, lambda case: recording.check(case, folder / "state"), seconds=120.0
        )
        checked += len(outcomes)
        failures += [
            f"{case.where}, {case.done} steps had returned\n{failure}"
            for case, failure in zip(some, outcomes, strict=False)
            if failure is not None
        ]
    return {
        "calls": len(recording.calls),
        "states": total,
        "checked": checked,
        "differing": recording.differing(),
        "failures": failures,
    }


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(given[0], Path(given[1]), *map(int, given[2:7]))))
