"""Indexes that are tampered with: made once, placed again for each input, and asked for everything they
have.

What must hold, whatever the catalog and the files say:

- Nothing but errors of qsearch's own.
- What a search certifies is what brute force over the rows that it had opened gives, where no code is
  damaged: docs/exactness.md says which damage in codes is met, and which is not.
- What ``verify --deep`` finds sound can be opened, read completely, searched and changed, and is sound
  then.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import xxhash

from qsearch import Index, QsearchError, verify_index
from qsearch.retrieval import Tuning
from qsearch.retrieval.tuning import Curve, Level, Point, Took
from qsearch.store import Catalog
from qsearch.store.columns import _checksum as block_checksum
from qsearch.store.format import FIELDS_VERSION
from qsearch.store.rows import row_checksum, sample_row
from qsearch.store.schema import DIGESTED
from tests.encoders import HashedWords
from tests.faults import recorded
from tests.faults.fuzzing import Wrong, folder
from tests.faults.recorded import record, records, vectors_for

CATALOG = "catalog.sqlite"

FORMS = ("vectors", "passages", "format-1", "format-2", "format-3", "passages-4")

CHANGES = ("nothing", "upsert", "delete", "sync", "resume", "compact")
"""What is done to an index behind all else."""

_CONDITION = "n > 20"

_QUERIES = 3
_SCORE = 2e-6
"""Rows may be this far from unit length before they count as damaged, and a score with them."""


@cache
def sound(form: str) -> Path:
    """An index of this form, without fault."""
    path = folder() / form
    with mock.patch("os.fsync"):
        if form not in _MAKE:
            shutil.copytree(recorded.GOLDEN / form, path)
            return path
        recorded.small_sizes()
        _MAKE[form](path)
        _measure(path)
        _interrupt(path)
    report = verify_index(path, deep=True)
    if not report.ok:
        raise RuntimeError(f"{form}: {report.problems}")
    return path


def _make_vectors(path: Path) -> None:
    """Three segments with graphs, one with gaps and one with a mask; a tail, and metadata that were
    replaced."""
    recorded.build_vectors(path, 40, graph=True, segment_rows=24, index_fields=("n",))
    with recorded.opened(path) as index:
        index.delete([f"d{number}" for number in range(0, 24, 2)])
        index.compact()
        some = records(100, 118)
        index.add(some, embeddings=vectors_for(some))
        index.delete(["d3", "d104"])
        index.upsert([{**record(5), "n": "new"}], embeddings=vectors_for([record(5)]))
        some = records(300, 303)
        index.add(some, embeddings=vectors_for(some))


def _make_passages(path: Path) -> None:
    """The same of passages, by text."""
    recorded.build_passages(path, 12, segment_rows=36)
    with recorded.opened(path) as index:
        index.delete([f"d{number}" for number in (1, 4, 5)])
        index.compact()
        index.add(records(100, 110, words=20))
        index.delete(["d3", "d103"])
        index.add(records(300, 302, words=20))


_MAKE = {"vectors": _make_vectors, "passages": _make_passages}


def _measure(path: Path) -> None:
    """What small indexes lack: recall that was measured, and the queries it was measured with."""
    levels = (Level(0.0, 0.9, 0.8, 0.0), Level(2.0, 0.99, 0.97, 0.25, 0.1))
    points = tuple(
        Point(
            count, 0.95, 0.01 * count, levels, 0.02 * count, 0.9, Took(0.02 * count, 0.02 * count)
        )
        for count in (8, 32)
    )
    curves = tuple(
        Curve(k, k, 8, 5.0, points, 9.0, exact_one_thread=Took(18.0, 10.0)) for k in (1, 10)
    )
    tuning = Tuning("documents", 9, 3, 90, curves, 2)
    catalog = Catalog.change(path)
    with closing(catalog):
        catalog.put_settings({"tuning": tuning.to_json()})
        dimensions = catalog.settings()["dimensions"]
        queries = np.random.default_rng(3).standard_normal((4, dimensions))
        catalog.put_samples(queries.astype(np.float32))
        catalog.put_settings({"catalog_xxh3": catalog.digest()})


class _Enough(BaseException):
    """Stops a change as Ctrl-C does."""


def _interrupt(path: Path) -> None:
    """Leave a change unfinished, with steps that are kept."""
    some = interrupted()

    def stopped() -> Any:
        yield from some[: 2 * len(some) // 3]
        raise KeyboardInterrupt

    with recorded.opened(path) as index, suppress(KeyboardInterrupt):
        given: dict[str, Any] = (
            {} if index.contract is not None else {"embeddings": vectors_for(some)}
        )
        index.add(stopped(), **given)


@cache
def interrupted() -> list[dict[str, Any]]:
    """The records of the change that was stopped."""
    return records(700, 745, words=20)


@cache
def _synced() -> list[dict[str, Any]]:
    return records(0, 30)


class Place:
    """Where copies of indexes are made, one after the other. Arrays are linked: nothing writes into them.

    Attributes:
        path: of the copy.
        touched: files of it, below the index, that are not what they were.
    """

    def __init__(self, name: str) -> None:
        """Have nothing there."""
        self.path = folder() / name
        self.touched: set[str] = set()
        self._form: str | None = None

    def put(self, form: str) -> Path:
        """A copy of the sound index of this form; where there is one, only what was touched is put back."""
        origin = sound(form)
        names = self.touched if form == self._form else _files(form)
        if form != self._form:
            shutil.rmtree(self.path, ignore_errors=True)
        for name in names:
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                target.rmdir()
            target.unlink(missing_ok=True)
            os.link(origin / name, target)
        for old in self.path.glob("catalog.sqlite*"):
            old.unlink()
        shutil.copyfile(origin / CATALOG, self.path / CATALOG)
        self._form, self.touched = form, set()
        return self.path

    def was_changed(self) -> None:
        """Any file of it may be another now."""
        self._form = None


@cache
def _files(form: str) -> tuple[str, ...]:
    """All but the catalog."""
    origin = sound(form)
    return tuple(
        str(path.relative_to(origin))
        for path in sorted(origin.rglob("segments/*/*"))
        if path.is_file()
    )


@cache
def place() -> Place:
    """The one that all inputs of a process have."""
    return Place("case")


# Checksums made right again


def make_right(connection: sqlite3.Connection, *, rows: bool, catalog: bool) -> None:
    """Give a catalog the checksums that it would have if it had been written so.

    What cannot have one, because a value is of a type that no writer stores, keeps the old.

    Args:
        connection: to it.
        rows: those of single rows of documents, tail, earlier metadata and sample queries.
        catalog: those of segments, settings and lists.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if rows and version >= 3:
        _make_rows_right(connection, version)
    if rows and version < 3:
        _make_documents_right(connection, version)
    if not catalog:
        return
    digest = xxhash.xxh3_128()
    with suppress(TypeError, ValueError, sqlite3.Error):
        for query in DIGESTED[version]:
            for row in connection.execute(query):
                digest.update(json.dumps(row, ensure_ascii=True).encode("ascii"))
        connection.execute(
            "UPDATE settings SET value = ? WHERE key = 'catalog_xxh3'",
            (json.dumps(digest.hexdigest()),),
        )


