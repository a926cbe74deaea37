"""What is fastest for one query is not what is fastest for many: plans are made for so many as come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import Index, evaluate
from qsearch.retrieval import Tuning
from qsearch.retrieval.costs import Costs
from qsearch.retrieval.tuning import Curve, Level, Point
from tests.cli.running import run
from tests.retrieval.segments import segments_of
from tests.retrieval.test_recall import world
from tests.retrieval.times import always, make_up_times


def costs(exact: tuple[float, float], candidates: tuple[float, float]) -> pytest.MonkeyPatch:
    """Times, alone and in batches, as they shall have been measured."""
    patch = pytest.MonkeyPatch()
    make_up_times(patch, always(*exact), always(*candidates))
    return patch


@pytest.fixture(scope="module", params=["alone", "batches"])
def index(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Index, bool]]:
    """One where candidates pay for a query alone, or for batches; and whether it is the former."""
    alone = request.param == "alone"
    patch = costs((20.0, 1.0), (2.0, 0.95)) if alone else costs((2.0, 1.0), (1.95, 0.1))
    path = tmp_path_factory.mktemp("together") / "indexes" / "i"
    with Index.build(None, path, embeddings=world(5000, 1)) as built:
        patch.undo()
        yield built, alone


def test_searches_take_what_is_fastest_for_so_many(index: tuple[Index, bool]) -> None:
    opened, alone = index
    queries = world(64, 2)
    truth = opened.search_vectors(queries)
    ones = [opened.search_vectors(queries[number : number + 1], recall=0.9) for number in range(64)]
    together = opened.search_vectors(queries, recall=0.9)
    by_candidates, exact = (ones, [together]) if alone else ([together], ones)
    assert not all(one.certified.all() for one in by_candidates)
    assert all(one.certified.all() for one in exact)
    for found in (np.concatenate([one.positions for one in ones]), together.positions):
        share = (found[:, :, None] == truth.positions[:, None, :]).any(axis=2).mean()
        assert share >= 0.9
    results = opened.search_by_vectors(queries, recall=0.9, explain=True)
    told = {(one.method, one.certified) for one in results}
    assert told == {("exact", True)} if alone else ("cascade", False) in told
    (one,) = opened.search_by_vectors(queries[:1], recall=0.9, explain=True)
    assert one.explanation is not None
    assert (one.explanation.reason == "an exact search is as fast here") != alone


def test_evaluations_measure_queries_alone_and_tell_of_batches(index: tuple[Index, bool]) -> None:
    opened, alone = index
    found = evaluate(opened, vectors=world(64, 2), ways=["exact", "0.9"], k=10, timed=False)
    told = "0.9 at k = 10: {} searched exactly (an exact search is as fast here)"
    assert told.format("in batches of 64" if alone else "one by one") in found.notes
    way = found.ways[1]
    assert bool(way.answers[10].certified.all()) != alone


def test_info_tells_both(index: tuple[Index, bool]) -> None:
    opened, alone = index
    text = run("info", cwd=opened.path.parents[1]).stdout
    exact = "20.000 ms for a query alone, 1.000 ms a query in batches" if alone else "2.000 ms for"
    assert f"exact: {exact}" in text
    by_candidates, by_floats = ("alone", "in batches") if alone else ("in batches", "alone")
    lines = text.partition("k = 10 ")[2]
    assert f"{by_floats}: an exact search is as fast here" in lines
    assert f" {by_candidates}: " in lines
    assert "candidates, and" in lines
    told = json.loads(run("info", "--format", "json", cwd=opened.path.parents[1]).stdout)["tuning"]
    curve = next(one for one in told["curves"] if one["k"] == 10)
    assert (curve["exact_alone"], curve["exact_milliseconds"]) == ((20, 1) if alone else (2, 1))


def curve(alone: float | None, exact_alone: float | None) -> Curve:
    """An exact search takes 1 ms a query in batches, and candidates take half of it."""
    point = Point(40, 0.95, 0.5, (Level(1.0, 0.95, 0.9, 0.1),), alone)
    return Curve(10, 10, 20, 1.0, (point,), exact_alone)


def test_costs_are_those_of_so_many() -> None:
    one = curve(4.0, 20.0)
    (point,) = one.points
    assert one.exact_cost(1) == pytest.approx(20.0)
    assert one.exact_cost(64) == pytest.approx(1.0)
    assert one.cost(point, 0.0, 1) == pytest.approx(4.0)
    assert one.cost(point, 0.0, 64) == pytest.approx(0.5)
    assert one.cost(point, 0.1, 1) == pytest.approx(4.0 + 0.1 * 20.0)
    # Of 64 some are answered exactly nearly always, which reads all codes: what one exact query takes once.
    once = 20.0 - (64.0 - 20.0) / 63
    each = (64.0 - 20.0) / 63
    some = (1 - 0.9**64) * once / 64 + 0.1 * each
    assert one.cost(point, 0.1, 64) == pytest.approx(0.5 + some)
    assert one.exact_cost(10_000) < one.exact_cost(64)
    for count in (1, 2, 8, 64, 1000):
        assert one.exact_cost(count) >= one.exact_cost(2 * count)
        assert one.cost(point, 0.1, count) >= one.cost(point, 0.1, 2 * count)


def test_what_an_earlier_qsearch_measured_is_planned_as_before() -> None:
    one = curve(None, None)
    (point,) = one.points
    for count in (1, 64):
        assert one.exact_cost(count) == 1.0
        assert one.cost(point, 0.1, count) == pytest.approx(0.6)
    told = Tuning("x", 100, 50, 1000, (one,)).to_json()
    del told["curves"][0]["exact_alone"], told["curves"][0]["points"][0]["alone"]
    assert Tuning.from_json(told) == Tuning("x", 100, 50, 1000, (one,))


def test_candidates_must_save_a_tenth() -> None:
    for milliseconds, exact in ((0.89, False), (0.91, True)):
        point = Point(40, 0.95, milliseconds, (Level(1.0, 0.95, 0.9, 0.0),), 1.0)
        tuning = Tuning("x", 100, 50, 1000, (Curve(10, 10, 20, 1.0, (point,), 10.0),))
        assert tuning.plan(0.9, 10, 64).exact is exact
        assert not tuning.plan(0.9, 10).exact


@pytest.mark.parametrize("bytes_timed", [1 << 28, 60_000])
def test_costs_stand_for_the_whole_index(bytes_timed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some segments, or of a part of one, as of all."""
    monkeypatch.setattr("qsearch.retrieval.costs._TIMED_BYTES", bytes_timed)
    rows = world(4000, 3)
    for count in (1, 4):
        costs = Costs(segments_of(rows, count), world(70, 4), 1)
        alone, batch = costs.exact(10)
        assert 0 < batch < 100
        assert 0 < alone < 1000
        both = costs.candidates(10, 20, [40, 60, 90, 135, 200])
        assert all(len(times) == 5 and (times > 0).all() for times in both)
        costs.close()


