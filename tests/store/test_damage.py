"""What a catalog says is checked before it is believed; what is damaged and not needed is left out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, EncoderError, Index, IndexFormatError, QsearchError, verify_index
from qsearch.codes import unit_rows
from qsearch.store import Catalog
from qsearch.store.format import GRAPH_ARRAYS, HEADER_BYTES
from tests.encoders import WORDS, HashedWords


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments with graphs, a tuning, passages of none."""
    generator = np.random.default_rng(0)
    records = [
        {"id": f"d{number}", "text": " ".join(generator.choice(WORDS, size=6))}
        for number in range(900)
    ]
    path = tmp_path_factory.mktemp("sound") / "index"
    options = BuildOptions(graph=True, segment_rows=500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qsearch.indexing.chunks._CHUNK_RECORDS", 500)
        Index.build(records, path, encoder=HashedWords(), options=options).close()
    return path


@pytest.fixture
def index(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "index"))


def change(index: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(index / "catalog.sqlite")
    try:
        connection.execute(statement, values)
        connection.commit()
    finally:
        connection.close()


def answers(path: Path) -> dict[str, Any]:
    """What an index says to a query by vector and one by text; errors of its own kind as such."""
    query = np.eye(HashedWords().identity().dimensions)[:2]
    found: dict[str, Any] = {}
    try:
        with Index.open(path, encoder=HashedWords()) as index:
            result = index.search_vectors(query, 5)
            found["vectors"] = (
                index.ids(result.positions).tolist(),
                result.scores.tolist(),
                result.certified.tolist(),
            )
            found["text"] = [(hit.id, hit.text, hit.score) for hit in index.search("cat", 5)]
    except QsearchError as error:
        found["error"] = error
    return found


NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 7, 1 << 31, 1 << 62, 1e9, -0.5, "", "384", "x" * 99, [], [1], {}, {"a": 1}
]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["dimensions", "documents", "rows", "passages", "tuning", "encoder", "rotation_errors"]
)
def test_a_setting_that_cannot_be_is_an_error_or_left_out(
    index: Path, sound: Path, name: str
) -> None:
    expected = answers(sound)
    for value in NASTY:
        change(index, "UPDATE settings SET value = ? WHERE key = ?", json.dumps(value), name)
        found = answers(index)
        for kind, answer in found.items():
            if kind != "error":
                assert answer == expected[kind], (name, value)
        report = verify_index(index, deep=True)  # never an error of another kind
        if found.get("error") is not None:
            assert report.problems, (name, value)
    change(index, "DELETE FROM settings WHERE key = ?", name)
    found = answers(index)
    assert all(answer == expected[kind] for kind, answer in found.items() if kind != "error")
    verify_index(index, deep=True)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("segments", "id"),
        ("segments", "first_row"),
        ("segments", "rows"),
        ("segments", "first_document"),
        ("segments", "documents"),
        ("segments", "documents_xxh3"),
        ("files", "name"),
        ("files", "bytes"),
        ("files", "xxh3"),
        ("documents", "position"),
        ("canaries", "document"),
        ("canaries", "text"),
    ],
)
def test_a_value_of_the_catalog_that_cannot_be_never_gives_another_answer(
    index: Path, sound: Path, table: str, column: str
) -> None:
    expected = answers(sound)
    values: list[Any] = [
        0, 1, -1, 499, 501, 1 << 40, "", "../segments/x", "/etc/passwd", "x" * 400, b"\x00\xff", "a\x00b"
    ]  # fmt: skip
    for value in values:
        shutil.copyfile(sound / "catalog.sqlite", index / "catalog.sqlite")
        where = f"WHERE rowid = (SELECT max(rowid) FROM {table})"
        if table in ("segments", "files"):
            key = "id" if table == "segments" else "segment || name"
            where = f"WHERE {key} = (SELECT max({key}) FROM {table})"
        try:
            change(index, f"UPDATE {table} SET {column} = ? {where}", value)
        except sqlite3.Error:
            continue  # SQLite itself refuses it
        found = answers(index)
        for kind, answer in found.items():
            if kind != "error":
                assert answer == expected[kind], (column, value)
        verify_index(index, deep=True)


def test_a_segment_cannot_name_a_path(index: Path) -> None:
    (segment, *_) = sorted(one.name for one in (index / "segments").iterdir())
    change(index, "UPDATE segments SET id = '../segments/' || id WHERE id = ?", segment)
    change(index, "UPDATE files SET segment = '../segments/' || segment WHERE segment = ?", segment)
    with pytest.raises(IndexFormatError, match="list of segments cannot be right"):
        Index.open(index)


