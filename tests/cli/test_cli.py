"""The command line on one index, as a user meets it."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from qsearch.kernels import has_native_kernels
from qsearch.store import FORMAT_VERSION
from tests.cli.running import run
from tests.conftest import ROOT

RECORDS = [
    {"_id": "cat", "title": "Cats", "text": "A kitten is a young cat.", "legs": 4},
    {"_id": "market", "text": "The stock market fell sharply on Monday."},
    {"_id": "dog", "text": "Dogs bark at strangers."},
    {"_id": "piano", "text": "She plays the piano every evening."},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with one index, ``indexes/pets``, of the default model."""
    folder = tmp_path_factory.mktemp("place")
    corpus = folder / "pets.jsonl"
    corpus.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    built = run("build", "pets.jsonl", "--graph", cwd=folder)
    assert built.returncode == 0, built.stderr
    (folder / "build.stderr").write_text(built.stderr)
    return folder


def test_build_reports_what_it_did(place: Path) -> None:
    report = (place / "build.stderr").read_text()
    lines = dict(line.strip().split(maxsplit=1) for line in report.splitlines())
    assert lines["index"] == "indexes/pets"
    assert lines["documents"] == "4"
    assert lines["rejected"] == lines["truncated"] == "0"
    assert lines["dimensions"] == "384"
    for part in ("texts and catalog", "codes", "float vectors", "graph"):
        assert part in lines["on"]
    for part in ("read", "encode", "publish"):
        assert part in lines["seconds"]
    assert len(report.splitlines()) < 12


def test_query_prints_hits_for_people(place: Path) -> None:
    done = run("query", "baby feline", "-k", "2", cwd=place)
    assert done.returncode == 0
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first.split()[0] == "1"
    assert 0.3 < float(first.split()[1]) < 1
    assert first.split(maxsplit=2)[2] == "cat  Cats: A kitten is a young cat."
    assert second.split()[2] == "dog"


def test_query_prints_jsonl_for_programs(place: Path) -> None:
    done = run("query", "baby feline", "-k", "9", "--format", "jsonl", cwd=place)
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(hits) == 4
    assert hits[0]["id"] == "cat"
    assert hits[0]["title"] == "Cats"
    assert hits[0]["metadata"] == {"legs": 4}
    assert hits[0]["certified"] is True
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert "metadata" not in hits[1]


def test_query_prints_trec_runs(place: Path) -> None:
    done = run("query", "-", "--format", "trec", "-k", "2", cwd=place, stdin="puppies\nshares\n")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert [row[3] for row in rows] == ["1", "2", "1", "2"]
    assert rows[0][1] == "Q0"
    assert rows[0][2] == "dog"
    assert rows[2][2] == "market"
    assert all(row[5] == "qsearch" for row in rows)


def test_several_queries_are_headed_by_their_text(place: Path) -> None:
    done = run("query", "puppies", "shares", "-k", "1", cwd=place)
    lines = done.stdout.splitlines()
    assert lines[0] == "# puppies"
    assert lines[1].split()[2] == "dog"
    assert lines[3] == "# shares"
    assert lines[4].split()[2] == "market"


def test_queries_come_from_beir_files(place: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"_id": "q7", "text": "puppies"}\n\n{"_id": "q9", "text": "music"}\n')
    done = run("query", "--queries", queries, "-k", "1", "--format", "trec", cwd=place)
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["q7", "Q0", "dog"],
        ["q9", "Q0", "piano"],
    ]
    packed = tmp_path / "queries.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + queries.read_bytes()))
    again = run("query", "--queries", packed, "-k", "1", "--format", "trec", cwd=place)
    assert again.stdout == done.stdout


@pytest.mark.parametrize("method", ["binary", "graph"])
def test_every_method_answers(place: Path, method: str) -> None:
    exact = run("query", "puppies", "--format", "trec", cwd=place)
    other = run("query", "puppies", "--format", "trec", "--method", method, cwd=place)
    assert other.stdout == exact.stdout


