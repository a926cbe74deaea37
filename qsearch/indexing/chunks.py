"""How a corpus is cut into the steps of a build."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.documents import Corpus, Document, Embeddings, RejectedRecord
from qsearch.encoding import Encoder
from qsearch.store.format import raw_bytes

__all__ = [
    "ChunkLimit",
    "ChunkReader",
    "Record",
    "chunk_digest",
    "chunk_limit",
    "encoded_limit",
    "given_limit",
    "read_records",
]

_CHUNK_RECORDS = 2048
"""Most records that are made durable together where they are encoded."""

_CHUNK_WANTED = 16_384
"""Most of an encoder that wants many at once."""

_CHUNK_ROWS = 4096
"""The same where the embeddings are given and nothing is slow but the syncs."""

_CHUNK_CHARACTERS = 1 << 25
"""A chunk of long texts ends earlier, so that memory stays bounded by characters too."""

_CHUNK_ENCODED = 1 << 15
"""Bytes of text that are encoded together: what an interruption loses is this, three times. MiniLM
through ONNX Runtime encodes 9,500 of them a second on one thread where texts are short, 13,500 where they
are long (scripts/bench/chunks.py), so on two threads five seconds of work can be lost; smaller chunks do
not encode more slowly, and are synced more often than once a second."""

_BYTES_A_TOKEN = 5
"""English has 4 to 5. What lies behind the maximum length of the encoder costs nothing."""

Record = Document | RejectedRecord


@dataclass(frozen=True, slots=True)
class ChunkLimit:
    """Where a chunk ends: a function of its records alone, so that every build cuts alike.

    Attributes:
        records: at most so many,
        characters: or when it has so many, counting all there is,
        encoded: or when it has so many bytes of text that is encoded,
        least: but not for those before it has so many records.
        document: most bytes that count of one document; 0: all of them.
    """

    records: int
    characters: int
    encoded: int
    least: int
    document: int

    def encoded_bytes(self, content: str) -> int:
        """How many bytes of a text count."""
        if not self.document:
            return len(content.encode())
        return min(self.document, len(content[: self.document].encode()))


def chunk_limit(encoder: Encoder | None, *, given: bool, passages: bool) -> ChunkLimit:
    """How a build cuts.

    Args:
        encoder: what encodes the texts. One that is slow on few at a time says so by an attribute
            ``documents_at_once``.
        given: whether the embeddings are given.
        passages: whether all of a text is encoded, in passages, and not only its beginning.
    """
    if given or encoder is None:
        return given_limit()
    longest = 0 if passages else encoder.identity().max_length or 0
    return encoded_limit(longest, int(getattr(encoder, "documents_at_once", 1)))


def given_limit() -> ChunkLimit:
    """How records are cut whose embeddings are given."""
    return ChunkLimit(_CHUNK_ROWS, _CHUNK_CHARACTERS, 0, _CHUNK_ROWS, 1)


def encoded_limit(longest: int, least: int = 1) -> ChunkLimit:
    """How records are cut that are encoded.

    Args:
        longest: tokens of a text that are encoded; 0: all of them.
        least: records that the encoder wants at once.
    """
    least = min(least, _CHUNK_WANTED)
    return ChunkLimit(
        max(_CHUNK_RECORDS, least),
        _CHUNK_CHARACTERS,
        _CHUNK_ENCODED,
        least,
        longest * _BYTES_A_TOKEN,
    )


def read_records(
    corpus: Corpus | None, embeddings: Embeddings | None, first: int = 0
) -> Iterator[Record]:
    """The records; without a corpus, one empty document for each embedding, numbered from ``first`` on."""
    if corpus is not None:
        return iter(corpus)
    count = embeddings.rows if embeddings is not None else 0
    return (Document(str(first + row), "") for row in range(count))


class ChunkReader:
    """Takes chunks off a stream of records."""

    def __init__(self, records: Iterator[Record], limit: ChunkLimit) -> None:
        """Take from ``records``, up to ``limit`` each."""
        self._source = records
        self._back: deque[Record] = deque()
        self._limit = limit

    def _records(self) -> Iterator[Record]:
        """What is to come. Not by "yield from", which would close the source with itself."""
        return chain(self._returned(), self._source)

    def _returned(self) -> Iterator[Record]:
        while self._back:
            yield self._back.popleft()

    def take(self, count: int) -> list[Record]:
        """The next ``count`` records, or those that are left."""
        return list(islice(self._records(), count))

    def put_back(self, chunk: list[Record]) -> None:
        """Have records come once more."""
        self._back.extendleft(reversed(chunk))

    def has_more(self) -> bool:
        """Whether there is another record."""
        some = self.take(1)
        self.put_back(some)
        return bool(some)

    def skip(self) -> int:
        """Read what is left, and return how many records that were."""
        return sum(1 for _ in self._records())

    def next(self) -> list[Record]:
        """The next chunk; empty at the end."""
        limit = self._limit
        chunk: list[Record] = []
        characters = encoded = 0
        for record in self._records():
            chunk.append(record)
            if isinstance(record, Document):
                content = record.content
                characters += len(content) + len(repr(record.metadata))
                encoded += limit.encoded_bytes(content)
            else:
                characters += len(record.raw)
            enough = encoded >= limit.encoded and len(chunk) >= limit.least
            if len(chunk) >= limit.records or characters >= limit.characters or enough:
                break
        return chunk


def chunk_digest(records: Sequence[Record], given: NDArray[np.floating] | None) -> str:
    """XXH3 (128 bits) of records and given embeddings, as hexadecimal."""
    digest = xxhash.xxh3_128()
    for one in records:
        if isinstance(one, Document):
            value: list[Any] = [one.id, one.title, one.text, dict(one.metadata), one.line]
        else:
            value = [one.line, one.reason, one.raw.hex()]
        digest.update(json.dumps(value, ensure_ascii=True).encode("ascii"))
    if given is not None:
        digest.update(raw_bytes(given))
    return digest.hexdigest()
