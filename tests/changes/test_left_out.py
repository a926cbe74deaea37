"""Records that nothing can be stored of: what becomes of them, and of what they would have replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.indexing.chunks
import qsearch.indexing.pipeline
from qsearch import BuildOptions, CorpusError, EncoderError, Index
from qsearch.store import IndexEditor
from tests.changes.helpers import ids, records, sound
from tests.encoders import HashedWords

SKIP = BuildOptions(skip_invalid=True)
NOTHING = {"id": "nothing", "text": "nothing"}  # is encoded to zeros


def vectors(tmp_path: Path, count: int = 4) -> Index:
    rows = np.eye(8, dtype=np.float32)[:count]
    texts = [{"id": f"v{number}", "text": f"text {number}"} for number in range(count)]
    return Index.build(texts, tmp_path / "vectors", embeddings=rows)


@pytest.fixture(params=["given", "encoded"])
def unstorable(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A corpus of which nothing can be stored, which vectors show at once and texts only when encoded."""
    if request.param == "given":
        many = [{"id": f"new{number}", "text": "x"} for number in range(20)]
        return {"corpus": many, "embeddings": np.full((20, 24), np.nan, dtype=np.float32)}
    return {"corpus": [NOTHING | {"id": f"new{number}"} for number in range(20)]}


def test_a_sync_of_which_nothing_can_be_stored_deletes_nothing(
    index: Index, unstorable: dict[str, Any]
) -> None:
    with pytest.raises(CorpusError, match="a sync would delete all 30 .*allow_empty=True"):
        index.sync(**unstorable, skip_invalid=True)
    assert (len(index), index.commit) == (30, 1)
    assert index.sync(**unstorable, skip_invalid=True, allow_empty=True).deleted == 30
    assert len(index) == 0


def test_what_an_interrupted_sync_could_not_store_is_deleted_all_the_same(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 1)
    nothing = [NOTHING | {"id": f"d{number}"} for number in range(20)]
    kept = records(20, 2)
    corpus = [*records(100, 20), *nothing, *kept, NOTHING | {"id": "d20"}, *records(200, 20)]
    done = 0
    own = IndexEditor.apply

    def apply(editor: IndexEditor, step: Any) -> None:
        nonlocal done
        if done >= 45:
            raise KeyboardInterrupt
        own(editor, step)
        done += step.records

    with monkeypatch.context() as patched:
        patched.setattr(IndexEditor, "apply", apply)
        patched.setattr(qsearch.indexing.chunks, "_CHUNK_ROWS", 9)
        with pytest.raises(KeyboardInterrupt):
            index.sync(corpus, skip_invalid=True)
    assert index.unfinished is not None
    kept_records = index.unfinished[1]
    assert kept_records >= 45  # all that is odd
    report = index.sync(corpus, skip_invalid=True)
    assert (report.resumed, report.rejected, report.deleted) == (kept_records, 21, 28)
    assert ids(index) == [one["id"] for one in (*kept, *records(100, 20), *records(200, 20))]
    assert sound(index)


def test_a_document_whose_new_text_cannot_be_stored_is_not_in_the_corpus(index: Index) -> None:
    corpus = [NOTHING | {"id": "d0"}, {"id": "d1", "text": "other"}, {"id": "d1", "text": "again"}]
    report = index.sync(corpus, skip_invalid=True)
    assert (report.replaced, report.rejected, report.deleted) == (1, 2, 29)
    assert [(one.id, one.text) for one in index] == [("d1", "other")]
    # An upsert says nothing of what it does not bring.
    assert index.upsert([NOTHING | {"id": "d1"}], skip_invalid=True).rejected == 1
    assert index.get("d1").text == "other"


def test_the_dry_run_knows_of_vectors_that_cannot_be_stored(tmp_path: Path) -> None:
    index = vectors(tmp_path)
    rows = np.eye(8, dtype=np.float32)[:3]
    rows[1] = 0.0
    corpus = [{"id": f"v{number}", "text": f"text {number}"} for number in range(3)]
    counts = []
    for dry_run in (True, False):
        done = index.sync(corpus, embeddings=rows, skip_invalid=True, dry_run=dry_run)
        counts.append((done.unchanged, done.replaced, done.rejected, done.deleted))
    assert counts == [(2, 0, 1, 2)] * 2
    assert ids(index) == ["v0", "v2"]


