"""Segments: writing the arrays of one, and opening them, checked before they are mapped."""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.codes import (
    binary_codes,
    fit_rotation,
    fit_rotation_to,
    int8_codes,
    least_rotation_error,
    pack_blocks,
    rotated_codes,
    rotation_error,
)
from qsearch.errors import IndexFormatError
from qsearch.kernels import RowMask
from qsearch.kernels.reference import BLOCK_ROWS, ROTATED_BLOCK_ROWS
from qsearch.store.format import (
    ARRAYS,
    GRAPH_ARRAYS,
    HEADER_BYTES,
    OLD_GRAPH,
    PASSAGES,
    POSITIONS,
    ROTATED_ARRAYS,
    ROTATION,
    VECTORS,
    ArrayFile,
    array_bytes,
    array_shape,
    kept_components,
    npy_header,
    raw_bytes,
)
from qsearch.store.mapping import let_go, map_file
from qsearch.store.publish import sync_directory, sync_file
from qsearch.store.reading import opened
from qsearch.store.rows import FileEntry, SegmentEntry
from qsearch.wording import words

__all__ = [
    "SEAL_ROWS",
    "GraphArrays",
    "Segment",
    "array_checksum",
    "derived_arrays",
    "file_checksum",
    "graph_files",
    "made_files",
    "map_array",
    "write_arrays",
]

SEAL_ROWS = 1024
"""Rows that are coded at a time: a multiple of 16, so that blocks of codes join up, and few,
so that float64 copies stay small and in the cache."""

_FIT_BLOCKS = 32
"""So many blocks of ``SEAL_ROWS``, evenly spread, show the axes of a segment well enough."""


@dataclass(frozen=True, slots=True, eq=False)
class RotatedArrays:
    """The rotated codes of a segment.

    Attributes:
        rotation: (h, d) float32, the axes.
        blocks: (ceil(n / 16), ceil(h / 4), 16, 4) uint8, see ``codes.RotatedCodes``.
        bounds: (ceil(n / 16), 3, 16) float32, see there.
        stored: the error of the rotation (see ``codes.rotation_error``), and the checksum of the file with
            the rotation that has it; ``None`` where that was not stored.
    """

    rotation: NDArray[np.float32]
    blocks: NDArray[np.uint8]
    bounds: NDArray[np.float32]
    stored: tuple[float, str] | None = None

    def error(self) -> float:
        """An upper bound on how far the rotation is from an orthonormal one.

        A product of two matrices gives it; a stored one is taken for the rotation that it was made of,
        which takes a hundredth of the time to find out.

        Raises:
            IndexFormatError: the rotation is another one.
        """
        if self.stored is None:
            return rotation_error(self.rotation)
        error, checksum = self.stored
        h, d = self.rotation.shape
        if array_checksum(
            ROTATED_ARRAYS[0], self.rotation
        ) != checksum or not error >= least_rotation_error(h, d):
            raise IndexFormatError(
                f"a {ROTATION} is damaged: it is not what it was when its codes were made; "
                f"{words().verify} tells more, {words().rebuild} builds the index again"
            )
        return error


