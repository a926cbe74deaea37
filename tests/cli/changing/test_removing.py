"""Documents go, by their ids or because the corpus has them no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.changing.helpers import PETS, facts, records_of, snapshot, told, write
from tests.cli.running import run


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
