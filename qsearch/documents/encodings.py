"""Encodings of text: everything becomes UTF-8 before lines are told apart."""

from __future__ import annotations

import codecs
import io
import re
from typing import TYPE_CHECKING

from qsearch.documents.compression import ByteStream
from qsearch.errors import CorpusError
from qsearch.wording import words

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["BOM", "BOMS", "Utf8Stream", "check_encoding", "encoding_advice", "guessed_encoding"]

BOM = codecs.BOM_UTF8

# Longest first: UTF-32 begins like UTF-16.
BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks of encodings that are read without being named."""

_UNDECODABLE = "qsearch.undecodable"


def check_encoding(encoding: str) -> str:
    """The encoding's name in Python.

    Raises:
        CorpusError: there is no such encoding of text.
    """
    try:
        found = codecs.lookup(encoding)
        "".encode(encoding)  # refuses what is known and no encoding of text, such as base64
        codecs.getincrementaldecoder(encoding)(_UNDECODABLE).decode(b"")  # and names of hosts: idna
    except (LookupError, ValueError):
        raise CorpusError(
            f"unknown encoding {encoding!r}; known are utf-8, cp1252, latin-1, utf-16, shift_jis, gb18030 "
            "and the others of Python"
        ) from None
    return found.name


def guessed_encoding(raw: bytes) -> str | None:
    """The encoding of bytes that are not UTF-8, where little else is possible; else ``None``.

    Western European text has single bytes above 127 between letters of ASCII; where most are above,
    it is another alphabet, of which there are too many to tell from a line.
    """
    zeros = raw.count(0)
    if 3 * zeros > len(raw) > 8:  # the upper halves of what ASCII has too
        odd = raw[1::2].count(0)
        return "utf-16-le" if odd == zeros else "utf-16-be" if not odd else None
    letters = len(re.findall(rb"[A-Za-z]", raw))
    high = len(re.findall(rb"[\x80-\xff]", raw))
    if zeros or high > letters:
        return None
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return "cp1252"


def encoding_advice(raw: bytes) -> str:
    """What to do where ``raw`` is not in the encoding that was expected."""
    if guessed := guessed_encoding(raw):
        return f"it could be {guessed}; if so, give {guessed} with {words().encoding}"
    return f"give its encoding with {words().encoding}"


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """A lone surrogate for what cannot be decoded: it becomes bytes that are no UTF-8 either."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udc80", error.end


codecs.register_error(_UNDECODABLE, _stand_in)


class Utf8Stream(io.RawIOBase):
    """Bytes in another encoding, as UTF-8.

    What cannot be decoded becomes bytes that are no UTF-8, so that the record which holds it is
    rejected and not the rest of the file.
    """

    def __init__(self, stream: ByteStream, encoding: str) -> None:
        """Decode ``stream``."""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Hand out what can be decoded now."""
        view = memoryview(buffer)
        while not self._ready and not self._ended:
            data = self._stream.read1(1 << 16)
            self._ended = not data
            text = self._decoder.decode(data, final=self._ended)
            self._ready = text.encode("utf-8", "surrogatepass")
        data, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(data)] = data
        return len(data)
