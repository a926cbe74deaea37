"""Batches of fixed shape, so that an embedding does not depend on its neighbours.

Matrix products choose their algorithm by shape, and another algorithm rounds otherwise: the same
text encoded alone and among others differs in the last bits. Here a text's batch always has the
shape (rows, padded length), and the padded length depends on the text alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = [
    "LENGTH_STEP",
    "SPARE_ON_GPU",
    "Batch",
    "batches_as_they_come",
    "by_length",
    "padded_length",
    "plan_batches",
    "same_length_batches",
    "single_batches",
]

LENGTH_STEP = 16
"""Lengths are padded to a multiple of this many tokens."""

SPARE_ON_GPU = 1
"""A row of each batch on a GPU is for no text and is padded: where nothing is padded, the transformers
package takes another kernel, and that rounds otherwise."""

_ALONE = 96
"""Texts of more tokens than this are encoded alone: their matrix products are large enough."""

_ROWS = 4
"""MiniLM on one thread (AVX-512), milliseconds for a text by rows 1, 2, 4, 8: 24 tokens 8.5, 6.8, 6.3,
5.5; 48 tokens 14.0, 11.4, 10.8, 10.6; 128 tokens 31.8, 30.2, 30.2, 31.7."""


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


def plan_batches(
    lengths: Sequence[int], rows_for: Callable[[int], int], spare: int = 0
) -> list[Batch]:
    """Put texts of the same length together, the longest first.

    The longest first, because then the largest allocation is the first one and progress speeds up
    rather than slowing down.

    Args:
        lengths: tokens that each text is padded to.
        rows_for: how many rows a batch of a length has.
        spare: so many of them are for no text.
    """
    return [
        Batch(tuple(members[start : start + rows - spare]), length, rows)
        for length, members in by_length(lengths)
        for rows in [rows_for(length)]
        for start in range(0, len(members), rows - spare)
    ]


def batches_as_they_come(
    lengths: Iterable[Sequence[int]], rows_for: Callable[[int], int], spare: int = 0
) -> Iterator[Batch]:
    """The same where lengths come part by part: full batches at once, the others behind the last part.

    There are as many batches as of all texts together.
    """
    waiting: dict[int, list[int]] = {}
    count = 0
    for part in lengths:
        for length in part:
            waiting.setdefault(length, []).append(count)
            count += 1
        for length, members in sorted(waiting.items(), reverse=True):
            rows = rows_for(length)
            full = len(members) // (rows - spare) * (rows - spare)
            for start in range(0, full, rows - spare):
                yield Batch(tuple(members[start : start + rows - spare]), length, rows)
            del members[:full]
    for length, members in sorted(waiting.items(), reverse=True):
        if members:
            yield Batch(tuple(members), length, rows_for(length))


def same_length_batches(lengths: Sequence[int]) -> list[Batch]:
    """Short texts in batches of two to four of the same length, long ones alone.

    Two rows or more give the same bits, which is tried out when a model is exported; one row does not.
    So a short text is never alone: where there is one of its length it stands beside a dummy.
    """
    batches = []
    for length, members in by_length(lengths):
        count = len(members) if length > _ALONE else -(-len(members) // _ROWS)
        for part in range(count):
            some = members[part::count]
            rows = 1 if length > _ALONE else max(2, len(some))
            batches.append(Batch(tuple(some), length, rows))
    return batches


def single_batches(lengths: Sequence[int]) -> list[Batch]:
    """Each alone."""
    return plan_batches(lengths, lambda length: 1)
