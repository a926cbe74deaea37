"""What was measured about recall on an index, and the choice of how to search that rests on it.

A recall is promised for any query, not only for those that are like the sample: a search at a recall looks
at how sure the codes were of each query (by the cascade its lead, see ``lead``; by a graph its height and
its gap, see ``seen``), and a query of less than the plan wants is answered exactly. How much is enough for
which recall is measured too (``measuring``), on queries of every likeness to the documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = [
    "BATCH_QUERIES",
    "FAILED_QUERIES",
    "Check",
    "Curve",
    "Level",
    "Plan",
    "Point",
    "Took",
    "Tuning",
]

_VERSION = 3
"""Of the JSON form. What version 1 had measured held for queries like the sample only, and what version 2
had measured not for queries of rare kinds, near to many documents, or with few components."""

BATCH_QUERIES = 64
"""Queries of the batches that times are told of."""

FAILED_QUERIES = BATCH_QUERIES // 3
"""Of those, how many are answered exactly behind candidates where that is timed."""

_MOST = 2.0**48
"""No number here is as large, of rows, or milliseconds, or anything."""

_PARTS = 64
"""That shares of queries are told in."""

_WORTH = 0.9
"""Candidates are taken where they save a tenth: for less nobody should miss a document."""


@dataclass(frozen=True, slots=True)
class Level:
    """What happens where queries of less than ``least``, or less than ``gap``, are answered exactly.

    Attributes:
        least: the lead, see ``lead``; by a graph the height, see ``seen``.
        recall: mean over the sample, of its worst kind.
        low: what the mean over 100 further queries reaches with 95% confidence, of whatever kind.
        exact: the share of the sample that is answered exactly.
        gap: by a graph, see ``seen``; else 0.
    """

    least: float
    recall: float
    low: float
    exact: float
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of a query that is asked alone, and of one in a batch."""

    alone: float
    batch: float

    def on(self, threads: int, other: Took, others: int) -> Took:
        """On so many threads, where this is on one thread and the other on ``others``, more than one."""
        alone = _on(threads, self.alone, other.alone, others)
        return Took(alone, _on(threads, self.batch, other.batch, others))


def _on(threads: int, one: float, other: float, others: int) -> float:
    """By Amdahl's law: a part of what one thread takes is shared by all threads, the rest stays."""
    shared = min(one, (one - other) / (1.0 - 1.0 / others))
    return one - shared + shared / threads


@dataclass(frozen=True, slots=True)
class Point:
    """One measured number of candidates.

    Attributes:
        candidates: rows that the binary codes pass on, of each segment; or how wide beams are.
        recall: mean over the sample, of its worst kind, where no query is answered exactly.
        milliseconds: for one query, in batches, on the machine that measured.
        levels: by rising ``exact``, and ``low``.
        alone: milliseconds for a query that is asked alone; ``None``: an earlier qsearch measured.
        alike: what the mean over 100 further queries like the sample reaches with 95% confidence, where no
            query is answered exactly; 0: an earlier qsearch measured.
        one_thread: the same times on one thread; ``None``: there were no more, or an earlier qsearch
            measured.
    """

    candidates: int
    recall: float
    milliseconds: float
    levels: tuple[Level, ...]
    alone: float | None = None
    alike: float = 0.0
    one_thread: Took | None = None

    def level(self, recall: float) -> Level | None:
        """The first that is sure of a recall."""
        return next((level for level in self.levels if level.low >= recall), None)

    def on(self, threads: int, measured: int) -> Point:
        """With the times on so many threads; see ``Curve.on``."""
        if self.one_thread is None or self.alone is None:
            return self
        took = self.one_thread.on(threads, Took(self.alone, self.milliseconds), measured)
        return replace(self, alone=took.alone, milliseconds=took.batch)


