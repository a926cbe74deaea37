"""Whatever an index has been through, its words are those of the documents that it holds."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.indexing.chunks
import qsearch.store.editor
import qsearch.store.merging
from qsearch import BuildOptions, Index, IndexFormatError, IndexWriteError, QueryError, verify_index
from tests.encoders import HashedWords

GOLDEN = Path(__file__).parent.parent / "store" / "golden"
QUERIES = ["cat", "dogs run", '"the cat"', "river city cat the", "number 7", "naïve"]
WORDS = "the cat dog dogs run runs river city naïve king number".split()


def record(number: int, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng([number, seed])
    words = generator.choice(WORDS, size=generator.integers(1, 12))
    title = {"title": " ".join(generator.choice(WORDS, size=2))} if number % 3 else {}
    return {"id": f"d{number}", "text": " ".join(words) + f" {number}", **title}


def answers(index: Index, mode: str = "keywords") -> list[list[tuple[str, float]]]:
    results = index.search_batch(QUERIES, 100, mode=mode)  # type: ignore[arg-type]
    return [[(hit.id, hit.score) for hit in result] for result in results]


def as_built_anew(index: Index, path: Path) -> list[list[tuple[str, float]]]:
    told = index.text_index
    assert told is not None
    options = BuildOptions(text_index=True, language=told["language"], force=True)
    with Index.build(list(index), path, encoder=HashedWords(), options=options) as fresh:
        return answers(fresh)


def sound(index: Index) -> bool:
    report = verify_index(index.path)
    assert not report.problems
    assert "catalog.sqlite: text index" in report.checked
    return report.ok


@pytest.fixture(params=["en", "ja"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Index:
    return Index.build(
        [record(number) for number in range(30)],
        tmp_path / "index",
        encoder=HashedWords(),
        options=BuildOptions(text_index=True, language=request.param),
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tails and steps of few rows, so that little is much."""
    monkeypatch.setattr(qsearch.store.merging, "_STEP_ROWS", 5)
    monkeypatch.setattr(qsearch.store.editor, "TAIL_ROWS", 8)
    monkeypatch.setattr(qsearch.store.merging, "TAIL_ROWS", 8)


def test_every_history_gives_the_ranking_of_a_new_index(
    index: Index, tmp_path: Path, small: None
) -> None:
    steps: list[Callable[[], object]] = [
        lambda: index.add([record(number) for number in range(30, 60)]),
        lambda: index.delete([f"d{number}" for number in range(0, 40, 3)]),
        lambda: index.upsert([record(number, 1) for number in range(10, 20)]),
        lambda: index.upsert([{**record(41), "n": 1}]),  # metadata alone
        lambda: index.sync([record(number, number % 2) for number in range(5, 50)]),
        index.compact,
        lambda: index.add([record(number) for number in range(100, 103)]),
        index.index_text,
        lambda: index.sync([record(5)]),
    ]
    for number, step in enumerate(steps):
        step()
        assert answers(index) == as_built_anew(index, tmp_path / "fresh"), number
        assert sound(index)


def test_documents_that_come_and_go_in_one_change_leave_no_words(
    index: Index, tmp_path: Path, small: None
) -> None:
    with index.changes() as changes:
        changes.add(
            [{"id": "x", "text": "zebra cat"}, {"id": "y", "title": "zebra", "text": "dog"}]
        )
        changes.delete(["x", "d3"])
        changes.upsert([{"id": "y", "text": "giraffe"}, {"id": "d4", "text": "giraffe cat"}])
        changes.add([record(number) for number in range(50, 70)])
        changes.delete("d55")
    assert not index.search("zebra", mode="keywords")
    assert {hit.id for hit in index.search("giraffe", mode="keywords")} == {"y", "d4"}
    assert answers(index) == as_built_anew(index, tmp_path / "fresh")
    assert sound(index)


def test_an_exception_leaves_the_words_as_they_were(index: Index, small: None) -> None:
    before = answers(index)
    more = [record(number) for number in range(100, 150)]
    with pytest.raises(QueryError), index.changes() as changes:  # noqa: PT012 (what is undone)
        changes.add(more)
        changes.delete("d100")
        changes.delete("nobody")
    assert answers(index) == before
    assert sound(index)


def test_a_reader_answers_from_its_commit(index: Index) -> None:
    reader = Index.open(index.path, encoder=HashedWords())
    early = Index.open(index.path, encoder=HashedWords())
    before = answers(index)
    assert answers(reader) == before
    index.upsert([record(number, 1) for number in range(20)])
    index.delete("d29")
    assert answers(reader) == before
    assert answers(early) == before  # it had read nothing so far
    index.compact()
    assert answers(reader) == before
    index.index_text(drop=True)
    assert answers(reader) == answers(early) == before
    index.index_text(language="en")
    assert reader.refresh()
    assert answers(reader) == answers(index)


