"""What is damaged can be replaced as the message says, and nothing but an index ever is."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qsearch import (
    BuildOptions,
    Index,
    IndexBusy,
    IndexExists,
    IndexFormatError,
    QsearchError,
    verify_index,
)
from qsearch.wording import words
from tests.conftest import ROOT
from tests.encoders import HashedWords
from tests.indexing.test_build import (
    Interrupted,
    documents,
    interrupted_after,
    small_chunks,
)

__all__ = ["small_chunks"]  # used by every test here


@pytest.fixture
def index(tmp_path: Path) -> Path:
    options = BuildOptions(segment_rows=40, graph=True)
    Index.build(documents(60), tmp_path / "i", encoder=HashedWords(), options=options).close()
    return tmp_path / "i"


def build(target: Path, records: list[dict[str, Any]] | None = None, **options: Any) -> Index:
    corpus = documents(60) if records is None else records
    return Index.build(corpus, target, encoder=HashedWords(), options=BuildOptions(**options))


def refusal(work: Callable[[], object]) -> str | None:
    """What a refusal says; ``None`` if there is none."""
    try:
        work()
    except QsearchError as error:
        return str(error)
    return None


# Damage by damage: read the error, do what it says


def missing(catalog: Path) -> None:
    catalog.unlink()


def empty(catalog: Path) -> None:
    catalog.write_bytes(b"")


def zeroed(catalog: Path) -> None:
    catalog.write_bytes(bytes(catalog.stat().st_size))


def text(catalog: Path) -> None:
    catalog.write_text("no database at all " * 400)


def cut_to(size: int) -> Callable[[Path], None]:
    def cut(catalog: Path) -> None:
        os.truncate(catalog, size)

    return cut


def overwritten(catalog: Path) -> None:
    """Every page but the first."""
    data = bytearray(catalog.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    catalog.write_bytes(data)


def of_version(version: int) -> Callable[[Path], None]:
    def change(catalog: Path) -> None:
        connection = sqlite3.connect(catalog)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()

    return change


def setting(key: str, value: str | None) -> Callable[[Path], None]:
    def change(catalog: Path) -> None:
        with sqlite3.connect(catalog) as connection:
            connection.execute("DELETE FROM settings WHERE key = ?", (key,))
            if value is not None:
                connection.execute("INSERT INTO settings VALUES (?, ?)", (key, value))
        connection.close()

    return change


def array(name: str, *, keep: int | None) -> Callable[[Path], None]:
    def change(catalog: Path) -> None:
        file = next(iter(catalog.parent.rglob(name)))
        if keep is None:
            file.unlink()
        else:
            os.truncate(file, keep)

    return change


DAMAGE = {
    "missing": missing,
    "empty": empty,
    "zeroed": zeroed,
    "text": text,
    "cut to 10": cut_to(10),
    "cut to 60": cut_to(60),
    "cut to 99": cut_to(99),
    "cut to 5000": cut_to(5000),
    "overwritten": overwritten,
    "of version 0": of_version(0),
    "of version 99": of_version(99),
    "without dimensions": setting("dimensions", None),
    "with a setting that is no JSON": setting("dimensions", "{"),
    "without vectors": array("vectors.npy", keep=None),
    "with cut codes": array("int8.npy", keep=200),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_replaced_as_advised(index: Path, damage: str) -> None:
    DAMAGE[damage](index / "catalog.sqlite")
    with pytest.raises(IndexFormatError):
        Index.open(index)
    with pytest.raises(IndexExists, match=re.escape(f"add {words().force} to replace it")):
        build(index)
    with build(index, force=True) as mended:
        assert len(mended) == 60
    assert verify_index(str(index), deep=True).ok
    assert [path.name for path in index.parent.iterdir()] == ["i"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_interrupted_build_goes_on_or_is_begun_anew_as_advised(
    tmp_path: Path, damage: str
) -> None:
    target = tmp_path / "i"
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(documents(60), 50),
            target,
            encoder=HashedWords(),
            options=BuildOptions(segment_rows=30),
        )
    # SQLite has merged its log into the file, as when the machine was shut down in good order.
    catalog = tmp_path / "i.building" / "catalog.sqlite"
    assert not catalog.with_name("catalog.sqlite-wal").exists()
    DAMAGE[damage](catalog)
    told = refusal(lambda: build(target, segment_rows=30).close())
    if told is not None:
        assert f"add {words().restart} to begin anew" in told
        assert words().force not in told
        build(target, segment_rows=30, restart=True).close()
    assert verify_index(target, deep=True).ok
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_pages_that_are_damaged_are_told_as_damage_whenever_they_are_met(tmp_path: Path) -> None:
    target = tmp_path / "i"
    records = documents(150)
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(records, 140), target, encoder=HashedWords())
    whole = (tmp_path / "i.building" / "catalog.sqlite").read_bytes()
    told = []
    for start in range(4096, len(whole), 4096):
        data = bytearray(whole)
        data[start : start + 4096] = b"\x5a" * 4096
        shutil.copytree(tmp_path / "i.building", tmp_path / f"{start}.building")
        (tmp_path / f"{start}.building" / "catalog.sqlite").write_bytes(data)
        told.append(refusal(lambda: build(tmp_path / str(start), records).close()))  # noqa: B023
        if told[-1] is not None:
            assert f"add {words().restart} to begin anew" in told[-1]
            build(tmp_path / str(start), records, restart=True).close()
    assert sum(one is not None for one in told) >= 5


# What is not ours


def foreign_database(directory: Path) -> None:
    connection = sqlite3.connect(directory / "catalog.sqlite")
    connection.execute("CREATE TABLE photographs (a)")
    connection.commit()
    connection.close()


def foreign_file(directory: Path) -> None:
    (directory / "thesis.tex").write_text("years of work")


def foreign_beside_catalog(directory: Path) -> None:
    (directory / "catalog.sqlite.bak").write_text("mine")


def foreign_segment(directory: Path) -> None:
    (directory / "segments" / "photographs").mkdir(parents=True)
    (directory / "segments" / "photographs" / "vectors.npy").write_text("mine")


def foreign_in_segment(directory: Path) -> None:
    segment = directory / "segments" / "0123456789abcdef"
    segment.mkdir(parents=True)
    (segment / "thesis.tex").write_text("years of work")


def directory_as_catalog(directory: Path) -> None:
    (directory / "catalog.sqlite").mkdir()
    (directory / "catalog.sqlite" / "thesis.tex").write_text("years of work")


FOREIGN = [
    foreign_database,
    foreign_file,
    foreign_beside_catalog,
    foreign_segment,
    foreign_in_segment,
    directory_as_catalog,
]


def contents_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("beside", ["an index", "a ruin", "nothing"])
@pytest.mark.parametrize("name", ["i", "i.building"])
def test_what_is_not_an_index_is_never_touched(
    index: Path, foreign: Callable[[Path], None], beside: str, name: str
) -> None:
    if beside == "nothing":
        shutil.rmtree(index)
        index.mkdir()
    elif beside == "a ruin" or foreign in (foreign_database, directory_as_catalog):
        (index / "catalog.sqlite").unlink()
    foreign(index)
    where = index.with_name(name)
    if where != index:
        index.rename(where)
    before = contents_of(where)
    with pytest.raises(IndexExists, match=re.escape(words().other_place)):
        build(index, force=True, restart=True)
    assert contents_of(where) == before


def test_a_catalog_alone_that_is_no_database_proves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "i"
    (target / "segments").mkdir(parents=True)
    for content in (b"", bytes(8192), b"notes of mine\n" * 9):
        (target / "catalog.sqlite").write_bytes(content)
        with pytest.raises(IndexExists, match="not a qsearch index"):
            build(target, force=True)
        assert (target / "catalog.sqlite").read_bytes() == content


# An index inside of another


@pytest.mark.parametrize("inside", ["x", "segments/x", "segments/x/y", "a/b/c"])
def test_an_index_inside_of_another_is_refused_before_anything_is_done(
    index: Path, inside: str
) -> None:
    before = contents_of(index)
    encoder = HashedWords()
    with pytest.raises(IndexExists, match=f"lies inside of the index {index}, .*; choose another"):
        Index.build(documents(5), index / inside, encoder=encoder)
    assert encoder.encoded == []
    assert contents_of(index) == before
    assert sorted(path.name for path in index.iterdir()) == ["catalog.sqlite", "segments"]


def test_a_directory_that_holds_an_index_is_not_taken_for_one(index: Path) -> None:
    with pytest.raises(IndexExists, match=f"is no index, but holds one \\({index}\\)"):
        build(index.parent, force=True)
    assert len(Index.open(index)) == 60


def test_an_index_inside_of_one_that_is_being_built_is_refused(tmp_path: Path) -> None:
    def corpus() -> Iterator[dict[str, Any]]:
        yield from documents(40)
        for inside in ("i/x", "i.building/x", "i.building/segments/x"):
            with pytest.raises(IndexExists, match="lies inside of"):
                build(tmp_path / inside)

    assert len(Index.build(corpus(), tmp_path / "i", encoder=HashedWords())) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


# While the first build runs

OTHER = """
import sys
from qsearch import Index, QsearchError
from tests.encoders import HashedWords
try:
    if sys.argv[2] == "build":
        Index.build([{"id": "a", "text": "b"}], sys.argv[1], encoder=HashedWords())
    else:
        Index.open(sys.argv[1])
