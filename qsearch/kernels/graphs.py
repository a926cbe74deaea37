"""Graphs and searches in them: native code, or what defines it; see ``dispatch``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels import graph_reference
from qsearch.kernels.dispatch import cosine_gather, native_module, thread_count
from qsearch.kernels.graph_reference import BeamFound, GraphRows, link_copies
from qsearch.kernels.masks import RowMask
from qsearch.kernels.reference import best_scores, kept_rows

__all__ = [
    "GraphFound",
    "GraphResult",
    "GraphSegments",
    "build_links",
    "graph_found",
    "graph_top_k",
    "link_copies",
    "middle_scores",
]

_FEWER = 8
"""An eighth fewer allowed rows than wanted are enough: walks are not made twice for less."""


def build_links(
    rows: GraphRows,
    degree: int,
    width: int,
    advance: Callable[[int], None],
    threads: int | None = None,
) -> NDArray[np.uint32]:
    """See ``graph_reference.build_links``; ``threads`` ``None`` takes ``thread_count``.

    Args:
        rows: of one segment.
        degree: links of a row at most.
        width: of the beams.
        advance: told how many rows were just added.
        threads: ``None``: all.
    """
    found = native_module()
    if found is None:
        return graph_reference.build_links(rows, degree, width, advance)
    path, native = found
    builder = native.GraphBuilder(path, *rows, degree, width, threads or thread_count())
    while added := builder.step():
        advance(added)
    links = np.empty((len(rows.int8), degree), dtype=np.uint32)
    builder.finish(links)
    return links


class GraphSegments:
    """Segments with graphs; made once and used by many searches."""

    def __init__(self, segments: Sequence[Any]) -> None:
        """Take the arrays.

        Args:
            segments: one at least; each has ``graph`` (``links``, ``sketches`` and ``center``), ``int8``,
                ``scale``, ``vectors`` and ``first_row`` (``store.Segment``).

        Raises:
            ValueError: a shape is wrong.
        """
        self.segments = list(segments)
        self._native: Any = None

    def native(self, module: Any) -> Any:
        """As native code sees them."""
        if self._native is None:
            some = self.segments
            self._native = module.GraphSegments(
                [one.graph.links for one in some],
                [one.graph.sketches for one in some],
                [one.graph.center for one in some],
                [one.int8 for one in some],
                [one.scale for one in some],
                [one.vectors for one in some],
                [one.first_row for one in some],
            )
        return self._native


class GraphResult(NamedTuple):
    """What a search by graph found for q queries.

    Attributes:
        scores: (q, k) float32, −inf behind the last.
        positions: (q, k) int64, −1 behind the last.
        heights: (q, depths) float64: the middle one of so many of the best scores of ``GraphFound``.
        ends: (q,) float64, see there.
        sketched: (q,) int64: rows whose sketch was read.
        refined: (q,) int64: rows whose int8 code was.
        scored: (q,) int64: rows whose floats were.
        spent: nanoseconds that the beams took, and the floats; of all threads.
        damaged: position of a row that is not finite; −1: none was met.
    """

    scores: NDArray[np.float32]
    positions: NDArray[np.int64]
    heights: NDArray[np.float64]
    ends: NDArray[np.float64]
    sketched: NDArray[np.int64]
    refined: NDArray[np.int64]
    scored: NDArray[np.int64]
    spent: NDArray[np.int64]
    damaged: int

    @property
    def seconds(self) -> tuple[float, float]:
        """As ``spent``."""
        walking, scoring = (self.spent / 1e9).tolist()
        return walking, scoring


class GraphFound(NamedTuple):
    """What beams ended with, for q queries and s segments.

    Attributes:
        positions: (q, s · width) int64, segment after segment, best first; −1 behind the last.
        scores: (q, s · width) float32: scale · (code of the row · code of the query); −inf behind the last.
        ends: (q,) float64: the highest score that a beam ended at, whether or not that row is allowed; −inf
            where every row was scored.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    ends: NDArray[np.float64]


