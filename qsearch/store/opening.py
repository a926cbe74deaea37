"""Opening what a catalog lists, which is checked before it is believed.

A catalog may be damaged, or made by somebody to do harm. What cannot be right is an error, or, where
searches can do without it, is told and left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qsearch.errors import IndexFormatError
from qsearch.store.catalog import Catalog, FileEntry, SegmentEntry
from qsearch.store.format import (
    GRAPH,
    MOST_DIMENSIONS,
    MOST_ROWS,
    ROTATION,
    ROTATION_ERRORS,
    SEGMENT_FILES,
    SEGMENTS,
    error_check,
)
from qsearch.store.segment import Segment
from qsearch.wording import words

__all__ = ["checked_dimensions", "checked_entries", "checked_settings", "open_segments"]

_log = logging.getLogger("qsearch")


def open_segments(directory: Path, catalog: Catalog) -> list[Segment]:
    """Map every segment that a catalog lists, in document order.

    Args:
        directory: of the index, published or staging.
        catalog: of the index.

    Raises:
        IndexFormatError: a value cannot be right, or a file is missing or damaged.
    """
    settings, _ = catalog.read_settings()
    dimensions = checked_dimensions(settings, catalog)
    errors = settings.get(ROTATION_ERRORS)
    segments = []
    for entry, files in checked_entries(catalog):
        error = errors.get(entry.id) if isinstance(errors, dict) else None
        segment = Segment.open(
            directory / SEGMENTS / entry.id,
            entry,
            files,
            dimensions,
            stored_error=_checked_error(error, files),
        )
        if segment.graph_problem is not None:
            _log.warning(
                "%s is damaged and left out: there is no search by graph (%s)",
                directory / SEGMENTS / entry.id / GRAPH,
                segment.graph_problem,
            )
        segments.append(segment)
    split = [segment.passages is not None for segment in segments]
    if any(split) != all(split):
        raise IndexFormatError(
            f"{catalog.path} is damaged: some segments have passages and some have none; "
            f"{words().rebuild} builds the index again"
        )
    return segments


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
        document += entry.documents


def checked_settings(catalog: Catalog, segments: list[Segment]) -> dict[str, Any]:
    """The settings of a published index, which must fit its segments.

    Raises:
        IndexFormatError: a value cannot be right.
    """
    settings, damaged = catalog.read_settings()
    documents = _whole(settings, "documents", 1, MOST_ROWS, catalog)
    rows = documents
    if settings.get("rows") is not None:
        rows = _whole(settings, "rows", documents, MOST_ROWS, catalog)
    settings["rows"] = rows
    if (
        sum(one.rows for one in segments) != rows
        or sum(entry.documents for entry in catalog.segments()) != documents
        or catalog.ends() != (0, documents - 1)
    ):
        raise IndexFormatError(
            f"{catalog.path} lists other segments than it should; {words().verify} tells more"
        )
    for name, sound in _SOUND.items():
        if name in settings and not sound(settings[name]):
            damaged.append(name)
            del settings[name]
    if "passages" not in damaged:
        split = any(one.passages is not None for one in segments)
        if (settings.get("passages") is not None) != split:
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


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_passages(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and _is_count(value.get("tokens"))
        and _is_count(value.get("overlap"))
        and isinstance(value.get("language"), str)
    )


_SOUND: dict[str, Callable[[Any], bool]] = {
    "passages": _is_passages,
    "rejected": _is_count,
    "truncated": _is_count,
    "created": lambda value: isinstance(value, str),
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
    numbers = (entry.first_row, entry.rows, entry.first_document, entry.documents)
    sound = (
        isinstance(entry.id, str)
        and re.fullmatch("[0-9a-f]{16}", entry.id) is not None
        and all(type(one) is int for one in numbers)
        and 0 < entry.documents <= entry.rows <= MOST_ROWS
        and (entry.first_row, entry.first_document) == (row, document)
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