@dataclass(frozen=True, slots=True, eq=False)
class GraphArrays:
    """The graph of a segment; ``kernels.graph_reference`` says what is done with it.

    Attributes:
        links: (n, 64) uint32: the rows that each leads to, then ``NO_ROW``.
        sketches: (n, lines, 8) uint64, see ``codes.sketches_of``.
        center: (d,) float32 that they are seen from.
        checksums: that the three files should have; empty where they are not files yet.
    """

    links: NDArray[np.uint32]
    sketches: NDArray[np.uint64]
    center: NDArray[np.float32]
    checksums: tuple[str, ...] = ()

    def damaged(self) -> str | None:
        """The name of a file that is not what it was, read completely; ``None`` where all are."""
        arrays: tuple[NDArray[Any], ...] = (self.links, self.sketches, self.center)
        for file, array, expected in zip(GRAPH_ARRAYS, arrays, self.checksums, strict=False):
            if array_checksum(file, array) != expected:
                return file.name
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The arrays of one segment, mapped read-only.

    Attributes:
        id: name of its directory.
        first_row: rows in the segments before this one.
        first_document: position of its first document.
        last_document: position of its last document.
        rows: n.
        vectors: (n, d) float32 unit rows.
        int8: (n, d) int8 codes.
        scale: (n,) float32.
        residual: (n,) float32.
        binary: (ceil(n / 8), ceil(d / 64), 8) uint64 blocks of sign bits.
        rotated: codes along the principal axes; ``None`` in segments from before there were any.
        passages: (n, 3) int64: number of the document in the segment, begin and end of the passage in
            its text; ``None`` where row r is document r.
        positions: (m,) int64 positions of its documents; ``None`` where they have no gaps between them.
        graph: if there is one.
        old_graph: the file of a graph as usearch writes it, as bytes, where there is no other one.
        old_graph_xxh3: the checksum that it should have.
        graph_problem: why there is none, where there should be one: other searches do not need it.
        living: the rows whose documents were not deleted; ``None``: all.
        lists_xxh3: the checksums that the files of ``passages`` and ``positions`` should have, by name.
    """

    id: str
    first_row: int
    first_document: int
    last_document: int
    rows: int
    vectors: NDArray[np.float32]
    int8: NDArray[np.int8]
    scale: NDArray[np.float32]
    residual: NDArray[np.float32]
    binary: NDArray[np.uint64]
    rotated: RotatedArrays | None
    passages: NDArray[np.int64] | None
    positions: NDArray[np.int64] | None
    graph: GraphArrays | None = None
    old_graph: NDArray[np.uint8] | None = None
    old_graph_xxh3: str = ""
    graph_problem: str | None = None
    living: RowMask | None = None
    lists_xxh3: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        directory: Path,
        entry: SegmentEntry,
        files: Mapping[str, FileEntry],
        dimensions: int,
        *,
        stored_error: float | None = None,
        living: RowMask | None = None,
    ) -> Segment:
        """Check sizes and headers against the catalog, then map.

        A file that is shorter than its map kills the process that touches the missing part, so
        nothing is mapped before its size is known to be right.

        Args:
            directory: of the segment.
            entry: what the catalog says of it.
            files: what the catalog says of its files.
            dimensions: d.
            stored_error: of the rotation, as the catalog has it.
            living: rows whose documents were not deleted; ``None``: all.

        Raises:
            IndexFormatError: a file is missing, of another size, or has another header.
        """
        listed: tuple[ArrayFile, ...] = ARRAYS
        kept = 0
        if ROTATION in files:
            listed += ROTATED_ARRAYS
            kept = kept_components(files[ROTATION].bytes, dimensions)
            if not kept:
                raise IndexFormatError(
                    f"the catalog's entry for {directory / ROTATION} is damaged; {words().rebuild} "
                    "builds the index again"
                )
        if PASSAGES.name in files:
            listed += (PASSAGES,)
        elif entry.documents != entry.rows:
            raise IndexFormatError(
                f"the catalog's entry for {directory / PASSAGES.name} is missing"
            )
        if entry.documents <= entry.last_document - entry.first_document:
            listed += (POSITIONS,)
        arrays: dict[str, NDArray[Any]] = {}
        for array in listed:
            shape = array_shape(array.name, entry.rows, dimensions, kept, entry.documents)
            arrays[array.name.removesuffix(".npy")] = map_array(directory, array, files, shape)
        rotated = None
        if kept:
            rotation = arrays.pop("rotation")
            rotated = RotatedArrays(
                rotation,
                arrays.pop("rotated"),
                arrays.pop("bounds"),
                None if stored_error is None else (stored_error, files[ROTATION].xxh3),
            )
        passages = arrays.pop("passages", None)
        if passages is not None and (passages[0, 0] != 0 or passages[-1, 0] != entry.documents - 1):
            raise IndexFormatError(
                f"{directory / PASSAGES.name} is damaged: it is not of {entry.documents:,} documents; "
                f"{words().rebuild} builds the index again"
            )
        positions = arrays.pop("positions", None)
        if positions is not None and (
            (positions[0], positions[-1]) != (entry.first_document, entry.last_document)
            or not (np.diff(positions) > 0).all()
        ):
            raise IndexFormatError(
                f"{directory / POSITIONS.name} is damaged: positions do not rise from "
                f"{entry.first_document:,} to {entry.last_document:,}; {words().rebuild} builds the index "
                "again"
            )
        # The graph is mapped here and not when it is first used: by then another index may have
        # taken the place of this one.
        graph = old_graph = graph_problem = None
        old = files.get(OLD_GRAPH)
        try:
            if any(array.name in files for array in GRAPH_ARRAYS):
                links, sketches, center = (
                    map_array(directory, one, files, array_shape(one.name, entry.rows, dimensions))
                    for one in GRAPH_ARRAYS
                )
                checksums = tuple(files[one.name].xxh3 for one in GRAPH_ARRAYS)
                graph = GraphArrays(links, sketches, center, checksums)
            elif old is not None:
                old_graph = _map(directory / OLD_GRAPH, old, max(1, old.bytes))
        except IndexFormatError as error:
            graph_problem = str(error)
        return cls(
            id=entry.id,
            first_row=entry.first_row,
            first_document=entry.first_document,
            last_document=entry.last_document,
            rows=entry.rows,
            rotated=rotated,
            passages=passages,
            positions=positions,
            graph=graph,
            old_graph=old_graph,
            old_graph_xxh3="" if old is None else old.xxh3,
            graph_problem=graph_problem,
            living=living,
            lists_xxh3={
                array.name: files[array.name].xxh3
                for array in (PASSAGES, POSITIONS)
                if array in listed
            },
            **arrays,
        )

    @property
    def has_graph(self) -> bool:
        """Whether it has one of either kind that can be used."""
        return self.graph is not None or self.old_graph is not None

    @property
    def living_rows(self) -> int:
        """How many of its rows live."""
        return self.rows if self.living is None else self.living.allowed

    def pieces(self, rows: int) -> list[Segment]:
        """The same rows as several segments of at most ``rows`` rows (a multiple of 16), not copied."""
        if rows % ROTATED_BLOCK_ROWS:
            raise ValueError(f"pieces must have a multiple of {ROTATED_BLOCK_ROWS} rows")
        return [
            self.piece(first, min(first + rows, self.rows)) for first in range(0, self.rows, rows)
        ]

    def piece(self, first: int, last: int) -> Segment:
        """Rows ``first`` (a multiple of 16) to ``last`` (likewise, or the end), not copied."""
        rotated = self.rotated
        if rotated is not None:
            blocks = slice(first // ROTATED_BLOCK_ROWS, -(-last // ROTATED_BLOCK_ROWS))
            rotated = RotatedArrays(
                rotated.rotation, rotated.blocks[blocks], rotated.bounds[blocks], rotated.stored
            )
        return replace(
            self,
            first_row=self.first_row + first,
            rows=last - first,
            vectors=self.vectors[first:last],
            int8=self.int8[first:last],
            scale=self.scale[first:last],
            residual=self.residual[first:last],
            binary=self.binary[first // BLOCK_ROWS : -(-last // BLOCK_ROWS)],
            rotated=rotated,
            passages=None if self.passages is None else self.passages[first:last],
            graph=None,
            old_graph=None,
            lists_xxh3={},
            living=None if self.living is None else self.living.piece(first, last),
        )

    def of_positions(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the segment's documents are chosen, in order.

        Args:
            chosen: by position; documents behind the last are not.
        """
        if self.positions is None:
            count = self.last_document - self.first_document + 1
            here = chosen[self.first_document : self.first_document + count]
            return np.pad(here, (0, count - len(here)))
        inside = self.positions < len(chosen)
        return inside & chosen[np.where(inside, self.positions, 0)]

    def numbers_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers in the segment of the documents that ``rows`` belong to, in the same shape.

        Raises:
            IndexFormatError: there is no such document.
        """
        if self.passages is None:
            return rows
        numbers: NDArray[np.int64] = self.passages[rows, 0]
        count = self.last_document - self.first_document + 1
        if self.positions is not None:
            count = len(self.positions)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < count:
            raise IndexFormatError(
                f"{PASSAGES.name} of segment {self.id} is damaged: a passage is of no document; "
                f"{words().verify} tells more, {words().rebuild} builds the index again"
            )
        return numbers

    def documents_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the documents that ``rows`` of this segment belong to, in the same shape.

        Raises:
            IndexFormatError: there is no such document.
        """
        numbers = self.numbers_of(rows)
        return self.first_document + numbers if self.positions is None else self.positions[numbers]

    def rows_of(self, document: int) -> tuple[int, int]:
        """The first row of the document at a position, and the first behind it; equal if there is none."""
        number = document - self.first_document
        if self.positions is not None:
            number = int(np.searchsorted(self.positions, document))
            if number == len(self.positions) or self.positions[number] != document:
                return 0, 0
        elif not 0 <= number <= self.last_document - self.first_document:
            return 0, 0
        passages = self.passages
        if passages is None:
            return number, number + 1
        first, end = (  # rows are in order of documents
            bisect.bisect_left(range(self.rows), one, key=lambda row: int(passages[row, 0]))
            for one in (number, number + 1)
        )
        return first, end

    def release(self) -> None:
        """Let go of the memory behind the maps; what is needed again is read from disk again."""
        arrays: list[NDArray[Any]] = [
            self.vectors, self.int8, self.scale, self.residual, self.binary
        ]  # fmt: skip
        if self.rotated is not None:
            arrays += [self.rotated.blocks, self.rotated.bounds]
        if self.graph is not None:
            arrays += [self.graph.links, self.graph.sketches]
        arrays += [one for one in (self.passages, self.positions) if one is not None]
        for array in arrays:
            let_go(array)


