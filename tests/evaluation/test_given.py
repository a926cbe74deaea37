"""What an evaluation is given, what of it can be measured, and what is refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, Index, QueryError
from qsearch.evaluation import Way, evaluate, named_way, tune
from tests.evaluation.world import JUDGMENTS, QUERIES, record


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
    assert not any("judgments" in table.title for table in found.tables())
    assert "no query has a relevant document: what is judged is 0 or less" in "\n".join(found.notes)
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
        ({"queries": QUERIES, "k": "10"}, "k must be a whole number, found '10'"),
        ({"queries": QUERIES, "k": []}, "k must be at least 1"),
        ({"queries": QUERIES, "ways": ["exact", "exact"]}, "stands twice"),
        ({"queries": QUERIES, "ways": "exact"}, r"as \['exact'\]"),
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


def test_relevant_documents_that_a_filter_leaves_out_are_told(index: Index) -> None:
    judgments = {"q0": {"d 0": 1, "d 3": 1, "d 5": 0}}
    found = evaluate(index, QUERIES, judgments, k=10, ways=["exact"], where="even", timed=False)
    assert any("leaves out 1 relevant document ('d 3')" in note for note in found.notes)


def test_a_filter_of_one_way_is_refused(index: Index) -> None:
    with pytest.raises(QueryError, match="one filter is for all ways"):
        evaluate(index, QUERIES, ways={"f": {"where": "even"}})


def test_what_can_be_measured_without_judgments_that_fit_is(index: Index) -> None:
    with pytest.raises(QueryError, match="there are no judgments"):
        evaluate(index, QUERIES, {})
    ways = ["exact", "binary:40"]
    for qrels, told in (
        ({"q0": {"doc 0": 1, "doc 1": 0}}, r"none of the documents that are judged \(2\).*'doc 0'"),
        ({"other": {"d 1": 1}}, r"no query has any.*'q0'.*'other'"),
        ({"d 1": {"q0": 1}}, r"what stands for documents are queries"),
    ):
        found = evaluate(index, QUERIES, qrels, k=10, ways=ways, timed=False)
        assert re.search(rf"nothing is measured by judgments: .*{told}", "\n".join(found.notes))
        assert found.judgments == {}
        assert not found["exact"].measures
        assert found.recall("exact", 10).mean == 1.0
        assert 0 < found.recall("binary:40", 10).mean <= 1
    with pytest.raises(QueryError, match=r"none of the documents that are judged \(30\)"):
        tune(index, QUERIES, {name: {f"doc {name}": 1} for name in QUERIES})


def test_an_index_without_an_encoder_says_so(tmp_path: Path) -> None:
    records = [record(number) for number in range(5)]
    options = BuildOptions(text_index=True)
    with Index.build(records, tmp_path / "i", embeddings=np.eye(5), options=options) as index:
        found = evaluate(index, ["cat"], k=2, timed=False)
        assert "the index has no encoder" in found.notes[0]


def test_a_way_gives_documents(index: Index) -> None:
    with pytest.raises(
        QueryError, match="the way passages gives passages, .*leave all_passages out"
    ):
        evaluate(index, QUERIES, ways={"passages": {"all_passages": True}}, timed=False)
    with pytest.raises(QueryError, match="the name of a way must be a text"):
        evaluate(index, QUERIES, ways={"\ud800": {}}, timed=False)


def test_judgments_that_become_the_same_are_one_or_an_error(index: Index) -> None:
    asked = {7: "cat dog"}
    found = evaluate(
        index, asked, {7: {"d 1": 1}, "7": {"d 1": 1, "d 2": 0}}, ways=["exact"], timed=False
    )
    assert found.judgments == {"7": {"d 1": 1, "d 2": 0}}
    with pytest.raises(QueryError, match="document 'd 1' is judged twice for query '7': 0, and 1"):
        evaluate(index, asked, {7: {"d 1": 1}, "7": {"d 1": 0}}, ways=["exact"], timed=False)


def test_what_is_unjudged_is_of_the_queries_that_measures_are_of(tmp_path: Path) -> None:
    rows = np.eye(8, dtype=np.float32)
    with Index.build(None, tmp_path / "i", embeddings=rows) as index:
        judgments = {"1": {"0": 1}, "2": {"7": 0}}  # the second has no relevant document
        found = evaluate(index, None, judgments, vectors=rows[:2], k=1, ways=["exact"], timed=False)
    assert found["exact"].unjudged.tolist() == pytest.approx([0.0, np.nan], nan_ok=True)


def test_queries_of_a_set_have_no_order(index: Index) -> None:
    with pytest.raises(QueryError, match="give a list"):
        evaluate(index, {"a kitten", "a young cat"}, k=5)
    with pytest.raises(QueryError, match="must be a text, found ndarray; vectors are given with"):
        evaluate(index, [np.zeros(3), np.ones(3)], k=5)


def test_a_sample_is_bounded_by_the_documents(index: Index) -> None:
    found = evaluate(index, k=np.array(5), sample=10**12, ways=["exact"], timed=False)
    assert found.depths == (5,)
    assert len(found.queries) < 40 * len(index)
    told = found.to_dict()
    assert len(told["query_groups"]) == len(told["query_ids"]) == len(found.queries)
    assert told["query_groups"].count(found.groups[0].name) == int(found.own.sum())
