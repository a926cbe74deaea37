"""Reading an index completely and saying what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import xxhash

from qsearch.errors import IndexWriteError, QsearchError
from qsearch.store.catalog import Catalog
from qsearch.store.columns import field_problems
from qsearch.store.fields import by_name, count_fields, read_counts
from qsearch.store.format import (
    ARRAYS,
    CATALOG,
    FIELDS_VERSION,
    GRAPH_ARRAYS,
    HEADER_BYTES,
    PASSAGES,
    POSITIONS,
    ROTATED_ARRAYS,
    ROTATION,
    SEGMENTS,
    WRITER_LOCK,
    array_bytes,
    array_shape,
    kept_components,
    npy_header,
)
from qsearch.store.opening import (
    checked_dimensions,
    checked_entries,
    checked_settings,
    open_segments,
    set_commit,
)
from qsearch.store.reading import opened
from qsearch.store.rows import FileEntry, SegmentEntry
from qsearch.store.segment import SEAL_ROWS, Segment
from qsearch.store.soundness import code_problems, graph_problems, rotation_problem
from qsearch.store.tail import TAIL
from qsearch.store.text_index import text_index_problems
from qsearch.store.writer_lock import WriterLock

__all__ = ["VerifyReport", "verify_index"]

_READ_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``verify_index`` found.

    Attributes:
        checked: what was looked at, one line each.
        problems: what is wrong, one sentence each; empty for a sound index.
        bytes_read: of the arrays and graphs.
    """

    checked: tuple[str, ...]
    problems: tuple[str, ...]
    bytes_read: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_index(
    path: str | Path,
    *,
    deep: bool = False,
    advance: Callable[[int], None] | None = None,
    wait: float = 0.0,
) -> VerifyReport:
    """Check the catalog and the checksum of every file. Nobody changes the index meanwhile.

    Args:
        path: the index directory.
        deep: also derive every code from its float row again and compare, and check that the rows
            are finite and of unit length.
        advance: told how many bytes of the files were just read.
        wait: seconds to wait for a writer.

    Raises:
        IndexBusy: it is being changed.
        IndexFormatError: there is no index. Whatever is wrong with one that is there is in the report.
    """
    path = Path(path)
    if not os.path.lexists(path / CATALOG):
        Catalog.open(path).close()  # which says why there is none
    if not (path / WRITER_LOCK).exists():  # nobody has ever changed it, and checking makes no file
        report = _verified(path, deep, advance)
        if report.ok or not (path / WRITER_LOCK).exists():
            return report
    with _unchanged(path, wait):
        return _verified(path, deep, advance)


@contextmanager
def _unchanged(path: Path, wait: float) -> Iterator[None]:
    """Keep writers away: of two commits, parts would contradict each other.

    Where nothing can be written there is no writer either, at least none of this machine.
    """
    try:
        lock = WriterLock.take(path, wait, what="checked")
    except IndexWriteError:
        yield
        return
    with lock:
        yield


def _verified(path: Path, deep: bool, advance: Callable[[int], None] | None) -> VerifyReport:
    check = _Check(path, advance)
    catalogs: list[Catalog] = []
    try:
        check.run(CATALOG, lambda: catalogs.append(Catalog.open(path)))
        for catalog in catalogs:
            check.whole(catalog, deep=deep)
    finally:
        for catalog in catalogs:
            catalog.close()
    return VerifyReport(tuple(check.checked), tuple(check.problems), check.bytes_read)


