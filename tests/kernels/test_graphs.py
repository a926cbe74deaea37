"""Graphs: every path makes the links, and finds the rows, that the definition says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qsearch.codes import center_of, int8_codes, int8_query_codes, sketches_of, unit_rows
from qsearch.kernels import (
    NO_ROW,
    GraphRows,
    GraphSegments,
    RowMask,
    build_links,
    graph_found,
    graph_top_k,
    kernel_paths,
    link_copies,
    sketch_bits,
    sketch_lines,
    use_kernels,
)
from qsearch.kernels.graph_reference import beam_search, estimates, start_rows
from tests.retrieval.segments import oracle

NATIVE = [path for path in kernel_paths() if path != "numpy"]
DEGREE, WIDTH = 16, 24


def made(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, GraphRows]:
    """Rows about a center that is not zero, some of them equal, and what a graph knows of them."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n, d)) + 0.5 * generator.standard_normal((1, d))
    rows[n // 2 : n // 2 + 3] = rows[0]
    rows = unit_rows(rows.astype(np.float32))[0]
    return rows, graph_of(rows)


def graph_of(rows: np.ndarray) -> GraphRows:
    codes = int8_codes(rows)
    center = center_of(iter([rows]))
    return GraphRows(codes.codes, codes.scale, sketches_of(rows, center), center)


def segments_of(
    parts: list[tuple[np.ndarray, GraphRows]], links: list[np.ndarray], first: int = 0
) -> GraphSegments:
    segments: list[Any] = []
    for (rows, graph), some in zip(parts, links, strict=True):
        arrays = SimpleNamespace(links=some, sketches=graph.sketches, center=graph.center)
        segments.append(
            SimpleNamespace(
                graph=arrays, int8=graph.int8, scale=graph.scale, vectors=rows, first_row=first
            )
        )
        first += len(rows)
    return GraphSegments(segments)


def queries_of(d: int, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    queries = unit_rows(np.random.default_rng(9).standard_normal((count, d)) + 0.3)[0]
    return queries, int8_query_codes(queries).codes


def quietly(count: int) -> None:
    pass


# 513 to 1,025 dimensions: sketches of two lines, whose last 32 dimensions may be left out.
SHAPES = [(1, 8), (2, 3), (40, 5), (600, 16), (1400, 48), (700, 384), (560, 600), (530, 1024)]


@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_links_equal_the_reference_with_any_number_of_threads(n: int, d: int, path: str) -> None:
    _, graph = made(max(n, 1), d)
    with use_kernels("numpy"):
        expected = build_links(graph, DEGREE, WIDTH, quietly)
    told: list[int] = []
    for threads in (1, 3):
        with use_kernels(path):
            links = build_links(graph, DEGREE, WIDTH, told.append, threads)
        assert np.array_equal(links, expected)
    assert sum(told) == 2 * n
    there = links != NO_ROW
    assert (there[:, :-1] >= there[:, 1:]).all()  # nothing behind the first that there is not
    assert (links[there] < n).all()
    assert not (links == np.arange(n)[:, None]).any()
    assert all(len(set(row[row != NO_ROW])) == (row != NO_ROW).sum() for row in links)


def with_copies(n: int, d: int, groups: int, size: int) -> tuple[np.ndarray, GraphRows, np.ndarray]:
    """Rows of which some are equal to others, and (groups, size) where these are."""
    generator = np.random.default_rng(6)
    rows = generator.standard_normal((n, d)) + 0.5 * generator.standard_normal((1, d))
    places = generator.permutation(n)[: groups * size].reshape(groups, size)
    for group in places:
        rows[group] = rows[group[0]]
    rows = unit_rows(rows.astype(np.float32))[0]
    return rows, graph_of(rows), np.sort(places, axis=1)


@pytest.mark.parametrize("path", NATIVE)
def test_links_among_copies_equal_the_reference(path: str) -> None:
    _, graph, places = with_copies(900, 24, 6, 40)
    with use_kernels("numpy"):
        expected = build_links(graph, DEGREE, WIDTH, quietly)
    with use_kernels(path):
        assert np.array_equal(build_links(graph, DEGREE, WIDTH, quietly), expected)
    for group in places:
        assert not np.isin(expected[group], group).any()  # copies are none at first
    links = expected.copy()
    assert link_copies(links, graph.int8, graph.scale) == places.size
    others = np.setdiff1d(np.arange(900), places)
    assert np.array_equal(links[others], expected[others])
    for group in places:
        assert (
            np.isin(links[group], group).sum(axis=1) == 6
        ).all()  # 1, 2, 4, 8, 16 and 32 behind it
        assert ((links[group] != NO_ROW).sum(axis=1) <= DEGREE).all()
        reached = {int(group[0])}
        for _ in range(6):
            further = {int(one) for row in reached for one in links[row] if one in group}
            reached |= further
        assert reached == set(group.tolist())
    there = links != NO_ROW
    assert (there[:, :-1] >= there[:, 1:]).all()
    assert all(len(set(row[row != NO_ROW])) == (row != NO_ROW).sum() for row in links)


@pytest.mark.parametrize("path", kernel_paths())
def test_copies_are_found_whatever_rounding_says_of_their_scores(path: str) -> None:
    """The product of a row with itself by int8 codes is above 1, or below."""
    rows, graph, places = with_copies(3000, 32, 12, 40)
    own = (graph.int8[places[:, 0]].astype(np.int64) ** 2).sum(axis=1)
    own = own * graph.scale[places[:, 0]].astype(np.float64) ** 2
    assert own.min() < 1 < own.max()
    links = build_links(graph, DEGREE, WIDTH, quietly)
    link_copies(links, graph.int8, graph.scale)
    segments = segments_of([(rows, graph)], [links])
    queries = rows[places[:, 0]]
    codes = int8_query_codes(queries).codes
    with use_kernels(path):
        found = graph_top_k(segments, [None], queries, codes, 10, 40, 40)
    for some, group in zip(found.positions, places, strict=True):
        assert np.isin(some, group).all()


@pytest.mark.parametrize("path", kernel_paths())
def test_a_walk_among_rows_that_are_not_allowed_goes_on_to_others(path: str) -> None:
    generator = np.random.default_rng(8)
    centres = 3 * generator.standard_normal((12, 32))
    of = generator.integers(12, size=6000)
    rows = unit_rows((centres[of] + generator.standard_normal((6000, 32))).astype(np.float32))[0]
    graph = graph_of(rows)
    segments = segments_of([(rows, graph)], [build_links(graph, DEGREE, WIDTH, quietly)])
    queries = unit_rows((centres[:1] + generator.standard_normal((20, 32))).astype(np.float32))[0]
    codes = int8_query_codes(queries).codes
    allowed = of != 0  # all that is near
    allowed[np.flatnonzero(of == 0)[:8]] = True
    true = np.argsort(-np.where(allowed, queries @ rows.T, -np.inf), axis=1)[:, :10]
    with use_kernels(path):
        found = graph_top_k(segments, [RowMask.of(allowed)], queries, codes, 10, 24, 24)
    assert allowed[found.positions].all()
    shares = (found.positions[:, :, None] == true[:, None, :]).any(axis=2)
    assert shares.mean() > 0.85


@pytest.mark.parametrize("path", NATIVE)
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_searches_equal_the_reference(n: int, d: int, path: str) -> None:
    parts = [made(n, d), made(max(1, n // 3), d, seed=1)]
    with use_kernels(path):
        links = [build_links(graph, DEGREE, WIDTH, quietly) for _, graph in parts]
    segments = segments_of(parts, links, first=5)
    queries, codes = queries_of(d)
    generator = np.random.default_rng(3)
    some = [RowMask.of(generator.random(len(rows)) < 0.4) for rows, _ in parts]
    some[0] = RowMask.of(np.arange(n) == n // 2)  # a single one
    masks: list[list[RowMask | None]] = [[None, None], [some[0], None], [None, some[1]]]
    for mask in masks:
        for width in (1, 12, 90):
            with use_kernels("numpy"):
                expected = graph_found(segments, mask, codes, width)
                wanted = graph_top_k(segments, mask, queries, codes, 7, width, 20, (1, 10))
            with use_kernels(path):
                for threads in (1, 3):
                    found = graph_found(segments, mask, codes, width, threads)
                    got = graph_top_k(
                        segments, mask, queries, codes, 7, width, 20, (1, 10), threads
                    )
                    for left, right in zip(found, expected, strict=True):
                        assert np.array_equal(left, right)
                    assert np.array_equal(got.positions, wanted.positions)
                    assert np.array_equal(got.scores, wanted.scores)
                    assert np.allclose(got.heights, wanted.heights, rtol=1e-12)
                    assert np.array_equal(got.sketched, wanted.sketched)
                    assert np.array_equal(got.refined, wanted.refined)
                    assert np.array_equal(got.ends, found.ends)
                    assert np.array_equal(got.ends, wanted.ends)
                    assert np.array_equal(got.scored, wanted.scored)
                    assert got.damaged == -1


@pytest.mark.parametrize("path", kernel_paths())
def test_a_beam_ends_at_its_worst_row_and_a_scan_nowhere(path: str) -> None:
    parts = [made(1400, 48), made(600, 48, seed=1)]
    links = [build_links(graph, DEGREE, WIDTH, quietly) for _, graph in parts]
    segments = segments_of(parts, links)
    _, codes = queries_of(48)
    with use_kernels(path):
        found = graph_found(segments, [None, None], codes, 30)
        assert np.array_equal(found.ends, np.maximum(found.scores[:, 29], found.scores[:, 59]))
        few = RowMask.of(np.arange(1400) % 100 == 0)
        found = graph_found(segments, [few, None], codes, 30)  # a scan of few, and a beam
        assert np.array_equal(found.ends, found.scores[:, 14 + 29])
        none = RowMask.of(np.zeros(600, dtype=bool))
        assert np.isneginf(graph_found(segments, [few, none], codes, 30).ends).all()
        # Rows of a beam that are not allowed count as well: it has gone so far.
        most = RowMask.of(np.arange(1400) % 10 > 0)
        wider = graph_found(segments, [None, none], codes, 34)
        assert np.array_equal(graph_found(segments, [most, none], codes, 30).ends, wider.ends)


@pytest.mark.parametrize("path", kernel_paths())
def test_what_codes_cannot_tell_from_the_last_is_kept(path: str) -> None:
    generator = np.random.default_rng(4)
    centre = generator.standard_normal(64).astype(np.float32)
    near = centre + 0.02 * generator.standard_normal((300, 64))
    rows = np.concatenate([near, generator.standard_normal((900, 64))])
    rows = unit_rows(rows[generator.permutation(len(rows))].astype(np.float32))[0]
    graph = graph_of(rows)
    segments = segments_of([(rows, graph)], [build_links(graph, DEGREE, WIDTH, quietly)])
    query = unit_rows(centre[None])[0].astype(np.float32)
    codes = int8_query_codes(query)
    with use_kernels(path):
        found = graph_found(segments, [None], codes.codes, 140).scores[0]
        for blur in (0.0, 1.0, 1.5):
            got = graph_top_k(
                segments, [None], query, codes.codes, 5, 140, 7, (), 1, np.float32([blur])
            )
            assert got.scored[0] == max(7, (found >= found[4] - np.float32(blur)).sum())
        every = graph_top_k(
            segments, [None], query, codes.codes, 5, 140, 7, (), 1, np.float32([np.inf])
        )
        assert every.scored[0] == 140
        few = graph_top_k(segments, [None], query, codes.codes, 5, 140, 7)
        assert few.scored[0] == 7
    assert not np.array_equal(few.positions, every.positions)


@pytest.mark.parametrize("path", kernel_paths())
def test_a_wide_beam_finds_the_nearest_and_their_scores_are_exact(path: str) -> None:
    rows, graph = made(4000, 32)
    links = [build_links(graph, 2 * DEGREE, 2 * WIDTH, quietly)]
    segments = segments_of([(rows, graph)], links)
    queries, codes = queries_of(32)
    true, scores = oracle(rows, queries, 10)
    with use_kernels(path):
        found = graph_top_k(segments, [None], queries, codes, 10, 400, 400)
    assert np.mean(found.positions == true) > 0.98
    same = found.positions == true
    assert np.array_equal(found.scores[same], scores[same])
    with use_kernels(path):  # of as many as there are, all are
        every = graph_top_k(segments, [None], queries, codes, 10, 4000, 4000)
    assert np.array_equal(every.positions, true)
    with use_kernels(path):  # of a wider beam than an eighth of the rows all are looked at
        many = graph_top_k(segments, [None], queries, codes, 10, 600, 600)
    assert (found.sketched > 0).all()
    assert np.array_equal(many.positions, true)


def test_a_sketch_says_nearly_what_the_code_does() -> None:
    _, graph = made(2000, 384)
    _, codes = queries_of(384)
    for query in codes:
        said = estimates(graph, np.arange(2000), query)
        true = graph.scale * (graph.int8.astype(np.int32) @ query.astype(np.int32))
        spread = true.std()
        assert abs(np.mean(said - true)) < 0.1 * spread  # no more to one side than to the other
        assert np.corrcoef(said, true)[0, 1] > 0.75


@pytest.mark.parametrize(
    ("dimensions", "lines", "bits"),
    [(1, 1, 1), (384, 1, 384), (480, 1, 480), (512, 1, 480), (544, 1, 480), (545, 2, 545)]
    + [(768, 2, 768), (1024, 2, 992), (1536, 3, 1504), (4096, 8, 4064)],
)
def test_lines_of_a_sketch_are_full(dimensions: int, lines: int, bits: int) -> None:
    assert sketch_lines(dimensions) == lines
    assert sketch_bits(dimensions, lines) == bits


@pytest.mark.parametrize("path", kernel_paths())
def test_damage_of_any_kind_ends_and_gives_rows_that_there_are(path: str) -> None:
    """Nothing is believed: not that links lead to rows, nor that numbers are some."""
    rows, graph = made(700, 32)
    links = build_links(graph, DEGREE, WIDTH, quietly)
    queries, codes = queries_of(32)
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 1 << 32, size=links.shape, dtype=np.uint32)
    none = np.full_like(links, NO_ROW)
    wrong = graph.sketches.copy()
    wrong.view(np.uint32)[..., -1] = 0x7FC00000  # factors that are no numbers
    nowhere = np.full_like(graph.scale, np.nan)
    for arrays in (
        (noise, graph),
        (none, graph),
        (np.zeros_like(links), graph),
        (links, graph._replace(sketches=wrong)),
        (links, graph._replace(sketches=np.zeros_like(wrong))),
        (links, graph._replace(scale=nowhere)),
        (links, graph._replace(center=np.full_like(graph.center, np.inf))),
    ):
        segments = segments_of([(rows, arrays[1])], [arrays[0]])
        with use_kernels(path), np.errstate(all="ignore"):
            found = graph_top_k(segments, [None], queries, codes, 7, 40, 40)
        assert ((found.positions >= 0) & (found.positions < 700)).all()
        assert all(len(set(some)) == 7 for some in found.positions.tolist())
        local, exact = oracle(rows, queries, 700)
        for number, some in enumerate(found.positions):
            places = [local[number].tolist().index(row) for row in some]
            assert np.array_equal(found.scores[number], exact[number][places])


@pytest.mark.parametrize("path", kernel_paths())
def test_a_row_that_is_not_finite_is_told(path: str) -> None:
    rows, graph = made(700, 32)
    links = build_links(graph, DEGREE, WIDTH, quietly)
    queries, codes = queries_of(32)
    rows = rows.copy()
    rows[:] = np.nan
    with use_kernels(path), np.errstate(all="ignore"):
        found = graph_top_k(
            segments_of([(rows, graph)], [links], 30), [None], queries, codes, 7, 40, 40
        )
    assert 30 <= found.damaged < 730
    assert (found.positions == -1).all()


def test_equal_rows_do_not_cut_the_graph_off() -> None:
    """A thousand equal rows and some others: these are found from anywhere."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((1200, 24))
    rows[100:1100] = rows[100]
    rows = unit_rows(rows)[0]
    codes = int8_codes(rows)
    center = center_of(iter([rows]))
    graph = GraphRows(codes.codes, codes.scale, sketches_of(rows, center), center)
    links = build_links(graph, DEGREE, WIDTH, quietly)
    others = [*range(100), *range(1100, 1200)]
    segments = segments_of([(rows, graph)], [links])
    found = graph_top_k(
        segments, [None], rows[others], int8_query_codes(rows[others]).codes, 1, 32, 32
    )
    assert np.mean(found.positions[:, 0] == others) > 0.9  # a beam may be full of equal ones


def test_starts_are_evenly_spread_and_searches_begin_there() -> None:
    assert start_rows(1).tolist() == [0]
    assert start_rows(5).tolist() == [0, 1, 2, 3, 4]
    some = start_rows(1_000_000)
    assert len(some) == 256
    assert np.ptp(np.diff(some)) <= 1
    _, graph = made(400, 16)
    none = np.full((400, 4), NO_ROW, dtype=np.uint32)
    found = beam_search(graph, none, queries_of(16)[1][0], 300)
    assert sorted(found.rows.tolist()) == start_rows(400).tolist()


@pytest.mark.skipif(not NATIVE, reason="no native kernels")
def test_shapes_are_checked_at_the_border() -> None:
    rows, graph = made(100, 16)
    links = build_links(graph, DEGREE, WIDTH, quietly)
    queries, codes = queries_of(16)
    fine = segments_of([(rows, graph)], [links])
    with pytest.raises(ValueError, match="links or rows"):
        graph_found(segments_of([(rows, graph)], [links[:50]]), [None], codes, 5)
    few = graph._replace(sketches=graph.sketches[:50])
    with pytest.raises(ValueError, match="sketches"):
        graph_found(segments_of([(rows, few)], [links]), [None], codes, 5)
    with pytest.raises(ValueError, match="codes have another shape"):
        graph_found(fine, [None], codes[:, :8], 5)
    with pytest.raises(ValueError, match="a mask for each segment"):
        graph_found(fine, [None, None], codes, 5)
    with pytest.raises(ValueError, match="no row is allowed"):
        graph_found(fine, [RowMask.of(np.zeros(100, dtype=bool))], codes, 5)
    with pytest.raises(ValueError, match="k rows be kept"):
        graph_top_k(fine, [None], queries, codes, 5, 20, 4)
