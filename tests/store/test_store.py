"""Damage of every kind is refused by name before it does harm, and verify finds it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.store.catalog
from qsearch import BuildOptions, Index, IndexFormatError, upgrade_index, verify_index
from qsearch.retrieval import ExactSearch
from qsearch.store import Catalog, Segment
from qsearch.store.format import (
    ARRAYS,
    FORMAT_VERSION,
    GRAPH_ARRAYS,
    HEADER_BYTES,
    array_shape,
    npy_header,
)
from qsearch.store.publish import replace_directory
from tests.conftest import ROOT
from tests.encoders import WORDS, HashedWords


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    records = [
        {"id": f"d{n}", "text": " ".join(generator.choice(WORDS, size=6)), "n": n}
        for n in range(90)
    ]
    path = tmp_path_factory.mktemp("sound") / "index"
    Index.build(records, path, encoder=HashedWords(), options=BuildOptions(graph=True)).close()
    return path


@pytest.fixture
def index(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "index"))


def segment_of(index: Path) -> Path:
    (segment,) = (index / "segments").iterdir()
    return segment


def test_a_sound_index_is_found_sound(index: Path) -> None:
    report = verify_index(index, deep=True)
    assert report.ok
    assert report.bytes_read == sum(path.stat().st_size for path in segment_of(index).iterdir())


def test_arrays_are_plain_npy_files(index: Path) -> None:
    for array in ARRAYS:
        loaded = np.load(segment_of(index) / array.name, allow_pickle=False)
        assert loaded.dtype.str == array.dtype
        assert loaded.shape == array_shape(array.name, 90, 24)
        assert loaded.flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 1), (10**12, 4096), (10**12,), (10**11, 64, 8)])
def test_headers_have_one_size_and_numpy_reads_them(shape: tuple[int, ...], tmp_path: Path) -> None:
    header = npy_header("<f4", shape)
    assert len(header) == HEADER_BYTES
    path = tmp_path / "a.npy"
    path.write_bytes(header)
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype("<f4"))
        assert file.tell() == HEADER_BYTES


@pytest.mark.parametrize("name", [array.name for array in ARRAYS])
@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_file_is_refused_before_it_is_mapped(index: Path, name: str, keep: int) -> None:
    path = segment_of(index) / name
    os.truncate(path, keep if keep >= 0 else path.stat().st_size + keep)
    with pytest.raises(IndexFormatError, match=rf"{name} is damaged: it should have [\d,]+ bytes"):
        Index.open(index)
    assert any(name in problem for problem in verify_index(index).problems)


@pytest.mark.parametrize("name", [array.name for array in ARRAYS])
def test_a_missing_file_is_refused(index: Path, name: str) -> None:
    (segment_of(index) / name).unlink()
    with pytest.raises(IndexFormatError, match=f"{name} cannot be read"):
        Index.open(index)
    assert any(name in problem for problem in verify_index(index).problems)


def test_a_header_that_lies_is_refused(index: Path) -> None:
    path = segment_of(index) / "vectors.npy"
    with open(path, "r+b") as file:
        file.write(npy_header("<f4", (2**33, 24)))
    with pytest.raises(IndexFormatError, match="its header is not that of <f4"):
        Index.open(index)


@pytest.mark.parametrize("name", [array.name for array in (*ARRAYS, *GRAPH_ARRAYS)])
def test_verify_finds_any_flipped_bit_of_a_file(index: Path, name: str) -> None:
    path = segment_of(index) / name
    data = bytearray(path.read_bytes())
    for offset in np.linspace(0, len(data) - 1, 12).astype(int):
        data[offset] ^= 1 << (offset % 8)
        path.write_bytes(data)
        assert any(f"{name}: checksum" in one for one in verify_index(index).problems)
        data[offset] ^= 1 << (offset % 8)
    path.write_bytes(data)
    assert verify_index(index).ok


def test_no_flipped_bit_of_the_catalog_goes_unnoticed(index: Path) -> None:
    path = index / "catalog.sqlite"
    original = path.read_bytes()
    connection = sqlite3.connect(path)
    before = list(connection.iterdump())
    connection.close()
    noticed = 0
    generator = np.random.default_rng(0)
    for offset in generator.choice(len(original), size=150, replace=False):
        data = bytearray(original)
        data[offset] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        try:
            found = not verify_index(index).ok
        except IndexFormatError:
            found = True
        if not found:  # then nothing that can be read has changed: an unused byte
            connection = sqlite3.connect(path)
            assert list(connection.iterdump()) == before
            connection.close()
        noticed += found
    assert noticed > 20


def test_deep_verification_finds_codes_that_are_not_those_of_their_row(index: Path) -> None:
    """Checksums that were made after the damage do not hide it."""
    import xxhash

    for name in ("int8.npy", "scale.npy", "residual.npy", "binary.npy", "vectors.npy"):
        shutil.rmtree(index)
        shutil.copytree(segment_of_source(index), index)
        path = segment_of(index) / name
        data = bytearray(path.read_bytes())
        data[HEADER_BYTES + 5] ^= 64
        path.write_bytes(data)
        connection = sqlite3.connect(index / "catalog.sqlite")
        connection.execute(
            "UPDATE files SET xxh3 = ? WHERE name = ?", (xxhash.xxh3_128(data).hexdigest(), name)
        )
        connection.commit()
        connection.close()
        reseal(index)
        assert verify_index(index).ok
        problems = verify_index(index, deep=True).problems
        row = 1 if name in ("scale.npy", "residual.npy") else 0
        assert any(f"{name}: row {row} " in problem for problem in problems)


def segment_of_source(index: Path) -> Path:
    return index.parent / "pristine"


@pytest.fixture(autouse=True)
def pristine(request: pytest.FixtureRequest, sound: Path, tmp_path: Path) -> None:
    if "deep_verification" in request.node.name:
        shutil.copytree(sound, tmp_path / "pristine")


def reseal(index: Path) -> None:
    """Write the catalog's own checksum anew, as a careless tool would."""
    from qsearch.store import Catalog

    catalog = Catalog.open(index)
    digest = catalog.digest()
    catalog.close()
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.execute("UPDATE settings SET value = ? WHERE key = 'catalog_xxh3'", (f'"{digest}"',))
    connection.commit()
    connection.close()


