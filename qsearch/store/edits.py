"""What a change does to the tables: of documents, and of segments. Inside of the editor's transactions.

What is stored bears the number of the commit to come, and nobody sees it until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Document, RejectedRecord
from qsearch.store.catalog import Catalog
from qsearch.store.columns import indexed_paths, update_column
from qsearch.store.fields import add_counts, count_fields
from qsearch.store.format import ROTATION, ROTATION_ERRORS, SEGMENTS, error_check
from qsearch.store.masks import living_rows, mask_without
from qsearch.store.merging import Source
from qsearch.store.rows import (
    ChunkEntry,
    FileEntry,
    SegmentEntry,
    TailRow,
    document_row,
    row_checksum,
)
from qsearch.store.text_index import TextEdits
from qsearch.store.writer import stored_metadata

__all__ = ["DocumentEdits", "SegmentEdits", "Step", "forget_steps", "store_tail"]


_THROWN_AWAY_AT_A_TIME = 1 << 12
"""Documents: what one transaction changes is in memory, and holds up whoever reads when it ends."""


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


class DocumentEdits:
    """The documents that come, go or get other metadata with a change, and its steps.

    Attributes:
        next: position of the next document that comes.
        gone: positions of documents that go.
        steps: what was done so far, as the steps of a build are written down.
        texts: the text index, where there is one.
    """

    def __init__(self, catalog: Catalog, base: int, first_new: int) -> None:
        """Begin with none.

        Args:
            catalog: that is written.
            base: number of the commit that is changed.
            first_new: positions of that commit are below this one.
        """
        self._catalog, self._base, self._first_new = catalog, base, first_new
        self.next = first_new
        self.gone: set[int] = set()
        self._changed: set[int] = set()
        self.steps: list[ChunkEntry] = []
        self.texts = TextEdits(catalog)

    def restore(self) -> None:
        """Take up what an earlier run of the same change has stored."""
        self.steps = self._catalog.chunks()
        with self._catalog.reading() as connection:
            highest = connection.execute("SELECT max(position) FROM documents").fetchone()[0]
            self.gone.update(
                row[0]
                for row in connection.execute(
                    "SELECT position FROM documents WHERE went = ?", (self._base + 1,)
                )
            )
            self._changed.update(
                row[0]
                for row in connection.execute(
                    "SELECT position FROM earlier WHERE until = ?", (self._base + 1,)
                )
            )
        self.next = max(self.next, (highest if highest is not None else -1) + 1)

    @property
    def change_something(self) -> bool:
        """Whether there is anything to commit: a sync may have found all as it was."""
        return bool(self.gone or self._changed or self.next > self._first_new)

    def thrown_away(self) -> Iterator[bool]:
        """Forget what an interrupted change has stored, in parts: ``True`` after each but the last.

        Each is done inside of a transaction of its own, which is begun and ended outside.
        """
        connection, most = self._catalog.writer, _THROWN_AWAY_AT_A_TIME
        while True:
            highest = connection.execute("SELECT max(position) FROM documents").fetchone()[0]
            if highest is None or highest - self._first_new < most:
                break
            self._forget_from(highest - most + 1)
            yield True
        self._forget_from(self._first_new)
        last = -1
        while gone := connection.execute(
            "SELECT position FROM documents WHERE position > ? AND went > ? ORDER BY position LIMIT ?",
            (last, self._base, most),
        ).fetchall():
            connection.executemany("UPDATE documents SET went = NULL WHERE position = ?", gone)
            if len(gone) < most:
                break
            last = gone[-1][0]
            yield True
        last = -1
        while changed := connection.execute(
            "SELECT position, until, metadata, line FROM earlier WHERE position > ? AND until > ? "
            "ORDER BY position LIMIT ?",
            (last, self._base, most),
        ).fetchall():
            for position, until, metadata, line in changed:
                self._catalog.check_document(position)
                self._set_metadata(position, metadata, line)
                connection.execute(
                    "DELETE FROM earlier WHERE position = ? AND until = ?", (position, until)
                )
            if len(changed) < most:
                break
            last = changed[-1][0]
            yield True
        forget_steps(self._catalog)

    def _forget_from(self, position: int) -> None:
        self.texts.remove(position)
        self._catalog.writer.execute("DELETE FROM documents WHERE position >= ?", (position,))

    def take(self, step: Step, *, first: bool) -> NDArray[np.int64]:
        """Store what a step says of documents; returns the positions of the new ones.

        Args:
            step: what is done.
            first: whether steps that are written down already are of the build, or another change.
        """
        positions = np.arange(self.next, self.next + len(step.documents), dtype=np.int64)
        self._delete(step.gone)
        self._insert(step.documents)
        for position, document in step.metadata:
            self._change_metadata(position, document)
        self._note(step, first)
        return positions

    def _insert(self, documents: Sequence[Document]) -> None:
        self._catalog.writer.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                document_row(
                    self.next + offset,
                    document.id,
                    document.title,
                    document.text,
                    stored_metadata(document),
                    document.line,
                    self._base + 1,
                )
                for offset, document in enumerate(documents)
            ],
        )
        self.texts.add(documents, self.next)
        self.next += len(documents)

    def _delete(self, positions: Sequence[int]) -> None:
        writer = self._catalog.writer
        for position in positions:
            if position >= self._first_new:  # came with this change: nobody has seen it
                self.texts.remove(position, position)
                writer.execute("DELETE FROM documents WHERE position = ?", (position,))
            else:
                writer.execute(
                    "UPDATE documents SET went = ? WHERE position = ?", (self._base + 1, position)
                )
            self.gone.add(position)

    def _change_metadata(self, position: int, document: Document) -> None:
        writer = self._catalog.writer
        self._catalog.check_document(position)
        if position < self._first_new:
            metadata, line = writer.execute(
                "SELECT metadata, line FROM documents WHERE position = ?", (position,)
            ).fetchone()
            columns = (position, self._base + 1, metadata, line)
            writer.execute(
                "INSERT OR IGNORE INTO earlier VALUES (?, ?, ?, ?, ?)",
                (*columns, row_checksum(columns)),
            )
            self._changed.add(position)
        self._set_metadata(position, stored_metadata(document), document.line)

    def _set_metadata(self, position: int, metadata: str | None, line: int | None) -> None:
        writer = self._catalog.writer
        name, title, text, came = writer.execute(
            "SELECT id, title, text, came FROM documents WHERE position = ?", (position,)
        ).fetchone()
        row = document_row(position, name, title, text, metadata, line, came)
        writer.execute(
            "UPDATE documents SET metadata = ?, line = ?, xxh3 = ? WHERE position = ?",
            (metadata, line, row[-1], position),
        )

    def update_fields(self) -> None:
        """Bring the counts of fields, and the fields that are indexed, up to date with this change."""
        connection, until = self._catalog.writer, self._base + 1
        counts = count_fields(
            row[0]
            for row in connection.execute(
                "SELECT metadata FROM documents WHERE position >= ?", (self._first_new,)
            )
        )
        gone = {position for position in self.gone if position < self._first_new}
        for position in gone | self._changed:
            (metadata,) = connection.execute(
                "SELECT metadata FROM documents WHERE position = ?", (position,)
            ).fetchone()
            before = metadata
            if position in self._changed:
                (before,) = connection.execute(
                    "SELECT metadata FROM earlier WHERE position = ? AND until = ?",
                    (position, until),
                ).fetchone()
            counts.subtract(count_fields([before]))
            if position not in gone:
                counts.update(count_fields([metadata]))
        add_counts(connection, counts)
        touched = [*range(self._first_new, self.next), *self._changed]
        if touched:
            for path in indexed_paths(connection):
                update_column(connection, path, touched)

    def _note(self, step: Step, first: bool) -> None:
        """Write down which records were done, as the steps of a build are."""
        writer = self._catalog.writer
        if first and not self.steps:  # what the build, or the last change, noted
            writer.execute("DELETE FROM chunks")
            writer.execute("DELETE FROM rejects")
        number = len(self.steps)
        last = self.steps[-1] if self.steps else ChunkEntry("", 0, 0, 0)
        entry = ChunkEntry(
            step.digest,
            step.records,
            last.documents + len(step.documents),
            last.rows + len(step.rows),
        )
        self.steps.append(entry)
        writer.execute(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)",
            (number, entry.digest, entry.records, entry.documents, entry.rows, step.truncated),
        )
        writer.executemany(
            "INSERT INTO rejects VALUES (?, ?, ?, ?)",
            [(number, one.line, one.reason, one.raw) for one in step.rejects],
        )


class SegmentEdits:
    """The segments that come and go with a change, their files and the rows of them that live.

    Attributes:
        errors: of the rotations, as the settings have them.
    """

    def __init__(self, index: Path, catalog: Catalog, base: int, errors: object) -> None:
        """Begin with those of the commit.

        Args:
            index: the directory.
            catalog: that is written.
            base: number of the commit that is changed.
            errors: of the rotations, as the settings have them.
        """
        self._index, self._catalog, self._base = index, catalog, base
        self.errors: dict[str, Any] = dict(errors) if isinstance(errors, dict) else {}

    def all(self) -> list[SegmentEntry]:
        """Those of the commit to come, as far as it is done."""
        return self._catalog.segments()

    def new(self) -> list[SegmentEntry]:
        """Those that came with this change."""
        return [one for one in self.all() if one.came > self._base]

    def throw_away(self) -> None:
        """Forget what an interrupted change has stored, in a transaction that is begun."""
        for table, column in (("files", "segment"), ("segments", "id")):
            self._catalog.writer.execute(
                f"DELETE FROM {table} WHERE {column} IN "  # noqa: S608 (two names)
                "(SELECT id FROM segments WHERE came > ?)",
                (self._base,),
            )

    def register(self, entry: SegmentEntry, files: Mapping[str, FileEntry], error: float) -> None:
        """Store a segment that is there from the commit to come on.

        Args:
            entry: of it.
            files: of it.
            error: of its rotation.
        """
        entry = replace(entry, came=self._base + 1)
        self._catalog.store_segment(self._catalog.writer, entry, files.values())
        self.errors[entry.id] = [error, error_check(error, files[ROTATION].xxh3)]

    def store_errors(self) -> None:
        """Store the errors of the rotations before the commit: a step that is kept needs them."""
        self._catalog.store_settings(self._catalog.writer, {ROTATION_ERRORS: self.errors})

    def forget(self, segments: Iterable[SegmentEntry]) -> None:
        """Take segments out."""
        for entry in segments:
            self._catalog.forget_segment(self._catalog.writer, entry.id)
            self.errors.pop(entry.id, None)

    def sources(self, group: Sequence[SegmentEntry]) -> list[Source]:
        """Segments that are to be merged, with the rows that live."""
        masks = self._catalog.masks()
        return [
            Source(
                self._index / SEGMENTS / entry.id,
                entry,
                self._catalog.files(entry.id),
                None if entry.id not in masks else living_rows(entry, masks[entry.id]),
            )
            for entry in group
        ]

    def add_files(
        self, segment: str, files: Sequence[FileEntry], instead_of: Sequence[str]
    ) -> None:
        """Store that a segment has further files, and some no longer: these are litter then."""
        self._catalog.drop_files(self._catalog.writer, segment, instead_of)
        self._catalog.put_files(self._catalog.writer, segment, files)

    def without(self, gone: Iterable[int]) -> tuple[int, int]:
        """Mask the rows of documents that are gone; a segment of which nothing lives is taken out.

        Returns:
            The numbers of rows and of documents that live in segments.

        Raises:
            IndexFormatError: what maps rows to documents is damaged.
        """
        catalog = self._catalog
        masks = catalog.masks()
        rows = documents = 0
        positions = np.array(sorted(gone), dtype=np.int64)
        for entry in self.all():
            inside = (positions >= entry.first_document) & (positions <= entry.last_document)
            here = positions[inside]
            mask = masks.get(entry.id)
            if len(here):
                mask = mask_without(self._index, entry, catalog.files(entry.id), mask, here)
                if not mask.rows:
                    self.forget([entry])
                    continue
                catalog.writer.execute(
                    "INSERT OR REPLACE INTO masks VALUES (?, ?, ?, ?)",
                    (entry.id, mask.rows, mask.documents, mask.bits),
                )
            rows += entry.rows if mask is None else mask.rows
            documents += entry.documents if mask is None else mask.documents
        return rows, documents


def forget_steps(catalog: Catalog) -> None:
    """Delete what was written down of the steps of a change, inside of a transaction."""
    catalog.writer.execute("DELETE FROM chunks")
    catalog.writer.execute("DELETE FROM rejects")


def store_tail(catalog: Catalog, before: Sequence[TailRow], after: Sequence[TailRow]) -> None:
    """Store the rows of the tail that are new, and delete those that are not there any more.

    Args:
        catalog: in a transaction.
        before: what it holds.
        after: what it is to hold.
    """
    old = {row.row: row for row in before}
    new = {row.row: row for row in after}
    catalog.writer.executemany(
        "DELETE FROM tail WHERE row = ?",
        [(number,) for number, row in old.items() if new.get(number) != row],
    )
    catalog.writer.executemany(
        "INSERT INTO tail VALUES (?, ?, ?, ?, ?, ?)",
        [row.values() for number, row in new.items() if old.get(number) != row],
    )
