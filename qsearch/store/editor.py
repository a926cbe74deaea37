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
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import RejectedRecord
from qsearch.errors import IndexClosed, IndexWriteError
from qsearch.filters import Condition
from qsearch.filters.conditions import spelled
from qsearch.store.catalog import Catalog
from qsearch.store.columns import drop_column, store_column
from qsearch.store.edits import DocumentEdits, SegmentEdits, Step, forget_steps, store_tail
from qsearch.store.fields import known_fields
from qsearch.store.format import FORMAT_VERSION, ROTATION_ERRORS, SEGMENTS, TAIL_ROWS
from qsearch.store.growing import GrowingSegment
from qsearch.store.leftovers import remove_litter
from qsearch.store.opening import set_commit
from qsearch.store.rewriting import not_told, put_in_place, upgrade, write_catalog
from qsearch.store.rows import ChunkEntry, SegmentEntry, TailRow
from qsearch.store.segment import made_files
from qsearch.store.selecting import select
from qsearch.store.staging import writing
from qsearch.store.tail import tail_rows
from qsearch.store.text_index import TextIndexSpec
from qsearch.store.view import IndexView, rows_of_a_segment
from qsearch.store.writer_lock import WriterLock

__all__ = ["IndexEditor", "Step"]

_log = logging.getLogger("qsearch")

_MOST_BYTES = 1 << 22
"""Documents and rows of a step that is not kept are in memory: no more than so many bytes."""

_BYTES_OF_A_CHANGE = 1 << 10
"""A row that is marked or gets other metadata dirties a page, which it may share with few others."""

_MOST_SECONDS = 5.0
"""Steps that took longer than this are kept, however small: what was encoded is not to be lost."""

