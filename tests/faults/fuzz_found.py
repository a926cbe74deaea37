"""Every input that the fuzzing has ever found to break something, made as small as it tells what it was."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["FOUND"]


def _catalog(*edits: list[Any], form: str = "vectors", change: str = "upsert") -> bytes:
    """With checksums that are right."""
    case = {"form": form, "edits": edits, "right": ["rows", "catalog"], "change": change}
    return json.dumps(case).encode()


def _array(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}, }}"
    return json.dumps({"name": "v.npy", "header": header}).encode() + b"\n"


def _columns(*columns: list[Any]) -> bytes:
    return json.dumps({"columns": [["text", "string", ["one", "two"]], *columns]}).encode() + b"\n"


FOUND: tuple[tuple[str, bytes, str], ...] = (
    # what it is of, the input, what it did
    (
        "catalog",
        _catalog(form="passages-4", change="delete"),
        "explaining a search of an index without documents was a ValueError of NumPy",
    ),
    (
        "catalog",
        _catalog(["set", "tail", 1, "position", None]),
        "NULL in the tail was a TypeError",
    ),
    (
        "catalog",
        _catalog(["set", "tail", 0, "first", 7]),
        "a passage in the tail of an index without passages was a ValueError of NumPy",
    ),
    (
        "catalog",
        _catalog(["set", "tail", 1, "first", {"hex": "00"}]),
        "a BLOB in the tail was a TypeError of json",
    ),
    (
        "catalog",
        _catalog(["set", "tail", 3, "first", 32768], form="passages"),
        "verify did not look at passages of the tail, and every search was refused",
    ),
    (
        "catalog",
        _catalog(["set", "segments", 1, "rows", "x"]),
        "a text as a number of rows was a TypeError",
    ),
    (
        "catalog",
        _catalog(["set", "masks", 0, "documents", "x"]),
        "a text as a number of documents was a TypeError",
    ),
    (
        "catalog",
        _catalog(["insert", "rejects", [0, 1, {"hex": "00"}, {"hex": "00"}]], form="passages"),
        "a BLOB as a reason was a TypeError of json, where a change makes checksums",
    ),
    (
        "catalog",
        _catalog(["set", "settings", "passages", "value", "0"], form="passages"),
        "a number as what is known of passages was a TypeError in a change",
    ),
    (
        "catalog",
        _catalog(["set", "settings", "underway", "value", "1"]),
        "a number as what is known of a change under way was an AttributeError in the next",
    ),
    (
        "catalog",
        _catalog(["set", "documents", 1, "metadata", -1.5], form="format-3"),
        "a number as metadata was a TypeError of json where fields of an earlier format are counted",
    ),
    (
        "catalog",
        _catalog(["set", "documents", 3, "metadata", '"a"'], form="format-1"),
        "verify did not tell of metadata that are no object, and reading them all was refused",
    ),
    (
        "catalog",
        _catalog(["set", "fields", 1, "documents", None]),
        "NULL as a count of a field was a TypeError",
    ),
    (
        "catalog",
        _catalog(["set", "indexed", 0, "codes", None]),
        "NULL as a number of distinct values was a TypeError",
    ),
    (
        "catalog",
        _catalog(["set", "indexed", 0, "codes", (1 << 63) - 1]),
        "an array of so many distinct values as the catalog says was a MemoryError",
    ),
    (
        "catalog",
        _catalog(["set", "indexed", 0, "path", "["]),
        "the name of a field that is no JSON was a ValueError in a change",
    ),
    (
        "catalog",
        _catalog(["insert", "earlier", [0.5, 1 << 40, None, 2, 0]]),
        "earlier metadata of no document were an IndexError in a search under a condition",
    ),
    (
        "arrays",
        b'{"form": "passages", "edits": [["value", 8, 0, "41ffffffffffff7f"]], "change": "nothing"}',
        "a passage of no document was an IndexError in a search under a condition",
    ),
    (
        "catalog",
        _catalog(["set", "field_blocks", 0, "block", "x"]),
        "a text as the number of a block was a TypeError",
    ),
    (
        "corpora",
        b'{"name": "c.csv", "encoding": "punycode"}\ntext\n"a"\n-',
        "an encoding for names of hosts was a UnicodeError",
    ),
    (
        "corpora",
        b'{"name": "c.csv", "encoding": "idna"}\ntext\na\n',
        "an encoding for names of hosts was a UnicodeError",
    ),
    (
        "corpora",
        b'{"name": "c.txt", "encoding": "utf-16"}\none\n',
        "UTF-16 without a byte-order mark was a UnicodeError",
    ),
    (
        "queries",
        b'{"name": "q.csv"}\nsep=;\n',
        "a table of queries that only says what parts its columns was a RuntimeError",
    ),
    (
        "parquet",
        _columns(["n", "timestamp[us] nowhere", [1, None]]),
        "one column in a time zone that there is not made a file unreadable",
    ),
    (
        "parquet",
        _columns(["n", "timestamp[ns] nowhere", [1, None]]),
        "the same of nanoseconds, which are read otherwise",
    ),
    (
        "embeddings",
        b'{"name": "v.fvecs"}\n\xff\xff\xff\x7f\0\0\0\0',
        "rows of 2 ** 31 - 1 components were a ValueError of NumPy",
    ),
    (
        "embeddings",
        _array("(0, 9223372036854775807)"),
        "no rows of more components than there are addresses were a ValueError of NumPy",
    ),
    (
        "embeddings",
        _array("(0, 99999999999)"),
        "no rows of very many columns, one after the other, were read for hours",
    ),
    (
        "catalog",
        _catalog(["set", "earlier", 0, "until", 8198], change="delete"),
        "metadata of commits that are to come were those of now, until the next change",
    ),
    (
        "catalog",
        _catalog(["set", "indexed", 0, "field", {"hex": "00"}], change="nothing"),
        "an indexed field without a name was a TypeError",
    ),
    (
        "catalog",
        _catalog(["inside", "settings", 11, "value", 0, 1 << 31], form="passages-4"),
        "very many positions were a MemoryError",
    ),
    (
        "catalog",
        _catalog(["set", "documents", 1, "line", "x"], form="format-1"),
        "a text as the number of a line was an IntegrityError of SQLite when the format was upgraded",
    ),
    (
        "catalog",
        b'{"form": "vectors", "edits": [["set", "segments", 0, "id", "404e1au4d4894f75"]]}',
        "a segment of a change under way by another name was taken for one of the commit by the check",
    ),
    (
        "arrays",
        b'{"form": "passages", "edits": [["add", 12, 9, 4294967296]], "right": true, "change": "compact"}',
        "a passage of no document was an IndexError when it was copied",
    ),
    (
        "arrays",
        b'{"form": "passages", "edits": [["fill", 18, "ff"]], "right": true, "change": "compact"}',
        "rows of NaN were a LinAlgError of NumPy when they were copied",
    ),
)
