"""What a change is refused for: one message that helps, and nothing is changed."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch.store.writer_lock import WriterLock
from tests.cli.changing.helpers import facts, snapshot, told, write
from tests.cli.running import run


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
