"""Progress of long work, on standard error: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qsearch.cli.output import Console, human_bytes

if TYPE_CHECKING:
    from tqdm import tqdm

    from qsearch.indexing import Progress

__all__ = ["LoggedProgress", "TerminalProgress", "progress_on"]

_LABELS = {
    "read": "reading",
    "load model": "loading",
    "encode": "encoding",
    "store": "storing",
    "code": "making codes",
    "graph": "building the graph",
    "tune": "measuring recall",
    "rerank": "reranking",
    "search": "searching",
    "time": "timing",
    "verify": "verifying",
    "compare": "comparing",
    "merge": "merging segments",
    "delete": "deleting",
    "upgrade": "upgrading",
    "commit": "writing the catalog",
    "text index": "making the text index",
    "export": "writing",
}

_PATIENCE = {"rerank": 1.0}
"""Seconds until a bar is shown, for work that often takes less."""

_LINE_SECONDS = 30.0
"""Between two lines where there is no terminal."""


def progress_on(console: Console) -> Progress:
    """What shows progress to whoever reads standard error."""
    if sys.stderr is not None and sys.stderr.isatty():
        return TerminalProgress(console)
    return LoggedProgress(console)


class LoggedProgress:
    """Lines for a log: one every half minute, so that short work says nothing."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Tell ``console``.

        Args:
            console: says nothing if it is quiet.
            clock: seconds.
        """
        self._console = console
        self._clock = clock
        self._phase: str | None = None
        self._total: int | None = None
        self._unit = ""
        self._done = self._resumed = 0
        self._started = 0.0
        self._told = clock()

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        """Count anew; phases that are not counted are not told."""
        self._phase = _LABELS.get(phase, phase) if unit else None
        self._total, self._unit = total, unit
        self._done = self._resumed = 0
        self._started = self._clock()

    def advance(self, count: int, *, resumed: bool = False) -> None:
        """Tell how far it is, if it was not told for some time."""
        self._done += count
        if resumed:
            self._resumed += count
        now = self._clock()
        if self._phase is None or now - self._told < _LINE_SECONDS:
            return
        self._told = now
        self._console.note(self._line(now - self._started))

    def end(self) -> None:
        """Nothing is left to tell."""
        self._phase = None

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._resumed) / seconds if seconds > 0 else 0.0
        unit = "" if self._unit == "B" else f" {self._unit}"
        told = f"{self._phase}: {self._count(self._done)}"
        if self._total:
            told += f" of {self._count(self._total)}{unit} ({self._done / self._total:.0%})"
        else:
            told += unit
        if rate > 0:
            told += f", {self._count(rate)} a second"
            if self._total:
                told += f", {_duration((self._total - self._done) / rate)} left"
        return told

    def _count(self, number: float) -> str:
        if self._unit == "B":
            return human_bytes(int(number))
        return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(47.2), _duration(200), _duration(20_000)
    ('47 s', '3 min 20 s', '5 h 33 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class TerminalProgress:
    """Progress bars on a terminal."""

    def __init__(self, console: Console) -> None:
        """Show nothing if ``console`` is quiet."""
        self._shown = not console.quiet
        self._bar: tqdm[Any] | None = None

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        """Show a bar; none for phases that are not counted."""
        if not self._shown or not unit:
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            desc=_LABELS.get(phase, phase),
            unit=f" {unit}",
            unit_scale=False,
            # A terminal may say that it has no columns, which tqdm takes by its word.
            dynamic_ncols=bool(shutil.get_terminal_size((0, 0)).columns),
            ncols=None if shutil.get_terminal_size((0, 0)).columns else 80,
            smoothing=0.1,
            delay=_PATIENCE.get(phase, 0.0),
            leave=False,
            file=sys.stderr,
        )

    def advance(self, count: int, *, resumed: bool = False) -> None:
        """Move the bar; what an earlier run did does not count into the rate."""
        if self._bar is None:
            return
        if resumed:
            self._bar.initial += count
            self._bar.n += count
            self._bar.refresh()
        else:
            self._bar.update(count)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
