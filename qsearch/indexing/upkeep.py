"""What keeps an index as fast as it was built, behind a change: merging, graphs, and recall measured anew.

Each is a commit of its own that changes no answer. What cannot be done is told and left for the next time:
the change itself is safe by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from qsearch.errors import IndexBusy, IndexFormatError, IndexWriteError
from qsearch.indexing.report import Progress
from qsearch.kernels import RowMask
from qsearch.retrieval import FROM_DOCUMENTS, build_graph, measure
from qsearch.store import (
    Catalog,
    IndexEditor,
    Segment,
    measured_segments,
    open_segments,
    set_commit,
    tier_groups,
)
from qsearch.store.catalog import SegmentEntry
from qsearch.store.format import GRAPH
from qsearch.store.opening import checked_dimensions
from qsearch.store.tail import TAIL

__all__ = ["keep_up"]

_log = logging.getLogger("qsearch")

_GRAPH_ROWS = 4096
"""A smaller segment needs no graph where there is another one: all its rows are looked at as quickly."""

_MORE = 0.25
"""Recall is measured again when so much came behind what it was measured on, which is searched exactly."""

_LEAST_MORE = 1024


def keep_up(index: Path, progress: Progress, *, force_measure: bool = False) -> None:
    """Merge small segments, add graphs and measure recall, as far as it is due."""
    try:
        while _merge(index, progress):
            pass
        _add_graphs(index, progress)
        _measure(index, progress, force=force_measure)
    except (IndexFormatError, IndexWriteError, IndexBusy) as error:
        _log.warning("the change is done; what keeps the index fast is not: %s", error)


def _living(catalog: Catalog, entries: list[SegmentEntry]) -> list[int]:
    masks = catalog.masks()
    return [masks[one.id].rows if one.id in masks else one.rows for one in entries]


def _merge(index: Path, progress: Progress) -> bool:
    """Merge one group of segments, if one is to be; says whether."""
    catalog = Catalog.open(index)
    try:
        set_commit(catalog)
        entries = catalog.segments()
        due = tier_groups(_living(catalog, entries), [one.rows for one in entries], 1 << 20)
    finally:
        catalog.close()
    if not due:
        return False
    with IndexEditor.open(index) as editor:
        entries = editor.catalog.segments()
        living = _living(editor.catalog, entries)
        groups = tier_groups(living, [one.rows for one in entries], editor.segment_rows)
        if not groups:
            return False
        progress.begin("merge", sum(living[number] for group in groups for number in group), "rows")
        try:
            for group in groups:
                editor.merge([entries[number] for number in group], progress.advance)
        finally:
            progress.end()
        editor.commit()
    return True


def _add_graphs(index: Path, progress: Progress) -> None:
    """Build the graphs of segments that are too large to go without, where the index has graphs."""
    catalog = Catalog.open(index)
    try:
        set_commit(catalog)
        entries = catalog.segments()
        lacking = [one for one in entries if GRAPH not in catalog.files(one.id)]
        settings = catalog.settings()
        wanted = settings.get("graph", len(lacking) < len(entries))
        if len(lacking) < len(entries):
            lacking = [one for one in lacking if one.rows > _GRAPH_ROWS]
        if not wanted or not lacking:
            return
    finally:
        catalog.close()
    with IndexEditor.open(index) as editor:
        segments = {one.id: one for one in open_segments(index, editor.catalog)}
        names = [one.id for one in lacking if one.id in segments]
        progress.begin("graph", sum(segments[name].rows for name in names), "rows")
        try:
            for name in names:
                editor.add_file(name, GRAPH, _graph_writer(segments[name], progress.advance))
        finally:
            progress.end()
        editor.commit()


def _graph_writer(segment: Segment, advance: Callable[[int], None]) -> Callable[[Path], None]:
    return partial(_write_graph, segment, advance)


def _write_graph(segment: Segment, advance: Callable[[int], None], path: Path) -> None:
    build_graph(segment, path, advance)


def _measure(index: Path, progress: Progress, *, force: bool) -> None:
    """Measure recall again where what was measured speaks for too little of the index."""
    catalog = Catalog.open(index)
    try:
        with catalog.view():
            set_commit(catalog)
            settings = catalog.settings()
            segments = [one for one in open_segments(index, catalog) if one.id != TAIL]
            samples = catalog.samples(checked_dimensions(settings, catalog))
    finally:
        catalog.close()
    if not force and not _is_due(settings.get("measured"), settings, segments):
        return
    progress.begin("tune", None, "queries")
    try:
        earlier = settings.get("tuning")
        name = earlier.get("measured_on") if isinstance(earlier, dict) else None
        if samples is None or not isinstance(name, str):
            samples, name = None, FROM_DOCUMENTS
        tuning = measure(segments, samples, name, progress.advance) if segments else None
    finally:
        progress.end()
    told = {
        "segments": [one.id for one in segments],
        "rows": sum(map(_rows, segments)),
        "commit": settings["commit"],
    }
    with IndexEditor.open(index) as editor:
        if editor.base != settings["commit"]:
            return  # somebody else was quicker, and sees to it
        editor.commit({"tuning": None if tuning is None else tuning.to_json(), "measured": told})


def _rows(segment: Segment) -> int:
    living: RowMask | None = segment.living
    return segment.rows if living is None else living.allowed


def _is_due(told: object, settings: dict[str, object], segments: list[Segment]) -> bool:
    rows = [_rows(one) for one in segments]
    total = sum(rows)
    if settings.get("tuning") is None:  # too small then, perhaps
        before = told.get("rows", 0) if isinstance(told, dict) else 0
        return total >= 2 * max(_LEAST_MORE, before)
    count = measured_segments(settings, segments)
    before = sum(rows[:count])
    later = total - before
    return not count or later > max(_LEAST_MORE, _MORE * before)
