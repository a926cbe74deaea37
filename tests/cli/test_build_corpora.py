"""``qsearch build`` with files that people have."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from qsearch import Index
from qsearch.cli import main
from tests.encoders import HashedWords

Run = Callable[..., tuple[int, str]]

DOCUMENTS = [("D1", "Katze", "a kitten is a young cat"), ("D2", "Börse", "stocks fell; badly, too")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in a folder of its own, with an encoder that needs no model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qsearch.encoding.load_encoder", lambda *_, **__: HashedWords())

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
        stderr = io.StringIO()
        with (
            mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as done,
        ):
            main(["build", *arguments])
        assert isinstance(done.value.code, int)
        return done.value.code, stderr.getvalue()

    return run


def ids(index: str) -> list[str]:
    with Index.open(index, encoder=HashedWords()) as opened:
        return sorted(hit.id for hit in opened.search("kitten", k=10))


def test_a_csv_export_of_excel_is_built_with_the_advice_that_is_given(
    run: Run, tmp_path: Path
) -> None:
    rows = "".join(f'{key};"{title}";"{text}"\r\n' for key, title, text in DOCUMENTS)
    (tmp_path / "export.csv").write_bytes(("ID;Title;Text\r\n" + rows).encode("cp1252"))
    code, said = run("export.csv")
    assert code == 1
    assert (
        "export.csv:3: is not UTF-8; it could be cp1252; if so, give cp1252 with --encoding" in said
    )
    code, said = run("export.csv", "--encoding", "cp1252")
    assert code == 0
    assert "\nids " not in said
    assert ids("indexes/export") == ["D1", "D2"]


def test_a_delimiter_can_be_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id#text\nD1#a kitten, a cat\n")
    assert run("c.csv", "--delimiter", "#")[0] == 0
    assert ids("indexes/c") == ["D1"]
    assert "--delimiter takes one character" in run("c.csv", "--delimiter", "##")[1]


def test_ids_of_a_trec_collection_are_proposed_and_taken(run: Run, tmp_path: Path) -> None:
    lines = [json.dumps({"DOCNO": key, "text": text}) + "\n" for key, _, text in DOCUMENTS]
    (tmp_path / "c.jsonl").write_text("".join(lines))
    code, said = run("c.jsonl")
    assert code == 0
    proposed = "line numbers, from 1: no record has an id (DOCNO could be one: --id-field DOCNO)"
    assert f"ids         {proposed}\n" in said
    assert ids("indexes/c") == ["1", "2"]
    assert run("c.jsonl", "--id-field", "docno", "--force")[0] == 0
    assert ids("indexes/c") == ["D1", "D2"]


@pytest.mark.parametrize(
    ("option", "role"), [("--title-field", "headline"), ("--metadata-field", "year")]
)
def test_a_named_field_that_is_nowhere_is_an_error_in_options(
    run: Run, tmp_path: Path, option: str, role: str
) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "cat"}\n')
    code, said = run("c.jsonl", option, role)
    assert code == 1
    assert said == (
        f"error: c.jsonl: no record has a field '{role}' ({option}); there are 'id', 'text'\n"
    )


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_built(run: Run, tmp_path: Path, indent: int | None) -> None:
    records = [{"id": key, "text": text} for key, _, text in DOCUMENTS]
    (tmp_path / "records.json").write_text(json.dumps(records, indent=indent))
    assert run("records.json")[0] == 0
    assert ids("indexes/records") == ["D1", "D2"]
    assert run("-", stdin=json.dumps(records, indent=indent).encode())[0] == 0
    assert ids("indexes/stdin") == ["D1", "D2"]


def test_a_folder_of_beir_is_built_under_its_name(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "scifact"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "cat"}\n')
    lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, _, text in DOCUMENTS]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    assert run("datasets/scifact/")[0] == 0
    assert ids("indexes/scifact") == ["D1", "D2"]
    code, said = run("datasets")
    assert code == 1
    assert "give what is meant of it: scifact/" in said


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("c.pdf", b"%PDF-1.4\n", "c.pdf: is a PDF document; extract its text first"),
        ("c.txt", b"%PDF-1.4\n", "c.txt: is a PDF document; extract its text first"),
        ("c.xlsx", b"PK\x03\x04", "c.xlsx: is a spreadsheet; save its table as CSV"),
        ("c.html", b"<html>", "c.html: is a page of HTML"),
        ("c.npy", b"\x93NUMPY", "embeddings are given with --vectors"),
        ("c.csv", b"PAR1\x15", "give parquet with --input-format"),
    ],
)
def test_what_is_no_corpus_is_told_what_to_do(
    run: Run, tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    code, message = run(name)
    assert code == 1
    assert said in message


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--vectors", "v.npy", "--delimiter", ";"), "--delimiter needs a CORPUS", 2),
        (("--vectors", "v.npy", "--encoding", "cp1252"), "--encoding needs a CORPUS", 2),
        (("c.jsonl", "--delimiter", ";"), "no delimiter; leave --delimiter out", 1),
        (("c.parquet", "--encoding", "cp1252"), "leave --encoding out", 1),
        (("c.txt", "--title-field", "x"), "a text file has no fields; leave --text-field", 1),
        (("c.txt", "--encoding", "klingon"), "unknown encoding 'klingon'", 1),
    ],
)
def test_an_option_that_would_do_nothing_is_a_mistake(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str, code: int
) -> None:
    for name in ("c.jsonl", "c.txt", "c.parquet"):
        (tmp_path / name).touch()
    assert run(*arguments)[0] == code
    assert said in run(*arguments)[1]
