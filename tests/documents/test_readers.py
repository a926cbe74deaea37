"""Choosing a reader for a corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsearch.documents import FORMATS, open_corpus
from qsearch.errors import CorpusError
from tests.documents.corpora import Files


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("c.jsonl", "jsonl"),
        ("c.ndjson", "jsonl"),
        ("c.JSON", "jsonl"),
        ("c.csv.GZ", "csv"),
        ("c.tab", "tsv"),
        ("v1.2.text.gz", "text"),
    ],
)
def test_the_format_is_told_by_the_name(files: Files, name: str, format: str) -> None:
    data = {"jsonl": '{"text": "a,b"}', "csv": 'text\n"a,b"', "tsv": "text\na,b", "text": "a,b"}
    assert files.documents(data[format], name)[0].text == "a,b"


@pytest.mark.parametrize("name", ["c", "c.gz", "c.log", "jsonl", ".jsonl.zst"])
def test_a_name_that_tells_nothing_needs_a_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("cat")
    with pytest.raises(CorpusError, match="give input_format="):
        open_corpus(tmp_path / name)


def test_a_given_format_counts_more_than_the_name(files: Files) -> None:
    assert files.documents('{"text": "a"}', "c.csv", format="jsonl")[0].text == "a"


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CorpusError) as caught:
        open_corpus("c.jsonl", format="xml")
    assert all(known in str(caught.value) for known in FORMATS)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["missing", "folder", "nul\0"])
def test_what_cannot_be_opened_is_an_error_that_names_it(
    tmp_path: Path, format: str, name: str
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CorpusError, match="cannot be opened") as caught:
        list(open_corpus(tmp_path / name, format=format))
    assert caught.value.path == str(tmp_path / name)
