"""The tail: the newest rows of an index, kept in its catalog until there are enough for a segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.store.rows import TailRow
from qsearch.store.segment import Segment, derived_arrays
from qsearch.wording import words

__all__ = ["TAIL", "tail_rows", "tail_segment"]

TAIL = "tail"
"""The id of the segment that the tail is searched as."""


def tail_segment(tail: Sequence[TailRow], dimensions: int, first_row: int) -> Segment:
    """The tail as a segment in memory, without rotated codes.

    Args:
        tail: its rows, at least one.
        dimensions: d.
        first_row: rows in the segments before it.

    Raises:
        IndexFormatError: a row has other dimensions, or they are not in order.
    """
    of_rows = np.array([one.position for one in tail], dtype=np.int64)
    if any(len(one.vector) != 4 * dimensions for one in tail) or (np.diff(of_rows) < 0).any():
        raise IndexFormatError(f"the tail of the index is damaged; {words().verify} tells more")
    vectors = np.frombuffer(b"".join(one.vector for one in tail), dtype="<f4")
    vectors = vectors.reshape(len(tail), dimensions)
    positions, numbers = np.unique(of_rows, return_inverse=True)
    passages = None
    if tail[0].span is not None:
        spans = np.array([one.span for one in tail], dtype=np.int64)
        passages = np.column_stack([numbers.reshape(-1), spans])
    arrays = derived_arrays(vectors)
    return Segment(
        id=TAIL,
        first_row=first_row,
        first_document=int(positions[0]),
        last_document=int(positions[-1]),
        rows=len(tail),
        vectors=vectors,
        int8=arrays["int8.npy"],
        scale=arrays["scale.npy"],
        residual=arrays["residual.npy"],
        binary=arrays["binary.npy"],
        rotated=None,
        passages=passages,
        positions=positions,
    )


def tail_rows(
    first: int,
    positions: NDArray[np.int64],
    rows: NDArray[np.float32],
    passages: NDArray[np.int64] | None,
) -> list[TailRow]:
    """Rows as the tail has them.

    Args:
        first: the number of the first one.
        positions: (m,) of their documents.
        rows: (n, d) unit rows.
        passages: (n, 3), documents numbered from 0; ``None``: row r is document r.
    """
    data = np.ascontiguousarray(rows, dtype="<f4")
    if passages is None:
        return [
            TailRow(first + number, position, None, data[number].tobytes())
            for number, position in enumerate(positions.tolist())
        ]
    return [
        TailRow(first + number, int(positions[owner]), (begin, end), data[number].tobytes())
        for number, (owner, begin, end) in enumerate(passages.tolist())
    ]
