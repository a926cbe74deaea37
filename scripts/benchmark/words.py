"""How figures are written on the page."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .figures import Spread


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(value: str) -> str:
    return value.replace("|", "\\|")


def image(drawn: dict[str, dict[str, Any]], name: str, results: Path) -> str:
    """A picture in Markdown; nothing where it was not drawn."""
    return f"![{drawn[name]['title']}]({results.name}/{name})" if name in drawn else ""


def at_recall(level: float | None) -> str:
    """A recall that is reached."""
    return "exact" if level is None else f"≥ {level}"


def threads(count: int) -> str:
    """So many."""
    return "1 thread" if count == 1 else f"{count} threads"


def times(value: float, digits: int = 1, *, close: bool = False) -> str:
    """How many times; ``close``: turns of the two overlap."""
    return "≈" * close + f"{value:.{digits}f}×"


def against(first: str, second: str, ratio: float, *, close: bool = False) -> str:
    """Two systems with their figures, the better one first."""
    return f"{first}, {second} ({times(ratio, close=close)})"


def share(value: float | None) -> str:
    """Four digits."""
    return "–" if value is None else f"{value:.4f}"


def recall(value: float, half: float | None) -> str:
    """Four digits, with half of the interval around it where there is one."""
    return share(value) + (f" ± {half:.4f}" if half else "")


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def spread(of: Spread | None) -> str:
    """The median, with the smallest and the largest."""
    if of is None:
        return "–"
    return f"{number(of.median)} ({number(of.low)}–{number(of.high)})"


def within(of: Spread) -> str:
    """Likewise, with two digits of seconds."""
    return f"{of.median:.2f} ({of.low:.2f}–{of.high:.2f})"


def seconds(value: float | None, *, unit: bool = True) -> str:
    """Seconds, two digits of few."""
    if value is None:
        return "–"
    return f"{value:.2f}" + " s" * unit if value < 10 else f"{value:,.0f}" + " s" * unit


def megabytes(value: float | None, *, unit: bool = True) -> str:
    """Bytes, in millions."""
    return "–" if value is None else f"{value / 1e6:,.0f}" + " MB" * unit


def median(of: Spread | None) -> float | None:
    """If there is one."""
    return None if of is None else of.median


def median_of(values: Iterable[float]) -> float | None:
    """If there are any."""
    some = list(values)
    return statistics.median(some) if some else None
