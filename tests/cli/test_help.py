"""What the command line says of itself: help, names that are not there, completion, progress."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from qsearch.cli import cli
from qsearch.cli.output import Console
from qsearch.cli.progress import LoggedProgress
from tests.cli.running import run
from tests.conftest import ROOT
from tests.encoders import make_tiny_bert

COMMANDS = tuple(cli.list_commands(click.Context(cli)))


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_in_one_group_and_none_is_misnamed(name: str) -> None:
    one = command(name)
    grouped = [option for names in getattr(one, "groups", {}).values() for option in names]
    there = {option.name for option in one.params if isinstance(option, click.Option)}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= there
    if grouped:  # what is not grouped is what every command has
        assert there - set(grouped) <= {"quiet"}


def test_help_shows_groups_in_order(tmp_path: Path) -> None:
    shown = run("build", "--help", cwd=tmp_path).stdout
    titles = re.findall(r"^(\w[\w ]*):$", shown, flags=re.MULTILINE)
    assert titles == ["Input", "Encoder", "Passages and words", "Index", "Other options"]
    for option in ("--text-field", "--precision", "--overlap", "--force", "--quiet", "--help"):
        assert option in shown


def test_quiet_may_stand_behind_the_command(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_text("one\n")
    import numpy as np

    np.save(tmp_path / "e.npy", np.eye(3))
    for arguments in (("-q", "build"), ("build", "-q")):
        done = run(*arguments, "--vectors", "e.npy", "--force", cwd=tmp_path)
        assert done.returncode == 0
        assert done.stderr == ""
    assert "documents" in run("build", "--vectors", "e.npy", "--force", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("search", "'qsearch query TEXT' searches"),
        ("upsert", "'qsearch add CORPUS --upsert' replaces documents"),
        ("rm", "'qsearch delete ID' deletes documents"),
        ("optimize", "'qsearch compact' gives back the room"),
        ("show", "'qsearch get ID' a document"),
        ("server", "'qsearch serve' answers searches over HTTP"),
        ("qurey", "did you mean 'query'?"),
        ("frobnicate", "No such command 'frobnicate'"),
    ],
)
def test_a_command_that_is_not_there_points_to_what_is(
    name: str, advice: str, tmp_path: Path
) -> None:
    done = run(name, "x", cwd=tmp_path)
    assert done.returncode == 2
    assert advice in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_as_the_readme_has_it(shell: str) -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    assert f"_QSEARCH_COMPLETE={shell}_source qsearch" in readme
    environment = {**os.environ, "_QSEARCH_COMPLETE": f"{shell}_source"}
    program = "from qsearch.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "_QSEARCH_COMPLETE" in done.stdout, done.stderr
    completed = {**os.environ, "_QSEARCH_COMPLETE": f"{shell}_complete"}
    completed |= {"COMP_WORDS": "qsearch ver", "COMP_CWORD": "1" if shell != "fish" else "ver"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=completed, capture_output=True, text=True, check=False
    )
    assert "verify" in done.stdout, done.stderr


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_long_work_without_a_terminal_tells_how_far_it_is_every_half_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    progress = LoggedProgress(Console(), clock)
    progress.begin("encode", 10_000, "docs")
    progress.advance(4_000, resumed=True)
    for _ in range(29):
        clock.now += 1
        progress.advance(10)
    assert capsys.readouterr().err == ""
    clock.now += 1
    progress.advance(10)
    assert capsys.readouterr().err == (
        "encoding: 4,300 of 10,000 docs (43%), 10 a second, 9 min 30 s left\n"
    )
    clock.now += 29
    progress.advance(10)
    assert capsys.readouterr().err == ""
    progress.end()
    progress.begin("verify", None, "B")
    clock.now += 3
    progress.advance(6_000_000)
    assert capsys.readouterr().err == "verifying: 6.0 MB, 2.0 MB a second\n"


def test_quiet_work_and_phases_without_a_count_tell_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    for progress, unit in (
        (LoggedProgress(Console(quiet=True), clock), "docs"),
        (LoggedProgress(Console(), clock), ""),
    ):
        progress.begin("encode", 10, unit)
        clock.now += 1_000
        progress.advance(5)
        progress.end()
    assert capsys.readouterr().err == ""


def test_what_export_says_of_its_vectors_makes_an_index_that_is_searched_by_text(
    tmp_path: Path,
) -> None:
    """The example without a model made one that refuses every text."""
    shown = run("export", "--help", cwd=tmp_path).stdout
    (example,) = (line for line in shown.splitlines() if "qsearch build" in line)
    assert "--model MODEL" in example
    model = make_tiny_bert(tmp_path / "model")
    (tmp_path / "c.jsonl").write_text(
        '{"id": "a", "text": "a cat"}\n{"id": "b", "text": "a dog"}\n'
    )
    assert run("build", "c.jsonl", "--model", model, "-o", "i", cwd=tmp_path).returncode == 0
    wrote = run(
        "export", "-i", "i", "-o", "articles.jsonl", "--vectors", "articles.npy", cwd=tmp_path
    )
    assert wrote.returncode == 0
    arguments = example.replace("MODEL", str(model)).split()[1:]
    assert run(*arguments, cwd=tmp_path).returncode == 0
    assert run("query", "a cat", "-i", "indexes/copy", cwd=tmp_path).returncode == 0


def test_help_teaches() -> None:
    overview = run("--help", cwd=ROOT).stdout
    for command in ("build", "query", "info", "verify"):
        assert command in overview
        assert "Usage:" in run(command, "--help", cwd=ROOT).stdout
    assert "qsearch build corpus.jsonl" in overview
    assert "zcat dump.jsonl.gz | qsearch build -" in run("build", "-h", cwd=ROOT).stdout


def test_help_and_import_load_nothing_heavy() -> None:
    heavy = {"torch", "sentence_transformers", "transformers", "faiss", "usearch", "numpy"}
    for statement in (
        "import qsearch",
        "import qsearch.cli; qsearch.cli.cli.main(['--help'], standalone_mode=False)",
    ):
        code = f"import sys\n{statement}\nprint(sorted(set(sys.modules)), file=sys.stderr)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert not heavy & set(eval(done.stderr))
