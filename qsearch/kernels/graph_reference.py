"""The definition of graphs and of searches in them, in plain NumPy; see ``reference``.

A graph leads from every row of a segment to some that are near it. A beam search (Jayaram Subramanya et
al., "DiskANN", 2019, call it greedy search) keeps the best rows that it has met, and goes on from the best
that it has not gone on from yet, until it has from all that it keeps. Which rows it keeps, sketches say at
first: the signs of a row less the center of all, and what they are to be multiplied by (Gao and Long,
"RaBitQ", 2024, without their rotation). A row's int8 code is read when it comes to the front.

All of it is whole numbers, and float32 numbers in a defined order, so that every path finds the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels.reference import lane_dot

__all__ = [
    "LINE_WORDS",
    "NO_ROW",
    "SHARE",
    "WIDEST",
    "BeamFound",
    "GraphRows",
    "beam_search",
    "build_links",
    "estimates",
    "int8_scores",
    "link_copies",
    "sketch_bits",
    "sketch_lines",
    "start_rows",
]

LINE_WORDS = 8
"""Words of a line of a sketch: 64 bytes, which memory gives at once."""

NO_ROW = 0xFFFFFFFF
"""Ends a list of links."""

WIDEST, SHARE = 8192, 8
"""A beam that is wider, or as wide as an eighth of the rows, gives way to a scan of their codes."""

_MOST_STARTS = 256
_COMPONENT = 15
"""A query's components are whole numbers up to this, as sketches see them."""

_MOST_STEPS = 8
"""Links of a row to copies of it at most."""

_BLOCK = 4096
"""Rows whose codes are looked at together."""

_ALPHA = np.float32(1.1)
_FIRST, _LEAST_ROUND, _MOST_ROUND, _GROWTH = 512, 64, 4096, 8


class GraphRows(NamedTuple):
    """What is known of the n rows of a segment.

    Attributes:
        int8: (n, d) int8 codes.
        scale: (n,) float32.
        sketches: (n, lines, 8) uint64: bit i of the row is the sign of component i less the center's; the
            last 32 bits are a float32 factor.
        center: (d,) float32.
    """

    int8: NDArray[np.int8]
    scale: NDArray[np.float32]
    sketches: NDArray[np.uint64]
    center: NDArray[np.float32]


