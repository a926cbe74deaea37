"""Ctrl-C in a change says what is kept, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.indexing.apply
import qsearch.indexing.changing
import qsearch.indexing.chunks
import qsearch.store.editor
from qsearch.store import IndexEditor
from tests.cli.changing.helpers import records_of, told
from tests.cli.running import run


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight records are a step, and every step is kept."""
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ROWS", 8)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 1)


@pytest.mark.usefixtures("small_steps")
def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(points / "more.npy", np.random.default_rng(0).standard_normal((40, 5)))
    steps = 0
    real = IndexEditor.apply

    def apply(self: IndexEditor, *arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(IndexEditor, "apply", apply)
        done = run("add", "--vectors", "more.npy", cwd=points)
    assert done.returncode == 130
    assert done.stderr.strip() == (
        "error: interrupted; the index is as it was; 24 records of the change are finished and kept: run "
        "the same command again to go on"
    )
    assert len(records_of(points / "indexes" / "v")) == 5
    report = told(run("add", "--vectors", "more.npy", cwd=points))
    assert report["resumed"] == "24 records were done before the interruption"
    assert report["documents"] == "45 now"
    assert report["commit"] == "2"
    assert run("verify", "--deep", cwd=points).returncode == 0


@pytest.mark.usefixtures("small_steps")
def test_ctrl_c_in_a_large_deletion_says_what_is_kept_and_that_it_is_done(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the commit nobody is told to delete again: the ids are not there any more."""
    monkeypatch.setattr(qsearch.indexing.changing, "_DELETE_AT_A_TIME", 1)
    (points / "ids.txt").write_text("1\n2\n4\n")

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for name, place in (("_new_tail", IndexEditor), ("keep_up", qsearch.indexing.apply)):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, stop)
            done = run("delete", "--ids", "ids.txt", cwd=points)
        assert done.returncode == 130
        if place is IndexEditor:
            assert done.stderr.strip() == (
                "error: interrupted; the index is as it was; 3 records of the change are finished and "
                "kept: run the same command again to go on"
            )
            assert "delete, under way or interrupted: 3 records" in run("info", cwd=points).stdout
        else:
            assert done.stderr.strip() == (
                "error: interrupted; the change is done (commit 2); what keeps the index fast is left to "
                "the next"
            )
    assert len(records_of(points / "indexes" / "v")) == 2
    assert run("verify", "--deep", cwd=points).returncode == 0


def test_ctrl_c_in_a_small_change_keeps_nothing(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(IndexEditor, "apply", apply)
    done = run("delete", "1", cwd=points)
    assert done.returncode == 130
    assert done.stderr.strip() == "error: interrupted; the index is as it was"


@pytest.mark.parametrize("command", ["delete", "compact"])
def test_ctrl_c_behind_the_commit_says_that_the_change_is_done(
    points: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def keep_up(*arguments: Any) -> None:
        raise KeyboardInterrupt

    run("delete", "0", cwd=points)
    monkeypatch.setattr(qsearch.indexing.apply, "keep_up", keep_up)
    commit = json.loads(run("info", "--format", "json", cwd=points).stdout)["commit"]
    done = run(command, *(["1"] if command == "delete" else []), cwd=points)
    assert done.returncode == 130
    assert f"interrupted; the change is done (commit {commit + 1}); what keeps" in done.stderr
    assert "again" not in done.stderr