@dataclass(frozen=True, slots=True)
class Curve:
    """Recall at one depth.

    Attributes:
        k: documents wanted.
        depth: how many rows the lead looks at.
        kept: rows that the int8 codes pass on.
        exact_milliseconds: for one exact query, in batches, on the same machine.
        points: by rising number of candidates.
        exact_alone: milliseconds for an exact query that is asked alone; ``None``: see ``Point``.
        beams: the same for searches by graph; empty without one.
        beams_kept: rows that the int8 codes pass on of these.
        exact_one_thread: see ``Point``.
        behind: what an exact search takes behind candidates that failed a check, alone, and in batches of
            which ``FAILED_QUERIES`` do: such queries are harder than others, and each search finds caches
            full of what the other reads. ``None``: an earlier qsearch measured.
        behind_one_thread: see ``Point``.
    """

    k: int
    depth: int
    kept: int
    exact_milliseconds: float
    points: tuple[Point, ...]
    exact_alone: float | None = None
    beams: tuple[Point, ...] = ()
    beams_kept: int = 0
    exact_one_thread: Took | None = None
    behind: Took | None = None
    behind_one_thread: Took | None = None

    def on(self, threads: int, measured: int) -> Curve:
        """With the times on so many threads, as far as is known; ``measured`` threads have these."""
        if threads == measured or self.exact_one_thread is None or self.exact_alone is None:
            return self
        all_threads = Took(self.exact_alone, self.exact_milliseconds)
        exact = self.exact_one_thread.on(threads, all_threads, measured)
        behind = self.behind
        if behind is not None and self.behind_one_thread is not None:
            behind = self.behind_one_thread.on(threads, behind, measured)
        return replace(
            self,
            exact_alone=exact.alone,
            exact_milliseconds=exact.batch,
            behind=behind,
            points=tuple(one.on(threads, measured) for one in self.points),
            beams=tuple(one.on(threads, measured) for one in self.beams),
        )

    def of(self, method: str) -> tuple[Point, ...]:
        """What was measured of a method, ``cascade`` or ``graph``."""
        return self.beams if method == "graph" else self.points

    def point(self, candidates: int, method: str = "cascade") -> Point | None:
        """What was measured for so many candidates."""
        return next((one for one in self.of(method) if one.candidates == candidates), None)

    def exact_cost(self, queries: int) -> float:
        """Milliseconds for each of so many queries that are searched exactly together."""
        once, each = _shared(self.exact_alone, self.exact_milliseconds)
        return once / queries + each

    def cost(self, point: Point, exact: float, queries: int) -> float:
        """Milliseconds for each of so many queries that are searched together by candidates.

        Args:
            point: of this curve.
            exact: the share of them that is answered exactly.
            queries: how many.
        """
        once, each = _shared(point.alone, point.milliseconds)
        exact_once, exact_each = self._behind()
        any_exact = 1.0 - (1.0 - min(1.0, exact)) ** queries
        return (once + any_exact * exact_once) / queries + each + exact * exact_each

    def _behind(self) -> tuple[float, float]:
        """What exact searches behind candidates take once for all queries, and for each."""
        if self.behind is None:
            return _shared(self.exact_alone, self.exact_milliseconds)
        return _shared(self.behind.alone, self.behind.batch, FAILED_QUERIES)

    def pays_until(self, point: Point, queries: int) -> float:
        """The largest share answered exactly at which candidates take no longer than exact searches."""
        exactly = self.exact_cost(queries)
        shares = (part / _PARTS for part in range(_PARTS, -1, -1))
        return next((one for one in shares if self.cost(point, one, queries) <= exactly), 0.0)


def _shared(alone: float | None, batch: float, queries: int = BATCH_QUERIES) -> tuple[float, float]:
    """What queries that are asked together take once for all of them, and for each; ``batch`` has so many.

    A query alone waits for codes to come from memory, and others that are asked with it wait no longer: one
    exact search of a million rows took 19 ms, and 64 together 62 ms.
    """
    if alone is None:
        return 0.0, batch
    each = max(0.0, (queries * batch - alone) / (queries - 1))
    return max(0.0, alone - each), each


