"""A catalog that somebody made to do harm, and files of every kind in the place of others."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, Index, IndexFormatError, QsearchError, verify_index
from qsearch.store import Catalog
from tests.encoders import WORDS, HashedWords


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    records = [
        {"id": f"d{number}", "text": " ".join(generator.choice(WORDS, size=6))}
        for number in range(70)
    ]
    path = tmp_path_factory.mktemp("sound") / "index"
    Index.build(records, path, encoder=HashedWords(), options=BuildOptions(graph=True)).close()
    return path


@pytest.fixture
def index(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "index"))


def run(index: Path, script: str) -> None:
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.executescript(script)
    connection.commit()
    connection.close()


def answer(path: Path) -> Any:
    """What an exact search says; ``None`` for an error of qsearch's own."""
    try:
        with Index.open(path, encoder=HashedWords()) as index:
            result = index.search_vectors(np.eye(24)[:3], 5)
            return index.ids(result.positions).tolist(), result.scores.tolist()
    except QsearchError:
        return None


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ("DROP TABLE rejects; CREATE VIEW rejects AS SELECT 1 AS chunk", "the view 'rejects'"),
        (
            """ALTER TABLE documents RENAME TO d; CREATE VIEW documents AS
            SELECT position, 'x' AS id, title, text, metadata, line FROM d""",
            "",
        ),
        (
            "CREATE TRIGGER t AFTER INSERT ON rejects BEGIN DELETE FROM documents; END",
            "trigger 't'",
        ),
        ("CREATE TABLE more (a)", "the table 'more'"),
        ("CREATE VIRTUAL TABLE search USING fts5(a)", "the table 'search"),
        ("DROP TABLE canaries", "no table 'canaries'"),
        ("ALTER TABLE documents ADD COLUMN more TEXT", "the table 'documents'"),
        ("CREATE INDEX i ON documents (text)", "the index 'i'"),
    ],
)
def test_a_schema_that_qsearch_does_not_make_is_refused(
    index: Path, script: str, named: str
) -> None:
    run(index, script)
    with pytest.raises(IndexFormatError, match=f"qsearch did not make it: it has .*{named}"):
        Index.open(index)
    assert verify_index(index).problems


NASTY = [
    "null", "true", "-1", "0", "1e9", "1e999", "NaN", '"384"', "[]", "{}", "[" * 5000, "9" * 5000, "", "x"
]  # fmt: skip


def test_any_setting_may_be_anything(index: Path, sound: Path) -> None:
    """An error of qsearch's own or the right answer, and a report, whatever a setting is."""
    expected = answer(sound)
    connection = sqlite3.connect(sound / "catalog.sqlite")
    settings = connection.execute("SELECT key, value FROM settings").fetchall()
    connection.close()
    for name, before in settings:
        for value in NASTY:
            shutil.copyfile(sound / "catalog.sqlite", index / "catalog.sqlite")
            connection = sqlite3.connect(index / "catalog.sqlite")
            connection.execute("UPDATE settings SET value = ? WHERE key = ?", (value, name))
            connection.commit()
            connection.close()
            assert answer(index) in (None, expected), (name, value)
            assert bool(verify_index(index).problems) == (value != before), (name, value)


