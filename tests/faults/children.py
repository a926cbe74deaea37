"""Work that may end in a signal or a hang: done in forked children, case by case.

Only for a process that has no threads: the modules of this room that run as programs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

Case = TypeVar("Case")

_BATCH = 100
"""Cases that one child does: what a case leaves behind does not pile up without end."""

_MOST_FAILURES = 5


def begun(work: Callable[[], None]) -> int:
    """Begin something in a child; returns its id. Its status is 0 only where nothing was raised."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def in_child(work: Callable[[], None]) -> None:
    """Do something in a child.

    Raises:
        RuntimeError: it failed there.
    """
    (failure,) = run_cases([None], lambda _: work(), seconds=600.0)
    if failure is not None:
        raise RuntimeError(failure)


def run_cases(
    cases: Sequence[Case], work: Callable[[Case], None], *, seconds: float, batch: int = _BATCH
) -> list[str | None]:
    """What went wrong in each case: a traceback, a signal, or that it took longer than ``seconds``.

    It stops behind some that failed: there are fewer outcomes than cases then.
    """
    found: list[str | None] = []
    while len(found) < len(cases) and sum(one is not None for one in found) < _MOST_FAILURES:
        some = cases[len(found) : len(found) + batch]
        found += _run_some(some, work, seconds)
    return found


def _run_some(
    cases: Sequence[Case], work: Callable[[Case], None], seconds: float
) -> list[str | None]:
    """The outcome of some cases, up to the first that took the child with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            for case in cases:
                failure = None
                try:
                    work(case)
                except BaseException:
                    failure = traceback.format_exc()
                pipe.write(json.dumps(failure) + "\n")
                pipe.flush()
        os._exit(0)
    os.close(writing)
    found: list[str | None] = []
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        rest = b""
        while len(found) < len(cases):
            ready, _, _ = select.select([pipe], [], [], seconds)
            if not ready:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return [*found, f"took longer than {seconds} s"]
            piece = pipe.read(1 << 16)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            found += [json.loads(line) for line in lines]
    _, status = os.waitpid(child, 0)
    if len(found) < len(cases):
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status
        found.append(f"the process ended: {how}")
    return found
