"""Embeddings made elsewhere: what is read is what was saved, and nothing else is taken for it."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import tracemalloc
import zipfile
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
        np.ones((2, 3), np.bool_),
        np.ones((2, 3), np.complex64),
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
    assert reason.startswith("must hold a two-dimensional array of real numbers")
    assert f"found {array.dtype} {array.shape}" in reason
    assert ("v[None, :]" in reason) == (array.ndim == 1)


def test_rows_without_components_are_refused(tmp_path: Path) -> None:
    assert refusal(np.ones((3, 0), np.float32)) == "has rows without components"
    path = saved(tmp_path / "e.npy", np.ones((3, 0), np.float32))
    assert refusal(path) == "has rows without components"


def test_an_array_without_rows_is_read_as_one(tmp_path: Path) -> None:
    embeddings = Embeddings(saved(tmp_path / "e.npy", np.ones((0, 5), np.float16)))
    assert (embeddings.rows, embeddings.dimensions) == (0, 5)
    assert embeddings.read(0, 10).shape == (0, 5)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "i1", "u1", ">i2", "<i4", ">i8", "<u4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed", "memory"])
def test_numbers_of_every_kind_are_read_a_block_at_a_time(
    tmp_path: Path, dtype: str, order: Any, kind: str
) -> None:
    values = np.random.default_rng(0).integers(0, 100, size=(50, 7))
    array = np.asarray(values, dtype=dtype, order=order)
    source: Any = array
    if kind == "npy":
        source = saved(tmp_path / "e.npy", array)
    elif kind != "memory":
        source = tmp_path / "e.npz"
        (np.savez if kind == "npz" else np.savez_compressed)(source, vectors=array)
    embeddings = Embeddings(source)
    assert (embeddings.rows, embeddings.dimensions) == (50, 7)
    for start in (0, 13, 49, 50):
        block = embeddings.read(start, start + 16)
        assert block.dtype.kind == "f"
        assert np.array_equal(block, values[start : start + 16])


def test_whole_numbers_become_floats_that_hold_them(tmp_path: Path) -> None:
    for dtype, becomes in (("u1", "f4"), ("i2", "f4"), ("i4", "f8"), ("i8", "f8")):
        largest = np.array([[np.iinfo(dtype).max - 1, 1]], dtype=dtype)
        block = Embeddings(largest).read(0, 1)
        assert block.dtype == np.dtype(becomes)
        if dtype != "i8":
            assert block.astype(np.int64).tolist() == largest.tolist()


@pytest.mark.parametrize("big", ["npy in Fortran order", "npz", "fvecs"])
def test_no_format_is_read_as_a_whole(tmp_path: Path, big: str) -> None:
    array = np.zeros((50_000, 64), dtype=np.float32, order="F" if "Fortran" in big else "C")
    path = tmp_path / f"e.{big[:5].strip()}" if big == "fvecs" else tmp_path / f"e.{big[:3]}"
    if big == "fvecs":
        write_vecs(path, array, "<f4")
    elif big == "npz":
        np.savez(path, array)
    else:
        saved(path, array)
    tracemalloc.start()
    try:
        assert Embeddings(path).read(25_000, 25_100).shape == (100, 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def write_vecs(path: Path, array: np.ndarray, dtype: str) -> None:
    row = np.dtype([("width", "<i4"), ("components", dtype, (array.shape[1],))])
    rows = np.empty(len(array), dtype=row)
    rows["width"], rows["components"] = array.shape[1], array
    rows.tofile(path)


@pytest.mark.parametrize(("suffix", "dtype"), [("fvecs", "<f4"), ("bvecs", "u1"), ("FVECS", "<f4")])
def test_texmex_files_are_read(tmp_path: Path, suffix: str, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 255, size=(50, 7)).astype(dtype)
    path = tmp_path / f"e.{suffix}"
    write_vecs(path, values, dtype)
    embeddings = Embeddings(path)
    assert (embeddings.rows, embeddings.dimensions) == (50, 7)
    assert np.array_equal(embeddings.read(20, 30), values[20:30])
    assert embeddings.read(45, 60).shape == (5, 7)


def test_damaged_texmex_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.fvecs"
    write_vecs(path, np.ones((10, 4)), "<f4")
    os.truncate(path, path.stat().st_size - 1)
    assert "199 bytes are no rows of 4 components" in refusal(path)
    path.write_bytes(b"ab")
    assert "is not a .fvecs file" in refusal(path)
    path.write_bytes(struct.pack("<i", -5) + bytes(16))
    assert "no rows of -5 components" in refusal(path)
    path.write_bytes(struct.pack("<i", 2**31 - 1) + bytes(16))  # more than NumPy has a type for
    assert "no rows of 2,147,483,647 components" in refusal(path)
    path.write_bytes(b"")
    assert Embeddings(path).rows == 0
    other = np.ones((4, 4), dtype="<f4")
    write_vecs(path, other, "<f4")
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<i", 3)
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"row 2 \(from 0\) has 3 components, the first has 4"):
        Embeddings(path).read(1, 4)
    path.unlink()
    assert "cannot be opened" in refusal(path)
    (tmp_path / "e.ivecs").write_bytes(bytes(20))
    assert "neighbours" in refusal(tmp_path / "e.ivecs")


def test_an_archive_names_its_arrays(tmp_path: Path) -> None:
    first, second = np.ones((3, 2)), np.zeros((4, 5))
    np.savez(tmp_path / "one.npz", first)
    assert Embeddings(tmp_path / "one.npz").rows == 3
    np.savez(tmp_path / "two.npz", documents=first, queries=second)
    several = refusal(tmp_path / "two.npz")
    assert several.startswith("holds several arrays (documents, queries); name one, as ")
    advised = several.rpartition("as ")[2]
    assert Embeddings(advised).rows == 3
    assert Embeddings(f"{tmp_path / 'two.npz'}:queries").dimensions == 5
    assert Embeddings(tmp_path / "two.npz:queries").dimensions == 5
    assert "holds no array 'x'; there is documents, queries" in refusal(f"{tmp_path / 'two.npz'}:x")
    with zipfile.ZipFile(tmp_path / "none.npz", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert "without arrays" in refusal(tmp_path / "none.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_cut_off_or_damaged_anywhere_is_refused(tmp_path: Path, save: Any) -> None:
    array = np.random.default_rng(1).random((10, 4), dtype=np.float32)
    save(tmp_path / "e.npz", vectors=array)
    whole = (tmp_path / "e.npz").read_bytes()
    path = tmp_path / "damaged.npz"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert refusal(path)
    for position in range(len(whole)):
        for other in (whole[position] ^ 0x55, 0, 255):
            data = bytearray(whole)
            data[position] = other
            path.write_bytes(data)
            try:
                block = Embeddings(path).read(0, 10)
            except CorpusError:
                continue
            np.testing.assert_array_equal(block, array)  # it is something else that is damaged


def test_damage_far_behind_the_header_of_an_archive_is_refused(tmp_path: Path) -> None:
    array = np.random.default_rng(1).random((5000, 8), dtype=np.float32)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "e.npz", array)
        whole = (tmp_path / "e.npz").read_bytes()
        for position in range(50_000, 100_000, 1000):
            for noise in (bytes(64), b"\xff" * 64):
                damaged = whole[:position] + noise + whole[position + 64 :]
                (tmp_path / "damaged.npz").write_bytes(damaged)
                assert "a damaged one" in refusal(tmp_path / "damaged.npz")


def test_a_small_archive_cannot_ask_for_much(tmp_path: Path) -> None:
    """Unpacked is what the array's own header says, and no more than the archive says."""
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        small = crafted(tmp_path / "e.npy", header("(2, 4)"), data=bytes(32)).read_bytes()
        archive.writestr("small.npy", small + bytes(50_000_000))
        archive.writestr(
            "large.npy", crafted(tmp_path / "e.npy", header(f"({1 << 40}, 4)")).read_bytes()
        )
    tracemalloc.start()
    try:
        assert Embeddings(f"{tmp_path / 'bomb.npz'}:small").rows == 2
        assert "is cut off" in refusal(f"{tmp_path / 'bomb.npz'}:large")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file"),
        (b"PAR1" + bytes(90), "a Parquet file"),
        (pickle.dumps([1.0]), "a pickle"),
        (b"\x1f\x8b" + bytes(90), "compressed with gzip"),
        (b"[[1.0, 2.0]]", "JSON"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "e.npy"
    path.write_bytes(data)
    assert refusal(path) == f"is not a .npy file but {kind}; save the vectors with numpy.save"


def test_lists_are_taken_as_arrays() -> None:
    rows = [[1, 2.5], [3, 4]]
    for source in (rows, [np.array(one) for one in rows], tuple(map(tuple, rows))):
        assert Embeddings(source).read(0, 2).tolist() == rows
    assert "row 1 (from 0) has 3 numbers, the first has 2" in refusal([[1, 2], [3, 4, 5]])
    assert "row 1 (from 0) is no row, the first has 2 numbers" in refusal([[1, 2], 3])
    assert "found <U1 (1, 2)" in refusal([["a", "b"]])
    assert "found object ()" in refusal(object())
    assert "are masked" in refusal(np.ma.masked_equal(np.eye(2), 0))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "uint8"])
