"""What a build tells on the way, and what it reports at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from qsearch.store import Catalog, set_commit
from qsearch.store.format import CATALOG
from qsearch.store.reading import reading

__all__ = [
    "BuildReport",
    "ChangeReport",
    "CompactReport",
    "Progress",
    "Silent",
    "TextIndexReport",
    "UpgradeReport",
    "index_sizes",
]


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
        notes: what is worth knowing besides, a sentence each.
        text_index: its language and tokenizer, where there is one.
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
    notes: tuple[str, ...] = ()
    text_index: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """What a change did, or would do.

    Attributes:
        path: the index.
        commit: number of the commit that it made; of the one before where nothing was to be done.
        added: documents of ids that were not there.
        replaced: documents whose text or title changed: encoded again, in the place of the old one.
        metadata: documents of which only metadata changed.
        unchanged: documents that were there as they are.
        deleted: documents that are gone.
        rejected: records left out.
        rejects: where they were written; ``None`` if there are none.
        truncated: documents longer than the encoder's maximum length, whose end was not encoded.
        passages: rows that were made of new documents where these are split; else 0.
        resumed: records that an interrupted run had done already.
        numbered_by: what the ids of the records count, where they have none, see ``BuildReport``; those of
            ``vector`` go on behind the documents that were there.
        id_like: fields that could hold ids, where the records have none.
        documents: how many the index holds now.
        seconds: by phase, of this run.
    """

    path: Path
    commit: int
    added: int
    replaced: int
    metadata: int
    unchanged: int
    deleted: int
    rejected: int
    rejects: Path | None
    truncated: int
    passages: int
    resumed: int
    numbered_by: str | None
    id_like: tuple[str, ...]
    documents: int
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What compacting did.

    Attributes:
        path: the index.
        commit: number of the commit that it made; of the one before where nothing was to be done.
        rows: dead rows that are gone.
        past: documents and metadata of earlier commits that are gone.
        segments: how many there were, and are.
        bytes: on disk, before and now.
        seconds: by phase.
    """

    path: Path
    commit: int
    rows: int
    past: int
    segments: tuple[int, int]
    bytes: tuple[int, int]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class TextIndexReport:
    """What making the text index, or taking it away, did.

    Attributes:
        path: the index.
        commit: number of the commit that it made; of the one before where nothing was to be done.
        language: of the text index; ``None``: there is none now.
        tokenizer: what parts its texts into words, as FTS5 spells it; ``None`` likewise.
        bytes: on disk, before and now.
        seconds: by phase.
    """

    path: Path
    commit: int
    language: str | None
    tokenizer: str | None
    bytes: tuple[int, int]
    seconds: dict[str, float]


class UpgradeReport(NamedTuple):
    """What upgrading an index did.

    Attributes:
        before: the format that it had.
        now: the format that it has.
        rollback: whether its catalog was in SQLite's WAL mode, and is not any more.
    """

    before: int
    now: int
    rollback: bool


def index_sizes(index: Path) -> dict[str, int]:
    """Bytes on disk by file name, summed over segments, the catalog first."""
    catalog = Catalog.open(index)
    try:
        with reading(index / CATALOG):
            sizes = {CATALOG: (index / CATALOG).stat().st_size}
        set_commit(catalog)
        for entry in catalog.segments():
            for file in catalog.files(entry.id).values():
                sizes[file.name] = sizes.get(file.name, 0) + file.bytes
    finally:
        catalog.close()
    return sizes
