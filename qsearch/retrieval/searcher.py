"""Chooses the way of retrieval for what was asked, and keeps what the ways need between searches."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError, QueryError
from qsearch.lazily import cached_property
from qsearch.locks import ProcessLock
from qsearch.options import METHODS, WayOptions, settled
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.documents import DocumentRows, rank_documents, rows_for
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.graph import GraphSearch, check_graphs
from qsearch.retrieval.planning import Planner
from qsearch.retrieval.ranking import Ranking, merged, search_candidates
from qsearch.retrieval.slowness import tell_if_slow
from qsearch.retrieval.tuning import Plan, Tuning
from qsearch.store import Segment, check_sample

__all__ = ["ExactRanking", "Placement", "Request", "Searcher", "whole_number"]

_log = logging.getLogger("qsearch")

_DEFAULT_CANDIDATES = {"binary": 1000, "graph": 100, "cascade": 1000}
_LEAST_OF_K = {"binary": 1, "graph": 4, "cascade": 1}
"""So many times k: a beam that is as wide as what is wanted finds four fifths of it."""

_KEPT = 4
"""Where a cascade or a walk is asked for by name, int8 codes pass on so many times k rows: twice what was
measured to lose next to nothing (``measuring``)."""

_FEW_ALLOWED = 8192
"""Where a filter allows no more rows, every method looks at all of them."""

_EXACT = Plan(True, 0, 0, 1.0, "asked for")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a search, checked and decided. Made by ``Searcher.request``.

    Attributes:
        k: documents wanted, at most those there are.
        method: one of ``METHODS``.
        plan: candidates, expected recall, and why.
        all_passages: whether k rows are wanted instead, of whatever documents.
        allowed: the rows that a filter allows; ``None``: there is none.
        recall: that was asked for, where the plan rests on what was measured about it.
        alike: whether it is to hold for queries like those that it was measured with only.
    """

    k: int
    method: str
    plan: Plan
    all_passages: bool = False
    allowed: Allowed | None = None
    recall: float | None = None
    alike: bool = False


class ExactRanking(Protocol):
    """What ranks as ``ExactSearch`` does, to the bit."""

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        threads: int | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """See ``ExactSearch.search``."""
        ...


class Placement(Protocol):
    """Where exact searches run: the seam behind which GPUs are."""

    @property
    def loaded(self) -> bool:
        """Whether they run elsewhere than on the CPU by now."""
        ...

    def exact(self, queries: int) -> ExactRanking | None:
        """Who searches so many queries; ``None``: the CPU does."""
        ...


