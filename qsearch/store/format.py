"""Names and versions of the on-disk format; ``docs/format.md`` says it in prose.

Everything that decides how a byte lands on disk is defined here, so that a change of format is a
change of this file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.kernels.graph_reference import LINE_WORDS, sketch_lines
from qsearch.kernels.reference import GROUP, ROTATED_BLOCK_ROWS

__all__ = [
    "APPLICATION_ID",
    "ARRAYS",
    "BOOLEAN",
    "CATALOG",
    "CHANGES_VERSION",
    "FIELDS_VERSION",
    "FORMAT_VERSION",
    "GRAPH_ARRAYS",
    "GRAPH_DEGREE",
    "HEADER_BYTES",
    "LARGE",
    "LIST",
    "MISSING",
    "MOST_DIMENSIONS",
    "MOST_POSITIONS",
    "MOST_ROWS",
    "NEW_CATALOG",
    "NUMBER",
    "OBJECT",
    "OLD_GRAPH",
    "PASSAGES",
    "PENDING",
    "POSITIONS",
    "READABLE_VERSIONS",
    "ROTATED_ARRAYS",
    "ROTATION",
    "ROTATION_ERRORS",
    "SEGMENTS",
    "SEGMENT_FILES",
    "TAIL_ROWS",
    "TEXT",
    "VECTORS",
    "WRITER_LOCK",
    "ArrayFile",
    "array_bytes",
    "array_shape",
    "error_check",
    "kept_components",
    "npy_header",
    "raw_bytes",
    "staging_path",
]

APPLICATION_ID = 0x71737263  # "qsrc"
"""SQLite's ``application_id`` of a catalog: what tells it from any other database."""

FORMAT_VERSION = 4
"""SQLite's ``user_version`` of a catalog. Raised by every change that an older reader would misread."""

READABLE_VERSIONS = (1, 2, 3, 4)
"""Format 1 has no passages: its rows are its documents. Format 2 knows no changes: it is one commit.
Format 3 counts no fields, and indexes none."""

FIELDS_VERSION = 4
"""From this format on the catalog has tables of fields."""

CHANGES_VERSION = 3
"""From this format on an index can be changed: documents come and go with commits."""

CATALOG = "catalog.sqlite"
NEW_CATALOG = CATALOG + ".new"
"""A catalog that is written to take the place of the other one."""

WRITER_LOCK = "writer.lock"
"""Held by the process that changes the index, and says which that is."""

SEGMENTS = "segments"
PENDING = "pending"
"""Where the segment that is being filled is, among the others."""

OLD_GRAPH = "graph.usearch"
"""The graph of a segment from before there were ``GRAPH_ARRAYS``; still read, and no longer made."""

GRAPH_DEGREE = 64
"""Links of a row."""

TAIL_ROWS = 1024
"""So many rows at most are kept in the catalog itself, before they become a segment: a small change is one
transaction and nothing else."""

MOST_DIMENSIONS = 65_536
"""Products of int8 codes are summed in 32 bits, which hold 133,144 of them at most."""

MOST_ROWS = (1 << 32) - 1
"""Rows of a segment are numbered in 32 bits."""

MOST_POSITIONS = 1 << 60
"""Positions of documents and numbers of commits are never given twice, and kept in 64 bits."""

MISSING, NUMBER, BOOLEAN, TEXT, LIST, OBJECT, LARGE = range(7)
"""Kinds of the values of indexed fields. LARGE are whole numbers that a float64 does not hold; from TEXT on
they are codes of distinct values."""

ROTATION_ERRORS = "rotation_errors"
"""Setting: for each segment what ``codes.rotation_error`` says of its rotation, and its ``error_check``."""

HEADER_BYTES = 128
"""Every array starts with a ``.npy`` header (version 1.0) of exactly this size."""


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """One array of a segment: file name, dtype, and what follows n in its shape."""

    name: str
    dtype: str


VECTORS = ArrayFile("vectors.npy", "<f4")

ARRAYS = (
    VECTORS,
    ArrayFile("int8.npy", "|i1"),
    ArrayFile("scale.npy", "<f4"),
    ArrayFile("residual.npy", "<f4"),
    ArrayFile("binary.npy", "<u8"),
)
"""The arrays that every segment has, in the order in which they are written."""

