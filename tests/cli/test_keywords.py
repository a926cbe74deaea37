"""``qsearch query --mode``, ``build --text-index`` and ``index-text``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from qsearch import Index
from tests.cli.running import run

RECORDS = [
    {"id": "a", "text": "Cats chase the mouse."},
    {"id": "b", "text": "error 0x80070057 of the printer"},
    {"id": "c", "text": "A printer of cats?"},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of vectors, which is searched by its words without any model."""
    folder = tmp_path_factory.mktemp("words")
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (folder / "c.jsonl").write_text(lines, encoding="utf-8")
    np.save(folder / "c.npy", np.eye(3))
    done = run("build", "c.jsonl", "--vectors", "c.npy", "-o", "i", "--text-index", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "f"))


def test_words_are_searched_without_a_model(made: Path) -> None:
    shown = run("query", "printers", "-i", "i", "--mode", "keywords", cwd=made)
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[2] for line in shown.stdout.splitlines()] == ["b", "c"] or [
        line.split()[2] for line in shown.stdout.splitlines()
    ] == ["c", "b"]


def test_a_condition_is_not_blamed_for_words_that_no_document_has(made: Path) -> None:
    where = ("-i", "i", "--mode", "keywords", "--where")
    none = run("query", "nowhere", *where, "id = 'a'", cwd=made)
    assert (none.returncode, none.stdout) == (0, "")
    assert "the condition holds for no document" not in none.stderr
    none = run("query", "cats", *where, "id = 'x'", cwd=made)
    assert "the condition holds for no document" in none.stderr


def test_a_hit_as_json_has_its_score_by_words(made: Path) -> None:
    arguments = ("query", '"printer of cats" -NOT*', "-i", "i", "--mode", "keywords", "--explain")
    shown = run(*arguments, "--format", "jsonl", cwd=made)
    (hit,) = map(json.loads, shown.stdout.splitlines())
    assert hit["id"] == "c"
    assert hit["bm25"] == hit["score"] > 0
    assert hit["certified"]
    words = hit["explanation"]["keywords"]
    assert [one["term"] for one in words["terms"]] == ['"printer of cat"', "not"]
    assert "cosine" not in hit


def test_an_explanation_for_people_names_the_terms(made: Path) -> None:
    shown = run("query", "cats nowhere", "-i", "i", "--mode", "keywords", "--explain", cwd=made)
    assert (
        "by words: BM25 with k1 = 1.2, b = 0.75; 2 documents hold some of 2 terms" in shown.stderr
    )
    assert "  cat: in 2 documents, idf " in shown.stderr
    assert "  nowher: in 0 documents" in shown.stderr


def test_a_run_for_evaluation_tools(made: Path) -> None:
    shown = run(
        "query", "0x80070057", "-i", "i", "--mode", "keywords", "--format", "trec", cwd=made
    )
    assert shown.stdout.split()[:4] == ["1", "Q0", "b", "1"]


def test_info_tells_what_words_are(folder: Path) -> None:
    shown = run("info", "-i", "i", cwd=folder).stdout
    assert "text index  of 'en': porter unicode61 remove_diacritics 2" in shown
    facts = json.loads(run("info", "-i", "i", "--format", "json", cwd=folder).stdout)
    assert facts["text_index"] == {
        "language": "en",
        "tokenizer": "porter unicode61 remove_diacritics 2",
    }


def test_the_text_index_is_dropped_and_made(folder: Path) -> None:
    done = run("index-text", "i", "--drop", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "text index  none" in done.stderr
    refused = run("query", "cats", "-i", "i", "--mode", "keywords", cwd=folder)
    assert refused.returncode == 1
    assert "'qsearch index-text' makes one" in refused.stderr
    done = run("index-text", "-i", "i", "--language", "ja", cwd=folder)
    assert "text index  of 'ja': trigram" in done.stderr
    assert "commit      3" in done.stderr
    found = run("query", "at", "-i", "i", "--mode", "keywords", cwd=folder)  # two characters
    assert found.stdout.count("\n") == 2
    assert run("verify", "i", cwd=folder).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("index-text", "i", "--drop", "--language", "en"), "leave out --drop"),
        (("index-text", "i", "--language", "English"), "no ISO 639 code"),
        (("query", "a", "-i", "i", "--weight", "0.3"), "weight does nothing in the mode meaning"),
        (
            ("query", "-i", "i", "--vectors", "c.npy", "--mode", "hybrid"),
            "--mode is of searches by text",
        ),
        (("query", "a", "-i", "i", "--mode", "words"), "'words' is not one of"),
        (
            ("build", "c.jsonl", "--vectors", "c.npy", "--language", "de"),
            "--passages or --text-index",
        ),
        (("reindex",), "'qsearch index-text' makes the index of words anew"),
    ],
)
def test_what_does_not_go_together_is_told(
    folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = run(*arguments, cwd=folder)
    assert done.returncode in (1, 2)
    assert told in done.stderr


def test_changes_keep_the_words(folder: Path) -> None:
    run("delete", "b", "-i", "i", cwd=folder)
    shown = run("query", "printer", "-i", "i", "--mode", "keywords", cwd=folder)
    assert [line.split()[2] for line in shown.stdout.splitlines()] == ["c"]
    with Index.open(folder / "i") as index:
        assert index.text_index is not None
