"""A build that failed is not stuck: what is unchanged is kept, and whatever is advised works."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qsearch.indexing.build
import qsearch.indexing.chunks
from qsearch import (
    BuildInterrupted,
    BuildOptions,
    CorpusError,
    EncoderMismatch,
    Index,
    IndexExists,
    IndexFormatError,
    verify_index,
)
from qsearch.store.pending import PendingSegment
from tests.encoders import HashedWords
from tests.indexing.test_build import (
    Interrupted,
    contents,
    documents,
    interrupted_after,
    small_chunks,
    write_jsonl,
)

__all__ = ["small_chunks"]  # used by every test here

RESTART = BuildOptions(restart=True)


def interrupt(
    records: Sequence[Any], path: Path, stop: int, options: BuildOptions | None = None
) -> None:
    """Begin a build that ends behind so many records."""
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(records, stop), path, encoder=HashedWords(), options=options)


def kept_in(target: Path) -> int:
    """Documents in the staging place, read without opening it for writing."""
    staging = target.with_name(target.name + ".building")
    if not staging.exists():
        return 0
    with sqlite3.connect(staging / "catalog.sqlite") as connection:
        found = connection.execute("SELECT max(documents) FROM chunks").fetchone()[0]
    connection.close()
    return int(found or 0)


def encoded(encoder: HashedWords, records: Sequence[dict[str, Any]]) -> int:
    texts = {f"{one['title']} {one['text']}" if one["title"] else one["text"] for one in records}
    return sum(text in texts for text in encoder.encoded)


# What made nothing durable leaves nothing behind


@pytest.mark.parametrize("rows", [19, 21])
@pytest.mark.parametrize("again", ["a list", "a file", "an iterator"])
def test_vectors_and_records_that_differ_in_number_leave_nothing_behind(
    tmp_path: Path, rows: int, again: str
) -> None:
    vectors = np.random.default_rng(0).standard_normal((30, 4))

    def corpus() -> Any:
        if again == "a file":
            return write_jsonl(tmp_path / "c.jsonl", documents(20))
        return documents(20) if again == "a list" else iter(documents(20))

    with pytest.raises(CorpusError, match=rf"has 20 records, <embeddings> has {rows} rows"):
        Index.build(corpus(), tmp_path / "i", embeddings=vectors[:rows])
    if again != "an iterator":
        assert not list(tmp_path.glob("i*"))
    with Index.build(corpus(), tmp_path / "i", embeddings=vectors[:20]) as index:
        assert len(index) == 20
    assert not list(tmp_path.glob("*.building"))


def test_a_pipe_with_fewer_records_than_vectors_makes_no_last_chunk_durable(
    tmp_path: Path,
) -> None:
    with pytest.raises(CorpusError, match="has 9 records, <embeddings> has 12 rows"):
        Index.build(iter(documents(9)), tmp_path / "i", embeddings=np.ones((12, 4)))
    assert not list(tmp_path.iterdir())


class Fails(HashedWords):
    """Fails at a text, as a remote service or a GPU without memory does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def encode_documents(
        self, texts: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        if any(self.text in text for text in texts):
            raise RuntimeError("out of memory")
        return super().encode_documents(texts, advance)


@pytest.mark.parametrize("concurrent", [False, True])
def test_an_encoder_that_fails_at_once_leaves_nothing_and_later_leaves_what_was_done(
    tmp_path: Path, concurrent: bool
) -> None:
    records = documents(60)
    for text, kept in ((records[2]["text"], 0), (records[40]["text"], 32)):
        encoder = Fails(text)
        encoder.concurrent = concurrent  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="out of memory"):
            Index.build(iter(records), tmp_path / "i", encoder=encoder)
        assert kept_in(tmp_path / "i") == kept
        assert bool(list(tmp_path.iterdir())) == bool(kept)
    mended = HashedWords()
    Index.build(records, tmp_path / "i", encoder=mended).close()
    assert encoded(mended, records) == 28


def test_a_build_of_rejects_alone_leaves_nothing_to_be_stuck_at(
    tmp_path: Path, encoder: HashedWords
) -> None:
    wrong = [{"id": str(n), "body": "cat"} for n in range(40)]
    skip = BuildOptions(skip_invalid=True)
    with pytest.raises(CorpusError, match="holds no valid document"):
        Index.build(iter(wrong), tmp_path / "i", encoder=encoder, options=skip)
    assert [path.name for path in tmp_path.iterdir()] == ["i.rejects.jsonl"]
    right = [{"id": str(n), "text": "cat"} for n in range(40)]
    assert len(Index.build(iter(right), tmp_path / "i", encoder=encoder, options=skip)) == 40


