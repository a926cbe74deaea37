"""The command line, as a user meets it."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from qsearch import QsearchError
from qsearch.cli import main
from qsearch.cli.target import default_target
from qsearch.kernels import has_native_kernels
from qsearch.store import FORMAT_VERSION
from tests.conftest import ROOT
from tests.encoders import WORDS

RECORDS = [
    {"_id": "cat", "title": "Cats", "text": "A kitten is a young cat.", "legs": 4},
    {"_id": "market", "text": "The stock market fell sharply on Monday."},
    {"_id": "dog", "text": "Dogs bark at strangers."},
    {"_id": "piano", "text": "She plays the piano every evening."},
]


def run(
    *arguments: str | Path,
    cwd: Path,
    stdin: str | bytes = b"",
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which has imported the heavy packages already."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    code: object = 0
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment or {}),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8")),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main([str(one) for one in arguments])
        except SystemExit as finished:
            code = finished.code
        except QsearchError:
            traceback.print_exc()
            code = 1
    for stream in (stdout, stderr):
        stream.seek(0)
    assert isinstance(code, int)
    return subprocess.CompletedProcess(list(arguments), code, stdout.read(), stderr.read())


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


def test_recall_is_measured_with_queries_from_a_file(tmp_path: Path, tiny_bert: Path) -> None:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size=6)) for _ in range(400)]
    (tmp_path / "c.txt").write_text("\n".join(texts))
    (tmp_path / "q.txt").write_text("\n".join(texts[:30]))
    done = run("build", "c.txt", "-m", tiny_bert, "--tune-queries", "q.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    info = run("info", cwd=tmp_path).stdout
    assert "measured with 30 queries from q.txt" in info
    assert re.search(r"  k = 10 +exact: \d", info)
    assert re.search(r"    0\.9 +(\d+ candidates|an exact|no number)", info)
    facts = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)
    assert facts["tuning"]["queries"] == 30
    assert facts["kernels"]


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


def build_small(folder: Path, model: Path, *arguments: str | Path, **options: Any) -> Any:
    return run("build", *arguments, "-m", model, cwd=folder, **options)


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "csv", "tsv", "txt", "parquet", "stdin"])
def test_every_format_of_corpus_is_built(tmp_path: Path, tiny_bert: Path, form: str) -> None:
    records = [{"id": str(n + 1), "text": f"cat {n}"} for n in range(20)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    corpus = tmp_path / f"corpus.{form}"
    stdin = None
    if form == "jsonl":
        corpus.write_text(lines)
    elif form == "jsonl.gz":
        corpus.write_bytes(gzip.compress(lines.encode()))
    elif form in ("csv", "tsv"):
        separator = "," if form == "csv" else "\t"
        rows = [separator.join(record.values()) for record in records]
        corpus.write_text("\n".join([separator.join(["id", "text"]), *rows]))
    elif form == "txt":
        corpus.write_text("".join(record["text"] + "\n" for record in records))
    elif form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), corpus)
    else:
        stdin = lines
    target = "indexes/stdin" if form == "stdin" else "indexes/corpus"
    done = build_small(tmp_path, tiny_bert, "-" if form == "stdin" else corpus, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / target / "catalog.sqlite").is_file()
    hits = run("query", "cat 7", "-k", "1", "--format", "jsonl", "-m", tiny_bert, cwd=tmp_path)
    assert json.loads(hits.stdout)["text"] == "cat 7"
    assert json.loads(hits.stdout)["id"] == "8"


def test_fields_are_named_by_options(tmp_path: Path, tiny_bert: Path) -> None:
    (tmp_path / "c.csv").write_text("key,body,head,a,b\n7,cat,Dogs,1,2\n")
    done = build_small(
        tmp_path, tiny_bert, "c.csv", "--id-field", "key", "--text-field", "body",
        "--title-field", "head", "--metadata-field", "b",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hit = json.loads(run("query", "x", "--format", "jsonl", cwd=tmp_path).stdout)
    assert (hit["id"], hit["title"], hit["text"], hit["metadata"]) == (
        "7",
        "Dogs",
        "cat",
        {"b": "2"},
    )


def test_vectors_alone_make_an_index(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(5, dtype=np.float32))
    done = run("build", "--vectors", "v.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "indexes" / "v").is_dir()
    refused = run("query", "cat", cwd=tmp_path)
    assert refused.returncode == 1
    assert "built from vectors without an encoder" in refused.stderr


def test_invalid_lines_are_named_or_skipped(tmp_path: Path, tiny_bert: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": 1, "text": "cat"}\n[1]\n{"id": 2, "text": "dog"}\n')
    refused = build_small(tmp_path, tiny_bert, "c.jsonl")
    assert refused.returncode == 1
    assert "c.jsonl:2: must be a JSON object, found an array" in refused.stderr
    assert "--skip-invalid" in refused.stderr
    done = build_small(tmp_path, tiny_bert, "c.jsonl", "--skip-invalid", "--rejects", "bad.jsonl")
    assert done.returncode == 0
    assert "1 (see bad.jsonl)" in done.stderr
    assert json.loads((tmp_path / "bad.jsonl").read_text())["line"] == 2


def test_building_again_needs_force(tmp_path: Path, tiny_bert: Path) -> None:
    (tmp_path / "c.txt").write_text("cat\n")
    assert build_small(tmp_path, tiny_bert, "c.txt").returncode == 0
    refused = build_small(tmp_path, tiny_bert, "c.txt")
    assert refused.returncode == 1
    assert "add --force" in refused.stderr
    assert build_small(tmp_path, tiny_bert, "c.txt", "--force").returncode == 0


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vectors", "v.npy", "--query-prompt", "q: "], "--query-prompt needs --model"),
        (["--vectors", "v.npy", "--max-length", "9"], "--max-length needs --model"),
        (["--vectors", "v.npy", "--text-field", "body"], "--text-field needs a CORPUS"),
        (["--vectors", "v.npy", "--input-format", "csv"], "--input-format needs a CORPUS"),
        (["c.jsonl", "--rejects", "r"], "--rejects needs --skip-invalid"),
        (["--vectors", "v.npy", "--passages", "9"], "--passages needs texts to encode"),
        (["c.jsonl", "--overlap", "9"], "--overlap needs --passages"),
        (["c.jsonl", "--language", "de"], "--language needs --passages"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run("build", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_rejects_that_cannot_be_written_are_told_before_the_work(
    tmp_path: Path, tiny_bert: Path
) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "cat"}\n')
    done = run(
        "build", "c.jsonl", "--skip-invalid", "--rejects", "no/r", "-m", tiny_bert, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "cannot be written to no/r" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c.jsonl"]


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("notes.v2.jsonl.gz", "notes.v2"),
        ("data.2024", "data.2024"),
        ("-", "stdin"),
        ("x.csv.jsonl", "x.csv"),
        (".jsonl", ".jsonl"),
    ],
)
def test_an_index_is_named_after_its_corpus(corpus: str, name: str) -> None:
    assert default_target(corpus) == Path("indexes") / name


def test_vectors_that_no_text_can_vouch_for_are_told(tmp_path: Path, tiny_bert: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(32, dtype=np.float32))
    done = run("build", "--vectors", "v.npy", "-m", tiny_bert, cwd=tmp_path)
    assert "not held against the model: no record has a text" in done.stderr
    assert run("query", "cat", cwd=tmp_path).returncode == 0


def test_which_index_is_meant_must_be_clear(tmp_path: Path, place: Path) -> None:
    assert "make one with 'qsearch build CORPUS'" in run("query", "x", cwd=tmp_path).stderr
    for name in ("a", "b"):
        shutil.copytree(place / "indexes" / "pets", tmp_path / "indexes" / name)
    assert "there are several indexes (indexes/a, indexes/b)" in run("info", cwd=tmp_path).stderr


def test_an_interrupted_build_says_how_to_go_on_and_does(tmp_path: Path, tiny_bert: Path) -> None:
    """Ctrl-C, in the middle of encoding, of a corpus that comes through a pipe."""
    lines = [json.dumps({"id": n, "text": f"cat {n}"}) for n in range(6000)]
    command = [sys.executable, "-m", "qsearch", "build", "-", "-o", "i", "-m", str(tiny_bert)]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background lets them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin is not None
    assert process.stderr is not None
    # The pipe stays open behind 5,000 lines: when these are done, the build waits for more.
    process.stdin.write("\n".join(lines[:5000]) + "\n")
    process.stdin.flush()
    catalog = tmp_path / "i.building" / "catalog.sqlite"
    while process.poll() is None:
        try:
            connection = sqlite3.connect(
                catalog.absolute().as_uri() + "?mode=ro", uri=True, timeout=0
            )
            connection.close()
        except sqlite3.OperationalError:
            continue
        (vectors,) = list((tmp_path / "i.building").rglob("vectors.npy")) or [None]
        if vectors is not None and vectors.stat().st_size >= 128 + 4096 * 32 * 4:
            break
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert re.search(
        "interrupted; (2,048|4,096) documents are finished and kept: run the same command", stderr
    )
    half = run("query", "cat", "-i", "i", cwd=tmp_path)
    assert "half written" in half.stderr
    done = build_small(tmp_path, tiny_bert, "-", "-o", "i", stdin="\n".join(lines))
    assert done.returncode == 0, done.stderr
    # The second chunk was being made durable when the signal came.
    assert re.search("(2,048|4,096) were done before the interruption", done.stderr)
    assert re.search("documents +6,000", run("info", "-i", "i", cwd=tmp_path).stdout)


def test_whoever_is_impatient_may_interrupt_twice(tmp_path: Path, tiny_bert: Path) -> None:
    lines = [json.dumps({"id": n, "text": f"cat {n} " * 20}) for n in range(30_000)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    process = subprocess.Popen(
        [sys.executable, "-m", "qsearch", "build", "c.jsonl", "-o", "i", "-m", str(tiny_bert)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not list(tmp_path.glob("i.building/segments/pending/*")):
        time.sleep(0.01)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, stderr = process.communicate()
    assert process.returncode == 130
    for trouble in ("Traceback", "terminate", "Exception"):
        assert trouble not in stderr
    (tmp_path / "c.jsonl").write_text("\n".join(lines[:3000]))
    done = run("build", "c.jsonl", "-o", "i", "-m", tiny_bert, "--restart", "--force", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_quiet_says_nothing(tmp_path: Path, tiny_bert: Path) -> None:
    (tmp_path / "c.txt").write_text("cat\n")
    done = run("-q", "build", "c.txt", "-m", tiny_bert, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_reader_that_leaves_early_is_no_error(place: Path) -> None:
    command = f"{sys.executable} -m qsearch query puppies --format jsonl | head -n 1"
    done = subprocess.run(
        command, shell=True, cwd=place, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["id"] == "dog"
    assert done.stderr == ""


def test_long_documents_are_split_into_passages(tmp_path: Path, tiny_bert: Path) -> None:
    sentence = "the cat and the dog are in the house."
    records = [
        {
            "id": "a",
            "title": "King",
            "text": " ".join([sentence] * 3 + ["Music in the night."] * 9),
        },
        {"id": "b", "text": "water"},
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    arguments = ("build", "c.jsonl", "-m", tiny_bert, "-o", "i")
    cut = run(*arguments, "--max-length", "40", "-o", "cut", cwd=tmp_path)
    assert "1 are longer than 40 tokens" in cut.stderr
    assert "--passages 40 splits them" in cut.stderr
    refused = run(*arguments, "--passages", "900", cwd=tmp_path)
    assert refused.returncode == 1
    assert "ask for at most 64 with --passages" in refused.stderr
    built = run(*arguments, "--passages", "24", "--overlap", "6", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    lines = dict(line.strip().split(maxsplit=1) for line in built.stderr.splitlines())
    count = int(lines["passages"])
    assert count > 3
    assert lines["truncated"] == "0"
    done = run("query", sentence, "-i", "i", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 2
    # The passage is shown, not the whole document.
    shown = next(line for line in done.stdout.splitlines() if "King" in line)
    assert len(shown) < 130
    done = run("query", sentence, "-i", "i", "--format", "jsonl", "--all-passages", cwd=tmp_path)
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(hits) == count
    assert [hit["id"] for hit in hits].count("a") == count - 1
    texts = {one["id"]: str(one["text"]) for one in records}
    for hit in hits:
        passage = hit["passage"]
        assert texts[hit["id"]][passage["begin"] : passage["end"]] == passage["text"]
        assert "text" not in hit
    odd = run(*arguments, "--passages", "24", "--language", "German", "--force", cwd=tmp_path)
    assert odd.returncode == 1
    assert "'German' is no ISO 639 code" in odd.stderr
    done = run("query", "x", "-i", "i", "--format", "trec", "--all-passages", cwd=tmp_path)
    assert done.returncode == 2
    assert "names a document once" in done.stderr
    told = run("info", "-i", "i", cwd=tmp_path).stdout
    assert f"{count}, of at most 24 tokens, overlapping by up to 6" in told
    facts = json.loads(run("info", "-i", "i", "--format", "json", cwd=tmp_path).stdout)
    assert (facts["rows"], facts["documents"]) == (count, 2)
    passages = facts["passages"]
    assert (passages["tokens"], passages["overlap"], passages["language"]) == (24, 6, "en")


def test_help_teaches() -> None:
    overview = run("--help", cwd=ROOT).stdout
    for command in ("build", "query", "info", "verify"):
        assert command in overview
        assert "Usage:" in run(command, "--help", cwd=ROOT).stdout
    assert "qsearch build corpus.jsonl" in overview
    assert "zcat dump.jsonl.gz | qsearch build -" in run("build", "-h", cwd=ROOT).stdout


def test_help_and_import_load_nothing_heavy() -> None:
    heavy = {"torch", "sentence_transformers", "transformers", "faiss", "usearch", "numpy"}
    for statement in (
        "import qsearch",
        "import qsearch.cli; qsearch.cli.cli.main(['--help'], standalone_mode=False)",
    ):
        code = f"import sys\n{statement}\nprint(sorted(set(sys.modules)), file=sys.stderr)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert not heavy & set(eval(done.stderr))