class Searcher:
    """All ways of retrieval over the segments of one index. Safe to share between threads.

    Attributes:
        documents: which rows belong to which.
        placing: where exact searches run.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        tuning: Tuning | None,
        *,
        measured: int | None = None,
        documents: int | None = None,
        graphs: bool = False,
        placing: Placement | None = None,
    ) -> None:
        """Take the segments in document order, and what was measured on them.

        Args:
            segments: of the index.
            tuning: what was measured.
            measured: on so many segments, from the first on, it was measured; the others came later and
                are searched exactly. ``None``: all.
            documents: how many live, where somebody knows.
            graphs: whether segments that are large enough have graphs, though there be none so far.
            placing: where exact searches run; ``None``: on the CPU.
        """
        self.placing = placing
        self._segments = list(segments)
        self._planner = None if tuning is None else Planner(tuning)
        self._graphs_wanted = graphs
        self._measured = len(self._segments) if measured is None else measured
        self.documents = DocumentRows(segments, documents)
        self._lock = ProcessLock()
        self._opened_graphs: GraphSearch | None = None

    def request(
        self, k: int, allowed: Allowed | None = None, **options: Unpack[WayOptions]
    ) -> Request:
        """Check what is asked, and decide how it is done.

        Args:
            k: documents wanted.
            allowed: the rows that a filter allows; ``None``: there is none.
            **options: see ``options.WayOptions``.

        Raises:
            QueryError: a value is out of its range, or two contradict each other.
        """
        asked = settled(WayOptions, options, "request()")
        recall, method, candidates = asked["recall"], asked["method"], asked["candidates"]
        k = whole_number("k", k)
        if k < 1:
            raise QueryError(f"k must be at least 1, found {k}")
        if method is not None and method not in METHODS:
            raise QueryError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
        if candidates is not None:
            candidates = whole_number("candidates", candidates)
        if candidates is not None and method is None:
            named = ", ".join(_DEFAULT_CANDIDATES)
            raise QueryError(f"candidates need a method ({named}); name one, or leave them out")
        if candidates is not None and method == "exact":
            raise QueryError("an exact search has no candidates; leave them out, or take a method")
        if candidates is not None and candidates < k:
            raise QueryError(f"candidates must be at least k = {k}, found {candidates}")
        wanted = _checked_recall(recall)
        alike = bool(asked["alike"])
        if alike and wanted is None:
            raise QueryError("alike is of a recall below 1: name one, or leave it out")
        every = asked["all_passages"] and self.documents.split
        rows, documents = self.documents.rows, self.documents.count
        if allowed is not None and allowed.documents is not None:
            rows, documents = allowed.rows, allowed.documents
        k = min(k, rows if every else documents)
        if method is None or method == "exact":
            if wanted is None:
                return Request(k, "exact", _EXACT, every, allowed)
            if method == "exact":
                raise QueryError("an exact search has recall 1; leave out the recall or the method")
            reason = ""
            if allowed is not None:
                reason = "recall was measured without a filter"
            elif self._planner is None:
                reason = "the index is small, or was built before recall was measured"
            elif not self._measured:
                reason = "the index has changed much since recall was measured"
            elif every:
                reason = "recall was measured for documents, not for passages"
            elif self.placing is not None and self.placing.loaded:
                reason = "an exact search on the GPU is faster than any other"
            if self._planner is None or reason:
                return Request(k, "exact", Plan(True, 0, 0, 1.0, reason), every, allowed)
            plan = self._plan(self._planner, wanted, k, 1, alike=alike)
            return Request(k, _method_of(plan), plan, every, recall=wanted, alike=alike)
        if recall != "exact":  # 1 is exact too, which the method is not
            raise QueryError("give a recall or a method, not both")
        count = candidates or max(_LEAST_OF_K[method] * k, _DEFAULT_CANDIDATES[method])
        count = min(count, max(k, self.documents.rows))  # no kernel is asked for 10**30
        kept = min(count, _KEPT * k)
        if method == "binary" or count >= self.documents.rows:  # every one is wanted
            kept = count
        return Request(k, method, Plan(False, count, kept, 0.0, "asked for"), every, allowed)

    def for_together(self, request: Request, queries: int) -> Request:
        """The request as it is made for one query, for so many that are searched together.

        Where a recall is asked for, what is fastest for one may not be for many; either reaches it.
        """
        if request.recall is None or self._planner is None or queries == 1:
            return request
        plan = self._plan(self._planner, request.recall, request.k, queries, alike=request.alike)
        return replace(request, method=_method_of(plan), plan=plan)

    def _plan(self, planner: Planner, recall: float, k: int, queries: int, *, alike: bool) -> Plan:
        return planner.plan(
            recall, k, queries, alike=alike, graph_is_sound=lambda: self.graph_is_sound
        )

    def search(
        self, queries: NDArray[np.float32], request: Request, threads: int | None = None
    ) -> Ranking:
        """Rank the documents for every query: positions of rows, the best of each document.

        Args:
            queries: (q, d) float32, checked.
            request: see ``request``, and ``for_together``.
            threads: ``None``: all.

        Raises:
            IndexFormatError: a graph is wanted and there is none, or a file is damaged.
        """
        tell_if_slow()
        self._sampled  # noqa: B018
        k, plan = request.k, request.plan
        if not k or not len(queries):  # nothing lives, or is asked
            return Ranking(
                np.empty((len(queries), k), dtype=np.int64),
                np.empty((len(queries), k), dtype=np.float32),
                np.ones(len(queries), dtype=np.bool_),
            )
        if request.all_passages or not self.documents.split:
            return self._rank_rows(request, queries, k, plan.candidates, plan.kept, threads)
        # All that was scored may hold a document: candidates by their codes are so few that every
        # one counts. Where they hold too few documents, all numbers grow alike.
        most = self.documents.rows if request.allowed is None else request.allowed.rows
        first = rows_for(k, most)
        if request.method != "exact":
            first = min(plan.kept, most)

        def rank_rows(some: NDArray[np.float32], rows: int) -> Ranking:
            more = -(-rows // first)
            return self._rank_rows(
                request, some, rows, plan.candidates * more, plan.kept * more, threads
            )

        return rank_documents(rank_rows, self.documents, queries, k, first, most)

    @cached_property
    def _sampled(self) -> bool:
        """Whether some rows of every segment were looked at, as the first search does."""
        for segment in self._segments:
            check_sample(segment)
        return True

    def _rank_rows(
        self,
        request: Request,
        queries: NDArray[np.float32],
        rows: int,
        candidates: int,
        kept: int,
        threads: int | None,
    ) -> Ranking:
        allowed = request.allowed
        few = allowed is not None and allowed.rows <= _FEW_ALLOWED
        placed = None
        planned = request.recall is not None
        if self.placing is not None and (request.method == "exact" or planned) and not few:
            placed = self.placing.exact(len(queries))
        if placed is not None:
            return placed.search(queries, rows, threads, allowed)
        if request.method == "exact" or few:
            return self._exact.search(queries, rows, threads, allowed)
        if request.method == "binary":
            sources = self._cascade.binary
            return search_candidates(
                self._segments, sources, queries, rows, candidates, threads, allowed
            )
        if self._planner is None or not planned:
            source = self._graph if request.method == "graph" else self._cascade
            return source.search(queries, rows, candidates, kept, threads, allowed=allowed)[0]
        # Nothing is known of more than was planned for, nor of more than there were when it was measured.
        if candidates > request.plan.candidates or rows > self._measured_rows:
            return self._exact.search(queries, rows, threads)
        return self._by_plan(self._planner, request, queries, rows, threads)

    def _by_plan(
        self,
        planner: Planner,
        request: Request,
        queries: NDArray[np.float32],
        rows: int,
        threads: int | None,
    ) -> Ranking:
        """Candidates as planned, and exact answers to queries that fail a check.

        Where so many fail that candidates do not pay, most are answered exactly at once.
        """
        plan = request.plan
        if not plan.checks:
            return self._chosen(request, queries, rows, threads)[0]
        outcomes = planner.outcomes(plan)
        total = len(queries)
        exactly = np.ones(total, dtype=np.bool_)
        found: Ranking | None = None
        start = 0
        while start < total:
            tried, skipped = outcomes.next(total - start, plan.pays_until)
            if tried:
                some = slice(start, start + tried)
                ranking, passed = self._chosen(request, queries[some], rows, threads)
                outcomes.note(tried, tried - int(np.count_nonzero(passed)))
                exactly[some] = ~passed
                if tried == total:
                    found = ranking
                else:
                    before = found or Ranking.empty(total, rows)
                    found = before.replaced(np.arange(total)[some], ranking)
            start += tried + skipped
        if found is None:
            return self._exact.search(queries, rows, threads)
        if exactly.any():
            unlike = np.flatnonzero(exactly)
            found = found.replaced(unlike, self._exact.search(queries[unlike], rows, threads))
        return found

    def _chosen(
        self,
        request: Request,
        queries: NDArray[np.float32],
        rows: int,
        threads: int | None,
    ) -> tuple[Ranking, NDArray[np.bool_]]:
        """The ranking by the plan's candidates, and (q,) bool: which queries pass its checks.

        What came since recall was measured is searched exactly.
        """
        plan = request.plan
        by_graph = request.method == "graph"
        if self._measured == len(self._segments):
            source = self._graph if by_graph else self._cascade
            return source.search(queries, rows, plan.candidates, plan.kept, threads, plan.checks)
        source = self._measured_graph if by_graph else self._measured_cascade
        ranking, passed = source.search(
            queries, rows, plan.candidates, plan.kept, threads, plan.checks
        )
        return merged(ranking, self._later.search(queries, rows, threads), rows), passed

    @cached_property
    def _measured_rows(self) -> int:
        """How many live where recall was measured."""
        return Allowed.living(self._segments[: self._measured]).rows

    @cached_property
    def _measured_cascade(self) -> Cascade:
        return Cascade(self._segments[: self._measured])

    @cached_property
    def _measured_graph(self) -> GraphSearch:
        return GraphSearch(self._segments[: self._measured])

    @cached_property
    def _later(self) -> ExactSearch:
        return ExactSearch(self._segments[self._measured :])

    @cached_property
    def _exact(self) -> ExactSearch:
        return ExactSearch(self._segments)

    @cached_property
    def _cascade(self) -> Cascade:
        return Cascade(self._segments)

    @cached_property
    def graph_is_sound(self) -> bool:
        """Whether a recall may be reached by it; without it another way does."""
        try:
            self._graph  # noqa: B018 (opening it is the check)
        except IndexFormatError as error:
            _log.warning("a recall is reached without the graph: %s", error)
            return False
        return True

    @property
    def _graph(self) -> GraphSearch:
        with self._lock:  # opening it may take long, and is not done twice
            if self._opened_graphs is None:
                check_graphs(self._segments, wanted=self._graphs_wanted)
                self._opened_graphs = GraphSearch(self._segments)
            return self._opened_graphs


def _method_of(plan: Plan) -> str:
    return "exact" if plan.exact else plan.method


def whole_number(name: str, value: object) -> int:
    """A number of Python or NumPy that has no fraction; True is none."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]  # what has no __index__ is refused
    except TypeError:
        raise QueryError(f"{name} must be a whole number, found {value!r}") from None


def as_float(value: Real) -> float:
    """The number, or infinity where it is a whole number that no float64 holds."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _checked_recall(recall: object) -> float | None:
    """The recall as a number; ``None`` for exact."""
    if isinstance(recall, str) and recall == "exact":
        return None
    if isinstance(recall, bool) or not isinstance(recall, Real):
        raise QueryError(f"recall must be 'exact' or a number from 0 to 1, found {recall!r}")
    number = as_float(recall)
    if not 0 < number <= 1:
        raise QueryError(f"recall must be above 0 and at most 1, found {number:g}")
    return None if number == 1 else number
