"""Parquet: every value becomes one that JSON holds, or costs its row only."""

from __future__ import annotations

import datetime
import decimal
import sys
from typing import Any

import pytest

from qsearch.documents import Document, Fields, RejectedRecord, open_corpus
from qsearch.documents.lines import MAX_RECORD_BYTES
from qsearch.errors import CorpusError
from tests.documents.corpora import Files, kinds


@pytest.fixture
def parquet(files: Files) -> Any:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def read(columns: dict[str, Any], **options: Any) -> list[Document | RejectedRecord]:
        pq.write_table(pa.table(columns), files.folder / "c.parquet")
        return list(open_corpus(files.folder / "c.parquet", **options))

    return read


def test_parquet_columns_are_fields(parquet: Any) -> None:
    columns = {
        "_id": [3, 4],
        "text": ["a", "b\u2028\0"],
        "title": [None, "T"],
        "day": [datetime.date(2020, 2, 29), None],
        "moment": [datetime.datetime(2020, 1, 2, 3, 4, 5, 6)] * 2,
        "price": [decimal.Decimal("1.10"), None],
        "ratio": [0.5, float("nan")],
        "nested": [[{"d": datetime.date(2020, 1, 1), "x": [1.5, float("inf")]}], []],
    }
    assert parquet(columns) == [
        Document(
            "3",
            "a",
            None,
            {
                "day": "2020-02-29",
                "moment": "2020-01-02T03:04:05.000006",
                "price": "1.10",
                "ratio": 0.5,
                "nested": [{"d": "2020-01-01", "x": [1.5, None]}],
            },
            1,
        ),
        Document(
            "4",
            "b\u2028\0",
            "T",
            {
                "day": None,
                "moment": "2020-01-02T03:04:05.000006",
                "price": None,
                "ratio": None,
                "nested": [],
            },
            2,
        ),
    ]


def test_parquet_of_many_row_groups_is_read_in_order(files: Files) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": [str(number) for number in range(2000)]})
    pq.write_table(table, files.folder / "c.parquet", row_group_size=300)
    corpus = open_corpus(files.folder / "c.parquet")
    assert corpus.rereadable
    assert kinds(corpus) == kinds(corpus) == [(n + 1, str(n)) for n in range(2000)]


def test_parquet_rows_that_are_no_documents_are_rejected_alone(parquet: Any) -> None:
    records = parquet({"text": ["a", None, "", "b"]})
    assert kinds(records) == [(1, "a"), (2, "!"), (3, "!"), (4, "b")]
    assert records[2] == RejectedRecord(3, "the text ('text') is empty", b"{'text': ''}")


def test_bytes_in_parquet_are_rejected_not_guessed(parquet: Any) -> None:
    (metadata,) = parquet({"text": ["a"], "raw": [b"\0"]})
    assert "metadata that JSON cannot hold (Object of type bytes" in metadata.reason
    (text,) = parquet({"text": [b"a"]})
    assert text.reason == "the text ('text') must be a string, found a bytes"
    (chosen,) = parquet({"text": ["a"], "raw": [b"\0"]}, fields=Fields(metadata=()))
    assert chosen.metadata == {}


def test_moments_finer_than_python_holds_are_kept_as_text(parquet: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    (document,) = parquet(
        {
            "text": ["a"],
            "moment": pa.array([1], pa.timestamp("ns")),
            "zoned": pa.array([1], pa.timestamp("ns", tz="UTC")),
            "time": pa.array([1], pa.time64("ns")),
            "took": pa.array([1], pa.duration("ns")),
        }
    )
    assert document.metadata["moment"] == "1970-01-01T00:00:00.000000001"
    assert document.metadata["zoned"].startswith("1970-01-01T00:00:00.000000001")
    assert document.metadata["time"] == "00:00:00.000000001"
    assert document.metadata["took"] == "0:00:00.000000001"


def test_values_that_python_cannot_hold_cost_their_row_only(parquet: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    two = [0, 1, 2]
    damaged = pa.Array.from_buffers(
        pa.string(),
        2,
        [
            None,
            pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in two)),
            pa.py_buffer(b"\xffa"),
        ],
    )
    for column in (
        damaged,
        pa.array([10**7, 1], pa.date32()),
        pa.array([2**60, 1], pa.timestamp("us")),
    ):
        first, second = parquet({"text": ["a", "b"], "x": column})
        assert isinstance(first, RejectedRecord)
        assert first.reason.startswith("the value of 'x' cannot be read (")
        assert first.raw == b"{'text': 'a', 'x': <unreadable>}"
        assert isinstance(second, Document)


def test_a_map_in_parquet_becomes_pairs(parquet: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    pairs = pa.array([[("k", datetime.date(2020, 1, 1))]], pa.map_(pa.string(), pa.date32()))
    (document,) = parquet({"text": ["a"], "m": pairs})
    assert document.metadata == {"m": [["k", "2020-01-01"]]}


def test_a_parquet_column_named_twice_is_an_error(files: Files) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, files.folder / "c.parquet")
    with pytest.raises(CorpusError, match="names a column twice: 'text'"):
        list(open_corpus(files.folder / "c.parquet"))


def test_an_over_long_parquet_row_is_rejected(parquet: Any) -> None:
    records = parquet({"text": ["x" * (MAX_RECORD_BYTES + 1), "x" * MAX_RECORD_BYTES]})
    assert isinstance(records[1], Document)
    assert records[0].reason == "is longer than 16 MiB"
    assert len(records[0].raw) <= 65_536


def test_a_list_that_is_short_in_parquet_and_long_as_json_is_rejected(parquet: Any) -> None:
    zeros = [0] * (MAX_RECORD_BYTES // 2 + 1)
    records = parquet({"text": ["a", "b"], "l": [[zeros[:100]], [zeros]]})
    assert [getattr(one, "reason", None) for one in records] == [None, "is longer than 16 MiB"]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1hello PAR1", b'{"text": "a"}\n'])
def test_a_file_that_is_no_parquet_is_an_error(files: Files, data: bytes) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(CorpusError, match="is not a readable Parquet file"):
        files.read(data, "c.parquet")


def test_a_damaged_parquet_file_is_an_error_or_its_rows_are_all_there(files: Files) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": [f"text {n}" for n in range(50)], "n": [[n] for n in range(50)]})
    pq.write_table(table, files.folder / "whole.parquet")
    whole = (files.folder / "whole.parquet").read_bytes()
    refused = 0
    for bit in range(0, len(whole) * 8, 31):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        try:
            assert len(files.read(bytes(data), "c.parquet")) == 50
        except CorpusError:
            refused += 1
    assert refused > 50
    for size in range(1, len(whole), 97):
        with pytest.raises(CorpusError):
            files.read(whole[:size], "c.parquet")


def test_a_parquet_name_is_a_file_and_never_an_address() -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(CorpusError, match="cannot be opened \\(No such file or directory\\)"):
        list(open_corpus("s3://no-such-bucket/c.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(CorpusError, match="pip install pyarrow"):
        open_corpus("c.parquet")


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_a_time_zone_that_there_is_not_costs_the_rows_that_have_one(
    parquet: Any, unit: str
) -> None:
    import pyarrow as pa

    moments = pa.array([1, None], pa.timestamp(unit, "nowhere"))
    rejected, document = parquet({"text": ["a", "b"], "m": moments})
    assert isinstance(rejected, RejectedRecord)
    assert "'m' cannot be read" in rejected.reason
    assert "nowhere" in rejected.reason
    assert isinstance(document, Document)
    assert document.metadata == {"m": None}
