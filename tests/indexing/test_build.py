"""Building: what is kept, what is refused, what is resumed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.indexing.build
import qsearch.indexing.chunks
from qsearch import (
    BuildOptions,
    CorpusError,
    Document,
    EncoderMismatch,
    Index,
    IndexBusy,
    IndexExists,
    IndexFormatError,
    verify_index,
)
from qsearch.store.format import GRAPH_ARRAYS
from tests.conftest import ROOT
from tests.encoders import WORDS, HashedWords


def documents(count: int, seed: int = 0) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [
        {
            "id": f"d{number}",
            "title": f"title {number}" if number % 3 else None,
            "text": " ".join(generator.choice(WORDS, size=generator.integers(3, 12))),
            "year": int(generator.integers(1900, 2000)),
            "tags": ["a", {"b": None}],
        }
        for number in range(count)
    ]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 16)
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ROWS", 16)


def contents(index: Path) -> dict[str, Any]:
    """All that an index holds, apart from when and by what it was made."""
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        tables = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("documents", "segments", "files", "canaries", "chunks", "rejects")
        }
        settings = dict(connection.execute("SELECT key, value FROM settings").fetchall())
    connection.close()
    for volatile in ("created", "catalog_xxh3", "replaces", "corpus"):
        settings.pop(volatile)
    files = {
        str(path.relative_to(index)): path.read_bytes()
        for path in sorted(index.rglob("*"))
        if path.is_file() and path.name != "catalog.sqlite"
    }
    return {"settings": settings, "files": files, **tables}


class Interrupted(Exception):
    pass


def interrupted_after(records: list[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    yield from records[:count]
    raise Interrupted


def test_everything_about_a_document_comes_back(tmp_path: Path, encoder: HashedWords) -> None:
    records = documents(40)
    index = Index.build(records, tmp_path / "index", encoder=encoder)
    result = index.search("title 7", k=40)
    by_id = {hit.id: hit for hit in result}
    assert len(by_id) == len(index) == 40
    for record in records:
        hit = by_id[record["id"]]
        assert (hit.text, hit.title) == (record["text"], record["title"])
        assert hit.metadata == {"year": record["year"], "tags": record["tags"]}


def test_the_title_is_encoded_in_front_of_the_text(tmp_path: Path, encoder: HashedWords) -> None:
    Index.build(
        [Document("1", "cat dog", "king"), Document("2", "fish")],
        tmp_path / "index",
        encoder=encoder,
    )
    assert "king cat dog" in encoder.encoded
    assert "fish" in encoder.encoded


def test_an_index_is_its_catalog_and_its_segments(tmp_path: Path, encoder: HashedWords) -> None:
    Index.build(documents(40), tmp_path / "i", encoder=encoder).close()
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == [
        "catalog.sqlite",
        "segments",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_rows_are_the_embeddings_normalised_in_document_order(
    tmp_path: Path, encoder: HashedWords
) -> None:
    records = documents(50)
    index = Index.build(records, tmp_path / "index", encoder=encoder)
    texts = [f"{r['title']} {r['text']}" if r["title"] else r["text"] for r in records]
    embeddings = encoder.encode_documents(texts).astype(np.float64)
    expected = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    (segment,) = (tmp_path / "index" / "segments").iterdir()
    assert np.allclose(np.load(segment / "vectors.npy"), expected, atol=1e-7)
    assert index.settings["documents"] == 50


@pytest.mark.parametrize("segment_rows", [1, 40, 1000])
def test_segments_do_not_change_answers(
    tmp_path: Path, encoder: HashedWords, segment_rows: int
) -> None:
    records = documents(100)
    whole = Index.build(records, tmp_path / "whole", encoder=encoder)
    parts = Index.build(
        records,
        tmp_path / "parts",
        encoder=encoder,
        options=BuildOptions(segment_rows=segment_rows),
    )
    for query in ("cat", "king of the river", "title 5"):
        assert whole.search(query, 20) == parts.search(query, 20)
    assert verify_index(tmp_path / "parts", deep=True).ok


@pytest.mark.parametrize("count", [0, 1, 16, 17, 45, 99])
@pytest.mark.parametrize("segment_rows", [30, 1000])
def test_a_resumed_build_equals_an_uninterrupted_one(
    tmp_path: Path, count: int, segment_rows: int
) -> None:
    records = documents(100)
    options = BuildOptions(segment_rows=segment_rows)
    Index.build(records, tmp_path / "reference", encoder=HashedWords(), options=options)
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(records, count),
            tmp_path / "index",
            encoder=HashedWords(),
            options=options,
        )
    durable = count // 16 * 16
    state = "half written.*run the same Index.build" if durable else "there is no index"
    with pytest.raises(IndexFormatError, match=state):
        Index.open(tmp_path / "index")
    encoder = HashedWords()
    Index.build(records, tmp_path / "index", encoder=encoder, options=options)
    assert contents(tmp_path / "index") == contents(tmp_path / "reference")
    texts = [text for text in encoder.encoded if text in {r["text"] for r in records}]
    titled = [text for text in encoder.encoded if text.startswith("title ")]
    assert len(texts) + len(titled) == 100 - durable
    assert not (tmp_path / "index.building").exists()


def test_a_resumed_build_refuses_another_encoder(tmp_path: Path) -> None:
    records = documents(60)
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(records, 40), tmp_path / "i", encoder=HashedWords())
    with pytest.raises(
        EncoderMismatch, match=r"(?s)another encoder.*canary.*add BuildOptions\(restart"
    ):
        Index.build(records, tmp_path / "i", encoder=HashedWords(seed="b"))
    with pytest.raises(IndexExists, match="dimensions was 24, is 32"):
        Index.build(records, tmp_path / "i", encoder=HashedWords(dimensions=32))


def test_an_index_is_replaced_only_when_asked_and_complete(
    tmp_path: Path, encoder: HashedWords
) -> None:
    target = tmp_path / "i"
    old = Index.build(documents(20), target, encoder=encoder)
    before = contents(target)
    with pytest.raises(IndexExists, match=r"add BuildOptions\(force=True\)"):
        Index.build(documents(30), target, encoder=encoder)
    force = BuildOptions(force=True)
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(documents(30), 20), target, encoder=encoder, options=force)
    assert contents(target) == before
    assert len(Index.open(target, encoder=encoder)) == 20
    new = Index.build(documents(30), target, encoder=encoder, options=force)
    assert len(new) == 30
    assert len(old.search("cat", 50)) == 20  # an open index goes on reading what it opened
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_a_directory_that_is_no_index_is_never_replaced(
    tmp_path: Path, encoder: HashedWords
) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    with pytest.raises(IndexExists, match="not a qsearch index"):
        Index.build(documents(5), target, encoder=encoder, options=BuildOptions(force=True))
    assert (target / "thesis.tex").read_text() == "years of work"


def test_a_crash_between_exchange_and_deletion_is_cleaned_up(
    tmp_path: Path, encoder: HashedWords
) -> None:
    target = tmp_path / "i"
    Index.build(documents(20), target, encoder=encoder)
    (tmp_path / "copy").mkdir()
    target.rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", target)
    Index.build(documents(30), target, encoder=encoder, options=BuildOptions(force=True))
    # What such a crash leaves: the new index in place, the old one under the staging name.
    (tmp_path / "old").rename(tmp_path / "i.building")
    Index.build(documents(40), target, encoder=encoder, options=BuildOptions(force=True))
    assert len(Index.open(target)) == 40


def test_the_same_where_the_old_index_is_of_the_format_before(
    tmp_path: Path, encoder: HashedWords
) -> None:
    target, old = tmp_path / "i", ROOT / "tests" / "store" / "golden" / "format-1"
    shutil.copytree(old, target)
    force = BuildOptions(force=True)
    Index.build(documents(20), target, encoder=encoder, options=force)
    shutil.copytree(old, tmp_path / "i.building")
    Index.build(documents(30), target, encoder=encoder, options=force).close()
    assert [path.name for path in tmp_path.iterdir()] == ["i"]
    assert len(Index.open(target)) == 30


def test_an_old_index_that_was_not_deleted_is_deleted_by_the_next_build(
    tmp_path: Path, encoder: HashedWords
) -> None:
    Index.build(documents(5), tmp_path / "old", encoder=encoder).close()
    (tmp_path / "old").rename(tmp_path / ".i.abc.replaced")
    other = tmp_path / ".i.mine.replaced"
    other.mkdir()
    (other / "thesis.txt").write_text("a")
    Index.build(documents(5), tmp_path / "i", encoder=encoder).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".i.mine.replaced", "i"]
    assert (other / "thesis.txt").read_text() == "a"


@pytest.mark.parametrize("name", ["i.building", "i.replaced"])
def test_names_that_are_kept_for_building_are_refused(
    tmp_path: Path, encoder: HashedWords, name: str
) -> None:
    with pytest.raises(IndexExists, match="cannot be the name of an index"):
        Index.build(documents(5), tmp_path / name, encoder=encoder)


@pytest.mark.parametrize("name", ["i", "i.building"])
def test_a_directory_with_anything_else_in_it_is_never_deleted(
    tmp_path: Path, encoder: HashedWords, name: str
) -> None:
    Index.build(documents(5), tmp_path / name.removesuffix(".building"), encoder=encoder).close()
    if name == "i.building":
        (tmp_path / "i").rename(tmp_path / name)
    (tmp_path / name / "thesis.txt").write_text("a")
    with pytest.raises(IndexExists):
        Index.build(
            documents(9),
            tmp_path / "i",
            encoder=encoder,
            options=BuildOptions(force=True, restart=True),
        )
    assert (tmp_path / name / "thesis.txt").read_text() == "a"


def test_a_link_stays_a_link(tmp_path: Path, encoder: HashedWords) -> None:
    Index.build(documents(5), tmp_path / "disk" / "i", encoder=encoder).close()
    (tmp_path / "i").symlink_to(tmp_path / "disk" / "i")
    Index.build(
        documents(9), tmp_path / "i", encoder=encoder, options=BuildOptions(force=True)
    ).close()
    assert (tmp_path / "i").is_symlink()
    assert len(Index.open(tmp_path / "disk" / "i")) == 9


def test_two_segments_of_equal_rows_are_two(tmp_path: Path) -> None:
    """A segment is named by its content, and that may be there twice."""
    vectors = np.tile(np.eye(8, dtype=np.float32), (6, 1))
    options = BuildOptions(segment_rows=16)
    index = Index.build(None, tmp_path / "i", embeddings=vectors, options=options)
    found = index.search_vectors(np.eye(8, dtype=np.float32)[:1], k=6).positions
    assert found.tolist() == [[0, 8, 16, 24, 32, 40]]


def test_an_interrupted_build_with_a_graph_may_be_finished_without(
    tmp_path: Path, encoder: HashedWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = documents(90)
    options = BuildOptions(segment_rows=32, graph=True)
    made = []

    def build_graph(*arguments: Any) -> Any:
        if made:
            raise Interrupted
        made.append(real(*arguments))
        return made[0]

    real = qsearch.indexing.build.build_graph
    monkeypatch.setattr(qsearch.indexing.build, "build_graph", build_graph)
    with pytest.raises(Interrupted):
        Index.build(records, tmp_path / "i", encoder=encoder, options=options)
    assert len(list((tmp_path / "i.building").rglob("links.npy"))) == 1
    without = BuildOptions(segment_rows=32)
    with Index.build(records, tmp_path / "i", encoder=encoder, options=without) as index:
        assert not index.has_graph
    assert not [
        one
        for one in (tmp_path / "i").rglob("*")
        if one.name in [array.name for array in GRAPH_ARRAYS]
    ]
    Index.build(records, tmp_path / "j", encoder=encoder, options=without).close()
    assert contents(tmp_path / "i") == contents(tmp_path / "j")


def test_two_builds_of_one_index_exclude_each_other(tmp_path: Path) -> None:
    def corpus() -> Iterator[dict[str, Any]]:
        yield from documents(20)
        with pytest.raises(IndexBusy, match="another process is building"):
            Index.build(documents(5), tmp_path / "i", encoder=HashedWords())
        yield {"id": "last", "text": "cat"}

    assert len(Index.build(corpus(), tmp_path / "i", encoder=HashedWords())) == 21


@pytest.mark.parametrize(
    ("records", "line", "message"),
    [
        (
            [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}],
            2,
            "duplicate id 'a', first used on line 1",
        ),
        ([{"id": "a", "text": "x"}, {"id": "b"}], 2, "no text"),
        ([{"id": "a", "text": "  "}], 1, "is empty"),
        ([{"id": "a", "text": "nothing"}], 1, "embedding of document 'a' is zero"),
        ([{"id": "a", "text": "not a number"}], 1, "holds NaN or infinity"),
        ([{"id": "a", "text": 5}], 1, "must be a string, found a number"),
    ],
)
def test_an_invalid_record_stops_the_build_and_is_named(
    tmp_path: Path,
    encoder: HashedWords,
    records: list[dict[str, Any]],
    line: int,
    message: str,
) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", records)
    with pytest.raises(CorpusError, match=message) as caught:
        Index.build(corpus, tmp_path / "i", encoder=encoder)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{corpus}:{line}: ")


def test_a_duplicate_in_an_earlier_chunk_is_found_and_named(
    tmp_path: Path, encoder: HashedWords
) -> None:
    records = documents(50)
    records.append({"id": "d3", "text": "late"})
    with pytest.raises(CorpusError, match="'d3', first used on line 4") as caught:
        # A stream, which cannot be read through before it is encoded.
        Index.build(iter(records), tmp_path / "i", encoder=encoder)
    assert caught.value.line == 51
    again = HashedWords()  # mended: the build goes on, and encodes nothing again
    assert len(Index.build(iter(records[:-1]), tmp_path / "i", encoder=again)) == 50
    assert sum(text.startswith("title") for text in again.encoded) <= 2


def test_invalid_records_are_found_before_anything_is_encoded(
    tmp_path: Path, encoder: HashedWords
) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", documents(40))
    with open(corpus, "a") as file:
        file.write("{broken\n")
    with pytest.raises(CorpusError, match="c.jsonl:41: is not valid JSON"):
        Index.build(corpus, tmp_path / "i", encoder=encoder)
    assert encoder.encoded == []


def test_skipped_records_are_counted_and_written_with_reasons(
    tmp_path: Path, encoder: HashedWords
) -> None:
    corpus = tmp_path / "c.jsonl"
    lines = [json.dumps(record).encode() for record in documents(40)]
    lines[5] = b"{broken"
    lines[20] = b"\xff\xfe"
    lines[30] = b'{"id": "d2", "text": "again"}'
    lines[33] = b'{"id": "zero", "text": "nothing"}'
    corpus.write_bytes(b"\n".join(lines))
    options = BuildOptions(skip_invalid=True)
    index = Index.build(corpus, tmp_path / "i", encoder=encoder, options=options)
    assert len(index) == 36
    assert index.settings["rejected"] == 4
    written = (tmp_path / "i.rejects.jsonl").read_text(encoding="utf-8")
    rejects = [json.loads(line) for line in written.splitlines()]
    assert sorted(reject["line"] for reject in rejects) == [6, 21, 31, 34]
    by_line = {reject["line"]: reject for reject in rejects}
    assert by_line[6]["raw"] == "{broken"
    assert by_line[21]["raw_base64"] == "//4="
    assert "first used on line 3" in by_line[31]["reason"]
    assert "zero" in by_line[34]["reason"]


def test_rejects_survive_an_interruption(tmp_path: Path, encoder: HashedWords) -> None:
    records = documents(40)
    records[2] = {"id": "bad"}
    options = BuildOptions(skip_invalid=True)
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(records, 35), tmp_path / "i", encoder=encoder, options=options
        )
    Index.build(records, tmp_path / "i", encoder=encoder, options=options)
    assert len((tmp_path / "i.rejects.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(("records", "message"), [([], "is empty"), ([{"id": "a"}], "no valid")])
def test_a_corpus_without_documents_is_refused(
    tmp_path: Path, encoder: HashedWords, records: list[dict[str, Any]], message: str
) -> None:
    options = BuildOptions(skip_invalid=True)
    with pytest.raises(CorpusError, match=message):
        Index.build(records, tmp_path / "i", encoder=encoder, options=options)
    with pytest.raises(IndexFormatError):
        Index.open(tmp_path / "i")


def test_a_build_that_did_nothing_leaves_nothing(tmp_path: Path, encoder: HashedWords) -> None:
    with pytest.raises(CorpusError):
        Index.build([{"id": "a", "text": ""}], tmp_path / "i", encoder=encoder)
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(documents(20), 3), tmp_path / "i", encoder=encoder)
    assert list(tmp_path.iterdir()) == []


def test_chunks_of_long_texts_are_cut_by_their_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 400)
    records = documents(50)
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(records, 40), tmp_path / "i", encoder=HashedWords())
    Index.build(records, tmp_path / "i", encoder=HashedWords())
    Index.build(records, tmp_path / "reference", encoder=HashedWords())
    assert contents(tmp_path / "i") == contents(tmp_path / "reference")
    assert len(contents(tmp_path / "i")["chunks"]) > 50 / 16 + 1


def test_a_title_without_text_is_a_document(tmp_path: Path, encoder: HashedWords) -> None:
    records = [{"id": "1", "title": "cat", "text": ""}, {"id": "2", "text": "dog"}]
    index = Index.build(records, tmp_path / "i", encoder=encoder)
    assert index.search("cat", 1)[0].id == "1"
    with pytest.raises(CorpusError, match="is empty"):
        Index.build([{"id": "1", "title": " ", "text": ""}], tmp_path / "j", encoder=encoder)


def test_truncated_documents_are_counted(tmp_path: Path, encoder: HashedWords) -> None:
    records = [{"id": "1", "text": "cat " * 101}, {"id": "2", "text": "dog"}]
    index = Index.build(records, tmp_path / "i", encoder=encoder)
    assert index.settings["truncated"] == 1


def test_embeddings_are_taken_with_and_without_texts(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 12))
    np.save(tmp_path / "v.npy", vectors.astype(np.float16))
    bare = Index.build(None, tmp_path / "bare", embeddings=tmp_path / "v.npy")
    titled = Index.build(documents(40), tmp_path / "titled", embeddings=vectors)
    found = bare.search_vectors(vectors[7:8], 3)
    assert found.positions[0, 0] == 7
    assert bare.ids(found.positions)[0, 0] == "7"
    assert titled.ids(titled.search_vectors(vectors[7:8], 1).positions)[0, 0] == "d7"


def test_embeddings_stay_beside_their_records_when_some_are_skipped(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 12))
    vectors[11] = 0.0
    records = documents(40)
    records[5]["id"] = None
    index = Index.build(
        records,
        tmp_path / "i",
        embeddings=vectors,
        options=BuildOptions(skip_invalid=True),
    )
    assert len(index) == 38
    for number in (0, 4, 6, 12, 39):
        best = index.search_vectors(vectors[number : number + 1], 1).positions
        assert index.ids(best)[0, 0] == f"d{number}"


@pytest.mark.parametrize("rows", [39, 41])
def test_embeddings_of_another_number_are_refused(tmp_path: Path, rows: int) -> None:
    with pytest.raises(CorpusError, match=f"40 records.*{rows} rows"):
        Index.build(documents(40), tmp_path / "i", embeddings=np.ones((rows, 4)))


def test_embeddings_of_another_model_are_refused(tmp_path: Path, encoder: HashedWords) -> None:
    records = documents(40)
    own = encoder.encode_documents([f"{r['title'] or ''} {r['text']}" for r in records])
    Index.build(records, tmp_path / "own", embeddings=own, encoder=encoder)
    foreign = HashedWords(seed="b").encode_documents([r["text"] for r in records])
    with pytest.raises(EncoderMismatch, match="the cosine is"):
        Index.build(records, tmp_path / "foreign", embeddings=foreign, encoder=encoder)
    with pytest.raises(EncoderMismatch, match="dimensions"):
        Index.build(records, tmp_path / "other", embeddings=np.ones((40, 7)), encoder=encoder)


def test_a_duplicate_id_is_found_before_anything_is_encoded(
    tmp_path: Path, encoder: HashedWords
) -> None:
    """A mended corpus then need not be encoded from the beginning."""
    corpus = write_jsonl(tmp_path / "c.jsonl", [*documents(40), documents(8)[7]])
    with pytest.raises(CorpusError, match=r"c.jsonl:41: duplicate id 'd7', first used on line 8"):
        Index.build(corpus, tmp_path / "i", encoder=encoder)
    assert encoder.encoded == []


def test_given_vectors_are_compared_where_the_first_texts_are(tmp_path: Path) -> None:
    encoder = HashedWords()
    records = [{"id": str(n), "text": "" if n < 40 else f"cat {n}"} for n in range(60)]
    vectors = encoder.encode_documents([record["text"] + " dog" for record in records])
    with pytest.raises(
        EncoderMismatch, match="are not those that hashed words gives: for document '4[0-9]'"
    ):
        Index.build(records, tmp_path / "i", encoder=encoder, embeddings=vectors)


def test_what_stopped_a_build_is_told_even_if_the_rejects_cannot_be(
    tmp_path: Path, encoder: HashedWords
) -> None:
    records: list[dict[str, Any]] = [*documents(20), {"id": "bad"}, *documents(30)[20:]]
    (tmp_path / "i.rejects.jsonl").mkdir()
    options = BuildOptions(skip_invalid=True)
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(records, 28), tmp_path / "i", encoder=encoder, options=options
        )


@pytest.mark.parametrize(("value", "wrong"), [(np.nan, "holds NaN or infinity"), (0.0, "is zero")])
def test_an_unusable_given_embedding_is_named_by_file_row_and_record(
    tmp_path: Path, value: float, wrong: str
) -> None:
    vectors = np.random.default_rng(0).standard_normal((20, 4))
    vectors[3] = value
    path = tmp_path / "v.npy"
    np.save(path, vectors)
    corpus = write_jsonl(tmp_path / "c.jsonl", documents(20))
    for given, name in ((path, path), (vectors, "<embeddings>")):
        with pytest.raises(CorpusError) as caught:
            Index.build(corpus, tmp_path / "i", embeddings=given)
        assert str(caught.value).startswith(
            f"{corpus}:4: the embedding of document 'd3', row 3 (from 0) of {name}, {wrong}"
        )
        with pytest.raises(CorpusError) as caught:
            Index.build(None, tmp_path / "i", embeddings=given)
        assert str(caught.value).startswith(f"{name}: row 3 (from 0) {wrong} (")
    skip = BuildOptions(skip_invalid=True)
    assert len(Index.build(None, tmp_path / "i", embeddings=path, options=skip)) == 19
    (reject,) = (tmp_path / "i.rejects.jsonl").read_text().splitlines()
    assert json.loads(reject)["reason"] == f"row 3 (from 0) {wrong}"
    assert json.loads(reject)["line"] == 4
