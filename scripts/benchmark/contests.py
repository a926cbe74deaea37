"""qsearch, built with its graph, beside the best of the others, in every measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import words
from .ends import SNIPPETS
from .figures import HEADLINE, LEVELS, MODES, OURS, Measured, Point, Spread, fastest, ours


@dataclass(frozen=True, slots=True)
class Contest:
    """qsearch and the best other system in one measure.

    Attributes:
        group: of measures that belong together.
        what: is measured.
        mine: qsearch's figure.
        theirs: the other's.
        system: which.
        times: how much better the other is; below 1: qsearch is better.
        unit: behind the figures.
        close: whether turns of the two overlap; of what was measured several times.
    """

    group: str
    what: str
    mine: float
    theirs: float
    system: str
    times: float
    unit: str
    close: bool = False


def best(order: dict[str, Point]) -> tuple[Point | None, Point | None]:
    """The fastest setting of qsearch with its graph, and of the others; its variants are neither."""
    mine = order.get(OURS)
    other = next((point for name, point in order.items() if not ours(name)), None)
    return mine, other


def contests(measured: Measured) -> list[Contest]:
    """All that is compared on one data set."""
    found = []
    for threads in measured.threads:
        points = measured.points(threads)
        several = "one thread" if threads == 1 else f"{threads} threads"
        for mode, how in MODES.items():
            for level in LEVELS:
                mine, other = best(fastest(points, level, mode))
                if mine is None or other is None:
                    continue
                group = f"queries a second, {several}, {how}"
                found.append(
                    _speeds(group, level, other.system, mine.speed(mode), other.speed(mode))
                )
        for level in LEVELS:
            mine, other = best(fastest(points, level, "batch", 100))
            if mine is None or other is None or not mine.batch_100 or not other.batch_100:
                continue
            group = f"queries a second, {several}, in batches, top 100"
            found.append(_speeds(group, level, other.system, mine.batch_100, other.batch_100))
    slowest = {
        name: point.p95
        for name, point in fastest(measured.points(measured.threads[0]), HEADLINE, "single").items()
        if point.p95 is not None and (name == OURS or not ours(name))
    }
    mine_p95 = slowest.pop(OURS, None)
    if mine_p95 is not None and slowest:
        name = min(slowest, key=lambda one: slowest[one])
        found.append(
            Contest(
                "the rest",
                _MEASURES["p95"],
                mine_p95,
                slowest[name],
                name,
                mine_p95 / slowest[name],
                " ms",
            )
        )
    reached = fastest(measured.points(measured.threads[0]), HEADLINE, "single")
    if OURS not in reached:
        return found
    for kind, value in (
        ("build", build_of),
        ("disk", disk_of),
        ("memory", memory_of),
        ("cold", cold_of),
    ):
        mine_value = value(measured, OURS)
        others = {
            name: one
            for name in reached
            if not ours(name) and (one := value(measured, name)) is not None
        }
        if mine_value is None or not others:
            continue
        name = min(others, key=lambda one: others[one])
        scale, unit = (1e6, " MB") if kind in ("disk", "memory") else (1.0, " s")
        found.append(
            Contest(
                "the rest",
                _MEASURES[kind],
                mine_value / scale,
                others[name] / scale,
                name,
                mine_value / max(others[name], 1e-9),
                unit,
            )
        )
    return found


def _speeds(group: str, level: float | None, system: str, mine: Spread, theirs: Spread) -> Contest:
    a, b = mine.median, theirs.median
    what = words.at_recall(level)
    return Contest(group, what, a, b, system, b / a, "", close=mine.meets(theirs))


_MEASURES = {
    "p95": "milliseconds that 95% of single queries take no longer than",
    "build": "time to build",
    "disk": "size on disk",
    "memory": "memory after all searches",
    "cold": "from the start of a process to its first answer",
}


def build_of(measured: Measured, name: str) -> float | None:
    """Seconds."""
    return words.median(measured.build(name))


def disk_of(measured: Measured, name: str) -> float | None:
    """Bytes."""
    return measured.disk(name)


def memory_of(measured: Measured, name: str) -> float | None:
    """Bytes."""
    return words.median(measured.memory(name))


def cold_of(measured: Measured, name: str) -> float | None:
    """Seconds."""
    return words.median(measured.cold(name))


def end_contests(ends: dict[str, Any] | None) -> list[Contest]:
    """What is compared from end to end."""
    found = []
    rows = ends_of(ends)
    mine = rows.pop(OURS, {})
    for column, (what, unit, more) in END_MEASURES.items():
        own = mine.get(column)
        others = {name: value for name, one in rows.items() if (value := one[column]) is not None}
        if own is None or not others:
            continue
        name = (max if more else min)(others, key=lambda one: others[one])
        times = others[name] / own if more else own / others[name]
        found.append(Contest("all processors", what, own, others[name], name, times, unit))
    return found


END_MEASURES = {
    "build_first": ("from texts on disk to the first answer", " s", False),
    "build_last": ("from texts on disk to the thousandth answer", " s", False),
    "open_first": ("from an index on disk to the first answer", " s", False),
    "open_last": ("from an index on disk to the thousandth answer", " s", False),
    "disk": ("size on disk", " MB", False),
    "memory": ("memory behind a thousand queries", " MB", False),
    "lines": ("lines of user code", "", False),
    "ndcg10": ("nDCG@10", "", True),
}


def ends_of(ends: dict[str, Any] | None) -> dict[str, dict[str, float | None]]:
    """The medians of each system."""
    found: dict[str, dict[str, float | None]] = {}
    for name in SNIPPETS:
        told = (ends or {}).get("systems", {}).get(name)
        if told is None or "failed" in told or not told["turns"].get("open"):
            continue
        built, again = (list(told["turns"][kind].values()) for kind in ("build", "open"))
        found[name] = {
            "build_first": words.median_of(one["first"] for one in built),
            "build_last": words.median_of(one["last"] for one in built),
            "open_first": words.median_of(one["first"] for one in again),
            "open_last": words.median_of(one["last"] for one in again),
            "memory": words.median_of(one["memory"]["uss"] / 1e6 for one in again),
            "disk": words.median_of(one["bytes"] / 1e6 for one in built),
            "lines": told["lines"],
            "ndcg10": told["recall"].get("ndcg10"),
        }
    return found
