"""Measures, intervals and tests, against definitions."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsearch.evaluation import Measure, judged, measures_at, recall_at_k
from qsearch.evaluation.intervals import difference, holm, mean_of
from qsearch.evaluation.measures import found_among

DOCUMENTS = [f"d{number}" for number in range(8)]
RELEVANCE = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-1, 3), max_size=8)
RANKING = st.lists(st.sampled_from(DOCUMENTS), unique=True, max_size=8)


def defined(name: str, ranking: list[str], relevance: dict[str, int], depth: int) -> float:
    gains = [max(0, relevance.get(one, 0)) for one in ranking[:depth]]
    ideal = sorted((max(0, one) for one in relevance.values()), reverse=True)[:depth]
    relevant = sum(one > 0 for one in relevance.values())
    if not relevant:
        return math.nan
    if name == "ndcg_cut":
        dcg, best = (
            sum(gain / math.log2(rank + 1) for rank, gain in enumerate(some, 1))
            for some in (gains, ideal)
        )
        return dcg / best
    if name == "recip_rank":
        return next((1 / rank for rank, gain in enumerate(gains, 1) if gain), 0.0)
    hits = [rank for rank, gain in enumerate(gains, 1) if gain]
    if name == "map":
        return sum(number / rank for number, rank in enumerate(hits, 1)) / relevant
    return len(hits) / relevant


@given(st.lists(st.tuples(RANKING, RELEVANCE), min_size=1, max_size=4), st.integers(1, 9))
def test_measures_are_what_they_are_defined_as(
    cases: list[tuple[list[str], dict[str, int]]], depth: int
) -> None:
    names = [f"q{number}" for number in range(len(cases))]
    rankings = {name: ranking for name, (ranking, _) in zip(names, cases, strict=True)}
    judgments = {name: relevance for name, (_, relevance) in zip(names, cases, strict=True)}
    measures = measures_at([depth])
    found = judged(rankings, judgments, measures, names)
    for measure in measures:
        expected = [defined(measure.trec, *case, depth) for case in cases]
        assert found[measure.name] == pytest.approx(expected, abs=1e-6, nan_ok=True), measure


def test_measures_look_no_deeper_than_asked() -> None:
    ranking = ["x", "y", "a"]
    for measure in measures_at([2]):
        assert judged({"q": ranking}, {"q": {"a": 1}}, [measure], ["q"])[measure.name][0] == 0.0
    found = judged({"q": ranking}, {"q": {"a": 1}}, [Measure("R", "recall", 3)], ["q", "strange"])
    assert found["R"][0] == 1.0
    assert math.isnan(found["R"][1])
    assert judged({}, {"q": {"a": 1}}, measures_at([3]), ["q"])["nDCG@3"][0] == 0.0
    assert math.isnan(judged({"q": ["a"]}, {"q": {"a": 0}}, measures_at([3]), ["q"])["MAP@3"][0])


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", "", "q d", "é" * 5000])
def test_any_text_is_an_id(name: str) -> None:
    """Which C strings would cut, and at which a process would end."""
    other = name[:1] + "c"
    found = judged({name: [other, name]}, {name: {name: 1, "a": 1}}, measures_at([3]), [name, "a"])
    assert found["MRR@3"][0] == 0.5
    assert found["R@3"][0] == 0.5
    assert math.isnan(found["R@3"][1])


def test_the_share_of_the_exact_neighbours() -> None:
    truth = np.array([[1, 2, 3], [4, -1, -1], [-1, -1, -1]])
    found = np.array([[3, 9, 1], [-1, -1, 4], [5, 6, 7]])
    assert recall_at_k(found, truth, 3).tolist()[:2] == [2 / 3, 1.0]
    assert math.isnan(recall_at_k(found, truth, 3)[2])
    assert recall_at_k(found, truth, 1).tolist()[0] == 0.0
    assert recall_at_k(found[:, :0], truth, 3).tolist()[0] == 0.0


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        values = generator.beta(2.0, 1.0, size=60)
        interval = mean_of(values).interval
        assert interval is not None
        held += interval.low <= 2 / 3 <= interval.high
    assert 365 <= held <= 395  # 95% of 400, give or take 3 deviations


@pytest.mark.parametrize("count", [10, 20, 60])
@pytest.mark.parametrize("kind", ["MRR", "skewed", "nearly all 1"])
def test_intervals_of_few_queries_hold_the_mean_too(kind: str, count: int) -> None:
    generator = np.random.default_rng(3)
    ranks = np.array([0.0, 0.1, 0.2, 1 / 3, 0.5, 1.0])
    often = np.array([0.6, 0.1, 0.1, 0.1, 0.05, 0.05])
    held = 0
    for _ in range(200):
        values, truth = {
            "MRR": (generator.choice(ranks, p=often, size=count), float(ranks @ often)),
            "skewed": (generator.beta(0.2, 1.8, count), 0.1),
            "nearly all 1": (1.0 - 0.5 * (generator.random(count) < 0.1), 0.95),
        }[kind]
        interval = mean_of(values).interval
        assert interval is not None
        held += interval.low <= truth <= interval.high
    assert held >= 0.92 * 200  # of 95%, less two deviations


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_values_that_are_all_equal_have_an_interval_too(share: float) -> None:
    found = mean_of(np.full(60, share))
    assert found.interval is not None
    assert found.mean == share
    width = found.interval.high - found.interval.low
    assert width == pytest.approx(
        1 - 0.025 ** (1 / 60), rel=0.05
    )  # Clopper and Pearson's, by draws
    assert share in (found.interval.low, found.interval.high)
    assert 0.0 <= found.interval.low <= found.interval.high <= 1.0


def test_few_values_have_none() -> None:
    assert mean_of(np.array([0.5, math.nan, 1.0])).interval is None
    assert mean_of(np.array([0.5, math.nan, 1.0])).queries == 2
    assert math.isnan(mean_of(np.array([math.nan])).mean)
    assert mean_of(np.array([])).queries == 0


def test_a_difference_by_chance_is_seldom_called_one() -> None:
    generator = np.random.default_rng(0)
    found = [difference(generator.random(40), generator.random(40)).probability for _ in range(200)]
    assert sum(one < 0.05 for one in found) <= 20
    some = generator.random(40)
    clear = difference(some + 0.3, some)
    assert clear.probability < 0.001
    assert clear.mean == pytest.approx(0.3)
    assert clear.interval is not None
    assert clear.interval.low == pytest.approx(0.3 - (1 - 0.05 ** (1 / 40)) * 1.3)
    same = difference(some, some)
    assert (same.mean, same.probability) == (0.0, 1.0)
    assert same.interval is not None
    assert same.interval.high == pytest.approx(1 - 0.05 ** (1 / 40))  # forty queries are not all
    assert same.interval.low == -same.interval.high
    nothing = difference(np.array([math.nan]), np.array([1.0]))
    assert nothing.queries == 0
    assert math.isnan(nothing.probability)


@pytest.mark.parametrize("times", [5, 50, 500])
def test_a_mean_of_nothing_is_as_likely_as_can_be(times: int) -> None:
    """Though its sum is rounded to some other number than 0."""
    found = difference(np.array([0.1, 0.2, 0.0] * times), np.array([0.0, 0.0, 0.3] * times))
    assert found.mean == pytest.approx(0.0, abs=1e-15)
    assert found.probability == 1.0


def test_probabilities_are_corrected_for_their_number() -> None:
    assert holm([0.04]) == [0.04]
    assert holm([0.5, 0.01, 0.01]) == [0.5, 0.03, 0.03]
    assert holm([]) == []
    corrected = holm([0.01, math.nan, 0.02])
    assert corrected[0] == 0.02
    assert math.isnan(corrected[1])
    assert corrected[2] == 0.02


def test_many_neighbours_are_counted_without_much_memory() -> None:
    generator = np.random.default_rng(0)
    truth = np.stack([generator.permutation(50_000)[:20_000] for _ in range(4)])
    found = np.where(generator.random(truth.shape) < 0.25, truth[:, ::-1], -1)
    tracemalloc.start()
    recall = recall_at_k(found, truth, 20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert recall.tolist() == [float((row >= 0).mean()) for row in found]
    assert peak < 40 * truth.nbytes  # compared each with each, they would take 10,000 times as much
    shared = found_among(np.array([[7, -1], [8, 9]]), np.array([[8, 7], [7, -1]]))
    assert shared.tolist() == [[True, False], [False, False]]  # of the same query only


def test_one_small_loss_makes_nothing_surer() -> None:
    ones = np.ones(1000)
    without = mean_of(ones).interval
    ones[3] = 0.9
    with_loss = mean_of(ones).interval
    assert without is not None
    assert with_loss is not None
    assert with_loss.low <= without.low


def test_more_queries_do_not_hide_a_difference() -> None:
    generator = np.random.default_rng(0)
    theirs = generator.random(5000) * 0.5
    assert difference(theirs + 0.2, theirs).probability == pytest.approx(1e-4)


def test_a_document_that_stands_twice_counts_where_it_stands_first() -> None:
    (measure,) = [one for one in measures_at([10]) if one.name == "MRR@10"]
    found = judged({"q": ["a", "b", "a"]}, {"q": {"a": 1}}, [measure], ["q"])
    assert found["MRR@10"].tolist() == [1.0]
