"""What the README shows is what happens."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.conftest import ROOT
from tests.encoders import make_tiny_bert

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the README has: a clone, and an index made by its build command."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "scripts" / "sample", folder / "scripts" / "sample")
    make_tiny_bert(folder / "tiny").rename(folder / "another-model")
    shutil.rmtree(folder / "tiny")
    return folder


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """(command, shown output), the build first: the README shows a query before it explains."""
    found = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown.strip("\n") + "\n"))
    return sorted(found, key=lambda pair: not pair[0].startswith("qsearch build"))


def test_every_command_of_the_readme_prints_what_it_shows(place: Path) -> None:
    checker = doctest.OutputChecker()
    shown = commands()
    assert len(shown) >= 7
    for command, expected in shown:
        stdin = ""
        echoed = re.fullmatch(r'echo "(.*)" \| (.*)', command)
        if echoed:
            stdin, command = echoed[1] + "\n", echoed[2]
        name, *arguments = shlex.split(command)
        assert name == "qsearch"
        done = run(*arguments, cwd=place, stdin=stdin)
        # A slow machine tells how far a build is; the README's does not.
        told = re.sub(r"^[a-z ]+: .* a second.*\n", "", done.stderr, flags=re.MULTILINE)
        printed = done.stdout + told
        assert checker.check_output(expected, printed, FLAGS), f"$ {command}\n{printed}"


def test_the_examples_of_the_readme_run(place: Path) -> None:
    if not (place / "indexes").exists():
        assert (
            run("build", "scripts/sample/wordnet.jsonl", "-o", "indexes/demo", cwd=place).returncode
            == 0
        )
    (source,) = blocks("python")
    test = doctest.DocTestParser().get_doctest(source, {}, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report = io.StringIO()
    with contextlib.chdir(place):
        result = runner.run(test, out=report.write)
    assert result.attempted >= 5
    assert result.failed == 0, report.getvalue()


def test_the_two_commands_of_the_readme_are_there_and_sound() -> None:
    shell = "\n".join(blocks("sh"))
    for name in ("scripts/demo", "scripts/test"):
        assert name in shell
    for script in (
        *(ROOT / "scripts" / name for name in ("demo", "test", "check", "setup")),
        ROOT / ".ci" / "run",
    ):
        assert script.stat().st_mode & 0o111
        subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CHANGELOG.md",
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if target.startswith("https://"):
            continue
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize(
    "script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name
)
def test_every_script_says_how_it_is_used(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.startswith("usage:")


def test_the_sample_corpus_is_the_one_described() -> None:
    import hashlib

    sample = ROOT / "scripts" / "sample"
    data = (sample / "wordnet.jsonl").read_bytes()
    described = (sample / "README.md").read_text()
    assert hashlib.sha256(data).hexdigest() in described
    assert f"Lines: {data.count(10)}" in described
    assert len(data) < 2_000_000
