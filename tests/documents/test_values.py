"""Values of NumPy, pandas and Python in records: the same as Parquet's reader makes of them."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch.documents import Document, RejectedRecord, open_corpus
from qsearch.documents.values import plain
from qsearch.errors import CorpusError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(5), 5),
        (np.uint8(5), 5),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, float("inf")]), [1.0, None]),
        (np.array(7), 7),
        (np.array([np.datetime64("2020-01-02")]), ["2020-01-02"]),
        (np.datetime64("2020-01-02"), "2020-01-02"),
        (np.datetime64("2020-01-02T03:04:05"), "2020-01-02T03:04:05"),
        (np.datetime64("2020-01-02T03:04:05.5", "ns"), "2020-01-02T03:04:05.500000"),
        (np.datetime64("2020-01-02T03:04:05.000000001"), "2020-01-02T03:04:05.000000001"),
        (np.datetime64("NaT"), None),
        (np.timedelta64(90, "s"), "0:01:30"),
        (np.timedelta64("NaT"), None),
        (float("nan"), None),
        (float("-inf"), None),
        (decimal.Decimal("1.10"), "1.10"),
        (decimal.Decimal("sNaN"), None),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        (
            datetime.datetime(2020, 1, 2, 3, 4, 5, 6, datetime.UTC),
            "2020-01-02T03:04:05.000006+00:00",
        ),
        (datetime.timedelta(days=1, seconds=5), "1 day, 0:00:05"),
        ({"a": (np.int8(1), {"b": float("nan")})}, {"a": [1, {"b": None}]}),
        (10**30, 10**30),
        (True, True),
        (None, None),
        ("NaN", "NaN"),
    ],
    ids=repr,
)
def test_values_become_what_json_holds(value: Any, expected: Any) -> None:
    made = plain(value)
    assert made == expected
    assert type(made) is type(expected)


def test_values_that_nobody_can_tell_how_to_keep_stay_and_are_refused() -> None:
    for value in ({1}, b"a", object(), 1j, np.complex64(1)):
        (reject,) = open_corpus([{"text": "a", "x": value}])
        assert isinstance(reject, RejectedRecord)
        assert reject.reason.startswith("metadata that JSON cannot hold")


def test_ids_and_texts_of_numpy_are_taken() -> None:
    records = [{"id": np.int32(7), "text": np.str_("a"), "title": float("nan")}]
    (document,) = open_corpus(records)
    assert document == Document("7", "a", None, {}, 1)


def test_a_text_that_is_missing_is_told_so() -> None:
    (reject,) = open_corpus([{"id": "1", "text": float("nan")}])
    assert isinstance(reject, RejectedRecord)
    assert reject.reason == "the text ('text') is null"


def test_metadata_of_a_document_is_made_plain_too() -> None:
    document = Document("a", "x", metadata={"n": np.int64(1), "day": datetime.date(2020, 1, 1)})
    assert list(open_corpus([document])) == [
        Document("a", "x", None, {"n": 1, "day": "2020-01-01"}, 1)
    ]


def test_a_frame_of_pandas_is_the_same_as_its_parquet_file(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "text": ["a", "b", "c"],
            "title": ["T", None, None],
            "when": pd.to_datetime(
                ["2020-01-01", None, "2020-01-02T03:04:05.000000007"], format="ISO8601"
            ),
            "zoned": pd.to_datetime(["2020-01-01", None, "2020-06-01"]).tz_localize(
                "Europe/Berlin"
            ),
            "took": pd.to_timedelta(["1 days 00:00:05", None, "7ns"]),
            "score": [1.5, float("nan"), float("inf")],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "flag": pd.array([True, None, False], dtype="boolean"),
            "word": pd.array(["x", None, "z"], dtype="string"),
            "price": [decimal.Decimal("1.10"), None, decimal.Decimal("2.00")],
            "tags": [["a", "b"], [], ["c"]],
        }
    )
    frame.to_parquet(tmp_path / "c.parquet")
    from_file = list(open_corpus(tmp_path / "c.parquet"))
    from_memory = list(open_corpus(frame.to_dict("records")))
    assert from_memory == from_file
    assert list(open_corpus(frame)) == from_file
    assert list(open_corpus(frame.set_index("id"))) == from_file
    metadata = [one.metadata for one in from_memory if isinstance(one, Document)]
    assert metadata[0]["when"] == "2020-01-01T00:00:00"
    assert metadata[0]["zoned"] == "2020-01-01T00:00:00+01:00"
    assert metadata[0]["took"] == "1 day, 0:00:05"
    assert metadata[2]["when"] == "2020-01-02T03:04:05.000000007"
    assert metadata[2]["took"] == "0:00:00.000000007"
    missing = {"when", "zoned", "took", "score", "count", "flag", "word", "price"}
    assert {name for name, value in metadata[1].items() if value is None} == missing


def test_rows_of_pandas_are_taken_in_every_form() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"id": [7, 8, 9], "text": ["a", "b", "c"], "n": [1, None, 3]})
    expected = [Document("8", "b", None, {"n": None}, 1), Document("9", "c", None, {"n": 3.0}, 2)]
    corpus = open_corpus(frame[frame.id > 7])
    assert corpus.rereadable
    assert list(corpus) == list(corpus) == expected
    some = frame.iloc[1:]
    assert list(open_corpus(row for _, row in some.iterrows())) == expected
    assert list(open_corpus(some.itertuples(index=False))) == expected
    for doubled in (frame.set_index("id", drop=False), frame.rename(columns={"n": "id"})):
        with pytest.raises(CorpusError, match="names a column twice: 'id'"):
            open_corpus(doubled)


def test_pandas_is_not_imported() -> None:
    code = (
        "import sys; from qsearch.documents import open_corpus;"
        "print(list(open_corpus([{'text': 'a', 'n': float('nan')}]))[0].metadata);"
        "assert 'pandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "{'n': None}\n"


def test_what_is_missing_in_pandas_is_known_by_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in, for where pandas is not installed: its NA is no truth value."""

    class Missing:
        def __eq__(self, other: object) -> Any:
            return self

        def __bool__(self) -> bool:
            raise TypeError("boolean value of NA is ambiguous")

    class Pandas:
        NA = Missing()
        NaT = Missing()

    monkeypatch.setitem(sys.modules, "pandas", Pandas)  # type: ignore[arg-type]
    assert plain([Pandas.NA, Pandas.NaT, 1]) == [None, None, 1]