def graph_found(
    segments: GraphSegments,
    masks: Sequence[RowMask | None],
    codes: NDArray[np.int8],
    width: int,
    threads: int | None = None,
) -> GraphFound:
    """What beams end with.

    Of each segment ``width`` allowed rows, or an eighth fewer, or as many as are allowed. Where rows are
    not allowed the beam is made so much wider that it holds so many on average, and twice as wide again
    where too few of those that it ended with are allowed. Instead of a very wide one (``WIDEST``), and
    where links lead to no more rows, all allowed rows are scanned. A score that is no number counts as
    infinite: the row's floats decide.

    Args:
        segments: of the index.
        masks: which rows of each are allowed, at least one in all; ``None``: all.
        codes: (q, d) int8 of ``codes.int8_query_codes``.
        width: of the beams.
        threads: ``None`` takes ``thread_count``.
    """
    found = _places(len(codes), len(segments.segments) * width)
    kernels = native_module()
    if kernels is not None:
        path, native = kernels
        bits = [None if mask is None else mask.bits for mask in masks]
        codes = np.ascontiguousarray(codes)
        native.graph_found(
            path, segments.native(native), bits, codes, width, *found, threads or thread_count()
        )
        return found
    _find_by_numpy(segments, masks, codes, width, 0, found)
    return found


def _places(queries: int, places: int) -> GraphFound:
    shape = (queries, places)
    return GraphFound(
        np.full(shape, -1, dtype=np.int64),
        np.full(shape, -np.inf, dtype=np.float32),
        np.full(queries, -np.inf),
    )


def _find_by_numpy(
    segments: GraphSegments,
    masks: Sequence[RowMask | None],
    codes: NDArray[np.int8],
    width: int,
    least: int,
    found: GraphFound,
) -> NDArray[np.int64]:
    """Fill in what is found; returns (2, q): of how many rows the sketch was read, and the int8 code."""
    looked = np.zeros((2, len(codes)), dtype=np.int64)
    for number, query in enumerate(codes):
        filled = 0
        for segment, mask in zip(segments.segments, masks, strict=True):
            beam, end = _of_segment(segment, mask, query, width, least)
            found.ends[number] = max(found.ends[number], end)
            places = slice(filled, filled + len(beam.rows))
            found.positions[number, places] = beam.rows + segment.first_row
            found.scores[number, places] = beam.scores
            filled += len(beam.rows)
            looked[:, number] += beam.sketched, beam.refined
    return looked


