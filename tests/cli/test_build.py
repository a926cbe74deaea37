"""``qsearch build``, as a user meets it."""

from __future__ import annotations

import gzip
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch.cli.target import default_target
from tests.cli.running import run
from tests.encoders import WORDS


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
