"""Exact search with a certificate: the k documents of highest score, proven for every query."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_margins, rotated_margins
from qsearch.kernels import CodedSegments, Margins, has_native_kernels, search_segments
from qsearch.lazily import cached_property
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.floats import (
    FEW_ROWS,
    SCORED_QUERIES,
    damaged,
    search_few,
    search_floats,
)
from qsearch.retrieval.ranking import Ranking, Stage, merged
from qsearch.store import Segment

__all__ = ["ExactSearch", "is_gathered"]

_FEW_ROWS = 1024
"""Where a filter allows no more rows, they are looked up and all scored, wherever they lie."""

_READ_FOR_ONE, _READ_FOR_SEVERAL = 12, 4
"""More are too, where a scan would read so many times as many, in blocks that hold some: for queries one by
one, and for several. ``scripts/bench/filters.py --switch`` prints what either takes."""


def is_gathered(allowed: Allowed, queries: int) -> bool:
    """Whether rows that a filter allows are looked up and all scored, instead of scanned for.

    Args:
        allowed: by the filter.
        queries: so many together.
    """
    if allowed.documents is None:
        return False
    read = _READ_FOR_ONE if queries <= SCORED_QUERIES else _READ_FOR_SEVERAL
    return allowed.rows <= _FEW_ROWS or read * allowed.rows <= allowed.scanned


class ExactSearch:
    """Exact search over the segments of an index.

    With native kernels a scan of the rotated codes and then the int8 codes rule out all but a few
    rows, which are scored exactly; docs/exactness.md has the proof. Without, and for segments
    that have no rotated codes, a float32 matrix product with a margin for its rounding does it.
    """

    def __init__(self, segments: Sequence[Segment], *, release: bool = False) -> None:
        """Take the segments in document order.

        Args:
            segments: of the index.
            release: let go of each segment's memory when it has been searched.
        """
        self._release = release
        self._segments = list(segments)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        threads: int | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """The k allowed rows of highest score for every query, ties by document order.

        Args:
            queries: (q, d) float32, checked.
            k: at most the number of rows that are allowed.
            threads: ``None``: all.
            allowed: rows of every segment; ``None``: all that were not deleted.

        Raises:
            IndexFormatError: a row is damaged.
        """
        if allowed is not None and is_gathered(allowed, len(queries)):
            return search_few(self._segments, queries, k, threads, allowed)
        allowed = allowed or self._living
        coded = self._coded
        if not coded or not has_native_kernels():
            return _by_floats(self._segments, queries, k, threads, allowed)
        if len(coded) == len(self._segments):
            return self._search_codes(queries, k, threads, allowed)
        plain = [one.rotated is None for one in self._segments]
        found = self._search_codes(queries, k, threads, allowed.of([not one for one in plain]))
        others = [one for one, here in zip(self._segments, plain, strict=True) if here]
        if sum(one.rows for one in others) <= FEW_ROWS:
            return search_few(others, queries, k, threads, allowed.of(plain), found)
        return merged(found, _by_floats(others, queries, k, threads, allowed.of(plain)), k)

    @cached_property
    def _living(self) -> Allowed:
        return Allowed.living(self._segments)

    @cached_property
    def _coded(self) -> list[Segment]:
        return [one for one in self._segments if one.rotated is not None]

    @cached_property
    def _arrays(self) -> CodedSegments:
        # Pieces of one segment share its rotation: what depends on it alone is looked at once.
        numbers: dict[int, int] = {}
        rotations: list[tuple[NDArray[np.float32], Margins]] = []
        turned = []
        for rotated in (one.rotated for one in self._segments if one.rotated is not None):
            number = numbers.setdefault(id(rotated.rotation), len(rotations))
            if number == len(rotations):
                margins = rotated_margins(rotated.rotation, rotated.error())
                rotations.append((rotated.rotation, margins))
            turned.append(number)
        d = self._coded[0].vectors.shape[1]
        return CodedSegments(self._coded, turned, rotations, int8_margins(d))

    def _search_codes(
        self, queries: NDArray[np.float32], k: int, threads: int | None, allowed: Allowed
    ) -> Ranking:
        """Of the segments that have rotated codes, which ``allowed`` is of."""
        started = time.perf_counter()
        best = _Best(len(queries), k)
        if self._release:
            for number, segment in enumerate(self._coded):
                self._update(best, range(number, number + 1), queries, threads, allowed)
                segment.release()
        else:
            self._update(best, range(len(self._coded)), queries, threads, allowed)
        taken = time.perf_counter() - started

        def stages() -> tuple[Stage, ...]:
            preparing, *spent = best.spent.tolist()
            # Threads work side by side: what each stage took of their time, it took of the whole.
            share = (taken - 1e-9 * preparing) / max(1, sum(spent))
            nothing, scanned, scanned_bytes, *looked = best.looked
            scanned.fill(allowed.rows)
            scanned_bytes.fill(self._scanned_bytes(allowed))
            return (
                Stage("preparing", nothing, nothing, 1e-9 * preparing),
                Stage("rotated codes", scanned, scanned_bytes, share * spent[0]),
                Stage("int8 codes", looked[0], looked[1], share * spent[1]),
                Stage("floats", looked[2], looked[3], share * spent[2]),
            )

        return Ranking(best.positions, best.scores, np.ones(len(queries), dtype=np.bool_), stages)

    def _scanned_bytes(self, allowed: Allowed) -> int:
        """Bytes of rotated codes that a scan for rows reads: of the blocks that hold one of them."""
        size = 0
        for segment, mask, most in zip(self._coded, allowed.masks, allowed.counts, strict=True):
            rotated = segment.rotated
            if most and rotated is not None:
                blocks = len(rotated.blocks)
                read = blocks if mask is None else mask.blocks
                size += (rotated.blocks.nbytes + rotated.bounds.nbytes) // blocks * read
        return size

    def _update(
        self,
        best: _Best,
        these: range,
        queries: NDArray[np.float32],
        threads: int | None,
        allowed: Allowed,
    ) -> None:
        """Take in the allowed rows of some of the segments with rotated codes."""
        wrong = search_segments(
            self._arrays,
            allowed.masks,
            these,
            queries,
            best.scores,
            best.positions,
            best.looked[3:],
            best.spent,
            threads,
            before=best.rows,
        )
        if wrong >= 0:
            found = "rows that are not finite, or codes that contradict its rows"
            raise damaged(self._coded[wrong], found)
        best.rows += sum(allowed.counts[these.start : these.stop])


class _Best:
    """The k best documents so far, and what that took.

    Attributes:
        scores: (q, k) float32.
        positions: (q, k) int64.
        looked: (7, q) int64: zeros, for what looks at no row; rows and bytes that are scanned; and what
            ``search_segments`` counts.
        spent: (4,) int64, see there.
        rows: of how many they are the best.
    """

    def __init__(self, count: int, k: int) -> None:
        self.scores = np.empty((count, k), dtype=np.float32)
        self.scores.fill(-np.inf)
        self.positions = np.empty((count, k), dtype=np.int64)
        self.positions.fill(-1)
        self.looked = np.zeros((7, count), dtype=np.int64)
        self.spent = np.zeros(4, dtype=np.int64)
        self.rows = 0


def _by_floats(
    segments: Sequence[Segment],
    queries: NDArray[np.float32],
    k: int,
    threads: int | None,
    allowed: Allowed,
) -> Ranking:
    """The k best of segments without codes; filled up with −1 and −inf."""
    if sum(one.rows for one in segments) <= FEW_ROWS:
        return search_few(segments, queries, k, threads, allowed)
    most = min(k, allowed.rows)
    found = search_floats(segments, queries, most, allowed)
    return merged(found, None, k)