def _checksum(table: str, values: list[Any]) -> int:
    if table == "samples":
        return sample_row(*values)[-1]
    return block_checksum(*values) if table == "field_blocks" else row_checksum(values)


def _make_rows_right(connection: sqlite3.Connection, version: int) -> None:
    for table, columns in (
        ("documents", "position, id, title, text, metadata, line, came"),
        ("earlier", "position, until, metadata, line"),
        ("tail", "row, position, first, last, vector"),
        ("samples", "number, vector"),
        ("field_values", "field, code, kind, value"),
        ("field_blocks", "field, block, kinds, vals"),
    ):
        if version < FIELDS_VERSION and table.startswith("field_"):
            continue
        for row in connection.execute(f"SELECT {columns}, xxh3 FROM {table}").fetchall():
            *values, before = row
            with suppress(TypeError, ValueError, sqlite3.Error):
                if table == "tail":
                    values[-1] = xxhash.xxh3_64_hexdigest(values[-1])
                right = _checksum(table, values)
                if right != before:
                    names = columns.split(", ")[:2]
                    where = " AND ".join(f"{name} IS ?" for name in names)
                    connection.execute(
                        f"UPDATE {table} SET xxh3 = ? WHERE {where}", (right, *row[:2])
                    )


def _make_documents_right(connection: sqlite3.Connection, version: int) -> None:
    first, count = ("first_position", "rows") if version == 1 else ("first_document", "documents")
    with suppress(TypeError, ValueError, sqlite3.Error):
        for name, begin, number in connection.execute(
            f"SELECT id, {first}, {count} FROM segments"
        ).fetchall():
            digest = xxhash.xxh3_128()
            for row in connection.execute(
                "SELECT position, id, title, text, metadata, line FROM documents "
                "WHERE position >= ? AND position < ? ORDER BY position",
                (begin, begin + number),
            ):
                digest.update(json.dumps(row, ensure_ascii=True).encode("ascii"))
            connection.execute(
                "UPDATE segments SET documents_xxh3 = ? WHERE id = ?", (digest.hexdigest(), name)
            )