def no_index(path: Path) -> None:
    shutil.rmtree(path)


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("hello")


def no_catalog(path: Path) -> None:
    (path / "catalog.sqlite").unlink()


def foreign_catalog(path: Path) -> None:
    (path / "catalog.sqlite").unlink()
    connection = sqlite3.connect(path / "catalog.sqlite")
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    connection.close()


def text_catalog(path: Path) -> None:
    (path / "catalog.sqlite").write_text("this is no database, but it is long enough " * 100)


def empty_catalog(path: Path) -> None:
    (path / "catalog.sqlite").write_bytes(b"")


def cut_catalog(path: Path) -> None:
    os.truncate(path / "catalog.sqlite", 5000)


def of_version(version: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        connection = sqlite3.connect(path / "catalog.sqlite")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_index, "there is no index at .*; make one with Index.build"),
        (a_file, "is a file; an index is a directory"),
        (no_catalog, "is not a qsearch index: it has no catalog.sqlite"),
        (foreign_catalog, "is not the catalog of a qsearch index"),
        (text_catalog, "file is not a database"),
        (empty_catalog, "is not the catalog of a qsearch index"),
        (cut_catalog, "cannot be read"),
        (of_version(5), "has index format 5, this qsearch reads formats 1 to 4; a newer qsearch"),
        (of_version(0), "has index format 0, this qsearch reads formats 1 to 4; build it again"),
    ],
)
def test_what_is_no_readable_index_is_refused_by_name(
    index: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(index)
    with pytest.raises(IndexFormatError, match=message):
        Index.open(index)


def test_an_index_is_read_from_a_read_only_place(index: Path) -> None:
    for path in [*index.rglob("*"), index]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(path.name for path in index.rglob("*"))
    with Index.open(index, encoder=HashedWords()) as opened:
        assert len(opened.search("cat", 3)) == 3
    assert sorted(path.name for path in index.rglob("*")) == before
    for path in [index, *index.rglob("*")]:
        path.chmod(0o755)


def test_nothing_is_written_while_searching(index: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in index.rglob("*")}
    with Index.open(index, encoder=HashedWords()) as opened:
        opened.search("cat", 3, method="binary")
        opened.search("cat", 3, method="graph")
    assert {path: path.stat().st_mtime_ns for path in index.rglob("*")} == before


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from qsearch import Index, IndexWriteError
import qsearch.indexing.chunks
from tests.encoders import HashedWords
qsearch.indexing.chunks._CHUNK_RECORDS = 16
records = [{"id": str(n), "text": f"cat {n} " + "river " * 40} for n in range(2000)]
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    Index.build(records, sys.argv[1], encoder=HashedWords())
except IndexWriteError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("limit", [2_000, 70_000, 150_000, 300_000])
def test_a_disk_that_refuses_is_named_and_the_build_goes_on_later(
    tmp_path: Path, limit: int
) -> None:
    """The kernel refuses to write a file beyond ``limit`` bytes, as it does on a full disk."""

    def build(bytes_allowed: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(tmp_path / "i"), str(bytes_allowed)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = build(limit)
    assert refused.returncode == 3, refused.stderr
    assert "cannot be written" in refused.stdout
    assert "free some space" in refused.stdout or "writable" in refused.stdout
    assert not (tmp_path / "i").exists()
    assert build(0).returncode == 0
    assert verify_index(tmp_path / "i", deep=True).ok
    assert len(Index.open(tmp_path / "i")) == 2000


def test_a_directory_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    with open(tmp_path / "old" / "name") as still_open:
        replace_directory(tmp_path / "new", tmp_path / "old")
        assert still_open.read() == "old"
    assert (tmp_path / "old" / "name").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_directory_takes_the_place_of_another_where_names_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsearch.store.publish._exchange", lambda left, right: False)
    test_a_directory_takes_the_place_of_another(tmp_path)


def test_an_open_index_maps_its_arrays_read_only(index: Path) -> None:
    with Index.open(index) as opened:
        for segment in opened._open.segments:
            assert not segment.vectors.flags.owndata
            assert not segment.vectors.flags.writeable


def test_an_open_index_survives_its_replacement_and_a_change_of_directory(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    query = np.ones((1, 24), dtype=np.float32)
    with Index.open("index", encoder=HashedWords()) as opened:
        expected = opened.search_vectors(query, 5, method="graph")
    with Index.open("index", encoder=HashedWords()) as opened:
        options = BuildOptions(force=True)
        Index.build([{"id": "new", "text": "cat"}], index, encoder=HashedWords(), options=options)
        monkeypatch.chdir("/")
        found = opened.search_vectors(query, 5, method="graph")
        assert found.positions.tolist() == expected.positions.tolist()
        assert opened.ids(found.positions)[0, 0].startswith("d")
        assert len(opened.search("cat", 100)) == 90


def test_opening_while_the_index_is_replaced_gives_the_old_or_the_new(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the catalog is read from the old index, the segments from the new."""
    new = tmp_path / "new"
    Index.build([{"id": "new", "text": "cat"}], new, encoder=HashedWords()).close()
    real = Segment.open
    opened = []

    def open_segment(*arguments: object, **named: object) -> Segment:
        if not opened:
            replace_directory(new, index)
        opened.append(arguments)
        return real(*arguments, **named)  # type: ignore[arg-type] # (as they came)

    monkeypatch.setattr(Segment, "open", open_segment)
    with Index.open(index) as found:
        assert len(found) == 1
    assert len(opened) == 2


def test_damage_is_told_as_such_and_not_tried_again(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (segment_of(index) / "int8.npy").unlink()
    opened = []
    real = Catalog.open

    def open_catalog(path: Path) -> Catalog:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(Catalog, "open", open_catalog)
    with pytest.raises(IndexFormatError, match="int8.npy cannot be read"):
        Index.open(index)
    assert len(opened) == 1


def test_rows_that_are_not_finite_give_no_answer(index: Path) -> None:
    with open(segment_of(index) / "vectors.npy", "r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(np.full(90 * 24, np.nan, "<f4").tobytes())
    with Index.open(index) as opened, pytest.raises(IndexFormatError, match="not finite"):
        opened.search_vectors(np.ones((1, 24)), 3)


def test_a_python_with_an_old_sqlite_is_told(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(IndexFormatError, match=r"needs 3\.37 or later"):
        Index.open(index)


def test_pieces_of_a_segment_hold_its_rows_and_memory_can_be_let_go_of(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 24)).astype(np.float32)
    with Index.build(None, tmp_path / "i", embeddings=rows) as opened:
        (whole,) = opened._open.segments
        pieces = whole.pieces(32)
        assert [(one.first_row, one.rows) for one in pieces] == [
            (0, 32), (32, 32), (64, 32), (96, 4)
        ]  # fmt: skip
        for name in ("vectors", "int8", "scale", "residual", "binary"):
            joined = np.concatenate([getattr(one, name) for one in pieces])
            assert np.array_equal(joined, getattr(whole, name))
        queries = np.random.default_rng(1).standard_normal((5, 24)).astype(np.float32)
        expected = ExactSearch([whole]).search(queries, 7)
        found = ExactSearch(pieces, release=True).search(queries, 7)
        assert np.array_equal(found.positions, expected.positions)
        assert found.scores.tobytes() == expected.scores.tobytes()
        before = whole.vectors.copy()
        whole.release()
        assert np.array_equal(whole.vectors, before)
        with pytest.raises(ValueError, match="multiple of 16"):
            whole.pieces(100)


@pytest.mark.parametrize(
    "row",
    [[], [1, -2, 1 << 62], [7, 9, None, None, "0f"], ['ä\ud800\x00"\\/\x7f\U0001f600'], [True, 1.5]]
    + [[1, b"x"], ["a", float("inf")]],
)
def test_checksums_are_of_json(row: list[Any]) -> None:
    """What is written down sooner is the same, to the byte: indexes that are there hold checksums of it."""
    expected = json.dumps(row, ensure_ascii=True, default=repr).encode("ascii")
    assert qsearch.store.rows.as_json(row) == expected


def test_an_index_is_upgraded_by_its_name(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "golden" / "format-2", tmp_path / "old")
    assert upgrade_index(str(tmp_path / "old")) == (2, FORMAT_VERSION, False)
