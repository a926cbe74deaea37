"""Progress of long work, on standard error."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from qsearch.cli.output import Console

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["TerminalProgress"]

_LABELS = {"read": "reading", "load model": "loading", "encode": "encoding", "store": "storing"}


class TerminalProgress:
    """Progress bars on standard error, on a terminal only."""

    def __init__(self, console: Console) -> None:
        """Show nothing if ``console`` is quiet or standard error is no terminal."""
        self._shown = not console.quiet and sys.stderr is not None and sys.stderr.isatty()
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
