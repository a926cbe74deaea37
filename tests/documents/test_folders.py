"""Folders in BEIR's form are corpora, and others are told what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from qsearch.documents import corpus_stem, open_corpus
from qsearch.errors import CorpusError
from tests.documents.corpora import kinds

LINE = b'{"_id": "D1", "title": "T", "text": "x"}\n'


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    (folder / "queries.jsonl").write_bytes(LINE)
    return folder


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_the_corpus_of_a_folder_is_taken(beir: Path, name: str) -> None:
    (beir / name).write_bytes(gzip.compress(LINE) if name.endswith("gz") else LINE)
    corpus = open_corpus(beir)
    assert (corpus.name, corpus.rereadable) == (str(beir / name), True)
    assert kinds(corpus) == [(1, "x")]
    assert kinds(open_corpus(beir, format="jsonl")) == [(1, "x")]


def test_two_corpora_in_a_folder_are_an_error_that_names_both(beir: Path) -> None:
    for name in ("corpus.jsonl", "corpus.jsonl.gz"):
        (beir / name).write_bytes(LINE)
    with pytest.raises(CorpusError, match="holds corpus.jsonl and corpus.jsonl.gz; give the one"):
        open_corpus(beir)


def test_another_folder_is_told_what_could_be_meant(beir: Path) -> None:
    (beir / "notes.md").write_text("x")
    (beir / "texts.csv.gz").write_text("x")
    inside = beir / "nested"
    inside.mkdir()
    (inside / "corpus.jsonl").write_bytes(LINE)
    with pytest.raises(CorpusError) as caught:
        open_corpus(beir)
    message = str(caught.value)
    assert message.startswith(f"{beir}: cannot be opened: it is a folder without a corpus.jsonl")
    assert message.endswith("give what is meant of it: queries.jsonl, texts.csv.gz, nested/")
    assert kinds(open_corpus(inside)) == [(1, "x")]


def test_embeddings_in_a_folder_are_told_how_to_be_given(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\n")
    (tmp_path / "embeddings.npy").write_bytes(b"")
    with pytest.raises(CorpusError) as caught:
        open_corpus(tmp_path)
    told = (
        "give what is meant of it: ids.txt; embeddings are given with embeddings=: embeddings.npy"
    )
    assert str(caught.value).endswith(told)


def test_a_folder_without_any_corpus_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is nothing in it that could be a corpus"):
        open_corpus(tmp_path)


def test_very_many_files_are_not_all_named(tmp_path: Path) -> None:
    for number in range(1010):
        (tmp_path / f"{number:04}.txt").touch()
    with pytest.raises(CorpusError, match="0007.txt and 1,002 more$"):
        open_corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("data/corpus.jsonl", "corpus"),
        ("corpus.v2.CSV.Zst", "corpus.v2"),
        ("c.json.bz2", "c"),
        ("e.npy", "e"),
        ("noending", "noending"),
        (".jsonl", ".jsonl"),
        (".gz", ".gz"),
    ],
)
def test_the_stem_of_a_corpus(name: str, stem: str) -> None:
    assert corpus_stem(name) == stem


def test_the_stem_of_a_folder_is_its_name(beir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert corpus_stem(str(beir)) == "scifact"
    assert corpus_stem(f"{beir}/") == "scifact"
    monkeypatch.chdir(beir)
    assert corpus_stem(".") == "scifact"
    (beir / "v1.csv").mkdir()
    assert corpus_stem("v1.csv") == "v1.csv"
