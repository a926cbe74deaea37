"""Searches by graph, and a recall that is reached by one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qsearch import BuildOptions, Index, QueryError
from qsearch.retrieval import Plan, measure
from qsearch.retrieval.tuning import Check, Curve, Level, Point, Tuning
from qsearch.store.soundness import graph_problems
from tests.retrieval.test_recall import recall_of, world
from tests.retrieval.times import always, each, make_up_times

ROWS, DIMENSIONS = 20_000, 96


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """With a graph that is faster than whatever else there is: times are not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        make_up_times(patch, always(1000.0, 1000.0), always(500.0, 500.0), each(1e-3))
        patch.setattr("qsearch.retrieval.measuring._ROWS_OF_BEAM", 40)
        with Index.build(
            None,
            tmp_path_factory.mktemp("graph") / "i",
            embeddings=world(ROWS, 1),
            options=BuildOptions(graph=True, tune_queries=world(400, 2)),
        ) as built:
            yield built


def plan_of(index: Index, recall: float, *, alike: bool = False) -> Plan:
    assert index.tuning is not None
    return index.tuning.plan(recall, 10, alike=alike)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("recall", [0.8, 0.9, 0.95])
def test_recall_asked_for_is_recall_got(index: Index, recall: float, alike: bool) -> None:
    """Over 20 samples of 100 queries, in all but what the confidence allows."""
    assert plan_of(index, recall, alike=alike).method == "graph"
    samples = []
    for seed in range(20):
        queries = world(100, 100 + seed)
        truth = index.search_vectors(queries).positions
        found = index.search_vectors(queries, recall=recall, alike=alike)
        shares = (found.positions[:, :, None] == truth[:, None, :]).any(axis=2)
        samples.append(float(shares.mean()))
    # With probability 0.05 each, 4 or more of 20 happen in 1.6% of all worlds; this one is fixed.
    assert sum(one < recall for one in samples) <= 3, samples


def test_a_query_unlike_the_sample_is_answered_exactly_unless_it_is_said_to_be_alike(
    index: Index,
) -> None:
    strange = np.random.default_rng(5).standard_normal((200, DIMENSIONS)).astype(np.float32)
    truth = index.search_vectors(strange)
    found = index.search_vectors(strange, recall=0.9)
    assert found.certified.mean() > 0.9
    assert np.array_equal(found.positions[found.certified], truth.positions[found.certified])
    alike = index.search_vectors(strange, recall=0.9, alike=True)
    if not plan_of(index, 0.9, alike=True).checks:  # else what any kind gets is as fast
        assert not alike.certified.any()
        same = (alike.positions == truth.positions).mean()
        assert same < (found.positions == truth.positions).mean()
    # What one query gets does not depend on those beside it.
    for number in (0, 7, 199):
        alone = index.search_vectors(strange[number : number + 1], recall=0.9)
        assert np.array_equal(alone.positions[0], found.positions[number])
        assert alone.certified[0] == found.certified[number]


def test_the_curve_is_what_the_graph_does(index: Index) -> None:
    queries = world(200, 7)
    tuning = measure(index._open.segments, queries, "test", lambda count: None)
    assert tuning is not None
    curve = next(one for one in tuning.curves if one.k == 10)
    assert [point.candidates for point in curve.beams] == [
        16,
        24,
        32,
        48,
        64,
        96,
        128,
        192,
        256,
        384,
    ]
    truth = index.search_vectors(queries).positions
    graph = index._open.searcher._graph
    for point in curve.beams:
        ranking, passed = graph.search(
            queries, 10, point.candidates, min(point.candidates, max(10, curve.beams_kept))
        )
        assert passed.all()
        shares = (ranking.positions[:, :, None] == truth[:, None, :]).any(axis=2)
        assert shares.mean() == pytest.approx(point.recall, abs=1e-6)
        assert 0 < point.alike < point.recall
        lows = [level.low for level in point.levels]
        assert lows == sorted(lows)
        assert point.levels[0].exact == 0
    assert [point.recall for point in curve.beams] == sorted(point.recall for point in curve.beams)
    assert type(tuning).from_json(tuning.to_json()) == tuning
    assert any(level.gap > 0 for point in curve.beams for level in point.levels)
    # What an earlier qsearch measured promised too much; what a later one will have, nobody knows.
    for version in (1, 2, 4):
        assert type(tuning).from_json({**tuning.to_json(), "version": version}) is None


def test_alike_is_never_slower_than_any_kind() -> None:
    levels = (Level(0.0, 0.97, 0.93, 0.0), Level(0.2, 0.98, 0.96, 0.1), Level(0.3, 0.99, 0.97, 0.9))
    # A narrow beam holds for any kind, with the worst tenth answered exactly; for those alike a wide one.
    narrow = Point(16, 0.97, 0.05, levels, 0.1, alike=0.94)
    for milliseconds, checks in ((0.9, (Check(10, 0.2),)), (0.15, ())):
        wide = Point(
            512, 0.99, milliseconds / 2, (Level(0.0, 0.9, 0.5, 0.0),), milliseconds, alike=0.98
        )
        curve = Curve(10, 10, 20, 0.2, (), 1.0, (narrow, wide), 20)
        tuning = Tuning("test", 100, 100, 10_000, (curve,))
        plan = tuning.plan(0.95, 10, alike=True)
        assert plan.checks == checks
        assert plan.candidates == (16 if checks else 512)
        assert tuning.plan(0.95, 10).checks == (Check(10, 0.2),)


