"""Segments in memory, rows of every kind, and what an exact search must find in them."""

from __future__ import annotations

import numpy as np

from qsearch.codes import (
    binary_codes,
    fit_rotation,
    int8_codes,
    pack_blocks,
    rotated_codes,
    rotation_error,
    unit_rows,
)
from qsearch.kernels import kernel_paths
from qsearch.kernels.reference import cosine_gather
from qsearch.store import Segment
from qsearch.store.segment import RotatedArrays

NATIVE = [path for path in kernel_paths() if path != "numpy"]


KINDS = ("random", "grid", "one-hot", "equal", "nearly equal", "duplicates", "low rank", "negative")


def oracle(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The definition: every row scored in float64, rounded to float32, ties by position."""
    every = np.arange(len(rows))
    scores = cosine_gather(rows, queries, np.tile(every, (len(queries), 1)))
    order = np.lexsort((np.broadcast_to(every, scores.shape), -scores), axis=1)[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def segment_of(
    rows: np.ndarray, first: int = 0, rotation: np.ndarray | None = None, energy: float = 0.88
) -> Segment:
    """A segment in memory."""
    if rotation is None:
        wide = rows.astype(np.float64)
        rotation = fit_rotation(wide.T @ wide, energy)
    int8 = int8_codes(rows)
    error = rotation_error(rotation)
    rotated = rotated_codes(rows, rotation, error)
    return Segment(
        id="memory",
        first_row=first,
        first_document=first,
        last_document=first + len(rows) - 1,
        rows=len(rows),
        vectors=rows,
        int8=int8.codes,
        scale=int8.scale,
        residual=int8.residual,
        binary=pack_blocks(binary_codes(rows)),
        rotated=RotatedArrays(rotation, rotated.blocks, rotated.bounds),
        passages=None,
        positions=None,
    )


def segments_of(rows: np.ndarray, pieces: int = 1, energy: float = 0.88) -> list[Segment]:
    segments, first = [], 0
    for piece in np.array_split(rows, pieces):
        segments.append(segment_of(piece, first, energy=energy))
        first += len(piece)
    return segments


def rows_of(kind: str, n: int, d: int, generator: np.random.Generator) -> np.ndarray:
    rows = generator.standard_normal((n, d))
    if kind == "grid":
        rows = np.rint(rows)
        rows[~rows.any(axis=1)] = 1.0
    elif kind == "one-hot":
        rows = np.eye(d)[generator.integers(d, size=n)]
    elif kind == "equal":
        rows[:] = rows[0]
    elif kind == "nearly equal":
        rows = rows[0] * (1 + 1e-7 * generator.standard_normal((n, d)))
    elif kind == "duplicates":
        rows = rows[generator.integers(max(1, n // 3), size=n)]
    elif kind == "low rank":
        rank = max(1, d // 8)
        rows = generator.standard_normal((n, rank)) @ generator.standard_normal((rank, d))
        rows += 1e-3 * generator.standard_normal((n, d))
    elif kind == "negative":
        rows = -np.abs(rows)
    return unit_rows(rows)[0]
