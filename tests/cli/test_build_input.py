"""What a build is given, and what it says where that was wrong, in the words of the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch.indexing.chunks
from qsearch import BuildInterrupted, Index
from qsearch.cli.target import default_target
from tests.cli.running import run
from tests.encoders import HashedWords

RECORDS = [{"id": str(number), "text": f"cat {number}"} for number in range(40)]


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def test_a_corrected_number_of_vectors_is_built_by_the_same_command(tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", RECORDS[:19])
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((20, 4)))
    command = ("build", "c.jsonl", "--vectors", "v.npy")
    refused = run(*command, cwd=tmp_path)
    assert "c.jsonl: has 19 records, v.npy has 20 rows" in refused.stderr
    assert not (tmp_path / "indexes").exists()
    write(tmp_path / "c.jsonl", RECORDS[:20])
    assert run(*command, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["e.npz", "e.npz:documents", "e.fvecs", "e.bvecs"])
def test_vectors_of_other_formats_are_built_and_the_index_is_named_after_them(
    tmp_path: Path, name: str
) -> None:
    vectors = np.random.default_rng(0).integers(1, 99, size=(20, 4))
    if "npz" in name:
        others = {"queries": vectors} if ":" in name else {}
        np.savez(tmp_path / "e.npz", documents=vectors.astype("i1"), **others)
    else:
        dtype = "<f4" if "fvecs" in name else "u1"
        row = np.dtype([("width", "<i4"), ("components", dtype, (4,))])
        rows = np.empty(20, dtype=row)
        rows["width"], rows["components"] = 4, vectors
        rows.tofile(tmp_path / name)
    assert default_target(name) == Path("indexes/e")
    done = run("build", "--vectors", name, "--tune-queries", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Index.open(tmp_path / "indexes" / "e") as index:
        assert index.search_vectors(vectors[7:8], 1).positions.tolist() == [[7]]


def test_ctrl_c_in_a_search_does_not_speak_of_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Index, "open", interrupted)
    done = run("query", "cat", "-i", "i", cwd=tmp_path)
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1] == "error: interrupted"


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (0, "interrupted; no document was finished, nothing is kept"),
        (1400, "interrupted; 1,400 documents are finished and kept: run the same command again"),
        (
            None,
            "interrupted; nothing was done yet; what an earlier build had finished is kept: run",
        ),
    ],
)
def test_ctrl_c_in_a_build_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int | None, told: str
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise BuildInterrupted(kept)

    monkeypatch.setattr("qsearch.indexing.build_index", interrupted)
    write(tmp_path / "c.jsonl", RECORDS)
    done = run("build", "c.jsonl", cwd=tmp_path)
    assert done.returncode == 130
    assert told in done.stderr


def test_what_an_unnamed_index_is_doing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 8)
    told = []

    def corpus() -> Iterator[dict[str, Any]]:
        yield from RECORDS[:20]
        told.append(run("info", cwd=tmp_path).stderr)
        told.append(run("query", "cat", "-i", "i", cwd=tmp_path).stderr)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(corpus(), tmp_path / "indexes" / "i", encoder=HashedWords())
    assert all("is being built at this moment" in one for one in told)
    after = run("info", cwd=tmp_path).stderr
    assert (
        "indexes/i is half written: its build was interrupted; run the same 'qsearch build'"
        in after
    )


def test_a_changed_corpus_is_told_in_the_words_of_the_command_line(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 8)
    command = ("build", "-", "-o", "i", "-m", str(tiny_bert))
    lines = [json.dumps(one) for one in RECORDS]
    broken = run(*command, cwd=tmp_path, stdin="\n".join([*lines[:20], "{"]))
    assert "-:21: is not valid JSON" in broken.stderr
    other = run(*command, cwd=tmp_path, stdin="\n".join(reversed(lines)))
    assert "or add --restart to begin anew with this one" in other.stderr
    mended = run(*command, cwd=tmp_path, stdin="\n".join([*lines[:10], *lines[11:]]))
    assert mended.returncode == 0, mended.stderr
    assert "the first 8 documents are kept, 8 behind them are done again" in mended.stderr
    assert "8 were done before the interruption" in mended.stderr
