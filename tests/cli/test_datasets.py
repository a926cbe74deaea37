"""Names of ir_datasets on the command line, wherever a file could stand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.datasets import DOCUMENTS, register


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, dataset: str, tiny_bert: Path) -> Path:
    """Where the dataset was built, without saying where to."""
    place = tmp_path_factory.mktemp("place")
    done = run("build", dataset, "--model", tiny_bert, cwd=place)
    assert done.returncode == 0, done.stderr
    return place


def test_a_dataset_is_built_into_an_index_of_its_name(place: Path, dataset: str) -> None:
    assert [one.name for one in (place / "indexes").iterdir()] == ["qsearch-made-test"]
    assert dataset in run("info", cwd=place).stdout


def test_an_index_that_is_there_is_replaced_with_force(
    place: Path, dataset: str, tiny_bert: Path
) -> None:
    arguments = ("build", dataset, "--model", tiny_bert, "-o", "indexes/qsearch-made-test")
    done = run(*arguments, cwd=place)
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert run(*arguments, "--force", cwd=place).returncode == 0


def test_queries_and_judgments_of_a_dataset_are_taken(place: Path, dataset: str) -> None:
    done = run("eval", "--queries", dataset, "-k", "5", "--no-times", "--format", "json", cwd=place)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["queries"], told["judged"]) == (12, 12)
    assert told["source"] == f"queries of {dataset}"
    assert "nDCG@5" in told["ways"][0]["measures"]
    hits = run("query", "--queries", dataset, "-k", "2", "--format", "jsonl", cwd=place)
    assert hits.returncode == 0, hits.stderr
    assert [json.loads(line)["query_id"] for line in hits.stdout.splitlines()][:3] == [
        "q0",
        "q0",
        "q1",
    ]


def test_queries_without_judgments_are_measured_without(place: Path, dataset: str) -> None:
    from ir_datasets import load

    name = register("qsearch/made/unjudged", None, list(load("qsearch/made/test").queries_iter()))
    arguments = ("-k", "5", "--no-times", "--format", "json")
    done = run("eval", "--queries", name, *arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["judged"] == 0
    done = run("eval", "--queries", name, "--qrels", dataset, *arguments, cwd=place)
    assert json.loads(done.stdout)["judged"] == 12


def test_an_index_is_kept_in_step(place: Path, dataset: str) -> None:
    done = run("sync", dataset, "--dry-run", cwd=place)
    assert done.returncode == 0, done.stderr
    assert ["unchanged", str(DOCUMENTS)] in [line.split() for line in done.stdout.splitlines()]


def told(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    return done.stderr


def test_errors_say_what_to_do(place: Path, dataset: str) -> None:
    meant = "irds:qsearch/mad/test: ir_datasets has no dataset of this name; did you mean irds:qsearch/made"
    for arguments in (
        ("build", "irds:qsearch/mad/test"),
        ("eval", "--queries", "irds:qsearch/mad/test"),
        ("query", "--queries", "irds:qsearch/mad/test"),
        ("eval", "--queries", dataset, "--qrels", "irds:qsearch/mad/test"),
    ):
        assert meant in told(run(*arguments, cwd=place))
    idle = run("build", dataset, "-o", "x", "--input-format", "csv", cwd=place)
    assert "a dataset has no format; leave --input-format out" in told(idle)
