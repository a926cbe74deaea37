"""A search under a condition: exact among the documents that it holds for, whatever way is taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.retrieval.exact
import qsearch.retrieval.searcher
import qsearch.store.editor
import qsearch.store.selecting
from qsearch import Index, QueryError
from qsearch.kernels import kernel_paths, use_kernels
from qsearch.kernels.reference import cosine_gather
from tests.encoders import HashedWords

D = 24
QUERIES = np.random.default_rng(5).standard_normal((7, D)).astype(np.float32)


def record(number: int) -> dict[str, Any]:
    return {
        "id": f"d{number}",
        "text": "a b",
        "number": number,
        "tenth": number % 10,
        "lang": ["en", "de", "fr"][number % 3],
        "tags": [f"t{number % 4}"],
        **({"rare": True} if number % 97 == 0 else {}),
    }


def vector(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(D).astype(np.float32)


def vectors(some: list[dict[str, Any]]) -> np.ndarray:
    return np.array([vector(one["number"]) for one in some])


@pytest.fixture(scope="module", params=["indexed", "plain"])
def index(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Index]:
    """Several segments and a tail, with documents that are gone and others that came again."""
    path = tmp_path_factory.mktemp("filtered") / "index"
    some = [record(number) for number in range(1500)]
    options: dict[str, Any] = {"segment_rows": 600, "graph": True}
    if request.param == "indexed":
        options["index_fields"] = ["number", "tenth", "lang", "tags", "rare"]
    opened = Index.build(some, path, embeddings=vectors(some), options=options)
    opened.delete([f"d{number}" for number in range(0, 1500, 7)])
    late = [record(number) for number in range(1500, 1540)]
    opened.add(late, embeddings=vectors(late))
    yield opened
    opened.close()


def brute_force(index: Index, allowed: Any, k: int) -> list[list[tuple[str, bytes]]]:
    documents = [one for one in index if allowed(one.metadata)]
    if not documents:
        return [[] for _ in QUERIES]
    rows = np.concatenate(index.vectors([one.id for one in documents]))
    every = np.tile(np.arange(len(rows)), (len(QUERIES), 1))
    found = []
    for scores in cosine_gather(rows, QUERIES, every):
        order = np.lexsort((np.arange(len(scores)), -scores))[:k]
        found.append([(documents[i].id, scores[i].tobytes()) for i in order])
    return found


def got(index: Index, k: int, **options: Any) -> list[list[tuple[str, bytes]]]:
    result = index.search_vectors(QUERIES, k, **options)
    return [
        [
            (name, score.tobytes())
            for name, score in zip(names, scores, strict=True)
            if name is not None
        ]
        for names, scores in zip(index.ids(result.positions), result.scores, strict=True)
    ]


CONDITIONS: list[tuple[Any, Any]] = [
    ("number < 1520", lambda m: m["number"] < 1520),
    ("tenth = 3", lambda m: m["tenth"] == 3),
    ("rare", lambda m: m.get("rare")),
    ("rare IS NULL", lambda m: "rare" not in m),
    ("number >= 1510", lambda m: m["number"] >= 1510),
    ("number BETWEEN 590 AND 610", lambda m: 590 <= m["number"] <= 610),
    ("lang IN ('en', 'fr') AND 't1' IN tags", lambda m: m["lang"] != "de" and "t1" in m["tags"]),
    (
        {"tenth": {"$nin": [1, 2]}, "lang": "de"},
        lambda m: m["tenth"] not in (1, 2) and m["lang"] == "de",
    ),
    ("number < 0", lambda m: False),
    ("number = 1 OR number = 1539", lambda m: m["number"] in (1, 1539)),
    ({}, lambda m: True),
]


def decide(monkeypatch: pytest.MonkeyPatch, *, gathered: bool) -> None:
    """Have rows that a filter allows looked up, or have them scanned for, whatever is quicker."""
    most = 1 << 40 if gathered else 0
    monkeypatch.setattr(qsearch.retrieval.exact, "_FEW_ROWS", most)
    monkeypatch.setattr(qsearch.retrieval.searcher, "_FEW_ALLOWED", most)
    for name in ("_READ_FOR_ONE", "_READ_FOR_SEVERAL"):
        monkeypatch.setattr(qsearch.retrieval.exact, name, 1 << 40)


@pytest.mark.parametrize(("where", "allowed"), CONDITIONS, ids=[str(one[0]) for one in CONDITIONS])
@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("k", [1, 10, 200])
def test_an_answer_is_that_of_brute_force_over_the_documents_it_holds_for(
    index: Index,
    where: Any,
    allowed: Any,
    gathered: bool,
    k: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide(monkeypatch, gathered=gathered)
    truth = brute_force(index, allowed, k)
    for path in kernel_paths():
        with use_kernels(path):
            assert got(index, k, where=where) == truth
            result = index.search_vectors(QUERIES, k, where=where)
            assert result.certified.all()
            # One by one as well: few queries are scored in another way.
            one = index.search_vectors(QUERIES[2:3], k, where=where)
            assert index.ids(one.positions)[0].tolist() == [name for name, _ in truth[2]]


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.999])
def test_a_recall_is_kept_under_a_condition_by_an_exact_search(index: Index, recall: float) -> None:
    result = index.search_vectors(QUERIES, 10, where="tenth < 5", recall=recall)
    assert result.certified.all()
    assert got(index, 10, where="tenth < 5", recall=recall) == brute_force(
        index, lambda m: m["tenth"] < 5, 10
    )
    by_text = index.search_by_vectors(
        QUERIES[:1], 10, where="tenth < 5", recall=recall, explain=True
    )
    assert by_text[0].explanation is not None
    assert by_text[0].explanation.reason == "recall was measured without a filter"


@pytest.mark.parametrize("method", ["binary", "cascade", "graph"])
@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize(
    ("where", "allowed"), CONDITIONS[:6], ids=[one[0] for one in CONDITIONS[:6]]
)
def test_other_ways_find_k_documents_and_only_those_that_are_allowed(
    index: Index,
    where: str,
    allowed: Any,
    gathered: bool,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide(monkeypatch, gathered=gathered)
    ids = {one.id for one in index if allowed(one.metadata)}
    for found in got(index, 10, where=where, method=method, candidates=50):
        names = [name for name, _ in found]
        assert len(names) == min(10, len(ids)) == len(set(names))
        assert set(names) <= ids


def test_documents_are_found_and_counted(index: Index) -> None:
    wanted = [
        one.id for one in index if one.metadata["tenth"] == 3 and one.metadata["number"] > 1000
    ]
    assert [one.id for one in index.find("tenth = 3 AND number > :n", params={"n": 1000})] == wanted
    assert index.count("tenth = 3 AND number > :n", params={"n": 1000}) == len(wanted)
    assert index.count({}) == len(index)


def test_a_condition_is_evaluated_once_for_a_commit(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.search_vectors(QUERIES, 3, where="tenth = 4")

    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("it was evaluated again")

    import qsearch.selection

    monkeypatch.setattr(qsearch.selection, "select", never)
    index.search_vectors(QUERIES, 5, where="tenth = 4")
    index.search_vectors(QUERIES, 5, where={"tenth": 4})
    with pytest.raises(AssertionError, match="evaluated again"):
        index.search_vectors(QUERIES, 5, where="tenth = TRUE")  # not the same as 1


def test_a_field_that_is_not_there_is_an_error_with_the_nearest(index: Index) -> None:
    with pytest.raises(QueryError, match="no document has a field tenht; the nearest is tenth"):
        index.count("tenht = 3")
    with pytest.raises(QueryError, match=r"the nearest is tenth"):
        index.count("Tenth = 3")
    assert index.count("tenht = 3", missing_fields_ok=True) == 0
    assert index.count("tenht IS NULL", missing_fields_ok=True) == len(index)
    with pytest.raises(QueryError, match="is searched, not filtered"):
        index.count("text = 'a'")


def test_parameters_without_a_condition_are_an_error(index: Index) -> None:
    with pytest.raises(QueryError, match="no condition that they are of"):
        index.search_vectors(QUERIES, 3, params={"a": 1})


def test_a_condition_that_takes_too_long_is_given_up(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.store.selecting, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(qsearch.store.selecting, "_INSTRUCTIONS", 10)
    with pytest.raises(QueryError, match="took longer than"):
        index.count("lower(lang) = 'en' AND number > 12.5")
    monkeypatch.undo()
    assert index.count("lower(lang) = 'en' AND number > 12.5") > 0


def test_sqlite_lets_a_condition_read_and_nothing_else(index: Index) -> None:
    """The fence behind the grammar, which lets nothing through that could try it."""
    catalog = index._open.catalog
    with catalog.view(), catalog.reading() as connection:
        with qsearch.store.selecting.guarded(connection, time.monotonic() + 60.0):
            assert connection.execute("SELECT id FROM documents LIMIT 1").fetchone()[0] == "d0"
        for statement in (
            "SELECT * FROM settings",
            "SELECT * FROM sqlite_schema",
            "SELECT load_extension('x')",
            "SELECT randomblob(10)",
            "PRAGMA user_version",
            "ATTACH ':memory:' AS other",
            "CREATE TEMP TABLE t (a)",
            "DELETE FROM documents",
            "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT 1 FROM a) SELECT count(*) FROM a",
        ):
            with (
                pytest.raises(Exception, match="not authorized|prohibited|authoriz"),
                qsearch.store.selecting.guarded(connection, time.monotonic() + 60.0),
            ):
                connection.execute(statement)
        assert connection.execute("SELECT count(*) FROM settings").fetchone()[0] > 0


def test_passages_of_documents_that_a_condition_holds_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.store.editor, "TAIL_ROWS", 8)
    words = "cat dog fish tree king queen river stone".split()

    def text(number: int) -> str:
        generator = np.random.default_rng(number)
        return " ".join(f"{generator.choice(words)} {generator.choice(words)}." for _ in range(12))

    some = [{"id": f"d{n}", "text": text(n), "n": n, "odd": n % 2 == 1} for n in range(60)]
    options: dict[str, Any] = {"passages": 8, "segment_rows": 100, "index_fields": ["odd"]}
    encoder = HashedWords(D)
    with Index.build(some, tmp_path / "i", encoder=encoder, options=options) as index:
        index.delete([f"d{n}" for n in range(0, 60, 5)])
        index.add([{"id": "late", "text": text(99), "n": 99, "odd": True}])
        for where, allowed in (
            ("odd", lambda m: m["odd"]),
            ("n > 40 AND NOT odd", lambda m: m["n"] > 40 and not m["odd"]),
            ("n = 7", lambda m: m["n"] == 7),
        ):
            documents = [one for one in index if allowed(one.metadata)]
            rows = index.vectors([one.id for one in documents])
            query = encoder.encode_queries(["cat river"])
            best = []
            for own in rows:
                every = np.arange(len(own))[None, :]
                best.append(cosine_gather(own, query, every)[0].max())
            order = np.lexsort((np.arange(len(best)), -np.array(best)))
            for gathered in (False, True):
                decide(monkeypatch, gathered=gathered)
                for k in (1, 5, 100):
                    result = index.search("cat river", k, where=where)
                    assert [hit.id for hit in result] == [documents[i].id for i in order[:k]]
                    assert [np.float32(hit.score) for hit in result] == [best[i] for i in order[:k]]
                    assert result.certified
            every_passage = index.search("cat river", 1000, where=where, all_passages=True)
            assert len(every_passage) == sum(len(own) for own in rows)


def test_deleting_by_a_condition_sees_what_the_block_has_done(tmp_path: Path) -> None:
    some = [record(number) for number in range(30)]
    options = {"index_fields": ["tenth"]}
    with Index.build(some, tmp_path / "i", embeddings=vectors(some), options=options) as index:
        new = [{**record(number), "tenth": 77} for number in (1, 40)]
        with index.changes() as changes:
            changes.upsert(new, embeddings=vectors(new))
            changes.delete(where="tenth = 77")
        assert changes.report is not None
        assert changes.report.deleted == 2
        assert "d1" not in index
        assert len(index) == 29
        report = index.delete(where={"tenth": {"$in": [2, 3]}})
        assert (report.deleted, len(index)) == (6, 23)
        assert index.delete(where="tenth = 2").deleted == 0
        with pytest.raises(QueryError, match="ids, or a condition"):
            index.delete()
        with pytest.raises(QueryError, match="ids, or a condition"):
            index.delete("d4", where="tenth = 4")
        with pytest.raises(QueryError, match="no document has a field"):
            index.delete(where="nothing = 4")
        assert len(index) == 23


def test_fields_are_counted_and_indexed_later(tmp_path: Path) -> None:
    some = [record(number) for number in range(30)]
    with Index.build(some, tmp_path / "i", embeddings=vectors(some)) as index:
        found = {one.name: one for one in index.fields}
        assert found["tags"].kinds == {"list": 30}
        assert found["rare"].documents == 1
        assert not any(one.indexed for one in index.fields)
        assert index.index_fields(["lang", "tags", "title"]) == 2
        assert [one.name for one in index.fields if one.indexed] == ["lang", "tags", "title"]
        assert index.count("lang = 'en' AND title IS NULL") == 10
        with pytest.raises(QueryError, match="no document has a field nothing"):
            index.index_fields("nothing")
        with pytest.raises(QueryError, match="fast as it is"):
            index.index_fields("id")
        index.index_fields("nothing", missing_fields_ok=True)
        new = [{**record(31), "nothing": "x"}]
        index.add(new, embeddings=vectors(new))
        assert index.count("nothing = 'x'") == 1
        index.index_fields(["lang"], drop=True)
        with pytest.raises(QueryError, match="lang is not indexed"):
            index.index_fields(["lang"], drop=True)
        assert index.count("lang = 'en'") == 10
