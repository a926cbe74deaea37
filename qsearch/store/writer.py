"""Writing an index: staging, resuming, publishing.

What is promised, and where it is kept:

- A chunk is durable when ``append`` returns: its rows are synced before the transaction that says
  so. What lies behind the last committed chunk is cut off when the build is resumed.
- A segment is synced and named before the transaction that registers it.
- The target changes in one step, when everything is complete (``publish``).
- After a failed sync nothing is retried: the pages count as clean although they were not written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.documents import Document, RejectedRecord
from qsearch.errors import (
    CorpusError,
    IndexExists,
    IndexFormatError,
)
from qsearch.store.catalog import Catalog, FileEntry
from qsearch.store.format import (
    FORMAT_VERSION,
    HEADER_BYTES,
    PASSAGES,
    ROTATION,
    ROTATION_ERRORS,
    SEGMENTS,
    error_check,
    raw_bytes,
    staging_path,
)
from qsearch.store.opening import open_segments
from qsearch.store.publish import replace_directory, sync_directory, sync_file
from qsearch.store.segment import Segment, file_checksum, write_arrays
from qsearch.store.staging import (
    check_target,
    is_replaced_index,
    lock_staging,
    published_settings,
    real_target,
    remove_leftovers,
    unusable,
    writing,
)
from qsearch.wording import words

__all__ = ["Chunk", "CorpusChanged", "IndexWriter", "SettingsChanged"]

_PENDING = "pending"


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


class CorpusChanged(CorpusError):
    """What an interrupted build has done was done with another corpus."""


class SettingsChanged(IndexExists):
    """What an interrupted build has done was done with other settings."""


class IndexWriter:
    """Builds one index beside its target, and publishes it. Use as a context manager.

    Attributes:
        documents: so far.
        rows: so far.
        advance_sealing: told how many rows were just coded.
    """

    def __init__(
        self,
        target: Path,
        staging: Path,
        catalog: Catalog,
        segment_rows: int,
        replace: bool,
        passages: bool,
    ) -> None:
        """Use ``open``."""
        self._target = target
        self._staging = staging
        self._catalog = catalog
        self._segment_rows = segment_rows
        self._settings = catalog.settings()
        self._digests: list[str] = []
        self._published = False
        self._replace = replace
        self._passages = passages
        self.documents = 0
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
        staging = staging_path(target)
        try:
            catalog = lock_staging(staging)
        except IndexFormatError:
            if not restart:
                raise
            shutil.rmtree(staging)
            catalog = lock_staging(staging)
        if restart or is_replaced_index(catalog, target):
            shutil.rmtree(staging)  # under our lock: no other build is using it
            catalog.close()
            catalog = lock_staging(staging)
        remove_leftovers(target)
        try:
            if catalog.version != FORMAT_VERSION:
                raise IndexFormatError(
                    unusable(staging, f"it is of index format {catalog.version}")
                )
            writer = cls(target, staging, catalog, segment_rows, replace, passages)
            writer._resume(build)
        except BaseException:
            catalog.close()
            raise
        return writer

    def _resume(self, build: dict[str, Any]) -> None:
        earlier = self._settings.get("build")
        if earlier is None:
            self.put_settings({"build": build})
        else:
            differing = sorted(
                key for key in earlier.keys() | build.keys() if earlier.get(key) != build.get(key)
            )
            if differing:
                changes = "; ".join(
                    f"{key} was {json.dumps(earlier.get(key), sort_keys=True)}, "
                    f"is {json.dumps(build.get(key), sort_keys=True)}"
                    for key in differing
                )
                raise SettingsChanged(
                    f"an interrupted build of {self._target} had other settings ({changes}); run it "
                    f"again with those to finish it, or add {words().restart} to throw it away"
                )
        chunks = self._catalog.chunks()
        self._digests = [digest for digest, _, _ in chunks]
        if chunks:
            _, self.documents, self.rows = chunks[-1]
        self._restore_pending()
        self._seal_if_full()

    def _restore_pending(self) -> None:
        """Bring back a segment that was named but not registered, and cut off what is not committed."""
        segments = self._staging / SEGMENTS
        pending = segments / _PENDING
        registered = {entry.id for entry in self._catalog.segments()}
        for path in segments.iterdir():
            if path.name in registered:
                known = self._catalog.files(path.name)
                for file in path.iterdir():
                    if file.name not in known:  # not finished, or given up
                        file.unlink()
            elif path.is_dir() and path.name != _PENDING:
                if pending.exists():
                    shutil.rmtree(path)
                else:
                    os.rename(path, pending)
        rows = self.rows - self.sealed()[0]
        if not rows:
            if pending.exists():
                shutil.rmtree(pending)
            return
        row_bytes = {"vectors.npy": 4 * self._dimensions()}
        if self._passages:
            row_bytes[PASSAGES.name] = 24
        for name, one in row_bytes.items():
            path = pending / name
            size = HEADER_BYTES + rows * one
            if not path.is_file() or path.stat().st_size < size:
                raise IndexFormatError(unusable(self._staging, f"{path} is missing or too short"))
            os.truncate(path, size)

    # What a build asks and adds

    @property
    def chunks_done(self) -> int:
        """Number of durable chunks."""
        return len(self._digests)

    def check_done(
        self, number: int, digest: str, corpus: str, lines: tuple[int | None, int | None]
    ) -> None:
        """Check that the records of a durable chunk are those that it was made of.

        Args:
            number: of the chunk.
            digest: of its records now.
            corpus: its name.
            lines: of the first and the last of these records.

        Raises:
            CorpusChanged: the corpus has changed since.
        """
        if self._digests[number] != digest:
            where = "" if None in lines else f" in lines {lines[0]:,} to {lines[1]:,}"
            raise CorpusChanged(
                f"has changed since the build was interrupted{where} ({self.documents:,} documents of "
                "the old one are kept); bring the old one back to finish it, "
                f"or add {words().restart} to build from the beginning",
                path=corpus,
            )

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

    def lines_of(self, ids: Sequence[str]) -> dict[str, int | None]:
        """Line numbers of those of ``ids`` that are in the index already."""
        return self._catalog.lines_of(ids)

    def append(self, chunk: Chunk) -> None:
        """Add a chunk. When this returns it is durable, and will not be asked for again.

        Raises:
            IndexWriteError: the file system refuses; the index is as it was before.
        """
        pending = self._staging / SEGMENTS / _PENDING
        if (chunk.passages is not None) != self._passages:
            raise ValueError("either all chunks of an index have passages, or none has")
        sealed_rows, sealed_documents = self.sealed()
        row = self.rows - sealed_rows
        if len(chunk.documents):
            with writing(pending):
                _append_rows(pending / "vectors.npy", row, chunk.rows.astype("<f4", copy=False))
                if chunk.passages is not None:
                    before = np.array([self.documents - sealed_documents, 0, 0])
                    _append_rows(
                        pending / PASSAGES.name, row, (chunk.passages + before).astype("<i8")
                    )
        first = self.documents
        with self._catalog.transaction() as connection:
            connection.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        first + offset,
                        document.id,
                        document.title,
                        document.text,
                        json.dumps(dict(document.metadata), ensure_ascii=False)
                        if document.metadata
                        else None,
                        document.line,
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
        self._digests.append(chunk.digest)
        self.documents += len(chunk.documents)
        self.rows += len(chunk.rows)
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

    def has_file(self, segment: str, name: str) -> bool:
        """Whether a closed segment has the additional file ``name``."""
        return name in self._catalog.files(segment)

    def add_file(self, segment: str, name: str, write: Callable[[Path], None]) -> None:
        """Add a file to a closed segment: ``write`` is given the path to make."""
        path = self._staging / SEGMENTS / segment / name
        unfinished = path.with_name(name + ".unfinished")
        with writing(path):
            write(unfinished)
            with open(unfinished, "r+b") as file:
                sync_file(file.fileno())
            os.rename(unfinished, path)
            sync_directory(path.parent)
            entry = FileEntry(name, path.stat().st_size, file_checksum(path))
        with self._catalog.transaction() as connection:
            connection.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?)", (segment, name, entry.bytes, entry.xxh3)
            )

    def remove_file(self, segment: str, name: str) -> None:
        """Take an additional file from a closed segment; no error if it has none."""
        with self._catalog.transaction() as connection:
            connection.execute("DELETE FROM files WHERE segment = ? AND name = ?", (segment, name))
        with writing(self._staging):
            (self._staging / SEGMENTS / segment / name).unlink(missing_ok=True)

    def _dimensions(self) -> int:
        return int(self._settings["dimensions"])

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
        segments = self._staging / SEGMENTS
        first, first_document = self.sealed()
        rows, documents = self.rows - first, self.documents - first_document
        with writing(segments):
            files, rotation_error = write_arrays(
                segments / _PENDING,
                rows,
                self._dimensions(),
                self.advance_sealing,
                passages=self._passages,
            )
            listing = json.dumps(
                [first, [(one.name, one.bytes, one.xxh3) for one in files.values()]]
            )
            # Named by content: one name never means two different segments, not even for a reader
            # that opened the catalog of an index which is being replaced.
            segment = xxhash.xxh3_128(listing.encode()).hexdigest()[:16]
            sync_directory(segments / _PENDING)
            os.rename(segments / _PENDING, segments / segment)
            sync_directory(segments)
        digest = self._catalog.documents_digest(first_document, documents)
        earlier = self._settings.get(ROTATION_ERRORS)
        errors = {
            **(earlier if isinstance(earlier, dict) else {}),
            segment: [rotation_error, error_check(rotation_error, files[ROTATION].xxh3)],
        }
        with self._catalog.transaction() as connection:
            self._settings |= self._catalog.store_settings(connection, {ROTATION_ERRORS: errors})
            connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
                (segment, first, rows, first_document, documents, digest),
            )
            connection.executemany(
                "INSERT INTO files VALUES (?, ?, ?, ?)",
                [(segment, one.name, one.bytes, one.xxh3) for one in files.values()],
            )

    # The end

    def publish(self, settings: dict[str, Any]) -> None:
        """Put the finished index in its place. The writer is closed afterwards.

        Raises:
            IndexWriteError: the file system refuses; the target is as it was before.
        """
        check_target(self._target, replace=self._replace)  # it may have come to be meanwhile
        replaced = published_settings(self._target).get("catalog_xxh3")
        self.put_settings({**settings, "replaces": replaced})
        self.put_settings({"catalog_xxh3": self._catalog.digest()})
        with writing(self._target):
            # The catalog stays locked until the directory has its name: a second builder that came
            # in between would be given this staging place. (Opening and closing the file here
            # would drop the lock; SQLite has synced it.)
            self._catalog.finish()
            sync_directory(self._staging / SEGMENTS)
            sync_directory(self._staging)
            replace_directory(self._staging, self._target)
        self._published = True
        self._catalog.close()

    def __enter__(self) -> IndexWriter:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the catalog; an unfinished build stays to be resumed, unless nothing was done."""
        if isinstance(error, KeyboardInterrupt):
            kept = "nothing was finished yet"
            if self.documents:
                kept = (
                    f"{self.documents:,} documents are kept, and the same build goes on from there"
                )
            error.add_note(kept)
        nothing = not self._published and not self._digests
        if nothing:
            shutil.rmtree(self._staging, ignore_errors=True)  # under our lock
        self._catalog.close()


def _append_rows(path: Path, row: int, rows: NDArray[Any]) -> None:
    pending = path.parent
    if not path.exists():
        pending.mkdir(exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"\0" * HEADER_BYTES)  # the header is known when the segment is closed
        sync_directory(pending)
        sync_directory(pending.parent)
    with open(path, "r+b") as file:
        size = HEADER_BYTES + row * rows.shape[1] * rows.itemsize
        file.truncate(size)
        file.seek(size)
        file.write(raw_bytes(rows))
        file.flush()
        sync_file(file.fileno())
