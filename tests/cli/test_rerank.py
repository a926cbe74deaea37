"""``qsearch query --rerank``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from qsearch import Index
from qsearch.cli import progress as cli_progress
from qsearch.cli.output import Console
from tests.cli.running import run
from tests.encoders import WORDS, make_tiny_cross_encoder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    place = tmp_path_factory.mktemp("place")
    records = [
        {"id": f"d{number}", "text": " ".join(WORDS[number : number + 9])} for number in range(60)
    ]
    records.append({"id": "long", "text": "cat dog " * 60})
    Index.build(records, place / "indexes" / "c", encoder=str(tiny_bert)).close()
    make_tiny_cross_encoder(place / "cross")
    make_tiny_cross_encoder(place / "logits", activation="Identity")
    make_tiny_cross_encoder(place / "classes", labels=3)
    return place


def asked(place: Path, *arguments: str) -> tuple[list[str], str]:
    done = run("query", *arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_every_format_says_that_and_by_what_it_was_reranked(place: Path) -> None:
    with Index.open(place / "indexes" / "c") as index:
        expected = index.search("cat dog", 3, rerank=str(place / "cross"), rerank_depth=61)
    label = expected.reranking.identity.label
    arguments = ("cat dog", "--rerank", "cross", "--rerank-depth", "61", "-k", "3")
    records = [json.loads(line) for line in asked(place, *arguments, "--format", "jsonl")[0]]
    for record, hit in zip(records, expected, strict=True):
        assert (record["rank"], record["id"]) == (hit.rank, hit.id)
        assert record["score"] == float(f"{hit.score:.9g}")
        assert record["rerank_score"] == float(f"{hit.rerank_score:.9g}")
        assert record["retrieval_rank"] == hit.retrieval_rank
        assert record["certified"] is True
        told = record["reranker"]
        assert told["weights"] == expected.reranking.identity.weights
        assert (told["model"], told["activation"]) == (str(place / "cross"), "sigmoid")
        assert (told["precision"], told["max_length"]) == ("float32", 64)
    run_lines = [line.split() for line in asked(place, *arguments, "--format", "trec")[0]]
    assert [(line[2], line[3], line[5]) for line in run_lines] == [
        (hit.id, str(hit.rank), f"qsearch+{label}") for hit in expected
    ]
    assert [np.float32(line[4]) for line in run_lines] == [
        np.float32(hit.rerank_score) for hit in expected
    ]
    shown, notes = asked(place, *arguments)
    for line, hit in zip(shown, expected, strict=True):
        scores = (
            rf" *{hit.rank} +{hit.rerank_score:.4f}  \( *{hit.retrieval_rank}: {hit.score:.4f}\)"
        )
        assert re.match(rf"{scores}  {hit.id} ", line), line
    assert f"reranked by {label} (score: from 0 to 1)" in notes
    assert "1 of 61 pairs of query and text were longer than the 64 tokens" in notes


def test_what_a_score_is_is_told(place: Path) -> None:
    _, notes = asked(place, "king", "--rerank", "logits/model", "-k", "1")
    assert "(score: logit); in brackets the rank and the score before" in notes


def test_an_output_without_reranking_is_as_it_was(place: Path) -> None:
    records, notes = asked(place, "cat", "--format", "jsonl")
    assert not {"rerank_score", "retrieval_rank", "reranker"} & set(json.loads(records[0]))
    assert asked(place, "cat", "--format", "trec")[0][0].endswith(" qsearch")
    assert notes == ""


def test_explain_tells_pairs_and_milliseconds(place: Path) -> None:
    arguments = ("cat", "--rerank", "cross", "-k", "2", "--explain")
    _, notes = asked(place, *arguments)
    assert re.search(r"^  rerank +50 pairs +[\d.]+ ms$", notes, re.MULTILINE)
    assert re.search(r"^  hit 1: \d+ by cosine, \d+ by binary codes", notes, re.MULTILINE)
    record = json.loads(asked(place, *arguments, "--format", "jsonl")[0][0])
    stage = record["explanation"]["stages"][-1]
    assert (stage["name"], stage["pairs"]) == ("rerank", 50)
    assert stage["milliseconds"] > 0


def test_several_queries_are_reranked_each_on_its_own(place: Path) -> None:
    (place / "q.jsonl").write_text('{"_id": "a", "text": "cat"}\n{"_id": "b", "text": "king"}\n')
    arguments = ("--rerank", "cross", "-k", "4", "--format", "trec")
    together, _ = asked(place, "--queries", "q.jsonl", *arguments)
    apart = [asked(place, text, *arguments)[0] for text in ("cat", "king")]
    assert [line.split(" ", 1)[1] for line in together] == [
        line.split(" ", 1)[1] for lines in apart for line in lines
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ("x", "--rerank", "./nowhere"),
            1,
            "no model folder at ./nowhere; give its path with --rerank",
        ),
        (("x", "--rerank", "nobody/has-this"), 1, "nobody/has-this is not on this machine"),
        (("x", "--rerank", "classes"), 1, "sorts pairs into 3 classes"),
        (("x", "--rerank-depth", "7"), 1, "name one with --rerank"),
        (("x", "--rerank", "cross", "--rerank-depth", "0"), 1, "must be at least 1"),
        (("x", "--rerank", "cross", "--rerank-depth", "many"), 2, "not a valid integer"),
        (("--vectors", "v.npy", "--rerank", "cross"), 2, "which --vectors does not have"),
    ],
)
def test_errors_say_what_to_do(
    place: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = run("query", *arguments, cwd=place)
    assert done.returncode == code
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_bi_encoder_given_by_mistake_is_told(place: Path, tiny_bert: Path) -> None:
    done = run("query", "x", "--rerank", str(tiny_bert), cwd=place)
    assert done.returncode == 1
    assert "is an encoder (a bi-encoder)" in done.stderr


def test_the_help_teaches_it(place: Path) -> None:
    told = " ".join(run("query", "--help", cwd=place).stdout.split())
    assert "--rerank MODEL" in told
    assert "--rerank-depth INTEGER" in told
    assert "[default: 50]" in told
    assert 'qsearch query "how do birds navigate" --rerank cross-encoder/' in told


def test_a_log_tells_how_far_long_reranking_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = cli_progress.LoggedProgress(Console(), clock=lambda: now[0])
    progress.begin("rerank", 3200, "pairs")
    progress.advance(50)
    assert capsys.readouterr().err == ""
    now[0] = 40.0
    progress.advance(750)
    assert capsys.readouterr().err.startswith("reranking: 800 of 3,200 pairs (25%), 20 a second")