@dataclass(slots=True)
class _Check:
    """One run of ``verify_index``, and what it has found so far."""

    path: Path
    advance: Callable[[int], None] | None
    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    bytes_read: int = 0

    def run(self, what: str, find: Callable[[], Iterable[str] | None]) -> bool:
        """Take a step; whatever it meets is a problem of this name. Returns whether there was none."""
        before = len(self.problems)
        self.checked.append(what)
        try:
            self.problems += [f"{what}: {problem}" for problem in find() or ()]
        except QsearchError as error:
            self.problems.append(f"{what}: {error}")
        except Exception as error:  # damage can look like anything; to say where it is, is the task
            self.problems.append(f"{what}: {type(error).__name__} ({error})")
        return len(self.problems) == before

    def whole(self, catalog: Catalog, *, deep: bool) -> None:
        if not self.run(f"{CATALOG}: structure", catalog.structure_problems):
            return
        self.run(f"{CATALOG}: commit", lambda: set_commit(catalog))
        self.run(f"{CATALOG}: settings and lists", lambda: _digest_problems(catalog))
        documents = self._documents if catalog.version < 3 else self._living_documents
        self.run(f"{CATALOG}: documents", lambda: documents(catalog))
        if catalog.tokenizer is not None:
            self.run(f"{CATALOG}: text index", lambda: text_index_problems(catalog))
        if catalog.version >= FIELDS_VERSION:
            self.run(f"{CATALOG}: fields", lambda: self._fields(catalog, deep=deep))
        settings: dict[str, int] = {}
        listed: list[tuple[SegmentEntry, dict[str, FileEntry]]] = []
        self.run(
            f"{CATALOG}: settings",
            lambda: settings.update(
                dimensions=checked_dimensions(catalog.read_settings()[0], catalog)
            ),
        )
        self.run(f"{CATALOG}: segments", lambda: listed.extend(checked_entries(catalog)))
        for entry, files in listed:
            for file in files.values():
                self._file(entry, files, file, settings.get("dimensions"))
        if self.problems:
            return
        # What is seen only where everything is opened: what does not fit, and codes of other rows.
        segments: list[Segment] = []
        self.run(
            f"{CATALOG}: segments and settings together",
            lambda: segments.extend(_opened_all(self.path, catalog)),
        )
        for segment in segments:
            if segment.id == TAIL:
                what = f"{CATALOG}: tail"
            else:
                what = f"{SEGMENTS}/{segment.id}"
            self.run(
                f"{what}: rows of documents that are gone",
                partial(_mask_problems, catalog, segment),
            )
            if deep:
                self.run(f"{what}: codes derived again", partial(_code_problems, segment))
                self.run(f"{what}: passages", partial(_passage_problems, catalog, segment))

    def _fields(self, catalog: Catalog, *, deep: bool) -> Iterator[str]:
        with catalog.view(), catalog.reading() as connection:
            yield from field_problems(connection, catalog.commit, deep=deep)
            told, complete = read_counts(connection)
            if deep and complete:
                # Metadata that a change under way has replaced count as they were.
                rows = connection.execute(
                    "SELECT CASE WHEN until IS NULL THEN documents.metadata "  # noqa: S608 (numbers)
                    "ELSE earlier.metadata END FROM documents "
                    "LEFT JOIN earlier ON earlier.position = documents.position "
                    f"AND until = {catalog.commit + 1} WHERE {catalog.visible}"
                )
                found = by_name(count_fields(row[0] for row in rows))
                for name in sorted({*told, *found}):
                    counted = {kind: n for kind, n in told.get(name, {}).items() if n}
                    if counted != found.get(name, {}):
                        yield f"{name} is counted in {counted}, and there in {found.get(name, {})}"

    def _documents(self, catalog: Catalog) -> Iterator[str]:
        position = 0
        for entry in catalog.segments():
            first, count = entry.first_document, entry.documents
            self.checked.append(f"{CATALOG}: documents {first:,} to {first + count - 1:,}")
            found = catalog.documents_digest(first, count)
            if found != entry.documents_xxh3:
                yield (
                    f"{first:,} to {first + count - 1:,}: checksum is {found}, should be "
                    f"{entry.documents_xxh3}"
                )
            position += count
        yield from catalog.unreadable_rows()
        count = catalog.count()
        if count != position:
            yield f"there are {count:,}, the segments hold {position:,}"

    def _living_documents(self, catalog: Catalog) -> Iterator[str]:
        """Rows that are not what was written; and those that live must be those that are searched."""
        yield from catalog.damaged_rows()
        masks = catalog.masks()
        count = 0
        for entry in catalog.segments():
            living = catalog.positions(entry.first_document, entry.last_document)
            count += len(living)
            if entry.id not in masks and len(living) != entry.documents:
                yield f"segment {entry.id} has {entry.documents:,}, {len(living):,} of them are there"
        tail = {row.position for row in catalog.tail()}
        last = max((entry.last_document for entry in catalog.segments()), default=-1)
        behind = set(catalog.positions(last + 1).tolist())
        if behind != tail:
            yield f"{len(behind):,} are behind the last segment, the tail has rows of {len(tail):,}"
        ids = catalog.double_ids()
        if ids:
            yield f"there are two of the id {ids[0]!r}"
        told = catalog.read_settings(only=("documents",))[0].get("documents")
        if told != count + len(behind):
            yield f"there are {count + len(behind):,}, the settings say {told}"

    def _file(
        self,
        entry: SegmentEntry,
        files: dict[str, FileEntry],
        file: FileEntry,
        dimensions: int | None,
    ) -> None:
        relative = f"{SEGMENTS}/{entry.id}/{file.name}"

        def find() -> Iterator[str]:
            with opened(self.path / relative) as (descriptor, size):
                if size != file.bytes:
                    yield f"has {size:,} bytes, should have {file.bytes:,}"
                    return
                digest = xxhash.xxh3_128()
                header = b""
                while piece := os.read(descriptor, _READ_BYTES):
                    header = header or piece[:HEADER_BYTES]
                    digest.update(piece)
                    self.bytes_read += len(piece)
                    if self.advance is not None:
                        self.advance(len(piece))
            if digest.hexdigest() != file.xxh3:
                yield f"checksum is {digest.hexdigest()}, should be {file.xxh3}"
            elif dimensions is not None:
                yield from _shape_problems(entry, files, file, dimensions, header)

        self.run(relative, find)


