"""Internal limits so small that a few rows meet every path."""

from __future__ import annotations

from typing import Any

import qsearch.indexing.changing
import qsearch.indexing.chunks
import qsearch.indexing.graphs
import qsearch.indexing.upkeep
import qsearch.retrieval.exact
import qsearch.snapshot
import qsearch.store.catalog
import qsearch.store.editor
import qsearch.store.edits
import qsearch.store.merging
import qsearch.store.rewriting

Limits = tuple[tuple[Any, str, int], ...]

OF_A_FEW: Limits = (
    (qsearch.store.editor, "TAIL_ROWS", 6),
    (qsearch.store.merging, "TAIL_ROWS", 6),
    (qsearch.store.editor, "_MOST_BYTES", 1 << 22),
    (qsearch.store.editor, "_BYTES_OF_A_CHANGE", 1 << 23),
    (qsearch.store.edits, "_THROWN_AWAY_AT_A_TIME", 3),
    (qsearch.store.merging, "FANOUT", 3),
    (qsearch.store.merging, "_STEP_ROWS", 3),
    (qsearch.store.rewriting, "_STEP", 3),
    (qsearch.store.catalog, "_AT_A_TIME", 3),
    (qsearch.indexing.chunks, "_CHUNK_RECORDS", 3),
    (qsearch.indexing.chunks, "_CHUNK_ROWS", 3),
    (qsearch.indexing.changing, "_DELETE_AT_A_TIME", 2),
    (qsearch.indexing.graphs, "_GRAPH_ROWS", 4),
    (qsearch.snapshot, "_DOCUMENTS_AT_A_TIME", 2),
)
"""For changes of a few documents: kills, readers."""

OF_DOZENS: Limits = (
    (qsearch.store.editor, "TAIL_ROWS", 16),
    (qsearch.store.merging, "TAIL_ROWS", 16),
    (qsearch.store.editor, "_MOST_BYTES", 1 << 13),
    (qsearch.store.edits, "_THROWN_AWAY_AT_A_TIME", 10),
    (qsearch.indexing.chunks, "_CHUNK_RECORDS", 24),
    (qsearch.indexing.chunks, "_CHUNK_ROWS", 24),
    (qsearch.indexing.upkeep, "_LEAST_MORE", 40),
    (qsearch.indexing.graphs, "_GRAPH_ROWS", 24),
)
"""For changes of some dozens: what is recorded, refused and damaged."""

OF_HISTORIES: Limits = (
    (qsearch.store.editor, "TAIL_ROWS", 6),
    (qsearch.store.merging, "TAIL_ROWS", 6),
    (qsearch.store.editor, "_MOST_BYTES", 600),
    (qsearch.indexing.changing, "_DELETE_AT_A_TIME", 2),
    (qsearch.store.edits, "_THROWN_AWAY_AT_A_TIME", 5),
    (qsearch.indexing.graphs, "_GRAPH_ROWS", 10),
    (qsearch.retrieval.exact, "FEW_ROWS", 15),
    (qsearch.indexing.chunks, "_CHUNK_ENCODED", 60),
    (qsearch.indexing.chunks, "_CHUNK_ROWS", 5),
)


def make_small(limits: Limits) -> None:
    """For a process that does nothing else."""
    for module, name, value in limits:
        getattr(module, name)  # it is still called so
        setattr(module, name, value)