@pytest.mark.parametrize("between", [1, 3000])
@pytest.mark.parametrize("given", [True, False])
def test_an_id_counts_where_it_came_first_however_far_away(
    tmp_path: Path, between: int, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a text that only encoding shows to be nothing, the id is taken; a vector shows it before."""
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 2000)
    others = [{"id": f"f{number}", "text": "bird"} for number in range(between)]
    corpus = [NOTHING, *others, NOTHING | {"text": "cat"}]
    rows = np.ones((between + 2, 24), dtype=np.float32)
    rows[0] = 0.0
    embeddings, encoder = (rows, None) if given else (None, HashedWords())
    built = Index.build(
        corpus, tmp_path / "b", embeddings=embeddings, encoder=encoder, options=SKIP
    )
    first = [{"id": "a", "text": "a"}]
    changed = Index.build(
        first, tmp_path / "c", embeddings=rows[-1:] if given else None, encoder=encoder
    )
    changed.add(corpus, embeddings=embeddings, skip_invalid=True)
    assert ("nothing" in built) == ("nothing" in changed) == given
    assert len(built) == len(changed) - 1 == between + given


def test_what_one_run_may_leave_out_the_next_may_not(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 1)
    corpus = [*records(100, 50), NOTHING, *records(200, 50)]

    def stop(editor: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(IndexEditor, "_new_tail", stop)
        with pytest.raises(KeyboardInterrupt):
            index.add(corpus, skip_invalid=True)
    assert index.unfinished is not None
    with pytest.raises(CorpusError, match="'nothing' is zero"):
        index.add(corpus)
    assert (len(index), index.commit) == (30, 1)
    report = index.add(corpus, skip_invalid=True)  # who may goes on with what is kept
    assert (report.resumed, report.rejected, len(index)) == (101, 1, 130)


def test_a_build_that_may_not_leave_out_says_what_an_earlier_one_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    corpus = [*records(0, 50), NOTHING, *records(50, 50)]

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("qsearch.store.IndexWriter.seal", stop)
        with pytest.raises(KeyboardInterrupt):
            Index.build(corpus, tmp_path / "b", encoder=HashedWords(), options=SKIP)
    with pytest.raises(CorpusError, match="'nothing' is zero"):
        Index.build(corpus, tmp_path / "b", encoder=HashedWords())
    built = Index.build(corpus, tmp_path / "b", encoder=HashedWords(), options=SKIP)
    assert len(built) == 100


def test_vectors_of_one_block_are_numbered_one_behind_the_other(tmp_path: Path) -> None:
    rows = np.eye(8, dtype=np.float32)
    index = Index.build(None, tmp_path / "rows", embeddings=rows[:4])
    with index.changes() as changes:
        changes.upsert(embeddings=rows[4:6])
        changes.add(embeddings=rows[6:8])
    assert ids(index) == [str(number) for number in range(8)]
    assert (np.concatenate(index.vectors(ids(index))) == rows).all()


def test_a_file_that_grows_or_shrinks_while_it_is_read_is_told(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corpus.jsonl"
    lines = [f'{{"id": "d{number}", "text": "cat {number}"}}\n' for number in range(40)]
    own = qsearch.indexing.changing.survey

    def then_written(*arguments: Any, **named: Any) -> int:
        count = own(*arguments, **named)
        path.write_text("".join(lines[:after]))
        return count

    for after in (10, 40):
        path.write_text("".join(lines[:30]))
        with monkeypatch.context() as patched:
            patched.setattr("qsearch.indexing.changing.survey", then_written)
            patched.setattr("qsearch.indexing.build.survey", then_written)
            told = f"had 30 records at first, and {after} when they were read again"
            with pytest.raises(CorpusError, match=told):
                index.sync(path)
            path.write_text("".join(lines[:30]))
            with pytest.raises(CorpusError, match=told):
                Index.build(path, tmp_path / f"to{after}", encoder=HashedWords())
    assert (len(index), index.commit) == (30, 1)


def test_metadata_need_no_encoder(tmp_path: Path) -> None:
    index = vectors(tmp_path)
    corrected = [{"id": "v1", "text": "text 1", "year": 2020}]
    assert index.upsert(corrected).metadata == 1
    assert index.get("v1").metadata == {"year": 2020}
    assert index.sync([*index], dry_run=True).unchanged == 4
    told = (
        "without an encoder: the text of 'v1', which is another one or new, cannot be encoded; give"
    )
    for dry_run in (True, False):
        with pytest.raises(EncoderError, match=told):
            index.sync([{"id": "v1", "text": "other"}], dry_run=dry_run)
    with pytest.raises(EncoderError, match=told):
        index.upsert([{"id": "v1", "text": "other"}])
    with pytest.raises(EncoderError, match="texts cannot be encoded"):
        index.add([{"id": "new", "text": "other"}])
    assert len(index) == 4
    assert sound(index)