def test_tensors_are_taken_whatever_they_carry(dtype: str) -> None:
    import torch

    values = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    sources = [values, list(values), values.t().contiguous().t()]
    if values.is_floating_point():
        sources.append(values.clone().requires_grad_())
        sources.append(torch.nn.Parameter(values.clone()))
        sources.append(values.to_sparse())
    for source in sources:
        assert Embeddings(source).read(1, 3).tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert "found bool (3, 4)" in refusal(values > 1)
    assert "found complex64 (3, 4)" in refusal(values.to(torch.complex64))
    assert refusal(torch.empty((2, 2), device="meta"))


def test_queries_are_taken_as_embeddings_are() -> None:
    import torch

    from qsearch.errors import QueryError
    from qsearch.retrieval import check_queries

    rows = [[1.0, 2.0], [3.0, 4.0]]
    for source in (
        rows,
        np.array(rows),
        torch.tensor(rows, requires_grad=True),
        np.array(rows, "i1"),
    ):
        assert check_queries(source, 2).tolist() == rows
    assert check_queries(torch.tensor(rows, dtype=torch.bfloat16), 2).tolist() == rows
    for wrong in ([["a", "b"]], torch.tensor([[True, False]]), [[1.0], [1.0, 2.0]]):
        with pytest.raises(QueryError, match="must be an array of numbers"):
            check_queries(wrong, 2)


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
    assert refusal(path) == "has a damaged header: its shape is (-1, 4)"


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
    assert re.search("is not an? .np[yz] (file|archive)", refusal(path))


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


