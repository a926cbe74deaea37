"""Fuzzing of Parquet files: their bytes, and tables of every type that Arrow has.

An input is a line of JSON and the bytes of a file. Where the line has ``columns`` the file is made of
them and the bytes are left out: ``[[name, type, values], ...]``, the type as ``_arrow_type`` reads it.
``flips`` are ``[[offset, xor], ...]`` on the bytes of either.
"""

from __future__ import annotations

import io
import random
from functools import cache
from typing import Any

from qsearch.documents import Document, open_corpus
from qsearch.errors import CorpusError
from tests.faults.fuzz_corpora import placed
from tests.faults.fuzzing import Mutate, Target, Wrong, heading, with_heading

__all__ = ["TARGET"]

_TYPES = (
    "string", "large_string", "string_view", "int8", "int64", "uint64", "float16", "float32",
    "float64", "bool", "binary", "date32", "date64", "time32[s]", "time32[ms]", "time64[us]",
    "time64[ns]", "timestamp[s]", "timestamp[ms]", "timestamp[us]", "timestamp[ns]",
    "timestamp[ns] UTC", "timestamp[us] Europe/Berlin", "timestamp[ns] +07:30",
    "timestamp[us] nowhere", "timestamp[ns] nowhere", "duration[s]", "duration[ns]", "decimal",
    "list int64", "list string", "map", "struct", "dictionary", "null", "list timestamp[ns] nowhere",
    "list timestamp[us]", "list time64[ns]", "list duration[ns]",
)  # fmt: skip

_VALUES: tuple[Any, ...] = (
    None, 0, 1, -1, 86_400, 10**9, 86_400 * 10**9, 1 << 31, 1 << 62, (1 << 63) - 1, -(1 << 63), 0.5,
    "a", "b", "", "one two", True, [], [1], ["a", None], [[1 << 62]], {"k": 1}, "1e400", "\0",
)  # fmt: skip


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    kind, _, more = name.partition(" ")
    if kind == "list":
        return pa.list_(_arrow_type(more))
    if kind.startswith("timestamp"):
        return pa.timestamp(kind[10:-1], more or None)
    special = {
        "decimal": lambda: pa.decimal128(20, 3),
        "map": lambda: pa.map_(pa.string(), pa.int64()),
        "struct": lambda: pa.struct([("k", pa.int64()), ("t", pa.timestamp("ns", "nowhere"))]),
        "dictionary": lambda: pa.dictionary(pa.int32(), pa.string()),
    }
    return special[kind]() if kind in special else pa.type_for_alias(kind)


def _made(columns: list[Any]) -> bytes:
    """A file of these columns.

    Raises:
        ArrowException, TypeError, ValueError, KeyError, OverflowError: there are no such.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays, names = [], []
    length = max((len(values) for _, _, values in columns), default=0)
    for name, kind, values in columns:
        arrow = _arrow_type(kind)
        some = [*values, *[None] * (length - len(values))]
        try:
            array = pa.array(some, arrow)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            array = _of_numbers(some, arrow)
        arrays.append(array)
        names.append(str(name))
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=names), file)
    return file.getvalue()


def _of_numbers(values: list[Any], arrow: Any) -> Any:
    """An array of what can be of this type, however that is to be read; the others are null."""
    import pyarrow as pa

    whole = [one if isinstance(one, int) else None for one in values]
    try:
        return pa.array(whole, pa.int64()).cast(arrow, safe=False)
    except (pa.ArrowException, OverflowError):
        return pa.nulls(len(values), arrow)


def check(data: bytes) -> bool:
    from pyarrow import ArrowException

    found = heading(data)
    if found is None:
        return False
    told, content = found
    try:
        if told.get("columns") is not None:
            content = _made(told["columns"])
        changed = bytearray(content)
        for offset, bits in told.get("flips") or []:
            changed[int(offset) % len(changed)] ^= int(bits) & 255
    except (
        ArrowException,
        TypeError,
        ValueError,
        KeyError,
        OverflowError,
        ZeroDivisionError,
        AttributeError,
    ):
        return False
    path = placed({"name": "c.parquet"}, bytes(changed))
    reading = [list[Any](), list[Any]()]
    for records in reading:
        try:
            records.extend(open_corpus(path))
        except CorpusError as error:
            records.append(str(error))
    first, again = reading
    if first != again:
        raise Wrong(f"read again: {again}, before: {first}")
    for one in first:
        if isinstance(one, Document):
            "".join([one.id, one.text, one.title or ""]).encode("utf-8")
    if (
        told.get("columns")
        and not told.get("flips")
        and isinstance(first[-1] if first else "", str)
    ):
        names = [name for name, _, _ in told["columns"]]
        if first and len(set(names)) == len(names):
            raise Wrong(f"pyarrow has written it, and it is refused: {first[-1]}")
    return True


def change(data: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    found = heading(data)
    told, content = found or ({"columns": []}, b"")
    roll = chance.random()
    columns = told.get("columns")
    if isinstance(columns, list) and roll < 0.75:
        values = [chance.choice(_VALUES) for _ in range(chance.randint(1, 3))]
        one = [chance.choice(["n", "m", "id", "text", "title", ""]), chance.choice(_TYPES), values]
        columns = columns[:5]
        if columns and chance.random() < 0.3:
            columns[chance.randrange(len(columns))] = one
        else:
            columns.append(one)
        return with_heading({**told, "columns": columns, "flips": None}, content)
    if roll < 0.9 or not content:
        flips = told.get("flips")
        flips = flips[:6] if isinstance(flips, list) else []
        flips.append([chance.choice([1, -1]) * chance.randrange(2000), chance.randrange(1, 256)])
        return with_heading({**told, "flips": flips}, content)
    return with_heading({**told, "flips": None}, mutate(content, 6000))


@cache
def _seeds() -> list[bytes]:
    text = ["text", "string", ["one", "two"]]
    found = [{"columns": [text, ["n", kind, [1, None]]]} for kind in _TYPES]
    plain = [text, ["id", "int64", [1, 2]], ["n", "list int64", [[1], None]]]
    flipped: list[dict[str, Any]] = [{"columns": plain, "flips": [[-at, 1]]} for at in (9, 40, 200)]
    return [with_heading(one, b"") for one in [*found, *flipped]] + [with_heading({}, _made(plain))]


TARGET = Target("parquet", _seeds, check, change, largest=8192)