@dataclass(frozen=True, slots=True)
class Check:
    """What a query must show so that the promise holds for it.

    By the cascade a lead of at least ``least``, see ``lead``; by the graph such a height, and a gap of at
    least ``gap``, see ``seen``.
    """

    depth: int
    least: float
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search so that a recall is reached.

    Attributes:
        exact: whether by exact search; then the rest does not matter.
        candidates: see ``Cascade.search``.
        kept: see there.
        recall: expected, or 1.
        reason: why exact, or what the numbers rest on; a phrase for people.
        checks: a query that fails one of these is answered exactly.
        method: who chooses the candidates: ``cascade``, or ``graph``, whose beams are so wide.
        milliseconds: that each of so many queries takes, on the machine that measured; 0: nothing was
            measured.
        exactly: the share of the sample that is answered exactly.
        pays_until: up to which share of queries that are answered exactly this takes no longer than to
            answer all of them so.
    """

    exact: bool
    candidates: int
    kept: int
    recall: float
    reason: str
    checks: tuple[Check, ...] = ()
    method: str = "cascade"
    milliseconds: float = 0.0
    exactly: float = 0.0
    pays_until: float = 1.0

    @property
    def chosen(self) -> str:
        """Whose candidates are scored, for people; of a plan that is not exact."""
        return "a graph's " * (self.method == "graph") + f"{self.candidates:,} candidates"

    def answers_as(self, other: Plan) -> bool:
        """Whether every query gets the same answer by the other one."""
        if self.exact or other.exact:
            return self.exact and other.exact
        mine, theirs = ((one.method, one.candidates, one.kept, one.checks) for one in (self, other))
        return mine == theirs


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured on an index.

    Attributes:
        measured_on: what the sample queries were; for people.
        queries: how many.
        strangers: further queries, less and less like the documents, which only what is promised rests on.
        documents: how many the index held then.
        curves: one for each depth.
        threads: that milliseconds are of; 0: an earlier qsearch measured.
    """

    measured_on: str
    queries: int
    strangers: int
    documents: int
    curves: tuple[Curve, ...]
    threads: int = 0

    def on(self, threads: int) -> Tuning:
        """With the times of searches on so many threads: what is fastest differs, not what is reached.

        One query's exact search is shared by threads, and its walk in a graph is not. Where nothing is
        known of other numbers of threads, times stay as they are.
        """
        if threads == self.threads or self.threads < 2:
            return self
        curves = tuple(one.on(threads, self.threads) for one in self.curves)
        return replace(self, curves=curves, threads=threads)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tuning | None:
        """Undo ``to_json``; ``None``: another qsearch measured, of which too much or nothing is known.

        Raises:
            ValueError: these are not such values.
        """
        try:
            if _typed(values.get("version", 1), int) != _VERSION:
                return None
            curves = tuple(_curve(one) for one in values["curves"])
            return cls(
                _typed(values["measured_on"], str),
                _typed(values["queries"], int),
                _typed(values["strangers"], int),
                _typed(values["documents"], int),
                curves,
                _typed(values.get("threads", 0), int),
            )
        except (AttributeError, KeyError, OverflowError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def plan(
        self, recall: float, k: int, queries: int = 1, *, alike: bool = False, graph: bool = True
    ) -> Plan:
        """The cheapest way that reaches ``recall`` for the first k, with confidence.

        Args:
            recall: between 0 and 1.
            k: documents wanted.
            queries: that are searched together: it decides what is cheapest, and not what is reached.
            alike: whether they are like the sample, so that nothing has to be promised for others.
            graph: whether it can be used, where there is one.
        """
        above = next((curve for curve in self.curves if curve.k >= k), None)
        if above is None:
            return Plan(True, 0, 0, 1.0, f"recall was not measured for k = {k}")
        # Between two depths both must reach it: the mean falls with k, its spread rises as k falls.
        curves = [above]
        if above.k > k:
            curves += [curve for curve in self.curves if curve.k < k][-1:]
        sure = [
            one
            for method in ("cascade", "graph")[: 1 + graph]
            for kinds in (False, True)[: 1 + alike]  # what holds for any kind holds for those alike
            for one in _sure_ways(method, curves, recall, queries, alike=kinds)
        ]
        exactly = above.exact_cost(queries)
        if not sure:
            reason = f"no number of candidates that pays is sure of {recall:g}"
            return Plan(True, 0, 0, 1.0, reason, milliseconds=exactly)
        best = min(sure, key=lambda one: one.cost)
        if best.cost > _WORTH * exactly:
            return Plan(True, 0, 0, 1.0, "an exact search is as fast here", milliseconds=exactly)
        candidates = max(k, best.point.candidates)
        by_graph = best.method == "graph"
        kept = max(curve.beams_kept if by_graph else curve.kept for curve in curves)
        return Plan(
            False,
            candidates,
            max(k, min(kept, candidates)),
            best.recall,
            f"measured on {self.measured_on}",
            tuple(
                Check(curve.depth, level.least, level.gap)
                for curve, level in zip(curves, best.levels, strict=False)  # alike: none
            ),
            best.method,
            best.cost,
            max((level.exact for level in best.levels), default=0.0),
            above.pays_until(best.point, queries),
        )


@dataclass(frozen=True, slots=True)
class _Way:
    """A way that is sure of a recall.

    Attributes:
        method: who chooses the candidates.
        point: how many.
        levels: of each curve that must reach the recall; none where no query is held against anything.
        recall: expected.
    """

    method: str
    cost: float
    point: Point
    levels: tuple[Level, ...]
    recall: float


def _sure_ways(
    method: str, curves: Sequence[Curve], recall: float, queries: int, *, alike: bool
) -> Iterator[_Way]:
    """Of one method; what it takes is told by the first curve."""
    for point in curves[0].of(method):
        like = [curve.point(point.candidates, method) for curve in curves]
        same = [one for one in like if one is not None]
        if len(same) < len(curves):
            continue
        if alike:
            if min(one.alike for one in same) >= recall:
                cost = curves[0].cost(point, 0.0, queries)
                yield _Way(method, cost, point, (), min(one.recall for one in same))
            continue
        levels = tuple(level for one in same if (level := one.level(recall)) is not None)
        if len(levels) == len(curves):
            exact = max(level.exact for level in levels)
            expected = min(level.recall for level in levels)
            yield _Way(method, curves[0].cost(point, exact, queries), point, levels, expected)


def _points(values: Sequence[Mapping[str, Any]]) -> tuple[Point, ...]:
    return tuple(
        Point(
            _positive(point["candidates"]),
            _typed(point["recall"], float),
            _typed(point["milliseconds"], float),
            tuple(
                Level(
                    _typed(level["least"], float),
                    _typed(level["recall"], float),
                    _typed(level["low"], float),
                    _typed(level["exact"], float),
                    _typed(level.get("gap", 0.0), float),
                )
                for level in point["levels"]
            ),
            _typed_or_none(point.get("alone")),
            _typed(point.get("alike", 0.0), float),
            _took(point.get("one_thread")),
        )
        for point in values
    )


def _curve(values: Mapping[str, Any]) -> Curve:
    return Curve(
        _positive(values["k"]),
        _positive(values["depth"]),
        _typed(values["kept"], int),
        _typed(values["exact_milliseconds"], float),
        _points(values["points"]),
        _typed_or_none(values.get("exact_alone")),
        _points(values.get("beams", ())),
        _typed(values.get("beams_kept", 0), int),
        _took(values.get("exact_one_thread")),
        _took(values.get("behind")),
        _took(values.get("behind_one_thread")),
    )


def _took(values: Mapping[str, Any] | None) -> Took | None:
    if values is None:
        return None
    return Took(_typed(values["alone"], float), _typed(values["batch"], float))


def _positive(value: Any) -> int:
    """A number of rows or documents that are looked at."""
    if not _typed(value, int):
        raise TypeError("a number of rows is 0")
    return int(value)


def _typed_or_none(value: Any) -> float | None:
    return None if value is None else float(_typed(value, float))


def _typed(value: Any, kind: type) -> Any:
    """The value, if it is of this kind and, as a number, neither negative nor not finite."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    if isinstance(value, int | float) and not 0 <= value < _MOST:
        raise TypeError("a number is out of range")
    return value
