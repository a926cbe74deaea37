"""Fuzzing of files of queries, and of ids for ``delete``.

An input is a line of JSON and what the file holds; the line says the file's ``name``, ``packed`` and
``inside`` as in ``fuzz_corpora``, and ``ids`` where it is one of ids.

What must hold: an error of qsearch's own; or what ``json`` and plain lines give.
"""

from __future__ import annotations

import json
import random
from typing import Any

from qsearch.cli.ids import read_ids
from qsearch.documents.queries import read_queries, read_query_lines
from qsearch.errors import QsearchError
from tests.faults.fuzz_corpora import PACKED, changed_heading, packed, placed
from tests.faults.fuzzing import Mutate, Target, Wrong, heading, with_heading

__all__ = ["TARGET"]

_NAMES = (
    "q.jsonl",
    "q.json",
    "q.tsv",
    "q.csv",
    "q.txt",
    "q",
    "queries.jsonl",
    "q.jsonl.gz",
    "q.npy",
)

_BLANKS = " \t\n\r\x0b\x0c"


def check(data: bytes) -> bool:
    found = heading(data)
    if found is None or found[0].get("name") not in _NAMES:
        return False
    told, content = found
    path = str(placed(told, content))
    expected = _lines(told, content)
    if told.get("ids"):
        _compare("ids", lambda: read_ids((), path), expected)
        return True
    lines = None if expected is None else [line for line in expected if line.strip()]
    _compare("lines", lambda: [text for _, text in read_query_lines(path)], lines)
    if told["name"] == "q.txt":
        _compare("texts", lambda: [text for _, text in read_queries(path)], lines)
    elif told["name"] == "q.jsonl" and lines is not None:
        _compare("queries", lambda: list(read_queries(path)), _queries(lines))
    else:
        try:
            for name, text in read_queries(path):
                name.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")
        except QsearchError:
            pass
    return True


def _compare(what: str, read: Any, expected: Any) -> None:
    try:
        found = read()
    except QsearchError as error:
        if expected is not None:
            raise Wrong(f"{what}: {error}; should be {expected}") from error
        return
    if expected is not None and found != expected:
        raise Wrong(f"{what}: {found}, should be {expected}")


def _lines(told: dict[str, Any], content: bytes) -> list[str] | None:
    """The lines that are not blank, where the file is UTF-8 without doubt."""
    if (
        told.get("inside")
        or told["name"] == "q.npy"
        or content[:1] in b"\xff\xfe\0\x1f\xfd\x28BPR7G%\x89\xd0{"
    ):
        return None
    if (
        content[257:262] == b"ustar"
        or 0 in content
        or any(0x50 <= one < 0x60 for one in content[:1])
    ):
        return None
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return [line for line in lines if line.strip()]


def _queries(lines: list[str]) -> list[tuple[str, str]] | None:
    """Of plain JSON Lines."""
    found: dict[str, str] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or set(record) != {"_id", "text"}:
            return None
        if not all(isinstance(one, str) for one in record.values()) or record["_id"] in found:
            return None
        found[record["_id"]] = record["text"]
    return list(found.items())


_PIECES = (
    b'{"_id": "q1", "text": "one"}\n', b"1\tone\n", b"id,text\n", b"sep=;\n", b'sep="\n', b'"', b"[",
    b"]", b"{", b"}", b",", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"9" * 4400, b"[" * 900, b"\\ud800",
    b" " * 50, b"text\n", b'"id": [',
)  # fmt: skip


def change(data: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    told, content = heading(data) or ({"name": "q.jsonl"}, data)
    roll = chance.random()
    if roll < 0.1:
        choices = {
            "name": _NAMES,
            "packed": (None, *PACKED),
            "ids": (None, True),
            "inside": (None, True),
        }
        told = changed_heading(told, chance, choices)
    elif roll < 0.3:
        place = chance.randrange(len(content) + 1)
        content = content[:place] + chance.choice(_PIECES) + content[place:][:8000]
    else:
        content = mutate(content, 4000)
    return with_heading(told, content)


def _seeds() -> list[bytes]:
    lines = b'{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n'
    found = [
        ({"name": "q.jsonl"}, lines),
        ({"name": "q"}, lines),
        ({"name": "q.json"}, b'[{"query": "one", "qid": 1},\n{"question": "two", "id": 2}]'),
        ({"name": "q.json"}, b'{\n"text": "one"\n}\n{"text": "two"}\n'),
        ({"name": "q.tsv"}, b"1\tone\n2\ttwo\n"),
        ({"name": "q.csv"}, b"id;text\n1;one\n"),
        ({"name": "q.csv"}, b"sep=;\n1;one\n"),
        ({"name": "q.txt"}, b"one\n\ntwo\r\n"),
        ({"name": "q"}, b"one\ntwo\n"),
        ({"name": "queries.jsonl", "inside": True}, lines),
        ({"name": "q.txt", "ids": True}, b"d1\nd2\n"),
        ({"name": "q.jsonl.gz"}, packed(lines, "zstd")),
    ]
    return [with_heading(told, content) for told, content in found]


TARGET = Target("queries", _seeds, check, change, words=_PIECES, largest=1 << 14)
