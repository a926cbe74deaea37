"""Changes that were interrupted: they go on where they stopped, or are thrown away."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import qsearch.indexing.apply
import qsearch.indexing.changing
import qsearch.indexing.chunks
import qsearch.indexing.upkeep
import qsearch.store.editor
import qsearch.store.edits
from qsearch import (
    BuildOptions,
    ChangeInterrupted,
    CorpusError,
    Index,
    IndexWriteError,
    QueryError,
    upgrade_index,
)
from qsearch.store import FORMAT_VERSION
from tests.changes.helpers import ids, records, sound, sync_cut_short
from tests.cli.running import run
from tests.encoders import HashedWords

GOLDEN = Path(__file__).parent.parent / "store" / "golden"


def test_a_large_change_goes_on_where_it_stopped(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)

    class Stopping(HashedWords):
        def encode_documents(self, texts: Any, advance: Any = None) -> Any:
            if len(self.encoded) > stop_after:
                raise KeyboardInterrupt
            return super().encode_documents(texts, advance)

    stop_after = 100
    corpus = [*records(100, 100), *records(0, 5, "other")]
    stopping = Stopping()
    with pytest.raises(KeyboardInterrupt):
        Index.open(index.path, encoder=stopping).upsert(corpus)
    reader = Index.open(index.path)
    assert (len(reader), reader.commit) == (30, 1)
    assert sound(index)
    encoder = HashedWords()
    report = Index.open(index.path, encoder=encoder).upsert(corpus)
    assert report.resumed > 20
    assert len(encoder.encoded) - 15 <= 105 - report.resumed  # and the canaries
    index.refresh()
    assert index.get("d3").text == "other number 3"
    assert len(index) == 130
    assert sound(index)
    # What another change finds is thrown away.
    stopping = Stopping()
    with pytest.raises(KeyboardInterrupt):
        Index.open(index.path, encoder=stopping).sync([*records(300, 200), *records(0, 2)])
    with caplog.at_level(logging.WARNING, "qsearch"):
        index.delete("d3")
    assert "an earlier change" in caplog.text
    assert len(index) == 129
    assert sound(index)


def test_what_is_kept_of_an_interrupted_change_is_not_called_past(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past is what compact should remove; what was done of a change is what it should not."""
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)

    def broken() -> Iterator[dict[str, Any]]:
        yield from [{**one, "n": -1} for one in records(0, 3)]  # metadata only
        yield from records(5, 3, "other")
        yield from records(100, 60)
        raise KeyboardInterrupt

    assert index.unfinished is None
    with pytest.raises(KeyboardInterrupt):
        index.upsert(broken())
    reader = Index.open(index.path)
    assert reader.past == 0
    assert reader.unfinished is not None
    what, kept = reader.unfinished
    assert what == "upsert"
    assert 20 < kept <= 66
    output = run("info", str(index.path), cwd=index.path.parent).stdout
    told = (
        f"add --upsert, under way or interrupted: {kept} records are kept; the same command goes on"
    )
    assert re.search(
        rf"unfinished +{told}, another change \(also compact\) throws them away", output
    )
    assert "earlier commits" not in output
    copy = Index.open(shutil.copytree(index.path, index.path.parent / "copy"))
    copy.delete("d20")  # throws it away, and is all that is past
    assert (copy.unfinished, copy.past, len(copy)) == (None, 1, 29)
    report = index.compact()  # who asks for room gets it
    assert report.past == 0
    assert (index.unfinished, index.past, len(index)) == (None, 0, 30)
    index.delete("d0")
    assert index.past == 1
    assert sound(index)


