"""Fuzzing of the way there and back: what is built, exported and built again is the same index.

An input is a corpus as in ``fuzz_corpora``. Where a part of it can be built, leaving out what is
invalid, its export is read without a complaint, and gives the same documents with the same rows; so
does syncing with it, which finds nothing to do.
"""

from __future__ import annotations

import random
import shutil
from typing import Any
from unittest import mock

import numpy as np

from qsearch import BuildOptions, Index, QsearchError, verify_index
from qsearch.cli.export import _write
from qsearch.cli.output import OutputError
from qsearch.cli.records import RecordOptions
from qsearch.indexing.report import Silent
from tests.encoders import HashedWords
from tests.faults import fuzz_corpora
from tests.faults.fuzzing import Mutate, Target, Wrong, folder, heading, with_heading

__all__ = ["TARGET"]

_NAMED: RecordOptions = {"id_field": None, "text_field": None, "title_field": None}


def check(data: bytes) -> bool:
    found = heading(data)
    if found is None or found[0].get("name") not in fuzz_corpora.NAMES:
        return False
    told, content = found
    path = fuzz_corpora.placed({"name": told["name"]}, content)
    first, again = folder() / "first", folder() / "again"
    for old in (first, again):
        shutil.rmtree(old, ignore_errors=True)
    options = BuildOptions(skip_invalid=True, passages=8 if told.get("passages") else None)
    encoder = HashedWords(8)
    with mock.patch("os.fsync"):
        try:
            index = Index.build(path, first, encoder=encoder, options=options)
        except QsearchError:
            return True
        with index:
            exported = folder() / "exported.jsonl"
            try:
                with open(exported, "wb") as lines:
                    _write(index, iter(index), len(index), lines, None, _NAMED, Silent())
            except OutputError:
                return True
            strict = BuildOptions(passages=options.passages)
            with Index.build(exported, again, encoder=encoder, options=strict) as copy:
                before, after = _contents(index), _contents(copy)
            if before != after:
                raise Wrong(f"built again: {after}, before: {before}")
            report = index.sync(exported)
            if (report.added, report.replaced, report.metadata, report.deleted) != (0, 0, 0, 0):
                raise Wrong(f"syncing with its export changes an index: {report}")
        problems = verify_index(again, deep=True).problems
        if problems:
            raise Wrong(f"what was built is damaged: {problems}")
    return True


def _contents(index: Index) -> list[Any]:
    documents = list(index)
    rows = index.vectors([one.id for one in documents])
    return [
        (one.id, one.title, one.text, dict(one.metadata), np.array(some).tobytes())
        for one, some in zip(documents, rows, strict=True)
    ]


def change(data: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    if chance.random() < 0.05:
        told, content = heading(data) or ({"name": "c.jsonl"}, data)
        return with_heading({**told, "passages": not told.get("passages")}, content)
    return fuzz_corpora.change(data, chance, mutate)


def _seeds() -> list[bytes]:
    plain = [
        b'{"id": "a", "text": "one two", "title": "t", "n": {"Text": 1}}\n{"id": "b", "text": "x"}\n'
    ]
    plain.append(b'{"text": "one", "Title": null, "ID ": 4}\n{"text": " two ", "n": 1.5e300}\n')
    plain.append(
        b'{"_id": "a", "text": "", "title": "only"}\n{"_id": "b", "text": "\\u2028x\\r"}\n'
    )
    plain.append(b'{"id": 1, "text": "x", "title": null, "Title": "u"}\n{"id": 2, "text": "y"}\n')
    found = [with_heading({"name": "c.jsonl"}, one) for one in plain]
    found.append(with_heading({"name": "c.jsonl", "passages": True}, plain[0] * 1))
    found.append(with_heading({"name": "c.csv"}, b"id,text,\n1,one,x\n2,two,\n"))
    found.append(with_heading({"name": "c.txt"}, "one\n two\u2028three\n".encode()))
    return found


TARGET = Target("export", _seeds, check, change, words=fuzz_corpora.TARGET.words)
