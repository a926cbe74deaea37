"""What is to be done with the records of a change: which are new, replace others, or are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.documents import Corpus, Document, RejectedRecord
from qsearch.errors import CorpusError, IndexFormatError
from qsearch.indexing.chunks import Record
from qsearch.indexing.making import (
    SplitChunk,
    duplicate_record,
    invalid_record,
    unusable_records,
)
from qsearch.store import IndexView, StoredDocument
from qsearch.wording import words

__all__ = ["ADD", "SYNC", "UPSERT", "Sorted", "Sorter", "check_new", "taken"]

ADD, UPSERT, SYNC = "add", "upsert", "sync"


@dataclass(slots=True)
class Sorted:
    """The records of a chunk, sorted.

    Attributes:
        records: how many.
        new: documents whose ids the index does not have, with their offset among the records.
        replacing: documents that take the place of one of the same id, with their offset.
        gone: positions of those.
        metadata: documents of which only metadata differs, by the position of the one that is there.
        unchanged: how many are there as they are.
        rejects: records that are not accepted.
    """

    records: int
    new: list[tuple[int, Document]] = field(default_factory=list)
    replacing: list[tuple[int, Document]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    metadata: list[tuple[int, Document]] = field(default_factory=list)
    unchanged: int = 0
    rejects: list[RejectedRecord] = field(default_factory=list)

    @property
    def split(self) -> SplitChunk:
        """What is to be made into rows."""
        valid = sorted([*self.new, *self.replacing], key=lambda one: one[0])
        return SplitChunk(self.records, valid, self.rejects)


class Sorter:
    """Sorts records, chunk by chunk.

    Attributes:
        seen: (positions,) bool: which documents that were there before were met.
        valid: whether a record was a document that is there; who stores others says so here.
        left_out: ids of documents that nothing could be stored of, which only encoding them showed, and the
            positions of those that they would have replaced.
    """

    def __init__(
        self,
        view: IndexView,
        kind: str,
        corpus: str,
        *,
        embeddings: str | None = None,
        skip_invalid: bool,
        most_waiting: int = 0,
        numbered_by: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Sort for one change.

        Args:
            view: knows what is there.
            kind: ``ADD``, ``UPSERT`` or ``SYNC``.
            corpus: its name, for messages.
            embeddings: that of those which are given, likewise.
            skip_invalid: collect rejects instead of raising at the first.
            most_waiting: chunks that may be sorted and not be in the index yet.
            numbered_by: says what the ids count, where the records have none.
        """
        self._view = view
        self._kind = kind
        self._corpus = corpus
        self._embeddings = embeddings
        self._numbered_by = numbered_by
        self._skip_invalid = skip_invalid
        self._most_waiting = most_waiting
        self._waiting: list[dict[str, int | None]] = []
        self._start = view.start
        try:
            self.seen = np.zeros(self._start, dtype=np.bool_)
        except (MemoryError, ValueError):
            raise IndexFormatError(
                f"{view.index} says that it has had {self._start:,} documents, more than memory has room "
                f"to tell apart; {words().verify} tells whether it is damaged"
            ) from None
        self.valid = False
        self.left_out: dict[str, int | None] = {}

    def mark(self, records: Sequence[Record], given: NDArray[np.floating] | None, row: int) -> None:
        """Note as seen what an earlier run has sorted.

        Args:
            records: these, of whole chunks.
            given: (records, d) their embeddings, where they are given.
            row: number of the first, from 0.
        """
        records = unusable_records(records, given, row, self._embeddings)
        documents = [one for one in records if isinstance(one, Document)]
        stored = self._view.catalog.by_id([one.id for one in documents])
        first_new = self._view.first_new
        kept: set[str] = set()
        for one in documents:
            there = stored.get(one.id)
            met = there is not None and there.position < first_new and self.seen[there.position]
            if met or one.id in kept or one.id in self.left_out:  # an id counts where it came first
                continue
            if there is None:
                self.left_out[one.id] = None
            # What neither came nor is what is there was to replace it, and could not.
            elif (
                there.position >= first_new
                or given is not None
                or (there.title, there.text) == (one.title, one.text)
            ):
                kept.add(one.id)
            else:
                self.left_out[one.id] = there.position
        found = self._view.catalog.positions_before(list(kept), first_new)
        self.seen[found] = True
        self.valid |= bool(kept)

    def sort(
        self, records: Sequence[Record], given: NDArray[np.floating] | None, row: int
    ) -> Sorted:
        """Sort the records of a chunk.

        Args:
            records: these.
            given: (records, d) their embeddings, where they are given.
            row: number of the first, from 0.

        Raises:
            CorpusError: a record is invalid, or its id is used twice, and such are not to be skipped; or an
                id that is to be added is there.
        """
        read, records = records, unusable_records(records, given, row, self._embeddings)
        documents = [one for one in records if isinstance(one, Document)]
        stored = self._view.catalog.by_id([one.id for one in documents])
        same = self._same_rows(stored.values(), given)
        lines: dict[str, int | None] = {}
        for waiting in self._waiting:
            lines |= waiting
        own: dict[str, int | None] = {}
        found = Sorted(len(records))
        for offset, record in enumerate(records):
            if isinstance(record, RejectedRecord):
                self._reject(found, record, read[offset].line and record.line)
                continue
            there = stored.get(record.id)
            twice = record.id in own or record.id in lines or record.id in self.left_out
            if there is not None and not twice:
                twice = there.position >= self._start or self.seen[there.position]
            if twice:
                first = own.get(record.id, lines.get(record.id))
                self._reject(found, duplicate_record(record, first), record.line)
                continue
            own[record.id] = record.line
            if there is None:
                found.new.append((offset, record))
                continue
            if self._kind == ADD:
                reject = taken(record, self._view.index, self._numbered_by())
                self._reject(found, reject, reject.line)
                continue
            self.seen[there.position] = True
            if (there.title, there.text) != (record.title, record.text) or (
                given is not None and not same(offset, there.position)
            ):
                found.replacing.append((offset, record))
                found.gone.append(there.position)
                continue
            self.valid = True
            if not _same_values(there.metadata, record.metadata):
                found.metadata.append((there.position, record))
            else:
                found.unchanged += 1
        if self._most_waiting:
            self._waiting = [*self._waiting, own][-self._most_waiting :]
        return found

    def _same_rows(
        self, stored: Iterable[StoredDocument], given: NDArray[np.floating] | None
    ) -> Callable[[int, int], bool]:
        """Whether an embedding gives the row that is stored, or is that row, whose length is not quite 1.

        Args:
            stored: documents whose rows are asked for.
            given: (records, d) embeddings.

        Returns:
            A function of the number of an embedding and the position of a document.
        """
        if given is None or self._kind == ADD:
            return lambda offset, position: False
        rows = self._view.vectors_of([one.position for one in stored])
        units, usable = unit_rows(given)

        def same(offset: int, position: int) -> bool:
            there = rows.get(position)
            if there is None:
                return False
            before = there.tobytes()
            if usable[offset] and units[offset].tobytes() == before:
                return True
            return given.dtype == np.float32 and given[offset].tobytes() == before

        return same

    def _reject(self, found: Sorted, record: RejectedRecord, line: int | None) -> None:
        if not self._skip_invalid:
            raise invalid_record(record, self._corpus, line=line or None)
        found.rejects.append(record)

    def missing(self, *, allow_empty: bool) -> NDArray[np.int64]:
        """Positions of the documents that were there before and that no record was of.

        Args:
            allow_empty: whether that may be all, where no record was a document.

        Raises:
            CorpusError: it may not.
        """
        there = self._view.catalog.positions(0, self._start - 1)
        seen = self.seen.copy()
        seen[[one for one in self.left_out.values() if one is not None]] = False
        found = there[~seen[there]]
        if len(found) and not (self.valid or allow_empty):
            raise CorpusError(
                f"holds no valid document: a sync would delete all {len(found):,} of {self._view.index}; "
                f"where that is meant, say so with {words().allow_empty}",
                path=self._corpus,
            )
        return found


