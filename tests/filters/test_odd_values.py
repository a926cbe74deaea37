"""Values and names that are odd: what SQLite, JSON, or a class of somebody's own would make of them."""

from __future__ import annotations

import contextlib
import enum
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import Document, Index, IndexFormatError, QueryError, verify_index
from qsearch.filters import as_condition


def built(folder: Path, *metadata: dict[str, Any], index_fields: tuple[str, ...] = ()) -> Index:
    """An index of documents with these metadata, numbered from 0."""
    documents = [{"id": str(number), "text": "t", **one} for number, one in enumerate(metadata)]
    return Index.build(
        documents,
        folder / "i",
        embeddings=vectors(len(documents)),
        options={"index_fields": index_fields},
    )


def vectors(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def found(index: Index, where: Any, **options: Any) -> list[str]:
    return [one.id for one in index.find(where, **options)]


MANY = [f"q{number}" for number in range(30)]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"a": "x"}, ["1"]),
        ({"a": "x\0y"}, ["0"]),
        ({"a": {"$contains": "x"}}, ["0", "1"]),
        ({"a": {"$contains": "x\0y"}}, ["0", "2"]),
        ({"a": {"$contains": "y"}}, ["0"]),
        ({"a": {"$in": ["x\0y", *MANY]}}, ["0"]),
        ({"a": {"$in": ["x\0z", 1, *MANY]}}, []),
        ({"a": {"$gt": "x"}}, ["0"]),
        ("a LIKE 'x'", ["1"]),
        ("a LIKE 'x\0y'", ["0"]),
        ("a LIKE 'X_%Y'", ["0"]),
        ("a LIKE '%'", ["0", "1", "3"]),
        ("length(a) = 3", ["0"]),
        ("a = 1", []),
        ("length(a) = 4", ["3"]),
    ],
)
@pytest.mark.parametrize("index_fields", [(), ("a",)])
def test_a_text_does_not_end_where_a_nul_is(
    tmp_path: Path, where: Any, ids: list[str], index_fields: tuple[str, ...]
) -> None:
    """To SQLite's JSON, and to its LIKE, it does."""
    index = built(
        tmp_path,
        {"a": "x\0y"},
        {"a": "x"},
        {"a": ["x\0y"]},
        {"a": "1\x000z"[:4]},
        index_fields=index_fields,
    )
    assert found(index, where) == ids
    assert not verify_index(index.path, deep=True).problems


@pytest.mark.parametrize("text", ["a" * 50_000, "ab" * 20_000 + "\0"])
def test_a_pattern_takes_no_more_time_than_it_must(tmp_path: Path, text: str) -> None:
    index = built(tmp_path, {"a": text})
    assert found(index, "a LIKE :p", params={"p": "%a" * 150 + "%c%"}) == []
    assert found(index, {"a": {"$contains": "a" * 20_000 + "c"}}) == []


def test_a_name_with_dots_is_looked_for_both_ways_in_each_document(tmp_path: Path) -> None:
    """Which of both there is changes with other documents, and is of the newest commit."""
    index = built(tmp_path, {"a.b": 1}, {"a.b": 2}, index_fields=('"a.b"',))
    reader = Index.open(index.path)
    assert found(index, "a.b = 1") == ["0"]
    index.add([{"id": "2", "text": "t", "a": {"b": 1}}], embeddings=vectors(1))
    assert found(index, "a.b = 1") == ["0", "2"]
    assert found(index, '"a.b" = 1') == ["0"]
    assert found(reader, "a.b = 1") == ["0"]
    index.delete("2")
    assert found(index, "a.b >= 1") == ["0", "1"]
    with index.changes() as changes:
        changes.delete("1")
        changes.add([{"id": "3", "text": "t", "o.p": 1}], embeddings=vectors(1))
        changes.delete(where={"o.p": 1})
    assert [one.id for one in index] == ["0"]


def test_a_reader_whose_indexed_field_is_dropped_reads_the_metadata(tmp_path: Path) -> None:
    index = built(tmp_path, *({"year": year} for year in range(10)), index_fields=("year",))
    reader = Index.open(index.path)
    assert reader.count("year >= 3") == 7
    index.index_fields("year", drop=True)
    assert reader.count("year >= 4") == 6