def test_deleted_rows_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first rows are all gone, the others are."""
    monkeypatch.setattr("qsearch.retrieval.costs._TIMED_BYTES", 60_000)
    with Index.build(None, tmp_path / "i", embeddings=world(3000, 1)) as index:
        for gone in (200, 600):  # the first half of what is timed, and all of it
            index.delete([str(number) for number in range(gone)], missing_ok=True)
            costs = Costs(index._open.segments, world(70, 4), 1)
            assert costs._further < 20
            assert costs.exact(10)[0] > 0
            assert costs.candidates(10, 20, [40, 200])[1].min() > 0


@pytest.mark.parametrize("way", [{}, {"recall": 0.5}, {"method": "cascade"}, {"method": "binary"}])
def test_no_query_has_no_answer(way: dict[str, Any], index: tuple[Index, bool]) -> None:
    found = index[0].search_vectors(np.empty((0, 96), dtype=np.float32), 5, **way)
    assert (found.positions.shape, found.certified.shape) == ((0, 5), (0,))
    assert index[0].search_by_vectors(np.empty((0, 96), dtype=np.float32), 5, **way) == []


@pytest.mark.parametrize("value", [10**400, 1e30, -1.0, float("nan"), "1", True])
def test_what_cannot_have_been_measured_is_told(value: object) -> None:
    (point,) = curve(4.0, 20.0).points
    told = Tuning("x", 100, 50, 1000, (curve(4.0, 20.0),)).to_json()
    of_curve = told["curves"][0]
    of_point = of_curve["points"][0]
    for place, name in (
        (of_curve, "exact_alone"),
        (of_curve, "exact_milliseconds"),
        (of_curve, "depth"),
        (of_point, "alone"),
        (of_point["levels"][0], "exact"),
        (of_point["levels"][0], "least"),
    ):
        before, place[name] = place[name], value
        with pytest.raises(ValueError, match="Error: "):
            Tuning.from_json(told)
        place[name] = before
    assert Tuning.from_json(told) is not None
    assert curve(4.0, 20.0).cost(point, 1e9, 1024) > 0
