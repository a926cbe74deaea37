"""Fuzzing of the catalog: values, rows and bytes of a sound one are changed, past what its schema allows.

An input is an object of JSON:

- ``form``: the index that is tampered with, one of ``FORMS``.
- ``edits``: what is done to the tables. ``["set", table, n, column, value]`` puts a value into row n,
  ``["inside", table, n, column, m, value]`` another into the m-th place of the JSON that stands there,
  ``["copy", table, n, column, m]`` what row m has, ``["delete", table, n]`` and ``["insert", table,
  [values]]`` whole rows. Numbers count round, a text is what the first column holds; ``{"hex": ...}``
  is a BLOB.
- ``right``: which checksums are made right again, so that what is changed is not refused by them: of
  ``rows``, and of the ``catalog``.
- ``bytes``: ``[[offset, hex], ...]`` of the file, behind all else.
- ``change``: what is done to the index then.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from tests.faults import fuzz_index
from tests.faults.fuzz_index import CATALOG, CHANGES, FORMS
from tests.faults.fuzzing import Mutate, Target, Wrong, folder

__all__ = ["TARGET", "apply_edits", "read_case"]

_FORM_WEIGHTS = (8, 4, 1, 1, 2, 2)

_RIGHT = ("rows", "catalog")

NASTY: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 16, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
    1 << 32, 1 << 60, (1 << 60) + 1, 1 << 62, (1 << 63) - 1, -(1 << 63), 0.5, 1e308, -0.0, "", "x",
    "0", "1", "-1", "[]", "{}", "null", "1e999", "NaN", "9" * 400, "9" * 5000, "[" * 99 + "]" * 99,
    "[" * 5000, '"\\ud800"', "é\u2028", "../../x", "binary.npy", "vectors.npy", "tail",
    "0123456789abcdef", {"hex": ""}, {"hex": "00"}, {"hex": "0000c07f" * 12}, {"hex": "00" * 48},
    {"hex": "ff" * 12},
)  # fmt: skip
"""For columns."""

_INNER: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1 << 31, 1 << 60, 1 << 64, 10**400, -(10**400), 0.5, 1e308, -1.5, "", "x",
    "0", [], {}, [0], [[]], {"a": 1}, "d5", "en", "vectors.npy",
)  # fmt: skip
"""For places inside of JSON."""


# Tables


@cache
def tables(form: str) -> dict[str, tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]]:
    """Columns and rows of every table of a sound index."""
    with closing(sqlite3.connect(fuzz_index.sound(form) / CATALOG)) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            )
        ]
        found = {}
        for name in names:
            rows = connection.execute(f"SELECT * FROM {name}")
            found[name] = (tuple(one[0] for one in rows.description), tuple(rows.fetchall()))
    return found


@cache
def _loose(form: str) -> bytes:
    """The catalog with a schema that takes any value in any column."""
    path = folder() / "loose.sqlite"
    path.write_bytes((fuzz_index.sound(form) / CATALOG).read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        for name, sql in connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"
        ).fetchall():
            loose = re.sub(r"--[^\n]*", "", sql).replace("STRICT, ", "").replace("STRICT", "")
            loose = re.sub(
                r"\b(INTEGER|TEXT|BLOB)\b(?! PRIMARY)", "", loose.replace("NOT NULL", "")
            )
            _write_schema(connection, name, loose)
        connection.commit()
    return path.read_bytes()


def _write_schema(connection: sqlite3.Connection, name: str, sql: str) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, name))
    connection.execute("PRAGMA writable_schema = OFF")


@cache
def _strict(form: str) -> tuple[tuple[str, str], ...]:
    with closing(sqlite3.connect(fuzz_index.sound(form) / CATALOG)) as connection:
        return tuple(
            connection.execute(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"
            ).fetchall()
        )


# Cases


def read_case(data: bytes) -> dict[str, Any] | None:
    """The object of JSON that an input is; ``None``: it is none of ours."""
    try:
        case = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(case, dict) or case.get("form") not in FORMS:
        return None
    return case


def check(data: bytes) -> bool:
    case = read_case(data)
    if case is None:
        return False
    form = case["form"]
    with mock.patch("os.fsync"):
        index = fuzz_index.place().put(form)
        try:
            apply_edits(case, index / CATALOG)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError):
            return False  # no such edit
        changed = _changed(form, index / CATALOG, case.get("right") or [])
        problems, found = fuzz_index.examine(index, form, str(case.get("change")), codes_sound=True)
    if changed and not problems:
        raise Wrong(f"verify finds nothing, and {sorted(changed)} are not what they were")
    if case.get("edits") or case.get("bytes") or problems:
        return True
    if found is None or found.keys() < {"exact", "documents"}:
        raise Wrong("nothing was changed, and something is missing")
    return True


_WITH_CHECKSUMS = {"documents", "earlier", "tail", "samples", "field_values", "field_blocks"}
"""Tables of which each row has one."""

_NOBODYS = {"chunks", "rejects"}
"""docs/format.md: the catalog's checksum covers those of a build, and not of a change under way."""