@pytest.mark.parametrize("shape", ["(2, -3)", "(-2, -3)", "(0, 9223372036854775807)"])
def test_a_shape_that_no_array_has_is_refused(tmp_path: Path, shape: str) -> None:
    for order in ("False", "True"):
        path = crafted(tmp_path / "e.npy", header(shape, order=order), data=bytes(24))
        assert f"its shape is {shape}" in refusal(path)


def test_no_rows_are_read_at_once_however_many_columns_they_have(tmp_path: Path) -> None:
    path = crafted(tmp_path / "e.npy", header("(0, 99999999999)", order="True"))
    assert Embeddings(path).read(0, 10).shape == (0, 99_999_999_999)


def test_an_archive_is_unpacked_only_as_far_as_its_header_says(tmp_path: Path) -> None:
    """A negative size once meant all of it, in memory."""
    array = crafted(tmp_path / "e.npy", header("(4, -1)"), data=bytes(1 << 26))
    with zipfile.ZipFile(tmp_path / "e.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(array, "e.npy")
    tracemalloc.start()
    try:
        assert "its shape is (4, -1)" in refusal(tmp_path / "e.npz")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_member_is_not_longer_than_what_is_stored_of_it(tmp_path: Path) -> None:
    """What is behind it in the archive was taken for its last rows."""
    values = np.ones((4, 4), dtype="<f4")
    array = saved(tmp_path / "e.npy", values)
    data = array.read_bytes()
    cut = data[:-16]
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("e.npy", cut)
        archive.writestr("other.txt", bytes(64))
    raw = (tmp_path / "e.npz").read_bytes()
    sizes = struct.pack("<II", len(cut), len(cut))
    assert raw.count(sizes) == 2  # before the member, and in the list at the end
    wrong = raw.replace(sizes, struct.pack("<II", len(cut), len(data)))
    (tmp_path / "e.npz").write_bytes(wrong)
    assert "is not an .npz archive, or a damaged one" in refusal(tmp_path / "e.npz")
