"""Exact search on a device, by its definition in torch: the same ids and score bits as on the CPU."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from qsearch import BuildOptions, Index, IndexFormatError, QueryError
from qsearch.gpu.exact import DeviceExact
from qsearch.gpu.placing import Placing
from qsearch.gpu.rows import TILE, DeviceRows, bytes_of_rows
from qsearch.gpu.search import DeviceSearch
from qsearch.gpu.slabs import slabs_of
from qsearch.kernels import RowMask
from qsearch.retrieval import ExactSearch, Ranking
from qsearch.retrieval.allowed import Allowed
from qsearch.store import Segment
from tests.encoders import WORDS, HashedWords
from tests.retrieval.segments import KINDS, rows_of, segments_of

CASES = 21


def world(case: int, most: int = 1500) -> tuple[list[Segment], NDArray[np.float32], int, bool]:
    """Segments of one to three pieces, some of their rows allowed; queries; how many rows are wanted."""
    generator = np.random.default_rng(case)
    n, d = int(generator.integers(1, most)), int(generator.integers(1, 100))
    kind = KINDS[case % len(KINDS)]
    rows = rows_of(kind, n, d, generator)
    queries = np.concatenate([rows[:3], rows_of("random", 4, d, generator)])
    segments = segments_of(rows, min(int(generator.integers(1, 4)), n))
    share = [1.0, 0.5, 0.05][case % 3]
    if share < 1:
        allowed = generator.random(n) < share
        allowed[generator.integers(n)] = True
        segments = [
            replace(one, living=RowMask.of(allowed[one.first_row : one.first_row + one.rows]))
            for one in segments
        ]
    if case % 5 == 0:
        segments = [replace(segments[0], rotated=None), *segments[1:]]
    there = Allowed.living(segments).rows
    k = there if case % 7 == 0 else int(generator.integers(1, min(1000, there) + 1))
    return segments, queries, min(k, 1000), case % 4 == 0


def splitting() -> dict[str, Any]:
    """Options to split documents, where there is what finds sentences: not on every machine with a GPU."""
    there = importlib.util.find_spec("sentencex") is not None
    return {"passages": 8, "overlap": 0} if there else {}


def same(found: Ranking, expected: Ranking) -> None:
    assert np.array_equal(found.positions, expected.positions)
    assert found.scores.tobytes() == expected.scores.tobytes()
    assert found.certified.all()


@pytest.mark.parametrize("case", range(CASES))
def test_the_answers_are_those_of_the_cpu(case: int) -> None:
    segments, queries, k, slabs = world(case)
    expected = ExactSearch(segments).search(queries, k, 1)
    device = DeviceExact(segments, ["cpu"], budget=200_000 if slabs else None)
    same(device.search(queries, k), expected)
    same(device.search(queries[:1], 1), ExactSearch(segments).search(queries[:1], 1, 1))
    assert device.search(queries[:0], k).positions.shape == (0, k)


def test_a_filter_holds_on_a_device() -> None:
    generator = np.random.default_rng(0)
    rows = rows_of("random", 6000, 40, generator)
    segments = segments_of(rows, 3)
    device = DeviceExact(segments, ["cpu"])
    queries = rows_of("random", 5, 40, generator)
    for share in (0.3, 0.9):
        chosen = generator.random(len(rows)) < share
        allowed = Allowed.of_documents(segments, chosen)
        found = device.search(queries, 20, allowed=allowed)
        same(found, ExactSearch(segments).search(queries, 20, 1, allowed))
        assert chosen[found.positions].all()
    few = Allowed.of_documents(segments, np.arange(len(rows)) % 1000 == 0)
    same(device.search(queries, 6, allowed=few), ExactSearch(segments).search(queries, 6, 1, few))


def test_a_wrong_guess_and_too_few_places_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    rows = rows_of("random", 4000, 24, generator)
    segments = segments_of(rows, 2)
    queries = rows_of("random", 6, 24, generator)
    expected = ExactSearch(segments).search(queries, 30, 1)
    monkeypatch.setattr(
        DeviceSearch, "guess", lambda search, batch, asked, needed: needed.fill_(0.9)
    )
    same(DeviceExact(segments, ["cpu"]).search(queries, 30), expected)
    for name in ("_PLACES", "_LEAST_PLACES", "_MOST_PLACES"):
        monkeypatch.setattr(f"qsearch.gpu.search.{name}", 512)
    same(DeviceExact(segments, ["cpu"]).search(queries, 30), expected)


@pytest.mark.parametrize("copies", [300, 3000])
def test_more_equal_rows_than_places_are_ordered_by_position(
    monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    monkeypatch.setattr("qsearch.gpu.search._LEAST_PLACES", 64)
    monkeypatch.setattr("qsearch.gpu.search._MOST_PLACES", 1024)
    generator = np.random.default_rng(0)
    rows = rows_of("random", 4000, 20, generator)
    rows[generator.permutation(4000)[:copies]] = rows[0]
    segments = segments_of(rows, 2)
    expected = ExactSearch(segments).search(rows[:3], 30, 1)
    same(DeviceExact(segments, ["cpu"]).search(rows[:3], 30), expected)


def test_several_devices_hold_a_part_each() -> None:
    generator = np.random.default_rng(0)
    rows = rows_of("random", 3000, 20, generator)
    segments = segments_of(rows, 2)
    device = DeviceExact(segments, ["cpu", "cpu:0"])
    assert [slab.living for slab in device._slabs] == [1500, 1500]
    assert device.loaded.whole
    assert device.loaded.rows == 3000
    queries = rows_of("random", 5, 20, generator)
    same(device.search(queries, 12), ExactSearch(segments).search(queries, 12, 1))


@pytest.mark.parametrize("rows", [1001, 1024, 4000])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_parts_are_even_however_many_rows_segments_have(rows: int, devices: int) -> None:
    segments = segments_of(rows_of("random", 10 * rows, 8, np.random.default_rng(0)), 10)
    budgets = [10 * max(map(bytes_of_rows, segments))] * devices
    names = [torch.device("cpu", number) for number in range(devices)]
    slabs = slabs_of(list(enumerate(segments)), names, budgets, whole=True)
    assert [slab.device for slab in slabs] == names
    assert sum(slab.living for slab in slabs) == 10 * rows
    even = 10 * rows / devices
    assert all(abs(slab.living - even) <= 2 * TILE for slab in slabs)
    # Where memory does not hold all, as few slabs as it takes.
    half = [int(0.55 * sum(map(bytes_of_rows, segments)))]
    parts = slabs_of(list(enumerate(segments)), names[:1], half, whole=False)
    assert len(parts) == 2
    assert all(sum(map(bytes_of_rows, one.segments)) <= half[0] for one in parts)


def test_a_device_that_holds_next_to_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsearch.gpu.slabs._LEAST_ROWS", 500)
    segments = segments_of(rows_of("random", 1000, 8, np.random.default_rng(0)), 1)
    with pytest.raises(QueryError, match="the memory of cpu that is free holds 2 rows at a time"):
        DeviceExact(segments, ["cpu"], budget=300)
    # Of nothing that could lie there any device holds enough.
    nowhere = [replace(one, rotated=None) for one in segments]
    queries = rows_of("random", 3, 8, np.random.default_rng(1))
    empty = DeviceExact(nowhere, ["cpu", "cpu:0"], budget=0)
    same(empty.search(queries, 5), ExactSearch(nowhere).search(queries, 5, 1))


def test_a_commit_that_is_forgotten_is_searched_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are not brought back beside those that took their place, nor taken from under a search."""
    generator = np.random.default_rng(0)
    segments = segments_of(rows_of("random", 900, 16, generator), 2)
    queries = rows_of("random", 3, 16, generator)
    expected = ExactSearch(segments).search(queries, 5, 1)
    device = DeviceExact(segments, ["cpu"])
    began, go_on = threading.Event(), threading.Event()
    search = DeviceSearch.search

    def slow(*given: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        return search(*given)

    monkeypatch.setattr(DeviceSearch, "search", slow)
    with ThreadPoolExecutor(2) as pool:
        found = pool.submit(device.search, queries, 5)
        assert began.wait(60)
        forgotten = pool.submit(device.forget)
        assert not forgotten.done()
        assert device.loaded_rows()
        go_on.set()
        same(found.result(60), expected)
        forgotten.result(60)
    assert not device.loaded_rows()
    monkeypatch.delattr("qsearch.gpu.exact.DeviceRows")
    same(device.search(queries, 5), expected)


def test_where_many_rows_are_left_there_are_places_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No query is looked at by itself, slab by slab, but where all places together are too few."""
    generator = np.random.default_rng(0)
    rows = rows_of("random", 6000, 24, generator)
    segments = segments_of(rows, 2)
    queries = rows_of("random", 20, 24, generator)
    expected = ExactSearch(segments).search(queries, 400, 1)
    for name, number in (("_LEAST_PLACES", 16), ("_MOST_PLACES", 64), ("_PLACES", 20_000)):
        monkeypatch.setattr(f"qsearch.gpu.search.{name}", number)
    device = DeviceExact(segments, ["cpu"])
    (slab,) = device._slabs
    assert slab.search is not None
    one = slab.search
    with monkeypatch.context() as patch:
        patch.setattr(DeviceSearch, "_by_slabs", None)
        same(device.search(queries, 400), expected)
        assert one._usual[400] > 400
        scans: list[int] = []
        enqueue = DeviceSearch.enqueue

        def counted(search: DeviceSearch, vectors: Any, *given: Any, **named: Any) -> Any:
            scans.append(len(vectors))
            return enqueue(search, vectors, *given, **named)

        patch.setattr(DeviceSearch, "enqueue", counted)
        same(device.search(queries, 400), expected)
        assert sum(scans) <= 1.5 * len(queries)  # places are there at once, for most
        same(device.search(queries[:3], 1), ExactSearch(segments).search(queries[:3], 1, 1))
    one._usual[400] = 10
    monkeypatch.setattr("qsearch.gpu.search._PLACES", 500)
    same(device.search(queries[:3], 400), ExactSearch(segments).search(queries[:3], 400, 1))


@pytest.mark.parametrize(
    "name", ["vectors", "int8", "scale", "residual", "blocks", "bounds", "every vector"]
)
@pytest.mark.parametrize("value", ["zeros", "nan", "10", "1e30", "3.396e38"])
@pytest.mark.parametrize("kind", ["random", "negative"])
def test_damage_is_an_error_or_changes_nothing(name: str, value: str, kind: str) -> None:
    """Never a certified wrong answer: what a file could hide is looked at, where codes cannot be sound."""
    generator = np.random.default_rng(3)
    rows = rows_of(kind, 2000, 32, generator)
    (segment,) = segments_of(rows, 1)
    queries = rows[:40] + 0.01 * rows_of("random", 40, 32, generator)
    if kind == "negative":  # the best scores are negative too
        queries = np.abs(rows_of("random", 40, 32, generator))
    expected = ExactSearch([segment]).search(queries, 5, 1)
    assert segment.rotated is not None
    spoilt = np.float32({"zeros": 0, "nan": np.nan}.get(value, value))

    def broken(array: NDArray[Any], rows: slice) -> NDArray[Any]:
        copy = np.array(array)
        copy[rows] = spoilt if copy.dtype == np.float32 else 0
        if "vector" in name:  # what is finite there would be another row
            copy[rows] = 0 if value == "zeros" else np.nan
        return copy

    here = slice(0, 48)
    if name in ("blocks", "bounds"):
        rotated = replace(
            segment.rotated, **{name: broken(getattr(segment.rotated, name), slice(0, 3))}
        )
        damaged = replace(segment, rotated=rotated)
    elif name == "every vector":
        damaged = replace(segment, vectors=broken(segment.vectors, slice(None)))
    else:
        damaged = replace(segment, **{name: broken(getattr(segment, name), here)})
    try:
        found = DeviceExact([damaged], ["cpu"]).search(queries, 5)
    except IndexFormatError:
        assert "vector" in name
        return
    assert "vector" not in name
    same(found, expected)


def test_what_stays_is_not_read_again() -> None:
    generator = np.random.default_rng(0)
    rows = rows_of("random", 3000, 20, generator)
    first, second, third = segments_of(rows, 3)
    before = DeviceRows([first, second], "cpu")
    spoilt = replace(second, vectors=np.zeros_like(second.vectors))  # would be seen if it were read
    after = DeviceRows([replace(second, vectors=spoilt.vectors), third], "cpu", before)
    found = DeviceSearch(after).search(rows[1000:1003], 5, after.chosen([None, None]))
    expected = ExactSearch([second, third]).search(rows[1000:1003], 5, 1)
    assert np.array_equal(found.positions, expected.positions)
    assert found.scores.tobytes() == expected.scores.tobytes()


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where a search would go to a GPU, it goes to torch on the CPU; how many queries went there."""
    asked: list[int] = []

    class Counted(DeviceExact):
        def search(self, queries: NDArray[np.float32], *arguments: Any, **named: Any) -> Ranking:
            asked.append(len(queries))
            return super().search(queries, *arguments, **named)

    def load(placing: Placing) -> None:
        made = DeviceExact(placing._segments, ["cpu"], before=placing._before)
        made.try_out()
        made.__class__ = Counted
        placing._exact = made

    monkeypatch.setattr(Placing, "_load", load)
    monkeypatch.setattr("qsearch.gpu.placing.has_gpu", lambda: True)
    return asked


def records(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        words = np.random.default_rng(number).choice(WORDS, size=14)
        yield {"id": f"d{number}", "text": " ".join(words), "even": number % 2 == 0}


def test_an_index_is_searched_there_after_any_change(tmp_path: Path, on_device: list[int]) -> None:
    options = BuildOptions(segment_rows=600, **splitting())
    Index.build(records(900), tmp_path / "i", encoder=HashedWords(), options=options).close()
    texts = [" ".join(WORDS[start : start + 2]) for start in range(6)]
    with (
        Index.open(tmp_path / "i", encoder=HashedWords(), device="cuda") as there,
        Index.open(tmp_path / "i", encoder=HashedWords(), device="cpu") as here,
    ):

        def compare() -> None:
            for asked in ({}, {"where": "even"}, {"all_passages": True}, {"recall": 0.9}):
                found = there.search_batch(texts, 7, **asked)
                assert all(one.certified for one in found)
                if "recall" not in asked:
                    assert [list(one) for one in found] == [
                        list(one) for one in here.search_batch(texts, 7, **asked)
                    ]

        compare()
        assert on_device
        assert (there.searches_on, here.searches_on) == ("cpu", "cpu")  # torch's, taken for a GPU
        there.add([{"id": "new", "text": " ".join(WORDS[:3]), "even": True}])
        here.refresh()
        compare()
        there.delete([f"d{number}" for number in range(0, 900, 3)])
        here.refresh()
        compare()
        there.compact()
        here.refresh()
        compare()
        explained = there.search(texts[0], 3, explain=True).explanation
        assert explained is not None
        assert explained.stages[0].name == "rotated codes on cpu"


def test_a_device_is_named_by_a_text_or_by_torch(tmp_path: Path) -> None:
    rows = np.eye(3, dtype=np.float32)
    for device in (None, "cpu", torch.device("cpu")):
        options = BuildOptions(force=True)
        Index.build(None, tmp_path / "i", embeddings=rows, device=device, options=options).close()
        with Index.open(tmp_path / "i", device=device) as index:
            assert index.search_vectors(rows[:1], 1).positions.tolist() == [[0]]
            assert index.searches_on == "cpu"
    wrong: Any
    for wrong in (0, ["cpu"]):
        with pytest.raises(TypeError, match="a device is a name such as"):
            Index.open(tmp_path / "i", device=wrong)


def test_auto_waits_until_it_pays(tmp_path: Path, on_device: list[int]) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    Index.build(None, tmp_path / "i", embeddings=rows).close()
    with Index.open(tmp_path / "i") as index:
        index.search_vectors(rows[:20], 3)
        assert on_device == []
        index.search_vectors(rows[:40], 3)
        index.search_vectors(rows[:1], 3)
        assert on_device == [40, 1]
    with Index.open(tmp_path / "i") as index:
        for start in range(0, 500, 25):
            index.search_vectors(np.concatenate([rows, rows, rows])[3 * start : 3 * start + 31], 3)
        assert on_device == [40, 1]
        for start in range(0, 500, 25):
            index.search_vectors(rows[start : start + 25], 3)
        assert len(on_device) == 7
    with Index.open(tmp_path / "i", device="cpu") as index:
        index.search_vectors(rows, 3)
        assert len(on_device) == 7


def test_a_device_that_gives_other_answers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    segments = segments_of(rows_of("random", 400, 16, generator), 2)
    device = DeviceExact(segments, ["cpu"])
    device.try_out()
    search = DeviceSearch.search

    def wrong(*given: Any) -> Any:
        found = search(*given)
        return replace(found, scores=np.nextafter(found.scores, np.float32(2)))

    monkeypatch.setattr(DeviceSearch, "search", wrong)
    with pytest.raises(RuntimeError, match="other answers than the CPU"):
        device.try_out()
    damaged = [replace(one, vectors=np.full_like(one.vectors, np.nan)) for one in segments]
    DeviceExact(damaged, ["cpu"]).try_out()  # is not about damage


def test_the_cpu_takes_over_where_a_device_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generator = np.random.default_rng(0)
    segments = segments_of(rows_of("random", 400, 16, generator), 2)
    queries = rows_of("random", 3, 16, generator)
    expected = ExactSearch(segments).search(queries, 5, 1)

    def fails(*given: Any) -> Any:
        raise RuntimeError("out of resources")

    monkeypatch.setattr(DeviceSearch, "search", fails)
    device = DeviceExact(segments, ["cpu"], lenient=True)
    same(device.search(queries, 5), expected)
    assert device.broken
    assert "out of resources" in caplog.text
    same(device.search(queries, 5), expected)
    with pytest.raises(QueryError, match="failed .RuntimeError: out of resources.*cpu"):
        DeviceExact(segments, ["cpu"]).search(queries, 5)
