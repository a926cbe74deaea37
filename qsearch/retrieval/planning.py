"""Plans for recalls that are asked for, kept, and what became of the queries that they were made for.

A plan counts on a share of queries that its checks fail, which are answered exactly: the share of the
sample. Of queries from elsewhere (sentences, asked of an index of words) nearly all may fail, and choosing
candidates for them first is lost: it took 0.3 ms of a query and 0.16 of one in a batch where an exact
search took 1.5 and 0.18. So what becomes of queries is remembered, and where so many fail that exact
searches take less, the next are answered exactly, but for a few that are tried: they show when others come.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from qsearch.kernels import has_native_kernels, thread_count
from qsearch.locks import ProcessLock
from qsearch.retrieval.tuning import Plan, Tuning

__all__ = ["Outcomes", "Planner"]

_MOST_PLANS = 256

_MOST_TOGETHER = 1024
"""More queries are planned for as so many are: what they share weighs nothing by then."""

_REMEMBERED = 64
"""Queries, of which the earlier ones weigh less and less."""

_EXPECTED = 8
"""Queries that what was measured weighs as much as: a plan is not given up for the first that fails."""

_TRIED = 16
"""Of a batch so many queries are tried before the others follow, where next to nothing is known."""

_TRIED_AGAIN = 32
"""Where queries are answered exactly, each thirty-second is tried."""


class Outcomes:
    """How many of the latest queries a plan's checks failed. Safe to share between threads."""

    def __init__(self, expected: float) -> None:
        """Know no query.

        Args:
            expected: the share of the sample that is answered exactly.
        """
        self._expected = expected
        self._lock = ProcessLock()
        self._seen = self._failed = 0.0
        self._untried = 0

    @property
    def failing(self) -> float:
        """The share of the next queries that is likely to fail."""
        return (self._failed + _EXPECTED * self._expected) / (self._seen + _EXPECTED)

    def note(self, queries: int, failed: int) -> None:
        """Remember what became of so many queries."""
        with self._lock:
            self._seen += queries
            self._failed += failed
            if self._seen > _REMEMBERED:
                self._failed *= _REMEMBERED / self._seen
                self._seen = _REMEMBERED

    def next(self, queries: int, pays_until: float) -> tuple[int, int]:
        """Of so many queries, how many are searched by the plan, and how many behind them exactly.

        Those behind these are to be asked about again.

        Args:
            queries: at least 1.
            pays_until: see ``Plan``.
        """
        with self._lock:
            if self.failing <= pays_until:
                self._untried = 0
                known = self._seen >= _TRIED or queries <= 2 * _TRIED
                return (queries if known else _TRIED), 0
            self._untried += queries
            tried, self._untried = divmod(self._untried, _TRIED_AGAIN)
            return tried, queries - tried


class Planner:
    """Plans by what was measured on one index, and the outcomes of each. Safe to share between threads."""

    def __init__(self, tuning: Tuning) -> None:
        """Take what was measured."""
        self._tuning = tuning
        self._plans: dict[Hashable, Plan] = {}
        self._outcomes: dict[Hashable, Outcomes] = {}

    def plan(
        self,
        recall: float,
        k: int,
        queries: int,
        *,
        alike: bool,
        graph_is_sound: Callable[[], bool],
    ) -> Plan:
        """The plan for a recall, kept: making it takes as long as a tenth of a small search.

        Args:
            recall: see ``Tuning.plan``, as the next ones.
            k: documents wanted.
            queries: that are searched together.
            alike: whether they are like the sample.
            graph_is_sound: is asked where a plan needs a graph.
        """
        like = 1 << max(0, min(queries, _MOST_TOGETHER).bit_length() - 1)  # a power of two, below
        threads = thread_count()
        key = (recall, k, like, alike, threads)
        kept = self._plans.get(key)
        if kept is None:
            tuning = self._tuning.on(threads)
            kept = tuning.plan(recall, k, like, alike=alike)
            # Without native kernels a walk takes longer than looking at all.
            if kept.method == "graph" and not (has_native_kernels() and graph_is_sound()):
                kept = tuning.plan(recall, k, like, alike=alike, graph=False)
            if len(self._plans) >= _MOST_PLANS:
                self._plans = {}
            self._plans[key] = kept
        return kept

    def outcomes(self, plan: Plan) -> Outcomes:
        """What became of queries by a plan, or by one that answers as it does."""
        key = (plan.method, plan.candidates, plan.kept, plan.checks)
        kept = self._outcomes.get(key)
        if kept is None:
            if len(self._outcomes) >= _MOST_PLANS:
                self._outcomes = {}
            kept = self._outcomes.setdefault(key, Outcomes(plan.exactly))
        return kept
