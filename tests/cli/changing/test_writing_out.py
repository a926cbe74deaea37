"""``get`` and ``export`` write documents out as they came in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import Index
from tests.cli.changing.helpers import PETS, records_of, told, write
from tests.cli.running import run

ODD = [
    {"id": "7", "title": "Cats", "text": "the cat\n\u2028\x85\x00 \u202e", "n": {"a": [1, "é"]}},
    {"id": " spaced ", "title": None, "text": "dog", "Title": "not a title", "_id": "x", "ID": 3},
    {"id": "only a title", "title": "king", "text": ""},
    {"id": "numbers", "title": None, "text": "day", "x": 1.1, "big": 2**70, "no": None, "": ""},
]


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


def test_damaged_rows_are_not_written_out_as_if_they_were_sound(place: Path) -> None:
    (rows,) = (place / "indexes" / "pets").glob("segments/*/vectors.npy")
    data = bytearray(rows.read_bytes())
    data[-1] ^= 0xFF
    rows.write_bytes(data)
    done = run("export", "-o", "e.jsonl", "--vectors", "e.npy", cwd=place)
    assert done.returncode == 1
    assert "vectors.npy is damaged: its checksum is" in done.stderr
    assert "nothing was written" in done.stderr
    assert not (place / "e.jsonl").exists()
    assert not (place / "e.npy").exists()
    assert run("export", "-o", "e.jsonl", cwd=place).returncode == 0  # texts are not there
