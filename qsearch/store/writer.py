"""Writing an index: staging, resuming, publishing.

What is promised, and where it is kept:

- A chunk is durable when ``append`` returns: its rows are synced before the transaction that says
  so. What lies behind the last committed chunk is cut off when the build is resumed.
- What is taken back (``keep``) is gone from the catalog before a file is touched.
- A segment is synced and named before the transaction that registers it.
- The target changes in one step, when everything is complete (``publish``).
- After a failed sync nothing is retried: the pages count as clean although they were not written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Document, RejectedRecord
from qsearch.errors import IndexFormatError
from qsearch.filters.conditions import Field
from qsearch.store.columns import store_column
from qsearch.store.fields import known_fields, recount, resolved_field
from qsearch.store.format import CATALOG, ROTATION, ROTATION_ERRORS, SEGMENTS, error_check
from qsearch.store.guard import check_target
from qsearch.store.opening import open_segments
from qsearch.store.pending import PendingSegment
from qsearch.store.publish import replace_directory, sync_directory
from qsearch.store.rows import FIRST_COMMIT, ChunkEntry, SegmentEntry, document_row
from qsearch.store.schema import TEXT_INDEX
from qsearch.store.segment import Segment, made_files
from qsearch.store.staging import (
    Staging,
    check_settings,
    claim_staging,
    published_settings,
    real_target,
    resuming,
    writing,
)
from qsearch.store.text_index import TextIndexSpec, drop_text_index, make_text_index
from qsearch.store.writer_lock import WriterLock

__all__ = ["Chunk", "IndexWriter", "stored_metadata"]

_REOPENED = "reopened"
"""The setting that names a segment which is open again, until its directory is."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A finished piece of a build.

    Attributes:
        digest: of the records that went in; equal digests mean equal records.
        records: how many went in.
        documents: those that were accepted, in order.
        rows: (n, d) float32 unit rows, one for each document, or for each of its passages.
        passages: (n, 3) int64: number of the document in the chunk, begin and end of the passage in its
            text, by rising document; ``None`` where row r is document r. All chunks of an index alike.
        rejects: the records that were not accepted.
        truncated: documents longer than the encoder's maximum length.
    """

    digest: str
    records: int
    documents: Sequence[Document]
    rows: NDArray[np.float32]
    passages: NDArray[np.int64] | None
    rejects: Sequence[RejectedRecord]
    truncated: int


def stored_metadata(document: Document) -> str | None:
    """The metadata of a document as the catalog keeps them."""
    if not document.metadata:
        return None
    return json.dumps(dict(document.metadata), ensure_ascii=False)


class IndexWriter:
    """Builds one index beside its target, and publishes it. Use as a context manager.

    Attributes:
        documents: so far.
        rows: so far.
        published: whether the index is in its place.
        advance_sealing: told how many rows were just coded.
    """

    def __init__(
        self,
        target: Path,
        staging: Staging,
        segment_rows: int,
        replace: bool,
        passages: bool,
    ) -> None:
        """Use ``open``."""
        self._target = target
        self._place = staging
        self._staging = staging.path
        self._catalog = staging.catalog
        self._segment_rows = segment_rows
        self._settings = self._catalog.settings()
        self._chunks: list[ChunkEntry] = []
        self.published = False
        self._replace = replace
        self._passages = passages
        self._pending = PendingSegment(staging.path / SEGMENTS, passages=passages)
        self.documents = self._catalog.count()
        self.rows = 0
        self.advance_sealing: Callable[[int], None] = lambda rows: None

    # Opening and resuming

    @classmethod
    def open(
        cls,
        target: Path,
        build: dict[str, Any],
        *,
        segment_rows: int,
        replace: bool = False,
        restart: bool = False,
        passages: bool = False,
    ) -> IndexWriter:
        """Start a build of ``target``, or resume the one that was interrupted.

        Args:
            target: the index directory to be.
            build: JSON values that decide what the result is; a resumed build must have the same.
            segment_rows: a segment is closed when it has at least so many rows.
            replace: whether an index at ``target`` may be replaced.
            restart: throw an interrupted build away.
            passages: whether rows are passages of documents; ``build`` must tell so too.

        Raises:
            IndexExists: there is something at ``target`` that may not be replaced.
            IndexBusy: another process is building it.
            IndexWriteError: the file system refuses.
            IndexFormatError: the interrupted build is not usable.
        """
        target = real_target(target)
        check_target(target, replace=replace)
        staging = claim_staging(target, restart=restart)
        try:
            writer = cls(target, staging, segment_rows, replace, passages)
        except BaseException:
            staging.catalog.close()
            raise
        try:
            with resuming(target):
                writer._resume(build)
        except BaseException:
            writer.__exit__()
            raise
        return writer

    def _resume(self, build: dict[str, Any]) -> None:
        earlier = self._settings.get("build")
        if earlier is not None:
            check_settings(self._target, earlier, build)
        if earlier != build:
            self.put_settings({"build": build})
        self._restore()

    def _restore(self) -> None:
        """Take up what the catalog says, and make the files match it."""
        self._chunks = self._catalog.chunks()
        last = self._chunks[-1] if self._chunks else None
        self.documents = last.documents if last else 0
        self.rows = last.rows if last else 0
        reopened = self._catalog.settings().get(_REOPENED)
        if reopened is not None:
            with writing(self._pending.path):
                self._pending.reopen(reopened)
        self._restore_pending()
        if reopened is not None:
            with self._catalog.transaction() as connection:
                connection.execute("DELETE FROM settings WHERE key = ?", (_REOPENED,))
            self._settings.pop(_REOPENED, None)
        self._seal_if_full()

    def _restore_pending(self) -> None:
        """Bring back a segment that was named but not registered, and cut off what is not committed."""
        registered = {entry.id for entry in self._catalog.segments()}
        for path in list((self._staging / SEGMENTS).iterdir()):
            if path.name in registered:
                known = self._catalog.files(path.name)
                for file in path.iterdir():
                    if file.name not in known:  # not finished, or given up
                        file.unlink()
            elif path.is_dir() and path != self._pending.path:
                self._pending.take_back(path)
        rows = self.rows - self.sealed()[0]
        wrong = self._pending.cut(rows, self._dimensions() if rows else 0)
        if wrong is not None:
            raise IndexFormatError(wrong)

    # What a build asks and adds

    @property
    def chunks_done(self) -> int:
        """Number of durable chunks."""
        return len(self._chunks)

    def chunk(self, number: int) -> ChunkEntry:
        """What is known of a durable chunk."""
        return self._chunks[number]

    def documents_of(self, number: int) -> list[Document]:
        """The documents of a durable chunk."""
        first = self._chunks[number - 1].documents if number else 0
        found = self._catalog.records(first, self._chunks[number].documents - first)
        return [
            Document(name, text, title, json.loads(metadata or "{}"), line)
            for name, title, text, metadata, line in found
        ]

    def keep(self, chunks: int) -> None:
        """Forget what was made of all chunks but the first ``chunks``.

        Raises:
            IndexWriteError: the file system refuses.
        """
        kept = self._chunks[:chunks]
        documents, rows = (kept[-1].documents, kept[-1].rows) if kept else (0, 0)
        beyond = [one for one in self._catalog.segments() if one.first_row + one.rows > rows]
        with self._catalog.transaction() as connection:
            if beyond:  # the first of them may have rows that stay: it is open again
                gone = {one.id for one in beyond}
                errors = self._settings.get(ROTATION_ERRORS, {})
                errors = {name: error for name, error in errors.items() if name not in gone}
                self._settings |= self._catalog.store_settings(
                    connection, {_REOPENED: beyond[0].id, ROTATION_ERRORS: errors}
                )
            for one in beyond:
                self._catalog.forget_segment(connection, one.id)
            connection.execute("DELETE FROM documents WHERE position >= ?", (documents,))
            connection.execute("DELETE FROM rejects WHERE chunk >= ?", (chunks,))
            connection.execute("DELETE FROM chunks WHERE number >= ?", (chunks,))
        self._restore()

    def settings(self) -> dict[str, Any]:
        """What has been stored so far."""
        return dict(self._settings)

    def put_settings(self, settings: dict[str, Any]) -> None:
        """Store JSON values in the catalog, durably."""
        self._catalog.put_settings(settings)
        self._settings.update(settings)

    def canaries(self) -> list[tuple[str, str, bytes, bytes]]:
        """The canaries stored so far."""
        return self._catalog.canaries()

    def put_canaries(self, canaries: Sequence[tuple[str, str, bytes, bytes]]) -> None:
        """Store the encoder's canaries."""
        self._catalog.put_canaries(canaries)

    def put_samples(self, queries: NDArray[np.float32] | None) -> None:
        """Store the queries that recall was measured with, if some were given."""
        self._catalog.put_samples(queries)

    def lines_of(self, ids: Sequence[str]) -> dict[str, int | None]:
        """Line numbers of those of ``ids`` that are in the index already."""
        return self._catalog.lines_of(ids)

    def append(self, chunk: Chunk) -> None:
        """Add a chunk. When this returns it is durable, and will not be asked for again.

        Raises:
            IndexWriteError: the file system refuses; the index is as it was before.
        """
        if (chunk.passages is not None) != self._passages:
            raise ValueError("either all chunks of an index have passages, or none has")
        sealed_rows, sealed_documents = self.sealed()
        if len(chunk.documents):
            passages = chunk.passages
            if passages is not None:  # numbers of documents in the segment
                passages = passages + np.array([self.documents - sealed_documents, 0, 0])
            with writing(self._pending.path):
                self._pending.append(self.rows - sealed_rows, chunk.rows, passages)
        first = self.documents
        with self._catalog.transaction() as connection:
            connection.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    document_row(
                        first + offset,
                        document.id,
                        document.title,
                        document.text,
                        stored_metadata(document),
                        document.line,
                        FIRST_COMMIT,
                    )
                    for offset, document in enumerate(chunk.documents)
                ],
            )
            connection.executemany(
                "INSERT INTO rejects VALUES (?, ?, ?, ?)",
                [(self.chunks_done, one.line, one.reason, one.raw) for one in chunk.rejects],
            )
            connection.execute(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)",
                (
                    self.chunks_done,
                    chunk.digest,
                    chunk.records,
                    first + len(chunk.documents),
                    self.rows + len(chunk.rows),
                    chunk.truncated,
                ),
            )
        self.documents += len(chunk.documents)
        self.rows += len(chunk.rows)
        self._chunks.append(ChunkEntry(chunk.digest, chunk.records, self.documents, self.rows))
        self._seal_if_full()

    def rejects(self) -> Iterator[RejectedRecord]:
        """Every record that was not accepted, in order."""
        return (RejectedRecord(*row) for row in self._catalog.rejects())

    def totals(self) -> dict[str, int]:
        """Numbers of records read, records rejected and documents truncated so far."""
        return self._catalog.totals()

    # Segments

    def seal(self) -> None:
        """Close the segment that is being filled, if it has rows."""
        if self.rows > self.sealed()[0]:
            self._seal()

    def open_segments(self) -> list[Segment]:
        """Map every closed segment."""
        return open_segments(self._staging, self._catalog)

    def add_files(self, segment: str, writes: Mapping[str, Callable[[Path], None]]) -> None:
        """Add files to a closed segment, all or none: each is given the path to make."""
        directory = self._staging / SEGMENTS / segment
        with writing(directory):
            entries = made_files(directory, writes)
        with self._catalog.transaction() as connection:
            self._catalog.put_files(connection, segment, entries)

    def remove_files(self, segment: str, names: Sequence[str]) -> None:
        """Take additional files from a closed segment; no error if it has none."""
        with self._catalog.transaction() as connection:
            self._catalog.drop_files(connection, segment, names)
        with writing(self._staging):
            for name in names:
                (self._staging / SEGMENTS / segment / name).unlink(missing_ok=True)

    def _dimensions(self) -> int:
        dimensions = self._settings.get("dimensions")
        if not isinstance(dimensions, int):
            raise IndexFormatError("it lacks the setting 'dimensions'")
        return dimensions

    def sealed(self) -> tuple[int, int]:
        """Rows and documents in closed segments."""
        segments = self._catalog.segments()
        if not segments:
            return 0, 0
        last = segments[-1]
        return last.first_row + last.rows, last.first_document + last.documents

    def _seal_if_full(self) -> None:
        if self.rows - self.sealed()[0] >= self._segment_rows:
            self._seal()

    def _seal(self) -> None:
        first, first_document = self.sealed()
        rows, documents = self.rows - first, self.documents - first_document
        with writing(self._staging / SEGMENTS):
            segment, files, rotation_error = self._pending.close(
                first, rows, self._dimensions(), self.advance_sealing
            )
        earlier = self._settings.get(ROTATION_ERRORS)
        errors = {
            **(earlier if isinstance(earlier, dict) else {}),
            segment: [rotation_error, error_check(rotation_error, files[ROTATION].xxh3)],
        }
        with self._catalog.transaction() as connection:
            self._settings |= self._catalog.store_settings(connection, {ROTATION_ERRORS: errors})
            entry = SegmentEntry(
                segment, first, rows, first_document, self.documents - 1, documents
            )
            self._catalog.store_segment(connection, entry, files.values())

    # The end

    def publish(
        self,
        settings: dict[str, Any],
        index_fields: Sequence[Field] = (),
        text: TextIndexSpec | None = None,
    ) -> None:
        """Put the finished index in its place. The writer is closed afterwards.

        Args:
            settings: JSON values to store.
            index_fields: fields to index.
            text: the text index to make; ``None``: none.

        Raises:
            IndexWriteError: the file system refuses; the target is as it was before.
        """
        check_target(self._target, replace=self._replace)  # it may have come to be meanwhile
        replaced = published_settings(self._target).get("catalog_xxh3")
        self.put_settings(
            {
                **settings,
                "replaces": replaced,
                TEXT_INDEX: None if text is None else text.to_json(),
                "commit": FIRST_COMMIT,
                "positions": self.documents,
                "measured": {
                    "segments": [one.id for one in self._catalog.segments()],
                    "rows": self.rows,
                    "commit": FIRST_COMMIT,
                },
            }
        )
        with self._catalog.transaction() as connection:
            recount(connection)
        known = known_fields(self._catalog)
        with self._catalog.transaction() as connection:
            for one in index_fields:
                store_column(connection, resolved_field(one, known, missing_ok=True))
            if text is None:  # an interrupted build may have made one
                drop_text_index(connection)
            else:
                make_text_index(connection, text.tokenizer)
        self.put_settings({"catalog_xxh3": self._catalog.digest()})
        # Nobody may be in the middle of changing what is replaced.
        there = (self._target / CATALOG).exists()
        alone = WriterLock.take(self._target) if there else nullcontext()
        with alone, writing(self._target):
            # The catalog stays locked until the directory has its name: a second builder that came
            # in between would be given this staging place. (Opening and closing the file here
            # would drop the lock; SQLite has synced it.)
            self._catalog.finish()
            sync_directory(self._staging / SEGMENTS)
            sync_directory(self._staging)
            replace_directory(self._staging, self._target)
        self.published = True
        self._catalog.close()

    def __enter__(self) -> IndexWriter:
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the catalog; an unfinished build stays to be resumed, unless nothing was done."""
        if not self.published and not self.documents:
            self._place.remove()  # under our lock
        self._catalog.close()
