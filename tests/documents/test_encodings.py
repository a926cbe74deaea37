"""Encodings: UTF-8 unless it is said, or a byte-order mark says, otherwise; and hints that work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsearch import Index
from qsearch.documents import Document, RejectedRecord, open_corpus
from qsearch.documents.encodings import guessed_encoding
from qsearch.errors import CorpusError
from tests.documents.corpora import NAMES, Files, kinds, pipe
from tests.encoders import HashedWords

ROWS = {
    "jsonl": '{{"text": "{0}"}}\r\n{{"text": "{1}"}}',
    "csv": "text\r\n{0}\r\n{1}",
    "tsv": "text\r\n{0}\r\n{1}",
    "text": "{0}\r\n{1}",
}


@pytest.mark.parametrize("format", sorted(ROWS))
@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("cp1252", ("Käse „frisch“", "10 €")),
        ("latin-1", ("Käse", "Ça va")),
        ("shift_jis", ("日本語", "テキスト")),
        ("gb18030", ("中文", "文本")),
        ("koi8-r", ("Привет", "мир")),
        ("utf-16", ("Käse", "🐈")),
        ("utf-16-le", ("Käse", "日本")),
        ("utf-8-sig", ("Käse", "é")),
    ],
)
def test_a_file_is_read_in_the_encoding_that_is_named(
    files: Files, format: str, encoding: str, texts: tuple[str, str]
) -> None:
    data = ROWS[format].format(*texts).encode(encoding)
    found = files.documents(data, NAMES[format], encoding=encoding)
    assert [one.text for one in found] == list(texts)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("format", sorted(ROWS))
def test_a_byte_order_mark_names_the_encoding(
    files: Files, format: str, encoding: str, order: str
) -> None:
    text = "\ufeff" + ROWS[format].format("Käse", "🐈")
    data = text.encode("utf-8" if encoding == "utf-8-sig" else f"{encoding}-{order}")
    assert [one.text for one in files.documents(data, NAMES[format])] == ["Käse", "🐈"]


@settings(deadline=None)
@given(
    st.sampled_from(["utf-16", "utf-16-be", "utf-7", "gb18030"]),
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(str.strip)),
)
def test_every_text_comes_back(scratch: Files, encoding: str, texts: list[str]) -> None:
    texts = [text for text in texts if not text.startswith("\ufeff")]
    data = "\n".join(texts).encode(encoding)
    assert [one.text for one in scratch.documents(data, "c.txt", encoding=encoding)] == texts


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [("cp1252", b"\x81"), ("ascii", b"\xc3\xa9"), ("shift_jis", b"\xff"), ("utf-8", b"\xff")],
)
def test_what_cannot_be_decoded_costs_its_record_only(
    files: Files, encoding: str, bad: bytes
) -> None:
    records = files.read(b"a\nb" + bad + b"\nc\n", "c.txt", encoding=encoding)
    assert kinds(records) == [(1, "a"), (2, "!"), (3, "c")]
    assert isinstance(records[1], RejectedRecord)
    assert records[1].reason.startswith(f"is not {encoding} (at byte ")
    cells = files.read(b"id,text\n1,a\n2,b" + bad + b"\n3,c\n", "c.csv", encoding=encoding)
    assert kinds(cells) == [(2, "a"), (3, "!"), (4, "c")]


@pytest.mark.parametrize(
    "encoding",
    ["nonsense", "base64", "rot13", "hex", "undefined", "idna", "punycode", "a\0b", ""],
)
def test_an_encoding_that_is_none_is_refused_at_once(encoding: str) -> None:
    with pytest.raises(CorpusError, match="unknown encoding"):
        open_corpus("c.txt", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_order_of_bytes_that_nothing_says_is_asked_for(files: Files, encoding: str) -> None:
    data = "one\ntwo\n".encode(f"{encoding}-le")
    with pytest.raises(CorpusError) as caught:
        files.read(data, "c.txt", encoding=encoding)
    advised = re.search(r"give (\S+) or (\S+) with encoding=", str(caught.value))
    assert advised
    assert advised[2] == f"{encoding}-be"
    assert kinds(files.read(data, "c.txt", encoding=advised[1])) == [(1, "one"), (2, "two")]


def test_an_encoding_that_nothing_could_use_is_refused() -> None:
    with pytest.raises(CorpusError, match="Parquet has no encoding to choose; leave encoding= out"):
        open_corpus("c.parquet", encoding="cp1252")
    with pytest.raises(CorpusError, match="Python objects have no encoding"):
        open_corpus([], encoding="cp1252")


@pytest.mark.parametrize(
    ("raw", "guessed"),
    [
        ("café au lait".encode("cp1252"), "cp1252"),
        ("naïve “quotes”".encode("cp1252"), "cp1252"),
        ("ein Satz".encode("utf-16-le"), "utf-16-le"),
        ("ein Satz".encode("utf-16-be"), "utf-16-be"),
        ("日本語のテキスト".encode("shift_jis"), None),
        ("Привет, мир".encode("cp1251"), None),
        (b"\x7fELF\x02\0\0", None),
        (b"caf\x81 au lait", None),
    ],
)
def test_an_encoding_is_guessed_only_where_little_else_is_possible(
    raw: bytes, guessed: str | None
) -> None:
    assert guessed_encoding(raw) == guessed


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
@pytest.mark.parametrize("header", ["id,text", "Id,Überschrift,text"])
def test_the_advice_for_an_encoding_works(tmp_path: Path, encoding: str, header: str) -> None:
    path = tmp_path / "c.csv"
    columns = header.count(",")
    path.write_bytes(f"{header}\r\n1{',café' * columns}\r\n".encode(encoding))
    with pytest.raises(CorpusError) as caught:
        Index.build(path, tmp_path / "i", encoder=HashedWords())
    advised = re.search(r"it could be (\S+); if so, give (\S+) with encoding=", str(caught.value))
    assert advised
    (document,) = open_corpus(path, encoding=advised[2])
    assert isinstance(document, Document)
    assert document.text == "café"


def test_a_block_may_end_inside_a_character(files: Files) -> None:
    data = "Käse\n日本\n".encode("utf-16")
    with pipe(files.folder / "pipe", (data[i : i + 3] for i in range(0, len(data), 3))) as path:
        assert kinds(open_corpus(path, format="text")) == [(1, "Käse"), (2, "日本")]
