"""Graphs for segments that have none: of an index that is asked for one later, and behind every change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from qsearch.indexing.report import Progress
from qsearch.retrieval import build_graph
from qsearch.store import IndexEditor, Segment, graph_files, open_segments
from qsearch.store.format import GRAPH_ARRAYS, OLD_GRAPH
from qsearch.store.rows import SegmentEntry
from qsearch.store.tail import TAIL

__all__ = ["add_graphs", "drop_graphs", "lacking_graphs", "large_enough"]

_GRAPH_ROWS = 4096
"""A smaller segment needs no graph where there is another one: all its rows are looked at as quickly."""

_Rows = TypeVar("_Rows", Segment, SegmentEntry)

_FILES = tuple(one.name for one in GRAPH_ARRAYS)


def large_enough(without: Sequence[_Rows], segments: int) -> list[_Rows]:
    """Those that are to have a graph.

    Args:
        without: segments that have none.
        segments: how many there are: where none has one, the small ones are to have one too.
    """
    if len(without) == segments:
        return list(without)
    return [one for one in without if one.rows > _GRAPH_ROWS]


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


def lacking_graphs(editor: IndexEditor) -> list[Segment]:
    """Segments that a graph is to be made of: large ones that have none, and those whose is damaged."""
    segments = [one for one in open_segments(editor.index, editor.catalog) if one.id != TAIL]
    damaged = {
        one.id
        for one in segments
        if one.graph_problem is not None or (one.graph and one.graph.damaged() is not None)
    }
    without = [one for one in segments if one.graph is None and one.id not in damaged]
    chosen = damaged.union(one.id for one in large_enough(without, len(segments)))
    return [one for one in segments if one.id in chosen]
