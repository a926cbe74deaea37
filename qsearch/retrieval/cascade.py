"""The cascade: many candidates by binary codes, fewer by int8 codes, the answer by floats."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_query_codes
from qsearch.kernels import cosine_gather, int8_gather
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.binary import BinaryCandidates
from qsearch.retrieval.lead import lead
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
                least k.
            threads: ``None``: all.
            checks: what each query is held against.
            allowed: rows of every segment; ``None``: all that were not deleted.

        Returns:
            The ranking, and (q,) bool: whether a query passes all checks.
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
            source.nearest(units, min(candidates, most), threads, mask) if most else none
            for source, mask, most in zip(self.binary, allowed.masks, allowed.counts, strict=True)
        ]

    def _int8_scores(
        self,
        units: NDArray[np.float32],
        chosen: Sequence[NDArray[np.int64]],
        threads: int | None,
    ) -> NDArray[np.float32]:
        """The second stage: scores by int8 codes of the rows of every segment, side by side."""
        codes = int8_query_codes(units).codes
        return np.concatenate(
            [
                int8_gather(segment.int8, segment.scale, codes, rows, threads)
                for segment, rows in zip(self._segments, chosen, strict=True)
            ],
            axis=1,
        )

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
        times = [time.perf_counter()]
        units = unit_queries(queries)
        chosen = self.choose(units, candidates, threads, allowed)
        times.append(time.perf_counter())
        width = sum(rows.shape[1] for rows in chosen)
        passed = np.ones(count, dtype=np.bool_)
        if kept < width or checks:
            scores = self._int8_scores(units, chosen, threads)
            places = np.concatenate([np.arange(rows.shape[1]) for rows in chosen])
            for check in checks:
                passed &= lead(scores, places, candidates, check.depth) >= check.least
        if kept < width:
            best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        else:
            best = np.broadcast_to(np.arange(width), (count, width))
        times.append(time.perf_counter())
        found = []
        offset = 0
        positions = np.full(best.shape, -1, dtype=np.int64)
        for segment, rows in zip(self._segments, chosen, strict=True):
            if not rows.shape[1]:  # none of its rows is allowed
                continue
            here = (best >= offset) & (best < offset + rows.shape[1])
            local = np.where(here, best - offset, 0)
            indices = np.where(here, np.take_along_axis(rows, local, axis=1), -1)
            found.append(cosine_gather(segment.vectors, queries, indices, threads))
            positions = np.where(here, indices + segment.first_row, positions)
            offset += rows.shape[1]
        exact = found[0] if len(found) == 1 else np.maximum.reduce(found)
        ranked_positions, ranked_scores = rank_rows(positions, exact, k)
        times.append(time.perf_counter())
        total = allowed.rows
        # Codes alone prove nothing, unless every document was scored.
        certified = np.full(count, best.shape[1] == total)

        def stage(name: str, rows: int, row_bytes: int, number: int) -> Stage:
            looked = np.full(count, rows, dtype=np.int64)
            return Stage(name, looked, looked * row_bytes, times[number + 1] - times[number])

        stages = (
            stage("binary codes", total, -(-d // 64) * 8, 0),
            stage("int8 codes", width if kept < width else 0, d + 4, 1),
            stage("floats", best.shape[1], 4 * d, 2),
        )
        return Ranking(ranked_positions, ranked_scores, certified, stages), passed