def test_directories_that_were_made_for_nothing_are_gone_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(CorpusError, match="is empty"):
        Index.build([], tmp_path / "mine" / "a" / "b" / "i", encoder=HashedWords())
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_build_that_was_killed_before_its_first_chunk_holds_nobody_to_its_settings(
    tmp_path: Path,
) -> None:
    records = documents(40)
    interrupt(records, tmp_path / "i", 20)
    # What a kill leaves before anything is durable: settings, a contract, and no chunk.
    with sqlite3.connect(tmp_path / "i.building" / "catalog.sqlite") as connection:
        for table in ("documents", "chunks"):
            connection.execute(f"DELETE FROM {table}")
    connection.close()
    other = HashedWords(dimensions=32, seed="b")
    with Index.build(records, tmp_path / "i", encoder=other) as index:
        assert (len(index), index.dimensions) == (40, 32)


# What is unchanged is kept


def test_a_record_mended_late_in_a_pipe_costs_what_lies_behind_it(tmp_path: Path) -> None:
    records = documents(60)
    broken = [*records[:40], {"id": "bad"}, *records[41:]]
    with pytest.raises(CorpusError, match="<documents>:41: no text"):
        Index.build(iter(broken), tmp_path / "i", encoder=HashedWords())
    encoder = HashedWords()
    Index.build(iter(records), tmp_path / "i", encoder=encoder).close()
    assert encoded(encoder, records) == 28
    Index.build(records, tmp_path / "reference", encoder=HashedWords()).close()
    assert contents(tmp_path / "i") == contents(tmp_path / "reference")


@pytest.mark.parametrize("segment_rows", [1, 20, 30, 48, 1000])
@pytest.mark.parametrize("changed", [16, 31, 33, 47, 70])
def test_a_corpus_changed_behind_its_first_chunk_gives_what_a_build_from_nothing_gives(
    tmp_path: Path, segment_rows: int, changed: int, caplog: pytest.LogCaptureFixture
) -> None:
    options = BuildOptions(segment_rows=segment_rows)
    records = documents(100)
    interrupt(records, tmp_path / "i", 90, options)
    kept = kept_in(tmp_path / "i")
    records[changed]["text"] = "another text"
    encoder = HashedWords()
    with caplog.at_level(logging.WARNING, "qsearch"):
        Index.build(records, tmp_path / "i", encoder=encoder, options=options).close()
    unchanged = changed // 16 * 16
    assert f"the text of document 'd{changed}' on line {changed + 1} is another" in caplog.text
    assert f"the first {unchanged} documents are kept, {kept - unchanged} behind" in caplog.text
    assert encoded(encoder, records) == 100 - unchanged
    Index.build(records, tmp_path / "j", encoder=HashedWords(), options=options).close()
    assert contents(tmp_path / "i") == contents(tmp_path / "j")
    assert verify_index(tmp_path / "i", deep=True).ok


def test_a_closed_segment_that_is_opened_again_loses_its_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = documents(60)
    options = BuildOptions(segment_rows=30, graph=True)

    def measure(*arguments: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(qsearch.indexing.build, "measure", measure)
        with pytest.raises(Interrupted):
            Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    records[20]["text"] = "another text"
    with Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options) as index:
        assert index.search("another text", 1, method="graph")[0].id == "d20"
    assert verify_index(tmp_path / "i", deep=True).ok
    assert len(list((tmp_path / "i").rglob("links.npy"))) == 2


CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "a text": (
        lambda records: records[20].update(text="x"),
        "the text of document 'd20' on line 21",
    ),
    "a title": (
        lambda records: records[20].update(title="x"),
        "the title of document 'd20' on line 21",
    ),
    "metadata": (
        lambda records: records[20].update(year=1),
        "the metadata of document 'd20' on line 21",
    ),
    "an id": (
        lambda records: records[20].update(id="x"),
        "there is document 'x' on line 21 where 'd20' was",
    ),
    "a deletion": (
        lambda records: records.pop(20),
        "there is document 'd21' on line 21 where 'd20' was",
    ),
    "an insertion": (
        lambda records: records.insert(20, {"id": "new", "text": "cat"}),
        "there is document 'new' on line 21 where 'd20' was",
    ),
    "its end": (lambda records: records.__delitem__(slice(16, None)), "it ends behind 16 records"),
    "its end in a chunk": (
        lambda records: records.__delitem__(slice(21, None)),
        "it has no document 'd21' behind that",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_named(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = documents(60)
    interrupt(records, tmp_path / "i", 50)
    CHANGES[change][0](records)
    with caplog.at_level(logging.WARNING, "qsearch"):
        Index.build(records, tmp_path / "i", encoder=HashedWords()).close()
    assert CHANGES[change][1] in caplog.text
    assert "the first 16 documents are kept, 32 behind them are done again" in caplog.text
    Index.build(records, tmp_path / "j", encoder=HashedWords()).close()
    assert contents(tmp_path / "i") == contents(tmp_path / "j")


@pytest.mark.parametrize("step", ["reopen", "take_back", "cut"])
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_while_chunks_are_taken_back_loses_nothing_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    options = BuildOptions(segment_rows=30)
    records = documents(130)
    interrupt(records, tmp_path / "i", 125, options)
    records[20]["text"] = "another text"
    calls: list[object] = []
    real = getattr(PendingSegment, step)

    def crash(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == (2 if step == "cut" else 1):  # the first cut is that of resuming
            if not before:
                real(*arguments)
            raise Interrupted
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PendingSegment, step, crash)
        with pytest.raises(Interrupted):
            Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    encoder = HashedWords()
    Index.build(records, tmp_path / "i", encoder=encoder, options=options).close()
    assert encoded(encoder, records) == 130 - 16
    Index.build(records, tmp_path / "j", encoder=HashedWords(), options=options).close()
    assert contents(tmp_path / "i") == contents(tmp_path / "j")


def test_mended_vectors_go_on_where_they_are_the_same(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 4))
    bad = vectors.copy()
    bad[40, 2] = np.nan
    for corpus in (None, documents(60)):
        target = tmp_path / f"i{corpus is None}"
        with pytest.raises(CorpusError, match=r"row 40 \(from 0\)"):
            Index.build(corpus, target, embeddings=bad)
        assert kept_in(target) == 32
        with Index.build(corpus, target, embeddings=vectors) as index:
            assert index.search_vectors(vectors[40:41], 1).positions.tolist() == [[40]]


def test_other_vectors_from_the_first_chunk_on_are_taken_instead(tmp_path: Path) -> None:
    """Nothing slow is lost with those that were there."""
    vectors = np.random.default_rng(0).standard_normal((60, 4))
    bad = vectors.copy()
    bad[40] = 0
    with pytest.raises(CorpusError, match="is zero"):
        Index.build(None, tmp_path / "i", embeddings=bad)
    with Index.build(None, tmp_path / "i", embeddings=-vectors) as index:
        assert index.search_vectors(-vectors[:1], 1).positions.tolist() == [[0]]


def test_vectors_are_compared_again_where_those_that_were_are_gone(tmp_path: Path) -> None:
    encoder = HashedWords()
    records = [{"id": str(n), "text": "" if n < 16 else f"cat {n}"} for n in range(60)]
    vectors = np.ones((60, 24), dtype=np.float32)
    vectors[16:] = encoder.encode_documents([one["text"] for one in records[16:]])
    bad = vectors.copy()
    bad[50] = np.nan
    with pytest.raises(CorpusError, match="row 50"):
        Index.build(iter(records), tmp_path / "i", encoder=encoder, embeddings=bad)
    foreign = vectors.copy()
    foreign[16:] = HashedWords(seed="b").encode_documents([one["text"] for one in records[16:]])
    with pytest.raises(EncoderMismatch, match="the cosine is"):
        Index.build(iter(records), tmp_path / "i", encoder=encoder, embeddings=foreign)
    Index.build(iter(records), tmp_path / "i", encoder=encoder, embeddings=vectors).close()


# What cannot go on says so, and how to


def test_another_corpus_is_not_put_in_the_place_of_what_took_long(tmp_path: Path) -> None:
    records = documents(60)
    interrupt(records, tmp_path / "i", 40)
    records[3]["text"] = "another text"
    with pytest.raises(
        CorpusError,
        match="is not the corpus of the interrupted build, which has 32 documents done: the text of "
        r"document 'd3' on line 4 is another; .* or add BuildOptions\(restart=True\)",
    ):
        Index.build(records, tmp_path / "i", encoder=HashedWords())
    with pytest.raises(CorpusError, match="<documents>: is empty"):
        Index.build([], tmp_path / "i", encoder=HashedWords())
    assert kept_in(tmp_path / "i") == 32
    index = Index.build(records, tmp_path / "i", encoder=HashedWords(), options=RESTART)
    assert "another text" in [hit.text for hit in index.search("another text", 60)]


def test_other_settings_are_named_and_restart_takes_them(tmp_path: Path) -> None:
    records = documents(60)
    interrupt(records, tmp_path / "i", 40)
    other = BuildOptions(segment_rows=7)
    with pytest.raises(IndexExists, match=r"segment rows was 1048576, is 7.*restart=True"):
        Index.build(records, tmp_path / "i", encoder=HashedWords(), options=other)
    with pytest.raises(EncoderMismatch, match=r"(?s)Finish it with that one.*restart=True"):
        Index.build(records, tmp_path / "i", encoder=HashedWords(seed="b"))
    assert kept_in(tmp_path / "i") == 32
    other = dataclasses.replace(other, restart=True)
    encoder = HashedWords(seed="b", dimensions=32)
    Index.build(records, tmp_path / "i", encoder=encoder, options=other).close()


def test_a_build_that_an_earlier_version_began_in_other_chunks_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = documents(100)
    with monkeypatch.context() as patch:
        patch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 40)
        with pytest.raises(Interrupted):
            Index.build(interrupted_after(records, 90), tmp_path / "i", encoder=HashedWords())
    with sqlite3.connect(tmp_path / "i.building" / "catalog.sqlite") as connection:
        (build,) = connection.execute("SELECT value FROM settings WHERE key = 'build'").fetchone()
        earlier = {
            **json.loads(build),
            "records in a chunk": 2048,
            "characters in a chunk": 1 << 25,
        }
        connection.execute(
            "UPDATE settings SET value = ? WHERE key = 'build'", (json.dumps(earlier),)
        )
    connection.close()
    encoder = HashedWords()
    Index.build(records, tmp_path / "i", encoder=encoder).close()
    assert encoded(encoder, records) == 20
    Index.build(records, tmp_path / "j", encoder=HashedWords()).close()
    first, second = contents(tmp_path / "i"), contents(tmp_path / "j")
    assert first.pop("chunks") != second.pop("chunks")
    assert first == second