@pytest.mark.parametrize(
    "damage",
    [
        "first_document = first_document + 1",
        "first_document = 0, last_document = 2",
        "last_document = last_document + 1",
        "documents = documents - 1",
        "rows = rows - 1",
        "came = 0.5",
        "came = 7",
    ],
)
def test_a_wrong_list_of_segments_is_an_error(index: Path, damage: str) -> None:
    with contextlib.suppress(sqlite3.IntegrityError):  # then the schema refuses it
        change(index, f"UPDATE segments SET {damage} WHERE first_document > 0")
        with pytest.raises(IndexFormatError):
            Index.open(index)
        assert verify_index(index).problems


def test_what_is_damaged_and_not_needed_is_told_and_left_out(
    index: Path, sound: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = answers(sound)["vectors"]
    change(index, "UPDATE settings SET value = '{\"version\": 3}' WHERE key = 'tuning'")
    with caplog.at_level(logging.WARNING, "qsearch"):
        assert answers(index)["vectors"] == expected
        opened = Index.open(index)
    assert opened.tuning is None
    assert "what .* holds about recall is damaged" in caplog.text or "about recall" in caplog.text
    assert verify_index(index).problems


def test_a_damaged_contract_is_no_hindrance_to_vectors(index: Path, sound: Path) -> None:
    expected = answers(sound)["vectors"]
    for value in ("7", '{"model": 3}', "[]", '{"model": "m", "dimensions": "many"}'):
        change(index, "UPDATE settings SET value = ? WHERE key = 'encoder'", value)
        found = answers(index)
        assert found["vectors"] == expected
        assert isinstance(found["error"], QsearchError)


GRAPH_FILES = [array.name for array in GRAPH_ARRAYS]


def graph_of(index: Path, name: str = "links.npy") -> Path:
    return max(index.glob(f"segments/*/{name}"))


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_a_damaged_graph_is_never_used(index: Path, sound: Path, name: str) -> None:
    """It would find less: some noise at many places, zeros, a cut, all of it in reverse."""
    expected = answers(sound)["vectors"]
    path = graph_of(index, name)
    original = path.read_bytes()
    generator = np.random.default_rng(0)
    query = np.eye(HashedWords().identity().dimensions)[:1]
    header, body = original[:HEADER_BYTES], original[HEADER_BYTES:]
    damaged = [header + bytes(len(body)), header + body[::-1]]
    size = min(4096, len(body) // 2)
    for place in np.linspace(HEADER_BYTES, len(original) - size, 12).astype(int):
        damaged.append(original[:place] + generator.bytes(size) + original[place + size :])
    for data in damaged:
        if data == original:
            continue
        path.write_bytes(data)
        with Index.open(index) as opened:
            with pytest.raises(
                IndexFormatError, match="graph of segment .* is damaged.*another method"
            ):
                opened.search_vectors(query, 5, method="graph")
            assert answers(index)["vectors"] == expected
        assert any(name in problem for problem in verify_index(index).problems)
    path.write_bytes(original)
    assert len(Index.open(index).search_vectors(query, 5, method="graph").positions[0]) == 5


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 100)])
def test_a_graph_that_is_gone_or_cut_is_left_out(
    index: Path, sound: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(graph_of(index))
    with caplog.at_level(logging.WARNING, "qsearch"), Index.open(index) as opened:
        assert not opened.has_graph
        with pytest.raises(
            IndexFormatError,
            match=r"graph of segment .* cannot be used .*; Index\.index_graph makes another",
        ):
            opened.search_vectors(np.eye(opened.dimensions)[:1], 5, method="graph")
    assert re.search("the graph of .* cannot be used and is left out", caplog.text)
    assert answers(index)["vectors"] == answers(sound)["vectors"]


def test_a_rotation_that_was_changed_is_an_error(index: Path) -> None:
    path = max(index.glob("segments/*/rotation.npy"))
    data = bytearray(path.read_bytes())
    data[200:] = bytes(len(data) - 200)
    path.write_bytes(data)
    with (
        Index.open(index) as opened,
        pytest.raises(IndexFormatError, match="rotation.npy is damaged"),
    ):
        opened.search_vectors(np.eye(opened.dimensions)[:1])


@pytest.mark.parametrize("stand_in", ["directory", "link to nothing", "pipe"])
@pytest.mark.parametrize("name", ["vectors.npy", "scale.npy", "links.npy"])
def test_what_is_no_file_is_an_error_and_no_hang(index: Path, name: str, stand_in: str) -> None:
    path = max(index.glob(f"segments/*/{name}"))
    path.unlink()
    if stand_in == "directory":
        path.mkdir()
    elif stand_in == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nothing")
    found = answers(index)
    assert name == "links.npy" or isinstance(found["error"], IndexFormatError)
    assert any(name in problem for problem in verify_index(index).problems)


def test_no_file_stays_open_for_each_array(tmp_path: Path) -> None:
    """A hundred segments and more, where 256 files may be open."""
    rows = unit_rows(np.random.default_rng(0).standard_normal((4096 * 3, 8)))[0]
    path = tmp_path / "many"
    Index.build(None, path, embeddings=rows, options=BuildOptions(segment_rows=1)).close()
    before = len(os.listdir("/dev/fd"))
    with Index.open(path) as index:
        assert len(index._open.segments) == 3
        assert len(os.listdir("/dev/fd")) <= before + 3  # the catalog, and what SQLite keeps
        index.search_vectors(rows[:3])
        assert len(os.listdir("/dev/fd")) <= before + 3


def test_too_many_open_files_are_told(sound: Path) -> None:
    program = (
        "import resource, sys\n"
        "from qsearch import Index, IndexFormatError\n"
        "import numpy, qsearch.snapshot, qsearch.store.verify\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "files = [open('/dev/null') for _ in range(20)]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (files[-1].fileno() + 1, hard))\n"
        "try:\n    Index.open(sys.argv[1])\n"
        "except IndexFormatError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(sound)], capture_output=True, text=True, check=True
    )
    assert "cannot be read (Too many open files); close what is not needed" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20


