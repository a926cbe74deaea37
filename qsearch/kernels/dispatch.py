"""Chooses who does the work: native code for this processor, or NumPy where there is none.

The environment variable QSEARCH_KERNELS names a path (``avx512``, ``avx2``, ``neon_dot``, ``neon``,
``portable``, ``numpy``); without it the best one is taken. QSEARCH_THREADS sets the threads, 1 to 256.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import QueryError
from qsearch.kernels import reference
from qsearch.kernels.masks import RowMask
from qsearch.kernels.reference import Margins

try:
    from qsearch.kernels import _native as _found

    _native: ModuleType | None = _found
except ImportError:  # installed without a compiler
    _native = None

__all__ = [
    "CascadeResult",
    "CascadeSegments",
    "CodedSegments",
    "cascade_top_k",
    "code_projections",
    "code_rows",
    "cosine_gather",
    "first_unusable",
    "hamming_nearest",
    "has_native_kernels",
    "int8_gather",
    "kernel_path",
    "kernel_paths",
    "most_code",
    "native_module",
    "normalize",
    "search_segments",
    "thread_count",
    "use_kernels",
    "without_native",
]

NUMPY = "numpy"

_MOST_THREADS = 256
"""Each takes its share of the rows and some memory; more have nothing left to divide."""

_forced: str | None = None


def kernel_paths() -> tuple[str, ...]:
    """Names of all paths that this machine can run, the best first; ``numpy`` is always the last."""
    return _paths_of(_native)


@cache
def _paths_of(native: ModuleType | None) -> tuple[str, ...]:
    return (*(native.path_names() if native is not None else ()), NUMPY)


def kernel_path() -> str:
    """Name of the path in use.

    Raises:
        QueryError: QSEARCH_KERNELS names one that is not here.
    """
    wanted = _forced or _setting("QSEARCH_KERNELS")
    there = kernel_paths()
    if not wanted:
        return there[0]
    if wanted not in there:
        asked = "the path wanted" if _forced else "QSEARCH_KERNELS"
        raise QueryError(f"{asked} is {wanted!r}; this machine has {', '.join(there)}")
    return wanted


def has_native_kernels() -> bool:
    """Whether native code is in use."""
    return kernel_path() != NUMPY


def without_native() -> str | None:
    """What to say where there is no native code; ``None`` where there is, or NumPy was asked for."""
    if _native is not None or _forced or os.environ.get("QSEARCH_KERNELS"):
        return None
    return (
        "qsearch was installed without its native kernels, and searches take some eight times as long: "
        "install a C++ compiler (g++ or clang), and then qsearch again from where you got this one; "
        "QSEARCH_KERNELS=numpy does without them and does not say this"
    )


def native_module() -> tuple[str, ModuleType] | None:
    """The path in use and the module that has it; ``None`` where it is NumPy."""
    path = kernel_path()
    return None if path == NUMPY or _native is None else (path, _native)


@contextmanager
def use_kernels(path: str) -> Iterator[None]:
    """Use another path, for tests and benchmarks. Not for several threads at once."""
    global _forced
    before, _forced = _forced, path
    try:
        kernel_path()
        yield
    finally:
        _forced = before


def _setting(name: str) -> str | None:
    if _native is None:
        return os.environ.get(name)
    # Python's own way raises and catches an exception where there is none, some times in every search.
    value = _native.setting(name)
    return None if value is None else os.fsdecode(value)


def thread_count() -> int:
    """Threads for a search: the processors that this process may use, or QSEARCH_THREADS.

    Raises:
        QueryError: QSEARCH_THREADS is not a number from 1 to 256.
    """
    wanted = _setting("QSEARCH_THREADS")
    if wanted:
        if not re.fullmatch("[0-9]{1,3}", wanted) or not 1 <= int(wanted) <= _MOST_THREADS:
            raise QueryError(
                f"QSEARCH_THREADS is {wanted!r}; it must be a whole number from 1 to {_MOST_THREADS}"
            )
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    return min(_MOST_THREADS, os.cpu_count() or 1)


def most_code(queries: int) -> int:
    """What the scan in use takes as codes of so many queries at once: none beyond it.

    Coarse codes make many queries faster where instructions add up in few bits; one query waits for memory.
    """
    path = kernel_path()
    return 127 if path == NUMPY or _native is None else int(_native.most_code(path, queries))


def first_unusable(rows: NDArray[np.float32]) -> int:
    """See ``reference.first_unusable``."""
    path = kernel_path()
    if path == NUMPY or _native is None:
        return reference.first_unusable(rows)
    return int(_native.first_unusable(path, rows))


def normalize(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """See ``reference.normalize``."""
    path = kernel_path()
    if path == NUMPY or _native is None:
        return reference.normalize(rows)
    result = np.empty_like(rows, order="C")
    _native.normalize(path, rows, result)
    return result


def code_rows(
    rows: NDArray[np.float32], margins: Margins, most: int = 127
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """See ``reference.code_rows``."""
    if kernel_path() == NUMPY or _native is None:
        return reference.code_rows(rows, margins, most)
    codes = np.empty(rows.shape, dtype=np.int8)
    intervals = np.empty((len(rows), 4))
    _native.code_rows(rows, most, margins, codes, intervals)
    return codes, intervals


def code_projections(
    rows: NDArray[np.float32],
    axes: NDArray[np.float32],
    padded: int,
    margins: Margins,
    most: int = 127,
    threads: int | None = None,
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """See ``reference.code_projections``; ``threads`` ``None`` takes ``thread_count``.

    Without native code the products are a matrix product of NumPy, whose last bits are its own.
    """
    path = kernel_path()
    if path == NUMPY or _native is None:
        products = rows.astype(np.float64) @ axes.T.astype(np.float64)
        return reference.code_projections(rows, axes, padded, margins, most, products)
    codes = np.empty((len(rows), padded), dtype=np.int8)
    intervals = np.empty((len(rows), 4))
    _native.code_projections(
        path, rows, axes, most, margins, codes, intervals, threads or thread_count()
    )
    return codes, intervals


def cosine_gather(
    rows: NDArray[np.float32],
    queries: NDArray[np.float32],
    indices: NDArray[np.int64],
    threads: int | None = None,
) -> NDArray[np.float32]:
    """See ``reference.cosine_gather``; ``threads`` ``None`` takes ``thread_count``."""
    path = kernel_path()
    if path == NUMPY or _native is None:
        return reference.cosine_gather(rows, queries, indices)
    result = np.empty(indices.shape, dtype=np.float32)
    indices = np.ascontiguousarray(indices)
    _native.cosine_gather(path, rows, queries, indices, result, threads or thread_count())
    return result


def int8_gather(
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    queries: NDArray[np.int8],
    indices: NDArray[np.int64],
    threads: int | None = None,
) -> NDArray[np.float32]:
    """See ``reference.int8_gather``; ``threads`` ``None`` takes ``thread_count``."""
    path = kernel_path()
    if path == NUMPY or _native is None:
        return reference.int8_gather(codes, scale, queries, indices)
    result = np.empty(indices.shape, dtype=np.float32)
    indices = np.ascontiguousarray(indices)
    _native.int8_gather(path, codes, scale, queries, indices, result, threads or thread_count())
    return result


def hamming_nearest(
    blocks: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    n_rows: int,
    count: int,
    threads: int | None = None,
    mask: RowMask | None = None,
) -> NDArray[np.int64]:
    """See ``reference.hamming_nearest``; ``threads`` ``None`` takes ``thread_count``."""
    path = kernel_path()
    if path == NUMPY or _native is None:
        return reference.hamming_nearest(blocks, queries, n_rows, count, mask)
    result = np.empty((len(queries), count), dtype=np.int64)
    bits = None if mask is None else mask.bits
    _native.hamming_nearest(path, blocks, queries, n_rows, bits, result, threads or thread_count())
    return result


class CodedSegments:
    """Segments with rotated codes, as native code sees them; made once and used by many searches."""

    def __init__(
        self,
        segments: Sequence[Any],
        turned: Sequence[int],
        rotations: Sequence[tuple[NDArray[np.float32], Margins]],
        margins: Margins,
    ) -> None:
        """Take the arrays; native code only.

        Args:
            segments: one at least; each has ``rotated`` (``blocks`` and ``bounds``), ``int8``, ``scale``,
                ``residual``, ``vectors`` and ``first_row`` (``store.Segment``).
            turned: the number of each one's rotation.
            rotations: axes, and margins for codes of queries along them.
            margins: for int8 codes of queries.

        Raises:
            ValueError: a shape is wrong.
            RuntimeError: there is no native code.
        """
        if _native is None:
            raise RuntimeError("a search by rotated codes needs native kernels")
        self.arrays = _native.CodedSegments(
            [one.rotated.blocks for one in segments],
            [one.rotated.bounds for one in segments],
            [one.int8 for one in segments],
            [one.scale for one in segments],
            [one.residual for one in segments],
            [one.vectors for one in segments],
            [one.first_row for one in segments],
            turned,
            [axes for axes, _ in rotations],
            [margins_of for _, margins_of in rotations],
            margins,
        )


def search_segments(
    segments: CodedSegments,
    masks: Sequence[RowMask | None],
    these: range,
    queries: NDArray[np.float32],
    scores: NDArray[np.float32],
    positions: NDArray[np.int64],
    looked: NDArray[np.int64],
    spent: NDArray[np.int64],
    threads: int | None = None,
    *,
    before: int = 0,
) -> int:
    """Bring the k best documents of every query up to date with the allowed rows of some segments.

    Native code only. A scan of the rotated codes leaves the rows whose bound reaches the k-th score
    found so far; the int8 codes leave fewer; these are scored as ``cosine_gather`` does. Codes and bounds
    of the queries are those of ``code_rows`` and ``code_projections``, of ``normalize``.

    Args:
        segments: of an index.
        masks: which rows of each are allowed; ``None``: all.
        these: the numbers of those that are searched.
        queries: (q, d) float32, as they came.
        scores: (q, k) float32, changed: the best scores, sorted on return.
        positions: (q, k) int64, changed: their documents, ties by position.
        looked: (4, q) int64, added to: rows that the scans left, and bytes of their int8 codes; rows that
            were scored, and bytes of their floats.
        spent: (4,) int64, added to: nanoseconds that preparing the queries took, and that scanning, the
            int8 codes and scoring did, of all threads.
        threads: ``None`` takes ``thread_count``.
        before: how many rows were allowed in segments that were searched before: min(``before``, k) places
            of ``scores`` are in use.

    Returns:
        The number of the first segment that has a row that is not finite, or codes that contradict the
        rows; −1: there is none.

    Raises:
        ValueError: a shape is wrong.
        RuntimeError: there is no native code.
    """
    path = kernel_path()
    if path == NUMPY or _native is None:
        raise RuntimeError("a search by rotated codes needs native kernels")
    damaged: int = _native.search_segments(
        path,
        segments.arrays,
        [None if mask is None else mask.bits for mask in masks],
        these.start,
        these.stop,
        before,
        queries,
        scores,
        positions,
        looked,
        spent,
        threads or thread_count(),
    )
    return damaged


class CascadeSegments:
    """The segments of a cascade, as native code sees them; made once and used by many searches."""

    def __init__(self, segments: Sequence[Any]) -> None:
        """Take the arrays; native code only.

        Args:
            segments: one at least; each has ``binary``, ``int8``, ``scale``, ``vectors`` and ``first_row``
                (``store.Segment``).

        Raises:
            ValueError: a shape is wrong.
            RuntimeError: there is no native code.
        """
        if _native is None:
            raise RuntimeError("a cascade in one call needs native kernels")
        self.arrays = _native.CascadeSegments(
            [one.binary for one in segments],
            [one.int8 for one in segments],
            [one.scale for one in segments],
            [one.vectors for one in segments],
            [one.first_row for one in segments],
        )


class CascadeResult(NamedTuple):
    """What a cascade found for q queries.

    Attributes:
        scores: (q, k) float32, −inf behind the last.
        positions: (q, k) int64, −1 behind the last.
        leads: (q, depths) float64, see ``retrieval.lead``.
        scored: (q,) int64: rows whose floats were read.
        seconds: that the three stages took.
        damaged: position of a row that is not finite; −1: none was met.
    """

    scores: NDArray[np.float32]
    positions: NDArray[np.int64]
    leads: NDArray[np.float64]
    scored: NDArray[np.int64]
    seconds: tuple[float, float, float]
    damaged: int


def cascade_top_k(
    segments: CascadeSegments,
    masks: Sequence[RowMask | None],
    queries: NDArray[np.float32],
    words: NDArray[np.uint64],
    codes: NDArray[np.int8],
    k: int,
    candidates: int,
    kept: int,
    depths: Sequence[int] = (),
    threads: int | None = None,
    blurs: NDArray[np.float32] | None = None,
) -> CascadeResult:
    """Choose candidates by binary codes, fewer by int8 codes, and the k best by their exact scores.

    Native code only: it does what ``hamming_nearest``, ``int8_gather`` and ``cosine_gather`` do one after
    the other.

    Args:
        segments: of the index.
        masks: which rows of each are allowed, at least one in all; ``None``: all.
        queries: (q, d) float32, as they came.
        words: (q, w) uint64, their signs.
        codes: (q, d) int8 of ``codes.int8_query_codes``.
        k: rows to return.
        candidates: rows of smallest Hamming distance, of each segment.
        kept: how many of them the int8 codes pass on, at least k; equal scores in the order of candidates.
        depths: of the leads that are wanted.
        threads: ``None`` takes ``thread_count``.
        blurs: (q,) float32: what is within so much of the k-th by int8 codes is kept too; ``None``: nothing
            more.

    Raises:
        ValueError: a shape is wrong.
        RuntimeError: there is no native code.
    """
    path = kernel_path()
    if path == NUMPY or _native is None:
        raise RuntimeError("cascade_top_k needs native kernels")
    count = len(queries)
    scores = np.empty((count, k), dtype=np.float32)
    positions = np.empty((count, k), dtype=np.int64)
    leads = np.empty((count, len(depths)))
    scored = np.empty(count, dtype=np.int64)
    blurs = np.full(count, -np.inf, dtype=np.float32) if blurs is None else blurs
    spent = np.zeros(3, dtype=np.int64)
    damaged = _native.cascade_top_k(
        path,
        segments.arrays,
        [None if mask is None else mask.bits for mask in masks],
        queries,
        words,
        codes,
        blurs,
        candidates,
        kept,
        list(depths),
        scores,
        positions,
        leads,
        scored,
        spent,
        threads or thread_count(),
    )
    choosing, refining, scoring = (spent / 1e9).tolist()
    return CascadeResult(scores, positions, leads, scored, (choosing, refining, scoring), damaged)