class BeamFound(NamedTuple):
    """What a beam search of a query ended with.

    Attributes:
        rows: (w,) int64, by their scores, equal ones by number.
        scores: (w,) float32: scale · (code of the row · code of the query).
        sketched: rows whose sketch was read.
        refined: rows whose int8 code was.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    sketched: int
    refined: int


def sketch_lines(dimensions: int) -> int:
    """Lines of 64 bytes that a sketch takes: at most 32 components are left out so that they are full."""
    return max(1, -(-(dimensions - 32) // (64 * LINE_WORDS)))


def sketch_bits(dimensions: int, lines: int) -> int:
    """Of how many components a sketch has the signs."""
    return min(dimensions, 64 * LINE_WORDS * lines - 32)


def start_rows(rows: int) -> NDArray[np.int64]:
    """Where every search starts: at most 256 rows, evenly spread."""
    count = min(rows, _MOST_STARTS)
    return (2 * np.arange(count, dtype=np.int64) + 1) * rows // (2 * count)


def estimates(
    graph: GraphRows, rows: NDArray[np.int64], query: NDArray[np.int8]
) -> NDArray[np.float32]:
    """What sketches say of the scores of rows.

    Args:
        graph: the rows.
        rows: (r,) numbers of some.
        query: (d,) int8 codes.

    Returns:
        (r,) float32.
    """
    lines = graph.sketches.shape[1]
    bits = sketch_bits(len(query), lines)
    most = max(1, int(np.abs(query.astype(np.int32)).max()))
    size = (2 * _COMPONENT * np.abs(query.astype(np.int32)) + most) // (2 * most)
    components = (np.sign(query).astype(np.int32) * size)[:bits]
    raw = graph.sketches[rows].reshape(len(rows), LINE_WORDS * lines).view(np.uint8)
    signs = np.unpackbits(raw, axis=1, count=bits, bitorder="little").astype(np.int32)
    factors = raw[:, -4:].copy().view(np.float32)[:, 0]
    sums = 2 * (signs @ components) - components.sum()
    unit = np.float32(most) / np.float32(_COMPONENT)
    around = np.float32(lane_dot(graph.center, query.astype(np.float64)))
    with np.errstate(all="ignore"):  # damaged factors
        found: NDArray[np.float32] = factors * sums.astype(np.float32) * unit + around
    return found


def int8_scores(
    graph: GraphRows, rows: NDArray[np.int64], query: NDArray[np.int8]
) -> NDArray[np.float32]:
    """(r,) float32: what int8 codes say of the scores of rows; see ``estimates``."""
    dots = graph.int8[rows].astype(np.int32) @ query.astype(np.int32)
    with np.errstate(all="ignore"):
        scores: NDArray[np.float32] = graph.scale[rows] * dots.astype(np.float32)
    return scores


def beam_search(
    graph: GraphRows,
    links: NDArray[np.uint32],
    query: NDArray[np.int8],
    width: int,
    starts: NDArray[np.int64] | None = None,
) -> BeamFound:
    """The best of the rows that are met by going on from each of the best.

    Args:
        graph: the rows.
        links: (n, degree) rows that each leads to, up to the first that there is not.
        query: (d,) int8 codes.
        width: how many rows the search keeps.
        starts: where it starts; ``None``: ``start_rows``.
    """
    count = len(graph.int8)
    met = np.zeros(count, dtype=np.bool_)
    refinements = 0
    # (−score, row, whether the score is of the int8 code, whether the search went on from it)
    beam: list[tuple[float, int, bool, bool]] = []

    def meet(some: NDArray[np.int64]) -> None:
        outside = np.flatnonzero(some >= count)
        some = some[: outside[0]] if len(outside) else some
        _, first = np.unique(some, return_index=True)
        some = some[np.sort(first)]
        fresh = some[~met[some]]
        met[fresh] = True
        for score, row in zip(estimates(graph, fresh, query), fresh, strict=True):
            if score == score:
                beam.append((-float(score) or 0.0, int(row), False, False))
        beam.sort(key=lambda one: one[:2])
        del beam[width:]

    meet(start_rows(count) if starts is None else starts)
    while True:
        at = next((i for i, one in enumerate(beam) if not one[3]), None)
        if at is None:
            break
        _, row, refined, _ = beam[at]
        if not refined:
            score = int8_scores(graph, np.array([row]), query)[0]
            beam[at] = (-float(score) or 0.0, row, True, False)
            beam.sort(key=lambda one: one[:2])
            refinements += 1
            continue
        beam[at] = (*beam[at][:3], True)
        meet(links[row].astype(np.int64))
    return BeamFound(
        np.array([one[1] for one in beam], dtype=np.int64),
        np.array([-one[0] for one in beam], dtype=np.float32),
        int(met.sum()),
        refinements,
    )


def build_links(
    graph: GraphRows, degree: int, width: int, advance: Callable[[int], None]
) -> NDArray[np.uint32]:
    """Links between all rows.

    Rows are added in rounds: those of a round search the graph as it was before, link to what they find,
    and are linked to. A row links to the nearest of what it found, and then to each that is not clearly
    nearer to one of those before it. It does not link to copies of itself, see ``link_copies``.

    Args:
        graph: the rows.
        degree: links of a row at most.
        width: of the beams.
        advance: told how many rows were just added.

    Returns:
        (n, degree) uint32, ``NO_ROW`` behind the last.
    """
    count = len(graph.int8)
    room = degree + -(-degree // 4)
    links: list[list[int]] = [[] for _ in range(count)]
    order = _order(count)
    starts = len(start_rows(count))

    def between(row: int, others: list[int]) -> NDArray[np.float32]:
        dots = graph.int8[others].astype(np.int32) @ graph.int8[row].astype(np.int32)
        found: NDArray[np.float32] = (
            graph.scale[row] * graph.scale[others] * dots.astype(np.float32)
        )
        return found

    def same(row: int, other: int) -> bool:
        equal = bool((graph.int8[row] == graph.int8[other]).all())
        return equal and bool(graph.scale[row] == graph.scale[other])

    def pruned(of: int, near: list[tuple[float, int]]) -> list[int]:
        kept: list[int] = []
        for negative, row in sorted(near):
            if len(kept) == degree:
                break
            if same(of, row):
                continue
            away = np.float32(1) + np.float32(negative)
            apart = np.float32(1) - between(row, kept)
            if not (_ALPHA * apart < away).any():
                kept.append(row)
        return kept

    done = 0
    while done < count:
        some = max(_LEAST_ROUND, min(done // _GROWTH, _MOST_ROUND)) if done else _FIRST
        last = min(count, done + some)
        array = np.full((count, room), NO_ROW, dtype=np.uint32)
        for row, to in enumerate(links):
            array[row, : len(to)] = to
        edges: list[tuple[int, int]] = []
        for row in order[done:last].tolist():
            if done == 0:
                others = [other for other in order[:last].tolist() if other != row]
                near = [(-float(s), o) for s, o in zip(between(row, others), others, strict=True)]
            else:
                found = beam_search(
                    graph,
                    array,
                    graph.int8[row],
                    width,
                    order[: min(starts, done)],
                )
                scores = found.scores * graph.scale[row]
                near = [(-float(s), int(o)) for s, o in zip(scores, found.rows, strict=True)]
            links[row] = pruned(row, near)
            edges += [(to, row) for to in links[row]]
        back: dict[int, list[int]] = {}
        for target, row in sorted(edges):
            back.setdefault(target, []).append(row)
        for row, leading in back.items():
            links[row] += [other for other in leading if other not in links[row]]
            if len(links[row]) > room:
                near = [
                    (-float(s), o)
                    for s, o in zip(between(row, links[row]), links[row], strict=True)
                ]
                links[row] = pruned(row, near)
        advance(last - done)
        done = last
    result = np.full((count, degree), NO_ROW, dtype=np.uint32)
    for row, to in enumerate(links):
        if len(to) > degree:
            near = [(-float(s), o) for s, o in zip(between(row, to), to, strict=True)]
            to = pruned(row, near)
        result[row, : len(to)] = to
    return result


def link_copies(
    links: NDArray[np.uint32], int8: NDArray[np.int8], scale: NDArray[np.float32]
) -> int:
    """Link rows that are the same by their int8 codes, as equal texts are, to each other.

    The rule by which a row links to others leaves next to all copies of a row out: they are clearly nearer
    to each other. So nothing would lead to them. Of m copies, in the order of their rows, each is linked to
    those 1, 2, 4, … behind it, and behind the last comes the first: from one of them a walk is at each
    other one in some steps, at most as many as m has binary digits where it has not too many.

    Args:
        links: (n, degree) of ``build_links``; the last of a list give way where it is full.
        int8: (n, d) codes.
        scale: (n,) float32.

    Returns:
        How many rows have copies.
    """
    generator = np.random.default_rng(0)
    factors = generator.integers(1 << 62, size=int8.shape[1], dtype=np.uint64) | np.uint64(1)
    sums = scale.view(np.uint32).astype(np.uint64)
    for first in range(0, len(int8), _BLOCK):
        some = slice(first, first + _BLOCK)
        sums[some] += (int8[some].astype(np.int64).view(np.uint64) * factors).sum(
            axis=1, dtype=np.uint64
        )
    order = np.argsort(sums, kind="stable")
    first_of = np.flatnonzero(np.diff(sums[order], prepend=~sums[order[:1]]))
    counts = np.diff(first_of, append=len(order))
    copies = 0
    for begin, length in zip(first_of[counts > 1], counts[counts > 1], strict=True):
        alike = order[begin : begin + length]
        first = alike[0]
        equal = [
            (int8[some] == int8[first]).all(axis=1) & (scale[some] == scale[first])
            for some in np.split(alike, range(_BLOCK, len(alike), _BLOCK))
        ]
        group = alike[np.concatenate(equal)]  # others have the same sum by chance
        count = len(group)
        if count < 2:
            continue
        copies += count
        steps = [1 << power for power in range(_MOST_STEPS) if 1 << power < count]
        for place, row in enumerate(group):
            to = links[row]
            have = int((to != NO_ROW).sum())
            at = min(have, len(to) - len(steps))
            to[at : at + len(steps)] = [group[(place + step) % count] for step in steps]
    return copies


def _order(count: int) -> NDArray[np.int64]:
    """In which order rows are added: the starts, then the others in an order without meaning."""
    starts = start_rows(count)
    others = np.setdiff1d(np.arange(count), starts)
    order = np.concatenate([starts, others])
    first = len(starts)
    for i in range(count, first + 1, -1):
        other = first + _mixed(i) % (i - first)
        order[[i - 1, other]] = order[[other, i - 1]]
    return order


def _mixed(x: int) -> int:
    """splitmix64 (Steele et al., 2014)."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)
