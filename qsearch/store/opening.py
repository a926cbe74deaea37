"""Opening what a catalog lists, which is checked before it is believed.

A catalog may be damaged, or made by somebody to do harm. What cannot be right is an error, or, where
searches can do without it, is told and left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qsearch.errors import IndexFormatError
from qsearch.kernels import RowMask
from qsearch.store.catalog import Catalog
from qsearch.store.format import (
    CHANGES_VERSION,
    MOST_DIMENSIONS,
    MOST_POSITIONS,
    MOST_ROWS,
    ROTATION,
    ROTATION_ERRORS,
    SEGMENT_FILES,
    SEGMENTS,
    error_check,
)
from qsearch.store.rows import FIRST_COMMIT, FileEntry, MaskEntry, SegmentEntry, TailRow
from qsearch.store.schema import TEXT_INDEX, TOKENIZERS
from qsearch.store.segment import Segment
from qsearch.store.tail import TAIL, tail_segment
from qsearch.wording import words

__all__ = [
    "MOST_GONE",
    "check_counts",
    "checked_dimensions",
    "checked_entries",
    "checked_settings",
    "checked_settings_of_a_change",
    "open_segments",
    "set_commit",
]

_log = logging.getLogger("qsearch")

MOST_GONE = 0.05
"""Where more of the rows are gone that recall was measured on, it is not known any more: the neighbours of
a query are then rows that stood farther behind when it was measured."""


def open_segments(directory: Path, catalog: Catalog) -> list[Segment]:
    """Map every segment that a catalog lists, in document order.

    Args:
        directory: of the index, published or staging.
        catalog: of the index.

    Raises:
        IndexFormatError: a value cannot be right, or a file is missing or damaged.
    """
    settings, _ = catalog.read_settings(only=("dimensions", ROTATION_ERRORS))
    dimensions = checked_dimensions(settings, catalog)
    errors = settings.get(ROTATION_ERRORS)
    masks = catalog.masks()
    segments = []
    for entry, files in checked_entries(catalog):
        error = errors.get(entry.id) if isinstance(errors, dict) else None
        segment = Segment.open(
            directory / SEGMENTS / entry.id,
            entry,
            files,
            dimensions,
            stored_error=_checked_error(error, files),
            living=_mask(entry, masks.get(entry.id), catalog),
        )
        if segment.graph_problem is not None:
            _log.warning(
                "the graph of %s cannot be used and is left out: there is no search by graph (%s)",
                directory / SEGMENTS / entry.id,
                segment.graph_problem,
            )
        segments.append(segment)
    tail = catalog.tail()
    if tail:
        last = segments[-1] if segments else None
        row = 0 if last is None else last.first_row + last.rows
        segments.append(tail_segment(tail, dimensions, row))
        if last is not None and segments[-1].first_document <= last.last_document:
            raise IndexFormatError(
                f"the tail of {directory} is damaged; {words().verify} tells more"
            )
    split = [segment.passages is not None for segment in segments]
    if split and any(split) != all(split):
        raise IndexFormatError(
            f"{catalog.path} is damaged: some segments have passages and some have none; "
            f"{words().rebuild} builds the index again"
        )
    return segments


def _mask(entry: SegmentEntry, mask: MaskEntry | None, catalog: Catalog) -> RowMask | None:
    if mask is None:
        return None
    try:
        found = RowMask(np.frombuffer(mask.bits, dtype=np.uint8), entry.rows)
        if len(mask.bits) != -(-entry.rows // 16) * 2 or found.allowed != mask.rows:
            raise ValueError
        if found.allowed != np.count_nonzero(found.to_bools()):  # bits behind the last row
            raise ValueError
    except (TypeError, ValueError):
        raise IndexFormatError(
            f"{catalog.path} is damaged: the mask of segment {entry.id} cannot be right; "
            f"{words().verify} tells more, {words().rebuild} builds the index again"
        ) from None
    return found


def set_commit(catalog: Catalog) -> None:
    """Have the catalog read documents and segments of its newest commit.

    Raises:
        IndexFormatError: the number cannot be right.
    """
    if catalog.version >= 3:
        settings, _ = catalog.read_settings(only=("commit",))
        catalog.commit = _whole(settings, "commit", FIRST_COMMIT, MOST_POSITIONS, catalog)


def checked_dimensions(settings: Mapping[str, Any], catalog: Catalog) -> int:
    """Components of a vector, as the settings say.

    Raises:
        IndexFormatError: it cannot be so many.
    """
    return _whole(settings, "dimensions", 1, MOST_DIMENSIONS, catalog)


def checked_entries(catalog: Catalog) -> Iterator[tuple[SegmentEntry, dict[str, FileEntry]]]:
    """Every segment with its files, in document order.

    Raises:
        IndexFormatError: one that cannot be follows.
    """
    row = document = 0
    for entry in catalog.segments():
        _check_entry(entry, row, document, catalog)
        files = catalog.files(entry.id)
        _check_files(files, entry, catalog)
        yield entry, files
        row += entry.rows
        document = entry.last_document + 1


def checked_settings(catalog: Catalog, segments: list[Segment]) -> dict[str, Any]:
    """The settings of a published index, which must fit its segments.

    Raises:
        IndexFormatError: a value cannot be right.
    """
    settings, damaged = catalog.read_settings()
    living = sum(one.living_rows for one in segments)
    if catalog.version < 3:
        documents = _whole(settings, "documents", 1, MOST_ROWS, catalog)
        rows = documents
        if settings.get("rows") is not None:
            rows = _whole(settings, "rows", documents, MOST_ROWS, catalog)
        fits = sum(
            entry.documents for entry in catalog.segments()
        ) == documents and catalog.ends() == (0, documents - 1)
        settings |= {"commit": FIRST_COMMIT, "positions": documents}
    else:
        documents = _whole(settings, "documents", 0, MOST_POSITIONS, catalog)
        rows = _whole(settings, "rows", documents, MOST_POSITIONS, catalog)
        _whole(settings, "commit", FIRST_COMMIT, MOST_POSITIONS, catalog)
        after = _whole(settings, "positions", documents, MOST_POSITIONS, catalog)
        tail = [one for one in segments if one.id == TAIL]
        fits = all(one.last_document < after for one in segments) and documents == (
            _listed(catalog)[0]
            + sum(0 if one.positions is None else len(one.positions) for one in tail)
        )
    settings["rows"] = rows
    if living != rows or not fits:
        raise _other_segments(catalog)
    for name, sound in _SOUND.items():
        if name in settings and not sound(settings[name]):
            damaged.append(name)
            del settings[name]
    if "passages" not in damaged:
        split = any(one.passages is not None for one in segments)
        if segments and (settings.get("passages") is not None) != split:
            raise IndexFormatError(
                f"{catalog.path} is damaged: passages are in its settings or its segments, and not in "
                f"both; {words().rebuild} builds the index again"
            )
    for name in sorted(set(damaged)):
        _log.warning(
            "the setting %r of %s is damaged and left out; %s tells more",
            name,
            catalog.path,
            words().verify,
        )
    return settings


def checked_settings_of_a_change(catalog: Catalog) -> dict[str, Any]:
    """The settings that a change rests on and keeps, but for what was measured about recall.

    What a search does without, a change refuses: it would store it anew.

    Raises:
        IndexFormatError: one cannot be right.
    """
    settings = catalog.settings(but=("tuning",))
    for name, sound in (*_SOUND.items(), ("underway", _is_underway)):
        if name in settings and not sound(settings[name]):
            raise IndexFormatError(
                f"{catalog.path} is damaged: its setting {name!r} cannot be right; nothing was changed: "
                f"restore it from a copy, or build the index again with {words().rebuild}"
            )
    for name in ("documents", "rows", "positions"):
        if settings.get(name) is not None:  # what is missing an earlier format did not have
            _whole(settings, name, 0, MOST_POSITIONS, catalog)
    return settings


def check_counts(catalog: Catalog, settings: Mapping[str, Any], tail: Sequence[TailRow]) -> None:
    """Hold what the catalog lists against what a change would go on counting from.

    Raises:
        IndexFormatError: it lists other segments, or another tail, than it should.
    """
    if catalog.version < CHANGES_VERSION:
        return
    documents, rows = _listed(catalog)
    documents += len({row.position for row in tail})
    rows += len(tail)
    if (documents, rows) != (settings.get("documents"), settings.get("rows")):
        raise _other_segments(catalog)


def _listed(catalog: Catalog) -> tuple[int, int]:
    """Documents and rows that live, as the lists of segments and masks say."""
    entries, masks = catalog.segments(), catalog.masks()
    living = [masks.get(entry.id, entry) for entry in entries]
    return sum(one.documents for one in living), sum(one.rows for one in living)


def _other_segments(catalog: Catalog) -> IndexFormatError:
    return IndexFormatError(
        f"{catalog.path} lists other segments than it should; {words().verify} tells more"
    )


def measured_segments(
    settings: Mapping[str, Any], ids: Sequence[str], living: Sequence[int]
) -> int:
    """How many segments, from the first on, recall was measured on; 0 where too much has changed.

    Those behind them came later. What was measured still holds where few rows of these are gone.

    Args:
        settings: of the index.
        ids: of its segments, in order.
        living: rows of each that live.
    """
    told = settings.get("measured")
    if not isinstance(told, dict):  # as it was built
        return len(ids) if settings.get("commit") == FIRST_COMMIT else 0
    names, rows = told.get("segments"), told.get("rows")
    if not isinstance(names, list) or not isinstance(rows, int) or not _is_count(rows):
        return 0
    count = len(names)
    if list(ids[:count]) != names or sum(living[:count]) < (1.0 - MOST_GONE) * rows:
        return 0
    return count


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST_POSITIONS


def _is_measured(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and isinstance(value.get("segments"), list)
        and _is_count(value.get("rows"))
        and _is_count(value.get("commit"))
    )


def _is_underway(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("purpose"), dict | None)
        and _is_count(value.get("tail rows", 0))
        and _is_count(value.get("tail documents", 0))
    )


def _is_passages(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and _is_count(value.get("tokens"))
        and _is_count(value.get("overlap"))
        and isinstance(value.get("language"), str)
    )


def _is_text_index(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("language"), str)
        and value.get("tokenizer") in TOKENIZERS
    )


_SOUND: dict[str, Callable[[Any], bool]] = {
    "passages": _is_passages,
    TEXT_INDEX: lambda value: value is None or _is_text_index(value),
    "rejected": _is_count,
    "truncated": _is_count,
    "created": lambda value: isinstance(value, str),
    "changed": lambda value: isinstance(value, str),
    "measured": _is_measured,
    "graph": lambda value: isinstance(value, bool),
    "qsearch": lambda value: isinstance(value, str),
    "corpus": lambda value: isinstance(value, str),
    "build": lambda value: isinstance(value, dict),
    "encoder": lambda value: value is None or isinstance(value, dict),
    ROTATION_ERRORS: lambda value: isinstance(value, dict),
}
"""Settings that a search by vector can do without. What was measured about recall is checked where it is
used, and so is the encoder."""


def _checked_error(stored: object, files: Mapping[str, FileEntry]) -> float | None:
    """The stored error of a rotation, where it is seen to be the one that was written; else none."""
    if not isinstance(stored, list) or len(stored) != 2 or ROTATION not in files:
        return None
    error, check = stored
    if not isinstance(error, float) or check != error_check(error, files[ROTATION].xxh3):
        return None
    return error


def _whole(settings: Mapping[str, Any], name: str, least: int, most: int, catalog: Catalog) -> int:
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise IndexFormatError(
            f"{catalog.path} is damaged: its setting {name!r} is {str(value)[:40]!r}, which cannot be; "
            f"{words().rebuild} builds the index again"
        )
    return value


def _check_entry(entry: SegmentEntry, row: int, document: int, catalog: Catalog) -> None:
    numbers = (
        entry.first_row,
        entry.rows,
        entry.first_document,
        entry.last_document,
        entry.documents,
        entry.came,
    )
    sound = (
        isinstance(entry.id, str)
        and re.fullmatch("[0-9a-f]{16}", entry.id) is not None
        and all(type(one) is int for one in numbers)
        and 0 < entry.documents <= entry.rows <= MOST_ROWS
        and entry.first_row == row
        and (entry.first_document == document or catalog.version >= 3)
        and document <= entry.first_document
        and entry.first_document + entry.documents - 1 <= entry.last_document <= MOST_POSITIONS
    )
    if not sound:
        raise IndexFormatError(
            f"{catalog.path} is damaged: its list of segments cannot be right at {str(entry.id)[:40]!r} "
            f"(rows from {str(entry.first_row)[:20]}, should be from {row}); {words().rebuild} builds the "
            "index again"
        )


def _check_files(files: Mapping[str, FileEntry], entry: SegmentEntry, catalog: Catalog) -> None:
    for name, file in files.items():
        if (
            name not in SEGMENT_FILES
            or type(file.bytes) is not int
            or not isinstance(file.xxh3, str)
        ):
            raise IndexFormatError(
                f"{catalog.path} is damaged: segment {entry.id} cannot have a file {str(name)[:40]!r}; "
                f"{words().rebuild} builds the index again"
            )