def stopping(count: int) -> Iterator[dict[str, Any]]:
    yield from (record(number) for number in range(100, 100 + count))
    raise KeyboardInterrupt


def test_what_was_interrupted_is_resumed_with_its_words(
    index: Index, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    before = answers(index)
    with pytest.raises(KeyboardInterrupt):
        index.add(stopping(60))
    assert answers(Index.open(index.path, encoder=HashedWords())) == before
    assert sound(index)
    report = index.add([record(number) for number in range(100, 170)])
    assert report.resumed > 0
    assert answers(index) == as_built_anew(index, tmp_path / "fresh")
    assert sound(index)


def test_what_was_interrupted_and_thrown_away_leaves_no_words(
    index: Index,
    tmp_path: Path,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 200)
    with pytest.raises(KeyboardInterrupt):
        index.add(stopping(60))
    with sqlite3.connect(index.path / "catalog.sqlite") as connection:
        kept = connection.execute("SELECT count(*) FROM documents WHERE id = 'd110'").fetchone()[0]
    connection.close()
    assert kept == 1
    with caplog.at_level(logging.WARNING, "qsearch"):
        index.upsert([{"id": "d110", "text": "zebra"}])
    assert "thrown away" in caplog.text
    assert [hit.id for hit in index.search("zebra", mode="keywords")] == ["d110"]
    assert answers(index) == as_built_anew(index, tmp_path / "fresh")
    assert sound(index)


def test_a_text_index_can_be_dropped_and_made_again(index: Index) -> None:
    before, told = answers(index), index.text_index
    with_it = (index.path / "catalog.sqlite").stat().st_size
    report = index.index_text(drop=True)
    assert (report.language, report.tokenizer, index.text_index) == (None, None, None)
    assert report.bytes[1] < report.bytes[0]
    assert (index.path / "catalog.sqlite").stat().st_size < with_it
    assert verify_index(index.path).ok
    for mode in ("keywords", "hybrid"):
        with pytest.raises(QueryError, match=r"has no text index.*Index.index_text makes one"):
            index.search("cat", mode=mode)  # type: ignore[arg-type]
    assert index.search("cat", mode="meaning")
    commit = index.commit
    assert index.index_text(drop=True).commit == commit  # nothing was to be done
    assert told is not None
    index.index_text(language=told["language"])
    assert answers(index) == before
    assert sound(index)


def test_the_language_stays_unless_another_is_asked_for(index: Index) -> None:
    told = index.text_index
    index.index_text()
    assert index.text_index == told
    index.index_text(language="fr")
    assert index.text_index == {"language": "fr", "tokenizer": "unicode61 remove_diacritics 2"}


def test_a_language_that_is_none_is_told(index: Index) -> None:
    with pytest.raises(ValueError, match="language must be a code as 'en', found 3"):
        index.index_text(language=3)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="'German' is no ISO 639 code of a language; give .*as en, de"
    ):
        index.index_text(language="German")
    with pytest.raises(ValueError, match="a language is one of the text index that is made"):
        index.index_text(language="en", drop=True)


def test_an_index_of_passages_speaks_their_language(tmp_path: Path) -> None:
    index = Index.build(
        [{"id": "a", "text": "Die Katze. Der Hund."}],
        tmp_path / "i",
        encoder=HashedWords(),
        options=BuildOptions(passages=8, language="de"),
    )
    assert index.index_text().language == "de"