def test_without_native_kernels_a_recall_is_reached_without_the_graph(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = world(1, 3)
    assert index._open.searcher.request(10, recall=0.9, alike=True).method == "graph"
    with Index.open(index.path) as same:
        monkeypatch.setenv("QSEARCH_KERNELS", "numpy")
        assert same._open.searcher.request(10, recall=0.9, alike=True).method != "graph"
        found = same.search_vectors(query, recall=0.9, alike=True)
    monkeypatch.delenv("QSEARCH_KERNELS")
    assert found.positions[0, 0] == index.search_vectors(query).positions[0, 0]


@pytest.mark.parametrize("k", [1, 10])
def test_of_a_walk_that_is_asked_for_by_name_the_best_by_codes_are_rescored(
    index: Index, k: int
) -> None:
    """Not all that it ended with; unless it was to end with every row, which proves the answer."""
    queries = world(20, 7)
    truth = index.search_vectors(queries, k)
    searcher = index._open.searcher
    for candidates, least, most in ((40, 4 * k, 40), (400, 4 * k, 100), (ROWS, ROWS, ROWS)):
        request = searcher.request(k, None, method="graph", candidates=candidates)
        ranking = searcher.search(queries, request)
        scored = ranking.stages[-1].rows
        assert (scored >= least).all()
        assert np.median(scored) <= most
        assert (ranking.certified == (candidates == ROWS)).all()
        hits = (ranking.positions[:, :, None] == truth.positions[:, None, :]).any(axis=2)
        assert hits.mean() > (0.95 if candidates > 40 else 0.7)


def test_alike_is_of_a_recall(index: Index) -> None:
    query = world(1, 3)
    for options in ({}, {"recall": 1}, {"method": "graph"}):
        with pytest.raises(QueryError, match="alike is of a recall below 1"):
            index.search_vectors(query, alike=True, **options)


@pytest.mark.usefixtures("quickly_measured")
def test_rows_that_came_later_and_rows_that_went_are_answered_for(tmp_path: Path) -> None:
    rows = world(9000, 1)
    options = BuildOptions(graph=True)
    with Index.build(None, tmp_path / "i", embeddings=rows[:8000], options=options) as index:
        index.add([{"id": f"new{n}"} for n in range(1000)], embeddings=rows[8000:])
        index.delete([str(n) for n in range(0, 8000, 2)])
        assert [one.graph is not None for one in index._open.segments] == [True, False]
        queries = world(200, 5)
        truth = index.search_vectors(queries)
        found = index.search_vectors(queries, method="graph", candidates=200)
        assert (found.positions == truth.positions).mean() > 0.97
        assert not np.isin(found.positions, np.arange(0, 8000, 2)).any()
        assert (found.positions >= 8000).any()
        same = found.positions == truth.positions
        assert np.array_equal(found.scores[same], truth.scores[same])
        assert recall_of(index, queries, 0.9) >= 0.9


def test_every_row_is_found_where_the_graph_has_no_more_of_them(tmp_path: Path) -> None:
    rows = world(60, 1)
    with Index.build(
        None, tmp_path / "i", embeddings=rows, options=BuildOptions(graph=True)
    ) as index:
        found = index.search_vectors(rows, 60, method="graph", candidates=60)
        truth = index.search_vectors(rows, 60)
        assert np.array_equal(found.positions, truth.positions)
        assert found.certified.all()
        few = index.search_vectors(rows, 10, method="graph", candidates=30)
        assert not few.certified.any()


def test_a_recall_is_reached_without_a_graph_that_is_damaged(
    index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queries = world(100, 3)
    truth = index.search_vectors(queries).positions
    copy = Path(shutil.copytree(index.path, tmp_path / "copy"))
    (path,) = copy.glob("segments/*/sketches.npy")
    with open(path, "r+b") as file:
        file.seek(5000)
        file.write(bytes(100))
    with caplog.at_level(logging.WARNING, "qsearch"), Index.open(copy) as opened:
        found = opened.search_vectors(queries, recall=0.9)
        assert opened._open.searcher.request(10, recall=0.9).method == "cascade"
    assert "a recall is reached without the graph: the graph of segment" in caplog.text
    assert (found.positions[:, :, None] == truth[:, None, :]).any(axis=2).mean() >= 0.9


@pytest.mark.usefixtures("quickly_measured")
def test_the_same_rows_give_the_same_graph(index: Index, tmp_path: Path) -> None:
    with Index.build(
        None, tmp_path / "i", embeddings=world(ROWS, 1), options=BuildOptions(graph=True)
    ) as again:
        ours, others = index._open.segments[0].graph, again._open.segments[0].graph
        assert ours is not None
        assert others is not None
        assert ours.checksums == others.checksums


def test_a_deep_check_holds_sketches_and_links_against_the_rows(index: Index) -> None:
    segment = index._open.segments[0]
    graph = segment.graph
    assert graph is not None
    rows = np.arange(1000, 1100)
    assert not list(graph_problems(segment, rows))
    sketches = graph.sketches.copy()
    sketches[1007, 0, 0] ^= 1
    factors = graph.sketches.copy()
    factors.view(np.float32)[1003, 0, -1] *= 1.001
    behind, itself = graph.links.copy(), graph.links.copy()
    behind[1010, 0] = ROWS
    itself[1011, 1] = 1011
    for changed, name, row in (
        (replace(graph, sketches=sketches), "sketches.npy", 1007),
        (replace(graph, sketches=factors), "sketches.npy", 1003),
        (replace(graph, links=behind), "links.npy", 1010),
        (replace(graph, links=itself), "links.npy", 1011),
    ):
        found = list(graph_problems(replace(segment, graph=changed), rows))
        assert [one for one, _ in found] == [name]
        assert f"row {row} " in found[0][1]