def test_one_damaged_setting_hinders_no_other_search(
    index: Path, sound: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = answer(sound)
    for name in ("tuning", "created", "build", "truncated", "rotation_errors"):
        shutil.copyfile(sound / "catalog.sqlite", index / "catalog.sqlite")
        run(index, f"UPDATE settings SET value = '{{' WHERE key = '{name}'")
        caplog.clear()
        assert answer(index) == expected
        told = [one.getMessage() for one in caplog.records if one.name == "qsearch"]
        assert len(told) == 1
        assert f"the setting {name!r}" in told[0]


def test_an_encoder_that_was_deleted_is_not_an_index_without_one(index: Path) -> None:
    run(index, "DELETE FROM settings WHERE key = 'encoder'")
    assert answer(index) is not None
    with (
        Index.open(index, encoder=HashedWords()) as opened,
        pytest.raises(QsearchError, match="encoder is damaged .*by vector only"),
    ):
        opened.search("cat")


def loosely(index: Path, table: str, statement: str) -> None:
    """Store what the types of a table do not allow, as who writes into the file itself can."""
    connection = sqlite3.connect(index / "catalog.sqlite")
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    write = "UPDATE sqlite_schema SET sql = ? WHERE name = ?"
    loose = sql.replace("STRICT, ", "").replace("NOT NULL", "").replace("INTEGER", "")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(write, (loose, table))
    connection.commit()
    connection.close()
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.execute(statement)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(write, (sql, table))
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("segments", "rows", "'x'"),
        ("segments", "last_document", "NULL"),
        ("segments", "documents", "0.5"),
        ("segments", "came", "'1'"),
        ("masks", "documents", "X'00'"),
        ("masks", "rows", "NULL"),
    ],
)
def test_a_value_of_another_type_is_named(index: Path, table: str, column: str, value: str) -> None:
    with Index.open(index, encoder=HashedWords()) as opened:
        opened.delete("d3")
    loosely(index, table, f"UPDATE {table} SET {column} = {value}")
    with pytest.raises(
        IndexFormatError, match=f"its table {table} holds .* where a whole number should be"
    ):
        Index.open(index)
    assert verify_index(index).problems


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("passages", "0"),
        ("measured", '{"segments": [], "rows": 1' + "0" * 400 + "}"),
        ("underway", "1"),
        ("underway", '{"purpose": null, "tail rows": "x"}'),
        ("encoder", "[]"),
        ("rotation_errors", "7"),
    ],
)
def test_a_change_refuses_a_setting_that_a_search_leaves_out(
    index: Path, name: str, value: str
) -> None:
    """It would store it anew, with a checksum that is right: as this one is already."""
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
    connection.commit()
    connection.close()
    catalog = Catalog.change(index)
    catalog.put_settings({"catalog_xxh3": catalog.digest()})
    catalog.close()
    with (
        Index.open(index, encoder=HashedWords()) as opened,
        pytest.raises(IndexFormatError, match=f"its setting '{name}' cannot be right"),
    ):
        opened.delete("d3")


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def extended(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 4096)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = [gone, emptied, cut, extended, zeros, noise, directory, pipe, link_to_itself, device]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_any_file_may_be_anything(index: Path, sound: Path, damage: Callable[[Path], None]) -> None:
    """An error of qsearch's own or the right answer, never a hang, and verify names the file."""
    expected = answer(sound)
    for original in sorted(path for path in sound.rglob("*") if path.is_file()):
        relative = original.relative_to(sound)
        shutil.rmtree(index)
        shutil.copytree(sound, index)
        damage(index / relative)
        assert answer(index) in (None, expected), relative
        try:
            problems = verify_index(index, deep=True).problems
        except IndexFormatError:
            assert damage is gone
            assert relative.name == "catalog.sqlite"
        else:
            # What hangs behind a database is no part of it.
            harmless = damage is extended and relative.name == "catalog.sqlite"
            assert harmless or any(relative.name in problem for problem in problems), relative


def test_a_file_may_be_a_link(index: Path, sound: Path, tmp_path: Path) -> None:
    (path,) = index.glob("segments/*/vectors.npy")
    shutil.move(path, tmp_path / "elsewhere.npy")
    path.symlink_to(tmp_path / "elsewhere.npy")
    assert answer(index) == answer(sound)
    assert verify_index(index, deep=True).ok


def test_a_file_that_may_not_be_read_is_told(index: Path) -> None:
    """For a superuser, as tests may be, there is no such file: the system's answer is made here."""
    told = "Permission denied.*the right to read it"
    with pytest.MonkeyPatch.context() as patch:
        real = os.open

        def refusing(path: Any, *arguments: Any, **named: Any) -> int:
            if str(path).endswith("scale.npy"):
                raise PermissionError(13, "Permission denied", str(path))
            return int(real(path, *arguments, **named))

        patch.setattr("os.open", refusing)
        with pytest.raises(IndexFormatError, match=told):
            Index.open(index)
    with pytest.MonkeyPatch.context() as patch:

        def closed(*arguments: Any, **named: Any) -> sqlite3.Connection:
            raise sqlite3.OperationalError("unable to open database file")

        patch.setattr("sqlite3.connect", closed)
        patch.setattr("os.access", lambda path, mode: False)
        with pytest.raises(IndexFormatError, match=told):
            Index.open(index)


@pytest.mark.parametrize("column", ["row", "position", "first", "last", "xxh3"])
def test_a_changed_value_of_the_tail_is_named(index: Path, column: str) -> None:
    """Where rows are documents the ends of passages are NULL, and one of them says nothing alone."""
    with Index.open(index, encoder=HashedWords()) as opened:
        opened.add([{"id": "new", "text": "night and day"}])
    run(index, f"UPDATE tail SET {column} = coalesce({column}, 0) + 1")
    problems = verify_index(index).problems
    assert any("tail" in one for one in problems), problems
    with pytest.raises(IndexFormatError, match="tail"):
        Index.open(index)