def _changed(form: str, path: Path, right: list[str]) -> set[str]:
    """Tables that hold what they did not, or lack it, and of which no checksum was made right.

    That a row is missing which has a checksum of its own is told only where others count it.
    """
    columns, segments = tables(form)["segments"]
    commit = int(dict(tables(form)["settings"][1]).get("commit", 1))
    uncovered = {b"underway", b"catalog_xxh3"}
    if "came" in columns:
        uncovered |= {row[0].encode() for row in segments if row[-1] > commit}
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            connection.text_factory = bytes
            # By whatever name they have now.
            late = connection.execute("SELECT id FROM segments WHERE came > ?", (commit,))
            uncovered |= {row[0] for row in late}
    found = set()
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.text_factory = bytes
            for name, (columns, rows) in tables(form).items():
                before = _told(name, columns, rows, uncovered)
                after = _told(name, columns, connection.execute(f"SELECT * FROM {name}"), uncovered)
                alone = not form.endswith(("-1", "-2")) and name in _WITH_CHECKSUMS
                different = after - before if alone else after ^ before
                checksum = "rows" if name in _WITH_CHECKSUMS else "catalog"
                if different and name not in _NOBODYS and checksum not in right:
                    found.add(name)
    except (
        sqlite3.Error,
        UnicodeDecodeError,
        LookupError,
    ):  # its message may quote what is damaged
        return set()  # it is no database any more, and everybody says so
    return found


def _told(
    name: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]], uncovered: set[bytes]
) -> set[str]:
    """What a table says, but for what no checksum covers: of the past, and of a change under way."""
    kept = [at for at, column in enumerate(columns) if column != "went"]
    plain = [
        tuple(one.encode() if isinstance(one, str) else one for one in map(row.__getitem__, kept))
        for row in rows
    ]
    if name in ("settings", "segments", "files"):
        plain = [row for row in plain if row[0] not in uncovered]
    return set(map(repr, plain))


def apply_edits(case: dict[str, Any], path: Path) -> None:
    """Do to the file at ``path`` what the case says."""
    form = case["form"]
    edits, right = case.get("edits") or [], case.get("right") or []
    if edits:
        path.write_bytes(_loose(form))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            for edit in edits:
                with suppress(sqlite3.Error):
                    _edit(connection, form, edit)
            for name, sql in _strict(form):
                _write_schema(connection, name, sql)
            fuzz_index.make_right(connection, rows="rows" in right, catalog="catalog" in right)
            connection.execute("COMMIT")
    data = bytearray(path.read_bytes())
    for offset, piece in case.get("bytes") or []:
        some = bytes.fromhex(piece)[:4096]
        place = int(offset) % len(data)
        data[place : place + len(some)] = some[: len(data) - place]
    path.write_bytes(data)


def _edit(connection: sqlite3.Connection, form: str, edit: list[Any]) -> None:
    kind, table, *more = edit
    columns, rows = tables(form)[table]
    if kind == "insert":
        values = [_value(one) for one in more[0]][: len(columns)]
        values += [None] * (len(columns) - len(values))
        marks = ", ".join("?" * len(columns))
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)
        return
    number = more[0]
    if isinstance(number, str):
        number = [row[0] for row in rows].index(number)
    row = rows[number % len(rows)]
    where, key = _where(columns, row)
    if kind == "delete":
        connection.execute(f"DELETE FROM {table} WHERE {where}", key)
        return
    column = more[1]
    at = columns.index(column)
    if kind == "copy":
        value = rows[more[2] % len(rows)][at]
    elif kind == "inside":
        value = _with_inner(row[at], int(more[2]), more[3])
    else:
        value = _value(more[2])
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value, *key))