def _map(
    path: Path, entry: FileEntry | None, expected: int, *, huge: bool = False
) -> NDArray[np.uint8]:
    """A file of ``expected`` bytes, mapped."""
    if entry is None or entry.bytes != expected:
        raise IndexFormatError(f"the catalog's entry for {path} is missing or damaged")
    with opened(path) as (descriptor, size):
        if size != expected:
            raise IndexFormatError(
                f"{path} is damaged: it should have {expected:,} bytes and has {size:,}; restore it "
                f"from a copy, or build the index again with {words().rebuild}"
            )
        return map_file(descriptor, size, huge=huge)


def map_array(
    directory: Path, array: ArrayFile, files: Mapping[str, FileEntry], shape: tuple[int, ...]
) -> NDArray[Any]:
    """An array of a segment, mapped, whose size and header are what they should be.

    Raises:
        IndexFormatError: they are not, or it cannot be read.
    """
    path = directory / array.name
    # Of the float rows a search reads a few, anywhere, and they may be more than fits into memory.
    huge = array.name != VECTORS.name
    whole = _map(path, files.get(array.name), array_bytes(array.dtype, shape), huge=huge)
    if whole[:HEADER_BYTES].tobytes() != npy_header(array.dtype, shape):
        raise IndexFormatError(
            f"{path} is damaged: its header is not that of {array.dtype} {shape}; {words().rebuild} "
            "builds the index again"
        )
    return whole[HEADER_BYTES:].view(array.dtype).reshape(shape)