def test_a_search_is_explained_on_standard_error(place: Path) -> None:
    plain = run("query", "puppies", cwd=place)
    done = run("query", "puppies", "--explain", cwd=place)
    assert done.stdout == plain.stdout
    assert "exact: proven exact (asked for)" in done.stderr
    assert re.search(r"floats +4 rows +6.1 kB", done.stderr)
    assert re.search(r"hit 1: \d by binary codes, \d by int8 codes", done.stderr)
    record = json.loads(
        run("query", "puppies", "--explain", "--format", "jsonl", cwd=place).stdout.splitlines()[0]
    )
    assert record["ranks"]["int8"] == 1
    assert record["explanation"]["stages"][-1]["rows"] == 4


def test_a_recall_may_be_asked_for(place: Path) -> None:
    done = run("query", "puppies", "--recall", "0.9", "--explain", cwd=place)
    assert done.stdout == run("query", "puppies", cwd=place).stdout
    assert "the index is small" in done.stderr
    assert "neither exact nor a number" in run("query", "x", "--recall", "lots", cwd=place).stderr
    beside = run("query", "x", "--recall", "0.9", "--candidates", "50", cwd=place)
    assert beside.stderr.startswith("error: candidates need a method")
    for method in ("exact", "cascade", "binary", "graph"):
        beside = run("query", "x", "--recall", "0.9", "--method", method, cwd=place)
        assert beside.returncode == 1
        assert (
            "the recall or the method" in beside.stderr or "a recall or a method" in beside.stderr
        )
    assert "not measured" in run("info", cwd=place).stdout


@pytest.mark.parametrize(
    "command",
    [("query", "puppies"), ("info",), ("build", "pets.jsonl", "--force")],
    ids=lambda one: one[0],
)
@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("QSEARCH_KERNELS", "avx999", "this machine has .*numpy"),
        ("QSEARCH_THREADS", "0", "it must be a whole number from 1 to 256"),
        ("QSEARCH_THREADS", "²", "it must be a whole number from 1 to 256"),
    ],
)
def test_an_environment_that_cannot_be_is_an_error_of_one_line(
    place: Path, command: tuple[str, ...], name: str, value: str, allowed: str
) -> None:
    if name == "QSEARCH_THREADS" and command[0] == "query" and not has_native_kernels():
        pytest.skip("without native kernels a search takes the threads of NumPy")
    done = run(*command, cwd=place, environment={name: value})
    assert done.returncode == 1
    assert re.fullmatch(f"error: {name} is '{value}'; {allowed}\n", done.stderr)


def test_an_index_is_named_by_option_variable_or_alone(place: Path) -> None:
    reference = run("query", "puppies", "-k", "1", cwd=place).stdout
    assert run("query", "puppies", "-k", "1", "-i", "indexes/pets", cwd=place).stdout == reference
    assert run("query", "puppies", "-k", "1", "-i", "pets", cwd=place).stdout == reference
    environment = {"QSEARCH_INDEX": str(place / "indexes" / "pets")}
    elsewhere = run("query", "puppies", "-k", "1", cwd=ROOT, environment=environment)
    assert elsewhere.stdout == reference


def test_info_shows_the_index_and_its_encoder(place: Path) -> None:
    text = run("info", cwd=place).stdout
    assert "documents          4" in text
    assert "sentence-transformers/all-MiniLM-L6-v2" in text
    facts = json.loads(run("info", "--format", "json", cwd=place).stdout)
    assert facts["documents"] == 4
    assert facts["format"] == FORMAT_VERSION
    assert facts["graph"] is True
    assert facts["encoder"]["pooling"] == "mean"
    assert facts["bytes"]["vectors.npy"] == 128 + 4 * 384 * 4


