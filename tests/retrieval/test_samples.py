"""Sample queries: what is made, of what, and how it lies to the documents."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from qsearch.codes import unit_rows
from qsearch.retrieval.samples import all_kinds
from tests.retrieval.segments import segments_of


def unit(rows: np.ndarray) -> np.ndarray:
    return unit_rows(rows.astype(np.float32))[0]


def documents(generator: np.random.Generator) -> np.ndarray:
    """A cone, in which most documents are in two clusters and some are in none."""
    axis = generator.standard_normal(48)
    centres = axis + generator.standard_normal((2, 48))
    near = centres[generator.integers(2, size=2700)] + 0.3 * generator.standard_normal((2700, 48))
    return unit(np.concatenate([near, axis + generator.standard_normal((300, 48))]))


def test_kinds_lie_as_they_are_called() -> None:
    rows = documents(np.random.default_rng(0))
    pieces = segments_of(rows, 3)
    for sample in (None, rows[:20]):
        kinds = all_kinds(pieces, sample)
        assert kinds.own == (2 if sample is None else 1)
        assert len(kinds.names) == kinds.kind.max() + 1
        cosines = unit(kinds.queries) @ rows.T
        for column in kinds.left_out.T:
            there = np.flatnonzero(column >= 0)
            cosines[there, column[there]] = -1.0
        best = np.sort(cosines, axis=1)[:, -10:].mean(axis=1)
        mean = cosines.mean(axis=1)
        best, mean = (
            np.array([some[kinds.kind == kind].mean() for kind in range(len(kinds.names))])
            for some in (best, mean)
        )
        names = np.array(kinds.names)
        own = np.arange(len(names)) < kinds.own
        (noisy,) = np.nonzero(names == "with noise")
        assert all(best[one] > best[other] for one, other in pairwise(noisy))
        assert best[names == "from anywhere"].max() < best[noisy].min()
        assert mean[names == "near to many"].min() > mean[0]
        assert mean[names == "near to many"][-1] == mean.max()
        assert best[names == "of rare kinds"].max() < best[own].min()


def test_strangers_are_judged_with_neighbours_of_their_family() -> None:
    rows = documents(np.random.default_rng(1))
    for sample in (None, rows[:20]):
        kinds = all_kinds(segments_of(rows, 1), sample)
        assert {one for some in kinds.judged for one in some} == set(
            range(kinds.own, len(kinds.names))
        )
        for some in kinds.judged:
            assert len(some) <= 2
            assert max(some) - min(some) == len(some) - 1
            assert "of rare kinds" not in {kinds.names[one] for one in some} or len(some) == 1
        members = [np.isin(kinds.kind, some).sum() for some in kinds.judged]
        assert min(members) >= 270  # so many vouch for 0.99


def test_of_one_document_something_is_made_too() -> None:
    rows = documents(np.random.default_rng(3))
    for count in (1, 2, 3):
        kinds = all_kinds(segments_of(rows[:count], 1), None)
        assert len(kinds.queries) == len(kinds.kind) == len(kinds.left_out)
        assert np.isfinite(kinds.queries).all()
        assert np.abs(kinds.queries).max(axis=1).min() > 0


def test_others_are_not_those_that_recall_is_measured_with() -> None:
    rows = documents(np.random.default_rng(3))
    segments = segments_of(rows, 2)
    ours = all_kinds(segments, None, 100)
    others = all_kinds(segments, None, 200, 25, others=True)
    first, second = (set(one.left_out[one.kind == 0][:, 0].tolist()) for one in (ours, others))
    assert (len(first), len(second)) == (50, 100)
    assert len(first & second) <= 5
    places = np.sort(list(second))
    assert np.diff(places).max() <= 31  # evenly spread
    assert np.diff(places).min() >= 29
    few = all_kinds(segments_of(rows[:3], 1), None, others=True)
    assert set(few.left_out[few.kind == 0][:, 0].tolist()) == {0, 1, 2}


def test_those_of_rare_kinds_are_near_documents_that_are_alone() -> None:
    rows = documents(np.random.default_rng(2))
    kinds = all_kinds(segments_of(rows, 2), None)
    rare = kinds.left_out[kinds.kind == kinds.names.index("of rare kinds")]
    assert (rare[:, 0] >= 0).all()
    assert (rare[:, 1] == -1).all()
    assert len(set(rare[:, 0])) == len(rare)
    # The last tenth of the documents is in no cluster: of the 2,000 that are looked at, 200.
    assert (rare[:, 0] >= 2700).sum() >= 198