def derived_arrays(rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What depends on each row of ``rows`` alone, by file name.

    Args:
        rows: (n, d) float32 unit rows; n a multiple of 8 except at the end of a segment.
    """
    int8 = int8_codes(rows)
    return {
        "int8.npy": int8.codes,
        "scale.npy": int8.scale,
        "residual.npy": int8.residual,
        "binary.npy": pack_blocks(binary_codes(rows)),
    }


def write_arrays(
    directory: Path,
    rows: int,
    dimensions: int,
    advance: Callable[[int], None],
    *,
    passages: bool = False,
    positions: int = 0,
) -> tuple[dict[str, FileEntry], float]:
    """Complete a segment whose ``vectors.npy`` holds all its rows behind a reserved header.

    Every file is synced when this returns; the directory is not.

    Args:
        directory: where ``vectors.npy`` is.
        rows: n.
        dimensions: d.
        advance: told how many rows were just done.
        passages: whether there is also a ``passages.npy``, of the same kind.
        positions: of how many documents there is also a ``positions.npy``; 0: there is none.

    Returns:
        Size and checksum of every array file, and the error of the rotation.
    """
    files: dict[str, BinaryIO] = {}
    plain = (*ARRAYS, *((PASSAGES,) if passages else ()), *((POSITIONS,) if positions else ()))
    given = ("vectors.npy", PASSAGES.name, POSITIONS.name)
    sums = {array.name: xxhash.xxh3_128() for array in (*plain, *ROTATED_ARRAYS)}

    def begin(array: ArrayFile, kept: int = 0) -> None:
        shape = array_shape(array.name, rows, dimensions, kept, positions)
        file = open(  # noqa: SIM115 (closed below)
            directory / array.name, "r+b" if array.name in given else "wb"
        )
        files[array.name] = file
        if array.name in given:
            file.truncate(array_bytes(array.dtype, shape))
        header = npy_header(array.dtype, shape)
        file.write(header)
        sums[array.name].update(header)

    def write(name: str, values: NDArray[Any]) -> None:
        data = raw_bytes(values)
        files[name].write(data)
        sums[name].update(data)

    try:
        for array in plain:
            begin(array)
        vectors = files["vectors.npy"]
        vectors.flush()
        rotation = _fit(vectors, rows, dimensions)
        error = rotation_error(rotation)
        for array in ROTATED_ARRAYS:
            begin(array, len(rotation))
        write(ROTATION, rotation)
        for start in range(0, rows, SEAL_ROWS):
            count = min(SEAL_ROWS, rows - start)
            block = read_rows(vectors, start, count, dimensions)
            sums["vectors.npy"].update(raw_bytes(block))
            for name, derived in derived_arrays(block).items():
                write(name, derived)
            rotated = rotated_codes(block, rotation, error)
            write("rotated.npy", rotated.blocks)
            write("bounds.npy", rotated.bounds)
            if passages:
                sums[PASSAGES.name].update(read_bytes(files[PASSAGES.name], start, count, 24))
            advance(count)
        for start in range(0, positions, SEAL_ROWS):
            count = min(SEAL_ROWS, positions - start)
            sums[POSITIONS.name].update(read_bytes(files[POSITIONS.name], start, count, 8))
        for file in files.values():
            file.flush()
            sync_file(file.fileno())
    finally:
        for file in files.values():
            file.close()
    entries = {
        name: FileEntry(name, (directory / name).stat().st_size, sums[name].hexdigest())
        for name in files
    }
    return entries, error


_FIT_ROWS = 2048
"""Finding the axes takes a second for so many dimensions, and eight times as long for twice as many:
beyond that a sample of rows decides."""


def _fit(vectors: BinaryIO, rows: int, dimensions: int) -> NDArray[np.float32]:
    """The rotation of a segment, from blocks of its rows that are evenly spread."""
    if min(rows, _FIT_ROWS) < dimensions:
        chosen = np.unique(np.linspace(0, rows - 1, min(rows, _FIT_ROWS)).round().astype(int))
        return fit_rotation_to(
            np.concatenate([read_rows(vectors, int(row), 1, dimensions) for row in chosen])
        )
    blocks = -(-rows // SEAL_ROWS)
    moments = np.zeros((dimensions, dimensions))
    for number in sorted({round(i) for i in np.linspace(0, blocks - 1, _FIT_BLOCKS)}):
        start = number * SEAL_ROWS
        some = read_rows(vectors, start, min(SEAL_ROWS, rows - start), dimensions)
        wide = some.astype(np.float64)
        moments += wide.T @ wide
    return fit_rotation(moments)


def read_rows(file: BinaryIO, start: int, count: int, dimensions: int) -> NDArray[np.float32]:
    """Read rows of ``vectors.npy`` into memory, without mapping it.

    Raises:
        IndexFormatError: the file ends before them.
    """
    data = read_bytes(file, start, count, 4 * dimensions)
    return np.frombuffer(data, dtype="<f4").reshape(count, dimensions)


def read_bytes(file: BinaryIO, start: int, count: int, row_bytes: int) -> bytes:
    """Read ``count`` rows of an array from row ``start`` on, without mapping it.

    Raises:
        IndexFormatError: the file ends before them.
    """
    size = count * row_bytes
    data = os.pread(file.fileno(), size, HEADER_BYTES + start * row_bytes)
    if len(data) != size:
        raise IndexFormatError(f"{file.name} ends before row {start + count}")
    return data


def graph_files(graph: GraphArrays) -> dict[str, Callable[[Path], None]]:
    """What writes the files of a graph, by name; each is given the path to make."""
    arrays: tuple[NDArray[Any], ...] = (graph.links, graph.sketches, graph.center)
    return {
        file.name: partial(_write_array, file, array)
        for file, array in zip(GRAPH_ARRAYS, arrays, strict=True)
    }


def _write_array(file: ArrayFile, array: NDArray[Any], path: Path) -> None:
    with open(path, "wb") as target:
        target.write(npy_header(file.dtype, array.shape))
        target.write(raw_bytes(array.astype(file.dtype, copy=False)))


def made_files(directory: Path, writes: Mapping[str, Callable[[Path], None]]) -> list[FileEntry]:
    """Have additional files of a segment made, synced and named.

    Args:
        directory: of the segment.
        writes: by name; each is given the path to make.
    """
    return [_made_file(directory / name, write) for name, write in writes.items()]


def _made_file(path: Path, write: Callable[[Path], None]) -> FileEntry:
    unfinished = path.with_name(path.name + ".unfinished")
    write(unfinished)
    with open(unfinished, "r+b") as file:
        sync_file(file.fileno())
    os.rename(unfinished, path)
    sync_directory(path.parent)
    return FileEntry(path.name, path.stat().st_size, file_checksum(path))


def array_checksum(file: ArrayFile, array: NDArray[Any]) -> str:
    """XXH3 (128 bits) of the file that an array is, as hexadecimal."""
    digest = xxhash.xxh3_128(npy_header(file.dtype, array.shape))
    digest.update(raw_bytes(array))
    return digest.hexdigest()


def file_checksum(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """XXH3 (128 bits) of a file, as hexadecimal, read in pieces of 4 MiB."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
            if advance is not None:
                advance(len(piece))
    return digest.hexdigest()
