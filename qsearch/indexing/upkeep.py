"""What keeps an index as fast as it was built, behind a change: merging, graphs, and recall measured anew.

Each is a commit of its own that changes no answer. What cannot be done is told and left for the next time:
the change itself is safe by then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexBusy, IndexFormatError, IndexWriteError
from qsearch.indexing.graphs import add_graphs, large_enough
from qsearch.indexing.report import Progress
from qsearch.retrieval import FROM_DOCUMENTS, Tuning, lacks_walks, measure
from qsearch.store import (
    Catalog,
    IndexEditor,
    measured_segments,
    open_segments,
    set_commit,
    tier_groups,
)
from qsearch.store.format import GRAPH_ARRAYS, OLD_GRAPH
from qsearch.store.masks import living_counts
from qsearch.store.opening import checked_dimensions
from qsearch.store.tail import TAIL
from qsearch.store.view import rows_of_a_segment

__all__ = ["keep_up", "measure_again", "measured_anew", "walks_unmeasured", "was_measured"]

_log = logging.getLogger("qsearch")

LINKS = GRAPH_ARRAYS[0].name

_MORE = 0.25
"""Recall is measured again when so much came behind what it was measured on, which is searched exactly."""

_LEAST_MORE = 1024

_LEAST_MEASURED = 2048
"""Of fewer rows nothing is measured."""


def keep_up(index: Path, progress: Progress) -> None:
    """Merge small segments, add graphs and measure recall, as far as it is due."""
    try:
        while (state := _State.of(index)).groups:
            _merge(index, progress)
        if state.lacking:
            _add_graphs(index, state.lacking, progress)
        if state.measuring:
            measure_again(index, progress)
    except IndexBusy:
        return  # another writer is at it, and sees to it
    except (IndexFormatError, IndexWriteError) as error:
        _log.warning("the change is done; what keeps the index fast is not: %s", error)


@dataclass(frozen=True, slots=True)
class _State:
    """What is due.

    Attributes:
        groups: whether segments are to be merged.
        lacking: ids of segments that are to have a graph.
        measuring: whether recall is to be measured.
    """

    groups: bool
    lacking: tuple[str, ...]
    measuring: bool

    @classmethod
    def of(cls, index: Path) -> _State:
        catalog = Catalog.open(index)
        try:
            with catalog.view():
                set_commit(catalog)
                entries = catalog.segments()
                living = living_counts(catalog, entries)
                only = ("graph", "measured", "commit", "rows", "tuning")
                settings, _ = catalog.read_settings(only=only)
                files = [catalog.files(one.id) for one in entries]
                graphs = [LINKS in some or OLD_GRAPH in some for some in files]
                without = [
                    one for one, some in zip(entries, files, strict=True) if LINKS not in some
                ]
                rows = [one.rows for one in entries]
                return cls(
                    bool(tier_groups(living, rows, rows_of_a_segment(catalog))),
                    tuple(one.id for one in large_enough(without, len(entries)))
                    if settings.get("graph", any(graphs))
                    else (),
                    _is_due(settings, [one.id for one in entries], living),
                )
        finally:
            catalog.close()


def _is_due(settings: Mapping[str, Any], ids: Sequence[str], living: Sequence[int]) -> bool:
    """Whether what was measured speaks for too little of the index, or is nothing that is known of."""
    told = settings.get("measured")
    before = told.get("rows", 0) if isinstance(told, dict) else 0
    total = sum(living)
    if settings.get("tuning") is not None and _read(settings) is None:
        return total >= _LEAST_MEASURED
    if not before or before < _LEAST_MEASURED:  # too small then, perhaps
        return total >= max(_LEAST_MEASURED, 2 * before)
    count = measured_segments(settings, ids, living)
    measured = sum(living[:count])
    return not count or total - measured > max(_LEAST_MORE, _MORE * measured)


def _merge(index: Path, progress: Progress) -> None:
    """Merge the segments that are due."""
    with IndexEditor.open(index) as editor:
        entries = editor.catalog.segments()
        living = living_counts(editor.catalog, entries)
        groups = tier_groups(living, [one.rows for one in entries], editor.segment_rows)
        progress.begin("merge", sum(living[number] for group in groups for number in group), "rows")
        try:
            for group in groups:
                editor.merge([entries[number] for number in group], progress.advance)
        finally:
            progress.end()
        editor.commit()


def _add_graphs(index: Path, lacking: Sequence[str], progress: Progress) -> None:
    with IndexEditor.open(index) as editor:
        segments = open_segments(index, editor.catalog)
        add_graphs(editor, [one for one in segments if one.id in lacking], progress)
        editor.commit()


def measure_again(index: Path, progress: Progress) -> None:
    """Measure recall, in a commit of its own, unless another writer was quicker, who sees to it."""
    found = measured_anew(index, None, progress)
    with IndexEditor.open(index) as editor:
        if was_measured(editor, found):
            editor.commit(found)


def was_measured(editor: IndexEditor, found: Mapping[str, Any]) -> bool:
    """Whether an index is what ``measured_anew`` found so: another one may have taken its place since.

    The number of the commit does not tell that, every new index begins with the same; ids of segments do:
    they are made of what is in them.
    """
    measured = found["measured"]
    segments = [one.id for one in editor.catalog.segments() if one.id != TAIL]
    return bool(editor.base == measured["commit"] and segments == measured["segments"])


def walks_unmeasured(settings: Mapping[str, Any]) -> bool:
    """Whether nothing is known of walks, though recall was measured: see ``lacks_walks``."""
    if settings.get("tuning") is None:
        return False
    tuning = _read(settings)
    return tuning is None or lacks_walks(tuning)


def _read(settings: Mapping[str, Any]) -> Tuning | None:
    """What was measured; ``None``: by another qsearch, or it is damaged."""
    try:
        return Tuning.from_json(settings["tuning"])
    except ValueError:
        return None


def measured_anew(
    index: Path, sample: tuple[str, NDArray[np.float32]] | None, progress: Progress
) -> dict[str, Any]:
    """Measure recall on the newest commit, which is the ``commit`` of ``measured``.

    Args:
        index: the directory.
        sample: what the queries are, and (q, d) float32; ``None``: those that it was measured with before.
        progress: is told what is done.

    Returns:
        The settings ``tuning`` and ``measured``.
    """
    catalog = Catalog.open(index)
    try:
        with catalog.view():
            set_commit(catalog)
            settings = catalog.settings()
            segments = [one for one in open_segments(index, catalog) if one.id != TAIL]
            samples = catalog.samples(checked_dimensions(settings, catalog))
    finally:
        catalog.close()
    earlier = settings.get("tuning")
    name = earlier.get("measured_on") if isinstance(earlier, dict) else None
    if sample is not None:
        name, samples = sample
    elif samples is None or not isinstance(name, str):
        samples, name = None, FROM_DOCUMENTS
    progress.begin("tune", None, "queries")
    try:
        tuning = measure(segments, samples, name, progress.advance) if segments else None
    finally:
        progress.end()
    measured = {
        "segments": [one.id for one in segments],
        "rows": sum(one.living_rows for one in segments),
        "commit": settings["commit"],
    }
    return {"tuning": None if tuning is None else tuning.to_json(), "measured": measured}
