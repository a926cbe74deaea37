"""Fuzzing of the files of segments: their headers, sizes, values, names and kinds.

An input is an object of JSON:

- ``form``: the index that is tampered with.
- ``edits``: what is done to the files of its segments, numbered round. ``["bytes", n, offset, hex]``
  from there on (negative: from the end), ``["value", n, place, hex]`` behind the header, ``["add", n,
  m, number]`` to the m-th 8 bytes there, ``["fill", n, hex]`` throughout, ``["size", n, bytes]`` cut or
  made longer, ``["swap", n, m]`` what another has, ``["gone", n]``, and ``["kind", n, kind]``: an empty
  directory, a pipe or a link to itself in its place.
- ``right``: whether the catalog gets the sizes and checksums of what is there then.
- ``change``: what is done to the index then.

Beside what holds for every index: without ``right`` a file that is not what it was is told by
``verify``, one of another size or header cannot be opened, and what docs/exactness.md promises of
single files is kept.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import xxhash

from qsearch import Index
from qsearch.store.format import GRAPH_ARRAYS, HEADER_BYTES
from tests.faults import fuzz_index
from tests.faults.fuzz_index import CATALOG, CHANGES
from tests.faults.fuzzing import Mutate, Target, Wrong

__all__ = ["TARGET"]

_FORMS = ("vectors", "passages", "format-2", "passages-4")

_KINDS = ("directory", "pipe", "link")

GRAPH_FILES = [array.name for array in GRAPH_ARRAYS]
_LISTS = {"passages.npy", "positions.npy", "binary.npy", *GRAPH_FILES}
"""docs/exactness.md: damage in the first two is an error; no exact answer is made of the others."""

_NASTY = (
    "00", "ff", "80", "7f", "0000c07f", "000080ff", "0000807f", "01000000", "ffffff7f", "00000080",
    "0000803f", "ffffffffffffffff", "ffffffffffffff7f", "0000000000000080", "0100000000000000",
    "00000000ffffffff", "934e554d5059", "27286d297d", "2d31", "39393939393939",
)  # fmt: skip


@cache
def files(form: str) -> tuple[str, ...]:
    """The files of the segments, below the index."""
    origin = fuzz_index.sound(form)
    return tuple(
        sorted(
            str(one.relative_to(origin)) for one in origin.rglob("segments/*/*") if one.is_file()
        )
    )


@cache
def _committed(form: str) -> tuple[str, ...]:
    """Those of the newest commit: nobody reads those of a change that is not complete."""
    with Index.open(fuzz_index.sound(form)) as index:
        ids = {one.id for one in index._open.segments}
    return tuple(one for one in files(form) if one.split("/")[1] in ids)


def _case(data: bytes) -> dict[str, Any] | None:
    try:
        case = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return case if isinstance(case, dict) and case.get("form") in _FORMS else None


@cache
def _answers(form: str) -> dict[str, Any]:
    """Of the sound index."""
    with fuzz_index.opened(fuzz_index.sound(form), form) as index:
        return fuzz_index.ask(index)


def check(data: bytes) -> bool:
    case = _case(data)
    if case is None:
        return False
    form, right = case["form"], bool(case.get("right"))
    with mock.patch("os.fsync"):
        expected = _answers(form)
        index = fuzz_index.place().put(form)
        try:
            for edit in case.get("edits") or []:
                _edit(index, form, edit)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError):
            return False
        damaged = _damaged(index, form)
        if right:
            _make_right(index)
        problems, found = fuzz_index.examine(
            index, form, str(case.get("change")), codes_sound=False
        )
    if not right:
        whole = all(edit[0] in ("fill", "swap") for edit in case.get("edits") or [])
        _check_told(
            damaged, problems, found, None if not whole and _of_codes(damaged) else expected
        )
    return True


def _damaged(index: Path, form: str) -> dict[str, str]:
    """Of every file that is not what it was: its data, its header, its size or the file itself."""
    found = {}
    for name in _committed(form):
        before, path = (fuzz_index.sound(form) / name).read_bytes(), index / name
        if not os.path.isfile(path):
            found[name] = "file"
            continue
        now = path.read_bytes()
        if len(now) != len(before):
            found[name] = "size"
        elif now[:HEADER_BYTES] != before[:HEADER_BYTES] and name.endswith(".npy"):
            found[name] = "header"
        elif now != before:
            found[name] = "data"
    return found


def _check_told(
    damaged: dict[str, str],
    problems: list[str],
    found: dict[str, Any] | None,
    expected: dict[str, Any] | None,
) -> None:
    """Without ``expected`` nothing is promised of the answers."""
    for name, what in damaged.items():
        if not any(name in problem for problem in problems):
            raise Wrong(f"verify does not name {name}, whose {what} is another: {problems}")
        if what != "data" and not name.endswith(tuple(GRAPH_FILES)) and found is not None:
            raise Wrong(f"{name} has another {what}, and the index can be opened")
    if found is not None and expected is not None:
        for name in ("exact", "many", "hits", "documents"):
            if name in found and found[name] != expected[name]:
                raise Wrong(f"{name} is {found[name]}, should be {expected[name]} or an error")


def _of_codes(damaged: dict[str, str]) -> bool:
    return any(name.rpartition("/")[2] not in _LISTS for name in damaged)


def _edit(index: Path, form: str, edit: list[Any]) -> None:
    kind, number, *more = edit
    names = files(form)
    name = names[number % len(names)]
    path = index / name
    fuzz_index.place().touched.add(name)
    data = bytearray(path.read_bytes()) if path.is_file() else bytearray(1)
    match kind:
        case "bytes" | "value":
            piece = bytes.fromhex(more[1])[:4096]
            first = HEADER_BYTES if kind == "value" and path.suffix == ".npy" else 0
            place = first + more[0] % max(1, len(data) - first)
            data[place : place + len(piece)] = piece[: max(0, len(data) - place)]
        case "add":
            place = HEADER_BYTES + more[0] % max(1, (len(data) - HEADER_BYTES) // 8) * 8
            number = int.from_bytes(data[place : place + 8], "little") + int(more[1])
            data[place : place + 8] = (number % (1 << 64)).to_bytes(8, "little")
        case "fill":
            piece = bytes.fromhex(more[0]) or b"\0"
            rest = len(data) - HEADER_BYTES
            data[HEADER_BYTES:] = (piece * (rest // len(piece) + 1))[: max(0, rest)]
        case "size":
            size = int(more[0]) % (1 << 16)
            data = data[:size] + bytes(max(0, size - len(data)))
        case "swap":
            data = bytearray((fuzz_index.sound(form) / names[more[0] % len(names)]).read_bytes())
        case "gone" | "kind":
            pass
        case _:
            raise ValueError(kind)
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)  # it is a link to the sound one
    if kind == "kind":
        {"directory": Path.mkdir, "pipe": os.mkfifo, "link": _link_to_itself}[more[0]](path)
    elif kind != "gone":
        path.write_bytes(data)


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def _make_right(index: Path) -> None:
    """Have the catalog list what is there."""
    with closing(sqlite3.connect(index / CATALOG)) as connection:
        for segment, name in connection.execute("SELECT segment, name FROM files").fetchall():
            path = index / "segments" / segment / name
            if path.is_file():
                data = path.read_bytes()
                connection.execute(
                    "UPDATE files SET bytes = ?, xxh3 = ? WHERE segment = ? AND name = ?",
                    (len(data), xxhash.xxh3_128_hexdigest(data), segment, name),
                )
        fuzz_index.make_right(connection, rows=False, catalog=True)
        connection.commit()


def change(data: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    case = _case(data) or {"form": "vectors"}
    edits = case.get("edits")
    edits = edits[:4] if isinstance(edits, list) else []
    roll = chance.random()
    if roll < 0.6 or not edits:
        edits.append(_new_edit(case["form"], chance))
    elif roll < 0.75:
        del edits[chance.randrange(len(edits))]
    elif roll < 0.85:
        one = edits[chance.randrange(len(edits))]
        if (
            isinstance(one, list)
            and isinstance(one[-1], str)
            and one[0] in ("bytes", "value", "fill")
        ):
            one[-1] = mutate(bytes.fromhex(one[-1]), 512).hex()
    elif roll < 0.92:
        case["right"] = not case.get("right")
    elif roll < 0.97:
        case["change"] = chance.choices(CHANGES, (6, 3, 2, 1, 1, 3))[0]
    else:
        case["form"] = chance.choices(_FORMS, (6, 4, 1, 2))[0]
    return json.dumps({**case, "edits": edits}).encode()


def _new_edit(form: str, chance: random.Random) -> list[Any]:
    names = files(form)
    number = chance.randrange(len(names))
    size = (fuzz_index.sound(form) / names[number]).stat().st_size
    kind = chance.choices(
        ["bytes", "value", "add", "fill", "size", "swap", "gone", "kind"], (4, 6, 5, 2, 3, 3, 1, 1)
    )[0]
    some = chance.choice(_NASTY) * chance.choice([1, 1, 4]) if chance.random() < 0.6 else ""
    some = some or chance.randbytes(chance.choice([1, 4, 8, 64])).hex()
    match kind:
        case "bytes":
            return [kind, number, chance.randrange(min(size, 2 * HEADER_BYTES)), some]
        case "value":
            return [
                kind,
                number,
                chance.choice([0, -8, -4, -1, 8 * chance.randrange(1 + size // 8)]),
                some,
            ]
        case "add":
            lists = [at for at, one in enumerate(names) if Path(one).name in _LISTS]
            number = chance.choice([*lists, number])
            return [
                kind,
                number,
                chance.randrange(1 + size // 8),
                chance.choice([1, -1, 2, 1 << 32]),
            ]
        case "fill":
            return [kind, number, some]
        case "size":
            near = [size - 1, size + 1, size - 4, size + 8, size // 2, 2 * size - HEADER_BYTES]
            return [kind, number, chance.choice([0, 1, 127, 128, 129, *near])]
        case "swap":
            same = [i for i, one in enumerate(names) if Path(one).name == Path(names[number]).name]
            return [
                kind,
                number,
                chance.choice([chance.choice(same), chance.randrange(len(names))]),
            ]
        case "kind":
            return [kind, number, chance.choice(_KINDS)]
        case _:
            return [kind, number]


def seeds() -> list[bytes]:
    """Each kind of edit, on each kind of file."""
    found: list[dict[str, Any]] = [
        {"form": form, "edits": [], "change": "upsert"} for form in _FORMS
    ]
    for form in ("vectors", "passages"):
        names = files(form)
        for place, name in enumerate(sorted({Path(one).name for one in names})):
            number = next(i for i, one in enumerate(names) if Path(one).name == name)
            right = place % 2 == 0
            if name in _LISTS:
                found.append({"form": form, "edits": [["add", number, 4, 1]]})
            found.append(
                {"form": form, "edits": [["value", number, 0, "ffffffffffffff7f"]], "right": right}
            )
    found.append({"form": "vectors", "edits": [["bytes", 0, 60, "2d31"], ["size", 1, 130]]})
    found += [{"form": "vectors", "edits": [["kind", 3, kind]]} for kind in _KINDS]
    return [json.dumps(one).encode() for one in found]


TARGET = Target("arrays", seeds, check, change, largest=1 << 13)
