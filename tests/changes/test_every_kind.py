"""Indexes of every kind are changed: of vectors, of passages, with graphs, of earlier formats, copies."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import qsearch.indexing.upkeep
import qsearch.store.editor
import qsearch.store.edits
import qsearch.store.merging
from qsearch import (
    BuildOptions,
    CorpusError,
    EncoderError,
    EncoderMismatch,
    Index,
    IndexFormatError,
)
from qsearch.store import FORMAT_VERSION
from tests.changes.helpers import ids, records, sound
from tests.encoders import HashedWords

GOLDEN = Path(__file__).parent.parent / "store" / "golden"


def test_an_index_of_vectors_takes_vectors(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    index = Index.build(None, tmp_path / "index", embeddings=rows[:20])
    assert index.add(embeddings=rows[20:30]).added == 10
    assert ids(index) == [str(number) for number in range(30)]
    assert index.ids(index.search_vectors(rows[25:26], 1).positions).tolist() == [["25"]]
    with pytest.raises(EncoderError, match="give a vector for each document"):
        index.add([{"id": "x", "text": "words"}])
    with pytest.raises(EncoderMismatch, match="has 3 dimensions, .* has 8"):
        index.add(embeddings=np.ones((2, 3)))
    with pytest.raises(CorpusError, match="2 records.*1 rows"):
        index.add([{"id": "x", "text": ""}, {"id": "y", "text": ""}], embeddings=rows[:1])
    with pytest.raises(CorpusError, match="neither documents nor embeddings"):
        index.add()
    # The same text with another vector is another document.
    report = index.upsert(
        [{"id": "3", "text": ""}, {"id": "4", "text": ""}], embeddings=rows[[3, 35]]
    )
    assert (report.unchanged, report.replaced) == (1, 1)
    (stored,) = index.vectors(["4"])
    assert stored.shape == (1, 8)
    np.testing.assert_allclose(stored[0], rows[35] / np.linalg.norm(rows[35]), rtol=1e-6)
    assert sound(index)


def test_another_encoder_is_refused_before_anything_is_added(index: Index) -> None:
    with pytest.raises(EncoderMismatch):
        Index.open(index.path, encoder=HashedWords(seed="b")).add(records(50, 1))
    assert Index.open(index.path, encoder=HashedWords(seed="b")).delete("d1").deleted == 1
    assert sound(index)


def test_passages_of_a_changed_index(tmp_path: Path, small: None) -> None:
    def text(number: int) -> str:
        return " ".join(f"w{number}s{i} is here." for i in range(number % 7 + 1))

    corpus = [{"id": str(number), "text": text(number)} for number in range(40)]
    options = BuildOptions(passages=12, overlap=4)
    encoder = HashedWords()
    index = Index.build(corpus[:10], tmp_path / "index", encoder=encoder, options=options)
    index.add(corpus[10:14])
    index.delete(["3", "11", "12"])
    index.add(corpus[14:])
    index.upsert([{"id": "5", "text": text(6)}, {"id": "20", "text": text(20)}])
    assert sound(index)
    for _ in range(2):
        for one in index:
            hit = index.search(one.text.split(".")[-2] + ".", 1)[0]
            assert hit.passage is not None
            assert hit.passage.text in hit.text
        assert len(index) == 37
        assert index.rows == sum(len(one) for one in index.vectors(ids(index)))
        index.compact()
        assert sound(index)


def test_small_segments_are_merged_and_graphs_made(tmp_path: Path, small: None) -> None:
    rows = np.random.default_rng(0).standard_normal((600, 8)).astype(np.float32)
    index = Index.build(
        None, tmp_path / "index", embeddings=rows[:50], options=BuildOptions(graph=True)
    )
    for first in range(50, 600, 10):
        index.add(embeddings=rows[first : first + 10])
    segments = len(list((index.path / "segments").iterdir()))
    assert segments < 14
    assert index.has_graph
    found = index.search_vectors(rows, 1, method="graph").positions[:, 0]
    assert (found == np.arange(600)).mean() > 0.9
    assert sound(index)
    reader = Index.open(index.path)
    index.delete([str(number) for number in range(0, 600, 2)])
    index.compact()
    assert reader.search_vectors(rows[:5], 1).positions[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert index.search_vectors(rows[:5], 1).positions[1::2, 0].tolist() == [1, 3]
    assert sound(index)


def test_compacting_gives_back_the_room(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 32)).astype(np.float32)
    corpus = [{"id": str(number), "text": "word " * 50} for number in range(len(rows))]
    index = Index.build(corpus, tmp_path / "index", embeddings=rows)
    index.delete([str(number) for number in range(0, len(rows), 2)])
    assert index.past == 2000
    report = index.compact()
    assert (report.rows, report.past) == (0, 2000) or report.rows == 2000
    assert report.bytes[1] < 0.6 * report.bytes[0]
    assert index.past == 0
    again = index.compact()
    assert again.commit == index.commit
    assert again.bytes[0] == again.bytes[1]
    assert sound(index)


def test_recall_is_measured_again_when_much_has_changed(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((9000, 16)).astype(np.float32)
    index = Index.build(None, tmp_path / "index", embeddings=rows[:5000])
    assert index.measured is not None
    assert (index.measured["rows"], index.measured["commit"]) == (5000, 1)
    index.add(embeddings=rows[5000:5900])
    assert index.measured["rows"] == 5000  # 900 rows more are searched exactly
    queries = generator.standard_normal((50, 16)).astype(np.float32)
    truth = index.search_vectors(queries, 10).positions
    found = index.search_vectors(queries, 10, recall=0.9).positions
    shared = [len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True)]
    assert np.mean(shared) >= 9.0
    index.add(embeddings=rows[5900:7500])
    assert index.measured["rows"] >= 7000
    index.delete([str(number) for number in range(500)])
    assert index.measured["rows"] == index.rows - sum(
        segment.rows for segment in index._open.segments if segment.id == "tail"
    )
    assert sound(index)


@pytest.mark.parametrize("name", ["format-1", "format-2", "passages-2"])
def test_the_first_change_upgrades_an_index(tmp_path: Path, name: str) -> None:
    path = tmp_path / "index"
    shutil.copytree(GOLDEN / name, path)
    reader = Index.open(path, encoder=HashedWords())
    before = [(one.id, one.text, one.title, one.metadata) for one in reader]
    index = Index.open(path, encoder=HashedWords())
    index.add([{"id": "added", "text": "some more words"}])
    assert (index.format, reader.format) == (FORMAT_VERSION, int(name[-1]))
    for one in (index, reader):
        assert [(d.id, d.text, d.title, d.metadata) for d in one][: len(before)] == before
    assert index.search("some more words", 1)[0].id == "added"
    assert sound(index)


def test_a_damaged_index_is_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "index"
    shutil.copytree(GOLDEN / "format-2", path)
    with sqlite3.connect(path / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE documents SET text = 'other' WHERE position = 1")
    catalog.close()
    index = Index.open(path, encoder=HashedWords())
    with pytest.raises(qsearch.IndexFormatError, match="are not what was written"):
        index.delete("4")
    assert index.format == Index.open(path).format == 2


def test_a_copy_is_an_index_of_its_own(index: Index, tmp_path: Path) -> None:
    index.delete("d1")
    index.add(records(50, 3))
    shutil.copytree(index.path, tmp_path / "copy")
    copy = Index.open(tmp_path / "copy", encoder=HashedWords())
    copy.delete("d2")
    assert len(copy) == 31
    assert len(Index.open(index.path)) == 32
    assert sound(copy)


def test_an_encoder_that_is_gone_stops_only_what_needs_it(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_CACHE", str(tmp_path / "cache"))
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    Index.build(records(0, 6), tmp_path / "index", encoder=str(model), device="cpu").close()
    shutil.rmtree(model)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # its export, which would do
    with Index.open(tmp_path / "index", device="cpu") as index:
        with pytest.raises(EncoderError, match="model"):
            index.add(records(10, 1))
        assert (index.commit, "d10" in index) == (1, False)
        assert index.upsert([{**records(2, 1)[0], "n": 5}]).metadata == 1
        assert index.delete("d1").deleted == 1
        index.compact()
        assert [one.metadata["n"] for one in index] == [0, 5, 3, 4, 5]
        assert sound(index)


def test_a_damaged_document_is_not_copied_into_a_new_catalog(index: Index) -> None:
    """Its fields and its words would be counted as if they were right."""
    index.delete("d3")
    with closing(sqlite3.connect(index.path / "catalog.sqlite")) as connection:
        changed = "UPDATE documents SET metadata = replace(metadata, '4', '9') WHERE id = 'd4'"
        assert connection.execute(changed).rowcount == 1
        connection.commit()
    for work in (index.compact, index.index_text):
        with pytest.raises(IndexFormatError, match="position 4 is not what was written; nothing"):
            work()
    assert index.commit == 2
