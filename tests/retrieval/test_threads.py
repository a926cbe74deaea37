"""What is fastest on one thread is not what is fastest on all: plans are made for so many as search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from qsearch import Index
from qsearch.retrieval import Tuning
from qsearch.retrieval.costs import Costs
from qsearch.retrieval.tuning import Curve, Level, Point, Took
from tests.cli.running import run
from tests.retrieval.test_recall import world
from tests.retrieval.times import make_up_times


def tuned(threads: int = 4) -> Tuning:
    """Four threads share all of an exact search, and nothing of a walk."""
    levels = (Level(0.5, 0.97, 0.95, 0.1),)
    walk = Point(64, 0.97, 0.9, levels, 6.0, 0.95, Took(6.0, 3.6))
    exact_by_one = Took(20.0, 4.0)
    curve = Curve(10, 10, 20, 1.0, (), 5.0, (walk,), 20, exact_by_one, Took(5.0, 1.0), exact_by_one)
    return Tuning("queries", 150, 700, 100_000, (curve,), threads)


def test_a_plan_is_for_so_many_threads() -> None:
    one, two, four, eight = (tuned().on(threads) for threads in (1, 2, 4, 8))
    plans = [some.plan(0.95, 10) for some in (one, two, four, eight)]
    assert [plan.method for plan in plans if not plan.exact] == ["graph", "graph"]
    # A walk takes 6 ms, and a tenth of the queries are answered exactly.
    walks = [6.0 + 0.1 * 20.0, 6.0 + 0.1 * 10.0]
    assert [plan.milliseconds for plan in plans] == pytest.approx([*walks, 5.0, 2.5])
    assert four == tuned()


def test_times_between_and_beyond_follow_amdahl() -> None:
    on_one, on_four = Took(9.0, 2.0), Took(3.0, 2.5)
    for threads in (1, 2, 3, 4, 6, 256):
        took = on_one.on(threads, on_four, 4)
        assert took.alone == pytest.approx(1.0 + 8.0 / threads)
        assert 2.0 <= took.batch <= 2.0 + 0.5 / 0.75
    assert Took(8.0, 8.0).on(8, Took(1.0, 1.0), 4) == Took(
        1.0, 1.0
    )  # measured faster than is possible


def test_what_is_not_known_stays() -> None:
    earlier = tuned().to_json()
    del earlier["threads"]
    for curve in earlier["curves"]:
        del curve["exact_one_thread"], curve["beams"][0]["one_thread"]
        del curve["behind"], curve["behind_one_thread"]
    read = Tuning.from_json(json.loads(json.dumps(earlier)))
    assert read is not None
    assert (read.threads, read.on(1)) == (0, read)
    assert tuned(1).on(8) == tuned(1)  # measured on one thread: nothing is known of more
    assert Tuning.from_json(json.loads(json.dumps(tuned().to_json()))) == tuned()


def test_impossible_times_are_refused() -> None:
    for broken in (
        {"alone": -1.0, "batch": 1.0},
        {"alone": 1.0},
        [1.0, 2.0],
        {"alone": "1", "batch": 1},
    ):
        for name in ("exact_one_thread", "behind", "behind_one_thread"):
            values = tuned().to_json()
            values["curves"][0][name] = broken
            with pytest.raises(ValueError, match="Error"):
                Tuning.from_json(values)


@pytest.mark.parametrize("name", ["k", "depth", "candidates"])
def test_looking_at_no_row_is_refused(name: str) -> None:
    values = tuned().to_json()
    curve = values["curves"][0]
    (curve["beams"][0] if name == "candidates" else curve)[name] = 0
    with pytest.raises(ValueError, match="a number of rows is 0"):
        Tuning.from_json(values)


def test_a_search_takes_what_is_fastest_on_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exact(costs: Costs, number: int) -> tuple[float, float]:
        return (20.0, 4.0) if costs._threads == 1 else (5.0, 1.0)

    def candidates(costs: Costs, number: int) -> tuple[float, float]:
        return 6.0, 3.6 if costs._threads == 1 else 0.95

    with monkeypatch.context() as patched:
        make_up_times(patched, exact, candidates)
        patched.setenv("QSEARCH_THREADS", "4")
        index = Index.build(None, tmp_path / "indexes" / "i", embeddings=world(5000, 1))
    queries = world(64, 2)
    exactly = {}
    for threads in ("1", "4"):
        monkeypatch.setenv("QSEARCH_THREADS", threads)
        assert index.tuning is not None
        assert index.tuning.threads == int(threads)
        ones = [
            index.search_vectors(queries[at : at + 1], recall=0.9) for at in range(len(queries))
        ]
        exactly[threads] = all(one.certified.all() for one in ones)
        told = run("info", cwd=tmp_path).stdout.partition("k = 10 ")[2].lstrip()
        milliseconds = "20.000" if threads == "1" else "5.000"
        assert told.startswith(f"exact: {milliseconds} ms for a query alone"), told
    assert exactly == {"1": False, "4": True}
    index.close()


def test_a_build_measures_with_one_thread_and_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threads in (1, 3):
        monkeypatch.setenv("QSEARCH_THREADS", str(threads))
        with Index.build(None, tmp_path / str(threads), embeddings=world(5000, 1)) as index:
            tuning = index.tuning
        assert tuning is not None
        assert tuning.threads == threads
        both = [one.exact_one_thread for one in tuning.curves]
        both += [one.behind_one_thread for one in tuning.curves]
        both += [point.one_thread for one in tuning.curves for point in one.points]
        for one in tuning.curves:  # never less than an exact search by itself
            assert one.behind is not None
            assert one.exact_alone is not None
            assert one.behind.alone >= 0.99999 * one.exact_alone
            assert one.behind.batch >= 0.99999 * one.exact_milliseconds
        assert len(both) > len(tuning.curves)
        if threads == 1:
            assert both == [None] * len(both)
        else:
            assert all(one is not None and 0 < one.batch < math.inf for one in both)
