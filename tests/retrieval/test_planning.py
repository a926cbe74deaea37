"""Where a plan's checks fail so many queries that it does not pay, exact searches answer at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from qsearch.codes import unit_rows
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.planning import Outcomes
from qsearch.retrieval.ranking import Ranking
from qsearch.retrieval.searcher import Searcher
from qsearch.retrieval.tuning import Check, Curve, Level, Point, Took, Tuning
from qsearch.store import Segment
from tests.retrieval.segments import segments_of
from tests.retrieval.test_recall import DIMENSIONS, world

ROWS = 4000
RECALL = 0.9


CHECK = Check(10, 2.5)
"""Of 200 candidates 98% of what is like the documents passes it, and a fifth of the others."""

MEASURED = Tuning(
    "made up: an exact search takes 1 ms, and candidates 0.3",
    500,
    0,
    ROWS,
    (Curve(10, 10, 20, 1.0, (Point(200, 0.95, 0.3, (Level(2.5, 0.95, 0.92, 0.1),), 0.3),), 1.0),),
)


@cache
def segments() -> list[Segment]:
    return segments_of(world(ROWS, 1), 2)


@pytest.fixture
def searcher() -> Searcher:
    return Searcher(segments(), MEASURED)


def passing(queries: np.ndarray) -> np.ndarray:
    return Cascade(segments()).search(queries, 10, 200, 20, checks=[CHECK])[1]


def alike(count: int, seed: int = 0) -> np.ndarray:
    """Queries like the documents, which pass the check."""
    queries = world(2 * count + 20, 1000 + seed)
    return queries[passing(queries)][:count]


def strangers(count: int, seed: int = 0) -> np.ndarray:
    """Queries from anywhere, which fail it."""
    generator = np.random.default_rng(seed)
    queries = unit_rows(generator.standard_normal((2 * count + 20, DIMENSIONS)))[0]
    return queries[~passing(queries)][:count]


def search(searcher: Searcher, queries: np.ndarray, recall: float | None = RECALL) -> Ranking:
    request = searcher.request(10) if recall is None else searcher.request(10, recall=recall)
    return searcher.search(queries, searcher.for_together(request, len(queries)))


def chosen_by_codes(ranking: Ranking) -> np.ndarray:
    """(q,) bool: for which queries candidates were chosen."""
    return next(
        (stage.rows > 0 for stage in ranking.stages if stage.name == "binary codes"),
        np.zeros(len(ranking.certified), dtype=np.bool_),
    )


def test_exact_searches_behind_candidates_count_as_timed_there() -> None:
    (curve,) = MEASURED.curves
    (point,) = curve.points
    behind = replace(curve, behind=Took(2.0, 2.0))
    for queries in (1, 64):
        assert behind.cost(point, 0.1, queries) == pytest.approx(0.3 + 0.1 * 2.0)
        assert behind.pays_until(point, queries) == pytest.approx(0.35, abs=1 / 64)
        assert behind.exact_cost(queries) == curve.exact_cost(queries) == 1.0
    # 21 of 64 take 100 ms at first and 1 each: (100 + 21 * 1) / 21.
    shared = replace(curve, behind=Took(101.0, 121.0 / 21))
    assert shared.cost(point, 21 / 64, 64) == pytest.approx(0.3 + (100 + 21) / 64)
    dear = replace(MEASURED, curves=(replace(curve, behind=Took(7.5, 7.5)),))
    assert dear.plan(RECALL, 10, 1).exact  # 0.3 + 0.1 * 7.5


@pytest.mark.parametrize("queries", [1, 64])
def test_a_plan_says_until_when_it_pays(queries: int) -> None:
    plan = MEASURED.plan(RECALL, 10, queries)
    assert plan.checks == (CHECK,)
    assert 0.7 - 1 / 64 < plan.pays_until <= 0.7  # 0.3 + 0.7 = 1


def test_what_queries_share_is_weighed_in_until_when_it_pays() -> None:
    """An exact search that some of a batch need reads nearly what one for all of them reads."""
    level = Level(1.0, 0.95, 0.92, 0.0)
    point = Point(40, 0.95, 0.3, (level,), alone=0.3)
    shared = Curve(10, 10, 20, 1.0, (point,), exact_alone=32.0)
    tuning = Tuning("x", 100, 50, 1000, (shared,))
    for queries in (1, 2, 64):
        until = shared.pays_until(point, queries)
        exactly = shared.exact_cost(queries)
        assert shared.cost(point, until, queries) <= exactly
        assert until == 1 or shared.cost(point, until + 1 / 64, queries) > exactly
    assert tuning.plan(0.9, 10, 64).pays_until < tuning.plan(0.9, 10, 1).pays_until


def test_queries_like_the_documents_go_by_the_plan(searcher: Searcher) -> None:
    for seed in range(4):
        ranking = search(searcher, alike(64, seed))
        assert chosen_by_codes(ranking).all()
        assert not ranking.certified.any()


def test_a_batch_of_others_is_answered_exactly_behind_its_first(searcher: Searcher) -> None:
    queries = strangers(256)
    ranking = search(searcher, queries)
    looked = chosen_by_codes(ranking)
    assert looked[:16].all()
    assert looked[16:].sum() == 240 // 32
    assert ranking.certified.all()
    exact = search(searcher, queries, None)
    np.testing.assert_array_equal(ranking.positions, exact.positions)
    np.testing.assert_array_equal(ranking.scores, exact.scores)
    # What exact searches do is told of every query, of those that were tried beside the candidates.
    before = {stage.name: stage for stage in exact.stages}
    now = {stage.name: stage for stage in ranking.stages}
    for name in before:
        more = now[name].rows - before[name].rows
        assert (more[~looked] == 0).all()
        assert (more[looked] >= 0).all()


def test_single_queries_are_learned_from_too(searcher: Searcher) -> None:
    looked = [chosen_by_codes(search(searcher, one[None]))[0] for one in strangers(200)]
    first = looked.index(False)
    assert first == 16  # where (first + 8 * 0.1) / (first + 8) is more than 44 of 64
    assert sum(looked[first:]) == (200 - first) // 32


def test_others_that_come_later_get_their_plan_again(searcher: Searcher) -> None:
    search(searcher, strangers(256))
    looked = [chosen_by_codes(search(searcher, alike(64, n))).mean() for n in range(40)]
    assert looked[0] < 0.1
    back = next(number for number, share in enumerate(looked) if share == 1)
    assert back < 30
    assert min(looked[back:]) == 1


@pytest.mark.parametrize("order", ["mixed", "likes first", "strangers first"])
def test_each_answer_is_of_its_query(searcher: Searcher, order: str) -> None:
    """However a batch is divided: exact answers where certified, and else what the plan's codes find."""
    like, unlike = alike(60), strangers(260)
    queries = np.concatenate([unlike, like] if order == "strangers first" else [like, unlike])
    if order == "mixed":
        queries = np.random.default_rng(1).permutation(queries)
    exact = search(searcher, queries, None)
    ranking = search(searcher, queries)
    sure = ranking.certified
    assert sure.mean() > 0.7
    np.testing.assert_array_equal(ranking.positions[sure], exact.positions[sure])
    np.testing.assert_array_equal(ranking.scores[sure], exact.scores[sure])
    for got, want in zip(ranking.positions, exact.positions, strict=True):
        assert len(set(got)) == 10
        assert len(set(got) & set(want)) >= 5
    assert (np.diff(ranking.scores, axis=1) <= 0).all()


