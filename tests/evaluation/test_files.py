"""Judgments and runs as files have them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from qsearch import CorpusError, QueryError
from qsearch.documents import read_judgments, read_run, run_line


def written(folder: Path, text: str, name: str = "qrels.tsv") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


EXPECTED = {"q1": {"d1": 1, "d 2": 0}, "q2": {"d1": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td 2\t0\nq2\td1\t2\n",
        "q1\td1\t1\nq1\td 2\t0\n\nq2\td1\t2",
        "q1\t0\td1\t1\r\nq1\t0\td 2\t0\r\nq2\t0\td1\t2\r\n",
        "q1\td1\t1.0\nq1\td 2\t0\nq2\td1\t2\nq1\td1\t1\n",
    ],
)
def test_judgments_are_read_in_every_form(tmp_path: Path, text: str) -> None:
    assert read_judgments(written(tmp_path, text)) == EXPECTED
    packed = tmp_path / "packed.tsv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_judgments(str(packed)) == EXPECTED


def test_columns_may_be_parted_by_white_space(tmp_path: Path) -> None:
    spaced = read_judgments(written(tmp_path, " q\t d 1 \t 1 \n"))
    assert spaced == {" q": {" d 1 ": 1}}  # as ids are elsewhere
    found = read_judgments(written(tmp_path, "301  0 FBIS3-10082  1\n301 0   FR94 -1\n"))
    assert found == {"301": {"FBIS3-10082": 1, "FR94": -1}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no judgments"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgments"),
        ("a b\n", "has 2 columns"),
        (
            "query,document,relevance\n",
            "has 1 column; columns are parted by tabs or white space, not",
        ),
        ("a b c d e\n", "has 5 columns"),
        ("q d 1\nq 0 d 1\n", "has 4 columns, the lines before have 3"),
        (
            "q d 1\nq e relevant\n",
            r":2: the relevance must be a whole number of at most a million, found 'relevant'",
        ),
        ("q d 1.5\n", "must be a whole number of at most a million, found '1.5'"),
        ("q d 1\nq d 2\n", "is judged 2 for query 'q', and 1 further up"),
        ("q d 1_0\n", ":1: the relevance must be a whole number"),
        ("q d \u0663\n", ":1: the relevance must be a whole number"),
        ("q d nan\nq d 1\n", ":1: the relevance must be a whole number"),
        ("q\td\t\nq\td\t1\n", ":1: the relevance must be a whole number"),
        ("q d relevance\nq d 1\n", None),
        ("query_id doc_id rel-label\nq d 1\n", None),
        ("q d relevant\nq d 1\n", ":1: .*found 'relevant'; a header ends with 'score'"),
        ("q d 1\nq e inf\n", "must be a whole number"),
        (
            "q d 1\nq e 2147483648\n",
            "whole number of at most a million, found '2147483648'",
        ),
    ],
)
def test_what_is_no_judgment_is_an_error_with_its_line(
    tmp_path: Path, text: str, told: str | None
) -> None:
    path = written(tmp_path, text)
    if told is None:  # a first line whose last column is called so is a header
        assert read_judgments(path) == {"q": {"d": 1}}
        return
    with pytest.raises(QueryError, match=told):
        read_judgments(path)


def test_judgments_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is a folder without judgments"):
        read_judgments(str(tmp_path))
    written(tmp_path, "q\td\t1\n", "qrels/train.tsv")
    assert read_judgments(str(tmp_path)) == {"q": {"d": 1}}
    written(tmp_path, "q\td\t2\n", "qrels/test.tsv")
    assert read_judgments(str(tmp_path)) == {"q": {"d": 2}}
    other = tmp_path / "flat"
    written(other, "q\td\t3\n")
    assert read_judgments(str(other)) == {"q": {"d": 3}}
    several = tmp_path / "several"
    written(several, "q\td\t3\n", "qrels/a.tsv")
    written(several, "q\td\t3\n", "qrels/b.tsv")
    with pytest.raises(CorpusError, match="several files of judgments"):
        read_judgments(str(several))


def test_a_run_is_ordered_by_score_and_then_by_rank(tmp_path: Path) -> None:
    text = "q Q0 a 3 0.5 t\nq Q0 b 2 0.5 t\nq Q0 c 1 0.1 t\nr Q0 a 1 7 t\n"
    found = read_run(written(tmp_path, text, "run.trec"))
    assert {query: list(hits) for query, hits in found.items()} == {
        "q": ["b", "a", "c"],
        "r": ["a"],
    }
    assert found["q"] == {"b": 0.5, "a": 0.5, "c": 0.1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no run"),
        ("q Q0 my doc 1 0.5 t\n", "has 7 columns.* need tabs"),
        ("q Q0 d first 0.5 t\n", "must be numbers"),
        ("q Q0 d 1 nan t\n", "NaN is no score"),
        ("q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t\n", "a second time"),
    ],
)
def test_what_is_no_run_is_an_error(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(QueryError, match=told):
        read_run(written(tmp_path, text, "run.trec"))


def test_ids_with_spaces_stand_between_tabs_and_are_not_written(tmp_path: Path) -> None:
    found = read_run(written(tmp_path, "q 1\tQ0\tmy doc\t1\t0.5\tt\n", "run.trec"))
    assert found == {"q 1": {"my doc": 0.5}}
    assert run_line("q", "d", 1, 0.123456789012, "t") == "q Q0 d 1 0.123456789 t"
    for bad in ("my doc", "", "a\x00b", "tab\t"):
        with pytest.raises(QueryError, match="a TREC run cannot"):
            run_line("q", bad, 1, 0.5, "t")
