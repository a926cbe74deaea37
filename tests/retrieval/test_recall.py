"""Recall that is asked for is recall that is got, and the curve says what it was measured on."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, EncoderError, Index, QueryError, evaluate
from qsearch.codes import unit_rows
from qsearch.retrieval import CONFIDENCE, Tuning, measure
from qsearch.retrieval.confidence import LowerBounds
from qsearch.retrieval.tuning import Check, Curve, Level, Point
from tests.retrieval.segments import segments_of

DIMENSIONS = 96


def world(n: int, seed: int) -> np.ndarray:
    """Rows with clusters and a falling spectrum, as embeddings have."""
    generator = np.random.default_rng(0)
    spectrum = 1.0 / (1.0 + np.arange(DIMENSIONS) / 12)
    centres = generator.standard_normal((60, DIMENSIONS)) * spectrum
    generator = np.random.default_rng(seed)
    some = centres[generator.integers(60, size=n)]
    return unit_rows(some + 0.5 * spectrum * generator.standard_normal((n, DIMENSIONS)))[0]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(None, tmp_path_factory.mktemp("recall") / "i", embeddings=world(20_000, 1))


def recall_of(index: Index, queries: np.ndarray, recall: float, k: int = 10) -> float:
    truth = index.search_vectors(queries, k).positions
    found = index.search_vectors(queries, k, recall=recall).positions
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(truth, found, strict=True)]))


@pytest.mark.parametrize("recall", [0.8, 0.95, 0.99])
def test_recall_asked_for_is_recall_got(index: Index, recall: float) -> None:
    """Over 20 samples of 100 queries, in all but what the confidence allows."""
    samples = [recall_of(index, world(100, 100 + seed), recall) for seed in range(20)]
    missed = sum(one < recall for one in samples)
    # With probability 0.05 each, 4 or more of 20 happen in 1.6% of all worlds; this one is fixed.
    assert missed <= 3, samples
    assert CONFIDENCE == 0.95


def test_what_is_certified_is_exact_time_after_time(index: Index) -> None:
    """Queries from anywhere, most of which are answered exactly, the later ones at once."""
    queries = unit_rows(np.random.default_rng(0).standard_normal((100, DIMENSIONS)))[0]
    exact = index.search_vectors(queries, 10)
    for _ in range(3):
        found = index.search_vectors(queries, 10, recall=0.9)
        sure = found.certified
        np.testing.assert_array_equal(found.positions[sure], exact.positions[sure])
        same = [set(a) & set(b) for a, b in zip(found.positions, exact.positions, strict=True)]
        assert np.mean([len(one) / 10 for one in same]) >= 0.9


def test_the_curve_is_what_the_cascade_does(index: Index) -> None:
    """A point measured by ranks equals a search with so many candidates."""
    queries = world(200, 7)
    segments = index._open.segments
    tuning = measure(segments, queries, "test", lambda count: None)
    assert tuning is not None
    curve = tuning.curves[0]
    truth = index.search_vectors(queries, curve.k).positions
    for point in curve.points[:: max(1, len(curve.points) // 4)]:
        ranking, _ = index._open.searcher._cascade.search(
            queries, curve.k, point.candidates, max(curve.k, min(curve.kept, point.candidates))
        )
        found = np.mean(
            [len(set(a) & set(b)) / curve.k for a, b in zip(truth, ranking.positions, strict=True)]
        )
        assert found == pytest.approx(point.recall, abs=1e-6)
    recalls = [point.recall for point in curve.points]
    assert recalls == sorted(recalls)
    for point in curve.points:
        lows = [level.low for level in point.levels]
        assert lows == sorted(lows)
        assert all(level.low < level.recall for level in point.levels)
        assert point.levels[0].exact == 0


def test_segments_are_measured_together() -> None:
    rows = world(4000, 3)
    tuning = measure(segments_of(rows, 3), world(80, 4), "test", lambda count: None)
    assert tuning is not None
    assert tuning.documents == 4000
    assert tuning.curves[0].points[-1].recall > 0.95


def test_documents_are_left_out_of_their_own_results() -> None:
    """A document that found itself would always have one of its ten neighbours."""
    rows = unit_rows(np.random.default_rng(0).standard_normal((3000, 64)))[0]
    segments = segments_of(rows, 2)
    tuning = measure(segments, None, "documents", lambda count: None)
    assert tuning is not None
    assert tuning.queries == 500
    # The same by hand, for the documents: random rows, whose signs say little about neighbours.
    chosen = np.unique(np.linspace(0, 2999, 250).round().astype(int))
    scores = rows[chosen].astype(np.float64) @ rows.T
    distances = ((rows[chosen] > 0)[:, None] != (rows > 0)[None]).sum(axis=2)
    halves = np.repeat([0, 1], [1500, 1500])
    of_ten = next(curve for curve in tuning.curves if curve.k == 10)
    candidates = of_ten.points[0].candidates
    recalls = []
    for i, row in enumerate(chosen):
        scores[i, row] = -2.0
        truth = np.argsort(-scores[i], kind="stable")[:10]
        found: set[int] = set()
        for half in (0, 1):
            here = np.flatnonzero((halves == half) & (np.arange(3000) != row))
            found |= set(here[np.argsort(distances[i, here], kind="stable")][:candidates])
        recalls.append(len(found & set(truth)) / 10)
    # The curve shows the worse of documents and middles.
    assert of_ten.points[0].recall <= np.mean(recalls) + 1e-6
    assert of_ten.points[0].recall > np.mean(recalls) - 0.15
    assert np.mean(recalls) < 0.6


def test_a_small_index_is_searched_exactly(tmp_path: Path) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=world(200, 1))
    assert index.tuning is None
    for recall in (0.9, np.float32(0.9), np.float64(0.9), Fraction(9, 10), np.int64(1)):
        result = index.search_vectors(world(5, 9), 3, recall=recall)  # type: ignore[arg-type] # (numbers of other kinds)
        assert result.certified.all()


def test_sample_queries_are_used_and_named(tmp_path: Path) -> None:
    options = BuildOptions(tune_queries=world(150, 5), tuned_on="my queries")
    index = Index.build(None, tmp_path / "i", embeddings=world(3000, 1), options=options)
    assert index.tuning is not None
    assert (index.tuning.measured_on, index.tuning.queries) == ("my queries", 150)
    again = Index.open(tmp_path / "i").tuning
    assert again == index.tuning


def curve(*points: tuple[int, float, float, float], exact: float = 1.0, k: int = 10) -> Curve:
    """Points with a single level: candidates, recall, what is sure, milliseconds."""
    return Curve(
        k,
        max(k, 10),
        20,
        exact,
        tuple(
            Point(candidates, recall, milliseconds, (Level(1.5, recall, low, 0.0),))
            for candidates, recall, low, milliseconds in points
        ),
    )


def test_a_plan_takes_the_fewest_candidates_that_are_sure() -> None:
    tuning = Tuning(
        "x",
        100,
        50,
        1000,
        (curve((40, 0.9, 0.88, 0.1), (80, 0.97, 0.95, 0.2), (160, 0.99, 0.98, 0.4)),),
    )
    assert tuning.plan(0.88, 10).candidates == 40
    assert tuning.plan(0.9, 10).candidates == 80  # 40 reach it only on average
    plan = tuning.plan(0.95, 5)
    assert (plan.exact, plan.candidates, plan.kept, plan.recall) == (False, 80, 20, 0.97)
    assert tuning.plan(0.985, 10).exact
    assert "no number of candidates" in tuning.plan(0.985, 10).reason
    assert "k = 11" in tuning.plan(0.5, 11).reason


def test_a_plan_is_exact_where_that_is_as_fast() -> None:
    tuning = Tuning("x", 100, 50, 1000, (curve((40, 0.9, 0.88, 0.3), exact=0.2),))
    plan = tuning.plan(0.5, 10)
    assert plan.exact
    assert plan.reason == "an exact search is as fast here"


def test_tuning_survives_json() -> None:
    tuning = Tuning("x", 100, 50, 1000, (curve((40, 0.9, 0.88, 0.1)),))
    assert Tuning.from_json(tuning.to_json()) == tuning


def test_queries_to_tune_with_need_an_encoder_or_vectors(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="dimensions"):
        Index.build(
            None,
            tmp_path / "i",
            embeddings=world(500, 1),
            options=BuildOptions(tune_queries=np.ones((3, 5))),
        )


@pytest.mark.parametrize(
    ("name", "k"), [("rare", 10), ("often", 10), ("clumped", 10), ("only one", 1), ("many", 100)]
)
@pytest.mark.parametrize("sample", [5, 50, 500])
def test_a_recall_that_is_granted_is_reached(name: str, k: int, sample: int) -> None:
    """By the mean over 100 further queries, 19 times of 20, however the losses are spread."""
    generator = np.random.default_rng(sample + k)

    def recalls(count: int) -> np.ndarray:
        chance: Any = {"rare": 0.001, "often": 0.02, "only one": 0.01, "many": 0.005}.get(name)
        if name == "clumped":
            chance = generator.beta(0.1, 4, size=count)
        return 1 - generator.binomial(k, chance, size=count) / k

    bounds = LowerBounds()
    missed = [
        recalls(100).mean() < bounds.lows(recalls(sample)[:, None], k, CONFIDENCE)[0] - 1e-9
        for _ in range(200)
    ]
    assert np.mean(missed) < (0.12 if (name, sample) == ("clumped", 50) else 0.08)


def test_between_two_depths_both_must_be_sure() -> None:
    deep = curve((40, 0.99, 0.98, 0.1), (80, 0.999, 0.99, 0.2))
    shallow = curve((40, 0.95, 0.9, 0.1), (80, 0.99, 0.98, 0.2), k=1)
    tuning = Tuning("x", 100, 50, 1000, (shallow, deep))
    assert tuning.plan(0.98, 10).candidates == 40
    assert tuning.plan(0.98, 5).candidates == 80
    assert tuning.plan(0.98, 1).candidates == 80
    assert tuning.plan(0.9, 1).candidates == 40


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.zeros((0, 64), np.float32), "there are no queries from q"),
        ([], "there are no queries from q"),
        ([" "], "there are no queries from q|has no encoder"),
        (np.ones((3, 63), np.float32), "dimensions"),
        (np.full((3, 64), np.nan, np.float32), "NaN"),
        (["text"], "has no encoder"),
    ],
)
def test_sample_queries_are_refused_before_the_work(
    queries: Any, message: str, tmp_path: Path
) -> None:
    options = BuildOptions(tune_queries=queries, tuned_on="queries from q")
    with pytest.raises((QueryError, EncoderError), match=message):
        Index.build(None, tmp_path / "i", embeddings=np.eye(64, dtype=np.float32), options=options)
    assert not list(tmp_path.iterdir())


def test_many_sample_queries_are_chosen_evenly(tmp_path: Path) -> None:
    rows = unit_rows(np.random.default_rng(0).standard_normal((4500, 16)))[0]
    options = BuildOptions(tune_queries=rows, tuned_on="queries from q")
    with Index.build(None, tmp_path / "i", embeddings=rows[:900], options=options) as index:
        assert index.tuning is not None
        assert index.tuning.queries == 1500
        assert index.tuning.measured_on == "queries from q, evenly chosen of 4,500"


def test_a_plan_weighs_candidates_against_exact_searches() -> None:
    """Few candidates for which many queries must be answered exactly, or more for which few."""
    levels = (Level(1.0, 0.9, 0.8, 0.0), Level(2.0, 0.95, 0.9, 0.1), Level(3.0, 0.99, 0.97, 0.5))
    more = (Level(1.2, 0.99, 0.95, 0.0), Level(3.1, 1.0, 0.98, 0.1))
    points = (Point(40, 0.9, 0.1, levels), Point(80, 0.99, 0.3, more))
    tuning = Tuning("x", 100, 50, 1000, (Curve(10, 10, 20, 1.0, points),))
    assert tuning.plan(0.9, 10).checks == (Check(10, 2.0),)
    assert tuning.plan(0.9, 10).candidates == 40
    plan = tuning.plan(0.96, 10)  # 0.1 + 0.5 against 0.3 + 0.1
    assert (plan.candidates, plan.checks, plan.recall) == (80, (Check(10, 3.1),), 1.0)
    assert tuning.plan(0.99, 10).exact


def test_what_an_earlier_version_measured_is_not_relied_on(index: Index) -> None:
    earlier = index.tuning.to_json()
    del earlier["version"]
    assert Tuning.from_json(earlier) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("curves"),
        lambda values: values.update(curves=7),
        lambda values: values["curves"][0].pop("points"),
        lambda values: values["curves"][0].update(k="10"),
        lambda values: values["curves"][0]["points"][0].update(candidates=-1),
        lambda values: values["curves"][0]["points"][0].update(milliseconds=float("nan")),
        lambda values: values["curves"][0]["points"][0]["levels"].append([]),
        lambda values: values.update(version="2"),
        lambda values: values.update(queries=True),
    ],
)
def test_a_damaged_tuning_is_an_error_of_its_own(index: Index, damage: Any) -> None:
    values = json.loads(json.dumps(index.tuning.to_json()))
    damage(values)
    with pytest.raises(ValueError, match="Error: "):
        Tuning.from_json(values)


@pytest.mark.parametrize("rows", [400, 3000])
def test_recall_is_measured_in_one_dimension(tmp_path: Path, rows: int) -> None:
    """Noise of length 1 may be the opposite of a row there, and both together nothing."""
    values = (
        np.linspace(1, 2, rows, dtype=np.float32)[:, None]
        * np.where(np.arange(rows) % 3, 1, -1)[:, None]
    )
    with Index.build(None, tmp_path / "i", embeddings=values) as index:
        assert index.search_vectors([[1.0]], 3, recall=0.9).scores.tolist() == [[1.0] * 3]
        assert evaluate(index, k=3, timed=False)["exact"].recall[3].min() == 1.0
