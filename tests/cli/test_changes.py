"""An index that is changed from the command line: what each command does, tells, and refuses."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

import qsearch.indexing.apply
import qsearch.indexing.changing
import qsearch.indexing.chunks
import qsearch.store.editor
from qsearch import Index
from qsearch.store import FORMAT_VERSION, IndexEditor
from qsearch.store.writer_lock import WriterLock
from tests.cli.test_cli import run
from tests.encoders import make_tiny_bert

Record = dict[str, Any]

PETS = [
    {"id": "cat", "title": "Cats", "text": "the cat is in the house", "legs": 4},
    {"id": "dog", "text": "a dog and a bird"},
    {"id": "fish", "text": "fish are in the river", "tags": ["wet", None, 1.5]},
]


def write(path: Path, records: list[Record]) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records))
    return path


def told(done: CompletedProcess[str]) -> dict[str, str]:
    """The table of a report."""
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ", 1) for line in (done.stderr or done.stdout).splitlines()]
    return {label: value.strip() for label, value in rows}


def records_of(index: Path) -> list[Record]:
    with Index.open(index) as opened:
        return [
            {"id": one.id, "title": one.title, "text": one.text, **one.metadata} for one in opened
        ]


def snapshot(index: Path) -> dict[str, bytes]:
    """Every file but the one that names the writer."""
    return {
        str(path.relative_to(index)): path.read_bytes()
        for path in sorted(index.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A directory with ``indexes/pets``, of texts."""
    folder = tmp_path_factory.mktemp("changes")
    done = run("build", write(folder / "pets.jsonl", PETS), "-m", tiny_bert, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "place"))


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """A directory with ``indexes/v``, of vectors without texts."""
    np.save(tmp_path / "v.npy", np.eye(5, dtype=np.float32))
    assert run("build", "--vectors", "v.npy", cwd=tmp_path).returncode == 0
    return tmp_path


# add


def test_documents_are_added_and_reported(place: Path) -> None:
    write(place / "more.jsonl", [{"id": "king", "text": "the king"}, {"id": "q", "text": "queen"}])
    report = told(run("add", "more.jsonl", cwd=place))
    assert report["index"] == "indexes/pets"
    assert (report["added"], report["rejected"], report["truncated"]) == ("2", "0", "0")
    assert (report["documents"], report["commit"]) == ("5 now", "2")
    for phase in ("read", "encode", "commit", "keep up"):
        assert phase in report["seconds"]
    hit = run("query", "the king", "-k", "1", "--format", "jsonl", cwd=place)
    assert json.loads(hit.stdout)["id"] == "king"
    assert json.loads(hit.stdout)["certified"] is True
    assert run("verify", "--deep", cwd=place).returncode == 0


def test_an_id_that_is_there_is_named_and_the_advice_works(place: Path) -> None:
    records = [{"id": "new", "text": "water"}, {"id": "dog", "text": "another dog"}]
    write(place / "more.jsonl", records)
    refused = run("add", "more.jsonl", cwd=place)
    assert refused.returncode == 1
    assert (
        "more.jsonl:2: there is a document of the id 'dog' in indexes/pets already"
        in refused.stderr
    )
    assert "; --upsert replaces it" in refused.stderr
    assert len(records_of(place / "indexes" / "pets")) == 3
    skipped = told(run("add", "more.jsonl", "--skip-invalid", "--rejects", "r.jsonl", cwd=place))
    assert (skipped["added"], skipped["rejected"]) == ("1", "1 (see r.jsonl)")
    assert "'dog'" in json.loads((place / "r.jsonl").read_text())["reason"]
    report = told(run("add", "more.jsonl", "--upsert", cwd=place))
    assert (report["added"], report["replaced"], report["unchanged"]) == ("0", "1", "1")


def test_upsert_encodes_only_what_is_new(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [PETS[0] | {"legs": 5}, PETS[1], PETS[2] | {"text": "fish"}, {"id": "e", "text": "x"}]
    write(place / "u.jsonl", records)
    report = told(run("add", "u.jsonl", "--upsert", cwd=place))
    kinds = ("added", "replaced", "metadata only", "unchanged")
    assert [report[one] for one in kinds] == ["1", "1", "1", "1"]
    again = told(run("add", "u.jsonl", "--upsert", cwd=place))
    assert again["commit"] == "2, as before: nothing was to be done"
    monkeypatch.setattr(Index, "_checked_encoder", None)  # is not asked for
    write(place / "u.jsonl", [PETS[0] | {"legs": 6}])
    assert told(run("add", "u.jsonl", "--upsert", cwd=place))["metadata only"] == "1"
    assert records_of(place / "indexes" / "pets")[0]["legs"] == 6


@pytest.mark.parametrize("form", ["csv", "gz", "parquet", "stdin", "fields"])
def test_what_build_reads_is_added(place: Path, form: str) -> None:
    records = [{"id": str(n), "text": f"tree {n}"} for n in range(5)]
    lines = "".join(json.dumps(one) + "\n" for one in records)
    options: list[str] = []
    corpus = place / f"c.{form}"
    if form == "csv":
        corpus.write_text("id;text\n" + "".join(f"{n};tree {n}\n" for n in range(5)))
        options = ["--delimiter", ";"]
    elif form == "gz":
        corpus = place / "c.jsonl.gz"
        corpus.write_bytes(gzip.compress(lines.encode()))
    elif form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), corpus)
    elif form == "fields":
        write(corpus, [{"key": one["id"], "body": one["text"]} for one in records])
        options = ["--input-format", "jsonl", "--id-field", "key", "--text-field", "body"]
    source = "-" if form == "stdin" else str(corpus)
    report = told(run("add", source, *options, cwd=place, stdin=lines))
    assert report["added"] == "5"
    assert [one["text"] for one in records_of(place / "indexes" / "pets")][3:] == [
        one["text"] for one in records
    ]


