"""What is asked of a build, what it tells on the way, and what it reports at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.passages import DEFAULT_LANGUAGE
from qsearch.store import Catalog
from qsearch.store.format import CATALOG

__all__ = ["BuildOptions", "BuildReport", "Progress", "Silent", "index_sizes"]


class Progress(Protocol):
    """Is told what a build is doing."""

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        """A phase begins; ``total`` units are to be done, or nobody knows how many."""
        ...

    def advance(self, count: int, *, resumed: bool = False) -> None:
        """``count`` more units are done, or were done before an interruption."""
        ...

    def end(self) -> None:
        """The phase is over."""
        ...


class Silent:
    """A ``Progress`` that shows nothing."""

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        """Do nothing."""

    def advance(self, count: int, *, resumed: bool = False) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build.

    Attributes:
        graph: also build an HNSW graph for each segment.
        force: replace an index that is there, when the new one is complete.
        restart: throw an interrupted build away instead of resuming it.
        skip_invalid: leave invalid records out and count them, instead of stopping at the first.
        rejects: where to write the records left out; ``None``: ``<index>.rejects.jsonl``.
        segment_rows: a segment is closed when it has at least so many rows.
        tune_queries: sample queries to measure recall with, as texts (where there is an encoder) or
            as (q, d) vectors; ``None`` takes documents.
        tuned_on: what they are, for people.
        passages: split documents of more tokens than this into passages, each with a vector of its own;
            ``None`` cuts them at the encoder's maximum length.
        overlap: tokens that a passage may share with the one before it.
        language: ISO 639 code, for abbreviations that do not end a sentence.
    """

    graph: bool = False
    force: bool = False
    restart: bool = False
    skip_invalid: bool = False
    rejects: Path | None = None
    segment_rows: int = 1 << 20
    tune_queries: Sequence[str] | NDArray[np.floating] | None = None
    tuned_on: str = "sample queries"
    passages: int | None = None
    overlap: int = 0
    language: str = DEFAULT_LANGUAGE


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did.

    Attributes:
        path: the index.
        documents: how many it holds.
        passages: into which they were split; ``None`` where they were not.
        rejected: records left out.
        rejects: where they were written; ``None`` if there are none.
        truncated: documents longer than the encoder's maximum length, whose end was not encoded.
        max_length: that length in tokens, where there is an encoder.
        dimensions: of a vector.
        resumed: documents that an interrupted build had done already.
        numbered_by: what the ids count, where the records have none: ``line``, ``row`` or ``record`` of the
            corpus, from 1, or ``vector``, from 0; ``None`` where the ids are those of the records.
        id_like: fields that could hold ids, where the records have none.
        compared: given embeddings that were held against the encoder; 0 where no record has a
            text, ``None`` where nothing is to be compared.
        sizes: bytes on disk by file name, summed over segments.
        seconds: by phase, of this run.
    """

    path: Path
    documents: int
    passages: int | None
    rejected: int
    rejects: Path | None
    truncated: int
    max_length: int | None
    dimensions: int
    resumed: int
    numbered_by: str | None
    id_like: tuple[str, ...]
    compared: int | None
    sizes: dict[str, int]
    seconds: dict[str, float]


def index_sizes(index: Path) -> dict[str, int]:
    """Bytes on disk by file name, summed over segments, the catalog first."""
    sizes = {CATALOG: (index / CATALOG).stat().st_size}
    catalog = Catalog.open(index)
    try:
        for entry in catalog.segments():
            for file in catalog.files(entry.id).values():
                sizes[file.name] = sizes.get(file.name, 0) + file.bytes
    finally:
        catalog.close()
    return sizes
