"""Corpora for the tests of this room: written to files, sent through pipes, read back."""

from __future__ import annotations

import io
import os
import sys
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qsearch.documents import Document, RejectedRecord, open_corpus

__all__ = ["NAMES", "SEPARATORS", "Files", "kinds", "peak_bytes", "pipe", "set_stdin"]

SEPARATORS = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei"
"""Where ``str.splitlines`` breaks a text and a corpus must not."""


NAMES = {"jsonl": "c.jsonl", "csv": "c.csv", "tsv": "c.tsv", "text": "c.txt"}


class Files:
    """Writes bytes to a file of the right name and reads them back as a corpus."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, data: bytes, name: str = "c.jsonl") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def read(
        self, data: bytes | str, name: str = "c.jsonl", **options: Any
    ) -> list[Document | RejectedRecord]:
        raw = data.encode() if isinstance(data, str) else data
        return list(open_corpus(self.write(raw, name), **options))

    def documents(self, data: bytes | str, name: str = "c.jsonl", **options: Any) -> list[Document]:
        records = self.read(data, name, **options)
        assert [one for one in records if isinstance(one, RejectedRecord)] == []
        return [one for one in records if isinstance(one, Document)]

    def rejected(self, data: bytes | str, name: str = "c.jsonl", **options: Any) -> RejectedRecord:
        """The only record there is, which is no document."""
        (record,) = self.read(data, name, **options)
        assert isinstance(record, RejectedRecord)
        return record


def kinds(records: Iterable[Document | RejectedRecord]) -> list[tuple[int | None, str]]:
    """Line and text, or line and ``!``."""
    return [(one.line, one.text if isinstance(one, Document) else "!") for one in records]


@contextmanager
def pipe(path: Path, chunks: Iterable[bytes]) -> Iterator[Path]:
    """A named pipe that ``chunks`` are written to, each when the one before it was taken."""
    os.mkfifo(path)

    def write() -> None:
        try:
            with open(path, "wb", buffering=0) as file:
                for chunk in chunks:
                    file.write(chunk)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield path
    finally:
        writer.join(timeout=60)
        assert not writer.is_alive()


def peak_bytes(corpus: Iterable[Document | RejectedRecord]) -> tuple[int, int]:
    """Records, and the most memory that Python held while they were read and dropped."""
    count = 0
    tracemalloc.start()
    try:
        for _ in corpus:
            count += 1
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def set_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
