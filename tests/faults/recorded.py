"""Histories that are recorded, and what an index holds before and after each of their steps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import qsearch.store.editor
from qsearch import BuildOptions, Index
from qsearch.indexing import Changing, compact_index, upgrade_index
from tests.encoders import WORDS, HashedWords
from tests.faults.limits import OF_DOZENS, make_small

GOLDEN = Path(__file__).resolve().parents[1] / "store" / "golden"

DIMENSIONS = 12
"""Of the index of vectors."""

ENCODER_DIMENSIONS = 16

Contents = list[tuple[str, str | None, str, str, bytes]]
"""Id, title, text, metadata and rows of each document, in order."""


def small_sizes() -> None:
    """Let everything happen with a few rows, and in no time: what is done alike gives the same bytes."""
    make_small(OF_DOZENS)
    qsearch.store.editor.now = lambda: "2026-01-01T00:00:00+00:00"


def record(number: int, seed: int = 0, words: int = 5) -> dict[str, Any]:
    """One document."""
    generator = np.random.default_rng([number, seed])
    text = " ".join(generator.choice(WORDS, size=words))
    return {"id": f"d{number}", "text": text, "n": number}


def records(first: int, last: int, seed: int = 0, words: int = 5) -> list[dict[str, Any]]:
    """Some documents."""
    return [record(number, seed, words) for number in range(first, last)]


def vectors_for(some: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector for each, which depends on its text alone."""
    encoder = HashedWords(DIMENSIONS, seed="v")
    return encoder.encode_documents([one["text"] for one in some])


def encoder() -> HashedWords:
    """Of the index of passages, and of the golden ones."""
    return HashedWords(ENCODER_DIMENSIONS)


def opened(path: Path) -> Index:
    """The index, with an encoder of its own kind."""
    index = Index.open(path)
    told = index.settings.get("encoder")
    if told is None:
        return index
    index.close()
    dimensions = told.get("dimensions")  # a damaged catalog may have lost them
    return Index.open(path, encoder=HashedWords(int(dimensions or ENCODER_DIMENSIONS)))


def changed(path: Path, kind: str, some: list[dict[str, Any]]) -> None:
    """Add, upsert or sync documents; with vectors where the index has no encoder."""
    with opened(path) as index:
        given = {} if index.contract is not None else {"embeddings": vectors_for(some)}
        getattr(index, kind)(some, **given)


def contents_of(index: Index) -> Contents:
    """What an index holds."""
    documents = list(index)
    rows = index.vectors([one.id for one in documents])
    return [
        (
            one.id,
            one.title,
            one.text,
            json.dumps(dict(one.metadata), sort_keys=True),
            some.tobytes(),
        )
        for one, some in zip(documents, rows, strict=True)
    ]


def check_answers(index: Index) -> None:
    """Search is exact, and says so: every score of the rows that are there, in float64."""
    if not len(index):
        return
    of_documents = index.vectors([one.id for one in index])
    firsts = np.cumsum([0, *map(len, of_documents[:-1])])
    rows = np.concatenate(of_documents).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    generator = np.random.default_rng(len(index))
    queries = generator.standard_normal((3, index.dimensions)).astype(np.float32)
    wide = queries.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    k = min(7, len(index))
    result = index.search_vectors(queries, k)
    assert result.certified.all()
    of_best_rows = np.maximum.reduceat(wide @ rows.T, firsts, axis=1)
    best = -np.sort(-of_best_rows, axis=1)[:, :k]
    np.testing.assert_allclose(result.scores, best, rtol=0, atol=2e-7)


def build_vectors(path: Path, count: int, **options: Any) -> None:
    """An index of vectors."""
    some = records(0, count)
    Index.build(some, path, embeddings=vectors_for(some), options=BuildOptions(**options)).close()


def build_passages(path: Path, count: int, **options: Any) -> None:
    """An index of passages."""
    some = records(0, count, words=20)
    Index.build(
        some,
        path,
        encoder=encoder(),
        options=BuildOptions(passages=8, **options),
    ).close()


@dataclass(frozen=True, slots=True)
class History:
    """Something that is done to an index, call by call.

    Attributes:
        prepare: make the index.
        steps: calls, each of which can be done again where the index holds what it held before it.
    """

    prepare: Callable[[Path], None]
    steps: tuple[Callable[[Path], None], ...]


def _mixed(path: Path) -> None:
    """Upsert, delete and change metadata, in one commit."""
    with opened(path) as index:
        some = [*records(3, 7, seed=1), {**record(9), "n": "other"}, *records(500, 503)]
        given = {} if index.contract is not None else {"embeddings": vectors_for(some)}
        with index.changes() as changes:
            changes.upsert(some, **given)
            changes.delete(["d1", "d12", "d30"], missing_ok=True)


def _synced(path: Path) -> None:
    some = [*records(0, 20), *records(25, 30, seed=1), *records(600, 606)]
    changed(path, "sync", some)


def _compacted(path: Path) -> None:
    with opened(path) as index:
        index.compact()


def _scattered_vectors(path: Path) -> None:
    """Several segments with graphs and gaps, and a tail."""
    build_vectors(path, 60, graph=True, segment_rows=24)
    with opened(path) as index:
        index.delete([f"d{number}" for number in range(0, 60, 3)])
        some = records(100, 106)
        index.add(some, embeddings=vectors_for(some))
        index.upsert([{**record(4), "n": "new"}], embeddings=vectors_for([record(4)]))


def _scattered_passages(path: Path) -> None:
    build_passages(path, 24, segment_rows=24)
    with opened(path) as index:
        index.delete([f"d{number}" for number in range(0, 24, 3)])
        index.add(records(100, 102, words=20))


def _nearly_merging(path: Path) -> None:
    """Three small segments: one more, and they are merged."""
    build_vectors(path, 20, segment_rows=200)
    for first in (100, 200):
        changed(path, "add", records(first, first + 20))
    with opened(path) as index:
        index.delete(["d2", "d105", "d106", "d219"])


def _golden(name: str) -> Callable[[Path], None]:
    def copy(path: Path) -> None:
        shutil.copytree(GOLDEN / name, path)

    return copy


def _upgraded(path: Path) -> None:
    upgrade_index(path)


def _taken(kind: str, some: list[dict[str, Any]]) -> Callable[[Path], None]:
    """A step that adds, upserts or syncs."""

    def take(path: Path) -> None:
        changed(path, kind, some)

    return take


HISTORIES: dict[str, History] = {
    "tail": History(lambda path: build_vectors(path, 30), (_taken("add", records(100, 101)),)),
    "large": History(
        lambda path: build_vectors(path, 40, segment_rows=48),
        (_taken("add", records(100, 180)), _mixed, _synced),
    ),
    "compact": History(_scattered_vectors, (_compacted,)),
    "upgrade": History(_golden("format-2"), (_upgraded, _taken("add", records(100, 102)))),
    "merge": History(_nearly_merging, (_taken("add", records(300, 320)),)),
    "passages": History(
        lambda path: build_passages(path, 16, segment_rows=48),
        (_taken("add", records(100, 130, words=20)), _mixed),
    ),
    "compact passages": History(_scattered_passages, (_compacted,)),
}


def compact(path: Path) -> None:
    """Compact, with nothing in memory but the index's own."""
    compact_index(Changing(path, lambda: None))
