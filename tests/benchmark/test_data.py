"""The data of the benchmark: rows, queries, the truth and recall."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scripts.benchmark import data as data_sets
from scripts.benchmark.systems.base import best, padded, rescored, unit
from tests.benchmark.world import clustered


def test_the_truth_is_that_of_all_cosines() -> None:
    rows, queries = clustered(3000, 9)
    rows *= np.random.default_rng(0).uniform(0.2, 3.0, size=(3000, 1)).astype(np.float32)
    positions, scores = data_sets.truth(rows, queries)
    wide = rows.astype(np.float64)
    cosines = queries.astype(np.float64) @ (wide / np.linalg.norm(wide, axis=1, keepdims=True)).T
    cosines /= np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    assert (positions == np.argsort(-cosines, axis=1)[:, :100]).all()
    assert np.allclose(scores, -np.sort(-cosines, axis=1)[:, :100])


def test_recall_counts_rows_that_are_as_near() -> None:
    rows = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 3]] + np.float32(0.01)
    queries = unit(rows[:1])
    _, scores = data_sets.truth(rows, queries)

    def recall(*found: int) -> float:
        return data_sets.recall(rows, queries, np.array([found]), scores, len(found))[0]

    assert recall(0, 1) == recall(2, 1) == 1.0  # three rows are equal
    assert recall(2, 2) == 0.5  # one row is one row
    assert recall(0, 4) == recall(0, -1) == 0.5


def test_candidates_are_ordered_by_their_floats() -> None:
    rows, queries = clustered(200, 5)
    rows = unit(rows)
    scores = queries @ rows.T
    order = np.argsort(-scores, axis=1)
    candidates = np.concatenate(
        [order[:, 5:40][:, ::-1], order[:, :5], np.full((5, 2), -1)], axis=1
    )
    assert (rescored(queries, candidates, rows, 10) == order[:, :10]).all()
    assert (best(order, np.take_along_axis(scores, order, 1), 3) == order[:, :3]).all()
    assert padded([[1, 2, 3], [4]], 2).tolist() == [[1, 2], [4, -1]]


def test_data_sets_are_made_of_what_there_is(registry: Path) -> None:
    folders = {"registry": registry}
    some = data_sets.registry(folders, 50)
    assert some.rows.shape == (50, 64)
    assert len(some.queries) == len(some.sample) == 20
    assert not set(map(bytes, some.queries)) & set(map(bytes, some.sample))
    more = data_sets.registry(folders, 900)
    assert len(more.rows) == 900
    assert np.allclose(np.linalg.norm(more.rows, axis=1), 1, atol=1e-3)
    assert "OMP_NUM_THREADS" not in data_sets.os.environ  # search.py's, put back


def test_token_embeddings_are_asked_with_what_is_not_among_them() -> None:
    made = data_sets.tokens({}, None)
    assert made.rows.shape == (29_522, 384)
    lengths = np.linalg.norm(made.rows, axis=1)
    assert lengths.max() > 1.5 * lengths.min()
    assert len(made.queries) == len(made.sample) == 150
