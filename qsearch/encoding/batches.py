"""Batches of fixed shape, so that an embedding does not depend on its neighbours.

Matrix products choose their algorithm by shape, and another algorithm rounds otherwise: the same
text encoded alone and among others differs in the last bits. Here a text's batch always has the
shape (rows, padded length), and the padded length depends on the text alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["LENGTH_STEP", "Batch", "by_length", "padded_length", "plan_batches"]

LENGTH_STEP = 16
"""Lengths are padded to a multiple of this many tokens."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some texts of similar length.

    Attributes:
        indices: which texts; at most ``rows`` of them.
        length: tokens that each is padded to.
        rows: rows of the batch; those behind the texts are filled with a dummy.
    """

    indices: tuple[int, ...]
    length: int
    rows: int


def padded_length(tokens: int, max_length: int) -> int:
    """The next multiple of ``LENGTH_STEP``, but not above the maximum length (0: there is none).

    >>> padded_length(17, 256), padded_length(900, 250), padded_length(900, 0)
    (32, 250, 912)
    """
    padded = max(1, -(-tokens // LENGTH_STEP)) * LENGTH_STEP
    return min(padded, max_length) if max_length else padded


def by_length(lengths: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Lengths, the longest first, each with the texts that have it."""
    buckets: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        buckets.setdefault(length, []).append(index)
    return sorted(buckets.items(), reverse=True)


def plan_batches(lengths: Sequence[int], rows_for: Callable[[int], int]) -> list[Batch]:
    """Put texts of the same length together, the longest first.

    The longest first, because then the largest allocation is the first one and progress speeds up
    rather than slowing down.

    Args:
        lengths: tokens that each text is padded to.
        rows_for: how many rows a batch of a length has.
    """
    return [
        Batch(tuple(members[start : start + rows]), length, rows)
        for length, members in by_length(lengths)
        for rows in [rows_for(length)]
        for start in range(0, len(members), rows)
    ]
