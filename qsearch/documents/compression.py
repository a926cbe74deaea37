"""Compressed corpora: recognised by their first bytes, never by their name."""

from __future__ import annotations

import importlib
import io
import sys
import zlib
from typing import IO, Any, Literal, NamedTuple, Protocol, cast

from qsearch.errors import CorpusError

__all__ = ["MAGICS", "SUFFIXES", "ByteStream", "Decompressed", "decompressed", "without_suffix"]

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
"""Endings of names that say nothing about the format of what is compressed."""

Kind = Literal["gzip", "bzip2", "xz", "zstd"]

MAGICS: dict[bytes, Kind] = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
MAGICS |= {b"BZh%d%s" % (n, m): "bzip2" for n in range(1, 10) for m in (b"1AY&SY", b"\x17rE8P\x90")}
# Frames that a reader skips may stand before the data.
MAGICS |= {bytes([number]) + b"\x2a\x4d\x18": "zstd" for number in range(0x50, 0x60)}
"""How compressed data begin."""


class ByteStream(Protocol):
    """What is needed of a stream of bytes."""

    def peek(self, size: int, /) -> bytes:
        """Bytes that come next, at least one where there are any, without taking them."""
        ...

    def read(self, size: int, /) -> bytes:
        """So many bytes, or all that are left."""
        ...

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes, and without waiting for more where there are some."""
        ...

    def readline(self, size: int, /) -> bytes:
        """Bytes to the next line end, and at most so many."""
        ...


class Decompressed(NamedTuple):
    """A stream, and what it raises where its data are damaged."""

    stream: ByteStream
    errors: tuple[type[Exception], ...]


def decompressed(raw: io.RawIOBase, head: bytes, name: str) -> Decompressed:
    """The bytes of ``raw``, whatever they are compressed with.

    Args:
        raw: from its first byte.
        head: its first bytes, as many as it takes to tell that they are none of ``MAGICS``.
        name: for messages.

    Raises:
        CorpusError: a package is missing.
    """
    plain = io.BufferedReader(raw, 1 << 20)
    kind = next((kind for magic, kind in MAGICS.items() if head.startswith(magic)), None)
    if kind == "gzip":
        import gzip

        return _opened(gzip.GzipFile(fileobj=plain, mode="rb"), zlib.error)
    if kind == "bzip2":
        import bz2

        return _opened(bz2.BZ2File(plain))
    if kind == "xz":
        import lzma

        return _opened(lzma.LZMAFile(plain), lzma.LZMAError)
    if kind == "zstd":
        zstd = _zstandard(name)
        return _opened(zstd.ZstdFile(plain), zstd.ZstdError)
    return _opened(plain)


def without_suffix(name: str) -> str:
    """A file's name without the ending of its compression.

    >>> without_suffix("corpus.jsonl.ZST"), without_suffix("corpus.csv")
    ('corpus.jsonl', 'corpus.csv')
    """
    ending = next((one for one in SUFFIXES if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def _opened(stream: IO[bytes] | io.BufferedIOBase, *errors: type[Exception]) -> Decompressed:
    return Decompressed(cast(ByteStream, stream), (OSError, EOFError, *errors))


def _zstandard(name: str) -> Any:
    """The module of Python 3.14, or the package that brings it to those before."""
    package = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise CorpusError(
            "is compressed with Zstandard, for which a package is missing: pip install backports.zstd",
            path=name,
        ) from error
