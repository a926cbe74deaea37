"""Rankings: what every way of retrieval returns, and how candidates become one.

The order is the same everywhere: by the score rounded to float32, highest first; equal scores by
position, lowest first. So two ways that look at the same documents return the same ranking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from qsearch.documents.numbers import as_numbers
from qsearch.errors import QueryError
from qsearch.kernels import RowMask, cosine_gather, first_unusable, normalize
from qsearch.retrieval.allowed import Allowed
from qsearch.store import Segment

__all__ = [
    "BATCH_PLACES",
    "CandidateSource",
    "Candidates",
    "Ranking",
    "Stage",
    "add_stages",
    "check_queries",
    "joined",
    "merged",
    "rank_rows",
    "search_candidates",
    "top_k",
    "unit_queries",
    "unusable_query",
]


BATCH_PLACES = 1 << 20
"""Queries times candidates at a time: bounds memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What one stage of a search did for each of q queries.

    Attributes:
        name: what was looked at.
        rows: (q,) int64: how many rows.
        bytes: (q,) int64: how many bytes of codes or floats those are.
        seconds: for all queries together; ``None`` where it is part of the stage before.
    """

    name: str
    rows: NDArray[np.int64]
    bytes: NDArray[np.int64]
    seconds: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The best documents for each of q queries.

    Attributes:
        positions: (q, k) int64 document positions, best first; −1 behind the last document found.
        scores: (q, k) float32 cosines; −inf where there is no document.
        certified: (q,) bool: whether it is proven that no other document belongs here.
        done: the stages, or what makes them: most searches are never asked, and a walk takes hardly longer.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    certified: NDArray[np.bool_]
    done: tuple[Stage, ...] | Callable[[], tuple[Stage, ...]] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What was done, in order."""
        if callable(self.done):  # once: of many queries each is explained by its own part
            object.__setattr__(self, "done", self.done())
        return cast(tuple[Stage, ...], self.done)

    @classmethod
    def empty(cls, queries: int, k: int) -> Ranking:
        """Nothing was done for so many queries, and nothing found."""
        return cls(
            np.full((queries, k), -1, dtype=np.int64),
            np.full((queries, k), -np.inf, dtype=np.float32),
            np.zeros(queries, dtype=np.bool_),
        )

    def replaced(self, places: NDArray[np.int64], by: Ranking) -> Ranking:
        """The same but for the queries at ``places``, which have the answers of another search.

        Args:
            places: (p,) numbers of queries.
            by: of these p queries, of as many documents. What its stages did is added.
        """
        positions, scores = self.positions.copy(), self.scores.copy()
        certified = self.certified.copy()
        positions[places], scores[places] = by.positions, by.scores
        certified[places] = by.certified
        stages = {stage.name: stage for stage in self.stages}
        add_stages(stages, by.stages, places, len(certified))
        return Ranking(positions, scores, certified, tuple(stages.values()))


def joined(parts: Sequence[Ranking]) -> Ranking:
    """One ranking of several, of different queries, that went through the same stages."""
    if len(parts) == 1:
        return parts[0]
    return Ranking(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.certified for part in parts]),
        tuple(
            Stage(
                stages[0].name,
                np.concatenate([stage.rows for stage in stages]),
                np.concatenate([stage.bytes for stage in stages]),
                sum(stage.seconds or 0.0 for stage in stages),
            )
            for stages in zip(*(part.stages for part in parts), strict=True)
        ),
    )


