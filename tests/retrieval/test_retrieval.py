"""The ways of retrieval agree with exact search on what they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qsearch import BuildOptions, Index, QueryError
from qsearch.codes import unit_rows


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(1, n // 20), d))
    rows = centres[generator.integers(len(centres), size=n)]
    return unit_rows(rows + 0.3 * generator.standard_normal((n, d)))[0]


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


@pytest.mark.parametrize("method", ["binary", "graph", "cascade"])
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


@pytest.mark.parametrize(("method", "least"), [("binary", 0.9), ("cascade", 0.9), ("graph", 0.95)])
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
    for method in ("exact", "binary", "graph", "cascade"):
        batch = graph_index.search_vectors(queries, 7, method=method)
        for i in range(0, len(queries), 7):
            alone = graph_index.search_vectors(queries[i : i + 1], 7, method=method)
            assert np.array_equal(alone.positions[0], batch.positions[i])
            assert np.array_equal(alone.scores[0], batch.scores[i])


def test_more_hits_than_documents_gives_them_all_without_padding(tmp_path: Path) -> None:
    index = Index.build(
        None, tmp_path / "i", embeddings=clustered(3, 8, 0), options=BuildOptions(graph=True)
    )
    for method in ("exact", "binary", "graph", "cascade"):
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
        ({"candidates": 50}, "candidates need a method .binary, graph, cascade.; name one"),
        ({"candidates": 50, "recall": 0.9}, "candidates need a method"),
        ({"candidates": 50, "method": "exact"}, "an exact search has no candidates"),
        ({"recall": 0}, "above 0 and at most 1"),
        ({"recall": 1.5}, "at most 1, found 1.5"),
        ({"recall": "most"}, "'exact' or a number"),
        ({"recall": True}, "'exact' or a number"),
        ({"recall": np.float32(np.nan)}, "above 0 and at most 1"),
        ({"recall": 0.9, "method": "graph"}, "a recall or a method, not both"),
        ({"recall": 1, "method": "binary"}, "a recall or a method, not both"),
        ({"recall": 0.9, "method": "exact"}, "has recall 1"),
    ],
)
def test_bad_search_options_are_refused(
    graph_index: Index, options: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        graph_index.search_vectors(np.ones((1, 64)), **options)  # type: ignore[arg-type] # (what a caller may get wrong)
