"""Candidates from a usearch HNSW graph over the int8 codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_codes
from qsearch.errors import IndexFormatError
from qsearch.store import Segment
from qsearch.wording import words

__all__ = ["GraphCandidates", "build_graph"]

_CONNECTIVITY = 16
_EXPANSION_ADD = 128
_MIN_EXPANSION_SEARCH = 64


def build_graph(segment: Segment, path: Path, advance: Callable[[int], None]) -> None:
    """Build the graph of one segment and write it to ``path``.

    Built with all threads, so two builds do not give the same bytes: a graph only proposes
    candidates, and what it proposes is rescored.

    Args:
        segment: whose int8 codes to use.
        path: file to write.
        advance: told how many rows were just added.
    """
    graph = _usearch().Index(
        ndim=segment.vectors.shape[1],
        metric="cos",
        dtype="i8",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
    )
    step = 4096
    for first in range(0, segment.rows, step):
        codes = np.ascontiguousarray(segment.int8[first : first + step])
        graph.add(np.arange(first, first + len(codes), dtype=np.uint64), codes, log=False)
        advance(len(codes))
    try:
        graph.save(str(path))
    except RuntimeError as error:  # usearch's word for what the file system refuses
        raise OSError(None, str(error), str(path)) from error


def _usearch() -> Any:
    """``usearch.index``.

    It exports a C++ library of its own, linked in statically. onnxruntime crashes the process when it is
    imported after that (usearch 2.26, onnxruntime 1.31, Linux), and works when it is imported before.
    """
    if "usearch.compiled" not in sys.modules:
        with suppress(ImportError):
            import onnxruntime  # noqa: F401
    import usearch.index

    return usearch.index


class GraphCandidates:
    """The graph of one segment, mapped and not loaded."""

    def __init__(self, segment: Segment) -> None:
        """Open the graph.

        Raises:
            IndexFormatError: the segment has none, or usearch cannot read it.
        """
        if segment.graph is None:
            raise IndexFormatError(
                f"the index has no graph; build it again with {words().graph} and {words().force}, or "
                "search with another method"
            )
        try:
            graph = _usearch().Index.restore(segment.graph, view=True)
        except (RuntimeError, ValueError) as error:
            raise IndexFormatError(
                f"the graph of segment {segment.id} cannot be opened ({error}); {words().verify} "
                "tells which file is damaged"
            ) from error
        if graph is None or len(graph) != segment.rows or graph.ndim != segment.vectors.shape[1]:
            raise IndexFormatError(f"segment {segment.id} has the graph of another segment")
        self._graph = graph
        self._file = segment.graph  # the graph looks into it
        self._rows = segment.rows

    def nearest(
        self, queries: NDArray[np.float32], count: int, threads: int | None = None
    ) -> NDArray[np.int64]:
        """Rows that the graph search ends at; see ``CandidateSource``."""
        if count >= self._rows:
            return np.tile(np.arange(self._rows, dtype=np.int64), (len(queries), 1))
        self._graph.expansion_search = max(_MIN_EXPANSION_SEARCH, count)
        found = np.empty((len(queries), count), dtype=np.int64)
        for i, codes in enumerate(int8_codes(queries).codes):
            keys = np.asarray(self._graph.search(codes, count).keys, dtype=np.int64)
            if len(keys) < count:
                # Many equal vectors can cut a graph into parts that a walk does not leave: the rest
                # is filled up, so that as many documents come back as were asked for.
                others = np.setdiff1d(np.arange(self._rows), keys)[: count - len(keys)]
                keys = np.concatenate([keys, others])
            found[i] = keys
        return found