_UNDERWAY = "underway"
"""The setting that says for which purpose what is stored bears the number of the commit to come."""


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
        self.segment_rows = rows_of_a_segment(catalog)
        self.earlier_steps: tuple[ChunkEntry, ...] = ()
        self.kept_records = 0
        self.advance_sealing: Callable[[int], None] = not_told
        self._documents = DocumentEdits(catalog, self.base, self.first_new)
        errors = self._settings.get(ROTATION_ERRORS)
        self._segments = SegmentEdits(index, catalog, self.base, errors)
        self._growing = GrowingSegment(index, self.dimensions, split=self.split)
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._kept = False
        self._changed = False
        self.halfway = False
        self._samples: NDArray[np.float32] | None = None
        self._purpose: dict[str, Any] | None = None
        self._underway: dict[str, Any] = {}
        self._begun = False
        self._done = False
        self._stale: dict[str, Any] | None = None
        self._last = time.monotonic()

    # Opening, resuming

    @classmethod
    def open(
        cls,
        index: Path,
        *,
        purpose: dict[str, Any] | None = None,
        wait: float = 0.0,
        advance: Callable[[int], None] = not_told,
    ) -> IndexEditor:
        """Begin a change, or go on with the one of the same purpose that was cut short.

        An index of an earlier format is brought to the present one first, in a commit of its own.

        Args:
            index: the directory.
            purpose: JSON values that say what the change is; ``None``: it is not to be gone on with.
            wait: seconds to wait for another writer.
            advance: told how many documents were just brought to the present format.

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
            catalog = _opened(index, advance)
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
        new = self._segments.new()
        moved = earlier.get("tail rows", 0), earlier.get("tail documents", 0)
        rows = moved[0] + last.rows - sum(one.rows for one in new)
        documents = moved[1] + last.documents - sum(one.documents for one in new)
        sealing = earlier.get("sealing")
        with writing(self._growing.pending.path):
            if isinstance(sealing, str) and sealing not in {one.id for one in new}:
                self._growing.pending.take_named(sealing)
            remove_litter(self.index, self.catalog, keep_pending=True)
            wrong = self._growing.restore(rows, documents)
        if wrong is not None:
            _log.warning("%s; the interrupted change of %s begins anew", wrong, self.index)
            return False
        self._kept = True
        self._underway = earlier
        self._documents.restore()
        self._changed = self._documents.change_something
        self.earlier_steps = tuple(steps)
        self.kept_records = sum(one.records for one in steps)
        return True

    def _throw_away(self) -> None:
        """Forget what an interrupted change has stored: in parts, where that is much."""
        parts = self._documents.thrown_away()
        more = True
        while more:
            with self.catalog.transaction() as connection:
                more = next(parts, False)
                if more:  # with what is half gone nobody goes on
                    self.catalog.store_settings(connection, {_UNDERWAY: {"purpose": None}})
                else:
                    self._segments.throw_away()
                    connection.execute("DELETE FROM settings WHERE key = ?", (_UNDERWAY,))

    def _clean(self) -> None:
        self._remove_pending()
        remove_litter(self.index, self.catalog)

    def _remove_pending(self) -> None:
        with writing(self.index / SEGMENTS):
            if self._growing.pending.path.exists():
                shutil.rmtree(self._growing.pending.path)

    # What those who change ask

    @property
    def live_documents(self) -> int:
        """Documents of the commit that is changed."""
        return int(self._settings.get("documents", 0))

    @property
    def start(self) -> int:
        """Documents that the next call of a change adds have positions from here on."""
        return self.first_new if self.earlier_steps else self._documents.next

    @property
    def left_behind(self) -> bool:
        """Whether another change that was interrupted has left something, which this one throws away."""
        return self._stale is not None

    @property
    def gone(self) -> int:
        """Documents that go with this change, as far as it is done."""
        return len(self._documents.gone)

    @property
    def steps(self) -> list[ChunkEntry]:
        """What was done so far."""
        return self._documents.steps

    def vectors_of(self, positions: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Unit rows of documents, those that came with this change included."""
        found = super().vectors_of(positions)
        for one in self._waiting:
            of_waiting = dict(zip(one.positions.tolist(), one.rows, strict=True))
            found |= {at: of_waiting[at] for at in positions if at in of_waiting}
        return found | self._growing.vectors_of([at for at in positions if at not in found])

    def totals(self) -> dict[str, int]:
        """Numbers of records read, records rejected and documents truncated so far."""
        if not self.steps:  # what the catalog has is of the build, or of another change
            return {"records": 0, "rejected": 0, "truncated": 0}
        return self.catalog.totals()

    def rejects(self) -> list[RejectedRecord]:
        """Every record that was not accepted, in order."""
        return [RejectedRecord(*row) for row in self.catalog.rejects()] if self.steps else []

    # Steps

    def apply(self, step: Step) -> None:
        """Take a step. It is kept when there is more than a little that is not.

        Raises:
            IndexWriteError: the file system refuses.
        """
        self._check()
        with self.catalog.within():
            self._begin()
            self.halfway = True
            positions = self._documents.take(step, first=not self._kept)
            if len(positions):
                self._waiting.append(_Waiting(positions, step.rows, step.passages))
            self._waiting_bytes += step.rows.nbytes + sum(len(one.text) for one in step.documents)
            self._waiting_bytes += _BYTES_OF_A_CHANGE * (len(step.gone) + len(step.metadata))
            if step.documents or step.gone or step.metadata:
                self._changed = True
            self.halfway = False
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
            self.catalog.commit = self.base + 1
            self._remove_pending()  # first: on a full disk the journal of the rest needs the room
            self._throw_away()
            remove_litter(self.index, self.catalog)
            if stale is not None and stale != self._purpose:
                _log.warning(
                    "an earlier change of %s was interrupted (%s); what it had done is thrown away",
                    self.index,
                    stale.get("what", "of another kind"),
                )
        if not self._begun:
            self.catalog.begin()
            self._begun = True

    def _end(self) -> None:
        self.catalog.end()
        self._begun = False

    def _keep(self) -> None:
        """Make what was done durable, and invisible still."""
        with writing(self._growing.pending.path), self.catalog.within():
            self._begin()
            if not self._kept:  # they come before the new ones in the segment that is being filled
                self._growing.append_tail(self._tail)
            for waiting in self._waiting:
                self._growing.append(*waiting)
            if not self._kept:
                self._tell_underway()
                self._kept = True
            self._end()
            if self._purpose is not None:
                self.kept_records = sum(one.records for one in self.steps)
        self._waiting, self._waiting_bytes = [], 0
        self._last = time.monotonic()
        if self._growing.rows >= self.segment_rows:
            self._seal()

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

    def _seal(self) -> None:
        """Make a segment of what is growing, and register it for the commit to come."""
        with writing(self._growing.pending.path):
            closed = self._growing.close(self.advance_sealing, self._tell_sealing)
        with self.catalog.within():
            self._begin()
            self._segments.register(*closed)
            self._segments.store_errors()
            self._store_digest()
            self._end()
        self._growing.forget()

    def _tell_sealing(self, name: str) -> None:
        """Say which name what is growing gets now: until it is registered, its rows are found there."""
        with self.catalog.within():
            self._begin()
            self._underway = {**self._underway, "sealing": name}
            self.catalog.store_settings(self.catalog.writer, {_UNDERWAY: self._underway})
            self._end()

    def merge(self, group: Sequence[SegmentEntry], advance: Callable[[int], None]) -> None:
        """Make one segment of the living rows of several that follow each other.

        Raises:
            IndexFormatError: what is to be copied is damaged; nothing is changed.
            IndexWriteError: the file system refuses.
        """
        self._check()
        with self.catalog.within():
            self._begin()
        merged = self._growing.merged(self._segments.sources(group), advance)
        with self.catalog.within():
            self._begin()
            self._segments.forget(group)
            if merged is not None:
                self._segments.register(*merged)
        self._changed = True

    def add_files(
        self,
        segment: str,
        writes: Mapping[str, Callable[[Path], None]],
        *,
        instead_of: Sequence[str] = (),
    ) -> None:
        """Add files to a segment, all or none: each is given the path to make.

        Args:
            segment: which.
            writes: by name.
            instead_of: names of files that are no longer needed then, where it has them.
        """
        self._check()
        with self.catalog.within():
            self._begin()
        directory = self.index / SEGMENTS / segment
        with writing(directory):
            entries = made_files(directory, writes)
        with self.catalog.within():
            self._segments.add_files(segment, entries, instead_of)
        self._changed = True

    # Fields

    def positions_where(self, condition: Condition, *, missing_ok: bool) -> list[int]:
        """Positions of the documents that a condition holds for, as far as the change is done.

        Raises:
            QueryError: a field is not there, or it took too long.
        """
        known = known_fields(self.catalog)
        if self._changed:  # what is indexed and counted is of the commit before
            known = replace(known, complete=False, indexed=frozenset())
        found = select(self.catalog, known, condition, self._documents.next, missing_ok=missing_ok)
        positions: list[int] = np.flatnonzero(found).tolist()
        there = self.catalog.there(positions)
        return [one for one in positions if one in there]

    def index_fields(self, paths: Sequence[tuple[str, ...]], *, drop: bool) -> None:
        """Index fields, or do so no longer.

        Args:
            paths: names of the fields, from the outermost object on.
            drop: whether they are to be indexed no longer.
        """
        self._check()
        with self.catalog.within():
            self._begin()
            for path in paths:
                if drop:
                    drop_column(self.catalog.writer, spelled(path))
                else:
                    store_column(self.catalog.writer, path)
        self._changed = True

    def put_samples(self, queries: NDArray[np.float32]) -> None:
        """Store sample queries with the commit, replacing those there are; (q, d)."""
        self._check()
        self._samples = queries
        self._changed = True

    # The end

    def commit_rewritten(
        self,
        text: TextIndexSpec | Literal["as before"] | None = "as before",
        advance: Callable[[int], None] = not_told,
    ) -> int:
        """Make the change by a new catalog, which holds nothing of the past; see ``commit``.

        Args:
            text: the text index that it has from now on; ``None``: none. Who has the old catalog open
                goes on reading that one's.
            advance: told how many documents were just written.
        """
        self._check()
        self._documents.texts.replaced = text != "as before"
        with self.catalog.within():
            self._begin()
            self._store(self._tail, {})
            write_catalog(self.index, self.catalog, text, advance)
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
        if self.halfway:
            raise RuntimeError("a step failed in its middle: this change cannot be committed")
        if not self._changed and settings is None:
            self.discard()  # also what was kept, if only that it was looked at
            return self.base
        tail = self._tail
        if self._kept:
            if self._waiting or self._begun:
                self._keep()
            small = self._new_tail()
            if small is None and self._growing.rows:
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
        """The tail with what is growing, where that is little and no segment was made; else ``None``."""
        if self._segments.new():
            return None
        if not self._growing.rows:
            return self._tail
        return self._growing.as_tail() if self._growing.rows <= TAIL_ROWS else None

    def _rows_waiting(self, tail: Sequence[TailRow]) -> list[TailRow]:
        found: list[TailRow] = []
        after = tail[-1].row + 1 if tail else 0
        for one in self._waiting:
            found += tail_rows(after + len(found), *one)
        return found

    def _store(self, tail: Sequence[TailRow], settings: dict[str, Any]) -> None:
        """Everything that the commit changes, inside of its transaction."""
        writer, catalog = self.catalog.writer, self.catalog
        living = [row for row in tail if row.position not in self._documents.gone]
        store_tail(catalog, self._tail, living)
        rows, documents = self._segments.without(self._documents.gone)
        if self._samples is not None:
            catalog.store_samples(writer, self._samples)
        forget_steps(catalog)
        writer.execute("DELETE FROM settings WHERE key = ?", (_UNDERWAY,))
        catalog.store_settings(
            writer,
            {
                **settings,
                "documents": documents + len({row.position for row in living}),
                "rows": rows + len(living),
                "positions": self._documents.next,
                "commit": self.base + 1,
                "changed": now(),
                ROTATION_ERRORS: self._segments.errors,
            },
        )
        self._documents.update_fields()
        self._store_digest()

    def discard(self) -> None:
        """Undo everything, also what was kept, and let go of the index whatever comes of that."""
        try:
            self._roll_back()
            if self._kept:
                self._throw_away()
                self._clean()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the index. What was kept is there for the next change of the same purpose."""
        if self._done:
            return
        self._done = True
        with ExitStack() as to_do:  # backwards, whatever fails
            to_do.callback(self._lock.release)
            to_do.callback(self.catalog.close)
            self._roll_back()

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


def _opened(index: Path, advance: Callable[[int], None] = not_told) -> Catalog:
    catalog = Catalog.open(index)
    version = catalog.version
    catalog.close()
    if version < FORMAT_VERSION:
        upgrade(index, advance)
        if advance is not_told:  # who watches it has asked for it
            told = "%s has format %d now, and had %d: earlier versions cannot read it"
            _log.warning(told, index, FORMAT_VERSION, version)
    catalog = Catalog.change(index)
    try:
        set_commit(catalog)
    except BaseException:
        catalog.close()
        raise
    return catalog
