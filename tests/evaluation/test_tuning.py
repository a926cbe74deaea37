"""What tuning an index says that it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qsearch import Index
from qsearch.evaluation import tune
from qsearch.evaluation.tuning import WEIGHTS, Tuned, _chosen
from qsearch.retrieval import Plan
from tests.encoders import HashedWords
from tests.evaluation.world import QUERIES, record


def test_tuning_says_what_it_did_not_do(tmp_path: Path) -> None:
    records = [record(number) for number in range(30)]
    with Index.build(records, tmp_path / "i", encoder=HashedWords()) as few:
        tuned = tune(few, QUERIES)
    assert not tuned.measured
    assert "recall was not measured: an index of so few rows" in tuned.notes()[0]
    assert tuned.to_dict()["measured"] is False


def test_what_each_recall_took_and_takes_is_told() -> None:
    exact, other = (
        Plan(True, 0, 0, 1.0, "", milliseconds=0.5),
        Plan(False, 40, 20, 0.95, "", milliseconds=0.25),
    )
    plans = {0.9: (None, other), 0.95: (exact, other), 0.99: (exact, exact)}
    tuned = Tuned(200, 3, plans=plans)
    assert tuned.notes()[1] == (
        "one query, each recall with 95% confidence: 0.9 0.250 ms; 0.95 0.250 ms (was exactly, 0.500 ms); "
        "0.99 exactly, as before"
    )
    assert tuned.to_dict()["plans"]["0.95"] == {
        "before": {"exact": True, "milliseconds": 0.5},
        "now": {"exact": False, "milliseconds": 0.25},
    }
    assert tuned.to_dict()["plans"]["0.9"]["before"] is None


@pytest.mark.parametrize(("gain", "kept"), [(0.02, True), (0.5, False)])
def test_a_weight_stays_unless_another_surely_gains(gain: float, kept: bool) -> None:
    gains = np.random.default_rng(0).random((len(WEIGHTS), 40))
    gains[3] = gains[10] + np.random.default_rng(1).normal(gain, 0.3, size=40)
    chosen = _chosen(gains, WEIGHTS[10])
    assert chosen.gain is not None
    assert chosen.gain.interval is not None
    assert (chosen.gain.interval.low <= 0) is kept
    assert chosen.weight == (WEIGHTS[10] if kept else WEIGHTS[3])


def test_many_queries_to_tune_with_are_counted_as_they_are_kept(tmp_path: Path) -> None:
    with Index.build(map(record, range(50)), tmp_path / "i", encoder=HashedWords()) as index:
        vectors = np.random.default_rng(0).standard_normal((2001, index.dimensions))
        assert tune(index, None, vectors=vectors.astype(np.float32)).queries == 1001
