"""Exact search is float64 brute force; the other ways agree with it on what they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsearch import BuildOptions, Index, QueryError
from qsearch.codes import unit_rows
from qsearch.retrieval import search_exact
from qsearch.store import Segment


def oracle(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Brute force in float64: cosine, rounded to float32, ties by position."""
    wide, q = rows.astype(np.float64), queries.astype(np.float64)
    cosines = (q @ wide.T) / np.sqrt((q**2).sum(1)[:, None] * (wide**2).sum(1)[None])
    scores = cosines.astype(np.float32)
    order = np.stack([np.lexsort((np.arange(len(rows)), -row)) for row in scores])[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def in_memory(rows: np.ndarray, pieces: int = 1) -> list[Segment]:
    """Segments over ``rows``, without files; exact search uses the float rows only."""
    nothing = np.empty(0)
    segments, first = [], 0
    for piece in np.array_split(rows, pieces):
        segments.append(
            Segment("x", first, len(piece), piece, nothing, nothing, nothing, nothing, None)
        )
        first += len(piece)
    return segments


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(1, n // 20), d))
    rows = centres[generator.integers(len(centres), size=n)]
    return unit_rows(rows + 0.3 * generator.standard_normal((n, d)))[0]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 200),
    d=st.integers(1, 40),
    k=st.integers(1, 30),
    pieces=st.integers(1, 4),
    kind=st.sampled_from(["random", "grid", "one-hot", "equal", "nearly equal", "duplicates"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_search_is_brute_force(
    n: int, d: int, k: int, pieces: int, kind: str, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n, d))
    if kind == "grid":
        rows = np.rint(rows)
        rows[~rows.any(axis=1)] = 1.0
    elif kind == "one-hot":
        rows = np.eye(d)[generator.integers(d, size=n)]
    elif kind == "equal":
        rows[:] = rows[0]
    elif kind == "nearly equal":
        rows = rows[0] * (1 + 1e-7 * generator.standard_normal((n, d)))
    elif kind == "duplicates":
        rows = rows[generator.integers(max(1, n // 3), size=n)]
    units = unit_rows(rows)[0]
    queries = np.concatenate([units[:2], generator.standard_normal((3, d))]).astype(np.float32)
    k, pieces = min(k, n), min(pieces, n)
    ranking = search_exact(in_memory(units, pieces), queries, k)
    positions, scores = oracle(units, queries, k)
    assert ranking.certified.all()
    # The oracle sums in another order, so a cosine that lies on a rounding boundary of float32 may
    # fall to its other side; more than one unit in the last place it never differs.
    assert (np.abs(ranking.scores - scores) <= 2.0**-24).all()
    differing = ranking.positions != positions
    gap = np.abs(ranking.scores - scores)[differing]
    assert differing.sum() == 0 or (gap <= 2.0**-24).all()
    for i in range(len(queries)):
        assert len(set(ranking.positions[i])) == k
        keys = list(zip(-ranking.scores[i], ranking.positions[i], strict=True))
        assert keys == sorted(keys)


def test_exact_search_of_ties_takes_the_first_documents() -> None:
    rows = np.tile(unit_rows(np.ones((1, 10)))[0], (5000, 1))
    ranking = search_exact(in_memory(rows, 3), rows[:1], 7)
    assert ranking.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert (ranking.scores == 1.0).all()


@pytest.mark.parametrize("d", [3, 64, 384, 4096])
def test_exact_search_over_many_blocks_is_brute_force(d: int) -> None:
    n = 40_000 if d < 1000 else 2000
    rows = clustered(n, d, seed=d)
    queries = np.random.default_rng(1).standard_normal((70, d)).astype(np.float32)
    queries[:20] = rows[:20]
    ranking = search_exact(in_memory(rows, 3), queries, 10)
    positions, scores = oracle(rows, queries, 10)
    assert np.array_equal(ranking.positions, positions)
    assert np.array_equal(ranking.scores, scores)


@pytest.fixture(scope="module")
def graph_index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    rows = clustered(5000, 64, seed=5)
    return Index.build(
        None,
        tmp_path_factory.mktemp("graph") / "index",
        embeddings=rows * np.float32(3.5),
        options=BuildOptions(graph=True, segment_rows=1),  # a segment per chunk
    )


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(11).standard_normal((40, 64)).astype(np.float32)


@pytest.mark.parametrize("method", ["binary", "graph"])
def test_candidates_are_rescored_exactly(
    graph_index: Index, queries: np.ndarray, method: str
) -> None:
    exact = graph_index.search_vectors(queries, 5000)
    found = graph_index.search_vectors(queries, 10, method=method, candidates=50)
    assert not found.certified.any()
    for i in range(len(queries)):
        true = dict(zip(exact.positions[i].tolist(), exact.scores[i].tolist(), strict=True))
        for position, score in zip(
            found.positions[i].tolist(), found.scores[i].tolist(), strict=True
        ):
            assert true[position] == score
        keys = list(zip(-found.scores[i], found.positions[i], strict=True))
        assert keys == sorted(keys)


@pytest.mark.parametrize(("method", "least"), [("binary", 0.9), ("graph", 0.95)])
def test_many_candidates_find_nearly_everything(
    graph_index: Index, queries: np.ndarray, method: str, least: float
) -> None:
    exact = graph_index.search_vectors(queries, 10).positions
    found = graph_index.search_vectors(queries, 10, method=method, candidates=1000).positions
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert recall >= least


def test_binary_with_every_candidate_is_exact_and_says_so(
    graph_index: Index, queries: np.ndarray
) -> None:
    exact = graph_index.search_vectors(queries, 10)
    found = graph_index.search_vectors(queries, 10, method="binary", candidates=10_000)
    assert found.certified.all()
    assert np.array_equal(found.positions, exact.positions)
    assert np.array_equal(found.scores, exact.scores)


def test_a_batch_gives_what_single_queries_give(graph_index: Index, queries: np.ndarray) -> None:
    for method in ("exact", "binary", "graph"):
        batch = graph_index.search_vectors(queries, 7, method=method)
        for i in range(0, len(queries), 7):
            alone = graph_index.search_vectors(queries[i : i + 1], 7, method=method)
            assert np.array_equal(alone.positions[0], batch.positions[i])
            assert np.array_equal(alone.scores[0], batch.scores[i])


def test_more_hits_than_documents_gives_them_all_without_padding(tmp_path: Path) -> None:
    index = Index.build(
        None, tmp_path / "i", embeddings=clustered(3, 8, 0), options=BuildOptions(graph=True)
    )
    for method in ("exact", "binary", "graph"):
        found = index.search_vectors(np.ones((2, 8)), 50, method=method)
        assert found.positions.shape == (2, 3)
        assert sorted(found.positions[0]) == [0, 1, 2]


def test_scaling_a_query_changes_no_ranking(graph_index: Index, queries: np.ndarray) -> None:
    reference = graph_index.search_vectors(queries, 10)
    for factor in (2.0**-100, 2.0**60):
        scaled = graph_index.search_vectors(queries * np.float32(factor), 10)
        assert np.array_equal(scaled.positions, reference.positions)
        assert np.array_equal(scaled.scores, reference.scores)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones(64), r"shape \(queries, 64\).*v\[None, :\]"),
        (np.ones((1, 63)), "64 dimensions, the query vectors have 63"),
        (np.full((1, 64), np.nan), "query vector 0 holds NaN"),
        (np.full((1, 64), 1e300), "NaN or infinity"),
        (np.zeros((2, 64)), "query vector 0 is zero"),
        (np.array([["a"] * 64]), "array of numbers"),
        ([[1.0] * 64, [2.0]], "array of numbers"),
    ],
)
def test_bad_query_vectors_are_refused(graph_index: Index, vectors: object, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        graph_index.search_vectors(vectors)  # type: ignore[arg-type] # (what a caller may get wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1, found 0"),
        ({"k": -3}, "found -3"),
        ({"k": 2.5}, "whole number"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"method": "binary", "k": 10, "candidates": 5}, "at least k = 10"),
        ({"candidates": 50}, "no candidates"),
    ],
)
def test_bad_search_options_are_refused(
    graph_index: Index, options: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        graph_index.search_vectors(np.ones((1, 64)), **options)  # type: ignore[arg-type] # (what a caller may get wrong)