# Asking for everything


def told(index: Path) -> list[str]:
    """What ``verify --deep`` has against it. What it calls by the name of an exception is a fault of
    ours."""
    try:
        return list(verify_index(index, deep=True).problems)
    except QsearchError as error:
        return [str(error)]


def opened(index: Path, form: str) -> Index:
    """Opened with an encoder of its kind."""
    return Index.open(index, encoder=_encoder(16 if form == "passages" else 24))


class _Remembering(HashedWords):
    """The same vectors: most texts are the canaries, each time an index is opened."""

    def __init__(self, dimensions: int, seed: str = "a") -> None:
        super().__init__(dimensions, seed)
        self._remembered = cache(super()._embed)

    def _embed(self, text: str) -> Any:
        return self._remembered(text)


@cache
def _encoder(dimensions: int, seed: str = "a") -> HashedWords:
    return _Remembering(dimensions, seed)


def ask(index: Index) -> dict[str, Any]:
    """Everything that reads; each part that ends in an error of qsearch's own is left out."""
    queries = np.random.default_rng(1).standard_normal((_QUERIES, index.dimensions))
    found: dict[str, Any] = {}

    def part(name: str, work: Callable[[], Any]) -> None:
        with suppress(QsearchError):
            found[name] = work()

    def ranked(k: int, **options: Any) -> Any:
        result = index.search_vectors(queries, k, **options)
        return result.positions.tolist(), result.scores.tolist(), result.certified.tolist()

    part("exact", lambda: ranked(5))
    part("many", lambda: ranked(40))
    part("recall", lambda: ranked(5, recall=0.9))
    part("graph", lambda: ranked(3, method="graph"))
    part("binary", lambda: ranked(3, method="binary", candidates=30))
    part("hits", lambda: _hits(index, queries))
    part("documents", lambda: [(one.id, one.title, one.text, one.metadata) for one in index])
    part("text", lambda: [(hit.id, hit.score) for hit in index.search("cat dog", 4)])
    part("got", lambda: [index.get(one[0]).text for one in found.get("documents", [])[:1]])
    part("fields", lambda: index.fields)
    part("count", lambda: index.count(_CONDITION, missing_fields_ok=True))
    part("where", lambda: ranked(5, where=_CONDITION, missing_fields_ok=True))
    part("found", lambda: [one.id for one in index.find(_CONDITION, missing_fields_ok=True)])
    part("vectors", lambda: [len(one) for one in index.vectors(["d5", "d9"])])
    part("told", lambda: _told(index))
    part("contract", lambda: index.contract and index.contract.identity)
    return found


def _hits(index: Index, queries: Any) -> list[Any]:
    results = index.search_by_vectors(queries[:1], 40, explain=True)
    return [(hit.id, hit.text, hit.score, hit.passage) for hit in results[0]]


def _told(index: Index) -> list[Any]:
    return [
        len(index), index.rows, index.commit, index.measured, index.segments, index.dead_rows,
        index.past, index.has_graph, index.format, index.settings, index.tuning, repr(index),
        "d5" in index,
    ]  # fmt: skip


def check_certified(index: Index, found: dict[str, Any]) -> None:
    """What is certified is what brute force over the rows that were opened gives.

    Raises:
        Wrong: it is not.
    """
    try:
        best = _brute_force(index)
    except QsearchError:
        return
    for name in ("exact", "many", "recall"):
        if name not in found:
            continue
        for of_query, positions, scores, certified in zip(best, *found[name], strict=True):
            if name != "recall" and not certified:
                raise Wrong(f"{name}: an exact search is not certified")
            if not certified:
                continue
            there = [one for one in positions if one >= 0]
            expected = np.sort(np.array(list(of_query.values())))[::-1][: len(positions)]
            if len(there) != min(len(positions), len(of_query)):
                raise Wrong(
                    f"{name}: {len(there)} documents of {len(of_query)} for {len(positions)}"
                )
            given = np.array(scores[: len(there)])
            mine = np.array([of_query.get(one, np.nan) for one in there])
            for other in (expected, mine):
                if not np.allclose(given, other, rtol=0, atol=_SCORE):
                    raise Wrong(f"{name}: certified {given}, brute force gives {other}")


