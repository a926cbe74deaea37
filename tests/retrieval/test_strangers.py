"""A recall is promised for any query, whether or not it is like what recall was measured with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, Index
from qsearch.codes import unit_rows
from qsearch.retrieval.lead import leads
from tests.once import made_once
from tests.retrieval.times import always, each, make_up_times

DIMENSIONS = 128
ROWS, LINKED = 24_000, 12_000
"""Of a world, and of one with a graph, which takes longer to make."""


def unit(rows: np.ndarray) -> np.ndarray:
    return unit_rows(rows)[0]


def noise(generator: np.random.Generator, count: int) -> np.ndarray:
    return unit(generator.standard_normal((count, DIMENSIONS)))


def clusters(
    generator: np.random.Generator, documents: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Documents in clusters; queries from anywhere."""
    centres = noise(generator, 100)

    def near(count: int) -> np.ndarray:
        some = centres[generator.integers(len(centres), size=count)]
        return unit(some + 0.5 * noise(generator, count))

    return near(documents), {"like": near(2000), "anywhere": noise(generator, 2000)}


def cones(
    generator: np.random.Generator, documents: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Documents in one cone, queries in another, as encoders of two modalities give them."""
    axes = noise(generator, 2)

    def around(axis: np.ndarray, count: int) -> np.ndarray:
        # Within its cone a world of fewer dimensions, in which signs say something.
        inner = generator.standard_normal((count, 48)) @ shape
        return unit(axis + unit(inner))

    shape = generator.standard_normal((48, DIMENSIONS))
    gap = unit(around(axes[1], 2000) + 0.7 * noise(generator, 2000))
    return around(axes[0], documents), {"like": around(axes[0], 2000), "gap": gap}


def manifold(
    generator: np.random.Generator, documents: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Documents on a sphere of 16 dimensions; queries off it, less and more."""
    basis = np.linalg.qr(generator.standard_normal((DIMENSIONS, 16)))[0].T

    def on(count: int) -> np.ndarray:
        return unit(generator.standard_normal((count, 16)) @ basis)

    off = {
        f"off by {length}": unit(on(2000) + length * noise(generator, 2000))
        for length in (0.7, 1.0, 2.0)
    }
    return on(documents), {"like": on(2000), **off}


def near_many(generator: np.random.Generator, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Queries that are nearer to all documents than any of these is."""
    centre = unit(rows.mean(axis=0)[None])
    some = generator.integers(len(rows), size=(1000, 30))
    return {
        "means of 5": unit(rows[some[:, :5]].mean(axis=1)),
        "means of 30": unit(rows[some].mean(axis=1)),
        "centre": unit(centre + 0.1 * noise(generator, 1000)),
        "about the centre": unit(centre + 0.5 * noise(generator, 1000)),
        "toward the centre": unit(rows[some[:, 0]] + centre),
    }


def families(
    generator: np.random.Generator, documents: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Nearly all documents in a world of few dimensions, and some in a few dense families."""
    few = documents * 3 // 100
    axis = noise(generator, 1)
    centres = unit(axis + 0.6 * noise(generator, 4))

    def of_families(count: int, length: float) -> np.ndarray:
        some = centres[generator.integers(len(centres), size=count)]
        return unit(some + length * noise(generator, count))

    def others(count: int) -> np.ndarray:
        inner = generator.standard_normal((count, 20)) @ shape
        return unit(inner + 0.3 * np.sqrt(20) * generator.standard_normal((count, DIMENSIONS)))

    shape = generator.standard_normal((20, DIMENSIONS))
    rows = np.concatenate([others(documents - few), of_families(few, 0.2)])[
        generator.permutation(documents)
    ]
    return rows, {
        "like": others(1000),
        "in a family": of_families(1000, 0.1),
        "in the middle of one": of_families(1000, 0.05),
        "between families": unit(axis + 0.3 * noise(generator, 1000)),
        "beside families": unit(axis + unit(axis + 0.6 * noise(generator, 1000))),
        **near_many(generator, rows),
    }


def zipf(
    generator: np.random.Generator, documents: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Documents in a cone, in clusters of very different sizes."""
    sizes = 1 / np.arange(1, 2001)
    centres = unit(noise(generator, len(sizes)) + noise(generator, 1))

    def near(clusters: np.ndarray) -> np.ndarray:
        return unit(centres[clusters] + 0.4 * noise(generator, len(clusters)))

    def drawn(count: int) -> np.ndarray:
        return generator.choice(len(sizes), size=count, p=sizes / sizes.sum())

    rows = near(drawn(documents))
    return rows, {
        "like": near(drawn(1000)),
        "of rare clusters": near(generator.integers(len(sizes), size=1000)),
        **near_many(generator, rows),
    }


@dataclass(frozen=True)
class World:
    index: Index
    queries: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]


def made(
    make: Callable[[np.random.Generator, int], Any], factory: pytest.TempPathFactory, *, graph: bool
) -> Iterator[World]:
    rows, queries = make(np.random.default_rng(0), LINKED if graph else ROWS)
    name = f"{make.__name__}, linked" if graph else make.__name__
    path = made_once(factory, name, lambda path: build(rows, path, graph=graph))
    with Index.open(path) as index:
        truth = {name: index.search_vectors(some).positions for name, some in queries.items()}
        yield World(index, queries, truth)


def build(rows: np.ndarray, path: Path, *, graph: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Times decide what pays: here an exact search never does, so that there is something to promise.
        # And candidates cost what they are, so that the same plans are made on every machine; by a graph
        # nothing.
        make_up_times(patch, always(1000.0, 1000.0), each(1e-3), each(1e-6))
        patch.setattr("qsearch.retrieval.measuring._ROWS_OF_BEAM", 50)
        Index.build(None, path, embeddings=rows, options=BuildOptions(graph=graph)).close()


@pytest.fixture(
    scope="module", params=[clusters, cones, manifold, zipf], ids=lambda make: make.__name__
)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    yield from made(request.param, tmp_path_factory, graph=False)


@pytest.fixture(
    scope="module",
    params=[clusters, cones, manifold, families],
    ids=lambda make: make.__name__,
)
def linked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    yield from made(request.param, tmp_path_factory, graph=True)


def shares(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return (found[:, :, None] == truth[:, None, :]).any(axis=2).mean(axis=1)


def holds_in_every_sample(world: World, recall: float) -> None:
    for name, queries in world.queries.items():
        found = world.index.search_vectors(queries, recall=recall)
        samples = shares(found.positions, world.truth[name]).reshape(-1, 100).mean(axis=1)
        assert samples.min() >= recall, (name, samples)


@pytest.mark.parametrize("recall", [0.9, 0.95, 0.99, 0.999])
def test_the_promise_holds(world: World, recall: float) -> None:
    holds_in_every_sample(world, recall)


@pytest.mark.parametrize("recall", [0.9, 0.95, 0.99])
def test_the_promise_holds_by_a_graph(linked: World, recall: float) -> None:
    holds_in_every_sample(linked, recall)


def test_there_was_something_to_promise_of_the_graph(linked: World) -> None:
    """Without their checks plans break the promise, and like queries are not all exact."""
    graph = linked.index._open.searcher._graph
    broken = []
    for recall in (0.9, 0.95, 0.99):
        plan = linked.index.tuning.plan(recall, 10)
        if plan.exact:
            continue
        assert plan.method == "graph"
        for name, queries in linked.queries.items():
            ranking, _ = graph.search(queries, 10, plan.candidates, plan.kept)
            if shares(ranking.positions, linked.truth[name]).mean() < recall:
                broken.append((recall, name))
    like = linked.index.search_vectors(linked.queries["like"], recall=0.9)
    assert like.certified.mean() < 0.1
    assert broken or "gap" in linked.queries  # where the documents' cone is as wide as the other's


def test_there_was_something_to_promise(world: World) -> None:
    """Without their checks plans break the promise, and like queries are not all exact."""
    cascade = world.index._open.searcher._cascade
    broken = []
    for recall in (0.9, 0.95, 0.98):
        plan = world.index.tuning.plan(recall, 10)
        if plan.exact:
            continue
        assert plan.checks
        for name, queries in world.queries.items():
            ranking, passed = cascade.search(queries, 10, plan.candidates, plan.kept)
            assert passed.all()
            if shares(ranking.positions, world.truth[name]).mean() < recall:
                broken.append((recall, name))
    assert broken
    like = world.index.search_vectors(world.queries["like"], recall=0.9)
    assert not like.certified.all()


def test_a_query_that_is_answered_exactly_says_so(world: World) -> None:
    queries = np.concatenate(list(world.queries.values()))
    truth = np.concatenate(list(world.truth.values()))
    found = world.index.search_vectors(queries, recall=0.9)
    assert 0 < found.certified.sum() < len(queries)
    assert np.array_equal(found.positions[found.certified], truth[found.certified])
    # What one query gets does not depend on those beside it.
    for number in (*np.flatnonzero(found.certified)[:3], *np.flatnonzero(~found.certified)[:3]):
        alone = world.index.search_vectors(queries[number : number + 1], recall=0.9)
        assert np.array_equal(alone.positions[0], found.positions[number])
        assert np.array_equal(alone.scores[0], found.scores[number])
        assert alone.certified[0] == found.certified[number]


@pytest.mark.parametrize("k", [1, 5, 20, 100])
def test_the_promise_holds_at_every_depth(world: World, k: int) -> None:
    for name, queries in world.queries.items():
        truth = world.index.search_vectors(queries[:600], k).positions
        found = world.index.search_vectors(queries[:600], k, recall=0.9).positions
        samples = shares(found, truth).reshape(6, 100).mean(axis=1)
        assert samples.min() >= 0.9, (name, samples)


def lead(scores: np.ndarray, places: np.ndarray, candidates: int, depth: int) -> np.ndarray:
    return leads(scores, places, [candidates], [depth])[0, 0]


def test_a_lead_is_one_where_the_best_stand_anywhere() -> None:
    generator = np.random.default_rng(0)
    scores = generator.standard_normal((200, 4000)).astype(np.float32)
    found = lead(scores, np.arange(4000), 4000, 50)
    assert found.mean() == pytest.approx(1.0, abs=0.03)


def test_a_lead_is_highest_where_the_best_stand_in_front() -> None:
    scores = -np.arange(1000, dtype=np.float32)[None]
    best = np.log(1000 / (np.arange(10) + 0.5)).mean()
    assert lead(scores, np.arange(1000), 1000, 10)[0] == pytest.approx(best)
    assert lead(scores[:, ::-1].copy(), np.arange(1000), 1000, 10)[0] == pytest.approx(
        np.log(1000 / (990 + np.arange(10) + 0.5)).mean()
    )
    # Of two segments each has its own places.
    both = np.concatenate([scores, scores], axis=1)
    places = np.tile(np.arange(1000), 2)
    assert lead(both, places, 1000, 10)[0] > lead(both, np.arange(2000), 1000, 10)[0]
    assert np.isfinite(lead(scores[:, :3], np.arange(3), 3, 10)).all()


def test_explanations_tell_which_queries_are_exact(tmp_path_factory: Any) -> None:
    from tests.encoders import HashedWords

    generator = np.random.default_rng(1)
    words = [f"word{number}" for number in range(400)]
    records = [
        {"id": str(number), "text": " ".join(generator.choice(words, 6))} for number in range(3000)
    ]
    with pytest.MonkeyPatch.context() as patch:
        # And candidates cost what they are, so that the same plans are made on every machine.
        make_up_times(patch, always(1000.0, 1000.0), each(1e-3))
        index = Index.build(records, tmp_path_factory.mktemp("told") / "i", encoder=HashedWords())
    seen = set()
    for number in range(60):
        result = index.search(records[number]["text"], recall=0.6, explain=True)
        assert result.explanation is not None
        seen.add((result.method, result.certified, result.explanation.reason[:20]))
    assert seen <= {
        ("exact", True, "what was measured do"),
        ("cascade", False, "measured on document"),
    }