def test_records_without_ids_are_numbered_and_a_number_that_is_taken_is_told(place: Path) -> None:
    (place / "notes.txt").write_text("a street\nthe school\n")
    report = told(run("add", "notes.txt", cwd=place))
    assert report["ids"] == "line numbers, from 1: no record has an id"
    for stdin, corpus in (("", "notes.txt"), ('{"text": "stone"}\n', "-")):
        again = run("add", corpus, cwd=place, stdin=stdin)
        assert again.returncode == 1
        assert (
            f"{corpus}:1: there is a document of the id '1' in indexes/pets already" in again.stderr
        )
        assert "which has no id, is numbered by its line; give the records ids" in again.stderr
        assert "--upsert" not in again.stderr


def test_long_texts_are_told(place: Path) -> None:
    write(place / "long.jsonl", [{"id": "long", "text": "the cat and the dog " * 40}])
    report = told(run("add", "long.jsonl", cwd=place))
    assert report["truncated"] == "1 are longer than 64 tokens; what lies behind is not encoded"


def test_passages_are_made_where_the_index_has_them(tmp_path: Path, tiny_bert: Path) -> None:
    write(tmp_path / "c.jsonl", [{"id": "a", "text": "Water. " * 40}])
    options = ("--passages", "24", "-m", str(tiny_bert))
    assert run("build", "c.jsonl", *options, cwd=tmp_path).returncode == 0
    write(tmp_path / "d.jsonl", [{"id": "b", "text": "The cat is in the house. " * 20}])
    report = told(run("add", "d.jsonl", cwd=tmp_path))
    assert int(report["passages"].split()[0]) > 2
    facts = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)
    assert facts["documents"] == 2
    assert facts["rows"] > 5
    np.save(tmp_path / "v.npy", np.eye(32, dtype=np.float32)[:1])
    refused = run("add", "d.jsonl", "--vectors", "v.npy", cwd=tmp_path)
    assert refused.returncode == 1
    assert "documents cannot be split where their embeddings are given" in refused.stderr
    export = run("export", "-o", "e.jsonl", "--vectors", "e.npy", cwd=tmp_path)
    assert export.returncode == 1
    assert "holds passages, of which a document has several" in export.stderr
    assert not (tmp_path / "e.jsonl").exists()
    assert run("export", "-o", "e.jsonl", cwd=tmp_path).returncode == 0
    again = told(run("sync", "e.jsonl", cwd=tmp_path))
    assert again["unchanged"] == "2"


# Vectors


