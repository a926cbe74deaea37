"""From results to the figures that page and plots show. Nothing is measured here, and nothing is drawn."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .data import DATA_SETS
from .systems import systems

OURS = "qsearch"
AVX2 = "qsearch (AVX2)"
LEVELS: tuple[float | None, ...] = (None, 0.999, 0.99, 0.95, 0.9)
"""Recall@10 that is to be reached; ``None``: by those systems only whose answers are meant to be exact."""

HEADLINE = 0.99

LEADERS = 3
"""So many at each recall are in the plot that the page opens with."""

ENOUGH = 20
"""Of fewer searches, the one that 95% are faster than is nearly the slowest."""

PROMISES = (0.999, 0.99, 0.95, 0.9)
"""Recalls that qsearch is asked for."""

MODES = {"single": "one by one", "batch": "in batches"}


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)

    def meets(self, other: Spread) -> bool:
        """Whether some of both are as large: then chance may have put one in front."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class Point:
    """A setting of a system, on so many threads.

    Attributes:
        single: queries a second, one by one.
        batch: in batches of 64; for a system that takes one at a time, the same.
        half10: half of the 95% interval around recall10: another sample of queries gives another recall;
            ``None`` where it was not measured.
        p95: milliseconds that 95% of the queries took no longer than; ``None`` where too few were timed.
        batch_recall10: in batches, where a system searches these in another way.
        batch_recall100: likewise.
        sure: whether the answer is meant to be exact.
        promises: the recall that was asked for; ``None`` where an effort was.
        asked: whether the system is asked for recalls.
        turns: how often it was measured.
    """

    system: str
    setting: str
    recall10: float
    recall100: float | None
    half10: float | None
    batch_recall10: float
    batch_recall100: float | None
    ndcg10: float | None
    single: Spread
    batch: Spread
    batch_100: Spread | None
    p95: float | None
    sure: bool
    promises: float | None
    asked: bool
    turns: int

    @property
    def alike(self) -> bool:
        """Whether the recall was asked for with queries like those that it was measured with only."""
        return self.setting.endswith(", alike")

    def speed(self, mode: str) -> Spread:
        """Of one of the modes."""
        return self.single if mode == "single" else self.batch

    def speed_for(self, mode: str, k: int) -> Spread | None:
        """For so many hits: for 100 in batches only."""
        if k == 10:
            return self.speed(mode)
        return self.batch_100 if mode == "batch" else None

    def recall(self, mode: str, k: int = 10) -> float | None:
        """Of so many hits, in one of the modes."""
        if mode == "single":
            return self.recall10 if k == 10 else self.recall100
        return self.batch_recall10 if k == 10 else self.batch_recall100

    def reaches(self, level: float | None, mode: str = "single", k: int = 10) -> bool:
        """Whether this is what a user takes who wants a recall; ``None``: exact answers.

        A system that is asked for a recall is asked for this one, and then it decides. Of the others it is
        every setting that gives so much, which one knows after trying them.
        """
        if level is None or (self.sure and not self.asked):
            return self.sure
        recall = self.recall(mode, k)
        return (not self.asked or self.promises == level) and recall is not None and recall >= level


