"""Files, pipes and standard input: read to the end, in bounded memory, and closed."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from qsearch.documents import Fields, open_corpus
from qsearch.documents.lines import ByteSource
from qsearch.errors import CorpusError
from tests.documents.corpora import Files, kinds, peak_bytes, pipe, set_stdin


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_standard_input_is_json_lines_by_default(
    monkeypatch: pytest.MonkeyPatch, compress: Any
) -> None:
    set_stdin(monkeypatch, compress(b'\xef\xbb\xbf{"text": "a\xe2\x80\xa8"}\nno\n'))
    corpus = open_corpus("-")
    assert kinds(corpus) == [(1, "a\u2028"), (2, "!")]
    assert (corpus.name, corpus.rereadable) == ("-", False)
    assert not sys.stdin.buffer.closed


def test_standard_input_takes_the_other_formats_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    set_stdin(monkeypatch, b"id;text\ta\tb\n1\tx\ty\n")
    fields = Fields(id=("a",), text=("b",))
    assert [one.id for one in open_corpus("-", format="tsv", fields=fields)] == ["x"]
    with pytest.raises(CorpusError, match="Parquet cannot be read from a stream"):
        open_corpus("-", format="parquet")


def test_a_program_reads_its_standard_input() -> None:
    code = "from qsearch.documents import open_corpus; print([d.text for d in open_corpus('-')])"
    done = subprocess.run(
        [sys.executable, "-c", code], input=b'{"text": "a"}\n', capture_output=True, check=True
    )
    assert done.stdout == b"['a']\n"


@pytest.mark.parametrize("stdin", [None, io.StringIO("x")])
def test_files_are_read_where_there_is_no_standard_input(
    files: Files, monkeypatch: pytest.MonkeyPatch, stdin: Any
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert kinds(files.read("a\n", "c.txt")) == [(1, "a")]
    with pytest.raises(CorpusError, match="-: cannot be opened"):
        list(open_corpus("-"))


def test_a_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    set_stdin(monkeypatch, b"")
    sys.stdin.close()
    with pytest.raises(CorpusError, match="cannot be opened"):
        list(open_corpus("-"))


def test_an_empty_moment_of_a_non_blocking_standard_input_is_not_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b'{"text": "a"}\n')
    with os.fdopen(reading, "rb") as buffer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
        records = iter(open_corpus("-"))
        assert kinds([next(records)]) == [(1, "a")]
        assert os.get_blocking(reading)
        os.write(writing, b'{"text": "b"}\n')
        os.close(writing)
        assert kinds(records) == [(2, "b")]


def test_a_record_is_handed_out_before_a_pipe_sends_the_next(files: Files) -> None:
    taken = threading.Event()
    seen = []

    def chunks() -> Iterator[bytes]:
        yield b'{"text": "a"}\n{"te'
        seen.append(taken.wait(30))
        yield b'xt": "b"}\n'

    with pipe(files.folder / "pipe", chunks()) as path:
        records = iter(open_corpus(path, format="jsonl"))
        assert kinds([next(records)]) == [(1, "a")]
        taken.set()
        assert kinds(records) == [(2, "b")]
    assert seen == [True]


def test_a_pipe_is_read_once_and_a_file_as_often_as_needed(files: Files) -> None:
    with pipe(files.folder / "pipe", [b"a\nb\n"]) as path:
        corpus = open_corpus(path, format="text")
        assert not corpus.rereadable
        assert kinds(corpus) == [(1, "a"), (2, "b")]
    again = open_corpus(files.write(b"a\n", "c.txt"))
    assert again.rereadable
    assert kinds(again) == kinds(again) == [(1, "a")]


def test_a_file_is_closed_when_its_reader_is_dropped_half_way(files: Files) -> None:
    path = files.write(b"a\nb\n", "c.txt")
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        records = iter(open_corpus(path))
        next(records)
        records.close()  # type: ignore[attr-defined] # (a generator)
    assert len(os.listdir("/dev/fd")) == before


def test_reading_200_mb_through_a_pipe_takes_no_memory(files: Files) -> None:
    line = b'{"text": "%s"}\n' % (b"word " * 13_000)
    count = 200_000_000 // len(line) + 1
    with pipe(files.folder / "pipe", (line for _ in range(count))) as path:
        records, peak = peak_bytes(open_corpus(path, format="jsonl"))
    assert records == count
    assert peak < 8 << 20


def test_a_byte_source_can_keep_line_ends(files: Files) -> None:
    path = files.write(b"\xef\xbb\xbfa\r\nb\n\nc")
    with ByteSource(path) as source:
        kept = [line for _, line, _ in source.lines(keep_ends=True)]
    with ByteSource(path) as source:
        bare = [line for _, line, _ in source.lines()]
    assert kept == [b"a\r\n", b"b\n", b"\n", b"c"]
    assert bare == [b"a", b"b", b"", b"c"]
