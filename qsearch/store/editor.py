"""Changing a published index: several steps, one commit.

What is promised, and where it is kept:

- Nothing of a change is seen before its commit: documents and segments that it stores bear the number of
  the commit to come, and readers leave those out.
- The commit is one SQLite transaction. Files that it names are synced, and so are their names, before it.
- A step that was kept (``_keep``) need not be done again: a change that was cut short goes on behind it, if
  the next one has the same purpose, and is thrown away else.
- One writer at a time has the lock, see ``writer_lock``.
- Files that no commit names are litter, and removed by the next change.
"""

from __future__ import annotations

import datetime
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Document, RejectedRecord
from qsearch.errors import IndexClosed, IndexWriteError
from qsearch.store.catalog import (
    Catalog,
    ChunkEntry,
    FileEntry,
    SegmentEntry,
    TailRow,
    document_row,
    row_checksum,
)
from qsearch.store.format import (
    FORMAT_VERSION,
    PASSAGES,
    POSITIONS,
    ROTATION,
    ROTATION_ERRORS,
    SEGMENTS,
    TAIL_ROWS,
    VECTORS,
    error_check,
)
from qsearch.store.leftovers import remove_litter
from qsearch.store.masks import living_rows, mask_without
from qsearch.store.merging import Source, write_merged
from qsearch.store.opening import set_commit
from qsearch.store.pending import PendingSegment
from qsearch.store.rewriting import put_in_place, upgrade, write_catalog
from qsearch.store.segment import made_file
from qsearch.store.staging import writing
from qsearch.store.view import IndexView, rows_of_a_segment
from qsearch.store.writer import stored_metadata
from qsearch.store.writer_lock import WriterLock

__all__ = ["IndexEditor", "Step"]

_log = logging.getLogger("qsearch")

_MOST_BYTES = 1 << 22
"""Documents and rows of a step that is not kept are in memory: no more than so many bytes."""

_MOST_SECONDS = 5.0
"""Steps that took longer than this are kept, however small: what was encoded is not to be lost."""

_UNDERWAY = "underway"
"""The setting that says for which purpose what is stored bears the number of the commit to come."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a change.

    Attributes:
        documents: new ones, in order.
        rows: (n, d) float32 unit rows, one for each document, or for each of its passages.
        passages: (n, 3) int64, see ``Chunk``; ``None`` where row r is document r.
        gone: positions of documents that go.
        metadata: positions of documents that get other metadata, and these.
        rejects: records that are not accepted.
        truncated: documents longer than the encoder's maximum length.
        digest: of the records that went in.
        records: how many these are.
    """

    documents: Sequence[Document] = ()
    rows: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    passages: NDArray[np.int64] | None = None
    gone: Sequence[int] = ()
    metadata: Sequence[tuple[int, Document]] = ()
    rejects: Sequence[RejectedRecord] = ()
    truncated: int = 0
    digest: str = ""
    records: int = 0


class _Waiting(NamedTuple):
    """Rows of a step that is not kept yet."""

    positions: NDArray[np.int64]
    rows: NDArray[np.float32]
    passages: NDArray[np.int64] | None


