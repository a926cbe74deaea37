"""Changes of an index from beginning to end: what the library and the command line call."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import xxhash

from qsearch.documents import Document, checked_ids
from qsearch.encoding import Encoder
from qsearch.encoding.passages import DEFAULT_LANGUAGE
from qsearch.errors import (
    ChangeInterrupted,
    CorpusError,
    IndexBusy,
    OptionError,
    QsearchError,
    QueryError,
)
from qsearch.filters import Condition, Where, as_condition
from qsearch.filters.conditions import Field, spelled
from qsearch.indexing.changing import (
    Change,
    Counts,
    RecordsChanged,
    Source,
    check_source,
    compare,
    told_of,
)
from qsearch.indexing.graphs import add_graphs, drop_graphs, lacking_graphs
from qsearch.indexing.options import check_language
from qsearch.indexing.report import (
    ChangeReport,
    CompactReport,
    Progress,
    Silent,
    TextIndexReport,
    UpgradeReport,
    index_sizes,
)
from qsearch.indexing.sorting import ADD, SYNC, UPSERT
from qsearch.indexing.upkeep import keep_up, measure_again, walks_unmeasured
from qsearch.options import RecordOptions, documented, settled
from qsearch.store import Catalog, IndexEditor, IndexView, compact_groups
from qsearch.store.fields import known_fields, resolved_field
from qsearch.store.format import FORMAT_VERSION
from qsearch.store.masks import living_counts
from qsearch.store.rows import SegmentEntry
from qsearch.store.text_index import TextIndexSpec
from qsearch.wording import first_line, words

__all__ = [
    "Changes",
    "Changing",
    "change_index",
    "compact_index",
    "compare_index",
    "delete_from",
    "delete_matching",
    "index_fields",
    "index_graph",
    "index_text",
    "upgrade_index",
]

_log = logging.getLogger("qsearch")

Records = str | Path | Iterable[Document | Mapping[str, Any]] | None
"""What a change takes documents from; ``None`` where only embeddings are given."""

GetEncoder = Callable[[], Encoder | None]


@dataclass(frozen=True, slots=True)
class Changing:
    """How a change is made, whatever it is.

    Attributes:
        index: the directory.
        encoder: gives the encoder of the index, held against its contract; ``None``: it has none.
        wait: seconds to wait for another writer.
        progress: is told what is done.
    """

    index: Path
    encoder: GetEncoder
    wait: float = 0.0
    progress: Progress | None = None

    @contextlib.contextmanager
    def begun(
        self, purpose: dict[str, Any] | None, counts: Counts | None = None
    ) -> Iterator[tuple[IndexEditor, Change]]:
        """An editor of the index, and what takes records into it.

        Args:
            purpose: see ``IndexEditor.open``.
            counts: what was done so far.

        Raises:
            ChangeInterrupted: Ctrl-C, in the block; says what is kept.
        """
        told = self.progress or Silent()
        with IndexEditor.open(self.index, purpose=purpose, wait=self.wait) as editor:
            editor.advance_sealing = told.advance
            try:
                yield editor, Change(editor, self.encoder, told, counts)
            except KeyboardInterrupt as error:
                editor.close()
                raise ChangeInterrupted(editor.kept_records, _commit_of(editor)) from error


def change_index(how: Changing, kind: str, source: Source) -> ChangeReport:
    """Add, upsert or sync the records of a source, in one commit.

    Raises:
        QsearchError: one of its kinds. What was kept of a large change is there for the next of its kind.
    """
    purpose = {"what": kind, "embeddings given": source.embeddings is not None}
    again = source.corpus is None or source.corpus.rereadable
    for attempt in (1, 2):
        with how.begun(purpose) as (editor, change):
            total = change.survey(source, kind)
            try:
                change.take(source, kind, total)
            except RecordsChanged:
                _log.warning(
                    "the interrupted change of %s had read other records; what it had done is thrown away",
                    how.index,
                )
                editor.discard()
                if not again or attempt == 2:
                    raise CorpusError(
                        "is not what the interrupted change had read, which is undone now; run the same "
                        "command again",
                        path=source.name,
                    ) from None
                continue
            return _committed(how, editor, change)
    raise AssertionError  # not reached


def compare_index(how: Changing, kind: str, source: Source) -> ChangeReport:
    """What ``change_index`` would do."""
    counts, told = Counts(), how.progress or Silent()
    with IndexView.read(how.index, rows=source.embeddings is not None) as view:
        check_source(view, source, kind)
        told.begin("compare", None, "docs")
        try:
            compare(view, source, kind, counts, told.advance)
        finally:
            told.end()
        return _report(how.index, counts, view.catalog.commit)


def delete_from(how: Changing, ids: Iterable[str], *, missing_ok: bool) -> ChangeReport:
    """Delete documents by their ids, in one commit."""
    wanted = list(ids)
    purpose = {"what": "delete", "of": _digest(["ids", str(missing_ok), *wanted])}
    with how.begun(purpose) as (editor, change):
        change.delete(wanted, missing_ok=missing_ok)
        return _committed(how, editor, change)


def delete_matching(
    how: Changing, condition: Condition, *, missing_fields_ok: bool
) -> ChangeReport:
    """Delete the documents that a condition holds for, in one commit."""
    purpose = {"what": "delete", "of": _digest(["where", repr(condition)])}
    with how.begun(purpose) as (editor, change):
        change.delete_where(condition, missing_fields_ok=missing_fields_ok)
        return _committed(how, editor, change)


def _digest(texts: Iterable[str]) -> str:
    """Tells what is to be deleted from everything else, so that only the same deletion goes on."""
    told = xxhash.xxh3_128()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        told.update(len(data).to_bytes(8, "little") + data)
    return told.hexdigest()


def index_fields(
    how: Changing, fields: Sequence[Field], *, drop: bool, missing_fields_ok: bool
) -> int:
    """Make conditions on fields fast, or do so no longer, in one commit; returns its number.

    Raises:
        QueryError: no document has a field, or it needs no index.
    """
    told = how.progress or Silent()
    with IndexEditor.open(how.index, wait=how.wait) as editor:
        known = known_fields(editor.catalog)
        paths = [resolved_field(one, known, missing_ok=missing_fields_ok or drop) for one in fields]
        for path in paths:
            if drop and spelled(path) not in known.indexed:
                raise QueryError(f"the field {spelled(path)} is not indexed")
        told.begin("index fields", len(paths), "fields")
        try:
            for path in paths:
                editor.index_fields([path], drop=drop)
                told.advance(1)
        finally:
            told.end()
        return editor.commit()


def compact_index(how: Changing) -> CompactReport:
    """Write the index anew, without what is gone: as few segments as can be, and a catalog of the present.

    Each new segment is a commit, and the new catalog the last one: what was done is not done again where
    this is interrupted and run once more.

    Raises:
        ChangeInterrupted: Ctrl-C; says what is done.
        IndexFormatError: what is to be copied is damaged; no answer is changed.
        IndexWriteError: the file system refuses; the index answers as before.
    """
    before = sum(index_sizes(how.index).values())
    counts = Counts()
    told = how.progress or Silent()
    states: list[_Due] = []  # before each commit
    joined = 0
    last = False
    while not last:
        try:
            with how.begun(None, counts) as (editor, change):
                state = _Due.of(editor)
                states.append(state)
                last = len(state.groups) < 2
                commit = editor.base
                if state.groups:
                    group, living = state.groups[0]
                    with change.phase("merge", living, "rows"):
                        editor.merge(group, told.advance)
                if not last:
                    editor.commit()
                    joined += len(group)
                    continue
                if state.groups or joined or state.past or editor.left_behind:
                    with change.phase("commit", editor.live_documents, "docs"):
                        commit = editor.commit_rewritten(advance=told.advance)
                editor.close()
                _keep_up(how, counts)  # also where it was that which was interrupted
        except ChangeInterrupted as stopped:
            raise ChangeInterrupted(
                stopped.kept, stopped.commit if last else None, joined
            ) from stopped
    with IndexView.read(how.index) as view:
        left, now = len(view.catalog.segments()), view.catalog.commit
    if commit == states[0].commit:  # of what there was to do, if only what keeps the index fast was
        commit = now
    return CompactReport(
        how.index,
        commit,
        states[0].dead,
        states[0].past,
        (states[0].segments, left),
        (before, sum(index_sizes(how.index).values())),
        counts.seconds if now > states[0].commit else {},
    )


@dataclass(frozen=True, slots=True)
class _Due:
    """What there is to compact.

    Attributes:
        commit: that was looked at.
        groups: segments that are to be one, and the rows of them that live.
        segments: how many there are.
        dead: rows that are not to be there any more.
        past: documents and metadata of earlier commits.
    """

    commit: int
    groups: tuple[tuple[Sequence[SegmentEntry], int], ...]
    segments: int
    dead: int
    past: int

    @classmethod
    def of(cls, editor: IndexEditor) -> _Due:
        entries = editor.catalog.segments()
        living = living_counts(editor.catalog, entries)
        rows = [one.rows for one in entries]
        groups = tuple(
            ([entries[number] for number in group], sum(living[number] for number in group))
            for group in compact_groups(living, rows, editor.segment_rows)
        )
        return cls(
            editor.base, groups, len(entries), sum(rows) - sum(living), editor.catalog.past()
        )


def index_text(
    how: Changing, language: str | None = None, *, drop: bool = False
) -> TextIndexReport:
    """Make the text index, anew where there is one, or take it away, in one commit.

    The catalog is written anew, as compacting does: who has an earlier commit open goes on reading it.

    Args:
        how: the index.
        language: ISO 639 code; ``None``: that of the text index there is, or of the passages, or English.
        drop: take it away.

    Raises:
        OptionError: the language is no code of one, or is given where the text index is taken away.
        IndexFormatError: what is to be copied is damaged; nothing is changed.
        IndexWriteError: the file system refuses; the index is as it was before.
    """
    if language is not None and (not isinstance(language, str) or drop):
        raise OptionError(
            "a language is one of the text index that is made; leave it out"
            if drop
            else f"language must be a code as 'en', found {language!r}"
        )
    if language is not None:
        check_language(language)
    before = sum(index_sizes(how.index).values())
    with how.begun(None) as (editor, change):
        spec = None if drop else TextIndexSpec(language or _language_of(editor.settings()))
        commit = editor.base
        if spec is not None or editor.catalog.tokenizer is not None:
            told = how.progress or Silent()
            with change.phase("text index", editor.live_documents, "docs"):
                commit = editor.commit_rewritten(spec, told.advance)
        seconds = change.counts.seconds
    return TextIndexReport(
        how.index,
        commit,
        None if spec is None else spec.language,
        None if spec is None else spec.tokenizer,
        (before, sum(index_sizes(how.index).values())),
        seconds,
    )


def index_graph(how: Changing, *, drop: bool = False) -> int:
    """Make graphs where there are none, or damaged ones, or take them away, and measure recall anew.

    Args:
        how: the index.
        drop: take them away.

    Returns:
        The number of the last commit; that of the one before where there was nothing to do.

    Raises:
        ChangeInterrupted: Ctrl-C; the index is as it was before, or its graph is made and recall is not
            measured with it: until it is, no recall is reached by it.
        IndexFormatError: what they are made of is damaged.
        IndexWriteError: the file system refuses.
    """
    told = how.progress or Silent()
    with how.begun(None) as (editor, _):
        before = editor.base
        changed = editor.settings().get("graph") != (not drop)
        if drop:
            changed |= drop_graphs(editor)
        elif lacking := lacking_graphs(editor):
            add_graphs(editor, lacking, told)
            changed = True
        due = changed or (not drop and walks_unmeasured(editor.catalog.settings()))
        commit = editor.commit({"graph": not drop}) if changed else before
    if due:
        try:
            with contextlib.suppress(IndexBusy):  # who is at it sees to it
                measure_again(how.index, told)
        except KeyboardInterrupt as error:
            if not changed:
                raise ChangeInterrupted(0) from error
            if drop:
                raise ChangeInterrupted(0, commit) from error
            left = f"{words().index_graph}, once more, measures recall with its graph"
            raise ChangeInterrupted(0, commit, left=left) from error
        with IndexView.read(how.index) as view:
            return view.catalog.commit
    return commit


def _language_of(settings: Mapping[str, Any]) -> str:
    for name in ("text_index", "passages"):
        told = settings.get(name)
        if isinstance(told, dict) and isinstance(told.get("language"), str):
            return str(told["language"])
    return DEFAULT_LANGUAGE


def upgrade_index(
    index: str | Path, wait: float = 0.0, progress: Progress | None = None
) -> UpgradeReport:
    """Bring an index to the present format.

    A catalog that another program has put in SQLite's WAL mode is put back.

    Args:
        index: the directory.
        wait: seconds to wait for another writer.
        progress: is told what is done.

    Raises:
        IndexBusy: another writer is at it.
        IndexFormatError: it is missing, damaged, or of a format that is not known.
        IndexWriteError: the file system refuses; the index is as it was.
    """
    index, told = Path(index), progress or Silent()
    catalog = Catalog.open(index)
    try:
        version, wal = catalog.version, catalog.is_in_wal_mode()
        documents = catalog.read_settings(only=("documents",))[0].get("documents")
    finally:
        catalog.close()
    if version < FORMAT_VERSION or wal:
        total = documents if isinstance(documents, int) else None
        with told_of(told, {}, "upgrade", total, "docs"):
            IndexEditor.open(index, wait=wait, advance=told.advance).close()
    return UpgradeReport(version, FORMAT_VERSION, wal)


def _commit_of(editor: IndexEditor) -> int | None:
    """The commit that an editor made before it was interrupted, if it came to it."""
    with IndexView.read(editor.index) as view:
        return editor.base + 1 if view.catalog.commit > editor.base else None


def _committed(how: Changing, editor: IndexEditor, change: Change) -> ChangeReport:
    with change.phase("commit"):
        commit = editor.commit()
    return _finished(how, change.counts, commit, changed=commit > editor.base)


def _finished(how: Changing, counts: Counts, commit: int, *, changed: bool) -> ChangeReport:
    if changed:
        _keep_up(how, counts)
    return _report(how.index, counts, commit)


def _keep_up(how: Changing, counts: Counts) -> None:
    started = time.perf_counter()
    keep_up(how.index, how.progress or Silent())
    counts.seconds["keep up"] = time.perf_counter() - started


def _report(index: Path, counts: Counts, commit: int) -> ChangeReport:
    catalog = Catalog.open(index)
    try:
        settings, _ = catalog.read_settings(only=("documents",))
    finally:
        catalog.close()
    return ChangeReport(
        path=index,
        commit=commit,
        added=counts.added,
        replaced=counts.replaced,
        metadata=counts.metadata,
        unchanged=counts.unchanged,
        deleted=counts.deleted,
        rejected=counts.rejected,
        rejects=counts.rejects,
        truncated=counts.truncated,
        passages=counts.passages,
        resumed=counts.resumed,
        numbered_by=counts.numbered_by,
        id_like=counts.id_like,
        documents=int(settings["documents"]),
        seconds=counts.seconds,
    )


class Changes:
    """Several changes of an index that become one commit, or nothing. Made by ``Index.changes``.

    Attributes:
        report: what was done, when it is committed.
    """

    def __init__(
        self, how: Changing, source: Callable[..., Source], done: Callable[[], None]
    ) -> None:
        """Use ``Index.changes``."""
        self.report: ChangeReport | None = None
        self._how = how
        self._source = source
        self._done = done
        self._editor: IndexEditor | None = None
        self._change: Change | None = None
        self._broken: BaseException | None = None

    def __enter__(self) -> Changes:
        """Begin: from here to the end no other writer is let in."""
        if self._editor is not None:
            raise ValueError("this block is open; leave it, or begin another with index.changes()")
        self.report = self._broken = None
        self._editor = IndexEditor.open(self._how.index, wait=self._how.wait)
        self._change = Change(self._editor, self._how.encoder, self._how.progress or Silent())
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Commit, or undo everything where the block ends with an exception."""
        if self._editor is None or self._change is None:
            return
        editor, self._editor = self._editor, None
        if kind is not None or self._broken is not None:
            try:
                editor.discard()
            except QsearchError as error:  # why the block failed is what its caller is to know
                _log.warning(
                    "%s; what the block had stored is thrown away by the next change of %s",
                    error,
                    self._how.index,
                )
            if kind is None:
                raise self._failed() from self._broken
            return
        try:
            commit = editor.commit()
        except BaseException:
            editor.close()
            raise
        self.report = _finished(
            self._how, self._change.counts, commit, changed=commit > editor.base
        )
        self._done()

    @documented(RecordOptions)
    def add(self, corpus: Records = None, **options: Unpack[RecordOptions]) -> None:
        """Add documents, as ``Index.add``.

        Args:
            corpus: as ``Index.add`` takes it.
            **options: see ``RecordOptions``.
        """
        self._take(ADD, corpus, options)

    @documented(RecordOptions)
    def upsert(self, corpus: Records = None, **options: Unpack[RecordOptions]) -> None:
        """Add documents, in place of those that have their ids, as ``Index.upsert``.

        Args:
            corpus: as ``Index.upsert`` takes it.
            **options: see ``RecordOptions``.
        """
        self._take(UPSERT, corpus, options)

    @documented(RecordOptions)
    def sync(
        self,
        corpus: Records = None,
        *,
        allow_empty: bool = False,
        **options: Unpack[RecordOptions],
    ) -> None:
        """Make the index hold exactly these documents, as ``Index.sync``.

        Args:
            corpus: as ``Index.sync`` takes it.
            allow_empty: let a corpus without a valid document delete all; else it is an error.
            **options: see ``RecordOptions``.
        """
        self._take(SYNC, corpus, options, allow_empty=allow_empty)

    def delete(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        missing_ok: bool = False,
        where: Where | None = None,
        params: Mapping[str, Any] | None = None,
        missing_fields_ok: bool = False,
    ) -> None:
        """Delete documents, as ``Index.delete``: what the block has done so far counts."""
        with self._whole() as (_, change):
            if ids is not None and where is None:
                change.delete(checked_ids(ids), missing_ok=missing_ok)
            elif ids is None and where is not None:
                condition = as_condition(where, params)
                change.delete_where(condition, missing_fields_ok=missing_fields_ok)
            else:
                raise QueryError("delete takes ids, or a condition with where=")

    def _take(
        self, kind: str, corpus: Records, options: Mapping[str, Any], *, allow_empty: bool = False
    ) -> None:
        asked = settled(RecordOptions, options, f"changes.{kind}()")
        with self._whole() as (_, change):
            source = replace(self._source(corpus, asked), allow_empty=allow_empty)
            change.take(source, kind, change.survey(source, kind))

    @contextlib.contextmanager
    def _whole(self) -> Iterator[tuple[IndexEditor, Change]]:
        """One of the changes of the block: where it fails in the middle, what it has done must not stay."""
        editor, change = self._editor, self._change
        if editor is None or change is None:
            raise ValueError("use it in a with statement: with index.changes() as changes: ...")
        if self._broken is not None:
            raise self._failed() from self._broken
        steps, counts = len(editor.steps), deepcopy(change.counts)
        try:
            yield editor, change
        except BaseException as error:
            change.counts = counts
            if editor.halfway or len(editor.steps) > steps:
                self._broken = error
            raise

    def _failed(self) -> QueryError:
        why = "" if self._broken is None else first_line(self._broken)
        return QueryError(
            f"a change in this block failed ({why}) when a part of it was done, so nothing of the block "
            "was committed; let the exception pass, or begin another block"
        )
