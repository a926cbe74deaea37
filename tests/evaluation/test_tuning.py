"""What tuning an index says that it did."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from qsearch import BuildOptions, Index
from qsearch.errors import IndexBusy
from qsearch.evaluation import tune
from qsearch.evaluation.tuning import WEIGHTS, Tuned, _chosen
from qsearch.indexing.report import Silent
from qsearch.indexing.upkeep import measure_again, measured_anew, was_measured
from qsearch.retrieval import Plan
from qsearch.store import IndexEditor
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
        "one query, each recall with 95% confidence: 0.9 by 40 candidates, 0.250 ms; "
        "0.95 by 40 candidates, 0.250 ms (was exactly); 0.99 exactly, as before"
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


@pytest.mark.parametrize("when", ["before", "while"])
def test_what_took_the_place_of_an_index_is_not_tuned_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Both are commit 1, as every new index is."""
    place, other = tmp_path / "i", tmp_path / "other"
    rows = np.random.default_rng(0).standard_normal((3000, 32)).astype(np.float32)
    Index.build(None, place, embeddings=rows).close()
    Index.build(None, other, embeddings=rows[::-1], options=BuildOptions(graph=True)).close()

    def swapped() -> None:
        shutil.move(place, tmp_path / "old")
        shutil.move(other, place)

    def measured(*given: object) -> dict[str, object]:
        found = measured_anew(*given)
        swapped()
        return found

    with Index.open(place) as index:
        if when == "before":
            swapped()
        else:
            monkeypatch.setattr("qsearch.indexing.tuning.measured_anew", measured)
        with pytest.raises(
            IndexBusy, match="another index took the place of .*; nothing is stored"
        ):
            tune(index, None, vectors=rows[:50])
    with Index.open(place) as now:
        assert now.commit == 1
        assert now.tuning is not None
        assert now.tuning.measured_on != "query vectors"


def test_recall_of_another_index_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, other = tmp_path / "i", tmp_path / "other"
    rows = np.random.default_rng(0).standard_normal((3000, 32)).astype(np.float32)
    Index.build(None, place, embeddings=rows).close()
    Index.build(None, other, embeddings=rows[::-1]).close()
    found = measured_anew(place, None, Silent())
    for path, same in ((place, True), (other, False)):
        with IndexEditor.open(path) as editor:
            assert was_measured(editor, found) is same
    monkeypatch.setattr("qsearch.indexing.upkeep.measured_anew", lambda *ignored: found)
    for path, commit in ((other, 1), (place, 2)):
        measure_again(path, Silent())
        with Index.open(path) as index:
            assert index.commit == commit
