"""Sample queries: those that stand for the ones to come, and strangers that stand for any other.

Where no sample is given, documents and middles between two of them are one. Strangers are documents with
more and more noise, down to nothing but noise; and beside a sample that is given such middles too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.store import Segment

__all__ = ["Kinds", "all_kinds"]

_QUERIES = 500

_NOISE = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, math.inf, math.inf)
"""Lengths of the noise that makes strangers of documents. At 0.5 they are among the documents still."""

_STRANGERS = 140
"""Of each kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Sample queries of several kinds.

    Attributes:
        queries: (q, d) float32.
        left_out: (q, r) rows, filled up with −1, that a query was made of.
        kind: (q,) number of the kind of each.
        own: kinds that stand for the queries to come; the others are strangers.
    """

    queries: NDArray[np.float32]
    left_out: NDArray[np.int64]
    kind: NDArray[np.int64]
    own: int


def all_kinds(
    pieces: Sequence[Segment],
    queries: NDArray[np.float32] | None,
    count: int = _QUERIES,
    strangers: int = _STRANGERS,
) -> Kinds:
    """The sample (given, or documents and middles between them) and strangers.

    Of rows whose documents were deleted nothing is made.

    Args:
        pieces: of the index.
        queries: (q, d) float32; ``None``: ``count`` of them are made.
        count: about half of them documents, half middles.
        strangers: of each kind.
    """
    living = _Living(pieces)
    positions = living.spread(max(1, count // 2))
    rows = _rows_at(pieces, positions)
    generator = np.random.default_rng(0)
    found: list[tuple[NDArray[np.float32], list[NDArray[np.int64]]]] = []
    if queries is None:
        found.append((rows, [positions]))
        found.append(_middles(rows, positions, generator))
    else:
        found.append((queries, []))
    own = len(found)
    positions = living.spread(max(1, strangers))
    rows = _rows_at(pieces, positions)
    if queries is not None:
        found.append(_middles(rows, positions, generator))
    for length in _NOISE:
        noise = unit_rows(generator.standard_normal(rows.shape))[0]
        if math.isinf(length):
            found.append((noise, []))
        else:
            some = (rows + np.float32(length) * noise).astype(np.float32)
            usable = np.abs(some).max(axis=1) > 0.01  # of few dimensions noise may be the opposite
            found.append((some[usable], [positions[usable]]))
    width = max(len(left_out) for _, left_out in found)
    left_out = np.full((sum(len(some) for some, _ in found), width), -1, dtype=np.int64)
    first = 0
    for some, columns in found:
        for number, column in enumerate(columns):
            left_out[first : first + len(some), number] = column
        first += len(some)
    kind = np.repeat(np.arange(len(found)), [len(some) for some, _ in found])
    return Kinds(np.concatenate([some for some, _ in found]), left_out, kind, own)


def _middles(
    rows: NDArray[np.float32], positions: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.int64]]]:
    """Middles between two of some rows, and the positions of both."""
    order = generator.permutation(len(rows))
    middles = rows + rows[order]
    usable = np.abs(middles).max(axis=1) > 0.01  # two opposite documents have no middle
    return middles[usable], [positions[usable], positions[order][usable]]


class _Living:
    """The rows of an index that live, numbered without those that do not."""

    def __init__(self, pieces: Sequence[Segment]) -> None:
        self._pieces = pieces
        counts = [one.living_rows for one in pieces]
        self._after = np.cumsum(counts)

    def spread(self, count: int) -> NDArray[np.int64]:
        """So many positions of rows, or as many as there are, evenly spread."""
        total = int(self._after[-1])
        chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))
        found = []
        for number, piece in enumerate(self._pieces):
            last = self._after[number]
            here = chosen[(chosen < last) & (chosen >= (self._after[number - 1] if number else 0))]
            rows = here - (self._after[number - 1] if number else 0)
            if piece.living is not None:
                rows = piece.living.indices()[rows]
            found.append(rows + piece.first_row)
        return np.concatenate(found)


def _rows_at(pieces: Sequence[Segment], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Float rows at rising positions."""
    chosen = []
    for piece in pieces:
        here = positions - piece.first_row
        chosen.append(piece.vectors[here[(here >= 0) & (here < piece.rows)]])
        piece.release()
    return np.concatenate(chosen)