def test_a_sync_that_was_cut_short_at_its_end_goes_on_there(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing in the corpus is gone by then."""
    corpus = records(20, 60)
    sync_cut_short(index, corpus, monkeypatch)
    assert len(Index.open(index.path)) == 30
    assert index.sync(corpus).resumed == 60
    assert ids(index) == [one["id"] for one in corpus]
    sync_cut_short(index, records(40, 60), monkeypatch)
    report = index.sync(records(40, 65))  # there is more behind them now
    assert (report.resumed, report.deleted) == (0, 20)
    assert ids(index) == [one["id"] for one in records(40, 65)]
    assert sound(index)


def test_fields_of_an_interrupted_change_are_those_of_the_commit(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog has its documents and its metadata already; nobody sees them, and nothing is damaged."""
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    index.index_fields("n")

    def stop(editor: Any) -> None:
        raise KeyboardInterrupt

    corpus = [{**one, "n": 1000} for one in [*records(0, 10), *records(100, 30)]]
    with monkeypatch.context() as patched:
        patched.setattr(qsearch.store.editor.IndexEditor, "_new_tail", stop)
        with pytest.raises(KeyboardInterrupt):
            index.upsert(corpus)
    assert sound(index)
    reader = Index.open(index.path)
    assert (reader.count("n < 1000"), reader.count("n = 1000")) == (30, 0)
    index.upsert(corpus)
    assert (index.count("n < 1000"), index.count("n = 1000")) == (20, 40)
    assert sound(index)


def test_a_corpus_that_changed_meanwhile_is_begun_anew(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)

    def broken(count: int) -> Iterator[dict[str, Any]]:
        yield from records(100, count)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(broken(60))
    changed = records(100, 60)
    changed[0]["text"] = "another"
    report = index.add(changed)
    assert (report.added, report.resumed) == (60, 0)
    assert "had read other records; what it had done is thrown away" in caplog.text
    assert index.get("d100").text == "another"
    with pytest.raises(KeyboardInterrupt):
        index.add({**one, "id": f"{one['id']}x"} for one in broken(60))
    with pytest.raises(CorpusError, match="run the same command again"):
        index.add(iter(records(500, 60)))
    assert index.add(iter(records(500, 60))).added == 60
    assert sound(index)


def test_metadata_of_a_change_that_was_cut_short_are_not_counted_yet(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields are counted as of the commit, before and behind what goes on."""
    corpus = [*({**one, "new": 1} for one in records(0, 30)), *records(30, 60)]
    sync_cut_short(index, corpus, monkeypatch)
    assert sound(index)
    assert index.sync(corpus).resumed
    assert sound(index)


def test_much_of_an_unfinished_change_is_thrown_away_in_parts(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when that is interrupted: with what is half gone nobody goes on."""
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    monkeypatch.setattr(qsearch.store.edits, "_THROWN_AWAY_AT_A_TIME", 7)
    index.index_text()
    before = list(index)
    corpus = [
        *({**one, "n": -1} for one in records(0, 9)),  # only metadata
        *records(10, 9, "another text of"),  # in the place of what goes
        *records(100, 60),
    ]

    def broken() -> Iterator[dict[str, Any]]:
        yield from corpus
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.upsert(broken())
    assert index.unfinished is not None
    real = qsearch.store.edits.DocumentEdits.thrown_away
    done: list[bool] = []
    stop = 0

    def stops(self: Any) -> Iterator[bool]:
        done.clear()
        for more in real(self):
            done.append(more)
            if len(done) == stop:
                raise ZeroDivisionError
            yield more

    monkeypatch.setattr(qsearch.store.edits.DocumentEdits, "thrown_away", stops)

    def copied() -> Index:
        place = index.path.with_name("copy")
        shutil.rmtree(place, ignore_errors=True)
        return Index.open(shutil.copytree(index.path, place), encoder=HashedWords())

    copied().delete("d1")
    parts = len(done)  # one of metadata, one of what went, and some of what came
    assert parts >= 5
    for last in range(1, parts + 1):
        stop, copy = last, copied()
        with pytest.raises(ZeroDivisionError):
            copy.delete("d1")
        assert done == [True] * last
        assert sound(copy)
        copy.refresh()
        stop = 0
        assert list(copy) == before
        again = copy.upsert(
            corpus
        )  # of the same purpose, and with what is half gone nobody goes on
        assert (again.added, again.replaced, again.metadata) == (60, 9, 9) or last == 1
        assert again.resumed == 0 or last == 1  # of the first part nothing was written yet
        assert len(copy) == 90
        assert sound(copy)
        assert len(copy.search("number 100", 5, mode="keywords")) > 0


# Deletions, compacting and upgrading


class Stops:
    """A progress that presses Ctrl-C when so much was done."""

    def __init__(self, after: int = 1 << 30, phase: str | None = None) -> None:
        self.after, self.phase = after, phase
        self.told: list[tuple[str, int, bool]] = []
        self.begun: list[tuple[str, int | None]] = []

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        self.begun.append((phase, total))

    def advance(self, count: int, *, resumed: bool = False) -> None:
        phase = self.begun[-1][0]
        self.told.append((phase, count, resumed))
        if self.phase in (None, phase) and not resumed:
            self.after -= count
            if self.after <= 0:
                raise KeyboardInterrupt

    def end(self) -> None:
        pass


@pytest.mark.parametrize("by", ["ids", "where", "a sync"])
def test_a_deletion_goes_on_where_it_stopped(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch, caplog: Any, by: str
) -> None:
    monkeypatch.setattr(qsearch.indexing.changing, "_DELETE_AT_A_TIME", 4)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 0)  # every step is kept
    index.add(records(30, 20))

    def delete(progress: Stops) -> Any:
        if by == "ids":
            return index.delete([f"d{number}" for number in range(22)], progress=progress)
        if by == "where":
            return index.delete(where="n < :n", params={"n": 22}, progress=progress)
        return index.sync(records(22, 28), progress=progress)

    with pytest.raises(ChangeInterrupted) as stopped:
        delete(Stops(10, "delete"))
    taken = 28 if by == "a sync" else 0
    assert stopped.value.kept == (taken or 12)
    with Index.open(index.path) as reader:
        assert (len(reader), reader.dead_rows) == (50, 0)
        assert reader.unfinished == ("sync" if taken else "delete", stopped.value.kept)
    assert sound(index)
    progress = Stops()
    with caplog.at_level(logging.WARNING, "qsearch"):
        report = delete(progress)
    assert not caplog.text
    assert report.resumed == stopped.value.kept
    assert report.deleted == (10 if taken else 22)
    assert ("delete", 10 if taken else 22) in progress.begun
    told = [(count, resumed) for phase, count, resumed in progress.told if phase == "delete"]
    assert told == [*([] if taken else [(12, True)]), (4, False), (4, False), (2, False)]
    assert ids(index) == [f"d{number}" for number in range(22, 50)]
    assert index.unfinished is None
    assert sound(index)


def test_another_deletion_throws_an_unfinished_one_away(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qsearch.indexing.changing, "_DELETE_AT_A_TIME", 4)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 0)
    for number, other in enumerate(
        (
            lambda: index.delete([f"d{one}" for one in range(8)]),  # the beginning of the same
            lambda: index.delete(where="n < 10"),
            lambda: index.delete(where="n < :n", params={"n": 11}),
        )
    ):
        first = 10 * number
        with pytest.raises(ChangeInterrupted):
            index.delete([f"d{one}" for one in range(8, 20)], missing_ok=True, progress=Stops(8))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "qsearch"):
            other()
        assert caplog.text.count("was interrupted (delete); what it had done is thrown away") == 1
        assert set(ids(index)) == {f"d{one}" for one in range(8 + number + (number > 0), 30)}, first
        assert sound(index)