class Measured:
    """The results of one data set."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.name: str = told["data"]["name"]
        # What is no system of this benchmark any more is not shown.
        self.systems: dict[str, dict[str, Any]] = {
            name: one for name, one in told["systems"].items() if name in systems()
        }

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.told['data']['rows']:,} {DATA_SETS[self.name].title}"

    @property
    def threads(self) -> list[int]:
        """Numbers of threads that were measured, the smallest first."""
        found = {int(n) for one in self.systems.values() for n in one["turns"]}
        return sorted(found)

    def points(self, threads: int) -> list[Point]:
        """All settings of all systems."""
        found: list[Point] = []
        for name, told in self.systems.items():
            if "failed" in told:
                continue
            turns = list(told["turns"].get(str(threads), {}).values())
            for setting, known in told["recall"].items():
                some = [one["settings"][setting] for one in turns if setting in one["settings"]]
                if not some or "recall10" not in known:
                    continue
                single = _speeds(some, "single")
                what = told["settings"][setting]
                found.append(
                    Point(
                        system=name,
                        setting=setting,
                        recall10=known["recall10"],
                        recall100=known.get("recall100"),
                        half10=_half(known),
                        batch_recall10=known.get("batch_recall10", known["recall10"]),
                        batch_recall100=known.get("batch_recall100", known.get("recall100")),
                        ndcg10=known.get("ndcg10"),
                        single=single,
                        batch=_speeds(some, "batch") if told["batches"] else single,
                        batch_100=_speeds(some, "batch_100") if told["batches"] else None,
                        p95=statistics.median(one["single_p95"] for one in some)
                        if min(one["singles"] for one in some) >= ENOUGH
                        else None,
                        sure=what["exact"],
                        promises=what["promises"],
                        asked=any(one["promises"] for one in told["settings"].values()),
                        turns=len(some),
                    )
                )
        return found

    def rounds(self, threads: int | None = None) -> int:
        """Turns that a system had at most, on so many threads."""
        threads = self.threads[0] if threads is None else threads
        counts = [len(one["turns"].get(str(threads), {})) for one in self.systems.values()]
        return max(counts, default=0)

    def turns_beside(self, threads: int) -> list[float]:
        """Shares of the processors that others used, one for each turn on so many threads."""
        return [
            turn["others"]
            for one in self.systems.values()
            for turn in one["turns"].get(str(threads), {}).values()
        ]

    def build(self, system: str) -> Spread | None:
        """Seconds."""
        return _spread(one["seconds"] for one in self.systems[system]["builds"])

    def disk(self, system: str) -> float | None:
        """Bytes; ``None`` for what cannot be saved."""
        sizes = [one["bytes"] for one in self.systems[system]["builds"]]
        return sizes[-1] if sizes else None

    def memory(self, system: str, threads: int = 1) -> Spread | None:
        """USS in bytes behind all searches."""
        turns = self.systems[system]["turns"].get(str(threads), {})
        return _spread(one["memory"]["uss"] for one in turns.values())

    def anonymous(self, system: str, threads: int = 1) -> float | None:
        """Of the memory, the bytes that no file backs."""
        turns = self.systems[system]["turns"].get(str(threads), {})
        spread = _spread(one["memory"]["anonymous"] for one in turns.values())
        return None if spread is None else spread.median

    def cold(self, system: str, threads: int = 1) -> Spread | None:
        """Seconds from the start of a process to its first answer."""
        turns = self.systems[system]["turns"].get(str(threads), {})
        return _spread(one["cold"]["seconds"] for one in turns.values())

    def failures(self) -> dict[str, str]:
        """Why systems were not measured, by name, of those that were tried."""
        return {
            name: one["failed"]["reason"] for name, one in self.systems.items() if "failed" in one
        }

    def others(self) -> list[float]:
        """Shares of the processors that other processes used, one for each turn and each build."""
        return [
            one["others"]
            for system in self.systems.values()
            for one in (
                *system["builds"],
                *(turn for turns in system["turns"].values() for turn in turns.values()),
            )
        ]

    def dates(self) -> tuple[str, str]:
        """The first and the last day of measuring."""
        days = [
            turn["date"]
            for one in self.systems.values()
            for turns in one["turns"].values()
            for turn in turns.values()
        ]
        return min(days, default=""), max(days, default="")


def read(folder: Path) -> tuple[list[Measured], dict[str, Any] | None]:
    """All data sets that were measured, in the order of the page, and the results from end to end."""
    found = []
    for name in DATA_SETS:
        path = folder / f"{name}.json"
        if path.is_file():
            found.append(Measured(json.loads(path.read_text(encoding="utf-8"))))
    path = folder / "endtoend.json"
    ends = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return [one for one in found if one.threads], ends


def fastest(
    points: Iterable[Point], level: float | None, mode: str, k: int = 10
) -> dict[str, Point]:
    """For each system its fastest setting that reaches a recall, the fastest system first."""
    best: dict[str, tuple[float, Point]] = {}
    for point in points:
        speed = point.speed_for(mode, k)
        if speed is None or not point.reaches(level, mode, k):
            continue
        if point.system not in best or speed.median > best[point.system][0]:
            best[point.system] = speed.median, point
    return {name: point for name, (_, point) in sorted(best.items(), key=lambda one: -one[1][0])}


def ours(system: str) -> bool:
    """Whether it is qsearch, in whatever form."""
    return system.startswith(OURS)


def frontier(points: Sequence[Point], mode: str) -> list[Point]:
    """The points of one system that no other of its points beats, by rising recall."""
    kept: list[Point] = []
    for point in sorted(
        points, key=lambda one: (-(one.recall(mode) or 0.0), -one.speed(mode).median)
    ):
        if not kept or point.speed(mode).median > kept[-1].speed(mode).median:
            kept.append(point)
    return kept[::-1]


def headline(all_measured: Sequence[Measured]) -> Measured | None:
    """The data set that the page begins with: the first of its order."""
    return all_measured[0] if all_measured else None


def _half(known: dict[str, float]) -> float | None:
    """Half of the 95% interval around a mean, by its normal approximation."""
    if "deviation10" not in known:
        return None
    return 1.96 * known["deviation10"] / math.sqrt(known["queries"])


def _speeds(some: list[dict[str, float]], name: str) -> Spread:
    """Milliseconds of a query become queries a second."""
    return Spread(tuple(1000.0 / one[name] for one in some))


def _spread(values: Iterable[float]) -> Spread | None:
    some = tuple(values)
    return Spread(some) if some else None
