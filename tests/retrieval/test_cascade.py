"""The cascade in one native call is the cascade that NumPy defines, step by step."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsearch.codes import unit_rows
from qsearch.errors import IndexFormatError
from qsearch.kernels import CascadeSegments, RowMask, cascade_top_k, use_kernels
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.ranking import unit_queries
from qsearch.retrieval.tuning import Check
from qsearch.store import Segment
from tests.conftest import ROOT
from tests.retrieval.segments import KINDS, NATIVE, rows_of, segments_of

native = pytest.mark.skipif(not NATIVE, reason="no native kernels")


class ByNumpy(Cascade):
    """The definition, whose candidates come of the same kernels."""

    _rank_natively = Cascade._rank_by_numpy


@native
@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 400),
    d=st.integers(1, 70),
    pieces=st.integers(1, 4),
    queries=st.integers(1, 9),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_it_is_what_numpy_defines(
    kind: str,
    n: int,
    d: int,
    pieces: int,
    queries: int,
    threads: int,
    seed: int,
    data: st.DataObject,
) -> None:
    generator = np.random.default_rng(seed)
    rows = rows_of(kind, n, d, generator)
    asked = np.concatenate([rows[:queries], rows_of("random", queries, d, generator)])[:queries]
    allowed = generator.random(n) < data.draw(st.sampled_from((1.0, 0.7, 0.1)))
    allowed[generator.integers(n)] = True
    segments = [
        replace(one, living=None if here.all() else RowMask.of(here))
        for one in segments_of(rows, min(pieces, n))
        for here in (allowed[one.first_row : one.first_row + one.rows],)
    ]
    k = data.draw(st.integers(1, int(allowed.sum())))
    candidates = data.draw(st.integers(k, n))
    kept = data.draw(st.integers(k, max(k, candidates)))
    checks = [Check(depth, 0.9) for depth in data.draw(st.lists(st.integers(1, 30), max_size=2))]
    path = data.draw(st.sampled_from(NATIVE))
    with use_kernels(path):
        found, passed = Cascade(segments).search(asked, k, candidates, kept, threads, checks)
        truth, expected = ByNumpy(segments).search(asked, k, candidates, kept, threads, checks)
    np.testing.assert_array_equal(found.positions, truth.positions)
    assert found.scores.tobytes() == truth.scores.tobytes()
    assert np.array_equal(found.certified, truth.certified)
    for stage, of_truth in zip(found.stages, truth.stages, strict=True):
        assert (stage.name, *stage.rows, *stage.bytes) == (
            of_truth.name,
            *of_truth.rows,
            *of_truth.bytes,
        )
    if not checks:
        assert passed.all()
        assert expected.all()


@native
@pytest.mark.parametrize("kind", ["low rank", "duplicates", "equal", "grid", "one-hot"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_leads_are_those_of_numpy(pieces: int, kind: str) -> None:
    """Of equal scores too: else what was measured about leads would not hold for those of a search."""
    generator = np.random.default_rng(3)
    rows = rows_of(kind, 3000, 64, generator)
    asked = rows_of("random", 40, 64, generator)
    cascade = Cascade(segments_of(rows, pieces))
    units = unit_queries(asked)
    found_leads = cascade._rank_natively(
        asked, units, 10, 400, 40, 1, [1, 10, 100], Allowed.living(cascade._segments)
    ).leads
    expected = cascade._rank_by_numpy(
        asked, units, 10, 400, 40, 1, [1, 10, 100], Allowed.living(cascade._segments)
    ).leads
    np.testing.assert_allclose(found_leads, expected, rtol=1e-12)
    for least in (0.5, 1.0, 1.5, 2.0, 3.0):
        checks = [Check(10, least), Check(100, least / 2)]
        found = cascade.search(asked, 10, 400, 40, 1, checks)[1]
        truth = ByNumpy(cascade._segments).search(asked, 10, 400, 40, 1, checks)[1]
        assert np.array_equal(found, truth)


def damaged_segments(what: str) -> list[Segment]:
    """Two segments, the second of which is damaged throughout."""
    rows = rows_of("random", 200, 32, np.random.default_rng(4))
    first, second = segments_of(rows, 2)
    if what == "zeros":
        return [first, replace(second, vectors=np.zeros_like(second.vectors))]
    if what == "not finite":
        return [first, replace(second, vectors=np.full_like(second.vectors, np.nan))]
    return [first, replace(second, scale=np.full_like(second.scale, np.nan))]


@pytest.mark.parametrize("kind", [Cascade, ByNumpy])
@pytest.mark.parametrize("what", ["zeros", "not finite"])
def test_a_damaged_row_is_an_error(what: str, kind: type[Cascade]) -> None:
    segments = damaged_segments(what)
    with pytest.raises(IndexFormatError, match="segment memory holds rows that are not finite"):
        kind(segments).search(segments[0].vectors[:3], 5, 50, 20)


@pytest.mark.parametrize("kind", [Cascade, ByNumpy])
def test_a_code_that_says_nothing_passes_its_row_on(kind: type[Cascade]) -> None:
    segments = damaged_segments("scale")
    asked = segments[1].vectors[:3]
    found = kind(segments).search(asked, 1, 50, 50)[0]
    assert found.positions.ravel().tolist() == [100, 101, 102]
    found = kind(segments).search(asked, 1, 50, 49)[0]
    assert (found.positions >= 100).all()  # the damaged are looked at first


@pytest.mark.parametrize("kind", [Cascade, ByNumpy])
def test_floats_decide_between_rows_that_codes_cannot_tell_apart(kind: type[Cascade]) -> None:
    """Three hundred copies of a page, all but the same: whatever few are kept, the nearest are found."""
    generator = np.random.default_rng(6)
    page = generator.standard_normal(96)
    rows = np.concatenate(
        [page + 0.01 * generator.standard_normal((300, 96)), generator.standard_normal((700, 96))]
    )
    segments = segments_of(unit_rows(rows[generator.permutation(1000)].astype(np.float32))[0], 2)
    asked = unit_rows((page + 0.02 * generator.standard_normal((20, 96))).astype(np.float32))[0]
    truth = ExactSearch(segments).search(asked, 10).positions
    ranking, _ = kind(segments).search(asked, 10, 500, 20)
    assert np.array_equal(ranking.positions, truth)
    scored = ranking.stages[-1].rows
    assert (scored > 50).all()
    assert (scored <= 300).all()
    other = unit_rows(generator.standard_normal((20, 96)).astype(np.float32))[0]
    apart, _ = kind(segments).search(other, 10, 500, 20)
    assert np.median(apart.stages[-1].rows) == 20  # elsewhere nothing more is read


@native
def test_shapes_are_checked_at_the_border() -> None:
    segments = segments_of(rows_of("random", 100, 32, np.random.default_rng(5)), 2)
    asked = segments[0].vectors[:2]
    words, codes = np.zeros((2, 1), np.uint64), np.zeros((2, 32), np.int8)
    arrays = CascadeSegments(segments)
    masks = [None, None]
    assert (cascade_top_k(arrays, masks, asked, words, codes, 3, 10, 5).positions >= 0).all()
    for wrong, told in (
        ((arrays, [None], asked, words, codes, 3, 10, 5), "mask for each segment"),
        ((arrays, masks, asked[:1], words, codes, 3, 10, 5), "queries or their codes"),
        ((arrays, masks, asked, words[:, :0], codes, 3, 10, 5), "queries or their codes"),
        ((arrays, masks, asked, words, codes, 3, 0, 5), "candidates"),
        ((arrays, masks, asked, words, codes, 3, 10, 2), "kept"),
        ((arrays, masks, asked, words, codes, 3, 10, 5, [0]), "one row at least"),
        (
            (arrays, [RowMask.of(np.zeros(50, np.bool_))] * 2, asked, words, codes, 3, 10, 5),
            "no row is allowed",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            cascade_top_k(*wrong)
    with pytest.raises(ValueError, match="another shape"):
        CascadeSegments([segments[0], replace(segments[1], int8=segments[0].int8[:, :8].copy())])
    with use_kernels("numpy"), pytest.raises(RuntimeError, match="native"):
        cascade_top_k(arrays, masks, asked, words, codes, 3, 10, 5)


@native
def test_what_is_held_until_the_process_ends_is_no_leak() -> None:
    held = """
import sys
from qsearch.kernels import CascadeSegments
from tests.retrieval.segments import rows_of, segments_of
import numpy as np
sys.held = CascadeSegments(segments_of(rows_of("random", 20, 8, np.random.default_rng(0))))
"""
    done = subprocess.run(
        [sys.executable, "-c", held], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr == ""
