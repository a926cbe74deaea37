"""``qsearch eval`` on an index of real text, with a real model."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from qsearch import BuildOptions, Index
from qsearch.documents import read_run
from qsearch.evaluation import running
from qsearch.keywords import DEFAULT_WEIGHT
from tests.cli.running import run

WORDS = "cat dog fish bird tree king queen river house stone".split()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """An index, and a collection in BEIR's form."""
    place = tmp_path_factory.mktemp("collection")
    generator = np.random.default_rng(0)
    records = [
        {"id": f"d{number}", "text": " ".join(generator.choice(WORDS, size=7))}
        for number in range(300)
    ]
    options = BuildOptions(text_index=True)
    Index.build(records, place / "indexes" / "i", encoder=str(tiny_bert), options=options).close()
    with open(place / "queries.jsonl", "w") as file:
        for number in range(40):
            words = " ".join(records[number]["text"].split()[1:5])
            file.write(json.dumps({"_id": f"q{number}", "text": words}) + "\n")
    (place / "qrels").mkdir()
    (place / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(40))
    )
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "place")
    return tmp_path / "place"


def test_a_folder_in_beirs_form_is_measured(made: Path) -> None:
    done = run("eval", "--queries", ".", "-k", "10", cwd=made)
    assert done.returncode == 0, done.stderr
    for told in (
        "Against exact search: 40 queries",
        "Against judgments: 40 queries with relevant documents",
        "nDCG@10",
        "Milliseconds a query at k = 10",
        "hybrid",
        "keywords",
    ):
        assert told in done.stdout
    for told in ("the encoder takes", "memory:", "kernels"):
        assert told in done.stderr


def test_without_queries_it_measures_itself(made: Path) -> None:
    done = run("eval", "i", "--sample", "60", "-k", "5", "--no-times", cwd=made)
    assert done.returncode == 0, done.stderr
    assert "middles between two" in done.stdout
    assert "from anywhere" in done.stdout
    assert "Milliseconds" not in done.stdout


