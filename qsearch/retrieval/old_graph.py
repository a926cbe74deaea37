"""Candidates from a graph as earlier versions made it: usearch's HNSW over the int8 codes."""

from __future__ import annotations

import sys
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.codes import int8_query_codes
from qsearch.errors import IndexFormatError
from qsearch.kernels import RowMask
from qsearch.locks import ProcessLock
from qsearch.retrieval.ranking import Candidates
from qsearch.store import Segment
from qsearch.wording import words

__all__ = ["OldGraph"]

_MIN_EXPANSION_SEARCH = 64
_VIEWS = 4
"""Each takes some bytes for every row."""


def _usearch() -> Any:
    """``usearch.index``.

    It exports a C++ library of its own, linked in statically. onnxruntime crashes the process when it is
    imported after that (usearch 2.26, onnxruntime 1.31, Linux), and works when it is imported before.
    """
    if "usearch.compiled" not in sys.modules:
        with suppress(ImportError):
            import onnxruntime  # noqa: F401 (for its order alone)
    import usearch.index

    return usearch.index


class OldGraph:
    """The graph of one segment, mapped and not loaded. Safe to share between threads."""

    def __init__(self, segment: Segment) -> None:
        """Open the graph, once its checksum has been seen to hold.

        usearch believes what a file says about itself: damage would end the process, or never end.

        Raises:
            IndexFormatError: it is damaged, or usearch cannot read it.
        """
        if segment.old_graph is None:
            raise ValueError("the segment has no such graph")
        if xxhash.xxh3_128(segment.old_graph.data).hexdigest() != segment.old_graph_xxh3:
            raise IndexFormatError(
                f"the graph of segment {segment.id} is damaged: its checksum is not what it should be; "
                f"search with another method, or build the index again with {words().graph} and "
                f"{words().force}"
            )
        self._file = segment.old_graph  # the graph looks into it
        self._id = segment.id
        self._rows, self._dimensions = segment.rows, segment.vectors.shape[1]
        self._lock = ProcessLock()
        self._views: OrderedDict[int, Any] = OrderedDict()
        self._view(_MIN_EXPANSION_SEARCH)

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        threads: int | None = None,
        mask: RowMask | None = None,
    ) -> Candidates:
        """Rows that the graph search ends at; see ``CandidateSource``."""
        allowed = None if mask is None else mask.indices()
        most = self._rows if allowed is None else len(allowed)
        looked = np.zeros(len(queries), dtype=np.int64)
        if count >= most:
            every = np.arange(self._rows) if allowed is None else allowed
            return Candidates(np.tile(every, (len(queries), 1)), looked, self._dimensions)
        # The walk knows nothing of masks. It goes as far as finds so many allowed rows on average.
        walked = min(self._rows, -(-count * self._rows // most))
        graph = self._view(max(_MIN_EXPANSION_SEARCH, walked))
        found = np.empty((len(queries), count), dtype=np.int64)
        for i, codes in enumerate(int8_query_codes(queries).codes):
            walk = graph.search(codes, walked)
            looked[i] = walk.computed_distances
            keys = np.asarray(walk.keys, dtype=np.int64)
            if allowed is not None:
                keys = keys[np.isin(keys, allowed, assume_unique=True)][:count]
            if len(keys) < count:
                # Many equal vectors can cut a graph into parts that a walk does not leave, and masks
                # leave rows out: the rest is filled up, so that as many come back as were asked for.
                every = np.arange(self._rows) if allowed is None else allowed
                others = np.setdiff1d(every, keys)[: count - len(keys)]
                keys = np.concatenate([keys, others])
            found[i] = keys
        return Candidates(found, looked, self._dimensions)

    def _view(self, expansion: int) -> Any:
        """The graph with this many places on a walk.

        usearch keeps that number in the graph: a view for each, so that what one thread asks for does not
        change what another finds. A few of them are kept.
        """
        with self._lock:
            if expansion in self._views:
                self._views.move_to_end(expansion)
            else:
                self._views[expansion] = self._opened(expansion)
                if len(self._views) > _VIEWS:
                    self._views.popitem(last=False)
            return self._views[expansion]

    def _opened(self, expansion: int) -> Any:
        try:
            graph = _usearch().Index.restore(self._file, view=True)
        except (RuntimeError, ValueError) as error:
            raise IndexFormatError(
                f"the graph of segment {self._id} cannot be opened ({error}); {words().verify} "
                "tells which file is damaged"
            ) from error
        if graph is None or len(graph) != self._rows or graph.ndim != self._dimensions:
            raise IndexFormatError(f"segment {self._id} has the graph of another segment")
        graph.expansion_search = expansion
        return graph