# How much is lost


def test_a_reader_of_chunks_loses_no_record_however_often_it_looks_ahead() -> None:
    from qsearch.documents import Document
    from qsearch.indexing.chunks import ChunkReader, chunk_limit

    def stream() -> Iterator[Document]:  # which would end if anybody closed it
        yield from (Document(str(n), "") for n in range(40_000))

    reader = ChunkReader(stream(), chunk_limit(None, given=True, passages=False))
    found = [one.id for one in reader.take(3)]  # type: ignore[union-attr]
    while reader.has_more():
        chunk = reader.next()
        reader.put_back(chunk)
        assert reader.next() == chunk
        found += [one.id for one in chunk]  # type: ignore[union-attr]
    assert found == [str(n) for n in range(40_000)]
    assert reader.next() == []


def test_a_chunk_ends_by_what_is_encoded_of_its_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from qsearch.documents import Document
    from qsearch.indexing.chunks import ChunkReader, chunk_limit

    class Cut(HashedWords):
        def identity(self) -> Any:
            return dataclasses.replace(super().identity(), max_length=256)

    def sizes(text: str, encoder: HashedWords, *, passages: bool = False) -> list[int]:
        records = (Document(str(n), text) for n in range(5000))
        limit = chunk_limit(encoder, given=False, passages=passages)
        reader = ChunkReader(records, limit)
        return [len(reader.next()) for _ in range(2)]

    assert sizes("x" * 100, Cut()) == [328, 328]
    assert sizes("x" * 1280, Cut()) == [26, 26]
    # What is cut costs nothing, and all that is encoded counts.
    assert sizes("x" * 100_000, Cut()) == [26, 26]
    assert sizes("x" * 100_000, HashedWords()) == [1, 1]
    assert sizes("x" * 100_000, Cut(), passages=True) == [1, 1]
    assert sizes("語" * 427, Cut()) == [26, 26]  # 1,281 bytes
    assert sizes("x", Cut()) == [2048, 2048]
    wants_many = Cut()
    wants_many.documents_at_once = 300  # type: ignore[attr-defined]
    assert sizes("x" * 1280, wants_many) == [300, 300]


def interrupt_after(records: list[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    yield from records[:count]
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("count", "kept", "told"),
    [(5, 0, "no document was finished, nothing is kept"), (40, 32, "32 documents are finished")],
)
def test_ctrl_c_says_how_many_documents_are_kept(
    tmp_path: Path, count: int, kept: int, told: str
) -> None:
    records = documents(60)
    with pytest.raises(BuildInterrupted, match=told) as caught:
        Index.build(interrupt_after(records, count), tmp_path / "i", encoder=HashedWords())
    assert caught.value.kept == kept == kept_in(tmp_path / "i")

    class Slow(HashedWords):
        def identity(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(BuildInterrupted) as caught:
        Index.build(records, tmp_path / "i", encoder=Slow())
    assert caught.value.kept == (None if kept else 0)
    assert kept_in(tmp_path / "i") == kept


def test_a_build_that_lacks_memory_to_go_on_is_not_to_be_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = BuildOptions(segment_rows=30)
    records = documents(130)
    interrupt(records, tmp_path / "i", 125, options)

    def refused(*ignored: Any, **options: Any) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as patch:
        patch.setattr("qsearch.store.segment.map_file", refused)
        for _ in range(2):  # when all is stored, and when that is taken up again
            with pytest.raises(IndexFormatError, match="no room.* for further maps") as raised:
                Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
            assert "restart" not in str(raised.value)
            assert kept_in(tmp_path / "i") == 130
    encoder = HashedWords()
    Index.build(records, tmp_path / "i", encoder=encoder, options=options).close()
    assert encoded(encoder, records) == 0