def test_vectors_are_added_to_an_index_of_vectors(points: Path) -> None:
    np.save(points / "more.npy", -np.eye(5, dtype=np.float32)[:2])
    report = told(run("add", "--vectors", "more.npy", cwd=points))
    assert report["added"] == "2"
    assert report["ids"] == "vector numbers, behind those of the documents that were there"
    assert [one["id"] for one in records_of(points / "indexes" / "v")] == [*"0123456"]
    write(points / "c.jsonl", [{"id": "0", "text": "named"}, {"id": "n", "text": "new"}])
    report = told(run("add", "c.jsonl", "--vectors", "more.npy", "--upsert", cwd=points))
    assert (report["added"], report["replaced"]) == ("1", "1")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["add", "c.jsonl"], 1, "texts cannot be encoded; give a vector for each document with --vec"),
        (["add", "--vectors", "wide.npy"], 1, "wide.npy has 7 dimensions, indexes/v has 5"),
        (["add", "c.jsonl", "--vectors", "v.npy"], 1, "c.jsonl: has 1 records, v.npy has 5 rows"),
        (["add"], 2, "give a CORPUS, or --vectors, or both"),
        (["add", "--vectors", "v.npy", "--text-field", "x"], 2, "--text-field needs a CORPUS"),
        (["add", "c.jsonl", "--rejects", "r"], 2, "--rejects needs --skip-invalid"),
        (["add", "nowhere.jsonl", "--vectors", "v.npy"], 1, "nowhere.jsonl: cannot be opened"),
        (["add", "c.jsonl", "-i", "nowhere"], 1, "there is no index at nowhere; make one with 'qsea"),
        (["add", "c.jsonl", "--wait", "-1"], 2, "--wait"),
        (["sync"], 2, "Missing argument 'CORPUS'"),
        (["sync", "c.jsonl"], 1, "give a vector for each document with --vectors"),
        (["delete"], 2, "give an ID, - to read them from standard input, --ids FILE, or --where CONDITION"),
        (["delete", "1", "--ids", "c.jsonl"], 2, "give IDs or --ids, not both"),
        (["delete", "--ids", "nowhere"], 1, "nowhere: cannot be opened"),
        (["get", "9"], 1, "there is no document of the id '9' in indexes/v"),
        (["get", "1", "--id-field", "x"], 2, "--id-field needs --format jsonl"),
        (["get", "1", "--id-field", "text", "--format", "jsonl"], 2, "need different names"),
        (["compact", "nowhere"], 1, "there is no index at nowhere"),
        (["upgrade", "-i", "c.jsonl"], 1, "is a file; an index is a directory"),
        (["export", "-o", "c.csv"], 2, "c.csv would be read as something else; call it c.jsonl"),
        (["export", "-o", "c.jsonl.gz"], 2, "without -o: … | gzip > c.jsonl.gz"),
        (["export", "-o", "x.jsonl", "--vectors", "x.jsonl"], 2, "need different files"),
        (["export", "-o", "none/x.jsonl"], 1, "x.jsonl cannot be written (No such file"),
        (["export", "-o", "indexes"], 1, "indexes is a directory; name a file"),
        (["export", "-o", "/dev/null"], 1, "/dev/null is no regular file; name a file"),
    ],
)  # fmt: skip
def test_errors_are_one_message_and_change_nothing(
    points: Path, arguments: list[str], code: int, message: str
) -> None:
    write(points / "c.jsonl", [{"id": "a", "text": "cat"}])
    np.save(points / "wide.npy", np.eye(7))
    before = snapshot(points / "indexes" / "v")
    done = run(*arguments, cwd=points)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(points / "indexes" / "v") == before
    assert sorted(one.name for one in points.iterdir()) == [
        "c.jsonl",
        "indexes",
        "v.npy",
        "wide.npy",
    ]


def test_vectors_of_another_model_are_refused(place: Path) -> None:
    write(place / "c.jsonl", [{"id": "a", "text": "music in the night"}])
    np.save(place / "w.npy", np.eye(32)[:1])
    done = run("add", "c.jsonl", "--vectors", "w.npy", cwd=place)
    assert done.returncode == 1
    assert "the vectors in w.npy are not those that" in done.stderr
    assert "make them with that model, or leave them out" in done.stderr