def add_stages(
    stages: dict[str, Stage], more: Sequence[Stage], queries: NDArray[np.int64], count: int
) -> None:
    """Add what stages did for some of ``count`` queries to what they did before, by name."""
    for stage in more:
        rows, size = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        rows[queries], size[queries] = stage.rows, stage.bytes
        seconds = stage.seconds
        before = stages.get(stage.name)
        if before is not None:
            rows, size = rows + before.rows, size + before.bytes
            seconds = (seconds or 0.0) + (before.seconds or 0.0)
        stages[stage.name] = Stage(stage.name, rows, size, seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Rows of one segment that were chosen by their codes.

    Attributes:
        rows: (q, count) int64 rows without repetition, in any order; −1 where there are fewer.
        looked: (q,) int64: at how many rows' codes it took a look.
        row_bytes: that a code takes.
    """

    rows: NDArray[np.int64]
    looked: NDArray[np.int64]
    row_bytes: int


class CandidateSource(Protocol):
    """Chooses rows of one segment by their codes. The seam behind which kernels are exchanged."""

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        threads: int | None = None,
        mask: RowMask | None = None,
    ) -> Candidates:
        """Rows that are likely to be the nearest of those that are allowed.

        Args:
            queries: (q, d) float32 unit rows.
            count: how many rows to return for each query, 1 to the rows that are allowed.
            threads: ``None``: all.
            mask: which rows are allowed; ``None``: all.
        """
        ...


def check_queries(queries: Any, dimensions: int) -> NDArray[np.float32]:
    """Make (q, d) float32 of what a caller gave, or say what is wrong with it.

    Raises:
        QueryError: another shape or dimension, not finite, or a vector of zeros.
    """
    try:
        array = _as_float32(as_numbers(queries))
    except ValueError as error:
        raise QueryError(f"query vectors must be an array of numbers ({error})") from error
    if array.ndim != 2:
        raise QueryError(
            f"query vectors must have shape (queries, {dimensions}), found {array.shape}"
            + ("; one vector v is given as v[None, :]" if array.ndim == 1 else "")
        )
    if array.shape[1] != dimensions:
        raise QueryError(
            f"the index has {dimensions} dimensions, the query vectors have {array.shape[1]}"
        )
    number = first_unusable(array)
    if number < len(array):
        raise QueryError(f"query vector {number} {_unusable(array[number])}")
    return array


def unusable_query(queries: NDArray[np.floating]) -> tuple[int, str] | None:
    """The number of the first vector that cannot be searched for, and why; ``None`` if all can.

    Args:
        queries: (q, d).
    """
    array = _as_float32(queries)
    number = first_unusable(array)
    return None if number == len(array) else (number, _unusable(array[number]))


def _unusable(vector: NDArray[np.float32]) -> str:
    if np.isfinite(vector).all():
        return "is zero (as float32) and has no direction"
    return "holds NaN or infinity (as float32)"


def _as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """The same as kernels take it; what is too large for it is infinite, and no warning says so."""
    if array.dtype == np.float32 and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def unit_queries(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Queries divided by their length, each component within a unit roundoff.

    Quicker than ``unit_rows`` on few rows. Codes are made of these; scores are not.

    Args:
        queries: (q, d) float32, checked.
    """
    return normalize(queries)


def top_k(
    scores: NDArray[np.float32], positions: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of one query's candidates, in the order of a ranking.

    Args:
        scores: (c,) float32.
        positions: (c,) int64, without repetition.
        k: at most c are returned.
    """
    if len(scores) > 4 * k:
        # Everything that reaches the k-th score stays: its ties are broken by position below.
        reaching = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        scores, positions = scores[reaching], positions[reaching]
    order = np.lexsort((positions, -scores))[:k]
    return scores[order], positions[order]


def rank_rows(
    positions: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best candidates of every query, in the order of a ranking.

    Args:
        positions: (q, c) int64 without repetition in a row; −1 where there is none.
        scores: (q, c) float32; −inf where there is none.
        k: documents to return.

    Returns:
        (q, k) positions and scores, filled up with −1 and −inf.
    """
    order = np.lexsort((positions, -scores), axis=1)[:, :k]
    best = np.take_along_axis(positions, order, axis=1), np.take_along_axis(scores, order, axis=1)
    missing = k - order.shape[1]
    if missing <= 0:
        return best
    edges = ((0, 0), (0, missing))
    return (
        np.pad(best[0], edges, constant_values=-1),
        np.pad(best[1], edges, constant_values=-np.inf),
    )


def merged(left: Ranking, right: Ranking | None, k: int) -> Ranking:
    """The k best of two rankings of different rows; filled up with −1 and −inf."""
    count = len(left.positions)
    stages = {stage.name: stage for stage in left.stages}
    parts = [left]
    if right is not None:
        add_stages(stages, right.stages, np.arange(count), count)
        parts.append(right)
    positions, scores = rank_rows(
        np.concatenate([one.positions for one in parts], axis=1),
        np.concatenate([one.scores for one in parts], axis=1),
        k,
    )
    certified = np.logical_and.reduce([one.certified for one in parts])
    return Ranking(positions, scores, certified, tuple(stages.values()))


def search_candidates(
    segments: Sequence[Segment],
    sources: Sequence[CandidateSource],
    queries: NDArray[np.float32],
    k: int,
    count: int,
    threads: int | None = None,
    allowed: Allowed | None = None,
) -> Ranking:
    """Choose candidates in every segment by their codes, and rank them by their exact scores.

    Args:
        segments: all segments of the index.
        sources: one per segment.
        queries: (q, d) float32, checked.
        k: documents to return, at most those that are allowed.
        count: candidates for each query, at least k, from each segment.
        threads: ``None``: all.
        allowed: rows of every segment; ``None``: all that were not deleted.
    """
    allowed = allowed or Allowed.living(segments)
    step = max(1, BATCH_PLACES // count)
    return joined(
        [
            _search_candidates(
                segments, sources, queries[start : start + step], k, count, threads, allowed
            )
            for start in range(0, len(queries), step)
        ]
    )


def _search_candidates(
    segments: Sequence[Segment],
    sources: Sequence[CandidateSource],
    queries: NDArray[np.float32],
    k: int,
    count: int,
    threads: int | None,
    allowed: Allowed,
) -> Ranking:
    started = time.perf_counter()
    units = unit_queries(queries)
    positions = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    found, looked, size = (np.zeros(len(queries), dtype=np.int64) for _ in range(3))
    choosing = 0.0
    for segment, source, mask, most in zip(
        segments, sources, allowed.masks, allowed.counts, strict=True
    ):
        if not most:
            continue
        before = time.perf_counter()
        chosen = source.nearest(units, min(count, most), threads, mask)
        rows = chosen.rows
        looked += chosen.looked
        size += chosen.looked * chosen.row_bytes
        choosing += time.perf_counter() - before
        # The k best of the segments so far stay: memory does not grow with their number.
        here = np.where(rows >= 0, rows + segment.first_row, -1)
        positions, scores = rank_rows(
            np.concatenate([positions, here], axis=1),
            np.concatenate(
                [scores, cosine_gather(segment.vectors, queries, rows, threads)], axis=1
            ),
            k,
        )
        found += (rows >= 0).sum(axis=1)
    # Codes alone prove nothing, unless every document was a candidate.
    total = np.full(len(queries), allowed.rows, dtype=np.int64)
    scoring = time.perf_counter() - started - choosing
    stages = (
        Stage("codes", looked, size, choosing),
        Stage("floats", found, found * 4 * queries.shape[1], scoring),
    )
    return Ranking(positions, scores, found == total, stages)