def test_verify_says_whether_an_index_is_sound(place: Path, tmp_path: Path) -> None:
    sound = run("verify", "--deep", cwd=place)
    assert sound.returncode == 0
    assert "is sound" in sound.stdout
    copy = Path(shutil.copytree(place / "indexes" / "pets", tmp_path / "copy"))
    (vectors,) = copy.rglob("vectors.npy")
    data = bytearray(vectors.read_bytes())
    data[2000] ^= 1
    vectors.write_bytes(data)
    damaged = run("verify", "-i", copy, cwd=place)
    assert damaged.returncode == 1
    assert "damaged: segments/" in damaged.stdout
    assert "vectors.npy: checksum" in damaged.stdout
    assert "is damaged (1 problem)" in damaged.stderr
    assert "qsearch build --force" in damaged.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["query", "x", "-i", "nowhere"], 1, "there is no index at nowhere"),
        (["query", "  "], 1, "the query is empty"),
        (["query", "x", "-k", "0"], 1, "k must be at least 1"),
        (["query", "x", "-k", "many"], 2, "not a valid integer"),
        (["query", "x", "--method", "magic"], 2, "'magic' is not one of"),
        (["query", "x", "--queries", "f"], 2, "one of TEXT"),
        (["query", "--queries", "nowhere.jsonl"], 1, "nowhere.jsonl: cannot be opened"),
        (["build"], 2, "give a CORPUS, or --vectors"),
        (["build", "nowhere.jsonl", "-o", "x"], 1, "nowhere.jsonl: cannot be opened"),
        (["build", "nowhere", "-o", "x"], 1, "nowhere: cannot be opened (there is no such file)"),
        (
            ["build", "indexes", "-o", "x"],
            1,
            "indexes: cannot be opened: it is a folder without a corpus.jsonl",
        ),
        (["build", "build.stderr", "-o", "x"], 1, "give --input-format"),
        (["build", "pets.jsonl", "-o", "x", "-m", "./none"], 1, "no model folder at ./none"),
        (["build", "--vectors", "pets.jsonl"], 1, "is not a .npy file"),
        (["info", "-i", "pets.jsonl"], 1, "is a file; an index is a directory"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
    ],
)
def test_errors_are_one_message_without_a_traceback(
    place: Path, arguments: list[str], code: int, message: str
) -> None:
    done = run(*arguments, cwd=place)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (place / "x").exists()
    debug = run(*arguments, cwd=place, environment={"QSEARCH_DEBUG": "1"})
    assert ("Traceback" in debug.stderr) == (code == 1)


def test_lack_of_memory_is_told_without_a_traceback(place: Path) -> None:
    lack = MemoryError("Unable to allocate 9.31 GiB for an array with shape (10000000000,)")
    with mock.patch("qsearch.cli.cli.main", side_effect=lack):
        done = run("info", cwd=place)
        assert done.returncode == 1
        assert "not enough memory (Unable to allocate 9.31 GiB" in done.stderr
        assert "Traceback" not in done.stderr
        with pytest.raises(MemoryError):
            run("info", cwd=place, environment={"QSEARCH_DEBUG": "1"})


def test_blank_lines_among_queries_are_counted_and_left_out(place: Path) -> None:
    stdin = "\ufeffpuppies\n\n  \nshares\r\n"
    done = run("query", "-", "--format", "trec", "-k", "1", cwd=place, stdin=stdin)
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["1", "Q0", "dog"],
        ["4", "Q0", "market"],
    ]


def test_which_index_is_meant_must_be_clear(tmp_path: Path, place: Path) -> None:
    assert "make one with 'qsearch build CORPUS'" in run("query", "x", cwd=tmp_path).stderr
    for name in ("a", "b"):
        shutil.copytree(place / "indexes" / "pets", tmp_path / "indexes" / name)
    assert "there are several indexes (indexes/a, indexes/b)" in run("info", cwd=tmp_path).stderr


def test_a_reader_that_leaves_early_is_no_error(place: Path) -> None:
    command = f"{sys.executable} -m qsearch query puppies --format jsonl | head -n 1"
    done = subprocess.run(
        command, shell=True, cwd=place, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["id"] == "dog"
    assert done.stderr == ""
