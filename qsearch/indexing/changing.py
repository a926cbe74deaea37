"""Changing an index: records on their way into one commit.

Records are sorted (``sorting``): what is new, or takes the place of another document, is made into rows as
in a build (``making``), and the editor of the index takes it, step by step. A change that encodes nothing
does not load the encoder.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Corpus, Embeddings
from qsearch.encoding import Encoder
from qsearch.errors import CorpusError, EncoderError, EncoderMismatch, QsearchError, QueryError
from qsearch.filters import Condition
from qsearch.filters.conditions import All
from qsearch.indexing.advice import check_fields
from qsearch.indexing.chunks import (
    ChunkLimit,
    ChunkReader,
    Record,
    chunk_digest,
    encoded_limit,
    given_limit,
    read_records,
)
from qsearch.indexing.making import ChunkMaker, SplitChunk, check_none_left_out
from qsearch.indexing.passages import PassageSplitter
from qsearch.indexing.pipeline import Pipeline, chunks_at_once
from qsearch.indexing.rejects import check_rejects, rejects_path, write_rejects
from qsearch.indexing.report import Progress
from qsearch.indexing.sorting import ADD, SYNC, Sorted, Sorter, check_new
from qsearch.indexing.survey import check_numbers, check_same_number, survey
from qsearch.store import IndexEditor, IndexView, Step
from qsearch.wording import words

__all__ = [
    "Change",
    "Counts",
    "RecordsChanged",
    "Source",
    "check_source",
    "compare",
    "told_of",
]

_DELETE_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True)
class Source:
    """Where the records of a change come from.

    Attributes:
        corpus: the documents; ``None`` only with embeddings, then they are numbered behind those there are.
        embeddings: one for each record, where they are given.
        skip_invalid: leave invalid records out.
        rejects: where to write these.
        allow_empty: whether a sync with no document may delete all.
    """

    corpus: Corpus | None
    embeddings: Embeddings | None = None
    skip_invalid: bool = False
    rejects: Path | None = None
    allow_empty: bool = False

    @property
    def name(self) -> str:
        """For messages."""
        if self.corpus is not None:
            return self.corpus.name
        return self.embeddings.name if self.embeddings else ""

    @property
    def numbered(self) -> tuple[str | None, tuple[str, ...]]:
        """What the ids of the records count where these have none, and fields that could hold ids."""
        if self.corpus is None:
            return "vector", ()
        return self.corpus.found.numbered_by, self.corpus.found.id_like


@dataclass(slots=True)
class Counts:
    """What a change did.

    Attributes:
        added: documents of ids that were not there.
        replaced: documents that took the place of another one of the same id.
        metadata: documents that got other metadata, and nothing else.
        unchanged: documents that were there as they are.
        deleted: documents that are gone, and not replaced.
        rejected: records left out.
        truncated: documents longer than the encoder's maximum length.
        passages: into which the new ones were split.
        resumed: records that an interrupted run had done.
        numbered_by: what the ids of the records count, where they have none.
        id_like: fields that could hold ids, where the records have none.
        rejects: where the records left out were written.
        seconds: by phase.
    """

    added: int = 0
    replaced: int = 0
    metadata: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    truncated: int = 0
    passages: int = 0
    resumed: int = 0
    numbered_by: str | None = None
    id_like: tuple[str, ...] = ()
    rejects: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Change:
    """Takes records into an editor."""

    def __init__(
        self,
        editor: IndexEditor,
        encoder: Callable[[], Encoder | None],
        progress: Progress,
        counts: Counts | None = None,
    ) -> None:
        """Change what ``editor`` has open.

        Args:
            editor: of the index.
            encoder: gives the encoder of the index, checked against its contract; ``None``: it has none.
            progress: is told what is done.
            counts: what was done so far.
        """
        self._editor = editor
        self._encoder = encoder
        self._progress = progress
        self.counts = counts or Counts()
        self._settings = editor.settings()

    def survey(self, source: Source, kind: str) -> int | None:
        """Read all records once, where they can be read again: their errors in seconds, and their number.

        Raises:
            CorpusError: a record is invalid, or its id is used twice or there.
        """
        total = check_source(self._editor, source, kind)
        corpus = source.corpus
        if corpus is None or not corpus.rereadable:
            return total
        look = partial(check_new, view=self._editor, corpus=corpus)
        with self.phase("read", None, "records"):
            count = survey(
                corpus,
                self._progress.advance,
                skip_invalid=source.skip_invalid,
                check=look if kind == ADD else lambda documents: None,
            )
        if source.embeddings is not None:
            check_numbers(count, source.embeddings, source.name)
        check_fields(corpus)
        return count

    def take(self, source: Source, kind: str, total: int | None) -> None:
        """Take all records.

        Args:
            source: of these.
            kind: ``ADD``, ``UPSERT`` or ``SYNC``.
            total: how many, if known.

        Raises:
            QsearchError: one of its kinds.
            RecordsChanged: an interrupted run has seen other records; ``discard`` what it has kept.
        """
        phase = "encode" if source.embeddings is None else "store"
        with self.phase(phase, total, "docs"):
            taking = _Taking(
                self._editor, source, kind, self._encoder, self._progress, self._settings
            )
            try:
                taking.run(self.counts, total)
            finally:
                self._keep_rejects(source)
        if source.corpus is not None:
            check_fields(source.corpus, again=source.corpus.rereadable)
        self.counts.numbered_by, self.counts.id_like = source.numbered
        if kind == SYNC:
            missing = taking.sorter.missing(allow_empty=source.allow_empty)
            self._take_away(_deletions(missing.tolist()), 0, len(missing))

    def _keep_rejects(self, source: Source) -> None:
        with suppress(QsearchError):  # what stopped the change is what must be told
            totals = self._editor.totals()
            self.counts.rejected, self.counts.truncated = totals["rejected"], totals["truncated"]
            if totals["rejected"]:
                path = rejects_path(self._editor.index, source.rejects)
                write_rejects(path, self._editor.rejects())
                self.counts.rejects = path

    def delete(self, ids: Sequence[str], *, missing_ok: bool) -> None:
        """Delete documents by their ids.

        Raises:
            QueryError: an id is given twice, or there is none of it.
        """
        wanted = list(dict.fromkeys(ids))
        if len(wanted) < len(ids) and not missing_ok:
            twice = next(one for one, times in Counter(ids).items() if times > 1)
            raise QueryError(f"the id {twice!r} is given twice; nothing was deleted")
        done = sum(one.records for one in self._editor.earlier_steps)  # from the first one on
        steps = []
        missing: list[str] = []
        for start in range(done, len(wanted), _DELETE_AT_A_TIME):
            some = wanted[start : start + _DELETE_AT_A_TIME]
            found = self._editor.catalog.positions_of(some)
            steps.append(Step(gone=list(found.values()), records=len(some)))
            missing += [one for one in some if one not in found]
        if missing and not missing_ok:
            more = f", nor of {len(missing) - 1:,} more" if len(missing) > 1 else ""
            raise QueryError(
                f"there is no document of the id {missing[0]!r}{more} in {self._editor.index} "
                f"({words().missing_ok} passes over such ids); nothing was deleted"
            )
        self._take_away(steps, done, len(wanted))

    def delete_where(self, condition: Condition, *, missing_fields_ok: bool) -> None:
        """Delete the documents that a condition holds for.

        Raises:
            QueryError: a field is not there, it took too long, or the condition is empty.
        """
        if isinstance(condition, All):
            raise QueryError(
                "the condition is empty, and holds for every document; to delete them all, sync with no "
                f"document and {words().allow_empty}"
            )
        done = sum(one.records for one in self._editor.earlier_steps)
        positions = self._editor.positions_where(condition, missing_ok=missing_fields_ok)
        steps = [replace(one, records=len(one.gone)) for one in _deletions(positions)]
        self._take_away(steps, done, done + len(positions))

    def _take_away(self, steps: Sequence[Step], done: int, total: int) -> None:
        """Take steps that only delete.

        Args:
            steps: what is left to do.
            done: how much of the deletion an interrupted run has done.
            total: how much it is in all.
        """
        before = 0 if done else self._editor.gone  # what went earlier in the same block
        if not steps and not done:
            return
        with self.phase("delete", total, "docs"):
            if done:
                self._progress.advance(done, resumed=True)
            for step in steps:
                self._editor.apply(step)
                self._progress.advance(step.records or len(step.gone))
        self.counts.resumed += done
        self.counts.deleted += self._editor.gone - before

    def phase(
        self, name: str, total: int | None = None, unit: str = ""
    ) -> AbstractContextManager[None]:
        """Time what is done inside of this block, and tell of it."""
        return told_of(self._progress, self.counts.seconds, name, total, unit)


@contextmanager
def told_of(
    progress: Progress, seconds: dict[str, float], name: str, total: int | None, unit: str
) -> Iterator[None]:
    """Tell of what is done inside of this block, and add its time to ``seconds``.

    Args:
        progress: is told.
        seconds: by phase.
        name: of the phase.
        total: units that are to be done, if known.
        unit: what is counted.
    """
    started = time.perf_counter()
    progress.begin(name, total, unit)
    try:
        yield
    finally:
        progress.end()
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def compare(
    view: IndexView, source: Source, kind: str, counts: Counts, advance: Callable[[int], None]
) -> None:
    """Count what a change would do, and do nothing."""
    reader = ChunkReader(_records(source, view), _limit(source, view.settings()))
    sorter = Sorter(
        view,
        kind,
        source.name,
        embeddings=_embeddings_of(source),
        skip_invalid=source.skip_invalid,
        numbered_by=lambda: source.numbered[0],
    )
    row = 0
    ids: set[str] = set()
    while records := reader.next():
        found = sorter.sort(records, _given(source, row, len(records)), row)
        split = found.split
        _check_split(view, source, split)
        sorter.valid |= bool(split.valid)  # as far as can be known without encoding
        row += len(records)
        advance(len(records))
        again = [one for _, one in found.new if one.id in ids]
        if again and not source.skip_invalid:
            raise CorpusError(f"has the id {again[0].id!r} twice", path=source.name)
        ids.update(one.id for _, one in found.new)
        _count(counts, found)
        counts.added -= len(again)
        counts.rejected += len(found.rejects) + len(again)
    counts.numbered_by, counts.id_like = source.numbered
    if kind == SYNC:
        counts.deleted += len(sorter.missing(allow_empty=source.allow_empty))


def check_source(view: IndexView, source: Source, kind: str) -> int | None:
    """Find out what is wrong before anything slow is done; returns the number of records if known.

    Raises:
        CorpusError, EncoderError, EncoderMismatch, IndexWriteError: what is wrong.
    """
    embeddings = source.embeddings
    if source.corpus is None and embeddings is None:
        raise CorpusError("there is nothing to take: neither documents nor embeddings")
    if source.corpus is None and kind == SYNC:
        raise CorpusError(
            "embeddings without documents have no ids, by which a sync tells what is there already: give "
            "the documents too"
        )
    check_rejects(view.index, source.rejects, source.skip_invalid, source.corpus, embeddings)
    if kind == ADD:
        _check_encoder(view, source, "texts")
    if embeddings is not None and view.split:
        raise EncoderError(
            f"{view.index} holds passages: documents cannot be split where their embeddings "
            "are given; leave these out"
        )
    if embeddings is not None and embeddings.dimensions != view.dimensions:
        raise EncoderMismatch(
            f"{embeddings.name} has {embeddings.dimensions:,} dimensions, {view.index} has "
            f"{view.dimensions:,}"
        )
    return None if embeddings is None else embeddings.rows


class _Taking:
    """One way through the records of a source."""

    def __init__(
        self,
        editor: IndexEditor,
        source: Source,
        kind: str,
        encoder: Callable[[], Encoder | None],
        progress: Progress,
        settings: dict[str, Any],
    ) -> None:
        self._editor = editor
        self._source = source
        self._kind = kind
        self._encoder = encoder
        self._progress = progress
        self._settings = settings
        self._reader = ChunkReader(_records(source, editor), _limit(source, settings))
        self._row = 0
        at_once = chunks_at_once() if source.embeddings is None else 0
        self._pipeline: Pipeline[Step] = Pipeline(editor.apply, at_once)
        self.sorter = Sorter(
            editor,
            kind,
            source.name,
            embeddings=_embeddings_of(source),
            skip_invalid=source.skip_invalid,
            most_waiting=self._pipeline.most_waiting,
            numbered_by=lambda: source.numbered[0],
        )
        self._maker: ChunkMaker | None = None
        # An encoder that several threads may not use at once has a lock here.
        self._turn: AbstractContextManager[object] = nullcontext()
        self._counting = threading.Lock()

    def run(self, counts: Counts, total: int | None) -> None:
        self._skip_done(counts)
        with self._pipeline:
            while records := self._reader.next():
                self._check_numbers(records)
                given = _given(self._source, self._row, len(records))
                with self._pipeline.lock:
                    found = self.sorter.sort(records, given, self._row)
                _count(counts, found)
                digest = chunk_digest(records, given)
                self._pipeline.put(self._making(found, given, digest, self._row, counts))
                self._row += len(records)
                del found, records, given  # or they would stay while the next chunk is read
        if self._source.embeddings is not None:
            check_numbers(self._row, self._source.embeddings, self._source.name)
        check_same_number(total, self._row, self._source.name)

    def _skip_done(self, counts: Counts) -> None:
        """Pass over what an earlier run has kept; where it is not what it was, all of it is undone.

        Raises:
            CorpusError: the earlier run has left out records, and this one may not.
        """
        for entry in self._editor.earlier_steps:
            if not entry.records:  # what no record was of went, after the last of them
                if self._reader.has_more():
                    raise RecordsChanged
                continue
            records = self._reader.take(entry.records)
            given = _given(self._source, self._row, len(records))
            if chunk_digest(records, given) != entry.digest:
                raise RecordsChanged
            self.sorter.mark(records, given, self._row)
            self._row += len(records)
            counts.resumed += len(records)
            self._progress.advance(len(records), resumed=True)
        if self._editor.earlier_steps and not self._source.skip_invalid:
            check_none_left_out(self._editor.rejects(), self._source.name)

    def _check_numbers(self, records: list[Record]) -> None:
        embeddings = self._source.embeddings
        if embeddings is None:
            return
        after = self._row + len(records)
        if after > embeddings.rows or not self._reader.has_more():
            check_numbers(after + self._reader.skip(), embeddings, self._source.name)

    def _making(
        self,
        found: Sorted,
        given: NDArray[np.floating] | None,
        digest: str,
        row: int,
        counts: Counts,
    ) -> Callable[[], Step]:
        split = found.split
        if not split.valid:
            self._progress.advance(split.records)
            step = Step(
                gone=found.gone,
                metadata=found.metadata,
                rejects=found.rejects,
                digest=digest,
                records=split.records,
            )
            return lambda: step
        if self._maker is None:
            _check_split(self._editor, self._source, split)
            self._maker = self._made()
        maker = self._maker

        def make() -> Step:
            with self._turn:
                chunk = maker.make(split, given, digest, row)
            accepted = {one.id for one in chunk.documents}
            replaced = dict(zip((one.id for _, one in found.replacing), found.gone, strict=True))
            gone = [position for name, position in replaced.items() if name in accepted]
            # Before the chunk is taken: it is known as long as another with one of its ids may come.
            for _, one in split.valid:
                if one.id not in accepted:  # what cannot be stored replaces nothing
                    self.sorter.left_out[one.id] = replaced.get(one.id)
            self.sorter.valid |= bool(accepted)
            with self._counting:  # chunks are made by several threads
                counts.added -= sum(one.id not in accepted for _, one in found.new)
                counts.replaced -= len(found.gone) - len(gone)
                counts.passages += 0 if chunk.passages is None else len(chunk.rows)
            return Step(
                chunk.documents,
                chunk.rows,
                chunk.passages,
                gone,
                found.metadata,
                chunk.rejects,
                chunk.truncated,
                digest,
                chunk.records,
            )

        return make

    def _made(self) -> ChunkMaker:
        encoder = self._encoder()
        passages = self._settings.get("passages")
        splitter = None
        if passages is not None and encoder is not None:
            splitter = PassageSplitter(
                encoder, passages["tokens"], passages["overlap"], passages["language"]
            )
        if not getattr(encoder, "concurrent", False):
            self._turn = threading.Lock()
        return ChunkMaker(
            lambda ids: {},
            encoder,
            self._source.embeddings,
            self._editor.dimensions,
            self._source.name,
            self._progress,
            splitter=splitter,
            skip_invalid=self._source.skip_invalid,
            check=self._pipeline.check,
            most_waiting=self._pipeline.most_waiting,
            contract=True,
        )


class RecordsChanged(Exception):
    """The records are not those that an interrupted run has seen."""


def _deletions(positions: Sequence[int]) -> list[Step]:
    """Steps in which documents go."""
    return [
        Step(gone=positions[start : start + _DELETE_AT_A_TIME])
        for start in range(0, len(positions), _DELETE_AT_A_TIME)
    ]


def _records(source: Source, view: IndexView) -> Iterator[Record]:
    return read_records(source.corpus, source.embeddings, first=view.start)


def _limit(source: Source, settings: dict[str, Any]) -> ChunkLimit:
    if source.embeddings is not None:
        return given_limit()
    told = settings.get("encoder")
    longest = told.get("max_length") if isinstance(told, dict) else None
    cut = settings.get("passages") is None and isinstance(longest, int)
    return encoded_limit(int(longest or 0) if cut else 0)


def _check_encoder(view: IndexView, source: Source, what: str) -> None:
    """Refuse what would have to be encoded by an index without an encoder."""
    if source.embeddings is None and view.settings().get("encoder") is None:
        raise EncoderError(
            f"{view.index} was built from vectors without an encoder: {what} cannot be encoded; "
            f"give a vector for each document with {words().vectors}"
        )


def _check_split(view: IndexView, source: Source, split: SplitChunk) -> None:
    for _, one in split.valid[:1]:
        _check_encoder(view, source, f"the text of {one.id!r}, which is another one or new,")


def _embeddings_of(source: Source) -> str | None:
    return None if source.embeddings is None else source.embeddings.name


def _given(source: Source, row: int, count: int) -> NDArray[np.floating] | None:
    return None if source.embeddings is None else source.embeddings.read(row, row + count)


def _count(counts: Counts, found: Sorted) -> None:
    counts.added += len(found.new)
    counts.replaced += len(found.replacing)
    counts.metadata += len(found.metadata)
    counts.unchanged += found.unchanged
