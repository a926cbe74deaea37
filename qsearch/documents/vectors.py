"""Files of vectors of which any block of rows can be read: ``.npy``, ``.npz``, ``.fvecs``, ``.bvecs``."""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import CorpusError

__all__ = ["VECTOR_SUFFIXES", "VectorFile", "array_file", "is_vector_file", "open_vectors"]

VECTOR_SUFFIXES = (".npy", ".npz", ".fvecs", ".bvecs")

_VECS: dict[str, np.dtype[Any]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
}

_KINDS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\x80", "a pickle"),
    (b"{", "JSON"),
    (b"[", "JSON"),
)
"""How files begin that are sometimes taken for arrays."""

_COPY_BYTES = 1 << 22
_CHECKED_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class VectorFile:
    """An array of numbers in a file.

    Attributes:
        shape: of the array, as the file says.
        dtype: of its numbers.
        read: gives the rows from ``start`` to ``stop - 1``, which there must be.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], NDArray[Any]]


def is_vector_file(path: str | Path) -> bool:
    """Whether a path names a file of vectors, by its suffix; also an array in an archive."""
    return array_file(str(path)).lower().endswith(VECTOR_SUFFIXES)


def array_file(name: str) -> str:
    """The file of ``name``, without the array in it that it may name."""
    return _member_of(name)[0]


def open_vectors(source: str | Path) -> VectorFile:
    """Open a file; ``archive.npz:name`` is one of several arrays.

    Files are read and not mapped: mapped pages would count as memory in use. Nothing is unpickled.

    Raises:
        CorpusError: it cannot be read, or holds no array.
    """
    name = str(source)
    path, member = _member_of(name)
    suffix = Path(path).suffix.lower()
    if suffix == ".ivecs":
        raise CorpusError("is a list of numbers of neighbours, not of vectors", path=name)
    try:
        if suffix in _VECS:
            return _open_vecs(Path(path), name, _VECS[suffix])
        with open(path, "rb") as file:
            start = file.read(8)
        if start.startswith(b"PK") or member is not None:
            return _open_archive(Path(path), name, member)
        with open(path, "rb") as file:
            _refuse_other_kinds(start, name)
            header = _read_header(file, name)
            size = os.fstat(file.fileno()).st_size
        return _npy(header, lambda: open(path, "rb"), size, name)
    except OSError as error:
        raise CorpusError(f"cannot be opened ({error.strerror})", path=name) from error


def _member_of(name: str) -> tuple[str, str | None]:
    """The file and the name of an array in it, where there is one."""
    found = re.fullmatch(r"(.+\.npz):([^/\\]*)", name, re.IGNORECASE | re.DOTALL)
    if found is None or os.path.exists(name):
        return name, None
    return found[1], found[2]


def _refuse_other_kinds(start: bytes, name: str) -> None:
    for magic, kind in _KINDS:
        if start.startswith(magic):
            raise CorpusError(
                f"is not a .npy file but {kind}; save the vectors with numpy.save", path=name
            )


# .npy


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int


def _read_header(file: IO[bytes], name: str, before: int = 0) -> _Header:
    """Read the header of a ``.npy`` file that begins ``before`` bytes behind the file's own begin."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:
            header = np.lib.format.read_array_header_2_0(file)
        shape, fortran, dtype = header
        return _Header(shape, fortran, dtype, file.tell() - before)
    except OSError:
        raise
    except Exception as error:  # a damaged header also raises what ast and tokenize raise
        reason = str(error) or type(error).__name__
        raise CorpusError(f"is not a .npy file ({reason:.300})", path=name) from error


def _check_shape(header: _Header, name: str) -> None:
    """Refuse what no size of a file contradicts.

    Raises:
        CorpusError: a number is negative, or larger than NumPy takes although there is nothing.
    """
    most = sys.maxsize // max(16, header.dtype.itemsize)
    if any(one < 0 or (one > most and 0 in header.shape) for one in header.shape):
        raise CorpusError(f"has a damaged header: its shape is {header.shape}", path=name)


def _npy(
    header: _Header, opened: Callable[[], BinaryIO], size: int, name: str, before: int = 0
) -> VectorFile:
    """An array that begins ``before`` bytes behind the begin of what ``opened`` gives."""
    _check_shape(header, name)
    expected = header.offset + math.prod(header.shape) * header.dtype.itemsize
    if size < expected and not header.dtype.hasobject:
        raise CorpusError(
            f"is cut off: it should have {expected:,} bytes and has {size:,}", path=name
        )
    first = before + header.offset
    dtype = header.dtype

    def read(start: int, stop: int) -> NDArray[Any]:
        rows, width = header.shape
        with _reading(opened, name) as file:
            if not header.fortran or start == stop:  # no rows may have any number of columns
                data = _bytes_at(
                    file,
                    first + start * width * dtype.itemsize,
                    (stop - start) * width,
                    dtype,
                    name,
                )
                return data.reshape(stop - start, width)
            block = np.empty((stop - start, width), dtype=dtype)
            for column in range(width):
                place = first + (column * rows + start) * dtype.itemsize
                block[:, column] = _bytes_at(file, place, stop - start, dtype, name)
            return block

    return VectorFile(header.shape, dtype, read)


def _reading(opened: Callable[[], BinaryIO], name: str) -> BinaryIO:
    try:
        return opened()
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", path=name) from error


