"""Random histories of changes, against a dictionary and brute force, to the bit.

40 histories with every run of the tests, 200 by scripts/faults, 20,000 in its long form.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qsearch import BuildOptions, CorpusError, Index, IndexBusy, QueryError, verify_index
from qsearch.errors import ChangeInterrupted
from qsearch.indexing.report import ChangeReport, Silent
from qsearch.kernels import kernel_paths, use_kernels
from tests.faults import form
from tests.faults.conftest import place_in_memory
from tests.faults.limits import OF_HISTORIES
from tests.faults.model import (
    DIMENSIONS,
    OVERLAP,
    PASSAGES,
    Counts,
    Model,
    Record,
    Refused,
    differences,
    encoder,
)
from tests.keywords.definition import bm25, ranked

_, HISTORIES = form.share(form.times(40, 200, 20_000))
QUERIES = np.array(
    [np.eye(DIMENSIONS)[0], np.ones(DIMENSIONS), np.arange(DIMENSIONS) - 3.0], dtype=np.float32
)
K = 6
WORDS_ASKED = 'cat "cat dog" title river cat'


IDS = st.sampled_from([f"d{number}" for number in range(40)])
WORDS = st.sampled_from(["cat", "dog", "fish", "tree", "king", "queen", "a b. c d. e f. g h."])
# Few values, so that many rows are equal and many scores tie.
VECTORS = st.lists(st.integers(-1, 1), min_size=DIMENSIONS, max_size=DIMENSIONS).filter(any)
DOCUMENTS = st.lists(
    st.tuples(
        IDS,
        st.lists(WORDS, min_size=1, max_size=4).map(" ".join),
        st.sampled_from([None, "Title"]),
        st.sampled_from([{}, {"n": 1}, {"n": 2}]),
        VECTORS,
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda one: one[0],
)


MANY = st.lists(
    st.tuples(IDS, WORDS, st.none(), st.sampled_from([{}, {"n": 3}]), VECTORS),
    min_size=15,
    max_size=40,
    unique_by=lambda one: one[0],
)


class Stopping(Silent):
    """Presses Ctrl-C when so much was told of a change."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, count: int, *, resumed: bool = False) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


