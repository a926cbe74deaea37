"""Fuzzing of everything that reads text: corpora in every format, packing and encoding.

An input is a line of JSON and what the file holds. The line says the file's ``name``; ``inside`` a
folder as BEIR has it; how the content is ``packed`` (``gzip``, ``bzip2``, ``xz``, ``zstd``) before it
is written, so that what is changed reaches the readers; and the options of ``open_corpus``: ``format``,
``delimiter``, ``encoding``, ``fields``, ``text_required``.

What must hold: documents and rejected records, or an error of qsearch's own; the same when the file is read
again; and what Python's own ``json`` and ``csv`` make of the file, where they make something of it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from qsearch.documents import Document, RejectedRecord, open_corpus
from qsearch.documents.compression import MAGICS as COMPRESSED
from qsearch.documents.delimiter import DELIMITERS
from qsearch.documents.foreign import MAGICS as FOREIGN
from qsearch.documents.values import MAX_NESTING
from qsearch.errors import CorpusError
from tests.faults.fuzzing import Mutate, Target, Wrong, folder, heading, with_heading

__all__ = ["NAMES", "PACKED", "TARGET", "changed_heading", "packed", "placed"]

NAMES = (
    "c.jsonl",
    "c.json",
    "c.csv",
    "c.tsv",
    "c.txt",
    "corpus.jsonl",
    "c.jsonl.gz",
    "c.csv.xz",
    "c",
)

PACKED = ("gzip", "bzip2", "xz", "zstd")

_FORMATS = ("jsonl", "csv", "tsv", "text", "pdf")

ENCODINGS = (
    "utf-8", "utf-8-sig", "cp1252", "latin-1", "ascii", "utf-16", "utf-16-le", "utf-16-be", "utf-32",
    "utf-32-le", "utf-7", "shift_jis", "gb18030", "euc_jp", "iso2022_jp", "iso2022_kr", "hz", "big5",
    "euc_kr", "cp037", "koi8-r", "idna", "punycode", "unicode_escape", "raw_unicode_escape",
    "undefined", "charmap", "rot13", "base64", "mbcs", "x\0", "",
)  # fmt: skip

_DELIMITERS = (
    ",",
    ";",
    "\t",
    "|",
    "tab",
    "\\t",
    " ",
    "a",
    "é",
    "\udc80",
    '"',
    "\r",
    "\n",
    "",
    ",,",
    "\U0001f600",
)

_FIELDS: tuple[Any, ...] = (
    {"text": "body"}, {"id": "docno", "text": ["body", "text"]}, {"metadata": []}, {"title": "text"},
    {"id": "text"}, {"metadata": ["n", "id"]}, {"text": ""}, {"id": []}, {"x": "y"}, {"text": 1}, [],
)  # fmt: skip

_SPECIAL = ("id", "_id", "text", "title")


def packed(data: bytes, kind: str | None) -> bytes:
    """Compressed, in one way of those that are read."""
    match kind:
        case "gzip":
            return gzip.compress(data, 1)
        case "bzip2":
            return bz2.compress(data, 1)
        case "xz":
            return lzma.compress(data, preset=0)
        case "zstd":
            from backports import zstd

            return zstd.compress(data)
        case _:
            return data


def placed(told: dict[str, Any], content: bytes) -> Path:
    """Write the file that an input is; where it is, or the folder it is in."""
    name = Path(str(told.get("name"))).name
    here = folder() / ("beir" if told.get("inside") else "files")
    here.mkdir(exist_ok=True)
    for old in here.iterdir():
        old.unlink()
    (here / name).write_bytes(packed(content, told.get("packed")))
    return here if told.get("inside") else here / name


def check(data: bytes) -> bool:
    found = heading(data)
    if found is None or found[0].get("name") not in NAMES:
        return False
    told, content = found
    options = {
        name: told[name]
        for name in ("format", "delimiter", "encoding", "fields")
        if told.get(name) is not None
    }
    if not all(
        isinstance(options.get(one, ""), str) for one in ("format", "delimiter", "encoding")
    ):
        return False
    text_required = told.get("text_required") is not False
    path = placed(told, content)
    try:
        corpus = open_corpus(path, **options, text_required=text_required)
    except CorpusError:
        return True
    first, error = _read(corpus)
    again, second = _read(corpus)
    if (first, str(error)) != (again, str(second)):
        raise Wrong(f"read again: {again} ({second}), before: {first} ({error})")
    for one in first:
        _check_sound(one, text_required)
    corpus.found  # what it says of its fields does not matter here  # noqa: B018
    if "fields" not in options and text_required:
        _check_right(told, content, first, error)
    return True


def _read(corpus: Any) -> tuple[list[Document | RejectedRecord], CorpusError | None]:
    found: list[Document | RejectedRecord] = []
    try:
        found.extend(corpus)
    except CorpusError as error:
        return found, error
    return found, None


def _check_sound(one: Document | RejectedRecord, text_required: bool) -> None:
    """What a reader promises of a record, whatever it was made of."""
    if isinstance(one, RejectedRecord):
        if not one.reason or one.line < 1 or not isinstance(one.raw, bytes):
            raise Wrong(f"a rejected record without a reason or a place: {one}")
        return
    strings = [one.id, one.text, one.title or ""]
    if not all(isinstance(value, str) for value in strings) or not one.id.strip():
        raise Wrong(f"no document: {one}")
    "".join(strings).encode("utf-8")
    if text_required and not one.content.strip():
        raise Wrong(f"a document with nothing to encode: {one}")
    if json.loads(json.dumps(dict(one.metadata), allow_nan=False)) != one.metadata:
        raise Wrong(f"metadata that JSON does not keep: {one}")
    if _deep(dict(one.metadata), MAX_NESTING + 1):
        raise Wrong(f"metadata that are nested too deeply: {one}")
    if one.line is None or one.line < 1:
        raise Wrong(f"a document without a place: {one}")


# What Python's own modules say


def _check_right(
    told: dict[str, Any],
    content: bytes,
    found: list[Document | RejectedRecord],
    error: CorpusError | None,
) -> None:
    text = _text(told, content)
    if text is None:
        return
    kind = told.get("format") or {
        "c.csv": "csv",
        "c.csv.xz": "csv",
        "c.tsv": "tsv",
        "c.txt": "text",
    }.get(told["name"], "jsonl")
    expected: list[Document] | None = None
    if kind == "text":
        expected = [
            Document(str(number), line, line=number)
            for number, line in enumerate(_lines(text), 1)
            if line.strip(_ASCII_BLANKS) and line.strip() and "\0" not in line
        ]
    elif kind in ("csv", "tsv"):
        expected = _csv_documents(text, told.get("delimiter") or ("\t" if kind == "tsv" else None))
    elif kind == "jsonl":
        expected = _json_documents(text)
    if expected is None:
        return
    numbered = any(one.line for one in expected)  # else the place is not ours to tell
    documents = [
        one if numbered else replace(one, line=None) for one in found if isinstance(one, Document)
    ]
    if error is not None:
        raise Wrong(f"{error}; Python reads {expected}")
    if documents != expected:
        raise Wrong(f"read {documents}, should be {expected}; rejected {found}")


_ASCII_BLANKS = " \t\n\r\x0b\x0c"


def _text(told: dict[str, Any], content: bytes) -> str | None:
    """The file as text, where it is one without doubt."""
    known = (*FOREIGN, *(() if told.get("packed") else COMPRESSED))
    if any(content.startswith(magic) for magic in known) or content[257:262] == b"ustar":
        return None
    if told.get("packed") is None and content[:4] in {b"\xff\xfe\0\0", b"\0\0\xfe\xff"}:
        return None
    encoding = told.get("encoding") or "utf-8"
    marks = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
    if encoding in ("utf-16", "utf-32") and not content.startswith(marks):
        return None  # there are two orders of bytes, and Python takes its own
    if content.startswith(marks) and not told.get("encoding"):
        return None
    try:
        if not isinstance("".encode(encoding), bytes):
            return None
        text = content.decode(encoding)
        text.encode("utf-8")
    except (UnicodeError, LookupError, ValueError):
        return None
    text = text.removeprefix("\ufeff")
    return None if "\0" in text.partition("\n")[0] else text


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _json_documents(text: str) -> list[Document] | None:
    """What ``json`` makes of JSON Lines, an array, or objects one after the other; else ``None``."""
    blanks = " \t\n\r"
    start = text.lstrip(_ASCII_BLANKS)
    first = start.partition("\n")[0].strip(_ASCII_BLANKS)
    if start.startswith("[") or first == "{":
        records = []
        rest = text.strip(blanks)
        while rest:
            try:
                value, end = _STRICT.raw_decode(rest)
            except (ValueError, RecursionError):
                return None
            if isinstance(value, list) == first.startswith("{"):
                return None
            records += value if isinstance(value, list) else [value]
            rest = rest[end:].strip(blanks)
            if rest and isinstance(value, list):
                return None
        numbered = [(0, number, one) for number, one in enumerate(records, 1)]
        return _mapped(numbered, lines=False)
    numbered = []
    for number, line in enumerate(_lines(text), 1):
        if line.strip(_ASCII_BLANKS):
            try:
                numbered.append((number, number, _STRICT.decode(line)))
            except (ValueError, RecursionError):
                return None
    return _mapped(numbered, lines=True)


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


_STRICT = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unlike)


def _csv_documents(text: str, delimiter: str | None) -> list[Document] | None:
    """What ``csv`` makes of it, by the rules of docs/corpora.md; ``None`` where those leave a choice."""
    first = next((line for line in _lines(text) if line.strip(_ASCII_BLANKS)), "")
    if first.startswith("sep="):
        return None
    if delimiter in ("tab", "\\t"):
        delimiter = "\t"
    if delimiter is None:
        there = [one for one in DELIMITERS if one in first]
        if len(there) > 1 or '"' in first:
            return None
        delimiter = there[0] if there else ","
    try:
        reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
        rows = [row for row in reader if row]
    except (csv.Error, ValueError, TypeError):
        return None
    if not rows:
        return []
    header = [name.strip() for name in rows[0]]
    if header.count("") > 1 or len(set(header)) < len(header):
        return None
    records = []
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(header) or any("\0" in value for value in row):
            return None
        records.append((0, number, dict(zip(header, row, strict=True))))
    return _mapped(records, lines=False)


def _mapped(records: Iterable[tuple[int, int, Any]], *, lines: bool) -> list[Document] | None:
    """Documents of plain records, all of them; ``None`` where one is not plain."""
    found: list[Document] = []
    have_ids = None
    for line, number, record in records:
        if not isinstance(record, dict) or {key.casefold() for key in record} & set(_SPECIAL) - set(
            record
        ):
            return None
        if len({key.casefold() for key in record} & set(_SPECIAL)) < sum(
            key.casefold() in _SPECIAL for key in record
        ):
            return None
        key = next((one for one in ("id", "_id") if one in record), None)
        title, text = record.get("title"), record.get("text")
        plain = (
            isinstance(text, str)
            and isinstance(title, str | None)
            and (text.strip() or (title or "").strip())
        )
        name = None if key is None else record[key]
        plain = plain and isinstance(name, str | int | None) and not isinstance(name, bool)
        if key is not None:
            plain = plain and name is not None and bool(str(name).strip())
        if not plain or have_ids not in (None, key is not None) or _deep(record):
            return None
        have_ids = key is not None
        metadata = {
            one: value for one, value in record.items() if one not in (key, "text", "title")
        }
        try:
            json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8")
        except (ValueError, RecursionError):
            return None
        found.append(
            Document(
                str(number if key is None else name),
                str(text),
                title if title and title.strip() else None,
                metadata,
                line if lines else None,
            )
        )
    return found


def _deep(value: Any, levels: int = 90) -> bool:
    """Whether arrays and objects are nested in so many levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not levels or any(_deep(one, levels - 1) for one in inner)


