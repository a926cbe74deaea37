"""Files that are no corpus: refused with what they are, by name and by content."""

from __future__ import annotations

import gzip
import io
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qsearch.documents import open_corpus
from qsearch.errors import CorpusError
from tests.documents.corpora import Files


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return out.getvalue()


def array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.ones(3))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.pdf", "is a PDF document; extract its text first"),
        ("c.docx", "is a Word document; extract its text first"),
        ("c.xlsx", "is a spreadsheet; save its table as CSV"),
        ("c.zip", "is a ZIP archive; unpack it"),
        ("c.HTML", "is a page of HTML; extract its text first"),
        ("c.tar.gz", "is an archive; unpack it"),
        ("c.sqlite", "is a database; export a table as CSV"),
        ("c.npy", "embeddings are given with embeddings="),
        ("c.pkl", "is a Python pickle; save its table as Parquet or JSON Lines"),
    ],
)
def test_a_name_that_promises_no_corpus_is_told_what_to_do(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CorpusError) as caught:
        open_corpus(tmp_path / name)
    assert message in str(caught.value)
    assert "input_format" not in str(caught.value)


CONTENTS = {
    b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n": "is a PDF document",
    zipped("a.txt"): "is a ZIP archive",
    zipped("[Content_Types].xml", "xl/workbook.xml"): "is an Office document",
    zipped("word/document.xml"): "is a Word document",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100): "is an Office document",
    b"\x89PNG\r\n\x1a\n" + bytes(10): "is an image",
    b"\xff\xd8\xff\xe0" + bytes(10): "is an image",
    b"{\\rtf1 text}": "is an RTF document",
    array(): "holds an array of NumPy and no documents",
    b"PAR1\x15\0\x15": "is a Parquet file; give parquet with input_format=",
    tarred(): "is an archive",
    b"\x7fELF\x02\x01\x01\0\0": "holds NUL bytes, and is no text",
}


@pytest.mark.parametrize("content", CONTENTS, ids=CONTENTS.get)
@pytest.mark.parametrize("format", ["text", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("encoding", [None, "cp1252"])
def test_no_text_is_read_out_of_another_file_whatever_it_is_called(
    files: Files, content: bytes, format: str, compressed: bool, encoding: str | None
) -> None:
    data = gzip.compress(content) if compressed else content
    with pytest.raises(CorpusError) as caught:
        files.read(data, "c.txt", format=format, encoding=encoding)
    assert CONTENTS[content] in str(caught.value)
    assert caught.value.path == str(files.folder / "c.txt")


def test_a_database_is_no_text(files: Files) -> None:
    connection = sqlite3.connect(files.folder / "c.txt")
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    connection.close()
    with pytest.raises(CorpusError, match="is a database"):
        list(open_corpus(files.folder / "c.txt"))


@pytest.mark.parametrize(
    ("name", "data"),
    [("c.txt", b"a\nb\0b\nc\n"), ("c.csv", b"text\na\nb\0b\nc\n"), ("c.tsv", b"text\na\nb\0\nc\n")],
)
def test_a_nul_byte_further_on_costs_its_record(files: Files, name: str, data: bytes) -> None:
    first, second, third = files.read(data, name)
    assert (first.line, third.line) == ((second.line or 0) - 1, (second.line or 0) + 1)
    assert second.reason == "holds a NUL byte, which no text has"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text", ["PK is a pair of letters", "GIF8", "PAR1 and more", "BZh9", "{", "P", "\ufeff%PDF-"]
)
def test_text_that_begins_like_something_else_is_text(files: Files, text: str) -> None:
    assert [one.text for one in files.documents(text + "\n", "c.txt")] == [text.lstrip("\ufeff")]


def test_a_format_that_is_named_goes_before_a_name(files: Files) -> None:
    assert files.documents("<p>text</p>\n", "c.html", format="text")[0].text == "<p>text</p>"
