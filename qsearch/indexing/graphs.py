"""Graphs for segments that have none: of an index that is asked for one later, and behind every change."""

from __future__ import annotations

from collections.abc import Sequence

from qsearch.indexing.report import Progress
from qsearch.retrieval import build_graph
from qsearch.store import IndexEditor, Segment, graph_files, open_segments
from qsearch.store.format import GRAPH_ARRAYS, OLD_GRAPH
from qsearch.store.tail import TAIL

__all__ = ["add_graphs", "drop_graphs", "wants_graph", "without_graph"]

_GRAPH_ROWS = 4096
"""A smaller segment needs no graph where there is another one: all its rows are looked at as quickly."""

_FILES = tuple(one.name for one in GRAPH_ARRAYS)


def wants_graph(rows: int) -> bool:
    """Whether a segment of so many rows is too large to go without, where another one has a graph."""
    return rows > _GRAPH_ROWS


def add_graphs(editor: IndexEditor, segments: Sequence[Segment], progress: Progress) -> None:
    """Make a graph for each of the segments; what there is of one is replaced."""
    progress.begin("graph", sum(one.rows for one in segments), "rows")
    try:
        for segment in segments:
            graph = build_graph(segment, progress.advance)
            editor.add_files(segment.id, graph_files(graph), instead_of=(OLD_GRAPH, *_FILES))
    finally:
        progress.end()


def drop_graphs(editor: IndexEditor) -> bool:
    """Take all graphs away; returns whether there were any."""
    having = [
        entry.id
        for entry in editor.catalog.segments()
        if not {OLD_GRAPH, *_FILES}.isdisjoint(editor.catalog.files(entry.id))
    ]
    for name in having:
        editor.add_files(name, {}, instead_of=(OLD_GRAPH, *_FILES))
    return bool(having)


def without_graph(editor: IndexEditor) -> list[Segment]:
    """Segments that a graph is to be made of: those that have no sound one, and are not small.

    Where none has one, the small ones too.
    """
    segments = [one for one in open_segments(editor.index, editor.catalog) if one.id != TAIL]
    lacking = [one for one in segments if one.graph is None or one.graph.damaged() is not None]
    if len(lacking) < len(segments):
        lacking = [one for one in lacking if wants_graph(one.rows)]
    return lacking