class Loud(str):
    """A text that shows itself as another."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "loud"


class Year(enum.IntEnum):
    """A number that shows itself with a name."""

    LAST = 7


def test_what_a_value_shows_itself_as_does_not_count(tmp_path: Path) -> None:
    index = built(tmp_path, {"a": "x", "n": 7}, {"a": "y", "n": 8})
    assert found(index, {"a": Loud("x")}) == ["0"]
    assert found(index, {"a": Loud("y")}) == ["1"]
    assert found(index, {"n": Year.LAST}) == found(index, {"n": 7.0}) == ["0"]


def test_values_of_numpy_are_those_of_the_metadata(tmp_path: Path) -> None:
    moment, duration = np.datetime64("2020-01-01T00:00:00", "ns"), np.timedelta64(5, "s")
    index = built(tmp_path, {"when": moment, "long": duration}, {"when": np.datetime64("NaT")})
    assert found(index, {"when": moment, "long": duration}) == ["0"]
    with pytest.raises(QueryError, match="IS NULL"):
        found(index, {"when": np.datetime64("NaT")})


def test_keys_that_json_makes_one_are_one(tmp_path: Path) -> None:
    index = built(tmp_path, {"o": {1: "a", "1": "b"}, "l": [{None: 1}]})
    assert index.get("0").metadata == {"o": {"1": "b"}, "l": [{"null": 1}]}
    assert found(index, {"o.1": "b"}) == ["0"]
    assert found(index, {"o.1": "a"}) == []


def test_keys_of_a_document_are_those_of_json_too(tmp_path: Path) -> None:
    metadata: dict[Any, Any] = {"o": {1: "a", "1": "b"}, "by": {2020: 5}}
    document = Document("0", "text", metadata=metadata)
    index = Index.build([document], tmp_path / "i", embeddings=np.ones((1, 1)))
    assert found(index, {"o.1": "b"}) == ["0"]
    assert found(index, {"o.1": "a"}) == []
    assert (index.upsert([document]).unchanged, index.commit) == (1, 1)


def test_whole_numbers_have_any_number_of_digits(tmp_path: Path) -> None:
    index = built(tmp_path, {"n": 10**300})
    assert found(index, "n = 1" + "0" * 300) == ["0"]
    for digits in (400, 5000, 19_000):
        with pytest.raises(QueryError, match="the value of 9{40}… .*too large"):
            found(index, "n = " + "9" * digits)


@pytest.mark.parametrize(
    "where",
    [
        {"a": "\ud800"},
        "a = '\ud800'",
        "a LIKE '\ud800'",
        "lower(" * 49 + "a" + ")" * 49 + " = 'x'",
    ],
)
def test_what_sqlite_cannot_take_is_an_error_of_the_condition(tmp_path: Path, where: Any) -> None:
    with pytest.raises(QueryError, match=r"valid Unicode|too deep for SQLite"):
        found(built(tmp_path, {"a": "x"}), where)


def test_denying_often_is_not_deep(tmp_path: Path) -> None:
    index = built(tmp_path, {"a": 1}, {"a": 2}, {})
    assert found(index, ("NOT " * 49 + "(") * 30 + "a = 1" + ")" * 30) == ["0"]
    assert found(index, ("NOT " * 49 + "(") * 31 + "a = 1" + ")" * 31) == ["1"]


def test_a_number_of_digits_that_is_none_rounds_all_the_same(tmp_path: Path) -> None:
    assert found(built(tmp_path, {"a": 10**400, "b": 2.5}), "round(b, a) = 2.5") == ["0"]


def test_a_condition_that_is_in_itself_many_times_is_refused() -> None:
    """Thirty small mappings would be a condition of a thousand million."""
    bomb: dict[str, Any] = {"a": 1}
    for _ in range(30):
        bomb = {"$and": [bomb, bomb]}
    with pytest.raises(QueryError, match="more than 10,000"):
        as_condition(bomb)
    around: dict[str, Any] = {}
    around["$or"] = [around, around]
    with pytest.raises(QueryError, match="50 deep"):
        as_condition(around)


def test_values_without_end_are_refused() -> None:
    def forever() -> Any:
        while True:
            yield 1

    with pytest.raises(QueryError, match="at most 100,000"):
        as_condition({"a": {"$in": forever()}})
    with pytest.raises(QueryError, match="list of values"):
        as_condition({"a": {"$in": {"x": 1}}})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with an indexed field of two blocks."""
    documents = [{"a": "x" if number % 2 else "y"} for number in range(1100)]
    with built(tmp_path_factory.mktemp("sound"), *documents, index_fields=("a",)) as index:
        return index.path


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM field_blocks WHERE block = 1",
        "UPDATE field_blocks SET field = 'other' WHERE block = 0",
        "DELETE FROM field_values WHERE code = 0",
        "UPDATE field_values SET code = 99999 WHERE code = 0",
        "UPDATE field_values SET code = -1 WHERE code = 0",
        "UPDATE indexed SET codes = -1",
        "UPDATE indexed SET codes = 1000000000000",
    ],
)
def test_an_indexed_field_that_lacks_a_part_is_an_error(
    sound: Path, tmp_path: Path, tampering: str
) -> None:
    path = Path(shutil.copytree(sound, tmp_path / "tampered"))
    with contextlib.closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        connection.execute(tampering)
        connection.commit()
    assert verify_index(path).problems
    with Index.open(path) as opened, pytest.raises(IndexFormatError, match="damaged"):
        opened.count("a IN ('x', 'y')")