def test_more_dimensions_than_products_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="65,537 dimensions; an index holds at most 65,536"):
        Index.build(None, tmp_path / "i", embeddings=np.ones((2, 65_537), np.float32))
    assert not list(tmp_path.iterdir())


def test_the_most_dimensions_are_searched_exactly(tmp_path: Path) -> None:
    """Products of codes, all of them 127 by 127, stay below 2³¹."""
    rows = np.ones((5, 65_536), np.float32)
    rows[1, ::2] = -1
    rows[3] *= -1
    rows[4, :100] = 0.99
    with Index.build(None, tmp_path / "i", embeddings=rows) as index:
        result = index.search_vectors(rows[[0, 1]], 5)
        assert result.positions[0].tolist()[:3] == [0, 2, 4]
        assert result.positions[0, -1] == 3
        assert result.positions[1, 0] == 1
        assert result.certified.all()


def several(path: Path) -> Index:
    """An index of several segments."""
    rows = np.random.default_rng(0).standard_normal((90, 16)).astype(np.float32)
    options = BuildOptions(segment_rows=32)
    some = [{"id": str(number), "text": f"text {number}"} for number in range(90)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qsearch.indexing.chunks._CHUNK_ROWS", 32)
        patch.setattr("qsearch.indexing.chunks._CHUNK_RECORDS", 32)
        return Index.build(some, path, embeddings=rows, options=options)


def test_an_index_of_the_catalog_that_lacks_segments_is_not_believed(tmp_path: Path) -> None:
    """SQLite would read the list of segments by it, and a compaction would lose those it lacks."""
    with several(tmp_path / "i") as index:
        assert index.segments == 3
        catalog = index.path / "catalog.sqlite"
    with contextlib.closing(sqlite3.connect(catalog)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_segments_2'"
        (page,) = connection.execute(query).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(catalog, "r+b") as file:
        file.seek((page - 1) * size + 3)
        file.write(bytes(2))  # it has no entries
    assert any("missing from index" in one for one in verify_index(tmp_path / "i").problems)
    with Index.open(tmp_path / "i") as index:
        expected = index.search_vectors(np.eye(16), 90)
        assert index.delete("17").deleted == 1
        with pytest.raises(IndexFormatError, match="malformed"):  # it cannot take one out there
            index.compact()
        found = index.search_vectors(np.eye(16), 89)
        assert [one for one in expected.positions[0] if one != 17] == found.positions[0].tolist()
        assert len(list(index)) == len(index) == 89
    assert not verify_index(tmp_path / "i", deep=True).ok


def test_a_change_refuses_a_list_that_is_not_that_of_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with several(tmp_path / "i") as index:
        segments = Catalog.segments
        with monkeypatch.context() as patched:
            patched.setattr(Catalog, "segments", lambda catalog: segments(catalog)[:-1])
            for change in (lambda: index.delete("17"), index.compact):
                with pytest.raises(IndexFormatError, match="lists other segments than it should"):
                    change()
        assert index.delete("17").deleted == 1
        assert len(index) == 89
    assert verify_index(tmp_path / "i", deep=True).ok
