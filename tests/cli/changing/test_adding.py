"""Documents are added to an index from the command line, and taken again where they changed."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from qsearch import Index
from tests.cli.changing.helpers import PETS, records_of, told, write
from tests.cli.running import run
from tests.encoders import make_tiny_bert


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


def test_vectors_are_added_to_an_index_of_vectors(points: Path) -> None:
    np.save(points / "more.npy", -np.eye(5, dtype=np.float32)[:2])
    report = told(run("add", "--vectors", "more.npy", cwd=points))
    assert report["added"] == "2"
    assert report["ids"] == "vector numbers, behind those of the documents that were there"
    assert [one["id"] for one in records_of(points / "indexes" / "v")] == [*"0123456"]
    write(points / "c.jsonl", [{"id": "0", "text": "named"}, {"id": "n", "text": "new"}])
    report = told(run("add", "c.jsonl", "--vectors", "more.npy", "--upsert", cwd=points))
    assert (report["added"], report["replaced"]) == ("1", "1")


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
