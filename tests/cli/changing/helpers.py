"""What the tests of changes share."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from qsearch import Index
from tests.cli.running import run

Record = dict[str, Any]

PETS = [
    {"id": "cat", "title": "Cats", "text": "the cat is in the house", "legs": 4},
    {"id": "dog", "text": "a dog and a bird"},
    {"id": "fish", "text": "fish are in the river", "tags": ["wet", None, 1.5]},
]


def write(path: Path, records: list[Record]) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records))
    return path


def told(done: CompletedProcess[str]) -> dict[str, str]:
    """The table of a report."""
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ", 1) for line in (done.stderr or done.stdout).splitlines()]
    return {label: value.strip() for label, value in rows}


def records_of(index: Path) -> list[Record]:
    with Index.open(index) as opened:
        return [
            {"id": one.id, "title": one.title, "text": one.text, **one.metadata} for one in opened
        ]


def snapshot(index: Path) -> dict[str, bytes]:
    """Every file but the one that names the writer."""
    return {
        str(path.relative_to(index)): path.read_bytes()
        for path in sorted(index.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


def facts(place: Path, *arguments: str) -> dict[str, Any]:
    """What ``info`` tells."""
    found: dict[str, Any] = json.loads(
        run("info", *arguments, "--format", "json", cwd=place).stdout
    )
    return found