def _bytes_at(
    file: BinaryIO, offset: int, count: int, dtype: np.dtype[Any], name: str
) -> NDArray[Any]:
    try:
        file.seek(offset)
        values = np.fromfile(file, dtype=dtype, count=count)
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", path=name) from error
    if len(values) < count:
        raise CorpusError("was cut off while it was read", path=name)
    return values


# .npz


def _open_archive(path: Path, name: str, member: str | None) -> VectorFile:
    try:
        with zipfile.ZipFile(path) as archive:
            info = _chosen(archive, name, member)
            if info.flag_bits & 1:
                raise CorpusError("is encrypted", path=name)
            if info.compress_type == zipfile.ZIP_STORED:
                if info.file_size != info.compress_size:  # else what is behind it would be read too
                    raise zipfile.BadZipFile("a member that is not compressed has two sizes")
                _check_sum(archive, info)
                with open(path, "rb") as file:
                    begin = _begin_of(file, info, name)
                    file.seek(begin)
                    header = _read_header(file, name, begin)
                return _npy(header, lambda: open(path, "rb"), info.file_size, name, begin)
            with archive.open(info) as stream:
                return _unpacked(stream, info.file_size, name)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise CorpusError(
            f"is not an .npz archive, or a damaged one ({error})", path=name
        ) from error


def _check_sum(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Read a member once: its blocks are read from the file later, past the archive and its checksum.

    Raises:
        BadZipFile: the checksum is another.
    """
    with archive.open(info) as stream:
        while stream.read(_CHECKED_BYTES):
            pass


def _chosen(archive: zipfile.ZipFile, name: str, member: str | None) -> zipfile.ZipInfo:
    arrays = {
        one.filename.removesuffix(".npy"): one
        for one in archive.infolist()
        if one.filename.endswith(".npy")
    }
    listed = ", ".join(list(arrays)[:8]) + (", ..." if len(arrays) > 8 else "")
    if not arrays:
        raise CorpusError("is a zip archive without arrays (.npy) in it", path=name)
    if member is None:
        if len(arrays) > 1:
            first = next(iter(arrays))
            raise CorpusError(
                f"holds several arrays ({listed}); name one, as {name}:{first}", path=name
            )
        return next(iter(arrays.values()))
    if member not in arrays:
        raise CorpusError(f"holds no array {member!r}; there is {listed}", path=name)
    return arrays[member]


def _begin_of(file: BinaryIO, info: zipfile.ZipInfo, name: str) -> int:
    """Where the data of a member begins: behind its local header, whose size is its own."""
    file.seek(info.header_offset)
    local = file.read(30)
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        raise CorpusError("is not an .npz archive (a member has no header)", path=name)
    return (
        info.header_offset
        + 30
        + int.from_bytes(local[26:28], "little")
        + int.from_bytes(local[28:30], "little")
    )


class _Scratch:
    """A temporary file without a name, closed and gone with this object."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
        weakref.finalize(self, self.file.close)


def _unpacked(stream: IO[bytes], size: int, name: str) -> VectorFile:
    """A compressed array, unpacked into a temporary file, as far as its header says there is any."""
    header = _read_header(stream, name)
    _check_shape(header, name)
    expected = header.offset + math.prod(header.shape) * header.dtype.itemsize
    if header.dtype.hasobject or expected > size:
        return _npy(header, lambda: open(os.devnull, "rb"), size, name)
    scratch = _Scratch()
    unpacked = scratch.file
    try:
        left = expected - header.offset
        while left and (piece := stream.read(min(left, _COPY_BYTES))):
            unpacked.write(piece)
            left -= len(piece)
        unpacked.flush()
    except OSError as error:
        raise CorpusError(
            f"cannot be unpacked into a temporary file ({error.strerror}); set TMPDIR to a directory "
            "with room, or save the array with numpy.save",
            path=name,
        ) from error
    if left:
        raise CorpusError("is cut off", path=name)

    def opened() -> BinaryIO:
        return open(os.dup(scratch.file.fileno()), "rb")

    return _npy(_Header(header.shape, header.fortran, header.dtype, 0), opened, expected, name)


# .fvecs and .bvecs


def _open_vecs(path: Path, name: str, dtype: np.dtype[Any]) -> VectorFile:
    """Each row is its length as a 32-bit number, and so many components (corpus-texmex.irisa.fr)."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(4)
    width = int.from_bytes(start, "little", signed=True)
    if not size:
        return VectorFile((0, 1), dtype, lambda start, stop: np.empty((0, 1), dtype=dtype))
    row_bytes = 4 + dtype.itemsize * width
    # A row longer than the file is none, and NumPy has no type for the longest.
    if len(start) < 4 or width < 1 or row_bytes > size or size % row_bytes:
        raise CorpusError(
            f"is not a {path.suffix} file: {size:,} bytes are no rows of {width:,} components each",
            path=name,
        )

    row = np.dtype([("width", "<i4"), ("components", dtype, (width,))])

    def read(start: int, stop: int) -> NDArray[Any]:
        with _reading(lambda: open(path, "rb"), name) as file:
            rows = _bytes_at(file, start * row.itemsize, stop - start, row, name)
        other = np.flatnonzero(rows["width"] != width)
        if len(other):
            raise CorpusError(
                f"row {start + other[0]:,} (from 0) has {rows['width'][other[0]]:,} components, the "
                f"first has {width:,}",
                path=name,
            )
        return np.ascontiguousarray(rows["components"])

    return VectorFile((size // row.itemsize, width), dtype, read)
