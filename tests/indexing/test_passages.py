"""Building an index of documents that are split into passages."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest

import qsearch.indexing.chunks
from qsearch import (
    BuildOptions,
    CorpusError,
    Index,
    IndexExists,
    IndexFormatError,
    verify_index,
)
from tests.encoders import HashedWords
from tests.indexing.test_build import Interrupted, contents, interrupted_after
from tests.indexing.towns import OPTIONS, town


@pytest.mark.parametrize("count", [0, 16, 45])
@pytest.mark.parametrize("segment_rows", [100, 10_000])
def test_a_resumed_build_equals_an_uninterrupted_one(
    tmp_path: Path, count: int, segment_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 16)
    options = BuildOptions(passages=20, overlap=6, segment_rows=segment_rows)
    records = town(60)
    Index.build(records, tmp_path / "reference", encoder=HashedWords(), options=options)
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(records, count),
            tmp_path / "index",
            encoder=HashedWords(),
            options=options,
        )
    if count:
        other = dataclasses.replace(options, overlap=5)
        with pytest.raises(IndexExists, match='"overlap": 6.*"overlap": 5'):
            Index.build(records, tmp_path / "index", encoder=HashedWords(), options=other)
        pending = tmp_path / "index.building" / "segments" / "pending" / "passages.npy"
        if segment_rows > 1000:
            with open(pending, "ab") as file:
                file.write(b"not committed" * 5)
    Index.build(records, tmp_path / "index", encoder=HashedWords(), options=options)
    first, second = contents(tmp_path / "index"), contents(tmp_path / "reference")
    for one in (first, second):
        one["settings"].pop("tuning")  # holds times
    assert first == second
    assert verify_index(tmp_path / "index", deep=True).ok


def test_a_document_falls_with_a_passage_that_has_no_vector(tmp_path: Path) -> None:
    records = town(20)
    records[7]["text"] = "cat dog bird fish tree house river street. nothing"
    records[10]["text"] = "not a number"
    options = BuildOptions(passages=8)
    with pytest.raises(CorpusError, match="embedding of document 'd7' is zero"):
        Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    options = dataclasses.replace(options, skip_invalid=True)
    index = Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    assert len(index) == 18
    rest = [one for one in records if one["id"] not in ("d7", "d10")]
    plain = Index.build(rest, tmp_path / "rest", encoder=HashedWords(), options=options)
    for name in ("vectors.npy", "passages.npy"):
        first, second = (next(one.path.rglob(name)).read_bytes() for one in (index, plain))
        assert first == second
    assert verify_index(index.path, deep=True).ok


def test_chunks_of_long_documents_end_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 1000)
    index = Index.build(town(30), tmp_path / "i", encoder=HashedWords(), options=OPTIONS)
    with sqlite3.connect(index.path / "catalog.sqlite") as catalog:
        chunks = catalog.execute("SELECT documents, rows FROM chunks ORDER BY number").fetchall()
    catalog.close()
    assert len(chunks) >= 8
    assert chunks[-1] == (30, index.rows)


def test_an_interrupted_build_of_the_format_before_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(town(4000), 3000), tmp_path / "i", encoder=HashedWords())
    with sqlite3.connect(tmp_path / "i.building" / "catalog.sqlite") as catalog:
        for name in ("field_blocks", "field_values", "indexed", "fields"):
            catalog.execute(f"DROP TABLE {name}")
        catalog.execute("PRAGMA user_version = 3")
    catalog.close()
    with pytest.raises(IndexFormatError, match="it is of index format 3.*restart=True"):
        Index.build(town(30), tmp_path / "i", encoder=HashedWords())
    options = BuildOptions(restart=True)
    assert len(Index.build(town(30), tmp_path / "i", encoder=HashedWords(), options=options)) == 30