except QsearchError as error:
    print(type(error).__name__, error)
"""


def in_another_process(target: Path, what: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", OTHER, str(target), what],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_whoever_looks_at_a_first_build_is_told_that_it_runs_and_does_not_disturb_it(
    tmp_path: Path,
) -> None:
    target = tmp_path / "i"

    def corpus() -> Iterator[dict[str, Any]]:
        yield from documents(40)
        before = sorted((tmp_path / "i.building").iterdir())
        for _ in range(2):
            with pytest.raises(IndexFormatError, match="is being built at this moment; it can"):
                Index.open(target)
            assert "is being built at this moment; it can" in in_another_process(target, "open")
        # The lock is where it was: neither of them has dropped it.
        assert in_another_process(target, "build").startswith("IndexBusy")
        with pytest.raises(IndexBusy):
            build(target)
        child = os.fork()
        if child == 0:
            try:
                Index.open(target)
            except IndexFormatError as error:
                os._exit(7 if "is being built" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert in_another_process(target, "build").startswith("IndexBusy")
        assert sorted((tmp_path / "i.building").iterdir()) == before
        raise Interrupted

    with pytest.raises(Interrupted):
        Index.build(corpus(), target, encoder=HashedWords())
    with pytest.raises(
        IndexFormatError, match="its build was interrupted; run the same Index.build"
    ):
        Index.open(target)
    assert "its build was interrupted" in in_another_process(target, "open")
    build(target).close()


def test_an_interrupted_build_is_looked_at_on_a_read_only_disk(tmp_path: Path) -> None:
    target = tmp_path / "i"
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(documents(60), 50), target, encoder=HashedWords())
    staging = tmp_path / "i.building"
    for path in (*staging.iterdir(), staging, tmp_path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(staging.rglob("*"))
    with pytest.raises(IndexFormatError, match="its build was interrupted"):
        Index.open(target)
    assert sorted(staging.rglob("*")) == before
    for path in (tmp_path, staging, *staging.iterdir()):
        path.chmod(0o755)


def test_an_index_that_is_replaced_just_now_is_searched_as_ever(index: Path) -> None:
    def corpus() -> Iterator[dict[str, Any]]:
        yield from documents(40)
        assert len(Index.open(index)) == 60

    options = BuildOptions(force=True)
    assert len(Index.build(corpus(), index, encoder=HashedWords(), options=options)) == 40


def test_verify_takes_a_string(index: Path) -> None:
    assert verify_index(str(index)).ok
    assert json.dumps(verify_index(str(index)).checked)
