"""Internal limits so small that a few rows meet every path."""

from __future__ import annotations

from typing import Any

import qsearch.indexing.changing
import qsearch.indexing.chunks
import qsearch.indexing.upkeep
import qsearch.snapshot
import qsearch.store.catalog
import qsearch.store.editor
import qsearch.store.merging
import qsearch.store.rewriting

LIMITS: tuple[tuple[Any, str, int], ...] = (
    (qsearch.store.editor, "TAIL_ROWS", 6),
    (qsearch.store.merging, "TAIL_ROWS", 6),
    (qsearch.store.editor, "_MOST_BYTES", 1 << 22),
    (qsearch.store.merging, "FANOUT", 3),
    (qsearch.store.merging, "_STEP_ROWS", 3),
    (qsearch.store.rewriting, "_STEP", 3),
    (qsearch.store.catalog, "_AT_A_TIME", 3),
    (qsearch.indexing.chunks, "_CHUNK_RECORDS", 3),
    (qsearch.indexing.chunks, "_CHUNK_ROWS", 3),
    (qsearch.indexing.changing, "_DELETE_AT_A_TIME", 2),
    (qsearch.indexing.upkeep, "_GRAPH_ROWS", 4),
    (qsearch.snapshot, "_DOCUMENTS_AT_A_TIME", 2),
)


def make_small() -> None:
    """For a process that does nothing else."""
    for module, name, value in LIMITS:
        getattr(module, name)  # it is still called so
        setattr(module, name, value)