def test_what_is_not_thrown_away_is_not_said_to_be(
    index: Index, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk may be full for that too; the room of the rows under way is given back first."""
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 0)
    with pytest.raises(ChangeInterrupted):
        index.add(records(100, 60), progress=Stops(40, "encode"))
    assert index.unfinished is not None
    pending = [
        one for one in (index.path / "segments").iterdir() if not (one / "int8.npy").exists()
    ]
    assert pending

    def refused(edits: Any) -> Iterator[bool]:
        raise IndexWriteError("the disk is full")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "qsearch"):
        patched.setattr(qsearch.store.edits.DocumentEdits, "thrown_away", refused)
        with pytest.raises(IndexWriteError, match="the disk is full"):
            index.delete("d1")
        assert "thrown away" not in caplog.text
        assert not any(one.exists() for one in pending)
    with caplog.at_level(logging.WARNING, "qsearch"):
        assert index.add(records(100, 60)).added == 60  # begins anew: its rows are gone
    assert sound(index)


def test_an_unknown_id_far_behind_keeps_nothing_of_the_deletion(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.changing, "_DELETE_AT_A_TIME", 4)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 0)
    with pytest.raises(QueryError, match="of the id 'x', nor of 1 more.*nothing was deleted"):
        index.delete([*(f"d{number}" for number in range(20)), "x", "y"])
    assert index.unfinished is None
    assert len(index) == 30


def test_compacting_goes_on_behind_the_segments_that_are_joined(
    tmp_path: Path, encoder: HashedWords, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 1)  # segments of 12 rows
    index = Index.build(
        records(0, 60), tmp_path / "index", encoder=encoder, options=BuildOptions(segment_rows=12)
    )
    index.delete([f"d{number}" for number in range(0, 60, 3)])
    reader = Index.open(index.path, encoder=encoder)
    expected = reader.search("cat number 17", 10)
    assert (reader.segments, reader.dead_rows) == (5, 20)
    with pytest.raises(
        ChangeInterrupted, match="answers as before; 2 segments are joined"
    ) as stopped:
        index.compact(progress=Stops(17, "merge"))
    assert (stopped.value.joined, stopped.value.commit) == (2, None)
    assert index.refresh()
    assert index.commit == reader.commit + 2
    assert index.dead_rows == 12
    assert index.search("cat number 17", 10) == reader.search("cat number 17", 10) == expected
    assert sound(index)
    again = Stops()
    report = index.compact(progress=again)
    assert (report.rows, report.past, report.segments) == (12, 20, (5, 5))
    assert [one for one in again.begun if one[0] in ("merge", "commit")] == [
        *[("merge", 8)] * 3,
        ("commit", 40),
    ]
    assert sum(count for phase, count, _ in again.told if phase == "commit") == 40
    assert (index.dead_rows, index.past) == (0, 0)
    assert index.search("cat number 17", 10) == reader.search("cat number 17", 10) == expected
    assert sound(index)
    # Behind the last commit there is nothing to be done again.
    index.delete("d1")
    told = r"the change is done \(commit \d+\)"
    with pytest.raises(ChangeInterrupted, match=told), monkeypatched_keep_up():
        index.compact()
    assert index.refresh()
    assert (index.dead_rows, index.past) == (0, 0)
    done = index.compact()
    assert (done.commit, done.seconds) == (index.commit, {})


def test_compacting_reports_the_commit_of_what_keeps_the_index_fast(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.delete("d1")
    index.compact()
    with monkeypatch.context() as patched:  # as if Ctrl-C had come before it was measured
        patched.setattr(qsearch.indexing.upkeep, "_LEAST_MEASURED", 20)
        before = index.commit
        report = index.compact()
        assert index.commit == report.commit == before + 1
        assert report.seconds
        assert (report.rows, report.past) == (0, 0)
        again = index.compact()
    assert (again.commit, again.seconds) == (report.commit, {})
    assert sound(index)


@contextmanager
def monkeypatched_keep_up() -> Iterator[None]:
    """Press Ctrl-C when a change is done and the index is kept fast."""

    def stop(index: Path, progress: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(qsearch.indexing.apply, "keep_up", stop)
        yield


def test_upgrading_tells_how_far_it_is(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "format-2", tmp_path / "old")
    progress = Stops()
    assert upgrade_index(tmp_path / "old", progress=progress) == (2, FORMAT_VERSION, False)
    with Index.open(tmp_path / "old") as index:
        assert progress.begun == [("upgrade", len(index))]
        assert sum(count for _, count, _ in progress.told) == len(index)
    shutil.copytree(GOLDEN / "format-2", tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        upgrade_index(tmp_path / "stopped", progress=Stops(1))
    assert upgrade_index(tmp_path / "stopped").before == 2
    with Index.open(tmp_path / "stopped") as index:
        assert sound(index)


def test_a_long_sync_that_finds_all_as_it_was_leaves_nothing(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at is kept every few seconds, so that readers do not wait."""
    monkeypatch.setattr(qsearch.store.editor, "_MOST_SECONDS", -1.0)
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 40)
    before = (index.path / "catalog.sqlite").stat().st_size

    def broken() -> Iterator[dict[str, Any]]:
        yield from records(0, 20)
        raise KeyboardInterrupt

    for interrupted in (False, True):
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                index.sync(broken())
            assert index.unfinished is not None
        report = index.sync(records(0, 30))
        assert (report.unchanged + report.resumed, report.resumed > 0) == (30, interrupted)
        assert (report.commit, index.commit, index.unfinished) == (1, 1, None)
        assert Index.open(index.path).unfinished is None
        assert sound(index)
    assert (index.path / "catalog.sqlite").stat().st_size <= before + 16_384
    with index.changes() as changes:
        changes.sync(records(0, 30))
    assert changes.report is not None
    assert (changes.report.commit, index.unfinished) == (1, None)
    assert index.sync(records(0, 29)).deleted == 1
    assert (index.commit, index.unfinished) == (2, None)
    assert sound(index)
