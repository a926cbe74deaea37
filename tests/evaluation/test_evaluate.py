"""An evaluation tells what the searches of its index do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, EncoderError, Index, OptionError, QueryError
from qsearch.evaluation import evaluate
from qsearch.evaluation.answers import Queries
from qsearch.evaluation.timing import BATCH, ROUNDS, time_in_turns
from qsearch.retrieval import Plan, Tuning
from tests.encoders import HashedWords
from tests.evaluation.world import DOCUMENTS, JUDGMENTS, QUERIES, record
from tests.retrieval.test_recall import world
from tests.retrieval.times import always, make_up_times


def test_everything_is_what_the_searches_give(index: Index) -> None:
    found = evaluate(index, QUERIES, JUDGMENTS, k=(10, 30))
    names = [one.name for one in found.ways]
    recalls = ["0.999", "0.99", "0.95", "0.9"]
    assert names == ["exact", *recalls, "binary", "graph", "keywords", "hybrid"]
    assert found.complete
    assert found.depths == (10, 30)
    for one in found.ways:
        for k in found.depths:
            results = index.search_batch(list(QUERIES.values()), k, **one.way.options)
            exact = index.search_batch(list(QUERIES.values()), k)
            expected = [
                len({hit.id for hit in result} & {hit.id for hit in true}) / k
                for result, true in zip(results, exact, strict=True)
            ]
            assert one.recall[k].tolist() == pytest.approx(expected), one.name
            assert one.answers[k].certified.tolist() == [result.certified for result in results]
        assert one.documents["q0"] == [hit.id for hit in results[0]]
        assert found.run(one.name)["q0"] == pytest.approx(
            {hit.id: hit.score for hit in results[0]}, abs=1e-6
        )
        first = [hit.id for hit in index.search_batch([QUERIES["q4"]], 10, **one.way.options)[0]]
        place = first.index("d 4") + 1 if "d 4" in first else None
        wanted = 0.0 if place is None else 1 / place
        assert one.measures["MRR@10"][2] == pytest.approx(wanted)
        assert one.unjudged[2] == pytest.approx(
            sum(name not in JUDGMENTS["q4"] for name in first) / len(first)
        )
        assert len(one.times.batches) == 3
        assert len(one.times.singles) == 3 * len(QUERIES)
        times = one.times.percentiles()
        assert times is not None
        assert list(times) == ["p50", "p95"]  # of 90 values there is no 99th percentile
        assert 0 < times["p50"] <= times["p95"]
    assert found["exact"].answers[10].certified.all()
    assert found["exact"].answers[10].rows.min() > 0
    assert found["exact"].answers[10].bytes.min() > 0
    assert found.recall("exact", 30).mean == 1.0
    assert found.measure("keywords", "nDCG@10").mean > 0.5
    assert found.encoding is not None


def test_it_is_told_in_every_form(index: Index, tmp_path: Path) -> None:
    found = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=["exact", "binary:40", "hybrid:0.5"])
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [one["way"] for one in told["ways"]] == ["exact", "binary:40", "hybrid:0.5"]
    assert told["ways"][1]["options"] == {"method": "binary", "candidates": 40}
    assert told["ways"][0]["recall"]["10"] == {
        "mean": 1.0,
        "low": None,
        "high": None,
        "queries": 30,
    }
    assert len(told["ways"][2]["of_each_query"]["nDCG@10"]) == 30
    assert "of_each_query" not in found.to_dict(queries=False)["ways"][0]
    mean = found.measure("binary:40", "nDCG@10").mean
    texts = [table.text() for table in found.tables()]
    assert [text.partition(":")[0] for text in texts[:2]] == [
        "Against exact search",
        "By words, the share in common with exact search by meaning",
    ]
    for shown in ("\n".join(texts), found.to_markdown(), found._repr_html_()):
        assert f"{mean:.4f}" in shown
        assert "binary:40" in shown
    for name in ("report.svg", "report.png"):
        found.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000
    with pytest.raises(OptionError, match=r"called .svg, .png, .pdf"):
        found.plot(tmp_path / "report.jpeg")
    with pytest.raises(OptionError, match="cannot be written"):
        found.plot(tmp_path / "no" / "report.svg")


def test_without_queries_they_are_made_of_documents(index: Index) -> None:
    found = evaluate(index, sample=200, k=(5, 20), timed=False)
    assert [group.name for group in found.groups] == [
        "like the documents",
        "with noise",
        "from anywhere",
        "near to many",
        "of rare kinds",
        "amid documents",
        "with other components",
        "documents themselves",
        "between documents",
    ]
    assert 150 <= found.own.sum() <= 200
    assert found.recall("exact", 5).mean == 1.0
    # A document is no neighbour of itself. The first of 100 among 900 stands in the middle of nine.
    vectors = index.search_vectors(found_vectors(index, "d 4"), 5).positions[0]
    assert vectors[0] == 4
    exact = found["exact"].answers[5].positions
    assert (exact[0] != 4).all()
    assert (exact >= 0).all()  # others have come up
    around = index.search_vectors(found_vectors(index, "d 4"), 6).positions[0]
    assert exact[0].tolist() == around[1:].tolist()
    # So recall is of as many as were asked for, and none of them is given away.
    first = evaluate(index, sample=200, k=1, ways=["exact", "binary:30"], timed=False)
    assert first.recall("binary:30", 1).queries == first.own.sum()
    assert [one.name for one in found.ways][-2:] == ["binary", "graph"]
    assert [table.header[0] for table in found.tables()] == ["way", "kind"]
    kinds = [row[0] for row in found.tables()[1].rows]
    assert kinds == [group.name for group in found.groups]


def found_vectors(index: Index, name: str) -> Any:
    return index.vectors(name)[0][None, :][0]


def test_a_filter_holds(index: Index) -> None:
    found = evaluate(index, QUERIES, JUDGMENTS, k=10, where="even", timed=False)
    assert found.recall("exact", 10).mean == 1.0
    for one in found.ways:
        assert all(int(name[2:]) % 2 == 0 for name in one.documents["q2"])
    some = evaluate(index, QUERIES, k=10, where="id IN ('d 2', 'd 4')", ways=["exact"])
    assert some.depths == (2,)
    assert "k goes to 2" in "\n".join(some.notes)


def test_an_index_of_vectors_is_measured_by_vectors(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    with Index.build(None, tmp_path / "i", embeddings=rows) as index:
        found = evaluate(index, vectors=rows[:20], qrels={"1": {"0": 1}}, k=5)
        assert found.queries == tuple(str(number) for number in range(1, 21))
        assert found.measure("exact", "MRR@5").mean == 1.0
        assert found.encoding is None
        assert evaluate(index, k=5, sample=10, timed=False).recall("exact", 5).mean == 1.0
        with pytest.raises(EncoderError, match="without an encoder"):
            evaluate(index, QUERIES, ways=["exact"])
        with pytest.raises(QueryError, match="neither an encoder nor a text index"):
            evaluate(index, QUERIES)


def test_one_document_and_none(tmp_path: Path) -> None:
    with Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=HashedWords()) as index:
        found = evaluate(index, ["cat", "dog"], k=10, ways=["exact", "0.9", "cascade", "binary"])
        assert found.depths == (1,)
        assert [found.recall(one.name, 1).mean for one in found.ways] == [1.0] * 4
        alone = evaluate(index, k=10, timed=False)
        assert np.isnan(alone.recall("exact", 1).mean)
        json.dumps(alone.to_dict(), allow_nan=False)
        index.delete("a")
        with pytest.raises(QueryError, match="holds no documents"):
            evaluate(index)
        nothing = evaluate(index, ["cat"], k=10, ways=["exact"])
        assert np.isnan(nothing.recall("exact", 1).mean)


class Stops:
    """A progress that interrupts at a moment."""

    def __init__(self, phase: str, after: int) -> None:
        self.phase, self.after, self.now = phase, after, ""

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        self.now = phase

    def advance(self, count: int, *, resumed: bool = False) -> None:
        if self.now == self.phase:
            self.after -= 1
            if self.after < 0:
                raise KeyboardInterrupt

    def end(self) -> None:
        self.now = ""


def test_an_interrupted_evaluation_keeps_what_it_has(index: Index) -> None:
    for phase, after, ways in (("encode", 0, 0), ("search", 2, 2), ("time", 1, 3)):
        found = evaluate(
            index,
            QUERIES,
            JUDGMENTS,
            k=10,
            ways=["exact", "binary", "keywords"],
            keep_interrupted=True,
            progress=Stops(phase, after),
        )
        assert not found.complete
        assert "interrupted" in found.notes[-1]
        assert len(found.ways) == ways, phase
        found.to_markdown()
        json.dumps(found.to_dict(), allow_nan=False)
        with pytest.raises(KeyboardInterrupt):
            evaluate(
                index,
                QUERIES,
                k=10,
                ways=["exact", "binary", "keywords"],
                progress=Stops(phase, after),
            )
    assert found["exact"].times.singles
    assert not found["keywords"].times.singles


class Counts:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.done: dict[str, int] = {}
        self.now = ""

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        self.now = phase
        self.totals[phase], self.done[phase] = total, 0

    def advance(self, count: int, *, resumed: bool = False) -> None:
        self.done[self.now] += count

    def end(self) -> None:
        self.now = ""


@pytest.mark.parametrize("ways", [["exact"], ["binary", "keywords"], ["keywords"], None])
@pytest.mark.parametrize("k", [10, (3, 10)])
def test_progress_ends_at_its_end(index: Index, ways: list[str] | None, k: Any) -> None:
    progress = Counts()
    evaluate(index, QUERIES, k=k, ways=ways, progress=progress)
    assert progress.done == progress.totals
    assert {"search", "time"} <= progress.done.keys()


def test_the_filter_is_told_and_words_stand_apart(index: Index) -> None:
    found = evaluate(
        index, QUERIES, k=10, ways=["exact", "keywords", "hybrid"], timed=False, where="even"
    )
    recall, shared = found.tables()
    assert recall.title.endswith(", where even")
    assert [row[0] for row in recall.rows] == ["exact"]
    assert [row[0] for row in shared.rows] == ["keywords", "hybrid"]
    told = found.to_dict()
    assert told["where"] == "even"
    assert [one["certified"] for one in told["ways"]] == [1.0, None, 1.0]
    assert told["ways"][0]["recall"]["10"]["low"] is None
    some = evaluate(
        index, QUERIES, k=10, ways=["exact"], timed=False, where="id = :one", params={"one": "d 2"}
    )
    assert some.where == 'id = :one with {"one": "d 2"}'
    mapped = evaluate(index, QUERIES, k=10, ways=["exact"], timed=False, where={"even": True})
    assert mapped.where == '{"even": true}'


def test_a_way_that_cannot_be_is_found_before_anything_is_encoded(index: Index) -> None:
    encode = Counts()
    with pytest.raises(QueryError, match="the way binary:50 at k = 100: candidates must be"):
        evaluate(index, QUERIES, k=(10, 100), ways=["exact", "binary:50"], progress=encode)
    assert encode.totals == {}


def test_an_interruption_before_anything_says_so(index: Index) -> None:
    found = evaluate(index, QUERIES, k=10, keep_interrupted=True, progress=Stops("encode", 0))
    assert found.notes[-1] == "interrupted before anything was measured"
    assert found.tables() == []


def test_what_is_looked_at_is_counted_of_every_method(index: Index) -> None:
    found = evaluate(index, QUERIES, k=10, ways=["exact", "binary:40", "graph:40"], timed=False)
    binary, graph = (found[name].answers[10] for name in ("binary:40", "graph:40"))
    d = index.dimensions
    scored = sum(min(40, segment.rows) for segment in index._open.segments)
    assert (binary.rows == DOCUMENTS + scored).all()
    assert (binary.bytes == DOCUMENTS * (d // 8) + scored * 4 * d).all()
    assert (graph.rows < DOCUMENTS).all()
    assert (graph.bytes > scored * 4 * d).all()


def test_a_recall_that_is_an_exact_search_is_told(index: Index, tmp_path: Path) -> None:
    found = evaluate(index, QUERIES, k=10, ways=["0.99"], where="even", timed=False)
    assert "0.99 at k = 10: searched exactly (recall was measured without a filter)" in found.notes
    with Index.build([record(1)], tmp_path / "i", encoder=HashedWords()) as small:
        found = evaluate(small, ["cat"], k=1, ways=["exact", "0.9"], timed=False)
        assert found.notes == (
            "0.9 at k = 1: searched exactly (the index is small, or was built before recall was measured)",
        )


def test_what_a_recall_for_queries_alike_holds_for_is_told(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ["0.9", "0.9:alike"]
    with Index.open(index.path, encoder=HashedWords()) as same:  # which keeps its plans
        exact = evaluate(same, QUERIES, k=10, ways=ways, timed=False)
    assert "0.9:alike at k = 10: searched exactly" in exact.notes[0]  # which holds for all queries
    assert not any("holds for queries like" in note for note in exact.notes)
    plan = Plan(False, 40, 20, 0.9, "made up")
    monkeypatch.setattr(Tuning, "plan", lambda *given, **options: plan)
    found = evaluate(index, QUERIES, k=10, ways=ways, timed=False)
    tuning = index._open.tuning
    assert tuning is not None
    told = [note for note in found.notes if note.startswith("0.9:alike: holds for queries like")]
    assert len(told) == 1
    assert tuning.measured_on in told[0]
    own = evaluate(index, k=10, sample=40, ways=ways, timed=False)
    assert not any("holds for queries like" in note for note in own.notes)


def test_nothing_that_cannot_be_told_is_told(index: Index, tmp_path: Path) -> None:
    with Index.build([record(1)], tmp_path / "i", encoder=HashedWords()) as small:
        found = evaluate(small, k=5)
        assert not any("nan" in table.text() for table in found.tables())
    found = evaluate(index, {"q": "cat dog"}, k=10, ways=["exact", "binary:40"])
    times = found["exact"].times
    assert list(times.percentiles() or {}) == ["p50"]  # of three values
    assert times.batch_queries == 1
    assert "in batches of 1" in found.tables()[1].text()
    found.plot(tmp_path / "few.svg")
    with pytest.raises(QueryError, match="no document matches the condition id = 'no'"):
        evaluate(index, QUERIES, k=1_000_000_000, where="id = 'no'")
    few = evaluate(index, QUERIES, k=10, ways=["exact"], where="id IN ('d 1', 'd 2')", timed=False)
    assert few.depths == (2,)
    assert "k goes to 2: the filter allows no more documents" in few.notes


def test_the_batch_of_a_slow_way_is_as_large_as_that_of_others() -> None:
    sizes: list[int] = []

    def search(queries: Queries) -> None:
        sizes.append(len(queries))
        time.sleep(
            0.3 if len(queries) == 1 and len(sizes) < 3 else 0
        )  # slow, as far as it can tell

    ids = tuple(map(str, range(100)))
    for times in time_in_turns([search], Queries(ids, ids, None)):
        assert times[0].batch_queries == BATCH
    assert max(sizes) == BATCH
    assert sizes.count(1) == 2 + ROUNDS * 20  # of single queries as few as time allows


def test_only_the_encoder_of_timed_evaluations_is_timed(index: Index) -> None:
    assert evaluate(index, QUERIES, k=5, ways=["exact"], timed=False).encoding is None


def test_what_is_proven_has_no_interval(index: Index) -> None:
    found = evaluate(index, QUERIES, k=10, ways=["exact", "binary:900"], timed=False)
    assert found["binary:900"].answers[10].certified.all()
    assert found.recall("binary:900", 10).interval is None


def test_what_is_as_near_counts_where_texts_are_equal(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((3000, 24)).astype(np.float32)
    rows[1000:2000] = rows[7]
    index = Index.build(None, tmp_path / "i", embeddings=rows, options=BuildOptions(graph=True))
    queries = rows[7] + 0.01 * generator.standard_normal((20, 24))
    found = evaluate(
        index, vectors=queries, ways=["exact", "graph:40", "binary:1500", 0.9], k=10, timed=False
    )
    for way in ("graph:40", "binary:1500", "0.9"):  # which other ones of a thousand
        assert found.recall(way, 10).mean == 1.0


def test_what_batches_find_in_another_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_up_times(monkeypatch, always(1.0, 1.0), always(2.0, 0.1))
    rows = world(3000, 1)
    with Index.build(None, tmp_path / "i", embeddings=rows) as index:
        queries = world(100, 2)
        found = evaluate(
            index, None, vectors=queries, k=(10, 20), ways=["exact", "0.9"], timed=False
        )
        together = index.search_vectors(queries, recall=0.9)  # as a batch
    assert found["0.9"].answers[10].certified.all()
    assert found.recall("0.9", 10).interval is None
    batched = found["0.9"].batched
    assert batched is not None
    assert np.array_equal(batched.positions, together.positions)
    assert not batched.certified.all()
    truth = found["exact"].answers[10].positions
    same = (batched.positions[:, :, None] == truth[:, None, :]).any(axis=2).mean()
    recall = found.batch_recall("0.9")
    assert recall is not None
    assert recall.mean == pytest.approx(same)
    assert recall.interval is not None
    assert found["exact"].batched is found.batch_recall("exact") is None
    table = found.tables()[0].rows
    assert [row[0] for row in table] == ["exact", "0.9", "0.9, in batches"]
    assert table[2][1].startswith(f"{recall.mean:.4f} [")
    assert table[2][2] == "–"  # of the other depth
    told = [one["in_batches"] for one in found.to_dict()["ways"]]
    assert told[0] is None
    assert told[1]["recall"]["10"]["mean"] == pytest.approx(same)
    assert told[1]["certified"] == pytest.approx(batched.certified.mean())