def test_a_build_without_or_with_it_goes_on_with_or_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that was cut short behind the making of the text index."""
    records = [record(number) for number in range(20)]

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    for first, then in ((True, False), (False, True), (True, True)):
        with monkeypatch.context() as patched:
            patched.setattr(qsearch.store.writer, "sync_directory", stop)
            with pytest.raises(KeyboardInterrupt):
                Index.build(
                    records,
                    tmp_path / "i",
                    encoder=HashedWords(),
                    options=BuildOptions(text_index=first, force=True),
                )
        options = BuildOptions(text_index=then, force=True)
        with Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options) as index:
            assert (index.text_index is not None) == then
            assert verify_index(index.path).ok


@pytest.mark.parametrize("name", ["format-1", "format-2", "format-3"])
def test_an_index_of_an_earlier_format_gets_one(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copytree(GOLDEN / name, tmp_path / "index"))
    index = Index.open(path, encoder=HashedWords())
    assert index.text_index is None
    with pytest.raises(QueryError, match="has no text index"):
        index.search("cat", mode="keywords")
    index.index_text()
    assert [hit.id for hit in index.search("cats", mode="keywords")] == ["cat", "late"]
    assert answers(index) == as_built_anew(index, tmp_path / "fresh")
    assert sound(index)


def test_no_write_is_needed_to_search(index: Index, tmp_path: Path) -> None:
    before = answers(index)
    index.close()
    for path in [*index.path.rglob("*"), index.path]:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    copied = {path: path.read_bytes() for path in index.path.rglob("*") if path.is_file()}
    with Index.open(index.path, encoder=HashedWords()) as opened:
        assert answers(opened) == before
    assert verify_index(index.path).ok
    assert {path: path.read_bytes() for path in index.path.rglob("*") if path.is_file()} == copied


# Damage


def spoil(index: Index, script: str) -> None:
    connection = sqlite3.connect(index.path / "catalog.sqlite")
    connection.executescript(script)
    connection.commit()
    connection.close()


DAMAGES = {
    "blocks of zeros": "UPDATE text_index_data SET block = zeroblob(length(block))",
    "blocks of noise": "UPDATE text_index_data SET block = randomblob(length(block)) WHERE id > 10",
    "blocks that are gone": "DELETE FROM text_index_data WHERE id > 10",
    "no sizes": "DELETE FROM text_index_docsize",
    "sizes of others": "UPDATE text_index_docsize SET sz = x'7f7f'",
    "sizes that do not end": "UPDATE text_index_docsize SET sz = x'ffff'",
    "a rank function": "INSERT INTO text_index_config VALUES ('rank', 'highlight(0, 1, 2)')",
    "another version": "UPDATE text_index_config SET v = 5",
    "other texts": "UPDATE documents SET text = 'zebra' WHERE position = 1",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_searches_by_meaning_do_without_it(index: Index, damage: str) -> None:
    before = answers(index, "meaning")
    spoil(index, DAMAGES[damage])
    opened = Index.open(index.path, encoder=HashedWords())
    if damage != "other texts":
        assert answers(opened, "meaning") == before
    problems = verify_index(index.path).problems
    assert any("text index" in one and "Index.index_text" in one for one in problems)
    try:
        answers(opened)
    except IndexFormatError as error:
        assert "Index.index_text makes it anew" in str(error)  # noqa: PT017


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "other texts"])
def test_damage_is_mended_by_making_it_anew(index: Index, damage: str) -> None:
    before = answers(index)
    spoil(index, DAMAGES[damage])
    opened = Index.open(index.path, encoder=HashedWords())
    opened.index_text()
    assert answers(opened) == before
    assert sound(opened)


def test_a_change_of_a_damaged_text_index_is_refused_with_what_mends_it(index: Index) -> None:
    spoil(index, DAMAGES["a rank function"])
    opened = Index.open(index.path, encoder=HashedWords())
    with pytest.raises(IndexFormatError, match="Index.index_text makes it anew"):
        opened.add([record(99)])
    assert (len(opened), opened.commit) == (30, 1)


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE text_index_docsize",
        "CREATE TABLE text_index_content (id INTEGER PRIMARY KEY, c0)",
        "CREATE TRIGGER t AFTER INSERT ON text_index_data BEGIN DELETE FROM documents; END",
        "DROP TABLE text_index",
        "CREATE VIRTUAL TABLE more USING fts5(a)",
        "DROP TABLE text_index; CREATE VIRTUAL TABLE text_index USING fts5(title, text)",
        "DROP TABLE text_index; CREATE TABLE text_index (title, text)",
        "DROP TABLE text_index; CREATE VIEW text_index AS SELECT title, text FROM documents",
        """DROP TABLE text_index; CREATE VIRTUAL TABLE text_index USING fts5(title, text,
        content='settings', content_rowid='position', tokenize='trigram')""",
    ],
)
def test_no_other_table_is_let_in_beside_it(index: Index, script: str) -> None:
    if script == "DROP TABLE text_index":  # as a whole it may be missing
        spoil(index, script)
        assert Index.open(index.path).text_index is None
        return
    try:
        spoil(index, script)
    except sqlite3.DatabaseError:  # SQLite itself refuses
        return
    with pytest.raises(IndexFormatError, match="qsearch did not make it"):
        Index.open(index.path)


def test_a_python_without_fts5_is_told(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "qsearch.store.text_index.text_index_statement",
            lambda tokenizer: "CREATE VIRTUAL TABLE text_index USING fts9(a)",
        )
        with pytest.raises(IndexWriteError, match="needs SQLite with FTS5"):
            index.index_text()
    assert index.commit == 1
    assert sound(Index.open(index.path))