def test_forms_and_files(made: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--queries", "queries.jsonl", "--qrels", "qrels/test.tsv", "--no-times")
    ways = ("--ways", "exact,keywords,binary:120")
    picture, found = tmp_path / "report.svg", tmp_path / "run.trec"
    done = run(*arguments, *ways, "--format", "json", "--run", found, "--plot", picture, cwd=made)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [one["way"] for one in told["ways"]] == ["exact", "keywords", "binary:120"]
    assert told["depths"] == [10, 100]
    assert told["ways"][0]["recall"]["100"]["mean"] == 1.0
    assert picture.read_text().startswith("<?xml")
    names = ["run.binary-120.trec", "run.exact.trec", "run.keywords.trec"]
    assert sorted(one.name for one in tmp_path.glob("*.trec")) == names
    query = run("query", "--queries", "queries.jsonl", "-k", "100", "--format", "trec", cwd=made)
    (tmp_path / "same.trec").write_text(query.stdout)
    assert read_run(str(tmp_path / "same.trec")) == read_run(str(tmp_path / "run.exact.trec"))
    done = run(*arguments, "--ways", "exact", "--format", "md", "-k", "5", cwd=made)
    assert "| way | nDCG@5 | MRR@5 | MAP@5 | R@5 | unjudged@5 |" in done.stdout


def test_other_answers_are_held_against_these(made: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--queries", ".", "-k", "10", "--no-times")
    found = tmp_path / "words.trec"
    assert run(*arguments, "--ways", "keywords", "--run", found, cwd=made).returncode == 0
    done = run(*arguments, "--ways", "exact", "--compare", found, "--worst", "2", cwd=made)
    assert done.returncode == 0, done.stderr
    assert "differences, p by randomisation, alone and corrected for 4 tests" in done.stdout
    assert "exact: queries that lose most by nDCG@10" in done.stdout
    assert done.stdout.count(" there\n") == 2
    assert done.stdout.count("    relevant: d") == 2
    assert "    there 1. + d" in done.stdout
    assert ", there 1): " in done.stdout
    same = run(*arguments, "--ways", "exact", "--compare", "i", "--format", "json", cwd=made)
    told = json.loads(same.stdout)["comparison"]
    assert told["overlap"]["exact"]["mean"] == 1.0
    assert [one["difference"]["mean"] for one in told["differences"]] == [0.0] * 4
    same = run(*arguments, "--ways", "exact", "--compare", "i", cwd=made).stdout
    assert "Beside indexes/i: nothing differs, of no query" in same
    assert re.search(r"nDCG@10 .* \+0\.0000 \[.*\] +– +–\n", same)
    other = Index.build([{"id": "x", "text": "cat"}], tmp_path / "o", embeddings=np.eye(1))
    other.close()
    done = run(*arguments, "--compare", tmp_path / "o", cwd=made)
    assert done.returncode == 1
    assert "without an encoder" in done.stderr
    assert done.stdout == ""  # before anything is measured


def test_an_index_of_other_documents_is_not_judged_by_these(
    made: Path, tmp_path: Path, tiny_bert: Path
) -> None:
    other = Index.build(
        [{"id": f"x{n}", "text": word} for n, word in enumerate(WORDS)],
        tmp_path / "o",
        encoder=str(tiny_bert),
    )
    other.close()
    arguments = ("eval", "--queries", ".", "-k", "10", "--no-times", "--ways", "exact")
    done = run(*arguments, "--compare", tmp_path / "o", cwd=made)
    assert done.returncode == 1
    assert f"error: {tmp_path / 'o'}: nothing is measured by judgments" in done.stderr
    assert "the rest is compared" in done.stderr
    assert "Beside" not in done.stdout  # no difference of zeros that look like a loss
    assert f"Documents in common with {tmp_path / 'o'}" in done.stdout


def test_a_run_with_equal_scores_is_told_when_it_is_written(made: Path, tmp_path: Path) -> None:
    records = [{"id": f"d{number}", "text": "a cat"} for number in range(4)]
    with Index.open(made / "indexes" / "i") as index:
        model = index.encoder
        Index.build(records, tmp_path / "o", encoder=model).close()
    arguments = ("eval", tmp_path / "o", "--queries", "queries.jsonl", "-k", "3", "--no-times")
    done = run(*arguments, "--ways", "exact", "--run", tmp_path / "r.trec", cwd=made)
    assert "120 lines; of 40 of 40 queries documents have the same score" in done.stderr


def test_an_index_is_tuned(place: Path) -> None:
    arguments = ("eval", "--queries", ".", "-k", "10", "--no-times", "--ways", "exact,hybrid")
    done = run(*arguments, "--tune", "--format", "json", cwd=place)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["tuned"]
    assert (told["queries"], told["commit"], told["before"]) == (40, 2, DEFAULT_WEIGHT)
    assert len(told["by_weight"]) == 21
    assert told["gain"]["queries"] == 40
    with Index.open(place / "indexes" / "i") as index:
        answered = index.search("cat dog", mode="hybrid", explain=True).explanation
        assert answered is not None
        assert answered.keywords is not None
        assert answered.keywords.weight == told["weight"]
        # Words find a document that its own words were taken from: they should count for much here.
        assert told["weight"] < DEFAULT_WEIGHT
        by_weight = told["by_weight"]
        assert by_weight[str(told["weight"])] == max(by_weight.values())
        index.add([{"id": "new", "text": "cat"}])
        index.compact()
        assert index.settings["hybrid"]["weight"] == told["weight"]
    assert run("verify", "--deep", cwd=place).returncode == 0
    assert "weight of the meaning" in run("info", cwd=place).stdout
    again = run(*arguments, "--tune", cwd=place)
    assert f"the weight of the meaning stays {told['weight']:g}" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--qrels", "qrels/test.tsv"), "give these with --queries"),
        (("--queries", ".", "--sample", "3"), "leave it out where queries are given"),
        (("--queries", ".", "--worst", "3"), "name it with --compare"),
        (("--compare", "i"), "give these with --queries"),
        (("--tune",), "give these with --queries"),
        (("--queries", ".", "--tune", "--where", "id = 'd1'"), "leave out --where"),
        (("--queries", ".", "-k", "ten"), "numbers like 10,100"),
        (("--queries", ".", "--ways", "fast"), "there is no way of searching 'fast'"),
        (("--queries", ".", "--ways", ","), "no way to measure"),
        (("--queries", ".", "--ways", "binary:5"), "the way binary:5 at k = 10"),
        (("--queries", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--queries", ".", "--qrels", "queries.jsonl"), "columns"),
        (("--queries", ".", "--compare", "queries.jsonl"), "columns"),
        (("--queries", ".", "--compare", "nowhere"), "nowhere"),
        (("--queries", ".", "--plot", "x.jpeg", "--no-times"), ".svg, .png, .pdf"),
        (("--queries", ".", "--run", "no/x.trec", "--no-times"), "cannot be written"),
        (("--queries", ".", "--run", "-", "--no-times"), "qsearch query - --format trec"),
    ],
)
def test_what_makes_no_sense_is_told(made: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run("eval", *arguments, cwd=made)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_ids_that_no_run_can_hold(made: Path, tmp_path: Path) -> None:
    with Index.build([{"id": "a b", "text": "cat"}], tmp_path / "i", embeddings=np.eye(1)):
        pass
    np.save(tmp_path / "q.npy", np.eye(1))
    done = run("eval", "i", "--vectors", "q.npy", "--run", "x.trec", "--no-times", cwd=tmp_path)
    assert done.returncode == 1
    assert "the id 'a b' holds white space" in done.stderr
    assert "Against exact search: 1 query vectors" in done.stdout  # nothing is lost


def test_nothing_is_tuned_before_all_is_checked(place: Path) -> None:
    for wrong in (("--ways", "fast"), ("-k", "0"), ("--ways", "binary:5"), ("--ways", "graph")):
        done = run("eval", "--queries", ".", "--no-times", "--tune", *wrong, cwd=place)
        assert done.returncode == 1, done.stderr
    assert "needs a graph, and the index has none" in done.stderr
    with Index.open(place / "indexes" / "i") as index:
        assert index.commit == 1


def test_queries_from_a_pipe_are_read_once(place: Path) -> None:
    text = (place / "queries.jsonl").read_text()
    arguments = ("eval", "--queries", "-", "--qrels", "qrels/test.tsv", "-k", "10", "--no-times")
    done = run(*arguments, "--tune", "--compare", "i", "--ways", "exact", cwd=place, stdin=text)
    assert done.returncode == 0, done.stderr
    assert "tuned" in done.stderr
    assert "Beside" in done.stdout


def test_files_are_written_whoever_reads_the_tables(made: Path, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("run.trec", "report.svg")]
    arguments = ["eval", "--queries", ".", "--ways", "exact,binary:120"]
    options = ["--run", names[0], "--plot", names[1], "--format", "json"]
    command = shlex.join([sys.executable, "-m", "qsearch", *arguments, *options])
    done = subprocess.run(
        f"{command} | true", shell=True, cwd=made, capture_output=True, timeout=300
    )
    assert b"Traceback" not in done.stderr
    assert {one.name for one in tmp_path.iterdir()} == {
        "run.exact.trec",
        "run.binary-120.trec",
        "report.svg",
    }


def test_nothing_that_is_read_is_written_over(place: Path) -> None:
    (place / "words.trec").write_text("q0 Q0 d0 1 1.0 t\n")
    before = (place / "words.trec").read_bytes(), (place / "queries.jsonl").read_bytes()
    arguments = ("eval", "--queries", ".", "-k", "5", "--no-times", "--ways", "exact")
    for wrong in (
        ("--compare", "words.trec", "--run", "./words.trec"),
        ("--run", "queries.jsonl"),
        ("--run", "qrels/test.tsv"),
        ("--run", "indexes/i/run.trec"),
        ("--plot", "indexes/i/report.svg"),
    ):
        done = run(*arguments, *wrong, cwd=place)
        assert done.returncode == 1
        assert re.search(
            "would take the place of what is read|lies inside of an index", done.stderr
        )
    assert ((place / "words.trec").read_bytes(), (place / "queries.jsonl").read_bytes()) == before
    for _ in range(2):  # a report of before is no queries
        assert run(*arguments, "--run", "found.trec.gz", cwd=place).returncode == 0
    assert len(read_run(str(place / "found.trec.gz"))) == 40


def test_a_query_that_no_run_can_hold_is_told_first(made: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "a b", "text": "cat"}\n')
    done = run("eval", "--queries", tmp_path / "q.jsonl", "--run", tmp_path / "r.trec", cwd=made)
    assert done.returncode == 1
    assert "the id 'a b' holds white space" in done.stderr
    assert done.stdout == ""


def test_what_fits_nothing_is_told_at_once_and_the_rest_measured(
    made: Path, tmp_path: Path
) -> None:
    (tmp_path / "q.tsv").write_text("other 0 d1 1\n")
    (tmp_path / "r.trec").write_text("other Q0 d1 1 1.0 t\n")
    arguments = ("eval", "--queries", "queries.jsonl", "-k", "5", "--no-times")
    arguments = (*arguments, "--ways", "exact,binary:50", "--format", "json")
    for option, file, told in (
        ("--qrels", "q.tsv", "no query has any"),
        ("--compare", "r.trec", "has no query in common"),
    ):
        done = run(*arguments, option, tmp_path / file, cwd=made)
        assert done.returncode == 1
        first, last = done.stderr.strip().split("\n")[0], done.stderr.strip().split("\n")[-1]
        assert told in first
        assert first.endswith("the rest is measured")
        assert told in last
        text = run(*arguments[:-2], option, tmp_path / file, cwd=made)
        assert text.stderr.count(told) == 2
        assert "Against exact search" in text.stdout
        found = json.loads(done.stdout)
        assert [one["way"] for one in found["ways"]] == ["exact", "binary:50"]
        assert 0 < found["ways"][1]["recall"]["5"]["mean"] <= 1
        assert found["judged"] == 0


def test_nothing_is_measured_where_judgments_to_tune_with_fit_nothing(
    made: Path, tmp_path: Path
) -> None:
    (tmp_path / "q.tsv").write_text("other 0 d1 1\n")
    arguments = ("eval", "--queries", "queries.jsonl", "--qrels", tmp_path / "q.tsv", "--tune")
    done = run(*arguments, cwd=made)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no query has any" in done.stderr
    assert "the rest is measured" not in done.stderr


def test_losses_stand_in_markdown_as_they_are(made: Path, tmp_path: Path) -> None:
    (tmp_path / "r.trec").write_text("".join(f"q{n} Q0 d{n} 1 1.0 t\n" for n in range(40)))
    arguments = ("eval", "--queries", "queries.jsonl", "-k", "5", "--no-times", "--ways", "exact")
    compared = ("--compare", tmp_path / "r.trec", "--worst", "1", "--format", "md")
    done = run(*arguments, *compared, cwd=made)
    assert "\n```text\nexact: queries that lose most by" in done.stdout
    assert "\n- memory: " in done.stdout
    assert "goes to 1 document a query" in done.stdout  # what was noted of the comparison


def test_names_that_other_people_give_are_no_markdown_and_no_picture(
    made: Path, tmp_path: Path
) -> None:
    name = "<img src=x>![z](y)*b*.jsonl"
    shutil.copy(made / "queries.jsonl", tmp_path / name)
    (tmp_path / "q.tsv").write_text("q1\td1\t1\nq1\t<b>gone</b>\t1\n")
    arguments = ("--qrels", tmp_path / "q.tsv", "-k", "5", "--no-times", "--ways", "exact,binary")
    done = run("eval", "--queries", tmp_path / name, *arguments, "--format", "md", cwd=made)
    assert done.returncode == 0, done.stderr
    assert r"queries of &lt;img src=x&gt;!\[z](y)\*b\*.jsonl**" in done.stdout
    assert "judgments of 1 document ('&lt;b&gt;gone&lt;/b&gt;')" in done.stdout
    # A name that is not UTF-8, where there may be such names.
    try:
        shutil.copy(made / "queries.jsonl", tmp_path / "b\udcff.jsonl")
    except OSError:
        return
    plot = ("--plot", tmp_path / "p.svg")
    done = run("eval", "--queries", tmp_path / "b\udcff.jsonl", *arguments, *plot, cwd=made)
    assert done.returncode == 0, done.stderr
    assert r"40 queries of b\udcff.jsonl" in done.stdout
    assert r"40 queries of b\udcff.jsonl" in (tmp_path / "p.svg").read_text(encoding="utf-8")


def test_losses_without_judgments_are_what_is_in_common(made: Path, tmp_path: Path) -> None:
    (tmp_path / "r.trec").write_text("".join(f"q{n} Q0 d{n} 1 1.0 t\n" for n in range(40)))
    arguments = ("eval", "--queries", "queries.jsonl", "-k", "5", "--no-times", "--ways", "exact")
    compared = ("--compare", tmp_path / "r.trec", "--worst", "1")
    done = run(*arguments, *compared, cwd=made)
    assert " in common\n" in done.stdout
    assert "exact: queries that lose most by documents in common@5\n" in done.stdout
    told = json.loads(run(*arguments, *compared, "--format", "json", cwd=made).stdout)
    assert told["comparison"]["losses"]["exact"]["queries"][0]["theirs"] is None


def test_an_index_without_documents_is_beside_no_run(place: Path, tmp_path: Path) -> None:
    ids = [f"d{n}" for n in range(300)]
    assert run("delete", *ids, cwd=place).returncode == 0
    (tmp_path / "r.trec").write_text("q1 Q0 d1 1 1.0 t\n")
    asked = ("eval", "--queries", "queries.jsonl", "-k", "5", "--no-times", "--ways", "exact")
    for more, told in (
        (("--compare", tmp_path / "r.trec"), "error: indexes/i holds no documents"),
        (("--qrels", "qrels/test.tsv"), "by judgments: the index holds no documents"),
    ):
        done = run(*asked, *more, cwd=place)
        assert done.returncode == 1
        assert told in done.stderr
        assert "Against exact search: 40 queries" in done.stdout


def test_an_index_without_an_encoder_is_compared_by_words(made: Path, tmp_path: Path) -> None:
    records = [
        {"id": f"d{n}", "text": "cat dog"} for n in range(4)
    ]  # some of those that are judged
    options = BuildOptions(text_index=True)
    Index.build(records, tmp_path / "o", embeddings=np.eye(4), options=options).close()
    arguments = ("eval", "--queries", ".", "-k", "5", "--no-times", "--compare", tmp_path / "o")
    done = run(*arguments, "--ways", "exact,keywords", cwd=made)
    assert done.returncode == 0, done.stderr
    assert "cannot be searched by exact: not compared" in done.stderr
    assert "was built without an encoder, this index with one" in done.stderr
    done = run(*arguments, "--ways", "exact", cwd=made)
    assert "it has no encoder; give vectors with --vectors" in done.stderr


def test_runs_of_several_ways_take_no_place_of_what_is_read(place: Path) -> None:
    line = "q0 Q0 d0 1 1.0 t\n"
    shutil.copytree(place / "indexes" / "i", place / "indexes" / "other")
    (place / "run.exact.trec").write_text(line)
    np.savez(place / "v.npz", q=np.ones((40, 32)))
    arguments = (
        "eval",
        "i",
        "--queries",
        ".",
        "-k",
        "5",
        "--no-times",
        "--ways",
        "exact,binary:50",
    )
    for wrong in (
        ("--run", "run.trec", "--compare", "run.exact.trec"),
        ("--run", "indexes/other/run.trec", "--compare", "other"),
        ("--run", "v.npz", "--vectors", "v.npz:q", "--ways", "exact"),
    ):
        done = run(*arguments, *wrong, cwd=place)
        assert done.returncode == 1
    assert (place / "run.exact.trec").read_text() == line
    (place / "dir.binary-50.trec").mkdir()
    os.mkfifo(place / "fifo.svg")
    (place / "loop.svg").symlink_to("loop.svg")
    looped = run("eval", place / "indexes" / "other", "--queries", "loop.svg", cwd=place)
    assert looped.returncode == 1
    assert "Too many levels of symbolic links" in looped.stderr, looped.stderr
    assert "Traceback" not in looped.stderr
    for wrong, told in (
        (("--run", "dir.trec"), "is a directory"),
        (("--plot", "fifo.svg"), "no regular file"),
        (("--run", "x.svg", "--plot", "x.svg", "--ways", "exact"), "written twice"),
        (("--run", "a" * 252 + ".trec"), "too long"),
    ):
        done = run(*arguments, *wrong, "--tune", cwd=place)
        assert done.returncode == 1, wrong
        assert told in done.stderr
    with Index.open(place / "indexes" / "i") as index:
        assert index.commit == 1  # nothing was tuned before


def test_what_fails_is_told_though_nobody_reads_the_tables(made: Path, tmp_path: Path) -> None:
    (tmp_path / "r.trec").write_text("q0 Q0 strange 1 1.0 t\n")
    arguments = ["eval", "--queries", ".", "--ways", "exact", "--no-times", "--compare", "r.trec"]
    arguments[-1] = str(tmp_path / "r.trec")
    command = shlex.join([sys.executable, "-m", "qsearch", *arguments])
    done = subprocess.run(
        f"set -o pipefail; {command} | true",
        shell=True,
        executable="/bin/bash",
        cwd=made,
        capture_output=True,
        timeout=300,
    )
    assert b"holds none of the documents" in done.stderr
    assert done.returncode == 1


def test_an_interruption_changes_no_name(made: Path, tmp_path: Path) -> None:
    found = tmp_path / "s.trec"
    calls = 0
    before = running.answer

    def interrupted(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return before(*given, **named)

    with mock.patch.object(running, "answer", interrupted):
        done = run(
            *("eval", "--queries", ".", "-k", "5,9", "--no-times", "--ways", "exact,binary:50"),
            *("--run", found),
            cwd=made,
        )
    assert done.returncode == 130
    assert [one.name for one in tmp_path.glob("*.trec")] == ["s.exact.trec"]
    assert "Against exact search" in done.stdout


def test_tuning_that_keeps_the_weight_stores_none(place: Path) -> None:
    judged = "".join(f"q{n}\td{(n * 7) % 300}\t1\n" for n in range(40))  # by nobody's words
    (place / "some.tsv").write_text(judged)
    arguments = ("--queries", "queries.jsonl", "--qrels", "some.tsv", "--no-times", "-k", "10")
    done = run("eval", *arguments, "--tune", "--ways", "exact", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "the weight of the meaning stays" in done.stderr
    assert "chosen on" not in run("info", cwd=place).stdout


def test_one_stream_cannot_be_queries_and_judgments(made: Path) -> None:
    done = run("eval", "--queries", "-", "--qrels", "-", cwd=made, stdin="x")
    assert done.returncode == 2
    assert "cannot be both" in done.stderr