def test_another_model_is_refused_and_a_copy_is_taken(
    place: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    write(place / "c.jsonl", [{"id": "a", "text": "cat"}])
    other = make_tiny_bert(tmp_path / "other", seed=1)
    done = run("add", "c.jsonl", "-m", other, cwd=place)
    assert done.returncode == 1
    assert "is not the one that indexes/pets was built with" in done.stderr
    copy = shutil.copytree(tiny_bert, tmp_path / "copy")
    assert told(run("add", "c.jsonl", "-m", copy, cwd=place))["added"] == "1"


# sync


def test_sync_makes_the_index_hold_the_corpus_and_a_dry_run_says_how(place: Path) -> None:
    records = [PETS[0] | {"legs": 3}, PETS[1] | {"text": "dog"}, {"id": "e", "text": "stone"}]
    write(place / "s.jsonl", records)
    index = place / "indexes" / "pets"
    before = snapshot(index)
    dry = run("sync", "s.jsonl", "--dry-run", cwd=place)
    assert dry.stderr == ""
    assert snapshot(index) == before
    plan = told(dry)
    assert plan["dry run"] == "nothing was changed; this is what would be"
    kinds = ("added", "replaced", "metadata only", "unchanged", "deleted")
    assert [plan[one] for one in kinds] == ["1", "1", "1", "0", "1"]
    assert plan["documents"] == "3 now, would be 3"
    assert "commit" not in plan
    assert run("-q", "sync", "s.jsonl", "--dry-run", cwd=place).stdout == dry.stdout
    report = told(run("sync", "s.jsonl", cwd=place))
    assert [report[one] for one in kinds] == [plan[one] for one in kinds]
    assert (report["documents"], report["commit"]) == ("3 now", "2")
    assert {one["id"]: one["text"] for one in records_of(index)} == {
        "cat": PETS[0]["text"],
        "dog": "dog",
        "e": "stone",
    }
    again = told(run("sync", "s.jsonl", cwd=place))
    assert [again[one] for one in kinds] == ["0", "0", "0", "3", "0"]


# delete


@pytest.mark.parametrize("way", ["arguments", "file", "stdin", "ids of stdin"])
def test_documents_are_deleted_by_ids_from_anywhere(place: Path, way: str) -> None:
    (place / "ids.txt").write_text("\ufeffcat\r\n\n  \nfish\n")
    lines = (place / "ids.txt").read_text()
    arguments = {
        "arguments": ["cat", "fish"],
        "file": ["--ids", "ids.txt"],
        "stdin": ["-"],
        "ids of stdin": ["--ids", "-"],
    }[way]
    report = told(run("delete", *arguments, cwd=place, stdin=lines))
    assert (report["deleted"], report["documents"], report["commit"]) == ("2", "1 now", "2")
    assert [one["id"] for one in records_of(place / "indexes" / "pets")] == ["dog"]
    assert "cat" not in run("query", "cat", cwd=place).stdout


def test_unknown_ids_and_an_id_twice_delete_nothing(place: Path) -> None:
    done = run("delete", "cat", "horse", "cow", cwd=place)
    assert done.returncode == 1
    assert "no document of the id 'horse', nor of 1 more in indexes/pets" in done.stderr
    assert "(--missing-ok passes over such ids); nothing was deleted" in done.stderr
    done = run("delete", "cat", "cat", cwd=place)
    assert done.stderr == "error: the id 'cat' is given twice; nothing was deleted\n"
    assert len(records_of(place / "indexes" / "pets")) == 3
    report = told(run("delete", "cat", "horse", "cow", "cat", "--missing-ok", cwd=place))
    assert (report["deleted"], report["not there"]) == ("1", "2")


def test_no_ids_on_standard_input_delete_nothing(place: Path) -> None:
    report = told(run("delete", "-", cwd=place, stdin="\n"))
    assert (report["deleted"], report["commit"]) == (
        "0",
        "1, as before: nothing was to be done",
    )
    done = run("delete", "-", cwd=place, stdin=b"cat\n\xff\n")
    assert "standard input, line 2: is not UTF-8" in done.stderr


def test_ids_with_dashes_and_spaces(place: Path) -> None:
    names = ["-x", "-", " a b "]
    write(place / "odd.jsonl", [{"id": one, "text": "city"} for one in names])
    run("add", "odd.jsonl", cwd=place)
    assert told(run("delete", "--", "-x", cwd=place))["deleted"] == "1"
    assert told(run("delete", "--ids", "-", cwd=place, stdin="-\n a b \n"))["deleted"] == "2"


# Writers


def test_a_busy_index_names_the_process_and_wait_waits(points: Path) -> None:
    np.save(points / "more.npy", np.eye(5)[:1])
    index = points / "indexes" / "v"
    lock = WriterLock.take(index)
    commands = (
        ("add", "--vectors", "more.npy"),
        ("delete", "1"),
        ("compact",),
    )
    for command in commands:
        busy = run(*command, cwd=points)
        assert busy.returncode == 1
        assert f"indexes/v is being changed by process {os.getpid()} on " in busy.stderr
        assert "wait for it (--wait SECONDS does), or end it" in busy.stderr
        started = time.monotonic()
        assert "is being changed by" in run(*command, "--wait", "0.2", cwd=points).stderr
        assert time.monotonic() - started >= 0.2
    assert run("query", "--vectors", "more.npy", cwd=points).returncode == 0
    threading.Timer(0.3, lock.release).start()
    assert told(run("delete", "1", "--wait", "30", cwd=points))["deleted"] == "1"


def test_an_index_on_a_read_only_disk_is_told(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a superuser, as tests may be, every directory is writable: the system's answer is made here."""
    real = os.open

    def refusing(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if str(path).endswith("writer.lock"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *arguments, **named)

    monkeypatch.setattr("os.open", refusing)
    for command in (("delete", "1"), ("compact",)):
        done = run(*command, cwd=points)
        assert done.returncode == 1
        assert "indexes/v cannot be changed (Read-only file system)" in done.stderr
        assert (
            "it can be searched as it is; to change it, make it writable or copy it" in done.stderr
        )
    assert run("get", "1", cwd=points).returncode == 0


# Interruptions


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight records are a step, and every step is kept."""
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ROWS", 8)
    monkeypatch.setattr(qsearch.store.editor, "_MOST_BYTES", 1)


@pytest.mark.usefixtures("small_steps")
def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(points / "more.npy", np.random.default_rng(0).standard_normal((40, 5)))
    steps = 0
    real = IndexEditor.apply

    def apply(self: IndexEditor, *arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(IndexEditor, "apply", apply)
        done = run("add", "--vectors", "more.npy", cwd=points)
    assert done.returncode == 130
    assert done.stderr.strip() == (
        "error: interrupted; the index is as it was; 24 records of the change are finished and kept: run "
        "the same command again to go on"
    )
    assert len(records_of(points / "indexes" / "v")) == 5
    report = told(run("add", "--vectors", "more.npy", cwd=points))
    assert report["resumed"] == "24 records were done before the interruption"
    assert report["documents"] == "45 now"
    assert report["commit"] == "2"
    assert run("verify", "--deep", cwd=points).returncode == 0


@pytest.mark.usefixtures("small_steps")
def test_ctrl_c_in_a_large_deletion_says_what_is_kept_and_that_it_is_done(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the commit nobody is told to delete again: the ids are not there any more."""
    monkeypatch.setattr(qsearch.indexing.changing, "_DELETE_AT_A_TIME", 1)
    (points / "ids.txt").write_text("1\n2\n4\n")

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for name, place in (("_new_tail", IndexEditor), ("keep_up", qsearch.indexing.apply)):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, stop)
            done = run("delete", "--ids", "ids.txt", cwd=points)
        assert done.returncode == 130
        if place is IndexEditor:
            assert done.stderr.strip() == (
                "error: interrupted; the index is as it was; 3 records of the change are finished and "
                "kept: run the same command again to go on"
            )
            assert "delete, under way or interrupted: 3 records" in run("info", cwd=points).stdout
        else:
            assert done.stderr.strip() == (
                "error: interrupted; the change is done (commit 2); what keeps the index fast is left to "
                "the next"
            )
    assert len(records_of(points / "indexes" / "v")) == 2
    assert run("verify", "--deep", cwd=points).returncode == 0


def test_ctrl_c_in_a_small_change_keeps_nothing(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(IndexEditor, "apply", apply)
    done = run("delete", "1", cwd=points)
    assert done.returncode == 130
    assert done.stderr.strip() == "error: interrupted; the index is as it was"


@pytest.mark.parametrize("command", ["delete", "compact"])
def test_ctrl_c_behind_the_commit_says_that_the_change_is_done(
    points: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def keep_up(*arguments: Any) -> None:
        raise KeyboardInterrupt

    run("delete", "0", cwd=points)
    monkeypatch.setattr(qsearch.indexing.apply, "keep_up", keep_up)
    commit = json.loads(run("info", "--format", "json", cwd=points).stdout)["commit"]
    done = run(command, *(["1"] if command == "delete" else []), cwd=points)
    assert done.returncode == 130
    assert f"interrupted; the change is done (commit {commit + 1}); what keeps" in done.stderr
    assert "again" not in done.stderr


# get


def test_documents_are_printed_for_people_and_for_programs(place: Path) -> None:
    shown = run("get", "fish", "cat", cwd=place).stdout
    assert shown == (
        "id    fish\n"
        'tags  ["wet", null, 1.5]\n'
        "text  fish are in the river\n"
        "\n"
        "id     cat\n"
        "title  Cats\n"
        "legs   4\n"
        "text   the cat is in the house\n"
    )
    lines = run("get", "-", "--format", "jsonl", cwd=place, stdin="fish\ncat\n").stdout
    assert [json.loads(one) for one in lines.splitlines()] == [PETS[2], PETS[0]]
    edited = lines.replace("river", "water")
    report = told(run("add", "-", "--upsert", cwd=place, stdin=edited))
    assert (report["replaced"], report["unchanged"]) == ("1", "1")


def test_text_of_several_lines_stays_in_its_column_and_does_nothing_to_a_terminal(
    place: Path,
) -> None:
    write(place / "l.jsonl", [{"id": "l", "text": "cat\n\x1b[31mdog"}])
    run("add", "l.jsonl", cwd=place)
    assert run("get", "l", cwd=place).stdout == "id    l\ntext  cat\n      \\x1b[31mdog\n"


# export

ODD = [
    {"id": "7", "title": "Cats", "text": "the cat\n\u2028\x85\x00 \u202e", "n": {"a": [1, "é"]}},
    {"id": " spaced ", "title": None, "text": "dog", "Title": "not a title", "_id": "x", "ID": 3},
    {"id": "only a title", "title": "king", "text": ""},
    {"id": "numbers", "title": None, "text": "day", "x": 1.1, "big": 2**70, "no": None, "": ""},
]


def test_what_is_exported_builds_the_same_documents(tmp_path: Path, tiny_bert: Path) -> None:
    write(tmp_path / "odd.jsonl", ODD)
    model = ("-m", str(tiny_bert))
    assert run("build", "odd.jsonl", *model, "-o", "i", cwd=tmp_path).returncode == 0
    assert records_of(tmp_path / "i") == ODD
    report = told(run("export", "i", "-o", "out.jsonl", "--vectors", "out.npy", cwd=tmp_path))
    assert (report["documents"], report["index"]) == ("4", "i")
    assert report["written to"].startswith("out.jsonl (")
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "i",
        "odd.jsonl",
        "out.jsonl",
        "out.npy",
    ]
    piped = run("export", "-i", "i", cwd=tmp_path)
    assert [json.loads(one) for one in piped.stdout.split("\n")[:-1]] == [
        json.loads(one) for one in (tmp_path / "out.jsonl").read_text().split("\n")[:-1]
    ]
    assert piped.stderr == ""
    done = run("build", "out.jsonl", *model, "-o", "j", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert records_of(tmp_path / "j") == ODD
    with Index.open(tmp_path / "i") as index:
        rows = np.concatenate(index.vectors([str(one["id"]) for one in ODD]))
    exported = np.load(tmp_path / "out.npy")
    assert exported.dtype == np.float32
    assert exported.tobytes() == rows.tobytes()
    done = run("build", "out.jsonl", "--vectors", "out.npy", *model, "-o", "k", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert records_of(tmp_path / "k") == ODD
    for index_name, vectors in (("i", []), ("i", ["--vectors", "out.npy"])):
        same = told(run("sync", "out.jsonl", *vectors, "-i", index_name, cwd=tmp_path))
        assert same["unchanged"] == "4"
        assert same["commit"].endswith("nothing was to be done")


def test_rows_whose_length_is_not_quite_one_are_the_same_when_they_come_back(
    tmp_path: Path,
) -> None:
    vectors = np.random.default_rng(1).standard_normal((20_000, 8)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    assert run("build", "--vectors", "v.npy", cwd=tmp_path).returncode == 0
    run("export", "-o", "out.jsonl", "--vectors", "out.npy", cwd=tmp_path)
    report = told(run("sync", "out.jsonl", "--vectors", "out.npy", "--dry-run", cwd=tmp_path))
    assert report["unchanged"] == "20,000"


def test_export_follows_changes(place: Path) -> None:
    write(place / "s.jsonl", [PETS[2] | {"tags": 1}, {"id": "e", "text": "stone"}, PETS[1]])
    run("sync", "s.jsonl", cwd=place)
    lines = run("export", cwd=place).stdout.splitlines()
    assert [json.loads(one)["id"] for one in lines] == ["dog", "fish", "e"]
    assert json.loads(lines[1])["tags"] == 1
    told(run("export", "-o", "o.jsonl", "--vectors", "o.npy", cwd=place))
    with Index.open(place / "indexes" / "pets") as index:
        rows = np.concatenate(index.vectors(["dog", "fish", "e"]))
    np.testing.assert_array_equal(np.load(place / "o.npy"), rows)


def test_metadata_that_are_called_like_a_field_are_told_and_another_name_helps(
    tmp_path: Path, tiny_bert: Path
) -> None:
    records = [
        {"key": "a", "text": "cat", "title": "t"},
        {"key": "b", "text": "dog", "id": 1, "head": "King", "title": "u"},
    ]
    write(tmp_path / "c.jsonl", records)
    fields = ("--id-field", "key", "--title-field", "head")
    model = ("-m", str(tiny_bert))
    assert run("build", "c.jsonl", *fields, *model, "-o", "i", cwd=tmp_path).returncode == 0
    (tmp_path / "out.jsonl").write_text("as it was")
    done = run("export", "-i", "i", "-o", "out.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "document 'a' has metadata called 'title', and so is the title of a record" in done.stderr
    )
    assert "another name with --title-field, and build with the same option" in done.stderr
    assert (tmp_path / "out.jsonl").read_text() == "as it was"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["c.jsonl", "i", "out.jsonl"]
    done = run("get", "b", "-i", "i", "--format", "jsonl", "--title-field", "head", cwd=tmp_path)
    assert "with --id-field" in done.stderr
    assert run("export", "-i", "i", *fields, "-o", "out.jsonl", cwd=tmp_path).returncode == 0
    done = run("build", "out.jsonl", *fields, *model, "-o", "j", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Index.open(tmp_path / "i") as one, Index.open(tmp_path / "j") as other:
        assert list(one) == list(other)


def test_a_link_stays_a_link_and_an_export_that_fails_leaves_the_file(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (points / "real.jsonl").write_text("old\n")
    (points / "link.jsonl").symlink_to("real.jsonl")

    def broken(self: Index) -> Iterator[Any]:
        yield self.get("0")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "__iter__", broken)
        done = run("export", "-o", "link.jsonl", cwd=points)
    assert (done.returncode, done.stderr.strip()) == (130, "error: interrupted")
    assert (points / "real.jsonl").read_text() == "old\n"
    assert run("export", "-o", "link.jsonl", cwd=points).returncode == 0
    assert (points / "link.jsonl").is_symlink()
    assert len((points / "real.jsonl").read_text().splitlines()) == 5
    assert len(list(points.iterdir())) == 4


# compact, upgrade, info


def test_compact_gives_back_room_and_info_says_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    assert run("build", "--vectors", "v.npy", cwd=tmp_path).returncode == 0
    fresh = run("info", cwd=tmp_path).stdout
    assert re.search(r"commit +1, as it was built", fresh)
    assert re.search(r"  measured on +commit 1, 3,000 rows\n", fresh)
    assert "dead rows" not in fresh
    np.save(tmp_path / "w.npy", vectors[:10] + 1)
    told(run("add", "--vectors", "w.npy", cwd=tmp_path))
    told(run("delete", *map(str, range(100)), cwd=tmp_path))
    facts = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)
    assert (facts["commit"], facts["segments"], facts["documents"]) == (3, 1, 2910)
    assert (facts["dead_rows"], facts["past"]) == (100, 100)
    assert facts["changed"] >= facts["created"]
    assert (facts["measured"]["commit"], facts["measured"]["rows"]) == (1, 3000)
    assert facts["measured"]["later"] == 10
    text = run("info", cwd=tmp_path).stdout
    assert re.search(r"commit +3, of \d{4}-", text)
    assert re.search(r"dead rows +100; compact gives back their room", text)
    assert re.search(r"past +100 documents and metadata of earlier commits; compact", text)
    assert "commit 1, 3,000 rows; 10 came later and are searched exactly" in text
    with monkeypatch.context() as patch:  # as where it cannot be measured again
        patch.setattr(qsearch.indexing.apply, "keep_up", lambda *arguments: None)
        told(run("delete", *map(str, range(100, 300)), cwd=tmp_path))
    assert "too much has changed since: every search is exact" in run("info", cwd=tmp_path).stdout
    report = told(run("compact", cwd=tmp_path))
    assert (report["dead rows"], report["documents"]) == ("300 removed", "2,710 now")
    assert report["segments"] == "1 before, 1 now"
    assert re.fullmatch(r"300 documents and metadata of earlier commits removed", report["past"])
    before, after = re.findall(r"([\d.]+) MB", report["on disk"])
    assert float(after) < float(before)
    facts = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)
    assert (facts["dead_rows"], facts["past"], facts["measured"]["later"]) == (0, 0, 10)
    again = told(run("compact", cwd=tmp_path))
    assert again["commit"].endswith("as before: nothing was to be done")
    assert run("verify", "--deep", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_an_index_of_an_earlier_format_is_upgraded(tmp_path: Path, version: int) -> None:
    golden = Path(__file__).parents[1] / "store" / "golden" / f"format-{version}"
    shutil.copytree(golden, tmp_path / "indexes" / "old")
    before = records_of(tmp_path / "indexes" / "old")
    measured = json.loads(run("info", "--format", "json", cwd=tmp_path).stdout)["measured"]
    assert (measured is None) == (version < 3)  # nobody wrote it down before
    with WriterLock.take(tmp_path / "indexes" / "old"):
        busy = run("upgrade", "--wait", "0.1", cwd=tmp_path)
        assert "is being changed by process" in busy.stderr
    assert told(run("upgrade", cwd=tmp_path))["format"] == f"{FORMAT_VERSION}, was {version}"
    assert told(run("upgrade", "old", cwd=tmp_path))["format"] == (
        f"{FORMAT_VERSION} already: nothing was to be done"
    )
    assert records_of(tmp_path / "indexes" / "old") == before
    assert run("verify", "--deep", cwd=tmp_path).returncode == 0


def test_upgrading_says_that_a_catalog_was_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "indexes" / "pets"
    golden = Path(__file__).parents[1] / "store" / "golden" / f"format-{FORMAT_VERSION}"
    shutil.copytree(golden, path)
    for _ in range(2):
        told_format = told(run("upgrade", cwd=tmp_path))["format"]
        assert told_format == f"{FORMAT_VERSION} already: nothing was to be done"
    with closing(sqlite3.connect(path / "catalog.sqlite")) as foreign:
        assert foreign.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal"
    told_format = told(run("upgrade", cwd=tmp_path))["format"]
    assert told_format == (
        f"{FORMAT_VERSION} already; another program had put its catalog in SQLite's WAL mode, "
        "where it is no more"
    )
    with closing(sqlite3.connect(path / "catalog.sqlite")) as foreign:
        assert foreign.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert run("verify", "--deep", cwd=tmp_path).returncode == 0


# What would be lost by mistake


def facts(place: Path, *arguments: str) -> dict[str, Any]:
    """What ``info`` tells."""
    found: dict[str, Any] = json.loads(
        run("info", *arguments, "--format", "json", cwd=place).stdout
    )
    return found


def test_a_sync_with_nothing_is_an_error(place: Path) -> None:
    (place / "empty.jsonl").write_text("")
    (place / "head.csv").write_text("id,text\n")
    (place / "bad.jsonl").write_text('{"id": "cat", "text": ""}\n')
    for arguments in (
        ("empty.jsonl",),
        ("empty.jsonl", "--dry-run"),
        ("head.csv",),
        ("bad.jsonl", "--skip-invalid"),
    ):
        done = run("sync", *arguments, cwd=place)
        assert done.returncode == 1
        assert f"{arguments[0]}: holds no valid document: a sync would delete all 3" in done.stderr
        assert "--allow-empty" in done.stderr
    piped = run("sync", "-", cwd=place)
    assert piped.returncode == 1
    assert "--allow-empty" in piped.stderr
    assert facts(place)["documents"] == 3
    assert told(run("sync", "empty.jsonl", "--allow-empty", cwd=place))["deleted"] == "3"
    empty = run("query", "a cat", cwd=place)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "the index holds no document" in empty.stderr


def test_an_empty_condition_deletes_nothing(place: Path) -> None:
    done = run("delete", "--where", "{}", cwd=place)
    assert done.returncode == 1
    assert "the condition is empty" in done.stderr
    assert facts(place)["documents"] == 3


def test_no_output_takes_the_place_of_what_is_read(place: Path) -> None:
    corpus = write(place / "new.jsonl", [{"id": "new", "text": ""}, {"id": "b", "text": "bird"}])
    before = corpus.read_bytes()
    for command in (("add",), ("sync",), ("build", "-o", "indexes/more")):
        arguments = (*command, "new.jsonl", "--skip-invalid", "--rejects")
        done = run(*arguments, "./new.jsonl", cwd=place)
        assert done.returncode == 1
        assert "new.jsonl is what is read; give another file" in done.stderr
        assert corpus.read_bytes() == before
        done = run(*arguments, "indexes/pets/catalog.sqlite", cwd=place)
        assert done.returncode == 1
        assert "lies inside of an index" in done.stderr
    # Rejected records that were mended by hand are read from where the next ones would go.
    mended = corpus.rename(place / "indexes" / "pets.rejects.jsonl")
    done = run("add", mended, "--skip-invalid", cwd=place)
    assert done.returncode == 1
    assert "pets.rejects.jsonl is what is read; give another file" in done.stderr
    assert mended.read_bytes() == before
    (segment,) = (place / "indexes" / "pets" / "segments").iterdir()
    os.symlink(place / "indexes" / "pets" / "catalog.sqlite", place / "link.jsonl")
    int8 = f"indexes/pets/segments/{segment.name}/int8.npy"
    for output in ("link.jsonl", int8):
        done = run("sync", "new.jsonl", "--skip-invalid", "--rejects", output, cwd=place)
        assert done.returncode == 1
        assert "lies inside of an index" in done.stderr
    for output in ("indexes/pets/catalog.sqlite", "indexes/pets/new", "link.jsonl", int8):
        done = run("export", "-i", "indexes/pets", "-o", output, cwd=place)
        assert done.returncode == 1
        assert f"{output} lies inside of an index; name a file elsewhere" in done.stderr
    assert run("verify", "indexes/pets", cwd=place).returncode == 0
    refused = run("export", "--vectors", "-", "-i", "indexes/pets", cwd=place)
    assert refused.returncode == 2
    assert "--vectors needs a file" in refused.stderr


def test_vectors_of_documents_that_nobody_read_are_not_silently_missing(tmp_path: Path) -> None:
    many = [{"id": str(number), "text": "x" * 500} for number in range(2000)]
    Index.build(many, tmp_path / "i", embeddings=np.eye(8)[np.arange(2000) % 8]).close()
    command = f"set -o pipefail; {sys.executable} -m qsearch export i"
    for more, code in (("", 0), (" --vectors v.npy", 1)):
        done = subprocess.run(
            ["bash", "-c", f"{command}{more} | head -n 1"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert ("no vectors were written" in done.stderr) == bool(more)
    assert not (tmp_path / "v.npy").exists()


def test_an_index_is_named_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(place / "indexes" / "pets", place / "other")
    for command in ("info", "compact", "verify", "export", "upgrade"):
        done = run(command, "other", "-i", "indexes/pets", cwd=place)
        assert done.returncode == 2
        assert "two indexes are named, other and, with -i, indexes/pets; name one" in done.stderr
        for same in (("other", "./other"), ("pets", "indexes/pets")):
            assert run(command, same[0], "-i", same[1], cwd=place).returncode == 0
    monkeypatch.setenv("QSEARCH_INDEX", "indexes/pets")
    assert facts(place, "other")["index"] == "other"
    assert facts(place)["index"] == "indexes/pets"


def test_who_waited_in_vain_is_told_so(place: Path) -> None:
    with WriterLock.take(place / "indexes" / "pets"):
        done = run("delete", "cat", "--wait", "0.2", cwd=place)
    assert done.returncode == 1
    assert "and was for the 0.2 seconds of waiting" in done.stderr