def test_alike_has_no_checks_to_fail() -> None:
    point = replace(MEASURED.curves[0].points[0], alike=0.93)
    tuning = replace(MEASURED, curves=(replace(MEASURED.curves[0], points=(point,)),))
    searcher = Searcher(segments(), tuning)
    request = searcher.request(10, recall=RECALL, alike=True)
    assert not request.plan.checks
    for seed in range(3):
        ranking = searcher.search(strangers(64, seed), request)
        assert chosen_by_codes(ranking).all()
        assert not ranking.certified.any()


def test_what_came_later_is_part_of_every_answer() -> None:
    """Recall was measured on the first of two segments."""
    searcher = Searcher(segments(), MEASURED, measured=1)
    queries = strangers(100)
    for _ in range(2):
        ranking = search(searcher, queries)
        exact = search(searcher, queries, None)
        sure = ranking.certified
        assert sure.sum() > 50
        np.testing.assert_array_equal(ranking.positions[sure], exact.positions[sure])
        assert (ranking.positions >= ROWS // 2).any(axis=1).all()


def test_outcomes_fade() -> None:
    outcomes = Outcomes(0.1)
    assert outcomes.failing == pytest.approx(0.1)
    outcomes.note(1000, 1000)
    assert outcomes.failing == pytest.approx((64 + 0.8) / 72)
    for _ in range(400):
        outcomes.note(1, 0)
    assert outcomes.failing < 0.02


def test_a_plan_whose_sample_fails_as_much_goes_on() -> None:
    """The share that was expected is no reason to give up."""
    outcomes = Outcomes(0.42)
    for _ in range(50):
        outcomes.note(16, 7)
        assert outcomes.next(64, 0.7) == (64, 0)


def test_every_query_is_one_of_the_tried_or_the_others() -> None:
    outcomes = Outcomes(0.0)
    outcomes.note(64, 64)
    taken = [outcomes.next(queries, 0.5) for queries in (1, 30, 1, 1, 31, 500, 1)]
    assert taken == [(0, 1), (0, 30), (1, 0), (0, 1), (1, 30), (15, 485), (0, 1)]


def test_threads_share_what_they_learn(searcher: Searcher) -> None:
    found: dict[int, Ranking] = {}

    def ask(number: int) -> None:
        for part in np.array_split(strangers(120, number), 12):
            found[number] = search(searcher, part)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, ranking in found.items():
        assert ranking.certified.all()
        last = np.array_split(strangers(120, number), 12)[-1]
        exact = search(searcher, last, None)
        np.testing.assert_array_equal(ranking.positions, exact.positions)
    assert chosen_by_codes(search(searcher, strangers(64, 9))).sum() <= 2
