"""The first search looks at some rows of every segment: whole files that are wrong are seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from qsearch import BuildOptions, Index, IndexFormatError, verify_index
from qsearch.store import check_sample
from qsearch.store.format import HEADER_BYTES
from tests.encoders import HashedWords

CODES = ["vectors", "int8", "scale", "residual", "binary", "rotated", "bounds"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments of equally many rows, so that files of one fit the other."""
    path = tmp_path_factory.mktemp("sound") / "index"
    rows = np.random.default_rng(0).standard_normal((600, 40)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qsearch.indexing.chunks._CHUNK_ROWS", 300)
        Index.build(None, path, embeddings=rows, options=BuildOptions(segment_rows=300)).close()
    return path


@pytest.fixture
def index(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "index"))


def refused(index: Path, name: str) -> None:
    for method in ("exact", "binary", "cascade"):
        with Index.open(index) as opened:
            for _ in range(2):  # not only the first time
                with pytest.raises(IndexFormatError, match=rf"{name}.* is damaged"):
                    opened.search_vectors(np.ones((1, opened.dimensions)), 3, method=method)


@pytest.mark.parametrize("name", CODES)
def test_a_file_of_zeros_is_seen(index: Path, name: str) -> None:
    path = max(index.glob(f"segments/*/{name}.npy"))
    data = path.read_bytes()
    path.write_bytes(data[:HEADER_BYTES] + bytes(len(data) - HEADER_BYTES))
    refused(index, "(bounds|rotated)" if name == "rotated" else name)


@pytest.mark.parametrize("name", CODES)
def test_a_file_of_another_segment_is_seen(index: Path, name: str) -> None:
    first, second = sorted(index.glob(f"segments/*/{name}.npy"))
    if first.stat().st_size != second.stat().st_size:
        pytest.skip("the axes of the segments are not equally many")
    aside = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(aside)
    refused(index, ".*")


@pytest.mark.parametrize(
    "rows",
    [
        np.eye(24),
        np.eye(700)[:300],
        np.ones((50, 9)),
        np.repeat([[3.0, 0, 0, 4.0]], 40, axis=0),
        [[1.0]],
        -np.eye(5),
    ],
)
def test_no_sound_index_is_taken_for_a_damaged_one(tmp_path: Path, rows: np.ndarray) -> None:
    """Axes have codes without a loss, and lie outside of what the leading axes hold."""
    with Index.build(None, tmp_path / "i", embeddings=np.array(rows, dtype=np.float32)) as index:
        assert index.search_vectors(np.array(rows[:1]), 1).certified.all()
        for segment in index._open.segments:
            check_sample(segment)
    assert verify_index(tmp_path / "i", deep=True).ok


def test_passages_of_no_document_are_seen(tmp_path: Path) -> None:
    text = "The king and queen have music. Fish swim in the river. A child has paper for school. "
    records = [{"id": str(number), "text": text * 3} for number in range(6)]
    options = BuildOptions(passages=10)
    Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options).close()
    (path,) = (tmp_path / "i").glob("segments/*/passages.npy")
    data = path.read_bytes()
    path.write_bytes(data[:HEADER_BYTES] + bytes(len(data) - HEADER_BYTES))
    with pytest.raises(IndexFormatError, match="passages.npy is damaged: it is not of 6 documents"):
        Index.open(tmp_path / "i")
    array = np.frombuffer(data[HEADER_BYTES:], dtype="<i8").reshape(-1, 3).copy()
    array[1:-1] = array[1:-1][::-1]
    path.write_bytes(data[:HEADER_BYTES] + array.tobytes())
    with (
        Index.open(tmp_path / "i", encoder=HashedWords()) as index,
        pytest.raises(IndexFormatError, match="passages.npy .* is damaged: its checksum is"),
    ):
        index.search("king")


def test_an_error_of_a_rotation_that_was_made_smaller_is_not_believed(index: Path) -> None:
    """It would make bounds too small. What ties it to its rotation does not hold any more."""
    import json
    import sqlite3

    connection = sqlite3.connect(index / "catalog.sqlite")
    (value,) = connection.execute(
        "SELECT value FROM settings WHERE key = 'rotation_errors'"
    ).fetchone()
    errors = json.loads(value)
    with Index.open(index) as opened:
        stored = [one.rotated.stored for one in opened._open.segments if one.rotated is not None]
        assert [one[0] for one in stored if one] == [
            errors[one.id][0] for one in opened._open.segments
        ]
    for one in errors.values():
        one[0] /= 1000
    connection.execute(
        "UPDATE settings SET value = ? WHERE key = 'rotation_errors'", (json.dumps(errors),)
    )
    connection.commit()
    connection.close()
    with Index.open(index) as opened:
        for segment in opened._open.segments:
            assert segment.rotated is not None
            assert segment.rotated.stored is None
        assert opened.search_vectors(np.ones((1, opened.dimensions))).certified.all()
