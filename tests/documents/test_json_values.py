"""JSON arrays and objects over several lines: told apart in one pass, and broken ones alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qsearch.documents import Document, RejectedRecord, open_corpus
from qsearch.documents.json_values import Value, read_values
from qsearch.documents.lines import MAX_RECORD_BYTES
from tests.documents.corpora import Files, kinds, peak_bytes, pipe

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.text('"\\[]{},\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a"\\[]{},'), inner),
    max_leaves=12,
)


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@settings(deadline=None)
@given(st.lists(json_values, max_size=6), st.none() | st.integers(0, 3), st.integers(1, 40))
@example(['"', "\\", "]", "[", {}], None, 1)
def test_the_elements_of_an_array_are_told_apart_whatever_the_blocks(
    values: list[Any], indent: int | None, size: int
) -> None:
    data = json.dumps(values, indent=indent).encode()
    found = list(read_values(b"", blocks(data, size), 1))
    assert [json.loads(one.raw) for one in found] == values
    assert [one.number for one in found] == list(range(1, len(values) + 1))
    assert {one.reason for one in found} <= {None}
    assert [one.line for one in found] == sorted(one.line for one in found)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.dictionaries(st.text('a"{}'), json_values), max_size=4),
    st.none() | st.integers(0, 2),
    st.sampled_from(["\n", "", " \r\n\n"]),
    st.integers(1, 40),
)
def test_objects_one_after_the_other_are_told_apart(
    values: list[Any], indent: int | None, between: str, size: int
) -> None:
    data = between.join(json.dumps(value, indent=indent) for value in values).encode()
    found = read_values(b"", blocks(data, size), 1)
    assert [json.loads(one.raw) for one in found] == values


@settings(deadline=None)
@given(st.text('[]{},"\\\n 1', max_size=40), st.integers(1, 8))
def test_no_byte_is_lost_and_blocks_do_not_count(text: str, size: int) -> None:
    data = text.encode()
    found = list(read_values(b"", blocks(data, size), 1))
    assert found == list(read_values(data, (), 1))
    kept = b"".join(one.raw for one in found)
    assert kept.count(b"1") == data.count(b"1")
    assert all(1 <= one.line <= data.count(b"\n") + 1 for one in found)


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.json.gz"])
def test_a_json_array_is_a_corpus(files: Files, indent: int | None, name: str) -> None:
    records = [{"id": "a", "text": "x", "n": [1, {"k": "]"}]}, {"id": "b", "text": '"},{'}]
    data = ("\ufeff\n " + json.dumps(records, indent=indent) + "\n").encode()
    found = files.documents(gzip.compress(data) if name.endswith(".gz") else data, name)
    assert [(one.id, one.text) for one in found] == [("a", "x"), ("b", '"},{')]
    assert found[0].metadata == {"n": [1, {"k": "]"}]}


def test_a_record_of_an_array_is_named_by_its_line_and_numbered_by_its_place(files: Files) -> None:
    found = files.documents('\n[\n  {"text": "a"},\n  {\n    "text": "b"\n  }\n]\n', "c.json")
    assert [(one.line, one.id, one.text) for one in found] == [(3, "1", "a"), (4, "2", "b")]


def test_objects_spread_over_lines_are_records(files: Files) -> None:
    data = '\n{\n  "id": "a",\n  "text": "x"\n}\n{\n  "id": "b", "text": "y"\n}\n{"id": "c", "text": "z"}'
    assert kinds(files.read(data)) == [(2, "x"), (6, "y"), (9, "z")]


BROKEN = {
    '{"text": "a", "text": "b"}': "record 2: has 'text' twice in one object",
    '{"text": NaN}': "record 2: is not valid JSON (NaN is no JSON number)",
    '{"text": "a" "n": 1}': "is not valid JSON (Expecting ',' delimiter at character 14 of the record)",
    '{"text": "a",\n "n" 1}': "is not valid JSON (Expecting ':' delimiter at line 4, column 6)",
    '{"text": "a\nb"}': "record 2 is not valid JSON (Invalid control character at line 3, column 12)",
    '{"text": "unclosed}\n': "record 2 is not valid JSON (Invalid control character at line 3, column 20)",
    '"text"': "record 2: must be a JSON object, found a string",
    "null": "record 2: must be a JSON object, found null",
    "[1, 2]": "record 2: must be a JSON object, found an array",
    "nonsense": "record 2 is not valid JSON (Expecting value at character 1 of the record)",
    "": "record 2: a comma of the array has no value beside it",
    '{"text": null}': "record 2: the text ('text') is null",
    '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}": "record 2: is JSON nested too deeply",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda text: text[:30])
def test_an_element_that_is_no_document_is_rejected_alone(files: Files, broken: str) -> None:
    closed = broken + "}" * broken.startswith('{"text": "unclosed')
    data = f'[{{"text": "x"}},\n\n{closed},\n{{"text": "y"}}]'
    records = files.read(data, "c.json")
    assert [one.text for one in records if isinstance(one, Document)] == ["x", "y"]
    (reject,) = (one for one in records if isinstance(one, RejectedRecord))
    assert BROKEN[broken] in reject.reason
    assert reject.line in (3, 4)
    assert reject.raw.decode() == closed.strip()


def test_bytes_that_are_not_utf8_cost_their_element_only(files: Files) -> None:
    records = files.read(b'[{"text": "x"}, {"text": "\xff"}, {"text": "y"}]', "c.json")
    assert [isinstance(one, Document) for one in records] == [True, False, True]
    assert records[1] == RejectedRecord(
        1, "record 2: is not UTF-8 (at byte 11)", b'{"text": "\xff"}'
    )


@pytest.mark.parametrize("cut", ['{"text": "y"', '{"text": "y', "", '{"text": "y"}', "{"])
def test_an_array_that_is_cut_off_is_told(files: Files, cut: str) -> None:
    records = files.read('[{"text": "x"},\n' + cut, "c.json")
    whole = cut.endswith("}")
    assert kinds(records) == [(1, "x"), *([(2, "y")] if whole else []), (2, "!")]
    assert isinstance(records[-1], RejectedRecord)
    assert "the file ends inside of the array; is it complete?" in records[-1].reason


def test_an_object_that_is_cut_off_is_told(files: Files) -> None:
    (reject,) = files.read('{\n  "text": "x",\n')
    assert isinstance(reject, RejectedRecord)
    assert reject.reason == "record 1: the file ends inside of the record; is it complete?"


def test_a_comma_before_the_end_is_told(files: Files) -> None:
    records = files.read('[{"text": "x"},]', "c.json")
    assert kinds(records) == [(1, "x"), (1, "!")]


def test_arrays_one_after_the_other_are_one_corpus(files: Files) -> None:
    data = '[{"text": "a"}]\n[]\n[{"text": "b"}] {"text": "c"}'
    assert kinds(files.read(data, "c.json")) == [(1, "a"), (3, "b"), (3, "c")]


def test_rubbish_after_an_array_is_told(files: Files) -> None:
    assert kinds(files.read('[{"text": "a"}]\n]} rest', "c.json")) == [(1, "a"), (2, "!")]


@pytest.mark.parametrize("data", ["[]", "[ \n ]", "\n[]\n\n"])
def test_an_empty_array_holds_no_document(files: Files, data: str) -> None:
    assert files.read(data, "c.json") == []


def test_an_array_on_one_line_is_read_in_bounded_memory(files: Files) -> None:
    record = b'{"text": "%s"},' % (b"word " * 13_000)
    count = 1500

    def chunks() -> Iterator[bytes]:
        yield b"["
        for _ in range(count):
            yield record
        yield b'{"text": "last"}]'

    with pipe(files.folder / "pipe", chunks()) as path:
        found, peak = peak_bytes(open_corpus(path, format="jsonl"))
    assert found == count + 1
    assert peak < 8 << 20


def test_an_endless_element_is_rejected_in_bounded_memory(files: Files) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'[{"text": "a"}, {"text": "'
        for _ in range(200):
            yield b"x" * (1 << 20)
        yield b'"}, {"text": "b"}]'

    with pipe(files.folder / "pipe", chunks()) as path:
        records = []

        def read() -> Iterator[Document | RejectedRecord]:
            for one in open_corpus(path, format="jsonl"):
                records.append(one)
                yield one

        _, peak = peak_bytes(read())
    assert kinds(records) == [(1, "a"), (1, "!"), (1, "b")]
    assert isinstance(records[1], RejectedRecord)
    assert records[1].reason == "record 2: is longer than 16 MiB"
    assert len(records[1].raw) == 65_536
    assert peak < 5 * MAX_RECORD_BYTES


@pytest.mark.parametrize("over", [0, 1])
def test_an_element_of_16_mib_is_read_and_a_longer_one_rejected(over: int) -> None:
    raw = b'"' + b"x" * (MAX_RECORD_BYTES - 2 + over) + b'"'
    (value,) = read_values(b"[", [b" \n" + raw + b" \n", b"]"], 1)
    assert isinstance(value, Value)
    assert (value.reason is None) == (not over)


def test_an_element_is_handed_out_before_a_pipe_sends_the_next(files: Files) -> None:
    sent = []

    def chunks() -> Iterator[bytes]:
        for data in (b'[{"text": "a"},', b'{"text": "b"}', b"]"):
            sent.append(data)
            yield data

    with pipe(files.folder / "pipe", chunks()) as path:
        assert kinds(open_corpus(path, format="jsonl")) == [(1, "a"), (1, "b")]
