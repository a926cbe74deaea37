"""Compressed corpora: recognised by content, and damage is never silent."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qsearch.documents import Document, RejectedRecord, open_corpus
from qsearch.documents.lines import MAX_RECORD_BYTES
from qsearch.errors import CorpusError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tests.documents.corpora import NAMES, Files, kinds, peak_bytes


def zstandard(data: bytes) -> bytes:
    """With a checksum, as the program ``zstd`` writes it."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESSORS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard,
}


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("format", sorted(NAMES))
def test_compression_is_recognised_by_content(files: Files, format: str, ending: str) -> None:
    plain = {"jsonl": '{"text": "é"}', "text": "é"}.get(format, "text\né").encode()
    for name in (NAMES[format] + ending, NAMES[format], NAMES[format] + ".gz"):
        assert files.documents(COMPRESSORS[ending](plain), name)[0].text == "é"
    assert files.documents(plain, NAMES[format] + ending)[0].text == "é"
    assert files.read(COMPRESSORS[ending](b""), NAMES[format]) == []


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_any_compressed_file_that_is_cut_off_or_damaged_is_an_error(
    files: Files, ending: str
) -> None:
    whole = COMPRESSORS[ending](b"".join(b'{"text": "%d"}\n' % n for n in range(5000)))
    for size in (len(whole) - 1, len(whole) // 2, 12):
        with pytest.raises(CorpusError, match="cannot be read on after line"):
            files.read(whole[:size])
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    with pytest.raises(CorpusError, match="cannot be read on after line"):
        files.read(bytes(damaged))


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_compressed_streams_one_after_the_other_are_one_corpus(files: Files, ending: str) -> None:
    compress = COMPRESSORS[ending]
    data = compress(b'{"text": "a"}\n{"te') + compress(b'xt": "b"}\n')
    assert kinds(files.documents(data)) == [(1, "a"), (2, "b")]


def test_a_skippable_frame_may_stand_before_zstandard(files: Files) -> None:
    data = b"\x5a\x2a\x4d\x18\x03\0\0\0abc" + zstd.compress(b"a\n")
    assert kinds(files.documents(data, "c.txt")) == [(1, "a")]


def test_zstandard_without_its_package_says_what_to_install(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(CorpusError, match="pip install backports.zstd"):
        files.read(zstd.compress(b"a\n"), "c.txt")


def test_gzip_members_one_after_the_other_are_one_corpus(files: Files) -> None:
    data = gzip.compress(b'{"text": "a"}\n{"te') + gzip.compress(b'xt": "b"}\n') + b"\0" * 16
    assert kinds(files.documents(data)) == [(1, "a"), (2, "b")]


COMPRESSED = gzip.compress(
    b"".join(b'{"text": "%d"}\n' % (number * number) for number in range(2000)), mtime=0
)


@settings(deadline=None)
@given(st.integers(0, len(COMPRESSED) * 8 - 1))
@example(641)  # in a code that no byte uses
def test_a_flipped_bit_in_a_gzip_file_is_an_error_or_harmless(scratch: Files, bit: int) -> None:
    data = bytearray(COMPRESSED)
    data[bit // 8] ^= 1 << bit % 8
    records: list[Document | RejectedRecord] = []
    reason = ""
    try:
        records = scratch.read(bytes(data))
    except CorpusError as error:
        reason = str(error)
    if bit < 16:
        assert all(isinstance(one, RejectedRecord) for one in records)
    elif records:
        assert kinds(records) == [(number + 1, str(number * number)) for number in range(2000)]
    else:
        assert re.search(r"cannot be read on after line .*is the file complete\?", reason)


@settings(deadline=None)
@given(st.integers(2, len(COMPRESSED) - 1))
@example(2)
@example(len(COMPRESSED) - 1)
@example(len(COMPRESSED) - 8)
def test_a_gzip_file_cut_off_anywhere_is_an_error(scratch: Files, size: int) -> None:
    with pytest.raises(CorpusError, match="cannot be read on after line"):
        scratch.read(COMPRESSED[:size])


def test_what_was_whole_before_the_damage_is_handed_out_first(files: Files) -> None:
    data = bytearray(COMPRESSED)
    data[-5] ^= 1
    records = iter(open_corpus(files.write(bytes(data))))
    whole = kinds(next(records) for _ in range(2000))
    assert whole == [(number + 1, str(number * number)) for number in range(2000)]
    with pytest.raises(CorpusError, match="after line 2000 "):
        next(records)


def test_rubbish_after_a_gzip_stream_is_an_error(files: Files) -> None:
    with pytest.raises(CorpusError, match="after line 1 .*Not a gzipped file"):
        files.read(gzip.compress(b'{"text": "a"}\n') + b'{"text": "b"}\n')


def test_gzip_is_recognised_in_a_pipe_that_sends_a_byte_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = gzip.compress(b'{"text": "a"}\n')
    monkeypatch.setattr(sys, "stdin", _SmallReads(data))
    assert kinds(open_corpus("-")) == [(1, "a")]


def test_a_stream_of_one_byte_is_no_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _SmallReads(b"a"))
    assert kinds(open_corpus("-", format="text")) == [(1, "a")]


class _SmallReads(io.BytesIO):
    """A standard input of which there is only ever one byte to be had."""

    @property
    def buffer(self) -> io.BytesIO:
        return self

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(1)


def test_a_gzip_bomb_takes_no_more_memory_than_a_long_line(files: Files) -> None:
    stream = zlib.compressobj(1, wbits=31)
    blank = b" " * (1 << 20)
    data = b"".join(stream.compress(blank) for _ in range(128)) + stream.flush()
    corpus = open_corpus(files.write(data, "c.txt"))
    count, peak = peak_bytes(corpus)
    assert count == 1
    assert peak < 5 * MAX_RECORD_BYTES
