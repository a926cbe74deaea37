"""The cascade: many candidates by binary codes, fewer by int8 codes, the answer by floats."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import binary_codes, int8_query_codes, query_words
from qsearch.kernels import (
    CascadeResult,
    CascadeSegments,
    cascade_top_k,
    cosine_gather,
    has_native_kernels,
    int8_gather,
    kept_rows,
)
from qsearch.lazily import cached_property
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.binary import BinaryCandidates
from qsearch.retrieval.blur import Blur
from qsearch.retrieval.floats import damaged_at
from qsearch.retrieval.lead import leads
from qsearch.retrieval.ranking import (
    BATCH_PLACES,
    Ranking,
    Stage,
    joined,
    rank_rows,
    unit_queries,
)
from qsearch.retrieval.tuning import Check
from qsearch.store import Segment

__all__ = ["Cascade"]


class Cascade:
    """Search in three stages; how many rows each passes on decides recall and time."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        """Take the segments in document order."""
        self._segments = list(segments)
        self.binary = [BinaryCandidates(segment) for segment in segments]

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        candidates: int,
        kept: int,
        threads: int | None = None,
        checks: Sequence[Check] = (),
        allowed: Allowed | None = None,
    ) -> tuple[Ranking, NDArray[np.bool_]]:
        """Rank the best of what the codes choose.

        Args:
            queries: (q, d) float32, checked.
            k: documents to return, at most those that are allowed.
            candidates: rows of smallest Hamming distance to take from each segment.
            kept: how many of them, over all segments, the int8 codes pass on to the floats; at
                least k. Those that they cannot tell from the k-th come to them, see ``blur``.
            threads: ``None``: all.
            checks: what each query is held against.
            allowed: rows of every segment; ``None``: all that were not deleted.

        Returns:
            The ranking, and (q,) bool: whether a query passes all checks.

        Raises:
            IndexFormatError: a row is damaged.
        """
        allowed = allowed or Allowed.living(self._segments)
        step = max(1, BATCH_PLACES // max(1, candidates * len(self._segments)))
        parts = [
            self._search_batch(
                queries[start : start + step], k, candidates, kept, threads, checks, allowed
            )
            for start in range(0, len(queries), step)
        ]
        ranking = joined([ranking for ranking, _ in parts])
        return ranking, np.concatenate([passed for _, passed in parts])

    def choose(
        self,
        units: NDArray[np.float32],
        candidates: int,
        threads: int | None = None,
        allowed: Allowed | None = None,
    ) -> list[NDArray[np.int64]]:
        """The first stage: (q, min(candidates, allowed rows)) rows of each segment, nearest first.

        Args:
            units: (q, d) float32, see ``unit_queries``.
            candidates: see ``search``.
            threads: see ``search``.
            allowed: see ``search``.
        """
        allowed = allowed or Allowed.living(self._segments)
        none = np.empty((len(units), 0), dtype=np.int64)
        return [
            source.nearest(units, min(candidates, most), threads, mask).rows if most else none
            for source, mask, most in zip(self.binary, allowed.masks, allowed.counts, strict=True)
        ]

    def _search_batch(
        self,
        queries: NDArray[np.float32],
        k: int,
        candidates: int,
        kept: int,
        threads: int | None,
        checks: Sequence[Check],
        allowed: Allowed,
    ) -> tuple[Ranking, NDArray[np.bool_]]:
        count, d = queries.shape
        started = time.perf_counter()
        units = unit_queries(queries)
        width = sum(min(candidates, most) for most in allowed.counts)
        kept = min(kept, width)
        depths = [check.depth for check in checks]
        rank = self._rank_natively if has_native_kernels() else self._rank_by_numpy
        preparing = time.perf_counter() - started
        found = rank(queries, units, k, candidates, kept, threads, depths, allowed)
        if found.damaged >= 0:
            raise damaged_at(self._segments, found.damaged)
        passed = np.ones(count, dtype=np.bool_)
        for number, check in enumerate(checks):
            passed &= found.leads[:, number] >= check.least
        total = allowed.rows
        # Codes alone prove nothing, unless every document was scored.
        certified = found.scored == total

        def stages() -> tuple[Stage, ...]:
            choosing, refining, scoring = found.seconds

            def stage(
                name: str, rows: int | NDArray[np.int64], row_bytes: int, seconds: float
            ) -> Stage:
                looked = np.broadcast_to(np.asarray(rows, dtype=np.int64), count)
                return Stage(name, looked, looked * row_bytes, seconds)

            return (
                stage("binary codes", total, -(-d // 64) * 8, preparing + choosing),
                stage("int8 codes", width if kept < width else 0, d + 4, refining),
                stage("floats", found.scored, 4 * d, scoring),
            )

        return Ranking(found.positions, found.scores, certified, stages), passed

    @cached_property
    def _blur(self) -> Blur:
        return Blur(self._segments)

    @cached_property
    def _arrays(self) -> CascadeSegments:
        return CascadeSegments(self._segments)

    def _rank_natively(
        self,
        queries: NDArray[np.float32],
        units: NDArray[np.float32],
        k: int,
        candidates: int,
        kept: int,
        threads: int | None,
        depths: Sequence[int],
        allowed: Allowed,
    ) -> CascadeResult:
        codes = int8_query_codes(units)
        return cascade_top_k(
            self._arrays,
            allowed.masks,
            queries,
            query_words(binary_codes(units)),
            codes.codes,
            k,
            candidates,
            kept,
            depths,
            threads,
            self._blur.of(codes),
        )

    def _rank_by_numpy(
        self,
        queries: NDArray[np.float32],
        units: NDArray[np.float32],
        k: int,
        candidates: int,
        kept: int,
        threads: int | None,
        depths: Sequence[int],
        allowed: Allowed,
    ) -> CascadeResult:
        """What native code does in one call, and its definition."""
        times = [time.perf_counter()]
        chosen = self.choose(units, candidates, threads, allowed)
        times.append(time.perf_counter())
        width = sum(rows.shape[1] for rows in chosen)
        found = np.empty((0, len(queries)))
        best = np.broadcast_to(np.arange(width), (len(queries), width))
        many = np.full(len(queries), width, dtype=np.int64)
        if kept < width or depths:
            codes = int8_query_codes(units)
            scores = np.concatenate(
                [
                    int8_gather(segment.int8, segment.scale, codes.codes, rows, threads)
                    for segment, rows in zip(self._segments, chosen, strict=True)
                ],
                axis=1,
            )
            scores[np.isnan(scores)] = np.inf  # its floats decide
            places = np.concatenate([np.arange(rows.shape[1]) for rows in chosen])
            if depths:
                found = leads(scores, places, [candidates], depths)[:, 0]
            best = np.argsort(-scores, axis=1, kind="stable")
            scores = np.take_along_axis(scores, best, axis=1)
            many = kept_rows(scores, many, k, kept, self._blur.of(codes))
            best = np.where(np.arange(width) < many[:, None], best, -1)[:, : many.max()]
        times.append(time.perf_counter())
        exact = np.full(best.shape, -np.inf, dtype=np.float32)
        positions = np.full(best.shape, -1, dtype=np.int64)
        offset = 0
        for segment, rows in zip(self._segments, chosen, strict=True):
            if not rows.shape[1]:  # none of its rows is allowed
                continue
            here = (best >= offset) & (best < offset + rows.shape[1])
            local = np.where(here, best - offset, 0)
            indices = np.where(here, np.take_along_axis(rows, local, axis=1), -1)
            exact = np.where(here, cosine_gather(segment.vectors, queries, indices, threads), exact)
            positions = np.where(here, indices + segment.first_row, positions)
            offset += rows.shape[1]
        wrong = positions[(best >= 0) & ~np.isfinite(exact)]
        ranked_positions, ranked_scores = rank_rows(positions, exact, k)
        times.append(time.perf_counter())
        choosing, refining, scoring = np.diff(times).tolist()
        return CascadeResult(
            ranked_scores,
            ranked_positions,
            found.T,
            many,
            (choosing, refining, scoring),
            int(wrong[0]) if len(wrong) else -1,
        )