class Histories(RuleBasedStateMachine):
    """An index, what it should hold, and a reader that stays behind."""

    kind = "vectors"
    left: tuple[str, list[Any]] | None = (
        None  # a change that was interrupted, and its records or ids
    )

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="qsearch-faults-", dir=place_in_memory()))
        self.patch = pytest.MonkeyPatch()
        for limit in OF_HISTORIES:
            self.patch.setattr(*limit)

    def records(self, given: Sequence[tuple[Any, ...]]) -> list[Record]:
        vectors = self.kind == "vectors"
        return [Record(*one, vector if vectors else None) for *one, vector in given]

    def given(self, records: Sequence[Record]) -> dict[str, Any]:
        """What goes with them, where an index has no encoder."""
        if self.kind != "vectors":
            return {}
        rows = np.array([one.vector for one in records], dtype=np.float32)
        return {"embeddings": rows.reshape(-1, DIMENSIONS)}

    @initialize(given=DOCUMENTS)
    def build(self, given: list[tuple[Any, ...]]) -> None:
        records = self.records(given)
        self.model = Model(self.kind)
        self.model.put("add", records)
        options: dict[str, Any] = {"segment_rows": 25, "graph": True, "text_index": True}
        if self.kind == "passages":
            options |= {"passages": PASSAGES, "overlap": OVERLAP}
        how = {} if self.kind == "vectors" else {"encoder": encoder()}
        self.index = Index.build(
            [one.given() for one in records],
            self.folder / "index",
            options=BuildOptions(**options),
            **self.given(records),
            **how,
        )
        self.reader = self.opened()
        self.seen = self.model

    def opened(self) -> Index:
        return Index.open(
            self.folder / "index", encoder=None if self.kind == "vectors" else encoder()
        )

    def take(
        self, kind: str, records: Sequence[Record], *, once: bool = False, **options: Any
    ) -> Any:
        corpus = [one.given() for one in records]
        change = getattr(self.index, kind)
        if not once:
            return change(corpus, **self.given(records), **options)
        try:
            return change(iter(corpus), **self.given(records), **options)
        except CorpusError as error:
            # What can be read only once is not compared with what an interrupted change had kept.
            if "run the same command again" not in str(error):
                raise
            return change(iter(corpus), **self.given(records), **options)

    # Changes

    @rule(
        given=DOCUMENTS,
        kind=st.sampled_from(["add", "upsert", "sync"]),
        keep=st.integers(0, 30),
        once=st.booleans(),
    )
    def put(self, given: list[tuple[Any, ...]], kind: str, keep: int, once: bool) -> None:
        """Add, upsert, or sync; the last with some that are there as they are."""
        records = self.records(given)
        if kind == "sync":
            records = [*self.some(keep, but=records), *records]
        model = self.model.copy()
        try:
            counts = model.put(kind, records)
        except Refused:
            with pytest.raises(CorpusError, match="already"):
                self.take(kind, records, once=once)
            return
        self.told(self.take(kind, records, once=once), counts)
        self.model = model

    def some(self, keep: int, but: Sequence[Record]) -> list[Record]:
        """The first documents that are there, of other ids than some."""
        ids = {one.id for one in but}
        records = [one.record for one in list(self.model.entries.values())[:keep]]
        return [one for one in records if one.id not in ids]

    def told(self, report: ChangeReport, counts: Counts) -> None:
        for name, count in asdict(counts).items():
            assert getattr(report, name) == count, name

    @rule(given=DOCUMENTS, keep=st.integers(0, 30))
    def sync_for_show(self, given: list[tuple[Any, ...]], keep: int) -> None:
        new = self.records(given)
        records = [*self.some(keep, but=new), *new]
        counts = self.model.copy().put("sync", records)
        assert self.take("sync", records, dry_run=True).deleted == counts.deleted

    @rule(ids=st.lists(IDS, min_size=1, max_size=10, unique=True), missing_ok=st.booleans())
    def delete(self, ids: list[str], missing_ok: bool) -> None:
        model = self.model.copy()
        try:
            counts = model.delete(ids, missing_ok=missing_ok)
        except Refused:
            with pytest.raises(QueryError, match="no document of the id"):
                self.index.delete(ids)
            return
        self.told(self.index.delete(ids, missing_ok=missing_ok), counts)
        self.model = model

    @rule(given=DOCUMENTS, ids=st.lists(IDS, max_size=5, unique=True), fails=st.booleans())
    def several(self, given: list[tuple[Any, ...]], ids: list[str], fails: bool) -> None:
        """In one commit, which lets no other writer in."""
        records, model = self.records(given), self.model.copy()
        model.put("upsert", records)
        there = [one for one in ids if one in model.entries]
        again = [replace(records[0], id=one) for one in there[:1]]
        try:
            with self.index.changes() as changes:
                changes.upsert([one.given() for one in records], **self.given(records))
                changes.delete(there)
                model.delete(there)
                with self.opened() as other, pytest.raises(IndexBusy):
                    other.compact()
                if again:
                    changes.add([one.given() for one in again], **self.given(again))
                    model.put("add", again)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return
        self.model = model

    @rule(given=MANY, kind=st.sampled_from(["upsert", "sync"]), after=st.integers(0, 20))
    def interrupted(self, given: list[tuple[Any, ...]], kind: str, after: int) -> None:
        """What was kept of it is not seen; the next change throws it away, or goes on with it."""
        records, model = self.records(given), self.model.copy()
        model.put(kind, records)
        try:
            self.take(kind, records, progress=Stopping(after))
        except ChangeInterrupted as stopped:
            self.index.refresh()
            if stopped.commit is None:
                self.left = kind, records
                return
        self.model = model

    @precondition(lambda self: self.left is not None)
    @rule()
    def gone_on(self) -> None:
        """The same change again."""
        assert self.left is not None
        kind, given = self.left
        self.left, model = None, self.model.copy()
        if kind == "delete":
            counts = model.delete(given, missing_ok=True)
            self.told(self.index.delete(given, missing_ok=True), counts)
        else:
            model.put(kind, given)
            self.take(kind, given)
        self.model = model

    @rule(ids=st.lists(IDS, min_size=3, max_size=20, unique=True), after=st.integers(0, 6))
    def interrupted_deletion(self, ids: list[str], after: int) -> None:
        """Its steps are kept like those of other changes."""
        model = self.model.copy()
        model.delete(ids, missing_ok=True)
        try:
            self.index.delete(ids, missing_ok=True, progress=Stopping(after))
        except ChangeInterrupted as stopped:
            self.index.refresh()
            if stopped.commit is None:
                self.left = "delete", ids
                return
        self.model = model

    @rule(after=st.integers(0, 6))
    def interrupted_compaction(self, after: int) -> None:
        """What was joined is committed, and answers as before."""
        with contextlib.suppress(ChangeInterrupted):
            self.index.compact(progress=Stopping(after))
        self.index.refresh()

    @rule(path=st.sampled_from(kernel_paths()))
    def by_other_kernels(self, path: str) -> None:
        with use_kernels(path), self.opened() as index:
            self.check(index, self.model)

    @rule()
    def compact(self) -> None:
        self.index.compact()
        assert self.index.past == 0

    @rule()
    def go_on(self) -> None:
        """Another process would open it anew."""
        self.index.close()
        self.index = self.opened()

    @rule()
    def refresh(self) -> None:
        self.reader.refresh()
        self.seen = self.model

    # What must hold

    @precondition(lambda self: hasattr(self, "index"))
    @invariant()
    def each_has_its_own(self) -> None:
        self.check(self.index, self.model)
        self.check(self.reader, self.seen)

    def check(self, index: Index, model: Model) -> None:
        wrong = differences(index, model, QUERIES, K)
        assert not wrong, "; ".join(wrong)
        told = index.text_index
        assert told is not None
        (found,) = index.search_batch([WORDS_ASKED], K, mode="keywords")
        expected = ranked(bm25(list(index), WORDS_ASKED, told["tokenizer"]), K)
        assert [(hit.id, hit.score) for hit in found] == expected
        for method in ("binary", "cascade", "graph"):
            for candidates in (K, 1000):
                found = index.search_vectors(QUERIES, K, method=method, candidates=candidates)
                assert set(index.ids(found.positions).ravel()) <= {*model.entries, None}

    def teardown(self) -> None:
        self.patch.undo()
        try:
            if hasattr(self, "index"):
                report = verify_index(self.folder / "index", deep=True)
                assert not report.problems
        finally:
            shutil.rmtree(self.folder)


class OfTexts(Histories):
    kind = "texts"


class OfPassages(Histories):
    kind = "passages"


@pytest.mark.parametrize(
    ("machine", "share"), [(Histories, 0.6), (OfTexts, 0.2), (OfPassages, 0.2)]
)
def test_any_history_of_changes_is_answered_exactly(
    machine: type[RuleBasedStateMachine], share: float
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=round(share * HISTORIES),
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
