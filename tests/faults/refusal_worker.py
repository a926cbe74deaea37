"""Has the system refuse one call of a change, or all from one on, and looks at what comes of it.

``python -m tests.faults.refusal_worker HISTORY FOLDER SEED COUNT PART PARTS``, with the library of
``shim.py`` preloaded: one part of so many refusals, or of all where the count is 0. Prints one JSON object.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import random
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from qsearch import QsearchError
from tests.faults import recorded
from tests.faults.checks import held, no_litter, verified
from tests.faults.children import in_child, run_cases
from tests.faults.recorded import HISTORIES, History
from tests.faults.shim import CHANGING, SPACE, Kind, Shim
from tests.faults.states import digest, read_state

CODES = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EACCES)

COUNTED = (CHANGING | Kind.READ, SPACE)
"""Kinds of calls of which each is refused, and those that a full disk refuses from one on."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is refused.

    Attributes:
        step: of the history.
        number: of the call, among those of its kinds.
        code: the errno.
        lasting: whether it goes on being refused.
        kinds: that count.
    """

    step: int
    number: int
    code: int
    lasting: bool
    kinds: Kind

    def __str__(self) -> str:
        how = "from" if self.lasting else "at"
        return f"step {self.step}: {errno.errorcode[self.code]} {how} call {self.number}"


class Refusals:
    """A history, a copy of the index before each of its steps, and what may be refused."""

    def __init__(self, name: str, folder: Path) -> None:
        """Do it, in children, and count its calls."""
        self.history: History = HISTORIES[name]
        self.folder = folder
        self.calls: list[dict[Kind, int]] = []
        self._left: set[tuple[bytes, int]] = set()
        in_child(lambda: self.history.prepare(folder / "0" / "index"))
        for number in range(len(self.history.steps)):
            in_child(lambda number=number: self._count(number))  # type: ignore[misc]
            counts = json.loads((folder / "calls").read_text())
            self.calls.append(dict(zip(COUNTED, counts, strict=True)))

    def _count(self, number: int) -> None:
        place = self.folder / str(number + 1)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / str(number), place)
        shim = Shim()
        shim.begin(place, kinds=CHANGING | Kind.READ)
        self.history.steps[number](place / "index")
        (self.folder / "calls").write_text(json.dumps([shim.calls(kinds) for kinds in COUNTED]))
        shim.end()

    def cases(self) -> list[Case]:
        """Everything that may be refused."""
        found = []
        for step, calls in enumerate(self.calls):
            for kinds, count in calls.items():
                lasting = kinds == SPACE
                for number in range(1, count + 1):
                    for code in (errno.ENOSPC,) if lasting else CODES:
                        found.append(Case(step, number, code, lasting, kinds))
        return found

    def check(self, case: Case) -> None:
        """A clear error or none, one commit whole, and the next try works."""
        before, after = (self._contents(case.step + more) for more in (0, 1))
        place = self.folder / "refused"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / str(case.step), place)
        index = place / "index"
        shim = Shim()
        shim.without_syncs()
        shim.begin(
            place,
            fail_at=case.number,
            code=case.code,
            lasting=case.lasting,
            kinds=case.kinds,
        )
        told = None
        try:
            self.history.steps[case.step](index)
        except QsearchError as error:
            told = str(error)
        except BaseException as error:
            error.add_note(f"refused: {shim.refused}")
            raise
        refused = shim.refused
        shim.end()
        try:
            self._after(case, index, told, before, after)
        except BaseException as error:
            error.add_note(f"refused: {refused}; told: {told}")
            raise

    def _after(
        self,
        case: Case,
        index: Path,
        told: str | None,
        before: recorded.Contents,
        after: recorded.Contents,
    ) -> None:
        if told is not None:
            assert re.fullmatch(r"[^\n]+ \([^\n]+\)[^\n]*", told), told  # what, and why
        gc.collect()  # an index that is refreshed leaves the one before to whoever reads from it
        left = [path for path in _open_files() if path.startswith(str(index.parent))]
        assert not left, left
        found = held(index)
        assert found in ((before, after) if told is not None else (after,))
        left = digest(read_state(index)), case.step
        if left in self._left:  # from this everything was done already
            return
        self._left.add(left)
        verified(index)
        if found == before:
            self.history.steps[case.step](index)
            assert held(index) == after
        recorded.compact(index)
        assert held(index) == after
        verified(index)
        no_litter(index)

    def _contents(self, number: int) -> recorded.Contents:
        if number not in _CONTENTS:
            _CONTENTS[number] = held(self.folder / str(number) / "index")
        return _CONTENTS[number]


_CONTENTS: dict[int, recorded.Contents] = {}


def _open_files() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # of the listing itself
            continue
    return found


def main(
    name: str, folder: Path, seed: int, count: int, part: int, parts: int
) -> dict[str, object]:
    recorded.small_sizes()
    refusals = Refusals(name, folder)
    everything = refusals.cases()
    cases = everything
    if count and count < len(cases):
        cases = random.Random(seed).sample(cases, count)
    cases = cases[part::parts]
    gc.collect()
    gc.freeze()  # what is here by now is not looked through again after every case
    outcomes = run_cases(cases, refusals.check, seconds=120.0)
    return {
        "calls": [sum(one.values()) for one in refusals.calls],
        "cases": len(everything),
        "checked": len(outcomes),
        "failures": [
            f"{case}\n{failure}"
            for case, failure in zip(cases, outcomes, strict=False)
            if failure is not None
        ],
    }


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(given[0], Path(given[1]), *map(int, given[2:6]))))
