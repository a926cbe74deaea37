r"""Bytes to lines, in bounded memory.

Lines end at ``\n`` and nowhere else: ``str.splitlines`` also breaks at U+2028, U+0085 and others,
which JSON and CSV allow inside a text.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from qsearch.documents.compression import MAGICS as COMPRESSED
from qsearch.documents.compression import ByteStream, decompressed
from qsearch.documents.encodings import BOM, BOMS, Utf8Stream
from qsearch.documents.foreign import MAGICS as FOREIGN
from qsearch.documents.foreign import refuse_content, refuse_zeros
from qsearch.errors import CorpusError, QueryError
from qsearch.wording import words

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["MAX_RECORD_BYTES", "ByteSource", "Line", "TextLine", "text_lines"]

MAX_RECORD_BYTES = 16 * 1024 * 1024
"""Longest record that is read; a longer one is rejected without being held in memory."""

_MAGICS = (*COMPRESSED, *FOREIGN, *BOMS, BOM)


class TextLine(NamedTuple):
    """A line of a file of text: where it stands, for messages; its number, from 1; the text."""

    where: str
    number: int
    text: str


Line = tuple[int, bytes, bool]
"""Line number from 1, bytes without the line end, whether the line was too long (bytes cut)."""


class ByteSource:
    """A corpus as bytes of UTF-8: a file, a compressed one, or standard input."""

    def __init__(
        self, path: str | Path, encoding: str | None = None, *, adjustable: bool = True
    ) -> None:
        """Open ``path``.

        Args:
            path: of a file, or ``-`` for standard input.
            encoding: of a text that is not UTF-8, nor begins with a byte-order mark.
            adjustable: whether the caller can name a format and an encoding, for advice.

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
            head = available.head()
        except (OSError, ValueError) as error:
            self._to_close.close()
            reason = getattr(error, "strerror", None) or error
            raise CorpusError(f"cannot be opened ({reason})", path=self.name) from error
        try:
            self._stream, self._errors = decompressed(available, head, self.name)
        except CorpusError:
            self._to_close.close()
            raise
        self._encoding = encoding
        self._adjustable = adjustable
        self._begun = False
        self._number = 0

    def __enter__(self) -> ByteSource:
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file, but not standard input."""
        self._to_close.close()

    @property
    def encoding(self) -> str:
        """What the bytes are expected to be, for messages."""
        return self._encoding or "UTF-8"

    def first(self) -> tuple[int, bytes]:
        """Skip blank lines; the number of the next one, and its first byte that is no blank.

        Raises:
            CorpusError: see ``lines``.
        """
        try:
            self._begin()
            while head := self._stream.peek(1):
                stripped = head.lstrip()
                blank = head[: len(head) - len(stripped)]
                lines = blank[: blank.rfind(b"\n") + 1] if stripped else blank
                self._stream.read(len(lines))
                self._number += lines.count(b"\n")
                if stripped:
                    return self._number + 1, stripped[:1]
        except self._errors as error:
            raise self._damaged(error) from error
        return self._number + 1, b""

    def blocks(self) -> Iterator[bytes]:
        """Yield what is left, in blocks of any size.

        Raises:
            CorpusError: see ``lines``.
        """
        while True:
            try:
                self._begin()
                block = self._stream.read1(1 << 16)
            except self._errors as error:
                raise self._damaged(error) from error
            if not block:
                return
            self._number += block.count(b"\n")
            yield block

    def lines(self, *, keep_ends: bool = False) -> Iterator[Line]:
        """Yield every line that is left, blank ones too; a byte-order mark at the start is dropped.

        Args:
            keep_ends: whether the line ends stay, as they do in ``str.splitlines``.

        Raises:
            CorpusError: the file is no text, cannot be read on, or its compressed data are damaged.
        """
        while True:
            try:
                self._begin()
                line = self._stream.readline(MAX_RECORD_BYTES + len(b"\r\n"))
                content = line.removesuffix(b"\n").removesuffix(b"\r")
                too_long = len(content) > MAX_RECORD_BYTES
                rest = line
                while too_long and rest and not rest.endswith(b"\n"):
                    rest = self._stream.readline(1 << 20)
            except self._errors as error:
                raise self._damaged(error) from error
            if not line:
                return
            self._number += 1
            yield self._number, line if keep_ends else content, too_long

    def _begin(self) -> None:
        """Before the first byte is taken: find out the encoding, and refuse what is no text."""
        if self._begun:
            return
        head = self._stream.peek(1)
        refuse_content(self.name, head, adjustable=self._adjustable)
        marked = next((name for bom, name in BOMS.items() if head.startswith(bom)), None)
        if encoding := self._encoding or marked:
            self._encoding = encoding
            decoded = io.BufferedReader(Utf8Stream(self._stream, encoding), 1 << 16)
            self._stream = cast(ByteStream, decoded)
            try:
                head = self._stream.peek(1)
            except UnicodeError as error:  # utf-16 and utf-32 want to know the order of bytes
                raise CorpusError(
                    f"does not begin with the byte-order mark that {encoding} has; give {encoding}-le or "
                    f"{encoding}-be with {words().encoding}",
                    path=self.name,
                ) from error
        if head.startswith(BOM):
            head = head[len(self._stream.read(len(BOM))) :]
        refuse_zeros(self.name, head.partition(b"\n")[0], adjustable=self._adjustable)
        self._begun = True

    def _damaged(self, error: Exception) -> CorpusError:
        return CorpusError(
            f"cannot be read on after line {self._number} ({error}); is the file complete?",
            path=self.name,
        )


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

    def head(self) -> bytes:
        """The first bytes, which are handed out again: as many as it takes to tell ``_MAGICS`` apart."""
        while any(len(self._head) < len(one) and one.startswith(self._head) for one in _MAGICS):
            data = self._read(8192)
            if not data:
                break
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


def text_lines(path: str, what: str) -> Iterator[TextLine]:
    """The lines of a file of UTF-8 that is no corpus.

    Args:
        path: of a file, also a compressed one, or ``-``.
        what: longer than any such thing is a line that is too long, for the message.

    Raises:
        QueryError: a line is not UTF-8, or too long.
        CorpusError: the file cannot be read.
    """
    with ByteSource(path, adjustable=False) as source:
        for number, line, too_long in source.lines():
            where = f"standard input, line {number}" if path == "-" else f"{path}:{number}"
            if too_long:
                raise QueryError(f"{where}: is longer than any {what}")
            try:
                yield TextLine(where, number, line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise QueryError(f"{where}: is not UTF-8 (at byte {error.start + 1})") from error