def _same_values(there: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether metadata are the same JSON."""
    return there == now and _alike(there, now)


def _alike(there: Any, now: Any) -> bool:
    """Whether equal values are the same JSON: to Python ``True`` is 1, 1 is 1.0, and 0.0 is -0.0."""
    if isinstance(there, dict):
        return all(_alike(value, now[name]) for name, value in there.items())
    if isinstance(there, list):
        return all(map(_alike, there, now))
    if isinstance(there, float):
        return isinstance(now, float) and repr(there) == repr(now)
    return isinstance(there, bool) == isinstance(now, bool) and not isinstance(now, float)


def taken(document: Document, index: Path, numbered_by: str | None) -> RejectedRecord:
    """What is wrong with a document whose id, or number, is in the index already."""
    reason = f"there is a document of the id {document.id!r} in {index} already"
    if numbered_by is not None:
        reason += f", and this one, which has no id, is numbered by its {numbered_by}"
    return RejectedRecord(
        document.line or 0,
        reason,
        document.content.encode("utf-8")[:65_536],
        "taken" if numbered_by is None else "numbered",
    )


def check_new(documents: Sequence[Document], view: IndexView, corpus: Corpus) -> None:
    """Find out early whether documents can be added.

    Raises:
        CorpusError: an id is there.
    """
    there = view.catalog.positions_of([one.id for one in documents])
    for one in documents:
        position = there.get(one.id)
        if position is not None and position < view.start:
            reject = taken(one, view.index, corpus.found.numbered_by)
            raise invalid_record(reject, corpus.name, line=one.line)