PASSAGES = ArrayFile("passages.npy", "<i8")
"""Where rows are passages: number of the document in the segment, and where the passage begins and ends
in its text, in characters. Rows are in order of documents, and each document has at least one."""

POSITIONS = ArrayFile("positions.npy", "<i8")
"""Where the positions of a segment's documents have gaps: the position of each."""

ROTATION = "rotation.npy"

ROTATED_ARRAYS = (
    ArrayFile(ROTATION, "<f4"),
    ArrayFile("rotated.npy", "|u1"),
    ArrayFile("bounds.npy", "<f4"),
)
"""The arrays of the rotated codes: all or none. Segments from before there were any lack them, and
are searched more slowly."""


GRAPH_ARRAYS = (
    ArrayFile("links.npy", "<u4"),
    ArrayFile("sketches.npy", "<u8"),
    ArrayFile("center.npy", "<f4"),
)
"""The arrays of a graph: all or none."""

SEGMENT_FILES = frozenset(
    {one.name for one in (*ARRAYS, *ROTATED_ARRAYS, *GRAPH_ARRAYS, PASSAGES, POSITIONS)}
    | {OLD_GRAPH}
)
"""Every name that a file of a segment can have."""


def error_check(error: float, rotation_xxh3: str) -> str:
    """What ties the stored error of a rotation to the rotation: too small an error would hide rows.

    Args:
        error: see ``ROTATION_ERRORS``.
        rotation_xxh3: checksum of the file.
    """
    return xxhash.xxh3_128(f"{error!r} {rotation_xxh3}".encode()).hexdigest()


def array_shape(
    name: str, rows: int, dimensions: int, kept: int = 0, documents: int = 0
) -> tuple[int, ...]:
    """Shape of the array ``name`` in a segment of ``rows`` rows.

    Args:
        name: of the file.
        rows: n.
        dimensions: d.
        kept: h, components that the rotated codes keep.
        documents: m, of the segment.
    """
    if name == ROTATION:
        return (kept, dimensions)
    if name == "rotated.npy":
        return (-(-rows // ROTATED_BLOCK_ROWS), -(-kept // GROUP), ROTATED_BLOCK_ROWS, GROUP)
    if name == "bounds.npy":
        return (-(-rows // ROTATED_BLOCK_ROWS), 3, ROTATED_BLOCK_ROWS)
    if name == PASSAGES.name:
        return (rows, 3)
    if name == POSITIONS.name:
        return (documents,)
    if name in ("vectors.npy", "int8.npy"):
        return (rows, dimensions)
    if name in ("scale.npy", "residual.npy"):
        return (rows,)
    if name == "links.npy":
        return (rows, GRAPH_DEGREE)
    if name == "sketches.npy":
        return (rows, sketch_lines(dimensions), LINE_WORDS)
    if name == "center.npy":
        return (dimensions,)
    if name == "binary.npy":
        return (-(-rows // 8), -(-dimensions // 64), 8)
    raise KeyError(name)


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Build the ``HEADER_BYTES`` long header of a C-ordered ``.npy`` file, version 1.0.

    The size does not depend on the shape, so rows can be appended behind it before their number is
    known. A reader compares these bytes instead of parsing what a file claims about itself.
    """
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}"
    prefix = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    body = text.encode("ascii").ljust(HEADER_BYTES - len(prefix) - 1) + b"\n"
    if len(prefix) + len(body) != HEADER_BYTES:
        raise ValueError(f"shape {shape} does not fit the header")
    return prefix + body


def array_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Size of the whole file, header included."""
    return HEADER_BYTES + np.dtype(dtype).itemsize * math.prod(shape)


def kept_components(size: int, dimensions: int) -> int:
    """The number of rows of a ``rotation.npy`` of ``size`` bytes; 0 if there is no such number."""
    kept, rest = divmod(size - HEADER_BYTES, 4 * dimensions)
    return kept if rest == 0 and 0 < kept <= dimensions else 0


def raw_bytes(array: NDArray[Any]) -> memoryview:
    """The bytes of ``array`` in C order, as they go into a file; copied only if not contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def staging_path(target: Path) -> Path:
    """Where an index is built before it is published as ``target``."""
    target = Path(os.path.abspath(target))
    return target.with_name((target.name or "index") + ".building")
