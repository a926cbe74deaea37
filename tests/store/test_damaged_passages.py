"""Damaged lists of passages are found, and refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from qsearch import (
    BuildOptions,
    CorpusError,
    Index,
    IndexFormatError,
    verify_index,
)
from qsearch.store import Catalog
from tests.encoders import HashedWords
from tests.indexing.test_build import Interrupted, interrupted_after
from tests.indexing.towns import OPTIONS, town


def test_passages_that_were_not_written_whole_are_noticed(tmp_path: Path) -> None:
    options = BuildOptions(passages=20)
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(town(4000), 3000),
            tmp_path / "i",
            encoder=HashedWords(),
            options=options,
        )
    pending = tmp_path / "i.building" / "segments" / "pending" / "passages.npy"
    data = pending.read_bytes()
    pending.write_bytes(data[:-24])
    with pytest.raises(
        IndexFormatError, match=r"passages\.npy is missing or too short.*restart=True"
    ):
        Index.build(town(4000), tmp_path / "i", encoder=HashedWords(), options=options)
    pending.write_bytes(data)
    with pytest.raises(CorpusError, match="is not the corpus of the interrupted build"):
        Index.build(town(4), tmp_path / "i", encoder=HashedWords(), options=options)


def damage(path: Path, row: int, values: list[int | None]) -> None:
    (file,) = path.rglob("passages.npy")
    array = np.lib.format.open_memmap(file, mode="r+")
    array[row] = [old if one is None else one for old, one in zip(array[row], values, strict=True)]
    array.flush()


def make_checksums_fit(index: Path) -> None:
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        for file in index.rglob("*.npy"):
            digest = xxhash.xxh3_128(file.read_bytes()).hexdigest()
            connection.execute(
                "UPDATE files SET xxh3 = ? WHERE segment = ? AND name = ?",
                (digest, file.parent.name, file.name),
            )
    catalog = Catalog.open(index)
    digest = catalog.digest()
    catalog.close()
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        connection.execute(
            "UPDATE settings SET value = ? WHERE key = 'catalog_xxh3'", (json.dumps(digest),)
        )
    connection.close()


@pytest.mark.parametrize(
    ("row", "values", "problem"),
    [
        (0, [1, 0, 5], "is not of 12 documents"),
        (3, [-1, 0, 5], "row 3 is of no next document"),
        (5, [500, 0, 5], "row 5 is of no next document"),
        (4, [None, 5, 3], "row 4 is from 5 to 3 in a text of"),
        (4, [None, 0, 99_999], "row 4 is from 0 to 99999 in a text of"),
        (4, [None, -4, 3], "row 4 is from -4 to 3"),
    ],
)
def test_damaged_passages_are_found(
    row: int, values: list[Any], problem: str, tmp_path: Path
) -> None:
    index = Index.build(town(12), tmp_path / "i", encoder=HashedWords(), options=OPTIONS)
    index.close()
    damage(tmp_path / "i", row, values)
    assert any("passages.npy: checksum" in one for one in verify_index(tmp_path / "i").problems)
    # Even where the checksums have been made to fit, or were wrong from the beginning.
    make_checksums_fit(tmp_path / "i")
    problems = verify_index(tmp_path / "i", deep=True).problems
    assert any(problem in one for one in problems), problems
    if row == 0:  # the ends are looked at when an index is opened
        with pytest.raises(IndexFormatError, match=problem):
            Index.open(tmp_path / "i", encoder=HashedWords())
        return
    with Index.open(tmp_path / "i", encoder=HashedWords()) as opened:
        if values[2] == 99_999 or values[1] < 0 or values[1] > values[2]:
            with pytest.raises(
                IndexFormatError, match="(lies outside of its text|row 4 is of no next).*verify"
            ):
                opened.search("cat", 100, all_passages=True)
        elif values[0] == 500:
            with pytest.raises(IndexFormatError, match="a passage is of no document"):
                opened.search("cat", 100, all_passages=True)


def test_a_missing_list_of_passages_is_noticed(tmp_path: Path) -> None:
    Index.build(town(12), tmp_path / "i", encoder=HashedWords(), options=OPTIONS).close()
    (file,) = (tmp_path / "i").rglob("passages.npy")
    moved = file.rename(tmp_path / "moved.npy")
    with pytest.raises(IndexFormatError, match=r"passages\.npy cannot be read"):
        Index.open(tmp_path / "i")
    shutil.copy(moved, file)
    with sqlite3.connect(tmp_path / "i" / "catalog.sqlite") as catalog:
        catalog.execute("DELETE FROM files WHERE name = 'passages.npy'")
    catalog.close()
    with pytest.raises(IndexFormatError, match=r"entry for .*passages\.npy is missing"):
        Index.open(tmp_path / "i")
