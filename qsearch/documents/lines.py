r"""Bytes to lines, in bounded memory.

Lines end at ``\n`` and nowhere else: ``str.splitlines`` also breaks at U+2028, U+0085 and others,
which JSON and CSV allow inside a text.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qsearch.errors import CorpusError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["MAX_RECORD_BYTES", "ByteSource", "Line"]

MAX_RECORD_BYTES = 16 * 1024 * 1024
"""Longest record that is read; a longer one is rejected without being held in memory."""

_BOM = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"

Line = tuple[int, bytes, bool]
"""Line number from 1, bytes without the line end, whether the line was too long (bytes cut)."""


class ByteSource:
    """A corpus as bytes: a file, a gzip file (recognised by its first two bytes) or standard input."""

    def __init__(self, path: str | Path) -> None:
        """Open ``path``; ``-`` is standard input.

        Raises:
            CorpusError: it cannot be opened.
        """
        self.name = str(path)
        self._to_close = contextlib.ExitStack()
        try:
            if self.name == "-":
                file = _standard_input()
            else:
                file = self._to_close.enter_context(open(path, "rb"))  # noqa: SIM115 (closed with self)
            available = _Available(file)
            magic = available.head(len(_GZIP_MAGIC))
        except (OSError, ValueError) as error:
            self._to_close.close()
            reason = getattr(error, "strerror", None) or error
            raise CorpusError(f"cannot be opened ({reason})", path=self.name) from error
        buffered = io.BufferedReader(available, 1 << 20)
        self._stream: gzip.GzipFile | io.BufferedReader[_Available] = (
            gzip.GzipFile(fileobj=buffered, mode="rb") if magic == _GZIP_MAGIC else buffered
        )

    def __enter__(self) -> ByteSource:
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file, but not standard input."""
        self._to_close.close()

    def lines(self, *, keep_ends: bool = False) -> Iterator[Line]:
        """Yield every line, blank ones too; a byte-order mark at the start is dropped.

        Args:
            keep_ends: whether the line ends stay, as they do in ``str.splitlines``.

        Raises:
            CorpusError: the file cannot be read on, or its gzip data is damaged.
        """
        number = 0
        while True:
            try:
                line = self._stream.readline(MAX_RECORD_BYTES + len(b"\r\n"))
                content = line.removesuffix(b"\n").removesuffix(b"\r")
                too_long = len(content) > MAX_RECORD_BYTES
                rest = line
                while too_long and rest and not rest.endswith(b"\n"):
                    rest = self._stream.readline(1 << 20)
            except (OSError, EOFError, zlib.error) as error:
                raise CorpusError(
                    f"cannot be read on after line {number} ({error}); is the file complete?",
                    path=self.name,
                ) from error
            if not line:
                return
            number += 1
            kept = line if keep_ends else content
            yield number, kept.removeprefix(_BOM) if number == 1 else kept, too_long


def _standard_input() -> IO[bytes]:
    buffer: IO[bytes] | None = getattr(sys.stdin, "buffer", None)
    if buffer is None:
        raise ValueError("standard input is closed")
    # A pipe that another program left non-blocking reads as ended whenever it is empty, and the
    # rest of the corpus would be lost without a word.
    with contextlib.suppress(OSError, ValueError):
        os.set_blocking(buffer.fileno(), True)
    return buffer


class _Available(io.RawIOBase):
    """Hands out what a pipe holds now instead of waiting until a whole buffer is full."""

    def __init__(self, file: IO[bytes]) -> None:
        self._read = getattr(file, "read1", file.read)
        self._head = b""

    def head(self, size: int) -> bytes:
        """The first bytes, which are handed out again; fewer only where there are no more."""
        while len(self._head) < size and (data := self._read(size - len(self._head))):
            self._head += data
        return self._head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data: bytes = self._head[: len(view)] or self._read(len(view))
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        return len(data)
