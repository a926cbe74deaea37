"""What the plots show, as plain numbers: a plot is held to them by their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from .figures import LEADERS, LEVELS, MODES, OURS, Measured, fastest, frontier, headline, ours
from .rows import RECALL, time_rows

_DRAWN = ("registry-1m", "tokens-sentences")
"""Data sets with a plot of all systems beside the first one: a page of plots is read by nobody."""


def recall_speed(
    measured: Measured, threads: int, mode: str, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Recall@10 against queries a second: the frontier of each system, or of some."""
    points = measured.points(threads)
    chosen = None if names is None else set(names)
    series = {}
    for name in measured.systems:
        if chosen is not None and name not in chosen:
            continue
        some = frontier([one for one in points if one.system == name], mode)
        if some:
            series[name] = [
                [
                    one.recall(mode),
                    one.speed(mode).median,
                    one.speed(mode).low,
                    one.speed(mode).high,
                ]
                for one in some
            ]
    return {"kind": "recall", "title": _title(measured, threads, mode), "series": series}


def leaders(measured: Measured, threads: int, mode: str) -> list[str]:
    """Qsearch with its graph, and the others that are among the fastest at some recall."""
    points = measured.points(threads)
    names = [OURS]
    for level in LEVELS:
        names += [name for name in fastest(points, level, mode) if not ours(name)][:LEADERS]
    return list(dict.fromkeys(names))


def build_speed(measured: Measured, level: float, mode: str) -> dict[str, Any]:
    """Seconds of a build against queries a second at a recall."""
    threads = measured.threads[0]
    series = {}
    for name, point in fastest(measured.points(threads), level, mode).items():
        built = measured.build(name)
        if built is not None:
            series[name] = [[built.median, point.speed(mode).median]]
    title = f"{_title(measured, threads, mode)}, recall@10 of at least {level}"
    return {"kind": "build", "title": title, "series": series}


def plots(
    all_measured: Sequence[Measured], growing: Sequence[Measured]
) -> dict[str, dict[str, Any]]:
    """What each plot of the page shows, by file name.

    Args:
        all_measured: the data sets, that of the headline first.
        growing: more and more rows, see ``rows``.
    """
    found: dict[str, dict[str, Any]] = {}
    main = headline(all_measured)
    for measured in all_measured:
        if measured is main or measured.name in _DRAWN:
            name = f"recall-{measured.name}.svg"
            found[name] = recall_speed(measured, measured.threads[0], "single")
    if main is not None:
        threads = main.threads[0]
        shown = recall_speed(main, threads, "single", leaders(main, threads, "single"))
        found = {"headline.svg": shown} | found
        found["recall-batches.svg"] = recall_speed(main, main.threads[0], "batch")
        found["build.svg"] = build_speed(main, 0.95, "single")
    found["rows-exact.svg"] = time_rows(growing, None)
    found["rows-recall.svg"] = time_rows(growing, RECALL)
    return {name: shown for name, shown in found.items() if shown["series"]}


def digest(shown: dict[str, Any]) -> str:
    """Of what a plot shows."""
    text = json.dumps(shown, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _title(measured: Measured, threads: int, mode: str) -> str:
    several = "one thread" if threads == 1 else f"{threads} threads"
    return f"{measured.title}, {several}, {MODES[mode]}"
