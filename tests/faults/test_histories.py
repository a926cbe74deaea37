"""Random histories of changes, against a dictionary and brute force, to the bit.

100 histories with every run of the tests, 200 by scripts/faults, 20,000 in its long form.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

import qsearch.indexing.upkeep
import qsearch.store.editor
import qsearch.store.merging
from qsearch import BuildOptions, CorpusError, Index, QueryError, verify_index
from qsearch.codes import unit_rows
from qsearch.kernels.reference import cosine_gather
from tests.encoders import HashedWords
from tests.faults import form

FIRST, HISTORIES = form.share(form.times(100, 200, 20_000))
DIMENSIONS = 8
QUERIES = np.array(
    [np.eye(DIMENSIONS)[0], np.ones(DIMENSIONS), np.arange(DIMENSIONS) - 3.0], dtype=np.float32
)
K = 6


@dataclass(frozen=True)
class Held:
    """A document as it should be there."""

    id: str
    text: str
    title: str | None
    metadata: dict[str, Any]
    rows: np.ndarray

    @property
    def record(self) -> dict[str, Any]:
        title = {} if self.title is None else {"title": self.title}
        return {"id": self.id, "text": self.text, **title, **self.metadata}

    def same(self, other: Held) -> bool:
        """Whether nothing is to be stored anew but metadata."""
        return (self.text, self.title, self.rows.tobytes()) == (
            other.text,
            other.title,
            other.rows.tobytes(),
        )


class Model:
    """What an index should hold: documents in the order of their arrival."""

    def __init__(self, documents: Sequence[Held] = ()) -> None:
        self.documents = list(documents)

    def copy(self) -> Model:
        return Model(self.documents)

    def place(self, id: str) -> int | None:
        return next((i for i, one in enumerate(self.documents) if one.id == id), None)

    def put(self, document: Held) -> None:
        place = self.place(document.id)
        if place is None:
            self.documents.append(document)
        elif self.documents[place].same(document):
            self.documents[place] = replace(self.documents[place], metadata=document.metadata)
        else:
            del self.documents[place]
            self.documents.append(document)

    def delete(self, id: str) -> None:
        place = self.place(id)
        assert place is not None
        del self.documents[place]

    def best(self, queries: np.ndarray, k: int) -> list[list[tuple[str, bytes]]]:
        """Ids and score bits of the first k: a document scores as its best row, ties by order."""
        if not self.documents:
            return [[] for _ in queries]
        rows = np.concatenate([one.rows for one in self.documents])
        owner = np.repeat(np.arange(len(self.documents)), [len(one.rows) for one in self.documents])
        every = np.tile(np.arange(len(rows)), (len(queries), 1))
        found = []
        for scores in cosine_gather(rows, queries, every):
            best = np.full(len(self.documents), -np.inf, dtype=np.float32)
            np.maximum.at(best, owner, scores)
            order = np.lexsort((np.arange(len(best)), -best))[:k]
            found.append([(self.documents[i].id, best[i].tobytes()) for i in order])
        return found


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


class Histories(RuleBasedStateMachine):
    """An index, what it should hold, and a reader that stays behind."""

    kind = "vectors"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        for module, name, value in (
            (qsearch.store.editor, "TAIL_ROWS", 6),
            (qsearch.store.merging, "TAIL_ROWS", 6),
            (qsearch.store.editor, "_MOST_BYTES", 600),
            (qsearch.indexing.upkeep, "_GRAPH_ROWS", 10),
            (qsearch.indexing.chunks, "_CHUNK_ENCODED", 60),
            (qsearch.indexing.chunks, "_CHUNK_ROWS", 5),
        ):
            self.patch.setattr(module, name, value)

    # How documents of each kind are made, and given to the index

    def held(self, given: Sequence[tuple[Any, ...]]) -> list[Held]:
        made = []
        for name, text, title, metadata, vector in given:
            if self.kind == "vectors":
                rows = unit_rows(np.array([vector], dtype=np.float32))[0]
            else:
                rows = np.empty((0, 0), dtype=np.float32)  # the index makes them
            made.append(Held(name, text, title, metadata, rows))
        return made

    def given(self, documents: Sequence[Held]) -> dict[str, Any]:
        if self.kind == "vectors":
            rows = [one.rows[0] for one in documents]
            return {"embeddings": np.array(rows, dtype=np.float32).reshape(-1, DIMENSIONS)}
        return {}

    def learn(self, model: Model) -> None:
        """Rows of texts are what the encoder makes of them, as a build would store them."""
        if self.kind == "vectors":
            return
        new = [one for one in model.documents if not one.rows.size]
        for one in new:
            key = (one.title, one.text)
            if key not in self.known:
                path = self.folder / f"learned-{len(self.known)}"
                with Index.build([one.record], path, **self.how()) as alone:
                    self.known[key] = alone.vectors([one.id])[0]
                shutil.rmtree(path)
        model.documents = [
            one if one.rows.size else replace(one, rows=self.known[one.title, one.text])
            for one in model.documents
        ]

    def how(self) -> dict[str, Any]:
        options: dict[str, Any] = {"segment_rows": 25, "graph": True}
        if self.kind == "passages":
            options |= {"passages": 10, "overlap": 2}
        if self.kind == "vectors":
            return {"options": BuildOptions(**options)}
        return {"options": BuildOptions(**options), "encoder": HashedWords(DIMENSIONS)}

    @initialize(given=DOCUMENTS)
    def build(self, given: list[tuple[Any, ...]]) -> None:
        self.known: dict[tuple[str | None, str], np.ndarray] = {}
        documents = self.held(given)
        self.model = Model(documents)
        self.learn(self.model)
        self.index = Index.build(
            [one.record for one in documents],
            self.folder / "index",
            **self.given(documents),
            **self.how(),
        )
        self.reader = self.opened()
        self.seen = self.model.copy()

    def opened(self) -> Index:
        encoder = None if self.kind == "vectors" else HashedWords(DIMENSIONS)
        return Index.open(self.folder / "index", encoder=encoder)

    def accept(self, model: Model) -> None:
        self.learn(model)
        self.model = model

    # Changes

    @rule(given=DOCUMENTS, once=st.booleans())
    def add(self, given: list[tuple[Any, ...]], once: bool) -> None:
        documents = self.held(given)
        taken = [one for one in documents if self.model.place(one.id) is not None]
        records = [one.record for one in documents]
        source: Any = iter(records) if once else records
        if taken:
            with pytest.raises(CorpusError, match="already"):
                self.index.add(source, **self.given(documents))
            return
        model = self.model.copy()
        model.documents += documents
        report = self.index.add(source, **self.given(documents))
        assert report.added == len(documents)
        self.accept(model)

    @rule(given=DOCUMENTS)
    def upsert(self, given: list[tuple[Any, ...]]) -> None:
        documents = self.held(given)
        model = self.expected(self.model, documents)
        self.index.upsert([one.record for one in documents], **self.given(documents))
        self.accept(model)

    def expected(self, before: Model, documents: Sequence[Held]) -> Model:
        model = before.copy()
        for one in documents:
            known = replace(one, rows=self.known.get((one.title, one.text), one.rows))
            model.put(known)
        return model

    @rule(given=DOCUMENTS, keep=st.integers(0, 30), dry=st.booleans())
    def sync(self, given: list[tuple[Any, ...]], keep: int, dry: bool) -> None:
        new = self.held(given)
        ids = {one.id for one in new}
        documents = [one for one in self.model.documents[:keep] if one.id not in ids] + new
        model = self.expected(self.model, documents)
        wanted = {one.id for one in documents}
        gone = sum(one.id not in wanted for one in self.model.documents)
        model.documents = [one for one in model.documents if one.id in wanted]
        records = [one.record for one in documents]
        if dry:
            assert self.index.sync(records, dry_run=True, **self.given(documents)).deleted == gone
            return
        assert self.index.sync(records, **self.given(documents)).deleted == gone
        self.accept(model)

    @rule(ids=st.lists(IDS, min_size=1, max_size=10, unique=True), missing_ok=st.booleans())
    def delete(self, ids: list[str], missing_ok: bool) -> None:
        there = [one for one in ids if self.model.place(one) is not None]
        if len(there) < len(ids) and not missing_ok:
            with pytest.raises(QueryError, match="no document of the id"):
                self.index.delete(ids)
            return
        model = self.model.copy()
        for one in there:
            model.delete(one)
        assert self.index.delete(ids, missing_ok=missing_ok).deleted == len(there)
        self.accept(model)

    @rule(given=DOCUMENTS, ids=st.lists(IDS, max_size=5, unique=True), fails=st.booleans())
    def several(self, given: list[tuple[Any, ...]], ids: list[str], fails: bool) -> None:
        documents = self.held(given)
        model = self.expected(self.model, documents)
        there = [one for one in ids if model.place(one) is not None]
        try:
            with self.index.changes() as changes:
                changes.upsert([one.record for one in documents], **self.given(documents))
                changes.delete(there)
                for one in there:
                    model.delete(one)
                if there and not fails:
                    again = [replace(documents[0], id=there[0])]
                    changes.add([one.record for one in again], **self.given(again))
                    model.documents += again
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return
        self.accept(model)

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
        self.seen = self.model.copy()

    # What must hold

    @precondition(lambda self: hasattr(self, "index"))
    @invariant()
    def each_has_its_own(self) -> None:
        self.check(self.index, self.model)
        self.check(self.reader, self.seen)

    def check(self, index: Index, model: Model) -> None:
        ids = [one.id for one in model.documents]
        assert [one.id for one in index] == ids
        assert len(index) == len(ids)
        assert index.rows == sum(len(one.rows) for one in model.documents)
        found = index.get(ids)
        assert [(one.text, one.title, one.metadata) for one in found] == [  # type: ignore[union-attr]
            (one.text, one.title, one.metadata) for one in model.documents
        ]
        for rows, one in zip(index.vectors(ids), model.documents, strict=True):
            assert rows.tobytes() == one.rows.tobytes()
        result = index.search_vectors(QUERIES, K)
        assert result.certified.all()
        truth = model.best(QUERIES, K)
        names = index.ids(result.positions)
        got = [
            list(zip(some, [score.tobytes() for score in scores], strict=True))
            for some, scores in zip(names.tolist(), result.scores, strict=True)
        ]
        assert got == truth
        for method in ("binary", "cascade", "graph"):
            some = index.search_vectors(QUERIES, K, method=method, candidates=1000)
            assert set(index.ids(some.positions).ravel()) <= {*ids, None}

    def teardown(self) -> None:
        self.patch.undo()
        if hasattr(self, "index"):
            report = verify_index(self.folder / "index", deep=True)
            assert not report.problems
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
