"""``compact`` and ``upgrade``, and what ``info`` says of an index that was changed."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import qsearch.indexing.apply
import qsearch.indexing.changing
import qsearch.indexing.chunks
import qsearch.store.editor
from qsearch.store import FORMAT_VERSION
from qsearch.store.writer_lock import WriterLock
from tests.cli.changing.helpers import records_of, told
from tests.cli.running import run


def test_compact_gives_back_room_and_info_says_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    assert run("build", "--vectors", "v.npy", cwd=tmp_path).returncode == 0
    fresh = run("info", cwd=tmp_path).stdout
    assert re.search(r"commit +1, as it was built", fresh)
    assert re.search(r"  measured on +commit 1, 3,000 rows\n", fresh)
    assert "dead rows" not in fresh
    np.save(tmp_path / "w.npy", vectors[:10] + 1)
    told(run("add", "--vectors", "w.npy", cwd=tmp_path))
    told(run("delete", *map(str, range(100)), cwd=tmp_path))
    facts = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)
    assert (facts["commit"], facts["segments"], facts["documents"]) == (3, 1, 2910)
    assert (facts["dead_rows"], facts["past"]) == (100, 100)
    assert facts["changed"] >= facts["created"]
    assert (facts["measured"]["commit"], facts["measured"]["rows"]) == (1, 3000)
    assert facts["measured"]["later"] == 10
    text = run("info", cwd=tmp_path).stdout
    assert re.search(r"commit +3, of \d{4}-", text)
    assert re.search(r"dead rows +100; compact gives back their room", text)
    assert re.search(r"past +100 documents and metadata of earlier commits; compact", text)
    assert "commit 1, 3,000 rows; 10 came later and are searched exactly" in text
    with monkeypatch.context() as patch:  # as where it cannot be measured again
        patch.setattr(qsearch.indexing.apply, "keep_up", lambda *arguments: None)
        told(run("delete", *map(str, range(100, 300)), cwd=tmp_path))
    assert "too much has changed since: every search is exact" in run("info", cwd=tmp_path).stdout
    report = told(run("compact", cwd=tmp_path))
    assert (report["dead rows"], report["documents"]) == ("300 removed", "2,710 now")
    assert report["segments"] == "1 before, 1 now"
    assert re.fullmatch(r"300 documents and metadata of earlier commits removed", report["past"])
    before, after = re.findall(r"([\d.]+) MB", report["on disk"])
    assert float(after) < float(before)
    facts = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)
    assert (facts["dead_rows"], facts["past"], facts["measured"]["later"]) == (0, 0, 10)
    again = told(run("compact", cwd=tmp_path))
    assert again["commit"].endswith("as before: nothing was to be done")
    assert run("verify", "--deep", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_an_index_of_an_earlier_format_is_upgraded(tmp_path: Path, version: int) -> None:
    golden = Path(__file__).parents[2] / "store" / "golden" / f"format-{version}"
    shutil.copytree(golden, tmp_path / "indexes" / "old")
    before = records_of(tmp_path / "indexes" / "old")
    measured = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)["measured"]
    assert (measured is None) == (version < 3)  # nobody wrote it down before
    with WriterLock.take(tmp_path / "indexes" / "old"):
        busy = run("upgrade", "--wait", "0.1", cwd=tmp_path)
        assert "is being changed by process" in busy.stderr
    assert told(run("upgrade", cwd=tmp_path))["format"] == f"{FORMAT_VERSION}, was {version}"
    assert told(run("upgrade", "old", cwd=tmp_path))["format"] == (
        f"{FORMAT_VERSION} already: nothing was to be done"
    )
    assert records_of(tmp_path / "indexes" / "old") == before
    assert run("verify", "--deep", cwd=tmp_path).returncode == 0


def test_upgrading_says_that_a_catalog_was_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "indexes" / "pets"
    golden = Path(__file__).parents[2] / "store" / "golden" / f"format-{FORMAT_VERSION}"
    shutil.copytree(golden, path)
    for _ in range(2):
        told_format = told(run("upgrade", cwd=tmp_path))["format"]
        assert told_format == f"{FORMAT_VERSION} already: nothing was to be done"
    with closing(sqlite3.connect(path / "catalog.sqlite")) as foreign:
        assert foreign.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal"
    told_format = told(run("upgrade", cwd=tmp_path))["format"]
    assert told_format == (
        f"{FORMAT_VERSION} already; another program had put its catalog in SQLite's WAL mode, "
        "where it is no more"
    )
    with closing(sqlite3.connect(path / "catalog.sqlite")) as foreign:
        assert foreign.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert run("verify", "--deep", cwd=tmp_path).returncode == 0


def test_a_change_says_that_it_brings_an_index_to_the_present_format(tmp_path: Path) -> None:
    """Also one that fails: earlier versions cannot read the index any more."""
    golden = Path(__file__).parents[2] / "store" / "golden" / "format-2"
    shutil.copytree(golden, tmp_path / "indexes" / "old")
    documents = records_of(tmp_path / "indexes" / "old")
    notice = f"old has format {FORMAT_VERSION} now, and had 2: earlier versions cannot read it"
    failed = run("delete", "nowhere", cwd=tmp_path)
    assert failed.returncode == 1
    assert notice in failed.stderr
    assert records_of(tmp_path / "indexes" / "old") == documents
    assert notice not in run("delete", "nowhere", "--missing-ok", cwd=tmp_path).stderr


def test_what_a_build_counted_is_said_to_be_of_the_build(place: Path) -> None:
    assert re.search(r"truncated +0", run("info", cwd=place).stdout)
    assert run("delete", "cat", cwd=place).returncode == 0
    assert re.search(r"truncated +0, at the build\n", run("info", cwd=place).stdout)
