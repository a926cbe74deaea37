"""Embeddings made elsewhere: what is read is what was saved, and nothing else is taken for it."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qsearch.documents import Embeddings
from qsearch.errors import CorpusError

FLOATS = ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For properties, whose examples may share it."""
    return tmp_path_factory.mktemp("embeddings")


def saved(path: Path, array: np.ndarray, **options: Any) -> Path:
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, **options)
    return path


def crafted(path: Path, header: str, version: tuple[int, int] = (1, 0), data: bytes = b"") -> Path:
    encoded = header.encode("latin-1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(encoded))
    path.write_bytes(b"\x93NUMPY" + bytes(version) + length + encoded + data)
    return path


def header(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


def refusal(source: Any) -> str:
    with pytest.raises(CorpusError) as caught:
        Embeddings(source)
    assert str(caught.value).startswith(f"{caught.value.path}: ")
    return str(caught.value).removeprefix(f"{caught.value.path}: ")


@settings(deadline=None)
@given(
    st.data(),
    st.sampled_from(FLOATS),
    st.tuples(st.integers(0, 12), st.integers(1, 9)),
    st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_blocks_are_those_of_numpy(
    folder: Path, data: st.DataObject, dtype: str, shape: tuple[int, int], version: tuple[int, int]
) -> None:
    array = data.draw(npst.arrays(np.dtype(dtype), shape))
    path = saved(folder / "e.npy", array, version=version)
    start = data.draw(st.integers(0, shape[0]))
    stop = data.draw(st.integers(start, shape[0] + 3))
    expected = np.load(path)[start:stop]
    for source in (path, str(path), array):
        embeddings = Embeddings(source)
        block = embeddings.read(start, stop)
        assert (embeddings.rows, embeddings.dimensions) == shape
        assert block.dtype == np.dtype(dtype)
        assert block.shape == expected.shape
        assert block.tobytes() == expected.tobytes()


def test_blocks_one_after_the_other_are_the_whole(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((1000, 7)).astype(np.float32)
    embeddings = Embeddings(saved(tmp_path / "e.npy", array))
    blocks = [embeddings.read(start, start + 64) for start in range(0, 1000, 64)]
    assert np.array_equal(np.concatenate(blocks), array)
    assert embeddings.read(1000, 2000).shape == (0, 7)
    assert embeddings.read(5000, 6000).shape == (0, 7)


def test_only_the_block_is_in_memory(tmp_path: Path) -> None:
    path = crafted(tmp_path / "e.npy", header("(1000000, 256)"))
    os.truncate(path, path.stat().st_size + 1_000_000 * 256 * 4)
    tracemalloc.start()
    try:
        embeddings = Embeddings(path)
        for start in range(0, 1_000_000, 250_000):
            assert embeddings.read(start, start + 1000).shape == (1000, 256)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1000 * 256 * 4


def test_the_name_is_the_path_or_says_that_there_is_none(tmp_path: Path) -> None:
    path = saved(tmp_path / "e.npy", np.ones((2, 3), np.float32))
    assert Embeddings(path).name == str(path)
    assert Embeddings(np.ones((2, 3))).name == "<embeddings>"


@pytest.mark.parametrize("source", ["file", "memory"])
@pytest.mark.parametrize(
    "array",
    [
        np.ones(4, np.float32),
        np.array(1, np.float32),
        np.ones((2, 3, 4), np.float32),
        np.ones((2, 3), np.int8),
        np.ones((2, 3), np.uint8),
        np.ones((2, 3), np.int64),
        np.ones((2, 3), np.bool_),
        np.ones((2, 3), np.complex64),
        np.ones((2, 3), np.longdouble),
        np.ones((2, 3), "U4"),
        np.ones((2, 3), "S4"),
        np.zeros((2, 3), "datetime64[s]"),
        np.zeros((2, 3), [("a", "<f4")]),
    ],
    ids=lambda array: f"{array.dtype}-{array.ndim}",
)
def test_other_shapes_and_types_are_refused(tmp_path: Path, array: np.ndarray, source: str) -> None:
    given = saved(tmp_path / "e.npy", array) if source == "file" else array
    reason = refusal(given)
    assert reason.startswith("must hold a two-dimensional array of float16, float32 or float64")
    assert reason.endswith(f"found {array.dtype} {array.shape}")


def test_rows_without_components_are_refused(tmp_path: Path) -> None:
    assert refusal(np.ones((3, 0), np.float32)) == "has rows without components"
    path = saved(tmp_path / "e.npy", np.ones((3, 0), np.float32))
    assert refusal(path) == "has rows without components"


def test_an_array_without_rows_is_read_as_one(tmp_path: Path) -> None:
    embeddings = Embeddings(saved(tmp_path / "e.npy", np.ones((0, 5), np.float16)))
    assert (embeddings.rows, embeddings.dimensions) == (0, 5)
    assert embeddings.read(0, 10).shape == (0, 5)


def test_fortran_order_is_refused_in_a_file_and_harmless_in_memory(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    assert "is in Fortran order; save it with" in refusal(saved(tmp_path / "e.npy", array))
    assert np.array_equal(Embeddings(array).read(1, 3), array[1:3])


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path) -> None:
    array = np.empty((2, 3), dtype=object)
    array[:] = Bomb(tmp_path / "exploded")
    path = saved(tmp_path / "e.npy", array, allow_pickle=True)
    assert "found object (2, 3)" in refusal(path)
    raw = tmp_path / "e.pickle"
    raw.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert "is not a .npy file" in refusal(raw)
    assert not (tmp_path / "exploded").exists()


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "e.npy", np.ones((3, 4), np.float32)).read_bytes()
    path = tmp_path / "cut.npy"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        reason = refusal(path)
        assert reason.startswith("is cut off" if size >= 128 else "is not a .npy file")
    path.write_bytes(whole)
    assert Embeddings(path).rows == 3


def test_a_header_that_claims_32_gib_is_refused_by_the_size_of_the_file(tmp_path: Path) -> None:
    path = crafted(tmp_path / "e.npy", header(f"({1 << 25}, 256)"), data=bytes(64))
    size = path.stat().st_size
    expected = size - 64 + (32 << 30)
    tracemalloc.start()
    try:
        reason = refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reason == f"is cut off: it should have {expected:,} bytes and has {size:,}"
    assert peak < 1 << 20


@pytest.mark.parametrize("shape", [f"({1 << 62}, {1 << 62})", f"({1 << 63}, 2)", "(1, 4294967296)"])
def test_a_shape_whose_product_overflows_is_refused(tmp_path: Path, shape: str) -> None:
    path = crafted(tmp_path / "e.npy", header(shape), data=bytes(64))
    assert "is cut off" in refusal(path)


def test_a_negative_number_of_rows_is_refused(tmp_path: Path) -> None:
    path = crafted(tmp_path / "e.npy", header("(-1, 4)"), data=bytes(64))
    assert refusal(path) == "has a damaged header: -1 rows"


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "(" * 9000,
        "-" * 9000 + "1",
        "[" * 100,
        "{[]: 1}",
        "{'descr': (",
        "'''",
        "  a\n b\n",
        "{1, 2}",
        "1",
        "{}",
        "a.b",
        "__import__('os')",
        header("(1.0, 4)"),
        header("(1, 4)", descr="'zz'"),
        header("(1, 4)", descr="5"),
        header("(1, 4)", descr="{'names': 1}"),
        header("(1, 4)", order="0"),
        header("(" + "9" * 5000 + ", 4)"),
        header("(1, 4)") + " " * 20_000,
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, str) else None,
)
def test_a_damaged_header_is_no_npy_file(
    tmp_path: Path, text: str, version: tuple[int, int]
) -> None:
    reason = refusal(crafted(tmp_path / "e.npy", text, version, bytes(64)))
    assert reason.startswith("is not a .npy file (")
    assert len(reason) < 400


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
def test_any_damage_to_a_header_is_refused_or_leaves_an_array_that_the_file_holds(
    folder: Path, damage: list[tuple[int, int]]
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((3, 4), np.float32))
    data = bytearray(buffer.getvalue())
    for position, value in damage:
        data[position] = value
    path = folder / "damaged.npy"
    path.write_bytes(data)
    try:
        embeddings = Embeddings(path)
    except CorpusError:
        return
    block = embeddings.read(0, embeddings.rows)
    assert block.shape == (embeddings.rows, embeddings.dimensions)
    assert block.nbytes <= len(data)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\x03\x04" + bytes(60), b"1.0 2.0\n" * 40])
def test_other_files_are_no_npy_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "e.npy"
    path.write_bytes(data)
    assert "is not a .npy file" in refusal(path)


def test_an_archive_of_arrays_is_no_npy_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", np.ones((2, 3), np.float32))
    assert "is not a .npy file" in refusal(tmp_path / "e.npz")


def test_what_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.npy") == "cannot be opened (No such file or directory)"
    assert refusal(tmp_path) == "cannot be opened (Is a directory)"


def test_a_file_that_shrinks_or_goes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "e.npy", np.ones((10, 4), np.float32))
    embeddings = Embeddings(path)
    os.truncate(path, path.stat().st_size - 6)
    assert embeddings.read(0, 8).shape == (8, 4)
    with pytest.raises(CorpusError, match="was cut off while it was read"):
        embeddings.read(8, 10)
    path.unlink()
    with pytest.raises(CorpusError, match="cannot be read"):
        embeddings.read(0, 1)
