"""What an index must hold and answer after any history: a plain dictionary, and brute force over it.

Nothing here reads an index, but for ``differences``, which compares one with a model.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qsearch import Index
from qsearch.codes import unit_rows
from qsearch.documents import Document
from qsearch.indexing.passages import PassageSplitter
from tests.encoders import HashedWords
from tests.retrieval.segments import oracle

DIMENSIONS = 8
# Few: equal rows, and rows of which one is a multiple of another, are ties.
VECTORS = np.concatenate(
    [np.eye(DIMENSIONS)[:3], np.random.default_rng(1).standard_normal((6, DIMENSIONS))]
)
VECTORS = np.stack([*VECTORS, 2.0 * VECTORS[4], -VECTORS[5], 3.0 * VECTORS[6]])
PASSAGES, OVERLAP = 8, 2


def encoder() -> HashedWords:
    """Of every index that has one."""
    return HashedWords(DIMENSIONS)


class Refused(Exception):
    """The change is an error, and nothing is changed."""


@dataclass(frozen=True, eq=False)
class Record:
    """A document as it is given, with its vector where the index has no encoder."""

    id: str
    text: str
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    vector: tuple[float, ...] | None = None

    def given(self) -> dict[str, Any]:
        named = {"id": self.id, "text": self.text, **self.metadata}
        return named if self.title is None else {**named, "title": self.title}

    def stored(self) -> tuple[str, str, str | None, dict[str, Any]]:
        return self.id, self.text, self.title, self.metadata


@dataclass(frozen=True, eq=False)
class Entry:
    """A document with its rows; spans where these are of passages."""

    record: Record
    rows: np.ndarray
    spans: tuple[tuple[int, int], ...] = ()

    def same_content(self, other: Entry) -> bool:
        mine, theirs = self.record, other.record
        return (mine.title, mine.text) == (theirs.title, theirs.text) and (
            self.rows.tobytes() == other.rows.tobytes()
        )


@dataclass
class Counts:
    """As ``ChangeReport`` has them."""

    added: int = 0
    replaced: int = 0
    metadata: int = 0
    unchanged: int = 0
    deleted: int = 0


class Model:
    """An index as a dictionary, in document order.

    Attributes:
        kind: ``texts``, ``passages`` or ``vectors``.
        entries: by id.
    """

    def __init__(self, kind: str, entries: Iterable[Entry] = ()) -> None:
        self.kind = kind
        self.entries = {one.record.id: one for one in entries}

    def copy(self) -> Model:
        return Model(self.kind, self.entries.values())

    def entry(self, record: Record) -> Entry:
        """What a record becomes."""
        if record.vector is not None:
            return Entry(record, unit_rows(np.array([record.vector]))[0])
        return Entry(record, *_made(self.kind, record.title, record.text))

    def put(self, kind: str, records: Sequence[Record]) -> Counts:
        """Add, upsert or sync; where an error is raised the model is of no use any more.

        Raises:
            Refused: there is a document of an id that is to be added, or it is given twice.
        """
        counts = Counts()
        before, seen = dict(self.entries), set()
        for record in records:
            there = before.get(record.id)
            if record.id in seen or (kind == "add" and there is not None):
                raise Refused
            seen.add(record.id)
            entry = self.entry(record)
            if there is None:
                counts.added += 1
                self._arrive(entry)
            elif not there.same_content(entry):
                counts.replaced += 1
                self._arrive(entry)
            elif there.record.metadata != record.metadata:
                counts.metadata += 1
                self.entries[record.id] = replace(there, record=record)
            else:
                counts.unchanged += 1
        if kind == "sync":
            for missing in before.keys() - seen:
                counts.deleted += 1
                del self.entries[missing]
        return counts

    def _arrive(self, entry: Entry) -> None:
        self.entries.pop(entry.record.id, None)
        self.entries[entry.record.id] = entry

    def delete(self, ids: Sequence[str], *, missing_ok: bool = False) -> Counts:
        """As ``Index.delete``.

        Raises:
            Refused: there is no document of an id, or it is given twice.
        """
        unknown = [one for one in ids if one not in self.entries]
        if not missing_ok and (unknown or len(set(ids)) < len(ids)):
            raise Refused
        there = set(ids) - set(unknown)
        for one in there:
            del self.entries[one]
        return Counts(deleted=len(there))

    def nearest(self, query: np.ndarray, k: int) -> list[tuple[str, int, tuple[int, int] | None]]:
        """Id, bits of the score, and span of the best row of each of the k nearest documents."""
        owners = [(one, row) for one in self.entries.values() for row in range(len(one.rows))]
        if not owners:
            return []
        rows = np.concatenate([one.rows for one in self.entries.values()])
        order, scores = oracle(rows, query[None], len(rows))
        found: dict[str, tuple[str, int, tuple[int, int] | None]] = {}
        for place, bits in zip(order[0].tolist(), scores[0].view(np.int32).tolist(), strict=True):
            entry, row = owners[place]
            span = entry.spans[row] if entry.spans else None
            found.setdefault(entry.record.id, (entry.record.id, bits, span))
            if len(found) == k:
                break
        return list(found.values())


@functools.lru_cache(maxsize=20_000)
def _made(
    kind: str, title: str | None, text: str
) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """Unit rows of a text, and spans where these are of passages."""
    document = Document("", text, title)
    contents, spans = [document.content], ()
    if kind == "passages":
        parts = PassageSplitter(encoder(), PASSAGES, OVERLAP).split([document])
        contents = parts.contents
        spans = tuple((begin, end) for _, begin, end in parts.passages.tolist())
    return unit_rows(encoder().encode_documents(contents))[0], spans


def differences(index: Index, model: Model, queries: np.ndarray, k: int, **how: Any) -> list[str]:
    """In what an index is not as its model; empty where it is, to the bit."""
    found = []
    queries = queries.astype(np.float32)
    entries = list(model.entries.values())

    def compare(what: str, got: object, expected: object) -> None:
        if got != expected:
            found.append(f"{what}: {got!r:.2000}, should be {expected!r:.2000}")

    stored = [(one.id, one.text, one.title, dict(one.metadata)) for one in index]
    wanted = [one.record.stored() for one in entries]
    compare("documents", stored, wanted)
    compare("number of documents", len(index), len(entries))
    compare("number of rows", index.rows, sum(len(one.rows) for one in entries))
    ids = [one.record.id for one in reversed(entries)]
    try:
        got = [(one.id, one.text, one.title, dict(one.metadata)) for one in index.get(ids)]
        compare("get", got, wanted[::-1])
        vectors = [one.tobytes() for one in index.vectors(ids)]
        compare("vectors", vectors, [one.rows.tobytes() for one in reversed(entries)])
    except Exception as error:
        found.append(f"get: {error!r}")
    compare("unknown id", "never there" in index, False)
    compare("known ids", [one in index for one in ids[::7]], [True] * len(ids[::7]))
    compare("answers", answers(index, queries, k, **how), expected(model, queries, k))
    return found


def expected(model: Model, queries: np.ndarray, k: int) -> list[Any]:
    return [model.nearest(query, k) for query in queries]


def answers(index: Index, queries: np.ndarray, k: int, **how: Any) -> list[Any]:
    """What a search gives, as ``Model.nearest`` has it; 0 and a reason where it is not certified."""
    result = index.search_vectors(queries, k, **how)
    ids = index.ids(result.positions)
    bits = np.ascontiguousarray(result.scores).view(np.int32)
    found = []
    for number in range(len(queries)):
        spans: list[Any] = [None] * ids.shape[1]
        if result.spans is not None:
            spans = [tuple(one) for one in result.spans[number].tolist()]
        hits = list(zip(ids[number].tolist(), bits[number].tolist(), spans, strict=True))
        found.append(hits if result.certified[number] else [(0, "not certified", hits)])
    return found
