"""Candidates by codes: what is chosen segment by segment, in how large steps, and how it is ranked."""

from __future__ import annotations

import numpy as np
import pytest

import qsearch.retrieval.ranking as ranking
from qsearch.kernels import RowMask
from qsearch.retrieval.ranking import Candidates, search_candidates
from qsearch.store import Segment
from tests.retrieval.segments import oracle, segments_of


class Watched:
    """Proposes rows by chance, and remembers how many places it was asked to fill at a time."""

    def __init__(self, segment: Segment, missing: float = 0.0) -> None:
        self._rows = segment.rows
        self._missing = missing
        self.places: list[int] = []

    def nearest(
        self,
        queries: np.ndarray,
        count: int,
        threads: int | None = None,
        mask: RowMask | None = None,
    ) -> Candidates:
        self.places.append(len(queries) * count)
        rows = np.stack([self._proposed(query, count) for query in queries])
        return Candidates(rows, np.full(len(queries), self._rows), 3)

    def _proposed(self, query: np.ndarray, count: int) -> np.ndarray:
        generator = np.random.default_rng(list(query.tobytes()))
        rows = generator.permutation(self._rows)[:count]
        return np.where(generator.random(len(rows)) < self._missing, -1, rows)


@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_candidates_of_many_queries_are_taken_a_few_queries_at_a_time(
    pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(3)
    segments = segments_of(generator.standard_normal((400, 24)).astype(np.float32), pieces)
    queries = generator.standard_normal((41, 24)).astype(np.float32)
    sources = [Watched(segment) for segment in segments]
    whole = search_candidates(segments, sources, queries, 7, 30)
    monkeypatch.setattr(ranking, "BATCH_PLACES", 200)
    watched = [Watched(segment) for segment in segments]
    parts = search_candidates(segments, watched, queries, 7, 30)
    assert max(max(source.places) for source in watched) <= 200
    np.testing.assert_array_equal(parts.positions, whole.positions)
    np.testing.assert_array_equal(parts.scores, whole.scores)
    for one, other in zip(parts.stages, whole.stages, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.bytes, other.bytes)


@pytest.mark.parametrize("pieces", [1, 5])
def test_all_rows_as_candidates_are_an_exact_search_and_proven(pieces: int) -> None:
    generator = np.random.default_rng(4)
    rows = generator.standard_normal((120, 16)).astype(np.float32)
    queries = generator.standard_normal((9, 16)).astype(np.float32)
    segments = segments_of(rows, pieces)
    found = search_candidates(segments, [Watched(one) for one in segments], queries, 12, 120)
    positions, scores = oracle(rows, queries, 12)
    np.testing.assert_array_equal(found.positions, positions)
    np.testing.assert_array_equal(found.scores, scores)
    assert found.certified.all()
    assert (found.stages[0].rows == 120).all()  # as the sources say
    assert (found.stages[0].bytes == 3 * 120).all()


def test_a_source_that_finds_too_few_rows_leaves_places_empty() -> None:
    generator = np.random.default_rng(6)
    segments = segments_of(generator.standard_normal((60, 8)).astype(np.float32), 2)
    queries = generator.standard_normal((5, 8)).astype(np.float32)
    sources = [Watched(one, missing=0.9) for one in segments]
    found = search_candidates(segments, sources, queries, 20, 20)
    empty = found.positions < 0
    assert empty.any()
    assert (np.sort(empty, axis=1) == empty).all()  # behind those that were found
    assert np.isneginf(found.scores[empty]).all()
    assert not found.certified.any()
    assert (found.stages[1].rows == (~empty).sum(axis=1)).all()
