"""Which rows of a segment live: made from the documents that are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.kernels import RowMask
from qsearch.store.catalog import Catalog
from qsearch.store.format import PASSAGES, POSITIONS, SEGMENTS
from qsearch.store.rows import FileEntry, MaskEntry, SegmentEntry
from qsearch.store.segment import map_array

__all__ = ["living_counts", "living_rows", "mask_without"]


def living_counts(catalog: Catalog, entries: Sequence[SegmentEntry]) -> list[int]:
    """How many rows of each of some segments live."""
    masks = catalog.masks()
    return [masks[one.id].rows if one.id in masks else one.rows for one in entries]


def living_rows(entry: SegmentEntry, mask: MaskEntry) -> NDArray[np.bool_]:
    """Which rows of a segment live: (n,) bool."""
    return RowMask(np.frombuffer(mask.bits, dtype=np.uint8), entry.rows).to_bools()


def mask_without(
    index: Path,
    entry: SegmentEntry,
    files: Mapping[str, FileEntry],
    before: MaskEntry | None,
    gone: NDArray[np.int64],
) -> MaskEntry:
    """The mask of a segment when further documents are gone.

    Args:
        index: the directory.
        entry: of the segment.
        files: of the segment.
        before: its mask so far; ``None``: all rows live.
        gone: (g,) rising positions of documents of the segment, which live so far.

    Raises:
        IndexFormatError: what maps rows to documents is damaged.
    """
    directory = index / SEGMENTS / entry.id
    numbers = gone - entry.first_document
    if POSITIONS.name in files:
        positions = map_array(directory, POSITIONS, files, (entry.documents,))
        numbers = np.searchsorted(positions, gone)
        if (positions[numbers.clip(max=entry.documents - 1)] != gone).any():
            raise IndexFormatError(
                f"{directory / POSITIONS.name} is damaged: a document is missing"
            )
    living = np.ones(entry.rows, dtype=np.bool_)
    documents = entry.documents
    if before is not None:
        living = living_rows(entry, before).copy()
        documents = before.documents
    if PASSAGES.name in files:
        passages = map_array(directory, PASSAGES, files, (entry.rows, 3))
        owners = np.ascontiguousarray(passages[:, 0])
        firsts = np.searchsorted(owners, numbers)
        ends = np.searchsorted(owners, numbers, side="right")
        for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
            living[first:end] = False
    else:
        living[numbers] = False
    bits = RowMask.of(living)
    return MaskEntry(bits.allowed, documents - len(gone), bits.bits.tobytes())