# Changing


def change(data: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    told, content = heading(data) or ({"name": "c.jsonl"}, data)
    roll = chance.random()
    if roll < 0.12:
        told = changed_heading(
            told, chance, {
                "name": NAMES, "packed": (None, *PACKED), "format": (None, *_FORMATS),
                "delimiter": (None, *_DELIMITERS), "encoding": (None, *ENCODINGS),
                "fields": (None, *_FIELDS), "text_required": (None, False), "inside": (None, True),
            }
        )  # fmt: skip
    elif roll < 0.2:
        content = _spliced(content, chance)
    elif roll < 0.24 and told.get("encoding"):
        with suppress(LookupError, ValueError, TypeError):
            recoded = content.decode("utf-8", "replace").encode(told["encoding"], "replace")
            content = recoded if isinstance(recoded, bytes) else content
    elif roll < 0.27:
        content = packed(content, chance.choice(PACKED))
    else:
        content = mutate(content, 4000)
    return with_heading(told, content)


def changed_heading(
    told: dict[str, Any], chance: random.Random, choices: dict[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """The same with another choice, or one back to what it is where nothing is said."""
    name = chance.choice(list(choices))
    value = chance.choice(choices[name])
    return {key: one for key, one in {**told, name: value}.items() if one is not None}


_PIECES = (
    b'{"id": "a", "text": "one"}\n', b'{"text": "two", "n": [1, {"a": null}]}\n', b"[", b"]", b"{",
    b"}", b",", b'"', b"\n", b"\r\n", b"\r", b'""', b"id,text\n", b"a;b\tc|d", b"sep=;\n",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"\xc2\x85", b"\0", b"\\", b"\\u0000", b"\\ud800",
    b"1e999", b"NaN", b"9" * 4400, b"[" * 1200, b'{"a":' * 1200, b" " * 100, b'"Text"', b'"_id"',
    b'"id"', b"\x1c", b"\x0c", b"\xc3\xa9",
    b'{"text": "x", "n": ' + b"[" * 101 + b"]" * 101 + b"}\n", b"[" * 101, b"]" * 101,
    b'"title": null, "Title": "x", ',
)  # fmt: skip


def _spliced(content: bytes, chance: random.Random) -> bytes:
    """A piece of text put in, taken out, or doubled."""
    first = chance.randrange(len(content) + 1)
    last = min(len(content), first + chance.choice([0, 0, 1, 8, 64]))
    piece = chance.choice(_PIECES) if chance.random() < 0.7 else content[first:last] * 2
    return (content[:first] + piece + content[last:])[:12_000]


@cache
def _contents() -> dict[str, bytes]:
    return {
        "c.jsonl": (
            b'{"id": "a", "text": "one", "n": 1}\n\n'
            b'{"id": "b", "text": "two\\u00e9", "title": "t"}\n{"x": 1}\n'
        ),
        "c.json": b'[{"text": "one", "m": {"a": [1, 2.5, null]}},\n {"text": "two"}]\n',
        "c.csv": b'id,title,text\r\n1,t,"one, two"\r\n2,,"a ""b""\r\nc"\r\n3,x\r\n',
        "c.tsv": b"text\tn\none\t1\ntwo\t2\n",
        "c.txt": "one\ntwo é\n\n  three\r\n".encode(),
    }


def _seeds() -> Iterator[bytes]:
    for name, content in _contents().items():
        yield with_heading({"name": name}, content)
        yield with_heading({"name": name, "packed": "gzip"}, content)
        yield with_heading({"name": name, "encoding": "utf-16"}, content.decode().encode("utf-16"))
        yield with_heading({"name": name}, content.decode().encode("utf-16"))
    lines = _contents()["c.jsonl"]
    for kind in PACKED:
        yield with_heading({"name": "c.jsonl.gz"}, packed(lines, kind))
    yield with_heading(
        {"name": "c.jsonl"}, b'{\n "text": "one",\n "id": 7\n}\n{"text": "x", "id": 8}\n'
    )
    yield with_heading({"name": "corpus.jsonl", "inside": True}, lines)
    yield with_heading({"name": "c.csv", "delimiter": ";"}, b"id;text\n1;one\n")
    yield with_heading({"name": "c.csv"}, b"sep=;\nid;text\n1;one\n")
    yield with_heading({"name": "c.csv"}, b"id;a, b;text\n1;x;one\n2;y;two\n")
    yield with_heading({"name": "c.csv", "encoding": "cp1252"}, b"id,text\n1,caf\xe9\n")
    yield with_heading({"name": "c.jsonl", "fields": {"text": "body"}}, b'{"body": "one"}\n')
    for encoding in ENCODINGS:
        with suppress(LookupError, ValueError):
            text = 'text\n"a ~ + é ж 日"\n'.encode(encoding, "replace")
            if isinstance(text, bytes):
                yield with_heading({"name": "c.csv", "encoding": encoding}, text)


TARGET = Target(
    "corpora", lambda: list(_seeds()), check, change, words=_PIECES[:32], largest=1 << 14
)