def _of_segment(
    segment: Any, mask: RowMask | None, query: NDArray[np.int8], width: int, least: int
) -> tuple[BeamFound, float]:
    """What one query finds in one segment, and the score that its beam ended at."""
    count = len(segment.int8)
    allowed = np.ones(count, dtype=np.bool_) if mask is None else mask.to_bools()
    most = int(allowed.sum())
    wanted = min(width, most)
    if not wanted:
        return BeamFound(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), 0, 0), -np.inf
    graph = GraphRows(segment.int8, segment.scale, segment.graph.sketches, segment.graph.center)
    enough = max(min(least, wanted), wanted - wanted // _FEWER)
    sketched = refined = 0
    wider = -(-wanted * count // most)
    while wider <= min(count // graph_reference.SHARE, graph_reference.WIDEST):
        beam = graph_reference.beam_search(graph, segment.graph.links, query, wider)
        sketched, refined = sketched + beam.sketched, refined + beam.refined
        scores = _sound(beam.scores)
        there = np.flatnonzero(allowed[beam.rows])[:wanted]
        if len(there) >= enough:
            found = BeamFound(beam.rows[there], scores[there], sketched, refined)
            return found, float(scores[-1])
        if len(beam.rows) < wider:
            break
        wider *= 2
    rows = np.flatnonzero(allowed)
    scores = _sound(graph_reference.int8_scores(graph, rows, query))
    order = np.argsort(-scores, kind="stable")[:wanted]
    return BeamFound(rows[order], scores[order], sketched, refined + most), -np.inf


def _sound(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isnan(scores), np.float32(np.inf), scores)


def middle_scores(
    falling: NDArray[np.float32], there: NDArray[np.int64], depth: int
) -> NDArray[np.float32]:
    """(q,) heights: the middle one of so many of the best scores, or the last that there is.

    Args:
        falling: (q, c) scores, best first.
        there: (q,) how many of them there are.
        depth: how many.
    """
    return best_scores(falling, there, (depth + 1) // 2)


def graph_top_k(
    segments: GraphSegments,
    masks: Sequence[RowMask | None],
    queries: NDArray[np.float32],
    codes: NDArray[np.int8],
    k: int,
    width: int,
    kept: int,
    depths: Sequence[int] = (),
    threads: int | None = None,
    blurs: NDArray[np.float32] | None = None,
) -> GraphResult:
    """The k best of what beams end with, by their exact scores.

    Args:
        segments: of the index.
        masks: see ``graph_found``.
        queries: (q, d) float32, as they came.
        codes: (q, d) int8 of ``codes.int8_query_codes``.
        k: rows to return.
        width: of the beam in each segment.
        kept: how many of what all beams hold the int8 codes pass on, at least k; equal scores as they
            stand, segment after segment. And see ``blurs``.
        depths: of the heights that are wanted.
        threads: ``None`` takes ``thread_count``.
        blurs: (q,) float32: what is within so much of the k-th by int8 codes is kept too; ``None``: nothing
            more.

    Raises:
        ValueError: a shape is wrong.
    """
    count = len(queries)
    blurs = np.full(count, -np.inf, dtype=np.float32) if blurs is None else blurs
    scores = np.full((count, k), -np.inf, dtype=np.float32)
    positions = np.full((count, k), -1, dtype=np.int64)
    heights, ends = np.zeros((count, len(depths))), np.empty(count)
    looked = np.zeros((3, count), dtype=np.int64)
    kernels = native_module()
    if kernels is not None:
        path, native = kernels
        spent = np.zeros(2, dtype=np.int64)
        bits = [None if mask is None else mask.bits for mask in masks]
        damaged = native.graph_top_k(
            path,
            segments.native(native),
            bits,
            queries,
            codes,
            blurs,
            width,
            kept,
            list(depths),
            scores,
            positions,
            heights,
            ends,
            looked,
            spent,
            threads or thread_count(),
        )
        return GraphResult(
            scores, positions, heights, ends, looked[0], looked[1], looked[2], spent, damaged
        )
    started = time.perf_counter()
    found = _places(count, len(segments.segments) * width)
    looked[:2] = _find_by_numpy(segments, masks, codes, width, k, found)
    there = (found.positions >= 0).sum(axis=1)
    order = np.argsort(-found.scores, axis=1, kind="stable")
    falling = np.take_along_axis(found.scores, order, axis=1)
    for number, depth in enumerate(depths):
        heights[:, number] = middle_scores(falling, there, depth)
    looked[2] = kept_rows(falling, there, k, kept, blurs)
    chosen = np.take_along_axis(found.positions, order, axis=1)
    chosen = np.where(np.arange(chosen.shape[1]) < looked[2][:, None], chosen, -1)
    chosen = chosen[:, : looked[2].max(initial=1)]
    walked = time.perf_counter()
    exact = np.full(chosen.shape, -np.inf, dtype=np.float32)
    for one in segments.segments:
        local = np.where(
            (chosen >= one.first_row) & (chosen < one.first_row + len(one.int8)),
            chosen - one.first_row,
            -1,
        )
        some = cosine_gather(one.vectors, queries, local)
        exact = np.where(local >= 0, some, exact)
    wrong = chosen[(chosen >= 0) & ~np.isfinite(exact)]
    exact[(chosen < 0) | ~np.isfinite(exact)] = -np.inf
    places = np.lexsort((chosen, -exact), axis=1)[:, :k]
    width_found = places.shape[1]
    scores[:, :width_found] = np.take_along_axis(exact, places, axis=1)
    positions[:, :width_found] = np.take_along_axis(chosen, places, axis=1)
    positions[np.isneginf(scores)] = -1
    seconds = np.array([walked - started, time.perf_counter() - walked])
    spent = (1e9 * seconds).astype(np.int64)
    wrong_at = int(wrong[0]) if len(wrong) else -1
    return GraphResult(
        scores, positions, heights, found.ends, looked[0], looked[1], looked[2], spent, wrong_at
    )
