"""Damages the files of an index, one at a time, and looks at what comes of it.

``python -m tests.faults.damage_worker KIND FOLDER SEED FIRST COUNT LAUNDERED``: the kind is ``vectors`` or
``passages``; so many cases from the first on, and of every so many one that is changed and compacted too.
Prints one JSON object.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import random
import shutil
import sqlite3
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from qsearch import Index, QsearchError, verify_index
from qsearch.store.format import GRAPH_ARRAYS, HEADER_BYTES
from tests.faults import recorded
from tests.faults.checks import held
from tests.faults.children import in_child, run_cases
from tests.faults.recorded import record, records, vectors_for
from tests.faults.states import UNIMPORTANT

CATALOG = "catalog.sqlite"

KINDS = (
    "flip",
    "flips",
    "noise",
    "zeros",
    "zero rows",
    "all zeros",
    "all noise",
    "truncated",
    "empty",
    "longer",
    "swapped",
    "missing",
    "value",
)

BLOCK_ROWS = 16

WENT = 7
"""The column of documents that says at which commit they went."""
"""Of rotated codes and their bounds: whole blocks of zeros are whole rows of zeros in every array."""

IN_BLOCKS = {"rotated.npy", "bounds.npy"}

ZEROS_ARE_SEEN = {"vectors.npy", "int8.npy", "scale.npy", *IN_BLOCKS}
"""docs/exactness.md: zeros in these cost time, or are an error, and cost no answer."""

LISTS = {"passages.npy", "positions.npy"}
"""docs/exactness.md: whatever is wrong with these is an error."""

COPIED = {"catalog.sqlite", "vectors.npy", "passages.npy", "positions.npy"}
"""What a change copies: damage in these could get a checksum that fits."""

WHOLE = {"all zeros", "all noise", "swapped"}
"""docs/exactness.md: a file that is wrong throughout is an error at the first search."""

SIZES = {"truncated", "empty", "longer", "missing"}
"""docs/format.md: sizes are checked before anything is mapped."""

GRAPH_FILES = [array.name for array in GRAPH_ARRAYS]


@dataclass(frozen=True, slots=True)
class Case:
    """A damage.

    Attributes:
        number: of the case, which chance is seeded with.
        file: below the index.
        kind: one of ``KINDS``.
    """

    number: int
    file: str
    kind: str

    def __str__(self) -> str:
        return f"case {self.number}: {self.file}: {self.kind}"

    def laundered(self, every: int) -> bool:
        """Whether the index is changed and compacted too: often where that could hide the damage."""
        if self.kind == "value":
            return True
        partial = self.kind in ("flip", "flips", "noise", "zeros", "zero rows")
        return self.number % (3 if partial and self.name in COPIED else every) == 0

    @property
    def name(self) -> str:
        """Of the file, without its place."""
        return self.file.rpartition("/")[2]


def make_vectors(path: Path, twin: Path) -> None:
    """Segments with graphs, gaps and masks, and a tail; ``twin`` is the commit before the last."""
    recorded.build_vectors(path, 48, graph=True, segment_rows=48)
    with Index.open(path) as index:
        index.delete([f"d{number}" for number in range(0, 40, 2)])
        index.compact()  # gaps
        for first in (100, 200):
            some = records(first, first + 48)
            index.add(some, embeddings=vectors_for(some))
        index.delete(["d3", "d47", "d104", "d230"])  # masks
        index.upsert([{**record(5), "n": "new"}], embeddings=vectors_for([record(5)]))
        shutil.copytree(path, twin)
        index.delete(["d105", "d231"])
        some = records(300, 304)
        index.add(some, embeddings=vectors_for(some))


def make_passages(path: Path, twin: Path) -> None:
    """The same of passages, by text: three segments of a size, two of them with gaps."""
    recorded.build_passages(path, 16, segment_rows=36)
    with recorded.opened(path) as index:
        index.add(records(100, 112, words=20))
        index.add(records(200, 216, words=20))
        index.delete([f"d{100 * part + number}" for part in (0, 2) for number in (1, 4, 5, 9)])
        index.compact()
        index.delete(["d3", "d103"])
        shutil.copytree(path, twin)
        index.delete(["d105"])
        index.add(records(300, 302, words=20))


MAKE = {"vectors": make_vectors, "passages": make_passages}


class Damages:
    """An index, what it answers, and what is done to it."""

    def __init__(self, kind: str, folder: Path, seed: int) -> None:
        """Make it, in a child, and see what it answers."""
        self.folder, self.seed = folder, seed
        self.sound, self.twin = folder / "sound", folder / "twin"
        in_child(lambda: MAKE[kind](self.sound, self.twin))
        self.files = sorted(
            str(path.relative_to(self.sound))
            for path in self.sound.rglob("*")
            if path.is_file() and path.name not in UNIMPORTANT
        )
        self._expected: dict[str, Any] | None = None
        self._last: str | None = (
            None  # the file that is damaged in the copy; ``None``: there is none
        )

    def cases(self, first: int, count: int) -> list[Case]:
        """So many, from a number on; every file and kind as often as any other."""
        every = [(file, kind) for file in self.files for kind in self._kinds(file)]
        every += [(CATALOG, kind) for kind in KINDS[:4] for _ in range(len(every) // 40)]
        every += [(CATALOG, "value")] * (len(every) // 10)
        random.Random(self.seed).shuffle(every)
        return [Case(number, *every[number % len(every)]) for number in range(first, first + count)]

    def _kinds(self, file: str) -> list[str]:
        name = file.rpartition("/")[2]
        return [
            kind
            for kind in KINDS
            if (kind != "zero rows" or name in ZEROS_ARE_SEEN)
            and (kind != "swapped" or self._twins(file))
            and (kind != "value" or file == CATALOG)
        ]

    def _twins(self, file: str) -> list[Path]:
        """Other files of the same name: of another segment, or of the commit before."""
        name, here = file.rpartition("/")[2], (self.sound / file).read_bytes()
        found = [*self.sound.rglob(name), *self.twin.rglob(name)]
        return sorted(path for path in found if path.read_bytes() != here)

    def _damaged(self, case: Case, data: bytes) -> bytes | None:
        """The file as it is then; ``None``: gone."""
        chance = random.Random(f"{self.seed} {case.number}")
        changed = bytearray(data)
        first = chance.randrange(len(data))
        size = min(chance.choice([1, 4, 64, 512, 4096]), len(data) - first)
        match case.kind:
            case "flip" | "flips":
                for _ in range(1 if case.kind == "flip" else chance.randint(2, 64)):
                    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case "noise":
                changed[first : first + size] = chance.randbytes(size)
            case "zeros":
                changed[first : first + size] = bytes(size)
            case "zero rows":
                first, last = self._some_rows(case, len(data), chance)
                changed[first:last] = bytes(last - first)
            case "all zeros":
                changed[:] = bytes(len(data))
            case "all noise":  # behind the header, where there is one
                keep = HEADER_BYTES if case.name.endswith(".npy") else 0
                changed[keep:] = chance.randbytes(len(data) - keep)
            case "truncated":
                del changed[first:]
            case "empty":
                changed.clear()
            case "longer":
                changed += chance.choice([bytes(size), chance.randbytes(size)])
            case "swapped":
                twins = self._twins(case.file)
                same = [path for path in twins if path.stat().st_size == len(data)]
                return chance.choice(same or twins).read_bytes()
            case "value":
                return self._with_other_value(chance)
            case _:
                return None
        return bytes(changed)

    def _with_other_value(self, chance: random.Random) -> bytes:
        """The catalog, one of its values another: damage that SQLite cannot see."""
        path = self.folder / "other.sqlite"
        shutil.copyfile(self.sound / CATALOG, path)
        connection = sqlite3.connect(path)
        try:
            names = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
                )
                if connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            ]
            table = chance.choice(names)
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            keys = [column[1] for column in columns if column[5]] or ["rowid"]
            *key, value, column = chance.choice(
                [
                    (*row, one[1])
                    for one in columns
                    for row in connection.execute(
                        f"SELECT {', '.join(keys)}, {one[1]} FROM {table}"
                    )
                ]
            )
            where = " AND ".join(f"{name} = ?" for name in keys)
            with suppress(sqlite3.IntegrityError):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {where}",
                    (_other(value, chance), *key),
                )
                connection.commit()
        finally:
            connection.close()
        return path.read_bytes()

    def _some_rows(self, case: Case, size: int, chance: random.Random) -> tuple[int, int]:
        """Where some whole rows are, or blocks of them."""
        array = np.load(self.sound / case.file, mmap_mode="r")
        blocks = len(array) if case.name in IN_BLOCKS else -(-len(array) // BLOCK_ROWS)
        row_bytes = array.nbytes // len(array) * (1 if case.name in IN_BLOCKS else BLOCK_ROWS)
        first = chance.randrange(blocks)
        last = chance.randint(first + 1, blocks)
        return HEADER_BYTES + first * row_bytes, min(size, HEADER_BYTES + last * row_bytes)

    def place(self, case: Case, index: Path) -> bool:
        """Make a copy with the damage in it; says whether it is another file than before.

        Nothing writes into a published file of a segment, so a link is as good as a copy. A case that only
        reads leaves the copy as it was, but for the one file.
        """
        if self._last is None:
            shutil.rmtree(index, ignore_errors=True)
        for file in self.files if self._last is None else [self._last]:
            target = index / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if file != CATALOG:
                os.link(self.sound / file, target)
            else:
                shutil.copyfile(self.sound / file, target)
        self._last = case.file
        data = (self.sound / case.file).read_bytes()
        damaged = self._damaged(case, data)
        target = index / case.file
        target.unlink()
        if damaged is not None:
            target.write_bytes(damaged)
        return damaged != data

    @property
    def expected(self) -> dict[str, Any]:
        """What the sound index says."""
        if self._expected is None:
            self._expected = answers(self.sound)
        return self._expected

    def check(self, case: Case, *, launder: bool) -> None:
        """``verify`` names it; searching it ends in an error or in an answer, and not in a wrong one."""
        index = self.folder / "damaged"
        if not self.place(case, index):
            return
        told = told_by_verify(index)
        if case.file != CATALOG:
            assert any(case.file in problem for problem in told), told
        elif not told:
            assert present(index) in (present(self.sound), present(self.twin))
        found = answers(index)
        self._compare(case, found)
        if launder:
            self._last = None
            self._launder(index, told)

    def _compare(self, case: Case, found: dict[str, Any]) -> None:
        """What is promised of answers, for this kind of damage to this file."""
        if case.file == CATALOG:
            return
        promised = case.name in (*GRAPH_FILES, "binary.npy")  # of these no exact answer is made
        promised |= case.kind in WHOLE or case.kind in SIZES
        promised |= case.kind == "zero rows" or case.name in LISTS
        if promised:
            for name, answer in found.items():
                error = name.endswith("error")
                if not error:
                    assert answer == self.expected[name], (name, answer, self.expected[name])
            if case.kind in SIZES and case.name not in GRAPH_FILES:
                assert "error" in found, found

    def _launder(self, index: Path, told: list[str]) -> None:
        """No change makes damage look sound: it is still told, or what is held is what was."""
        expected = self.expected["contents"]
        added = False
        with suppress(QsearchError):
            recorded.changed(index, "upsert", [record(990, words=20)])
            added = True
        with suppress(QsearchError):
            recorded.compact(index)
        if not told or told_by_verify(index):
            return
        now = held(index)
        assert now[: len(now) - added] == expected, "what was damaged is taken for sound"
        assert not added or now[-1][0] == "d990"
        before, after = tables(self.sound), tables(index)
        assert before["canaries"] == after["canaries"]
        for key in before["settings"].keys() | after["settings"].keys():
            if key not in _CHANGING:
                assert before["settings"].get(key) == after["settings"].get(key), key


def _other(value: Any, chance: random.Random) -> Any:
    """A value with one bit changed, of the same type. NULL and numbers of commits are there or not."""
    if value is None:
        return 1
    if isinstance(value, int):
        return chance.choice([value + 1, value - 1, value ^ (1 << chance.randrange(40))])
    if not value:
        return value
    place = chance.randrange(len(value))
    if isinstance(value, str):
        other = chr(ord(value[place]) ^ (1 << chance.randrange(5)))
        return value[:place] + other + value[place + 1 :]
    changed = bytearray(value)
    changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


_CHANGING = {
    "catalog_xxh3", "changed", "commit", "documents", "measured", "positions", "rotation_errors", "rows",
    "tuning",
}  # fmt: skip
"""Settings that a change may change."""


def told_by_verify(index: Path) -> list[str]:
    """All problems; that there is no index is one."""
    try:
        return list(verify_index(index).problems)
    except QsearchError as error:
        return [str(error)]


def tables(index: Path) -> dict[str, Any]:
    """What the catalog says."""
    connection = sqlite3.connect(f"file:{index / CATALOG}?mode=ro", uri=True)
    try:
        found: dict[str, Any] = {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    finally:
        connection.close()
    found["settings"] = dict(found["settings"])
    return found


def present(index: Path) -> dict[str, Any]:
    """The same, without when documents of the past went: nobody who opens the index can tell."""
    found = tables(index)
    commit = int(found["settings"]["commit"])
    found["documents"] = [
        (*row[:WENT], "gone" if isinstance(row[WENT], int) and row[WENT] <= commit else row[WENT])
        + row[WENT + 1 :]
        for row in found["documents"]
    ]
    return found


def answers(path: Path) -> dict[str, Any]:
    """What an index says; the words of its errors. Whatever else it raises is a failure."""
    found: dict[str, Any] = {}
    try:
        index = recorded.opened(path)
    except QsearchError as error:
        return {"error": str(error)}
    with index:
        queries = np.random.default_rng(1).standard_normal((6, index.dimensions))
        for name, k, options in (
            ("few", 3, {}),
            ("many", 40, {}),
            ("graph", 3, {"method": "graph"}),
            ("binary", 3, {"method": "binary", "candidates": 30}),
        ):
            try:
                result = index.search_vectors(queries, k, **options)
            except QsearchError as error:
                found["error" if not options else f"{name} error"] = str(error)
                continue
            if not options:
                assert result.certified.all()
                found[name] = [result.positions.tolist(), result.scores.tolist()]
        try:
            if index.contract is not None:
                found["text"] = [
                    (hit.id, hit.text, hit.score, hit.passage) for hit in index.search("cat dog", 4)
                ]
            found["texts"] = [
                (hit.id, hit.text) for hit in index.search_by_vectors(queries[:1], 4)[0]
            ]
            found["contents"] = recorded.contents_of(index)
        except QsearchError as error:
            found["error"] = str(error)
    return found


def main(
    kind: str, folder: Path, seed: int, first: int, count: int, laundered: int
) -> dict[str, object]:
    recorded.small_sizes()
    logging.getLogger("qsearch").addHandler(logging.NullHandler())
    damages = Damages(kind, folder, seed)
    cases = damages.cases(first, count)
    with mock.patch("os.fsync"):  # nobody cuts the power
        outcomes = run_cases(
            cases,
            lambda case: damages.check(case, launder=case.laundered(laundered)),
            seconds=60.0,
            batch=200,
        )
    return {
        "files": sorted({file.rpartition("/")[2] for file in damages.files}),
        "segments": len({file.split("/")[1] for file in damages.files if "/" in file}),
        "checked": len(outcomes),
        "kinds": collections.Counter(case.kind for case in cases),
        "failures": [
            f"{case}\n{failure}"
            for case, failure in zip(cases, outcomes, strict=False)
            if failure is not None
        ],
    }


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(given[0], Path(given[1]), *map(int, given[2:6]))))