class IndexEditor(IndexView):
    """One change of an index. Use as a context manager, and call ``commit`` at the end.

    Attributes:
        catalog: reads what will be there after the commit, as far as it is done.
        base: number of the commit that is changed.
        segment_rows: a segment is closed when it has at least so many rows.
        steps: what was done so far.
        earlier_steps: those that an earlier run of the same change has kept.
        kept_records: of steps that are kept, and need not be done again.
        advance_sealing: told how many rows were just coded.
    """

    def __init__(self, index: Path, catalog: Catalog, lock: WriterLock) -> None:
        """Use ``open``."""
        super().__init__(index, catalog)
        self._lock = lock
        self.base = catalog.commit
        catalog.commit = self.base + 1
        self.steps: list[ChunkEntry] = []
        self.earlier_steps: tuple[ChunkEntry, ...] = ()
        self.advance_sealing: Callable[[int], None] = lambda rows: None
        self._next = self.first_new
        self._pending = PendingSegment(index / SEGMENTS, passages=self.split, positions=True)
        self._pending_rows = self._pending_documents = 0
        self._pending_first = -1
        self.segment_rows = rows_of_a_segment(catalog)
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._gone: set[int] = set()
        self._kept = False
        self.kept_records = 0
        self._changed = False
        self._purpose: dict[str, Any] | None = None
        self._underway: dict[str, Any] = {}
        self._begun = False
        self._done = False
        self._stale: dict[str, Any] | None = None
        self._last = time.monotonic()

    # Opening, resuming

    @classmethod
    def open(
        cls, index: Path, *, purpose: dict[str, Any] | None = None, wait: float = 0.0
    ) -> IndexEditor:
        """Begin a change, or go on with the one of the same purpose that was cut short.

        An index of an earlier format is brought to the present one first, in a commit of its own.

        Args:
            index: the directory.
            purpose: JSON values that say what the change is; ``None``: it is not to be gone on with.
            wait: seconds to wait for another writer.

        Raises:
            IndexBusy: another writer is at it.
            IndexFormatError: it is missing, damaged, or of a format that is not known.
            IndexWriteError: the file system refuses.
        """
        Catalog.open(
            index
        ).close()  # says what is wrong, and leaves nothing where there is no index
        lock = WriterLock.take(index, wait)
        try:
            catalog = _opened(index)
            try:
                catalog.check_digest()
                editor = cls(index, catalog, lock)
                editor._resume(purpose)
                return editor
            except BaseException:
                catalog.close()
                raise
        except BaseException:
            lock.release()
            raise

    def _resume(self, purpose: dict[str, Any] | None) -> None:
        earlier = self._settings.pop(_UNDERWAY, None)
        self._purpose = purpose
        if earlier is not None:
            same = purpose is not None and earlier.get("purpose") == purpose
            if same and self._restore(earlier):
                return
            self._stale = earlier  # it stays until something is really changed
            self.catalog.commit = self.base
            return
        self._clean()

    def _restore(self, earlier: dict[str, Any]) -> bool:
        """Take up what an earlier run has kept; says whether that could be."""
        steps = self.catalog.chunks()
        last = steps[-1] if steps else ChunkEntry("", 0, 0, 0)
        new = [one for one in self._segments() if one.came > self.base]
        moved = earlier.get("tail rows", 0), earlier.get("tail documents", 0)
        rows = moved[0] + last.rows - sum(one.rows for one in new)
        documents = moved[1] + last.documents - sum(one.documents for one in new)
        sealing = earlier.get("sealing")
        with writing(self._pending.path):
            if isinstance(sealing, str) and sealing not in {one.id for one in new}:
                self._pending.take_named(sealing)
            remove_litter(self.index, self.catalog, keep_pending=True)
            wrong = self._pending.cut(rows, self.dimensions, documents)
        if wrong is not None:
            _log.warning("%s; the interrupted change of %s begins anew", wrong, self.index)
            return False
        self._kept = self._changed = True
        self._underway = earlier
        self.steps = steps
        self._pending_rows, self._pending_documents = rows, documents
        if self._pending_rows:
            self._pending_first = int(self._pending_positions()[0])
        with self.catalog.reading() as connection:
            highest = connection.execute("SELECT max(position) FROM documents").fetchone()[0]
            self._gone.update(
                row[0]
                for row in connection.execute(
                    "SELECT position FROM documents WHERE went = ?", (self.base + 1,)
                )
            )
        self._next = max(self._next, (highest if highest is not None else -1) + 1)
        self.earlier_steps = tuple(self.steps)
        self.kept_records = sum(one.records for one in self.steps)
        return True

    def _throw_away(self) -> None:
        """Forget what an interrupted change has stored."""
        base = self.base
        with self.catalog.transaction() as connection:
            for table, column in (("files", "segment"), ("segments", "id")):
                connection.execute(
                    f"DELETE FROM {table} WHERE {column} IN "  # noqa: S608 (two names)
                    "(SELECT id FROM segments WHERE came > ?)",
                    (base,),
                )
            connection.execute("DELETE FROM documents WHERE position >= ?", (self.first_new,))
            connection.execute("UPDATE documents SET went = NULL WHERE went > ?", (base,))
            for position, metadata, line in connection.execute(
                "SELECT position, metadata, line FROM earlier WHERE until > ?", (base,)
            ).fetchall():
                self._set_metadata(position, metadata, line)
            connection.execute("DELETE FROM earlier WHERE until > ?", (base,))
            for statement in (
                "DELETE FROM chunks",
                "DELETE FROM rejects",
                f"DELETE FROM settings WHERE key = '{_UNDERWAY}'",  # noqa: S608 (ours)
            ):
                connection.execute(statement)

    def _clean(self) -> None:
        with writing(self.index / SEGMENTS):
            if self._pending.path.exists():
                shutil.rmtree(self._pending.path)
        remove_litter(self.index, self.catalog)

    # What those who change ask

    def live_rows(self) -> int:
        """Rows of the commit that is changed."""
        return int(self._settings.get("rows", 0))

    @property
    def start(self) -> int:
        """Documents that the next call of a change adds have positions from here on."""
        return self.first_new if self.earlier_steps else self._next

    def vectors_of(self, positions: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Unit rows of documents, those that came with this change included."""
        found = super().vectors_of(positions)
        for one in self._waiting:
            of_waiting = dict(zip(one.positions.tolist(), one.rows, strict=True))
            found |= {at: of_waiting[at] for at in positions if at in of_waiting}
        left = np.array([at for at in positions if at not in found], dtype=np.int64)
        if len(left) and self._pending_rows:
            pending = self._pending_positions()
            numbers = np.searchsorted(pending, left).clip(max=len(pending) - 1)
            data = self._pending.read(VECTORS, self._pending_rows, 4 * self.dimensions)
            rows = np.frombuffer(data, dtype="<f4").reshape(-1, self.dimensions)
            for at, number in zip(left.tolist(), numbers.tolist(), strict=True):
                if pending[number] == at:
                    found[at] = rows[number].copy()
        return found

    # Steps

    def apply(self, step: Step) -> None:
        """Take a step. It is kept when there is more than a little that is not.

        Raises:
            IndexWriteError: the file system refuses.
        """
        self._check()
        with self.catalog.within():
            self._begin()
            positions = np.arange(self._next, self._next + len(step.documents), dtype=np.int64)
            self._delete(step.gone)
            self._insert(step.documents)
            for position, document in step.metadata:
                self._change_metadata(position, document)
            self._note(step)
            if len(positions):
                self._waiting.append(_Waiting(positions, step.rows, step.passages))
            self._waiting_bytes += step.rows.nbytes + sum(len(one.text) for one in step.documents)
            if step.documents or step.gone or step.metadata:
                self._changed = True
        waiting = sum(len(one.rows) for one in self._waiting)
        if (
            waiting + len(self._tail) > TAIL_ROWS
            or self._waiting_bytes > _MOST_BYTES
            or (self._kept and step.documents)
            or time.monotonic() - self._last > _MOST_SECONDS
        ):
            self._keep()

    def _check(self) -> None:
        if self._done:
            raise IndexClosed("this change has ended; begin another one")

    def _begin(self) -> None:
        if self._stale is not None:
            stale, self._stale = self._stale.get("purpose"), None
            if stale is not None and stale != self._purpose:
                _log.warning(
                    "an earlier change of %s was interrupted (%s); what it had done is thrown away",
                    self.index,
                    stale.get("what", "of another kind"),
                )
            self.catalog.commit = self.base + 1
            self._throw_away()
            self._clean()
        if not self._begun:
            self.catalog.begin()
            self._begun = True

    def _end(self) -> None:
        self.catalog.end()
        self._begun = False

    def _insert(self, documents: Sequence[Document]) -> None:
        self.catalog.writer.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                document_row(
                    self._next + offset,
                    document.id,
                    document.title,
                    document.text,
                    stored_metadata(document),
                    document.line,
                    self.base + 1,
                )
                for offset, document in enumerate(documents)
            ],
        )
        self._next += len(documents)

    def _delete(self, positions: Sequence[int]) -> None:
        for position in positions:
            if position >= self.first_new:  # came with this change: nobody has seen it
                self.catalog.writer.execute("DELETE FROM documents WHERE position = ?", (position,))
            else:
                self.catalog.writer.execute(
                    "UPDATE documents SET went = ? WHERE position = ?", (self.base + 1, position)
                )
            self._gone.add(position)

    def _change_metadata(self, position: int, document: Document) -> None:
        writer = self.catalog.writer
        self.catalog.check_document(position)
        if position < self.first_new:
            metadata, line = writer.execute(
                "SELECT metadata, line FROM documents WHERE position = ?", (position,)
            ).fetchone()
            columns = (position, self.base + 1, metadata, line)
            writer.execute(
                "INSERT OR IGNORE INTO earlier VALUES (?, ?, ?, ?, ?)",
                (*columns, row_checksum(columns)),
            )
        self._set_metadata(position, stored_metadata(document), document.line)

    def _set_metadata(self, position: int, metadata: str | None, line: int | None) -> None:
        writer = self.catalog.writer
        name, title, text, came = writer.execute(
            "SELECT id, title, text, came FROM documents WHERE position = ?", (position,)
        ).fetchone()
        row = document_row(position, name, title, text, metadata, line, came)
        writer.execute(
            "UPDATE documents SET metadata = ?, line = ?, xxh3 = ? WHERE position = ?",
            (metadata, line, row[-1], position),
        )

    def _note(self, step: Step) -> None:
        """Write down which records were done, as the steps of a build are."""
        if not self._kept and not self.steps:  # what the build, or the last change, noted
            self.catalog.writer.execute("DELETE FROM chunks")
            self.catalog.writer.execute("DELETE FROM rejects")
        number = len(self.steps)
        last = self.steps[-1] if self.steps else ChunkEntry("", 0, 0, 0)
        entry = ChunkEntry(
            step.digest,
            step.records,
            last.documents + len(step.documents),
            last.rows + len(step.rows),
        )
        self.steps.append(entry)
        self.catalog.writer.execute(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)",
            (number, entry.digest, entry.records, entry.documents, entry.rows, step.truncated),
        )
        self.catalog.writer.executemany(
            "INSERT INTO rejects VALUES (?, ?, ?, ?)",
            [(number, one.line, one.reason, one.raw) for one in step.rejects],
        )

    def _keep(self) -> None:
        """Make what was done durable, and invisible still."""
        with writing(self._pending.path), self.catalog.within():
            self._begin()
            if not self._kept:
                self._move_tail()
            for waiting in self._waiting:
                self._append(*waiting)
            if not self._kept:
                self._tell_underway()
                self._kept = True
            self._end()
            if self._purpose is not None:
                self.kept_records = sum(one.records for one in self.steps)
        self._waiting, self._waiting_bytes = [], 0
        self._last = time.monotonic()
        if self._pending_rows >= self.segment_rows:
            self._seal()

    def _move_tail(self) -> None:
        """The rows of the tail come before the new ones in the segment that is being filled."""
        if not self._tail:
            return
        positions = np.array([row.position for row in self._tail], dtype=np.int64)
        rows = np.frombuffer(b"".join(row.vector for row in self._tail), dtype="<f4")
        documents, numbers = np.unique(positions, return_inverse=True)
        passages = None
        if self.split:
            spans = np.array([row.span for row in self._tail], dtype=np.int64)
            passages = np.column_stack([numbers.reshape(-1), spans])
        self._append(documents, rows.reshape(len(positions), self.dimensions), passages)

    def _append(
        self,
        positions: NDArray[np.int64],
        rows: NDArray[np.float32],
        passages: NDArray[np.int64] | None,
    ) -> None:
        """Write rows behind those of the segment that is being filled."""
        if passages is not None:
            passages = passages + np.array([self._pending_documents, 0, 0])
        self._pending.append(self._pending_rows, rows, passages, self._pending_documents, positions)
        if self._pending_first < 0:
            self._pending_first = int(positions[0])
        self._pending_rows += len(rows)
        self._pending_documents += len(positions)

    def _tell_underway(self) -> None:
        self._underway = {
            "purpose": self._purpose,
            "tail rows": len(self._tail),
            "tail documents": len({row.position for row in self._tail}),
        }
        self.catalog.store_settings(self.catalog.writer, {_UNDERWAY: self._underway})
        # The steps of a build are gone, which the checksum was of.
        self._store_digest()

    def _store_digest(self) -> None:
        self.catalog.store_settings(self.catalog.writer, {"catalog_xxh3": self.catalog.digest()})

    # Segments

    def _segments(self) -> list[SegmentEntry]:
        return self.catalog.segments()

    def _pending_positions(self) -> NDArray[np.int64]:
        data = self._pending.read(POSITIONS, self._pending_documents, 8)
        return np.frombuffer(data, dtype="<i8")

    def _seal(self) -> None:
        """Make a segment of what is pending, and register it for the commit to come."""
        rows, documents = self._pending_rows, self._pending_documents
        positions = self._pending_positions()
        first, last = int(positions[0]), int(positions[-1])
        gaps = documents if documents <= last - first else 0
        with writing(self._pending.path):
            name, files, error = self._pending.close(
                first, rows, self.dimensions, self.advance_sealing, gaps, self._tell_sealing
            )
        entry = SegmentEntry(name, 0, rows, first, last, documents, came=self.base + 1)
        errors = self._errors_with(name, error, files)
        with self.catalog.within():
            self._register(entry, files, errors)

    def _tell_sealing(self, name: str) -> None:
        """Say which name what is pending gets now: until it is registered, its rows are found there."""
        with self.catalog.within():
            self._begin()
            self._underway = {**self._underway, "sealing": name}
            self.catalog.store_settings(self.catalog.writer, {_UNDERWAY: self._underway})
            self._end()

    def _register(
        self, entry: SegmentEntry, files: Mapping[str, FileEntry], errors: dict[str, Any]
    ) -> None:
        self._begin()
        self.catalog.store_segment(self.catalog.writer, entry, files.values())
        self.catalog.store_settings(self.catalog.writer, {ROTATION_ERRORS: errors})
        self._store_digest()
        self._end()
        self._pending_rows = self._pending_documents = 0
        self._pending_first = -1

    def _errors_with(
        self, segment: str, error: float, files: Mapping[str, FileEntry]
    ) -> dict[str, Any]:
        errors = dict(self._settings.get(ROTATION_ERRORS) or {})
        errors[segment] = [error, error_check(error, files[ROTATION].xxh3)]
        self._settings[ROTATION_ERRORS] = errors
        return errors

    def merge(self, group: Sequence[SegmentEntry], advance: Callable[[int], None]) -> None:
        """Make one segment of the living rows of several that follow each other.

        Raises:
            IndexFormatError: what is to be copied is damaged; nothing is changed.
            IndexWriteError: the file system refuses.
        """
        self._check()
        with self.catalog.within():
            self._begin()
        masks = self.catalog.masks()
        sources = [
            Source(
                self.index / SEGMENTS / entry.id,
                entry,
                self.catalog.files(entry.id),
                None if entry.id not in masks else living_rows(entry, masks[entry.id]),
            )
            for entry in group
        ]
        with writing(self._pending.path):
            merged = write_merged(sources, self._pending, self.dimensions, advance)
        with self.catalog.within():
            self._begin()
            for entry in group:
                self.catalog.forget_segment(self.catalog.writer, entry.id)
            if merged is not None:
                name, files, error, entry = merged
                self._errors_with(name, error, files)
                entry = replace(entry, came=self.base + 1)
                self.catalog.store_segment(self.catalog.writer, entry, files.values())
        self._changed = True

    def add_file(self, segment: str, name: str, write: Callable[[Path], None]) -> None:
        """Add a file to a segment: ``write`` is given the path to make."""
        self._check()
        path = self.index / SEGMENTS / segment / name
        with self.catalog.within():
            self._begin()
        with writing(path):
            entry = made_file(path, write)
        with self.catalog.within():
            self.catalog.writer.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?)", (segment, name, entry.bytes, entry.xxh3)
            )
        self._changed = True

    # The end

    def commit_rewritten(self) -> int:
        """Make the change by a new catalog, which holds nothing of the past; see ``commit``."""
        self._check()
        with self.catalog.within():
            self._begin()
            self._store(self._tail, {})
            write_catalog(self.index, self.catalog)
        self._roll_back()
        self.catalog.close()
        put_in_place(self.index)
        catalog = _opened(self.index)
        with suppress(OSError, IndexWriteError):
            remove_litter(self.index, catalog)
        catalog.close()
        self.close()
        return self.base + 1

    def commit(self, settings: dict[str, Any] | None = None) -> int:
        """Make the change, all of it, and let go of the index.

        Args:
            settings: JSON values to store with it.

        Returns:
            The number of the commit; that of the one before where nothing was changed.

        Raises:
            IndexWriteError: the file system refuses; the index is as it was before.
        """
        self._check()
        if not self._changed and settings is None:
            self.close()
            return self.base
        tail = self._tail
        if self._kept:
            if self._waiting or self._begun:
                self._keep()
            small = self._new_tail()
            if small is None and self._pending_rows:
                self._seal()
            tail = small or []
        with self.catalog.within():
            self._begin()
            if not self._kept:
                tail = [*tail, *self._rows_waiting(tail)]
            self._store(tail, settings or {})
            self._end()
        commit = self.base + 1
        with suppress(OSError, IndexWriteError):  # the next change does it
            self._clean()
        self.close()
        return commit

    def _new_tail(self) -> list[TailRow] | None:
        """The tail with what is pending, where that is little and no segment was made; else ``None``."""
        if any(one.came > self.base for one in self._segments()):
            return None
        if not self._pending_rows:
            return self._tail
        if self._pending_rows > TAIL_ROWS:
            return None
        data = self._pending.read(VECTORS, self._pending_rows, 4 * self.dimensions)
        rows = np.frombuffer(data, dtype="<f4").reshape(-1, self.dimensions)
        positions = self._pending_positions()
        passages = None
        if self.split:
            data = self._pending.read(PASSAGES, self._pending_rows, 24)
            passages = np.frombuffer(data, dtype="<i8").reshape(-1, 3)
        return _tail_rows(0, positions, rows, passages)

    def _rows_waiting(self, tail: Sequence[TailRow]) -> list[TailRow]:
        found: list[TailRow] = []
        after = tail[-1].row + 1 if tail else 0
        for one in self._waiting:
            found += _tail_rows(after + len(found), *one)
        return found

    def _store(self, tail: Sequence[TailRow], settings: dict[str, Any]) -> None:
        """Everything that the commit changes, inside of its transaction."""
        writer, catalog = self.catalog.writer, self.catalog
        living = [row for row in tail if row.position not in self._gone]
        before = {row.row: row for row in self._tail}
        after = {row.row: row for row in living}
        writer.executemany(
            "DELETE FROM tail WHERE row = ?",
            [(number,) for number, row in before.items() if after.get(number) != row],
        )
        writer.executemany(
            "INSERT INTO tail VALUES (?, ?, ?, ?, ?, ?)",
            [row.values() for number, row in after.items() if before.get(number) != row],
        )
        masks = catalog.masks()
        rows, documents = len(living), len({row.position for row in living})
        gone = np.array(sorted(self._gone), dtype=np.int64)
        errors = dict(self._settings.get(ROTATION_ERRORS) or {})
        for entry in self._segments():
            here = gone[(gone >= entry.first_document) & (gone <= entry.last_document)]
            mask = masks.get(entry.id)
            if len(here):
                files = catalog.files(entry.id)
                mask = mask_without(self.index, entry, files, mask, here)
                if not mask.rows:
                    catalog.forget_segment(writer, entry.id)
                    errors.pop(entry.id, None)
                    continue
                writer.execute(
                    "INSERT OR REPLACE INTO masks VALUES (?, ?, ?, ?)",
                    (entry.id, mask.rows, mask.documents, mask.bits),
                )
            rows += entry.rows if mask is None else mask.rows
            documents += entry.documents if mask is None else mask.documents
        for statement in (
            "DELETE FROM chunks",
            "DELETE FROM rejects",
            f"DELETE FROM settings WHERE key = '{_UNDERWAY}'",  # noqa: S608 (ours)
        ):
            writer.execute(statement)
        catalog.store_settings(
            writer,
            {
                **settings,
                "documents": documents,
                "rows": rows,
                "positions": self._next,
                "commit": self.base + 1,
                "changed": now(),
                ROTATION_ERRORS: errors,
            },
        )
        catalog.store_settings(writer, {"catalog_xxh3": catalog.digest()})

    def totals(self) -> dict[str, int]:
        """Numbers of records read, records rejected and documents truncated so far."""
        if not self.steps:  # what the catalog has is of the build, or of another change
            return {"records": 0, "rejected": 0, "truncated": 0}
        return self.catalog.totals()

    def rejects(self) -> list[RejectedRecord]:
        """Every record that was not accepted, in order."""
        return [RejectedRecord(*row) for row in self.catalog.rejects()] if self.steps else []

    def discard(self) -> None:
        """Undo everything, also what was kept."""
        self._roll_back()
        if self._kept:
            self._throw_away()
            self._clean()
        self.close()

    def close(self) -> None:
        """Let go of the index. What was kept is there for the next change of the same purpose."""
        if self._done:
            return
        self._done = True
        self._roll_back()
        try:
            self.catalog.close()
        finally:
            self._lock.release()

    def _roll_back(self) -> None:
        if self._begun:
            self._begun = False
            self.catalog.roll_back()

    def __enter__(self) -> IndexEditor:
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close; without ``commit`` nothing was changed."""
        self.close()


def now() -> str:
    """The time, as settings have it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _opened(index: Path) -> Catalog:
    catalog = Catalog.open(index)
    version = catalog.version
    catalog.close()
    if version < FORMAT_VERSION:
        upgrade(index)
    catalog = Catalog.change(index)
    try:
        set_commit(catalog)
    except BaseException:
        catalog.close()
        raise
    return catalog


def _tail_rows(
    first: int,
    positions: NDArray[np.int64],
    rows: NDArray[np.float32],
    passages: NDArray[np.int64] | None,
) -> list[TailRow]:
    """Rows as the tail has them, numbered from ``first`` on."""
    data = np.ascontiguousarray(rows, dtype="<f4")
    if passages is None:
        return [
            TailRow(first + number, position, None, data[number].tobytes())
            for number, position in enumerate(positions.tolist())
        ]
    return [
        TailRow(
            first + number,
            int(positions[owner]),
            (begin, end),
            data[number].tobytes(),
        )
        for number, (owner, begin, end) in enumerate(passages.tolist())
    ]
