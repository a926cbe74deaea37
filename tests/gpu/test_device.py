"""Exact search on a device, by its definition in torch: the same ids and score bits as on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qsearch import BuildOptions, Index, IndexFormatError, QueryError
from qsearch.gpu.exact import DeviceExact
from qsearch.gpu.placing import Placing
from qsearch.gpu.rows import DeviceRows
from qsearch.gpu.search import DeviceSearch
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
    assert [len(slab.segments) for slab in device._slabs] == [1, 1] or len(device._slabs) == 2
    assert device.loaded.whole
    assert device.loaded.rows == 3000
    queries = rows_of("random", 5, 20, generator)
    same(device.search(queries, 12), ExactSearch(segments).search(queries, 12, 1))


Damage = dict[str, Any]


@pytest.mark.parametrize(
    "name", ["vectors", "int8", "scale", "residual", "blocks", "bounds", "every vector"]
)
@pytest.mark.parametrize("value", ["zeros", "nan"])
def test_damage_is_an_error_or_changes_nothing(name: str, value: str) -> None:
    """Never a certified wrong answer: what zeros or NaN in a file could hide is looked at."""
    generator = np.random.default_rng(3)
    rows = rows_of("random", 2000, 32, generator)
    (segment,) = segments_of(rows, 1)
    queries = rows[:40] + 0.01 * rows_of("random", 40, 32, generator)
    expected = ExactSearch([segment]).search(queries, 5, 1)
    assert segment.rotated is not None
    spoilt = np.float32(0) if value == "zeros" else np.float32(np.nan)

    def broken(array: NDArray[Any], rows: slice) -> NDArray[Any]:
        copy = np.array(array)
        copy[rows] = spoilt if copy.dtype == np.float32 else 0
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
    found = DeviceSearch(after).search(rows[1000:1003], 5, [None, None])
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
