"""An evaluation tells what the searches of its index do, and what is wrong with what it was given."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, EncoderError, Index, OptionError, QueryError
from qsearch.documents import run_line
from qsearch.evaluation import Way, evaluate, named_way, tune
from qsearch.evaluation.answers import Queries
from qsearch.evaluation.comparing import compare
from qsearch.evaluation.plotting import _apart
from qsearch.evaluation.timing import BATCH, ROUNDS, time_in_turns
from qsearch.evaluation.tuning import WEIGHTS, _chosen
from tests.encoders import WORDS, HashedWords

DOCUMENTS = 900


def record(number: int) -> dict[str, Any]:
    generator = np.random.default_rng(number)
    return {
        "id": f"d {number}",
        "title": f"the {number}th",
        "text": " ".join(generator.choice(WORDS, size=6)),
        "even": number % 2 == 0,
    }


QUERIES = {f"q{number}": " ".join(record(number)["text"].split()[:4]) for number in range(0, 60, 2)}
JUDGMENTS = {name: {f"d {name[1:]}": 2, "d 1": 0} for name in QUERIES}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluated") / "index"
    options = BuildOptions(graph=True, text_index=True, segment_rows=500)
    Index.build(map(record, range(DOCUMENTS)), path, encoder=HashedWords(), options=options).close()
    return path


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    with Index.open(path, encoder=HashedWords()) as opened:
        yield opened


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


@pytest.mark.parametrize(
    ("qrels", "told"),
    [
        (
            {**JUDGMENTS, "other": {"d 1": 1}},
            r"judgments of 1 query \('other'\) that were not asked",
        ),
        ({"q0": {"d 0": 1}}, r"29 queries \('q2', 'q4', 'q6', …\) without judgments"),
        ({**JUDGMENTS, "q0": {"gone": 1, "lost": 0}}, r"2 documents .* \(1 of them relevant"),
        ({**JUDGMENTS, "q0": {"d 0": 0}}, r"1 query \('q0'\) without a relevant document"),
    ],
)
def test_what_does_not_fit_is_counted_and_named(
    index: Index, qrels: dict[str, dict[str, int]], told: str
) -> None:
    found = evaluate(index, QUERIES, qrels, k=10, ways=["exact"], timed=False)
    assert re.search(told, "\n".join(found.notes)), found.notes
    assert found.recall("exact", 10).mean == 1.0
    json.dumps(found.to_dict(), allow_nan=False)
    found.to_markdown()


def test_all_judgments_zero(index: Index) -> None:
    qrels = {name: {"d 1": 0} for name in QUERIES}
    found = evaluate(index, QUERIES, qrels, k=10, ways=["exact", "keywords"], timed=False)
    assert found.measure("exact", "nDCG@10").queries == 0
    assert "–" in found.tables()[-1].text()
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"queries": []}, "no queries"),
        ({"queries": {"a": " "}}, "query a must be a text that is not empty"),
        ({"queries": ["\ud800"]}, "half of a surrogate"),
        ({"queries": 3}, "found int"),
        ({"queries": QUERIES, "qrels": 3}, "judgments must be"),
        ({"queries": QUERIES, "qrels": {"q0": 3}}, "judgments of query 'q0' must be"),
        ({"queries": QUERIES, "qrels": {"q0": {"d": 0.5}}}, "must be a whole number"),
        ({"queries": QUERIES, "qrels": {"q0": {"d": None}}}, "must be a whole number"),
        ({"queries": QUERIES, "qrels": {"q0": {"d": 10**30}}}, "at most a million"),
        ({"queries": QUERIES, "qrels": {"q0": {"d": math.inf}}}, "must be a whole number"),
        ({"sample": "x"}, "sample must be a whole number"),
        ({"sample": 0}, "sample must be at least 1"),
        ({"queries": QUERIES, "ways": [3]}, "no way of searching '3.0'"),
        ({"queries": QUERIES, "ways": {"mine": None}}, "needs options by name"),
        ({"queries": QUERIES, "vectors": iter(())}, "must be an array of numbers"),
        ({"qrels": JUDGMENTS}, "judgments are of queries"),
        ({"queries": QUERIES, "sample": 10}, "leave it out where queries are given"),
        ({"queries": QUERIES, "k": 0}, "k must be at least 1, found 0"),
        ({"queries": QUERIES, "k": "ten"}, "k must be a whole number"),
        ({"queries": QUERIES, "k": []}, "k must be at least 1"),
        ({"queries": QUERIES, "ways": ["exact", "exact"]}, "stands twice"),
        ({"queries": QUERIES, "ways": "exact"}, "found one text"),
        ({"queries": QUERIES, "ways": []}, "no way to measure"),
        ({"queries": QUERIES, "ways": ["fast"]}, "no way of searching 'fast'"),
        ({"queries": QUERIES, "ways": {"mine": {"recal": 0.9}}}, "did you mean 'recall'"),
        ({"queries": QUERIES, "ways": ["binary:1"]}, "candidates must be at least k.*a smaller k"),
        ({"queries": QUERIES, "ways": [None]}, "has a name, found None"),
        ({"queries": QUERIES, "vectors": np.eye(24)[:2]}, "30 queries, and vectors of 2"),
        ({"vectors": np.eye(24)[0]}, "query vectors must be"),
        ({"vectors": np.eye(23)}, "24 dimensions"),
        ({"vectors": np.eye(24), "ways": ["hybrid"]}, "reads the words"),
        ({"ways": ["keywords"]}, "reads the words"),
        ({"queries": QUERIES, "where": "nothing = 1"}, "nothing"),
    ],
)
def test_what_makes_no_sense_is_an_error(
    index: Index, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(QueryError, match=told):
        evaluate(index, timed=False, **arguments)


def test_ways_have_names() -> None:
    assert named_way("1.0") == named_way("exact") == named_way(" meaning") == Way("exact")
    assert named_way("graph").options == {"method": "graph"}
    assert named_way("99%").options == named_way("0.99").options == {"recall": 0.99}
    assert named_way("rrf").options == {"mode": "hybrid", "fusion": "rrf"}
    for bad in (
        "",
        "0",
        "-1",
        "2",
        "nan",
        "inf",
        "binary:x",
        "binary:",
        "exact:3",
        "0.9:3",
        "none",
    ):
        with pytest.raises(QueryError, match="there is no way"):
            named_way(bad)


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


def test_two_indexes_are_compared(index: Index, tmp_path: Path) -> None:
    records = [{**record(number), "text": record(number)["text"] + " cat"} for number in range(800)]
    with Index.build(records, tmp_path / "other", encoder=HashedWords()) as other:
        ours = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=["exact", "keywords"], timed=False)
        theirs = evaluate(other, QUERIES, JUDGMENTS, k=10, ways=["exact"], timed=False)
    found = compare(ours, theirs, "other", worst=4)
    assert {one.way for one in found.rows} == {"exact"}
    assert [one.measure for one in found.rows] == ["nDCG@10", "MRR@10", "MAP@10", "R@10"]
    first = found.rows[0]
    both = ours["exact"].measures["nDCG@10"] - theirs["exact"].measures["nDCG@10"]
    assert first.difference.mean == pytest.approx(both.mean())
    measure, lost = found.losses["exact"]
    assert measure == "nDCG@10"
    assert [one.theirs - one.ours for one in lost] == sorted(
        (float(-one) for one in both if one < 0), reverse=True
    )[:4]
    for one in lost:
        assert one.text == QUERIES[one.query]
        assert list(one.our_best) == ours["exact"].documents[one.query][:3]
        assert list(one.their_best) == theirs["exact"].documents[one.query][:3]
    shared = [
        len(set(ours["exact"].documents[query]) & set(theirs["exact"].documents[query])) / 10
        for query in QUERIES
    ]
    assert found.overlap["exact"].tolist() == pytest.approx(shared)
    json.dumps(found.to_dict(), allow_nan=False)
    assert "nDCG@10" in found.tables()[0].text()


def test_a_run_is_compared_and_may_lack_queries(index: Index) -> None:
    ours = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=["exact", "keywords"], timed=False)
    run = {
        query: dict.fromkeys(ours["exact"].documents[query], 1.0) for query in list(QUERIES)[:20]
    }
    found = compare(ours, run, "run.trec", worst=3)
    assert "answers 20 of 30 queries" in found.notes[0]
    first = found.rows[0]  # as trec_eval -c: what a run does not answer has found nothing
    values = ours["exact"].measures["nDCG@10"]
    assert first.difference.queries == 30
    assert first.theirs.mean == pytest.approx(values[:20].sum() / 30)
    assert first.difference.mean == pytest.approx(values[20:].sum() / 30)
    assert found.losses["exact"][1] == ()
    assert found.overlap["exact"].sum() == 20
    with pytest.raises(QueryError, match="found list"):
        compare(ours, ["d 1"], "run.trec")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="no query in common"):
        compare(ours, {"strange": ["d 1"]}, "run.trec")
    without = evaluate(index, QUERIES, k=10, ways=["exact"], timed=False)
    plain = compare(without, {query: ["d 1"] for query in QUERIES}, "run.trec", worst=2)
    assert plain.rows == ()
    assert plain.losses["exact"][0] == "in common@10"
    assert len(plain.losses["exact"][1]) == 2


def test_what_makes_two_unlike_is_told(index: Index, tmp_path: Path) -> None:
    with Index.build([record(2), record(4)], tmp_path / "small", encoder=HashedWords()) as small:
        theirs = evaluate(small, QUERIES, JUDGMENTS, k=(2, 10), ways=["exact"], timed=False)
    ours = evaluate(index, QUERIES, JUDGMENTS, k=(2, 10), ways=["exact"], timed=False, where="even")
    told = "\n".join(compare(ours, theirs, "small").notes)
    assert "small holds 2 documents, this index 900" in told
    assert "small: judgments of 29 documents" in told
    assert "small was searched without a filter, this index where even" in told
    told = "\n".join(compare(ours, {"q2": ["d 2", "d 4"]}, "run").notes)
    assert "run goes to 2 documents a query, these answers to 10" in told
    assert "the filter (even) is of this index alone" in told
    assert "counts as 0" in told
    told = "\n".join(compare(ours, {"q2": ["other"] * 1}, "run").notes)
    assert "run has found none of the documents that this index has" in told
    deep = {query: [f"d {number}" for number in range(10)] for query in QUERIES}
    plain = evaluate(index, QUERIES, JUDGMENTS, k=(2, 10), ways=["exact"], timed=False)
    assert compare(plain, deep).notes == ()


def test_recalls_of_two_indexes_are_compared(index: Index, tmp_path: Path) -> None:
    records = [record(number) for number in range(300)]
    ways = ["exact", "binary:12"]
    with Index.build(records, tmp_path / "fewer", encoder=HashedWords()) as fewer:
        theirs = evaluate(fewer, dict(reversed(QUERIES.items())), k=10, ways=ways, timed=False)
    ours = evaluate(index, QUERIES, k=10, ways=ways, timed=False)
    (row,) = compare(ours, theirs, "fewer").rows
    assert (row.way, row.measure) == ("binary:12", "recall@10")
    both = ours["binary:12"].recall[10] - theirs["binary:12"].recall[10][::-1]
    assert row.difference.mean == pytest.approx(both.mean())
    assert row.ours.mean == pytest.approx(ours.recall("binary:12", 10).mean)
    assert row.corrected == row.difference.probability


def test_losses_tell_where_relevant_documents_stand(index: Index) -> None:
    qrels = {"q2": {"d 13": 1, "d 2": 2, "d 5": 0, "gone": 1}}
    ours = evaluate(index, QUERIES, qrels, k=10, ways=["exact"], timed=False)
    ranked = ours["exact"].documents["q2"]
    run = {"q2": ["d 2", "d 13", *(name for name in ranked if name != "d 2")]}
    (lost,) = compare(ours, run, worst=3).losses["exact"][1]
    here = {name: rank for rank, name in enumerate(ranked, 1)}
    assert lost.relevant == (
        ("d 2", here.get("d 2"), 1),
        ("d 13", here.get("d 13"), 2),
        ("gone", None, None),
    )


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


def test_what_was_not_measured_names_what_was(index: Index) -> None:
    found = evaluate(index, QUERIES, JUDGMENTS, k=(5, 10, 20), ways=["exact"], timed=False)
    assert list(found["exact"].measures) == ["nDCG@5", "nDCG@10", "MRR@5", "MAP@20", "R@20"]
    with pytest.raises(KeyError, match="no recall at k = 7; there are .5, 10, 20."):
        found.recall("exact", 7)
    with pytest.raises(KeyError, match=r"no measure 'nDCG@20'; there are .'nDCG@5', 'nDCG@10'"):
        found.measure("exact", "nDCG@20")
    wrong: Any
    for wrong in ("indexes/i", None):
        with pytest.raises(QueryError, match="an open index is needed"):
            evaluate(wrong, QUERIES)
    wrong = index
    with pytest.raises(QueryError, match="an Evaluation is compared"):
        compare(wrong, {})


def test_a_way_that_cannot_be_is_found_before_anything_is_encoded(index: Index) -> None:
    encode = Counts()
    with pytest.raises(QueryError, match="the way binary:50 at k = 100: candidates must be"):
        evaluate(index, QUERIES, k=(10, 100), ways=["exact", "binary:50"], progress=encode)
    assert encode.totals == {}


def test_an_interruption_before_anything_says_so(index: Index) -> None:
    found = evaluate(index, QUERIES, k=10, keep_interrupted=True, progress=Stops("encode", 0))
    assert found.notes[-1] == "interrupted before anything was measured"
    assert found.tables() == []


def test_a_picture_says_what_it_is_of(index: Index, tmp_path: Path) -> None:
    ways = ["exact", "0.99", "binary", "keywords"]
    found = evaluate(index, QUERIES, JUDGMENTS, k=(5, 10), ways=ways, where="even")
    found.plot(tmp_path / "report.svg")
    drawn = (tmp_path / "report.svg").read_text()
    for told in ("30 queries, where even", "recall 0.99", "exact search: ", "keywords: not here"):
        assert told in drawn, told  # texts, not outlines
    assert "nDCG@5 against judgments" in drawn


def test_tuning_says_what_it_did_not_do(tmp_path: Path) -> None:
    records = [record(number) for number in range(30)]
    with Index.build(records, tmp_path / "i", encoder=HashedWords()) as few:
        tuned = tune(few, QUERIES)
    assert not tuned.measured
    assert "recall was not measured: an index of so few rows" in tuned.notes()[0]
    assert tuned.to_dict()["measured"] is False


@pytest.mark.parametrize(("gain", "kept"), [(0.02, True), (0.5, False)])
def test_a_weight_stays_unless_another_surely_gains(gain: float, kept: bool) -> None:
    gains = np.random.default_rng(0).random((len(WEIGHTS), 40))
    gains[3] = gains[10] + np.random.default_rng(1).normal(gain, 0.3, size=40)
    chosen = _chosen(gains, WEIGHTS[10])
    assert chosen.gain is not None
    assert chosen.gain.interval is not None
    assert (chosen.gain.interval.low <= 0) is kept
    assert chosen.weight == (WEIGHTS[10] if kept else WEIGHTS[3])


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


def test_what_a_recall_for_queries_alike_holds_for_is_told(index: Index) -> None:
    ways = ["0.9", "0.9:alike"]
    found = evaluate(index, QUERIES, k=10, ways=ways, timed=False)
    tuning = index._open.tuning
    assert tuning is not None
    told = [note for note in found.notes if note.startswith("0.9:alike: holds for queries like")]
    assert len(told) == 1
    assert tuning.measured_on in told[0]
    own = evaluate(index, k=10, sample=40, ways=ways, timed=False)
    assert not any("holds for queries like" in note for note in own.notes)


def test_relevant_documents_that_a_filter_leaves_out_are_told(index: Index) -> None:
    judgments = {"q0": {"d 0": 1, "d 3": 1, "d 5": 0}}
    found = evaluate(index, QUERIES, judgments, k=10, ways=["exact"], where="even", timed=False)
    assert any("leaves out 1 relevant document ('d 3')" in note for note in found.notes)


def test_a_way_has_one_name_however_it_is_written() -> None:
    names = {
        "binary: 400": "binary:400",
        " 99 %": "0.99",
        "0.990": "0.99",
        "hybrid: .5": "hybrid:0.5",
    }
    assert {given: named_way(given).name for given in names} == names
    assert named_way("0.9999999").name == "0.9999999"
    assert named_way("1.0").name == named_way("100%").name == "exact"
    for wrong in ("exact:3", "keywords:2", "rrf:1", "0.9:4", "binary:", "nan", "0", "1.5"):
        with pytest.raises(QueryError, match="there is no way"):
            named_way(wrong)


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


def test_labels_of_several_lines_do_not_cover_each_other() -> None:
    lines = [1, 3, 2, 1, 4]
    places = _apart([0.97, 0.971, 0.9, 0.972, 1.0], (0.8, 1.0), 0.05, lines)
    halves = [0.5 * 0.05 * 0.2 * count for count in lines]
    order = np.argsort(places)
    for one, other in itertools.pairwise(order):
        assert places[other] - places[one] >= halves[one] + halves[other] - 1e-12
    assert list(order) == [2, 0, 1, 3, 4]  # as the values
    assert max(places) <= 1.0


def test_a_picture_of_left_out_documents_and_dollars(index: Index, tmp_path: Path) -> None:
    where = {"even": {"$eq": True}, "id": {"$ne": "x$y"}}
    found = evaluate(index, k=10, sample=40, ways=["exact", "binary:40"], where=where, timed=False)
    assert found.exact is not None
    assert (found.exact >= 0).all()
    figure = found.plot(tmp_path / "report.svg")
    (line,) = (line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) > 2)
    assert np.min(line.get_ydata()) > 0.5
    assert "$eq" in (tmp_path / "report.svg").read_text()
    with pytest.raises(OptionError, match="neither times nor judgments"):
        evaluate(index, QUERIES, k=5, ways=["exact"], timed=False).plot(tmp_path / "no.svg")


def test_ids_are_told_apart(index: Index) -> None:
    with pytest.raises(QueryError, match="query '1' stands twice"):
        evaluate(index, {1: "cat", "1": "dog"})
    made = evaluate(index, sample=20, k=5, ways=["exact"], timed=False)
    with pytest.raises(QueryError, match="made of documents cannot be compared"):
        compare(made, made)


def test_many_queries_to_tune_with_are_counted_as_they_are_kept(tmp_path: Path) -> None:
    with Index.build(map(record, range(50)), tmp_path / "i", encoder=HashedWords()) as index:
        vectors = np.random.default_rng(0).standard_normal((2001, index.dimensions))
        assert tune(index, None, vectors=vectors.astype(np.float32)).queries == 1001


def test_a_measure_is_of_a_search_to_its_depth(index: Index) -> None:
    """Not of the deepest one, which is another search, and may be an exact one."""
    for way in ("binary:40", "0.9", "rrf"):
        alone = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=[way], timed=False)
        both = evaluate(index, QUERIES, JUDGMENTS, k=(10, 40), ways=[way], timed=False)
        for name in ("nDCG@10", "MRR@10"):
            assert np.array_equal(
                alone[way].measures[name], both[way].measures[name], equal_nan=True
            )
        assert np.array_equal(alone[way].unjudged, both[way].unjudged, equal_nan=True)
        run = alone.run(way)
        compared = compare(both, run)
        (overlap,) = compared.overlap.values()
        assert (overlap == 1.0).all()


def test_a_filter_of_one_way_is_refused(index: Index) -> None:
    with pytest.raises(QueryError, match="one filter is for all ways"):
        evaluate(index, QUERIES, ways={"f": {"where": "even"}})


def test_what_can_be_measured_without_judgments_that_fit_is(index: Index) -> None:
    with pytest.raises(QueryError, match="there are no judgments"):
        evaluate(index, QUERIES, {})
    ways = ["exact", "binary:40"]
    for qrels, told in (
        ({"q0": {"doc 0": 1, "doc 1": 0}}, r"none of the 2 documents that are judged.*'doc 0'"),
        ({"other": {"d 1": 1}}, r"no query has any.*'q0'.*'other'"),
        ({"d 1": {"q0": 1}}, r"what stands for documents are queries"),
    ):
        found = evaluate(index, QUERIES, qrels, k=10, ways=ways, timed=False)
        assert re.search(rf"nothing is measured by judgments: .*{told}", "\n".join(found.notes))
        assert found.judgments == {}
        assert not found["exact"].measures
        assert found.recall("exact", 10).mean == 1.0
        assert 0 < found.recall("binary:40", 10).mean <= 1
    with pytest.raises(QueryError, match="none of the 30 documents"):
        tune(index, QUERIES, {name: {f"doc {name}": 1} for name in QUERIES})


def test_a_run_may_have_scores_and_is_checked(index: Index, tmp_path: Path) -> None:
    found = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=["exact"], timed=False)
    run = found.run("exact")
    shuffled = {query: dict(reversed(scores.items())) for query, scores in run.items()}
    for form in (shuffled, {query: list(scores) for query, scores in run.items()}):
        assert all(row.difference.mean == 0.0 for row in compare(found, form).rows)
    lines = [
        run_line(query.replace(" ", ""), name.replace(" ", ""), rank, score, "t")
        for query, scores in run.items()
        for rank, (name, score) in enumerate(scores.items(), 1)
    ]
    (tmp_path / "r.trec").write_text("\n".join(lines))
    compare(found, tmp_path / "r.trec")
    for wrong, told in (
        ({"q0": "d 0"}, "several ids by query id"),
        ({"q0": [("d 0", 0.3)]}, "ids by query id, or scores"),
        ({"q0": ["d 0", "d 1", "d 0"]}, "stands twice"),
    ):
        with pytest.raises(QueryError, match=told):
            compare(found, wrong)  # type: ignore[arg-type] # (wrong on purpose)
    deeper = evaluate(index, QUERIES, JUDGMENTS, k=20, ways=["exact"], timed=False)
    assert any("searched to 10 documents" in note for note in compare(deeper, found).notes)
    others = evaluate(index, {"q0": "cat dog"}, k=10, ways=["exact"], timed=False)
    assert "1 queries of the same id have another text there" in compare(found, others).notes


def test_what_is_proven_has_no_interval(index: Index) -> None:
    found = evaluate(index, QUERIES, k=10, ways=["exact", "binary:900"], timed=False)
    assert found["binary:900"].answers[10].certified.all()
    assert found.recall("binary:900", 10).interval is None


def test_an_index_without_an_encoder_says_so(tmp_path: Path) -> None:
    records = [record(number) for number in range(5)]
    options = BuildOptions(text_index=True)
    with Index.build(records, tmp_path / "i", embeddings=np.eye(5), options=options) as index:
        found = evaluate(index, ["cat"], k=2, timed=False)
        assert "the index has no encoder" in found.notes[0]


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
