"""Filters on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from qsearch import Index
from qsearch.cli import main
from tests.encoders import make_tiny_bert

DOCUMENTS = [
    {
        "id": f"d{n}",
        "text": f"text {n}",
        "year": 2000 + n,
        "lang": ["en", "de"][n % 2],
        "tags": [f"t{n}"],
    }
    for n in range(10)
]


class Done(NamedTuple):
    """A command that was run."""

    stdout: str
    stderr: str
    code: int

    @property
    def ids(self) -> list[str]:
        assert self.code == 0, self.stderr
        rows = [json.loads(line) for line in self.stdout.splitlines()]
        return sorted(str(row["id"]) for row in rows)


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        printed = capsys.readouterr()
        return Done(printed.out, printed.err, int(ended.value.code or 0))

    return run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filtered")
    model = make_tiny_bert(folder / "model")
    options = {"index_fields": ["year"]}
    Index.build(DOCUMENTS, folder / "i", encoder=str(model), options=options).close()
    return folder / "i"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["--where", "year >= 2008"], ["d8", "d9"]),
        (["--where", '{"year": {"$gte": 2008}}'], ["d8", "d9"]),
        (["--where", "year IN :some", "--param", "some=[2001, 2003]"], ["d1", "d3"]),
        (["--where", "lang = :it AND year < 2004", "--param", "it=de"], ["d1", "d3"]),
        (["--where", "lang = :it AND year < 2004", "--param", ":it=de"], ["d1", "d3"]),
        (["--where", "'t4' IN tags"], ["d4"]),
        (["--where", "no.such IS NULL AND year = 2002", "--missing-fields-ok"], ["d2"]),
        (["--where", "year < 0"], []),
    ],
)
def test_query_get_and_export_take_the_same_condition(
    run: Run, path: Path, tmp_path: Path, given: list[str], wanted: list[str]
) -> None:
    assert run("query", "text 1", "--format", "jsonl", "-i", path, *given).ids == wanted
    assert run("get", "--format", "jsonl", "-i", path, *given).ids == wanted
    assert run("export", "-i", path, *given).ids == wanted
    lines, vectors = tmp_path / "o.jsonl", tmp_path / "v.npy"
    assert run("export", "-i", path, *given, "-o", lines, "--vectors", vectors).code == 0
    with Index.open(path) as index:
        expected = [one for some in index.vectors(wanted) for one in some]
    assert np.array_equal(np.load(vectors), np.array(expected).reshape(len(wanted), 32))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["--where", "yaer = 1"],
            "no document has a field yaer; the nearest is year. --missing-fields-ok",
        ),
        (["--where", "year = 1; DROP TABLE documents"], "no other statement"),
        (["--where", '{"year": {"$foo": 1}}'], "there is no operator '$foo'"),
        (["--where", '{"year"'], "is read as JSON"),
        (["--where", "year = :x"], "no value is given (none given); add it with --param"),
        (
            ["--where", "year IN :x", "--param", "x=1,2"],
            "must be a list, such as [2020, 2021], found '1,2'",
        ),
        (
            ["--where", 'lang = "german"'],
            "german (double quotes name a field; a text stands in single",
        ),
        (
            ["--where", "tags.name = 'x'"],
            "tags holds lists, and conditions do not look into objects",
        ),
        (["--where", '{"year": {"born": 1}}'], "a field of an object is named 'year.born'"),
        (["--where", '{"year": {"gte": 1}}'], "did you mean $gte?"),
        (["--where", '{"year": {"$gt": 1}, "year": {"$lt": 2}}'], "'year' is there twice"),
        (["--where", "year = :x", "--param", "x"], "not of the form name=value"),
        (["--where", "year = :x", "--param", "x=1", "--param", "x=2"], "given twice"),
    ],
)
def test_what_is_no_condition_says_what_to_do(
    run: Run, path: Path, given: list[str], told: str
) -> None:
    for command in (["get"], ["query", "text"], ["delete"], ["export"]):
        done = run(*command, "-i", path, *given)
        assert done.code in (1, 2)
        assert told in " ".join(done.stderr.split())
        assert not done.stdout


def test_a_condition_that_holds_for_no_document_is_told_with_the_likely_reason(
    run: Run, path: Path, tmp_path: Path
) -> None:
    commands = (["get"], ["query", "text"], ["delete"], ["export"])
    for command in commands:
        done = run(*command, "-i", path, "--where", "tags = 't1' AND year > 2000")
        assert (done.code, done.stdout) == (0, "")
        assert (
            "the condition holds for no document; tags holds lists: 'value' IN tags asks"
            in done.stderr
        )
        quiet = run(*command, "-q", "-i", path, "--where", "tags = 't1'")
        assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")
        done = run(*command, "-i", path, "--where", "year < 0")
        assert "the condition holds for no document\n" in done.stderr
    assert "no document" not in run("get", "-i", path, "--where", "year > 0").stderr
    np.save(tmp_path / "q.npy", np.ones((1, 32), np.float32))
    done = run("query", "--vectors", tmp_path / "q.npy", "-i", path, "--where", "year < 0")
    assert "no document" in done.stderr


def test_a_parameter_needs_a_condition(run: Run, path: Path) -> None:
    done = run("query", "text", "-i", path, "--param", "x=1")
    assert (done.code, "no condition that they are of" in done.stderr) == (1, True)


def test_ids_and_a_condition_are_too_much(run: Run, path: Path) -> None:
    for command in ("get", "delete"):
        done = run(command, "d1", "--where", "year = 2001", "-i", path)
        assert (done.code, "not both" in done.stderr) == (2, True)


def test_documents_are_deleted_by_a_condition_and_fields_indexed(
    run: Run, path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    done = run("delete", "--where", "year >= 2005", "-i", copy)
    assert (done.code, "deleted    5" in done.stderr) == (0, True)
    left = run("get", "--format", "jsonl", "--where", "year > 0", "-i", copy).ids
    assert left == [f"d{n}" for n in range(5)]
    done = run("index-field", "lang", "tags", "-i", copy)
    assert (done.code, "lang, tags, year" in done.stderr) == (0, True)
    assert "year             number, in 5 documents, indexed" in run("info", copy).stdout
    facts = json.loads(run("info", copy, "--format", "json").stdout)
    tags = {"name": "tags", "documents": 5, "kinds": {"list": 5}, "indexed": True}
    assert tags in facts["fields"]
    done = run("index-field", "lang", "--drop", "-i", copy)
    assert (done.code, "tags, year" in done.stderr) == (0, True)
    done = run("index-field", "langs", "-i", copy)
    assert (done.code, "no document has a field langs; the nearest" in done.stderr) == (1, True)
