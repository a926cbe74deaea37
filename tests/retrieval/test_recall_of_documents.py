"""Recall is measured and reached for documents, where rows are passages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from qsearch.codes import unit_rows
from qsearch.retrieval import measure
from qsearch.retrieval.documents import DocumentRows
from qsearch.retrieval.measuring import FROM_PASSAGES
from qsearch.store.segment import Segment
from tests.retrieval.segments import segment_of
from tests.retrieval.test_recall import DIMENSIONS, world


def segments_with_passages(rows: np.ndarray, per_document: int, pieces: int) -> list[Segment]:
    """Segments of which every so many rows are one document."""
    segments = []
    for piece in np.array_split(np.arange(len(rows) // per_document), pieces):
        first = int(piece[0]) * per_document
        some = rows[first : first + len(piece) * per_document]
        numbers = np.repeat(np.arange(len(piece)), per_document)
        places = np.tile(np.arange(per_document), len(piece))
        segments.append(
            dataclasses.replace(
                segment_of(some, first),
                first_document=int(piece[0]),
                passages=np.stack([numbers, places, places + 1], axis=1),
            )
        )
    return segments


def test_rows_and_documents_know_each_other() -> None:
    segments = segments_with_passages(world(120, 0), 4, 3)
    documents = DocumentRows(segments)
    assert (documents.split, documents.count, documents.rows) == (True, 30, 120)
    positions = np.array([[0, 3, 4, 119, -1], [40, 41, 79, 80, 7]])
    assert documents.documents(positions).tolist() == [[0, 0, 1, 29, -1], [10, 10, 19, 20, 1]]
    assert documents.spans(positions)[1].tolist() == [[0, 1], [1, 2], [3, 4], [0, 1], [3, 4]]
    assert [documents.rows_of(one).tolist() for one in (0, 10, 29)] == [
        [0, 1, 2, 3], [40, 41, 42, 43], [116, 117, 118, 119]
    ]  # fmt: skip


@pytest.mark.parametrize("own", [True, False])
def test_recall_is_measured_for_documents(own: bool) -> None:
    """By hand: the best row of each document, and how many candidates it takes to find it."""
    noise = np.random.default_rng(3).standard_normal((4000, DIMENSIONS)) * 0.04
    rows = unit_rows(np.repeat(world(1000, 1), 4, axis=0) + noise)[0]  # passages are alike
    segments = segments_with_passages(rows, 4, 2)
    queries = None if own else world(60, 2)
    tuning = measure(segments, queries, "test", lambda count: None)
    assert tuning is not None
    assert tuning.documents == 1000
    assert [curve.k for curve in tuning.curves] == [1, 3, 10, 30, 100]
    assert tuning.measured_on == (FROM_PASSAGES if own else "test")
    signs = rows > 0
    halves = np.repeat([0, 1], 2000)

    def recalls(query: np.ndarray, left_out: list[int]) -> list[float]:
        """For each depth, at the first number of candidates."""
        usable = ~np.isin(np.arange(4000) // 4, left_out)
        scores, distances = rows.astype(np.float64) @ query, ((query > 0) != signs).sum(axis=1)
        best: dict[int, int] = {}
        for row in np.argsort(-scores, kind="stable"):
            if usable[row] and len(best) < 100:
                best.setdefault(row // 4, row)
        nearest = []
        for half in (0, 1):
            here = np.flatnonzero((halves == half) & usable)
            nearest.append(here[np.argsort(distances[here], kind="stable")])
        found = []
        for curve in tuning.curves:
            chosen = np.concatenate([one[: curve.points[0].candidates] for one in nearest])
            found.append(np.isin(list(best.values())[: curve.k], chosen).mean())
        return found

    if queries is not None:
        expected = np.mean([recalls(query, []) for query in queries], axis=0)
    else:  # the worse of passages and middles between two
        chosen = np.unique(np.linspace(0, 3999, 250).round().astype(int))
        others = chosen[np.random.default_rng(0).permutation(250)]
        alone = [recalls(rows[one], [one // 4]) for one in chosen]
        middles = [
            recalls(rows[one] + rows[two], [one // 4, two // 4])
            for one, two in zip(chosen, others, strict=True)
        ]
        expected = np.minimum(np.mean(alone, axis=0), np.mean(middles, axis=0))
    # The curve also counts what the int8 codes lose: next to nothing.
    measured = [curve.points[0].recall for curve in tuning.curves]
    assert measured == pytest.approx(expected, abs=0.002)


def test_a_recall_that_is_asked_for_is_reached_for_documents(tmp_path: Path) -> None:
    from qsearch.retrieval import Searcher

    segments = segments_with_passages(world(24_000, 1), 3, 2)
    tuning = measure(segments, world(500, 5), "test", lambda count: None)
    searcher = Searcher(segments, tuning)
    queries = world(300, 9)
    exact = searcher.search(queries, searcher.request(10))
    truth = searcher.documents.documents(exact.positions)
    assert exact.certified.all()
    used = set()
    for recall in (0.8, 0.9, 0.95):
        request = searcher.request(10, recall=recall)
        used.add(request.method)
        found = searcher.documents.documents(searcher.search(queries, request).positions)
        shares = [len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]
        assert np.mean(shares) >= recall
    assert "cascade" in used or all(
        searcher.request(10, recall=recall).plan.reason == "an exact search is as fast here"
        for recall in (0.8, 0.9, 0.95)
    )
    every = searcher.request(10, recall=0.8, all_passages=True)
    assert every.method == "exact"
    assert "not for passages" in every.plan.reason
