"""The way out of every dead end that a build can lead into, found by doing what the message says."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import (
    BuildOptions,
    CorpusError,
    Index,
    IndexExists,
    IndexFormatError,
    QsearchError,
)
from tests.encoders import HashedWords

RECORDS = [{"id": f"d{number}", "text": f"cat {number}"} for number in range(40)]
FORCE = BuildOptions(force=True)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsearch.indexing.chunks._CHUNK_RECORDS", 8)
    monkeypatch.setattr("qsearch.indexing.chunks._CHUNK_ROWS", 8)


# A build whose own input was wrong


@pytest.mark.parametrize(("records", "rows"), [(19, 20), (20, 19), (7, 8), (8, 7), (40, 3)])
def test_a_build_with_too_many_vectors_or_records_can_be_corrected(
    tmp_path: Path, records: int, rows: int
) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 6))
    with pytest.raises(CorpusError, match="one row for each record"):
        Index.build(RECORDS[:records], tmp_path / "i", embeddings=vectors[:rows])
    index = Index.build(RECORDS[:20], tmp_path / "i", embeddings=vectors[:20])
    assert len(index) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_vectors_that_were_wrong_can_be_corrected(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 6))
    broken = vectors.copy()
    broken[33] = np.nan
    with pytest.raises(CorpusError, match="d33"):
        Index.build(RECORDS, tmp_path / "i", embeddings=broken)
    for changed in (vectors[:, :5].copy(), vectors):  # other settings too
        index = Index.build(RECORDS, tmp_path / "i", embeddings=changed, options=FORCE)
        assert len(index) == 40
        index.close()


def test_a_corpus_that_was_wrong_at_its_end_goes_on(tmp_path: Path) -> None:
    encoder = HashedWords()
    wrong = iter([*RECORDS[:30], {"id": "d3", "text": "again"}])
    with pytest.raises(CorpusError, match="duplicate id"):
        Index.build(wrong, tmp_path / "i", encoder=encoder)
    again = HashedWords()
    index = Index.build(iter(RECORDS), tmp_path / "i", encoder=again)
    assert len(index) == 40
    assert "cat 3" not in again.encoded  # what was finished is kept


def test_a_corpus_that_changed_is_named_by_its_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def until(count: int) -> Iterator[dict[str, Any]]:
        yield from RECORDS[:count]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(until(30), tmp_path / "i", encoder=HashedWords())
    other = [{"id": "new", "text": "dog"}, *RECORDS]
    with pytest.raises(
        CorpusError,
        match="has 24 documents done: there is document 'new' on line 1 where 'd0' was; "
        r".*BuildOptions\(restart=True\)",
    ):
        Index.build(other, tmp_path / "i", encoder=HashedWords())
    changed = [*RECORDS[:10], {"id": "new", "text": "dog"}, *RECORDS[10:]]
    assert len(Index.build(changed, tmp_path / "i", encoder=HashedWords())) == 41
    assert (
        "there is document 'new' on line 11 where 'd10' was; the first 8 documents" in caplog.text
    )
    options = BuildOptions(restart=True, force=True)
    assert len(Index.build(other, tmp_path / "i", encoder=HashedWords(), options=options)) == 41


def test_what_made_nothing_durable_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield RECORDS[0]
        raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        Index.build(broken(), tmp_path / "i", encoder=HashedWords())
    assert not list(tmp_path.iterdir())


# A damaged index


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


RUINS: dict[str, Callable[[Path], object]] = {
    "no catalog": lambda index: (index / "catalog.sqlite").unlink(),
    "an empty catalog": lambda index: (index / "catalog.sqlite").write_bytes(b""),
    "a catalog of zeros": lambda index: (index / "catalog.sqlite").write_bytes(bytes(8192)),
    "a catalog that is cut": lambda index: cut(index / "catalog.sqlite"),
    "a catalog of noise": lambda index: (index / "catalog.sqlite").write_bytes(
        np.random.default_rng(0).bytes(9000)
    ),
    "a missing array": lambda index: next(index.glob("segments/*/vectors.npy")).unlink(),
    "no segments": lambda index: shutil.rmtree(index / "segments"),
}


@pytest.mark.parametrize("ruin", RUINS)
def test_a_damaged_index_is_replaced_as_its_error_advises(tmp_path: Path, ruin: str) -> None:
    path = tmp_path / "i"
    Index.build(RECORDS, path, encoder=HashedWords()).close()
    RUINS[ruin](path)
    with pytest.raises(IndexFormatError):
        Index.open(path)
    with pytest.raises(IndexExists, match="index at .* already; add BuildOptions"):
        Index.build(RECORDS, path, encoder=HashedWords())
    index = Index.build(RECORDS, path, encoder=HashedWords(), options=FORCE)
    assert index.search("cat 7", k=1)[0].id == "d7"
    assert [one.name for one in tmp_path.iterdir()] == ["i"]


def test_nothing_of_anybody_else_is_ever_replaced(tmp_path: Path) -> None:
    def with_file(name: str) -> Callable[[Path], object]:
        def add(index: Path) -> None:
            (index / name).parent.mkdir(parents=True, exist_ok=True)
            (index / name).write_text("mine")

        return add

    def other_database(index: Path) -> None:
        (index / "catalog.sqlite").unlink()
        connection = sqlite3.connect(index / "catalog.sqlite")
        connection.execute("PRAGMA application_id = 77")
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
        connection.close()

    other: list[Callable[[Path], object]] = [
        with_file("notes.txt"),
        with_file("segments/notes.txt"),
        with_file("segments/0123456789abcdef/notes.txt"),
        with_file("segments/other/vectors.npy"),
        other_database,
    ]
    for number, change in enumerate(other):
        path = tmp_path / str(number)
        Index.build(RECORDS[:9], path, encoder=HashedWords()).close()
        if number:
            (path / "catalog.sqlite").unlink()
            (path / "catalog.sqlite").write_bytes(b"")
        change(path)
        before = sorted(one for one in path.rglob("*") if one.is_file())
        with pytest.raises(IndexExists, match="not a qsearch index"):
            Index.build(RECORDS, path, encoder=HashedWords(), options=FORCE)
        assert sorted(one for one in path.rglob("*") if one.is_file()) == before


# Places


@pytest.mark.parametrize("inside", ["inner", "segments/inner", "a/b/c"])
def test_an_index_is_not_made_inside_of_another(tmp_path: Path, inside: str) -> None:
    Index.build(RECORDS[:9], tmp_path / "i", encoder=HashedWords()).close()
    before = sorted((tmp_path / "i").rglob("*"))
    with pytest.raises(IndexExists, match=r"lies inside of the index .*i, .*choose another path"):
        Index.build(RECORDS, tmp_path / "i" / inside, encoder=HashedWords())
    assert sorted((tmp_path / "i").rglob("*")) == before


def test_a_first_build_is_said_to_run_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "indexes" / "i"
    told: list[str] = []

    def looked_at() -> Iterator[dict[str, Any]]:
        yield from RECORDS[:20]
        with pytest.raises(IndexFormatError) as found:  # in the process that builds
            Index.open(path)
        told.append(str(found.value))
        for command in (["info"], ["query", "cat"], ["info", str(path)]):
            done = subprocess.run(
                [sys.executable, "-m", "qsearch", *command],
                cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 1
            told.append(done.stderr)
        yield from RECORDS[20:]

    index = Index.build(looked_at(), path, encoder=HashedWords())
    assert len(index) == 40  # looking did not let go of the lock, or worse
    assert len(told) == 4
    assert all("is being built at this moment" in one for one in told)


def test_an_interrupted_build_is_said_to_be_one(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from RECORDS[:20]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(broken(), tmp_path / "i", encoder=HashedWords())
    with pytest.raises(QsearchError, match="half written.*run the same Index.build again"):
        Index.open(tmp_path / "i")
