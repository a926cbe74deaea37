"""``qsearch query``: what is asked, and how answers look."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from qsearch import Index
from qsearch.cli.excerpts import excerpt
from tests.cli.running import run

LONG = " ".join(f"Sentence {number} tells of nothing in particular." for number in range(80))
FOUND = LONG + " The queen of spades wins the game at last. " + LONG


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    place = tmp_path_factory.mktemp("place")
    records = [
        {"id": "long", "text": FOUND},
        {"id": "cat", "text": "a cat sat on the mat"},
        {"id": "king", "text": "king queen"},
    ]
    Index.build(records, place / "indexes" / "c", encoder=str(tiny_bert)).close()
    return place


def lines(place: Path, *arguments: str) -> list[str]:
    done = run("query", *arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_people_see_the_part_of_a_text_that_speaks_of_the_query(place: Path) -> None:
    shown = next(line for line in lines(place, "queen of spades") if "long" in line)
    assert "The queen of spades wins" in shown
    assert len(shown) < 330
    whole = next(line for line in lines(place, "queen of spades", "--full") if "long" in line)
    assert FOUND in whole
    refused = run("query", "x", "--full", "--format", "jsonl", cwd=place)
    assert refused.returncode == 2
    assert "--full is for --format text" in refused.stderr


@pytest.mark.parametrize(
    ("text", "query", "most", "expected"),
    [
        ("short", "anything", 10, "short"),
        ("  white \n space\t", "x", 30, "white space"),
        ("one two three four five", "none", 14, "one two…"),
        ("one two three four five", "five", 14, "… five"),
        ("a b. Dogs bark. Cats sleep all day.", "cat", 24, "a b. Dogs bark. Cats…"),
        ("a b. Dogs bark loudly. Cats sleep all day.", "cats", 26, "… Cats sleep all day."),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "x", 20, "xxxxxxxxxxxxxxxx…"),
        ("", "x", 20, ""),
    ],
)
def test_excerpts(text: str, query: str, most: int, expected: str) -> None:
    assert excerpt(text, query, most) == expected


@pytest.mark.parametrize("seed", range(20))
def test_no_excerpt_is_longer_than_asked_and_each_is_of_the_text(seed: int) -> None:
    generator = np.random.default_rng(seed)
    words = ["cat", "dog", "navigates", "navigation", "x", "é́", "a.", "Long" * 30]
    text = " ".join(generator.choice(words, generator.integers(1, 200)))
    for most in (20, 75, 300):
        shown = excerpt(text, "cats navigate", most)
        assert len(shown) <= most
        assert shown.removeprefix("… ").removesuffix("…") in text


def test_vectors_are_searched_for_and_numbered_by_row(place: Path) -> None:
    with Index.open(place / "indexes" / "c") as index:
        rows = index.encoder.encode_queries(["king queen", "a cat sat on the mat"])
    np.save(place / "v.npy", np.concatenate([rows] * 40))
    run_lines = lines(place, "--vectors", "v.npy", "--format", "trec", "-k", "1")
    assert [line.split()[0] for line in run_lines] == [str(n) for n in range(1, 81)]
    assert [line.split()[2] for line in run_lines] == ["king", "cat"] * 40
    record = json.loads(lines(place, "--vectors", "v.npy", "--format", "json")[0])
    assert record["query_id"] == "1"
    assert "query" not in record
    np.save(place / "one.npy", rows[:1])
    assert "king" in lines(place, "--vectors", "one.npy", "-k", "1")[0]


def test_vectors_that_cannot_be_searched_for_are_named(place: Path) -> None:
    rows = np.ones((70, 3))
    np.save(place / "short.npy", rows)
    refused = run("query", "--vectors", "short.npy", cwd=place)
    assert refused.returncode == 1
    assert "short.npy has vectors of 3 dimensions, the index has" in refused.stderr
    with Index.open(place / "indexes" / "c") as index:
        rows = np.ones((70, index.dimensions))
    for value, reason in ((np.nan, "holds NaN or infinity"), (0.0, "is zero")):
        rows[66] = value
        np.save(place / "bad.npy", rows)
        refused = run("query", "--vectors", "bad.npy", cwd=place)
        assert refused.returncode == 1
        assert f"bad.npy: row 67 (from 1) {reason}" in refused.stderr
    refused = run("query", "x", "--vectors", "bad.npy", cwd=place)
    assert refused.returncode == 2
    assert "one of TEXT, --queries and --vectors" in refused.stderr


def test_an_index_of_vectors_alone_is_searched_from_the_shell(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.eye(5))
    assert run("build", "--vectors", "e.npy", cwd=tmp_path).returncode == 0
    done = run("query", "--vectors", "e.npy", "-k", "1", "--format", "trec", cwd=tmp_path)
    assert [line.split()[2] for line in done.stdout.splitlines()] == list("01234")
    refused = run("query", "text", cwd=tmp_path)
    assert "can only be searched by vector" in refused.stderr
    assert "--vectors" in refused.stderr


def test_query_files_of_every_form_give_one_answer(place: Path) -> None:
    (place / "q.jsonl").write_text('{"_id": "a", "text": "cat"}\n{"_id": "b", "text": "king"}\n')
    (place / "q.tsv").write_text("id\ttext\na\tcat\nb\tking\n")
    (place / "q.csv").write_text("a,cat\nb,king\n")
    answers = [
        lines(place, "--queries", name, "--format", "trec")
        for name in ("q.jsonl", "q.tsv", "q.csv")
    ]
    assert answers[0] == answers[1] == answers[2]
    (place / "q.txt").write_text("cat\nking\n")
    numbered = lines(place, "--queries", "q.txt", "--format", "trec")
    assert [line.split(" ", 1)[1] for line in numbered] == [
        line.split(" ", 1)[1] for line in answers[0]
    ]


@pytest.mark.parametrize(
    ("recall", "code", "told"),
    [
        ("99%", 0, ""),
        ("100%", 0, ""),
        ("0.9", 0, ""),
        ("95", 2, "95 is above 1; 95% is 0.95"),
        ("0.9x", 2, "'0.9x' is neither exact nor a number"),
        ("200", 1, "recall must be above 0 and at most 1"),
        ("-5%", 1, "recall must be above 0 and at most 1"),
    ],
)
def test_a_recall_may_be_a_percentage(place: Path, recall: str, code: int, told: str) -> None:
    done = run("query", "cat", "--recall", recall, cwd=place)
    assert done.returncode == code, done.stderr
    assert told in done.stderr


def test_no_queries_at_all_are_told(place: Path) -> None:
    (place / "none.tsv").write_text("id\ttext\n")
    done = run("query", "--queries", "none.tsv", cwd=place)
    assert (done.returncode, done.stdout) == (0, "")
    assert "none.tsv holds no queries" in done.stderr


def test_a_query_that_is_no_text_has_the_number_or_the_id_that_it_was_given(place: Path) -> None:
    records = [{"_id": f"q{number}", "text": "cat"} for number in range(70)]
    for text, reason in (("\ud83d", "is not valid Unicode text"), (" ", "is empty")):
        records[66]["text"] = text
        (place / "q.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
        refused = run("query", "--queries", "q.jsonl", cwd=place)
        assert refused.returncode == 1
        assert f"query q66 {reason}" in refused.stderr
        refused = run("query", "cat", os.fsdecode(text.encode("utf-8", "surrogatepass")), cwd=place)
        assert refused.returncode == 1
        assert f"query 2 {reason}" in refused.stderr


def test_standard_input_is_not_mixed_with_texts(place: Path) -> None:
    refused = run("query", "cat", "-", cwd=place)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "- reads queries from standard input, and stands alone" in refused.stderr
