"""An evaluation beside another one, or beside a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import Index, QueryError
from qsearch.documents import run_line
from qsearch.evaluation import evaluate
from qsearch.evaluation.comparing import compare
from tests.encoders import HashedWords
from tests.evaluation.world import JUDGMENTS, QUERIES, record


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
    assert "documents of 20 of 20 queries the same score" in found.notes[0]
    assert "answers 20 of 30 queries" in found.notes[1]
    first = found.rows[0]  # as trec_eval -c: what a run does not answer has found nothing
    values = ours["exact"].measures["nDCG@10"]
    assert first.difference.queries == 30
    assert first.theirs.mean == pytest.approx(values[:20].sum() / 30)
    assert first.difference.mean == pytest.approx(values[20:].sum() / 30)
    assert found.losses["exact"][1] == ()
    assert found.overlap["exact"].sum() == 20
    with pytest.raises(QueryError, match="found list"):
        compare(ours, ["d 1"], "run.trec")  # type: ignore[arg-type] # (wrong on purpose)
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
    assert "run has no document in common with this index among the first 10 of any query" in told
    later = {"q2": ["other", "another", *ours["exact"].documents["q2"][:3]]}
    assert "in common" not in "\n".join(compare(ours, later, "run").notes)  # behind the first two
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


def test_ids_are_told_apart(index: Index) -> None:
    with pytest.raises(QueryError, match="query '1' stands twice"):
        evaluate(index, {1: "cat", "1": "dog"})
    made = evaluate(index, sample=20, k=5, ways=["exact"], timed=False)
    with pytest.raises(QueryError, match="made of documents cannot be compared"):
        compare(made, made)


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
    assert "1 query of the same id has another text there" in compare(found, others).notes


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (
            {"q1": {"1": float("nan"), "2": 1.0}},
            "the score of '1' for query 'q1' must be a number, found nan",
        ),
        ({"q1": {"1": "x"}}, "must be a number, found 'x'"),
        ({"q1": {"1": None}}, "must be a number, found None"),
        ({"q1": {"1": 10**400}}, "must be a number, found 1000"),
        ({"q1": {"1", "2"}}, "a run is several ids by query id, best first"),
        ({"q1": b"12"}, "a run is several ids by query id, best first"),
        ({7: ["1"], "7": ["2"]}, "query '7' stands twice in a run"),
    ],
)
def test_a_run_that_has_no_order_is_refused(index: Index, run: Any, told: str) -> None:
    ours = evaluate(index, QUERIES, JUDGMENTS, k=2, ways=["exact"], timed=False)
    with pytest.raises(QueryError, match=told):
        compare(ours, run)
    with pytest.raises(QueryError, match="worst must be"):
        compare(ours, {"q1": ["1"]}, worst="3")  # type: ignore[arg-type] # (wrong on purpose)
    with pytest.raises(QueryError, match="worst must be at least 0, found -1"):
        compare(ours, {"q1": ["1"]}, worst=-1)


def test_an_index_without_documents_is_compared_with(index: Index, tmp_path: Path) -> None:
    with Index.build([record(1)], tmp_path / "none", encoder=HashedWords()) as none:
        none.delete([record(1)["id"]])
        theirs = evaluate(none, QUERIES, JUDGMENTS, k=5, ways=["exact"], timed=False)
    assert "nothing is measured by judgments: the index holds no documents" in theirs.notes
    ours = evaluate(index, QUERIES, JUDGMENTS, k=5, ways=["exact"], timed=False)
    found = compare(ours, theirs, "none")
    assert all(one.theirs.mean == 0 for one in found.rows)


def test_ways_that_find_the_same_are_compared_once(index: Index, tmp_path: Path) -> None:
    ways = ["exact", "0.99", "binary:12"]
    ours = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=ways, timed=False)
    alone = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=["exact", "binary:12"], timed=False)
    with Index.build(map(record, range(300)), tmp_path / "o", encoder=HashedWords()) as other:
        theirs = evaluate(other, QUERIES, JUDGMENTS, k=10, ways=ways, timed=False)
    found, once = compare(ours, theirs, worst=3), compare(alone, theirs, worst=3)
    assert "0.99 found what exact did, here and there: compared once" in found.notes
    assert [(one.way, one.measure) for one in found.rows] == [
        (one.way, one.measure) for one in once.rows
    ]
    assert [one.corrected for one in found.rows] == [one.corrected for one in once.rows]
    assert set(found.losses) == set(found.overlap) == {"exact", "binary:12"}


def test_what_a_run_was_not_asked_is_no_loss(index: Index) -> None:
    ours = evaluate(index, QUERIES, k=10, ways=["exact"], timed=False)
    run = {query: ours["exact"].documents[query] for query in list(QUERIES)[:20]}
    name = next(iter(run))
    run[name] = [f"d {number}" for number in range(10)]
    (lost,) = compare(ours, run, worst=5).losses["exact"][1]
    assert lost.query == name


def test_what_differs_of_two_encoders_is_told(index: Index) -> None:
    ours = evaluate(index, QUERIES, k=10, ways=["exact"], timed=False)
    known = {**ours.index["encoder_identity"], "max_length": 256, "query_prompt": ""}
    ours = replace(ours, index={**ours.index, "encoder_identity": known})
    other = {
        **ours.index,
        "encoder_identity": {**known, "max_length": 32, "query_prompt": "query: "},
        "passages": {"tokens": 60, "overlap": 10, "language": "en"},
    }
    told = "\n".join(compare(ours, replace(ours, index=other), "other").notes)
    assert "other has another encoder" in told
    assert "maximum length: 32 there, 256 here" in told
    assert "query prompt: 'query: ' there, '' here" in told
    assert "other into passages of 60 tokens, of which 10 overlap, this index not at all" in told, (
        told
    )
    assert compare(ours, ours).notes == ()


def test_what_cannot_differ_is_no_test(index: Index) -> None:
    ours = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=["exact", "keywords"], timed=False)
    same = replace(ours, ways=(ours["exact"], ours["keywords"]))
    assert all(one.difference.equal and one.corrected == 1.0 for one in compare(ours, same).rows)
    run = {query: documents[::-1] for query, documents in ours["exact"].documents.items()}
    found = compare(ours, run)
    tested = [one for one in found.rows if not one.difference.equal]
    assert {one.measure for one in found.rows if one.difference.equal and one.way == "exact"} == {
        "R@10"  # whose order does not count
    }
    lowest = min(tested, key=lambda one: one.difference.probability)
    expected = min(1.0, lowest.difference.probability * len(tested))
    assert lowest.corrected == pytest.approx(expected)
    assert f"corrected for {len(tested)} tests" in found.tables()[0].title
    assert "of each" not in found.to_markdown()
    assert found.tables()[0].title in found.to_markdown()
    assert repr(found).startswith("<Comparison with the other")


def test_ranks_that_contradict_scores_are_told(index: Index, tmp_path: Path) -> None:
    ours = evaluate(index, QUERIES, JUDGMENTS, k=10, ways=["exact"], timed=False)
    for name, sign in (("scores", 1.0), ("distances", -1.0)):
        lines = [
            f"{query}\tQ0\t{document}\t{rank}\t{sign * (100.0 - rank)}\tsystem"
            for query, documents in ours["exact"].documents.items()
            for rank, document in enumerate(documents, 1)
        ]
        path = tmp_path / f"{name}.trec"
        path.write_text("\n".join(lines))
        found = compare(ours, path)
        assert found.name == str(path)
        told = "the ranks of 30 of 30 queries are not in the order of their scores"
        assert any(told in note for note in found.notes) == (sign < 0), found.notes
    with pytest.raises(QueryError, match="found Index: compare with what evaluate"):
        compare(ours, index)  # type: ignore[arg-type]  # (wrong on purpose)


def test_a_folder_asks_what_is_judged(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": name, "text": text}) for name, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    judged = list(JUDGMENTS)[:7]
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n"
        + "\n".join(f"{q}\t{d}\t{v}" for q in judged for d, v in JUDGMENTS[q].items())
    )
    found = evaluate(index, folder, folder, k=10, ways=["exact"], timed=False)
    assert set(found.queries) == set(judged)
    left = len(QUERIES) - len(judged)
    told = "queries that nobody judged are left out; judgments that are given apart ask these too"
    assert f"{left} {told}" in found.notes
    apart = evaluate(
        index,
        folder / "queries.jsonl",
        folder / "qrels" / "test.tsv",
        k=10,
        ways=["exact"],
        timed=False,
    )
    assert len(apart.queries) == len(QUERIES)
    assert apart.measure("exact", "nDCG@10").mean == found.measure("exact", "nDCG@10").mean
