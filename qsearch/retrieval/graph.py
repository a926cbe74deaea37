"""Graphs of segments: how they are made, and the search by them.

A beam search in each segment chooses candidates; int8 codes say which of them are the best, and their
floats decide (``kernels.graph_reference``). Segments without a graph are small, or new, and are searched
exactly beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import QueryCodes, center_of, int8_query_codes, sketches_of
from qsearch.errors import IndexFormatError
from qsearch.kernels import (
    LINE_WORDS,
    GraphFound,
    GraphRows,
    GraphSegments,
    build_links,
    graph_found,
    graph_top_k,
    link_copies,
    sketch_lines,
)
from qsearch.lazily import cached_property
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.blur import Blur
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.floats import damaged_at
from qsearch.retrieval.old_graph import OldGraph
from qsearch.retrieval.ranking import (
    Ranking,
    Stage,
    merged,
    search_candidates,
    unit_queries,
)
from qsearch.retrieval.tuning import Check
from qsearch.store import GraphArrays, Segment
from qsearch.store.format import GRAPH_DEGREE
from qsearch.wording import words

__all__ = ["GraphSearch", "build_graph", "check_graphs"]

_WIDTH = 100
"""Of the beams that a row's links come from. On 100,000 real texts (300 real queries, a beam of 64) it
gives recall 0.990; 64 gives 0.987 and takes two thirds of the time."""

_BLOCK_ROWS = 8192


def build_graph(segment: Segment, advance: Callable[[int], None]) -> GraphArrays:
    """Make the graph of a segment. The same rows give the same graph.

    Args:
        segment: whose rows to link.
        advance: told how many rows were just added.
    """

    def blocks() -> Iterator[NDArray[np.float32]]:
        for first in range(0, segment.rows, _BLOCK_ROWS):
            yield segment.vectors[first : first + _BLOCK_ROWS]

    center = center_of(blocks())
    sketches = _aligned((segment.rows, sketch_lines(segment.vectors.shape[1]), LINE_WORDS))
    for number, block in enumerate(blocks()):
        first = number * _BLOCK_ROWS
        sketches[first : first + len(block)] = sketches_of(block, center)
    rows = GraphRows(segment.int8, segment.scale, sketches, center)
    links = build_links(rows, GRAPH_DEGREE, _WIDTH, advance)
    link_copies(links, segment.int8, segment.scale)
    return GraphArrays(links, sketches, center)


def check_graphs(segments: Sequence[Segment], *, wanted: bool) -> None:
    """Read every graph and compare its checksum: a damaged one would find less, and nobody would see it.

    Args:
        segments: of an index.
        wanted: whether segments that are large enough are to have graphs, though there be none so far.

    Raises:
        IndexFormatError: there is none, or one is damaged.
    """
    if not wanted and not any(one.has_graph for one in segments):
        raise IndexFormatError(
            f"the index has no graph; {words().index_graph} makes one, or search with another method"
        )
    for segment in segments:
        if segment.graph_problem is not None:
            raise IndexFormatError(
                f"the graph of segment {segment.id} cannot be used ({segment.graph_problem}); "
                f"{words().index_graph} makes another, or search with another method"
            )
    for segment in segments:
        name = None if segment.graph is None else segment.graph.damaged()
        if name is not None:
            raise IndexFormatError(
                f"the graph of segment {segment.id} is damaged: the checksum of {name} is not what it "
                f"should be; {words().index_graph} makes another, or search with another method"
            )


def _factors(codes: QueryCodes) -> NDArray[np.float64]:
    """(q,) what makes cosines of products of codes and scaled rows."""
    return codes.intervals[:, 0]


def _aligned(shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """Memory whose lines are those of the cache: a sketch in two of them would take twice as long."""
    size = 8 * math.prod(shape)
    memory = np.empty(size + 64, dtype=np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + size].view(np.uint64).reshape(shape)


class GraphSearch:
    """Search by graphs; how wide the beams are decides recall and time."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        """Take the segments in document order.

        Raises:
            IndexFormatError: a graph of an earlier version is damaged.
        """
        self._segments = list(segments)
        self._linked = [one.graph is not None for one in segments]
        self._old = [one.graph is None and one.old_graph is not None for one in segments]
        self._others = [not one.has_graph for one in segments]
        self._walked_segments = self._those(self._linked)
        self._old_segments = self._those(self._old)
        self._old_graphs = [OldGraph(one) for one in self._old_segments]

    def _those(self, wanted: Sequence[bool]) -> list[Segment]:
        return [one for one, here in zip(self._segments, wanted, strict=True) if here]

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        width: int,
        kept: int,
        threads: int | None = None,
        checks: Sequence[Check] = (),
        allowed: Allowed | None = None,
    ) -> tuple[Ranking, NDArray[np.bool_]]:
        """Rank the best of what beams end with.

        Args:
            queries: (q, d) float32, checked.
            k: rows to return, at most those that are allowed.
            width: of the beam in each segment.
            kept: how many of what all beams hold the int8 codes pass on to the floats; at least k. Those
                that they cannot tell from the k-th come to them, see ``blur``.
            threads: ``None``: all.
            checks: what each query is held against.
            allowed: rows of every segment; ``None``: all that were not deleted.

        Returns:
            The ranking, and (q,) bool: whether a query passes all checks.

        Raises:
            IndexFormatError: a row is damaged.
        """
        linked, old, others = self._living if allowed is None else self._parted(allowed)
        ranking: Ranking | None = None
        if linked.rows:
            ranking, passed = self._walked(queries, k, width, kept, threads, checks, linked)
        else:
            passed = np.ones(len(queries), dtype=np.bool_)
        if old.rows:
            found = search_candidates(
                self._old_segments,
                self._old_graphs,
                queries,
                min(k, old.rows),
                max(k, width),
                threads,
                old,
            )
            ranking = found if ranking is None else merged(ranking, found, k)
        if others.rows:
            found = self._exact.search(queries, min(k, others.rows), threads, others)
            ranking = merged(found, None, k) if ranking is None else merged(ranking, found, k)
        if ranking is None:
            raise ValueError("no row is allowed")
        return ranking, passed

    def found(
        self, queries: NDArray[np.float32], width: int, threads: int | None = None
    ) -> GraphFound:
        """What beams end with, see ``kernels.graph_found``; scores and ends as cosines by int8 codes."""
        masks = self._living[0].masks
        codes = int8_query_codes(unit_queries(queries))
        found = graph_found(self._arrays, masks, codes.codes, width, threads)
        factors = _factors(codes)
        cosines = found.scores * factors[:, None].astype(np.float32)
        return GraphFound(found.positions, cosines, found.ends * factors)

    def walks(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows beams can find: those of segments that have a graph."""
        ends = np.array([one.first_row + one.rows for one in self._segments])
        numbers = np.searchsorted(ends, positions, side="right")
        found: NDArray[np.bool_] = np.array(self._linked)[numbers.clip(max=len(ends) - 1)]
        return found

    def _walked(
        self,
        queries: NDArray[np.float32],
        k: int,
        width: int,
        kept: int,
        threads: int | None,
        checks: Sequence[Check],
        allowed: Allowed,
    ) -> tuple[Ranking, NDArray[np.bool_]]:
        count, d = queries.shape
        codes = int8_query_codes(unit_queries(queries))
        found = graph_top_k(
            self._arrays,
            allowed.masks,
            queries,
            codes.codes,
            k,
            width,
            kept,
            [check.depth for check in checks],
            threads,
            self._blur.of(codes),
        )
        if found.damaged >= 0:
            raise damaged_at(self._walked_segments, found.damaged)
        passed = np.ones(count, dtype=np.bool_)
        factors = _factors(codes)
        ends = found.ends * factors
        for number, check in enumerate(checks):
            heights = found.heights[:, number] * factors
            with np.errstate(invalid="ignore"):  # of damaged codes: both infinite, and no gap
                passed &= (heights >= check.least) & (heights - ends >= check.gap)
        # Codes alone prove nothing, unless every row was scored.
        certified = found.scored == allowed.rows

        def stages() -> tuple[Stage, ...]:
            walking, scoring = found.seconds
            sketch = 8 * LINE_WORDS * sketch_lines(d)
            return (
                Stage("sketches", found.sketched, found.sketched * sketch, None),
                Stage("int8 codes", found.refined, found.refined * (d + 4), walking),
                Stage("floats", found.scored, found.scored * 4 * d, scoring),
            )

        return Ranking(found.positions, found.scores, certified, stages), passed

    @cached_property
    def _living(self) -> tuple[Allowed, Allowed, Allowed]:
        """All rows that were not deleted, as ``_parted``."""
        return self._parted(Allowed.living(self._segments))

    def _parted(self, allowed: Allowed) -> tuple[Allowed, Allowed, Allowed]:
        """What is allowed of the segments that are walked, of those with old graphs, and of the others."""
        return allowed.of(self._linked), allowed.of(self._old), allowed.of(self._others)

    @cached_property
    def _blur(self) -> Blur:
        return Blur(self._walked_segments)

    @cached_property
    def _arrays(self) -> GraphSegments:
        return GraphSegments(self._walked_segments)

    @cached_property
    def _exact(self) -> ExactSearch:
        return ExactSearch(self._those(self._others))