def _where(columns: tuple[str, ...], row: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """A row by its first two columns, which are enough in every table."""
    return " AND ".join(f"{name} IS ?" for name in columns[:2]), row[:2]


def _value(given: Any) -> Any:
    if isinstance(given, dict):
        return bytes.fromhex(given["hex"])
    if isinstance(given, list):
        raise TypeError("no value")
    return given


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside of a JSON value, outermost first."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, _ in list(inner):
        yield value, key
    for _, one in list(inner):
        yield from _places(one)


def _with_inner(text: str, number: int, value: Any) -> str:
    whole = [json.loads(text)]
    places = list(_places(whole))
    container, key = places[number % len(places)]
    container[key] = value
    return json.dumps(whole[0])


# Changing


def change(data: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    case = read_case(data)
    if case is None:
        case = {"form": "vectors", "edits": []}
    case = {key: case[key] for key in ("form", "edits", "right", "bytes", "change") if key in case}
    for _ in range(chance.choice([1, 1, 2, 3])):
        _change_once(case, chance, mutate)
    return json.dumps(case).encode()


def _change_once(case: dict[str, Any], chance: random.Random, mutate: Mutate) -> None:
    edits = case.get("edits")
    edits = case["edits"] = edits[:6] if isinstance(edits, list) else []
    roll = chance.random()
    if roll < 0.45:
        edits.append(_new_edit(case["form"], chance))
    elif roll < 0.6 and edits:
        one = edits[chance.randrange(len(edits))]
        if isinstance(one, list) and len(one) > 3:
            one[-1] = _other(one[-1], chance, mutate)
    elif roll < 0.7 and edits:
        del edits[chance.randrange(len(edits))]
    elif roll < 0.8:
        case["right"] = _chosen(chance)
    elif roll < 0.86:
        case["change"] = chance.choices(CHANGES, (6, 4, 2, 1, 1, 3))[0]
    elif roll < 0.9:
        case["form"] = chance.choices(FORMS, _FORM_WEIGHTS)[0]
    elif roll < 0.97:
        some = case.get("bytes")
        some = case["bytes"] = some[:4] if isinstance(some, list) else []
        size = chance.choice([1, 1, 2, 4, 8, 64])
        some.append([_offset(case["form"], chance), chance.randbytes(size).hex()])
    else:
        case["bytes"] = []
    if edits and "right" not in case:
        case["right"] = _chosen(chance)


def _chosen(chance: random.Random) -> list[str]:
    """Which checksums are made right: all, or what is left must be told."""
    return chance.choices([["rows", "catalog"], ["catalog"], ["rows"], []], (5, 2, 1, 2))[0]


def _offset(form: str, chance: random.Random) -> int:
    """Often where a page begins: there SQLite keeps how it is laid out."""
    size = len((fuzz_index.sound(form) / CATALOG).read_bytes())
    page = chance.randrange(max(1, size // 4096)) * 4096
    return page + chance.choice(
        [chance.randrange(16), chance.randrange(120), chance.randrange(4096)]
    )


def _new_edit(form: str, chance: random.Random) -> list[Any]:
    every = tables(form)
    # Small tables decide more than large ones: each is as likely as any other.
    table = chance.choice([name for name in every if every[name][1]] + ["settings"] * 4)
    columns, rows = every[table]
    number = chance.randrange(len(rows))
    kind = chance.choices(["set", "inside", "copy", "delete", "insert"], (6, 5, 2, 1, 1))[0]
    if kind == "delete":
        return ["delete", table, number]
    if kind == "insert":
        names = [name for name in every if name != "documents"]
        table = chance.choice(names)
        columns, rows = every[table]
        row = list(chance.choice(rows)) if rows else [chance.choice(NASTY) for _ in columns]
        row[chance.randrange(len(row))] = chance.choice(NASTY)
        return ["insert", table, [_written(one) for one in row]]
    column = chance.choice(columns)
    before = rows[number][columns.index(column)]
    if kind == "copy":
        return ["copy", table, number, column, chance.randrange(len(rows))]
    if kind == "inside":
        with suppress(TypeError, ValueError):
            count = len(list(_places([json.loads(before)])))
            return ["inside", table, number, column, chance.randrange(count), chance.choice(_INNER)]
    return ["set", table, number, column, _near(before, chance)]


def _near(before: Any, chance: random.Random) -> Any:
    """Another value: something nasty, or one that is nearly the same."""
    if chance.random() < 0.5:
        return chance.choice(NASTY)
    if isinstance(before, int):
        return chance.choice(
            [before + 1, before - 1, -before, before ^ (1 << chance.randrange(40)), 2 * before]
        )
    if isinstance(before, bytes):
        changed = bytearray(before)
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return _written(bytes(changed[: chance.choice([None, None, -1, 4])]))
    if isinstance(before, str) and before:
        place = chance.randrange(len(before))
        other = chr(ord(before[place]) ^ (1 << chance.randrange(7)))
        return before[:place] + other + before[place + 1 :]
    return chance.choice(NASTY)


def _written(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _other(value: Any, chance: random.Random, mutate: Mutate) -> Any:
    if isinstance(value, dict) and isinstance(value.get("hex"), str) and chance.random() < 0.5:
        with suppress(ValueError):
            return {"hex": mutate(bytes.fromhex(value["hex"]), 256).hex()}
    if isinstance(value, str) and chance.random() < 0.5:
        return mutate(value.encode("utf-8", "replace"), 256).decode("utf-8", "replace")
    return chance.choice([_near(value, chance), chance.choice(_INNER)])


def seeds() -> list[bytes]:
    """One input for each form and change, and one for each place that decides something."""
    found: list[dict[str, Any]] = [{"form": form, "change": "upsert"} for form in FORMS]
    found += [
        {"form": "vectors", "change": change} for change in ("delete", "sync", "resume", "compact")
    ]
    for number, (table, (columns, rows)) in enumerate(tables("vectors").items()):
        if rows:
            edit = ["set", table, len(rows) - 1, columns[-1 - number % 2], None]
            right = (list(_RIGHT), ["catalog"], [])[number % 3]
            found.append({"form": "vectors", "edits": [edit], "right": right})
    for number, (name, _) in enumerate(tables("passages")["settings"][1]):
        if name in ("passages", "underway", "measured"):
            edit = ["inside", "settings", number, "value", 0, 0]
            found.append(
                {"form": "passages", "edits": [edit], "right": list(_RIGHT), "change": "upsert"}
            )
    found.append({"form": "vectors", "bytes": [[18, "0202"]]})
    return [json.dumps(one).encode() for one in found]


TARGET = Target("catalog", seeds, check, change, largest=1 << 14)