def _opened_all(path: Path, catalog: Catalog) -> list[Segment]:
    segments = open_segments(path, catalog)
    checked_settings(catalog, segments)
    return segments


def _digest_problems(catalog: Catalog) -> Iterator[str]:
    settings, damaged = catalog.read_settings()
    for name in damaged:
        yield f"the setting {name!r} is no JSON"
    found, expected = catalog.digest(), settings.get("catalog_xxh3")
    if found != expected:
        yield f"checksum is {found}, should be {expected}"


def _shape_problems(
    entry: SegmentEntry,
    files: dict[str, FileEntry],
    file: FileEntry,
    dimensions: int,
    header: bytes,
) -> Iterator[str]:
    kept = kept_components(files[ROTATION].bytes, dimensions) if ROTATION in files else 0
    for array in (*ARRAYS, *ROTATED_ARRAYS, *GRAPH_ARRAYS, PASSAGES, POSITIONS):
        if array.name == file.name:
            shape = array_shape(array.name, entry.rows, dimensions, kept, entry.documents)
            wrong = file.bytes != array_bytes(array.dtype, shape)
            if wrong or header != npy_header(array.dtype, shape):
                yield f"is not an array of {array.dtype} {shape}"


def _code_problems(segment: Segment) -> Iterator[str]:
    """The first row of each file that is not what its float row gives."""
    found: set[str] = set()
    if segment.rotated is not None:
        wrong = rotation_problem(segment.rotated)
        if wrong is not None:
            found.add("bounds.npy")  # which cannot hold then
            yield ": ".join(wrong)
    for start in range(0, segment.rows, SEAL_ROWS):
        rows = np.arange(start, min(start + SEAL_ROWS, segment.rows))
        for name, problem in (*code_problems(segment, rows), *graph_problems(segment, rows)):
            if name not in found:
                found.add(name)
                yield f"{name}: {problem}"
        segment.release()


def _mask_problems(catalog: Catalog, segment: Segment) -> Iterator[str]:
    """Rows that are searched without a document, or documents that are not searched."""
    if segment.living is None:
        return
    found = np.unique(segment.documents_of(segment.living.indices()))
    there = catalog.positions(segment.first_document, segment.last_document)
    different = np.setxor1d(found, there)
    if len(different):
        yield f"the mask is not that of the documents, first at position {different[0]}"


def _passage_problems(catalog: Catalog, segment: Segment) -> Iterator[str]:
    """Rows that do not go through the documents in order, or passages outside of their texts."""
    if segment.passages is None:
        return
    documents_here = segment.last_document - segment.first_document + 1
    if segment.positions is not None:
        documents_here = len(segment.positions)
    last = -1
    for start in range(0, segment.rows, SEAL_ROWS):
        some = np.array(segment.passages[start : start + SEAL_ROWS])
        steps = np.diff(some[:, 0], prepend=last)
        wrong = (some[:, 0] < 0) | (steps < 0) | (steps > 1)
        if wrong.any():
            yield f"{PASSAGES.name}: row {start + int(np.argmax(wrong))} is of no next document"
            return
        last = int(some[-1, 0])
        positions = segment.documents_of(np.arange(start, start + len(some))).tolist()
        documents = catalog.documents(sorted(catalog.there(positions)))
        for row, (position, (_, begin, end)) in enumerate(
            zip(positions, some.tolist(), strict=True), start
        ):
            if position not in documents:  # it is gone, and so is its row
                continue
            length = len(documents[position].text)
            if not 0 <= begin <= end <= length or (begin == end and length):
                yield (
                    f"{PASSAGES.name}: row {row} is from {begin} to {end} in a text of {length} "
                    "characters"
                )
                return
    if last != documents_here - 1:
        yield f"{PASSAGES.name}: ends at document {last}, should at {documents_here - 1}"