def _brute_force(index: Index) -> list[dict[int, float]]:
    """For each query the score of every document that lives."""
    queries = np.random.default_rng(1).standard_normal((_QUERIES, index.dimensions))
    wide = queries.astype(np.float32).astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    best: list[dict[int, float]] = [{} for _ in wide]
    for segment in index._open.segments:
        rows = np.arange(segment.rows)
        if segment.living is not None:
            rows = rows[segment.living.to_bools()]
        documents = segment.documents_of(rows).tolist()
        with np.errstate(all="ignore"):
            scores = segment.vectors[rows].astype(np.float64) @ wide.T
        for position, of_row in zip(documents, scores.tolist(), strict=True):
            for query, score in enumerate(of_row):
                before = best[query].get(position, -np.inf)
                best[query][position] = max(before, score)
    return best


def examine(
    index: Path, form: str, change: str, *, codes_sound: bool
) -> tuple[list[str], dict[str, Any] | None]:
    """Ask an index for everything, change it, and ask again.

    Args:
        index: the directory.
        form: of it.
        change: one of ``CHANGES``.
        codes_sound: whether the files of its segments are what they were.

    Returns:
        What ``verify`` told, and what was found; ``None`` where it cannot be opened.
    """
    problems = told(index)
    found = None
    try:
        reader = opened(index, form)
    except QsearchError as error:
        if not problems:
            raise Wrong("verify finds nothing, and it cannot be opened") from error
    else:
        with reader:
            found = ask(reader)
            if codes_sound or not problems:
                check_certified(reader, found)
            if not problems:
                _check_complete(reader, found)
            _change(reader, index, change, problems)
    return problems, found


_MOST_POSITIONS = 1 << 28
"""Of more an index may tell, and a condition takes more memory than the fuzzing has."""


def _check_complete(index: Index, found: dict[str, Any]) -> None:
    """An index without fault answers everything but what it has not."""
    if index.settings.get("positions", 0) > _MOST_POSITIONS:
        return
    needed = {"exact", "many", "binary", "hits", "documents", "told"}
    missing = needed - found.keys()
    if missing and len(index):
        raise Wrong(f"verify finds nothing, and there is no answer for {sorted(missing)}")
    if len(found["documents"]) != len(index):
        raise Wrong(f"verify finds nothing, {len(index)} documents are {len(found['documents'])}")
    numbers = [one[-1].get("n") for one in found["documents"]]
    expected = sum(isinstance(one, int | float) and one > 20 for one in numbers)
    if found.get("count") != expected:
        raise Wrong(
            f"verify finds nothing, {expected} documents that are asked for are {found.get('count')}"
        )


def _change(index: Index, path: Path, change: str, problems: list[str]) -> None:
    """A change is made, or refused in words; what was sound is sound then, and holds what it should."""
    if change not in CHANGES[1:]:
        return
    place().was_changed()
    some = {"resume": interrupted, "sync": _synced}.get(change, _one)()
    given: dict[str, Any] = {}
    try:
        if index.contract is None:
            given = {"embeddings": _vectors(index, some)}
        if change == "compact":
            index.compact()
        elif change == "delete":
            index.delete([one.id for one in index][:3])
        elif change == "sync":
            index.sync(some, **given)
        else:
            index.upsert(some, **given)
    except QsearchError:
        return
    left = told(path)
    if left and not problems:
        raise Wrong(f"{change}: what was sound is damaged then: {left}")
    found = ask(index)
    if not problems:
        check_certified(index, found)
    if not problems and change in ("upsert", "resume", "sync"):
        there = {one[0] for one in found["documents"]}
        if not {one["id"] for one in some} <= there:
            raise Wrong(f"{change}: what was stored is not there")


@cache
def _one() -> list[dict[str, Any]]:
    return [record(990, words=20)]


def _vectors(index: Index, some: list[dict[str, Any]]) -> Any:
    return _encoder(index.dimensions, "v").encode_documents([one["text"] for one in some])
