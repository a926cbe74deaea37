"""What the records of a chunk become: documents with their rows, and rejects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows, usable_rows
from qsearch.documents import Document, Embeddings, RejectedRecord
from qsearch.encoding import Encoder
from qsearch.errors import CorpusError, EncoderError, EncoderMismatch
from qsearch.indexing.advice import advice_for
from qsearch.indexing.chunks import Record
from qsearch.indexing.passages import PassageSplitter
from qsearch.indexing.report import Progress
from qsearch.store.writer import Chunk
from qsearch.wording import words

__all__ = [
    "COMPARED",
    "ChunkMaker",
    "SplitChunk",
    "check_none_left_out",
    "duplicate_record",
    "invalid_record",
    "unusable_records",
]

_SAMPLE = 16
_SAMPLE_TOLERANCE = 5e-4
"""Given vectors may have been stored in float16, which costs up to 1e-6 of cosine; another model,
pooling or prompt costs far more than this."""

COMPARED = "vectors compared"
"""The setting that says how many given embeddings were held against the encoder."""

_RAW_BYTES = 65_536
"""How much of a rejected document is kept."""


class SplitChunk(NamedTuple):
    """The records of a chunk: how many, documents with their offset, and rejects."""

    records: int
    valid: list[tuple[int, Document]]
    rejects: list[RejectedRecord]


def invalid_record(record: RejectedRecord, corpus: str, *, line: int | None = None) -> CorpusError:
    """The error that ends a build which was not told to leave invalid records out."""
    return CorpusError(
        f"{record.reason}{advice_for(record)} "
        f"({words().skip_invalid} leaves such records out and reports them)",
        path=corpus,
        line=line,
    )


def check_none_left_out(rejects: Iterable[RejectedRecord], corpus: str) -> None:
    """For who goes on with what an earlier run has done, which had leave to skip records, and has none.

    Raises:
        CorpusError: it has left out some.
    """
    one = next(iter(rejects), None)
    if one is not None:
        raise invalid_record(one, corpus, line=one.line or None)


def unusable_records(
    records: Sequence[Record],
    given: NDArray[np.floating] | None,
    first: int,
    embeddings: str | None,
) -> list[Record]:
    """The records, those whose given embedding has no direction as rejects: nothing can be stored of them.

    Args:
        records: of a chunk.
        given: (records, d) embeddings; ``None``: the texts are to be encoded, and who knows.
        first: number of the first, from 0.
        embeddings: the name of all that are given, for messages.
    """
    if given is None:
        return list(records)
    usable = usable_rows(given)
    return [
        record
        if good or isinstance(record, RejectedRecord)
        else _unusable(record, first + number, given[number], embeddings)
        for number, (record, good) in enumerate(zip(records, usable, strict=True))
    ]


def _unusable(
    document: Document, row: int, embedding: NDArray[np.floating], embeddings: str | None
) -> RejectedRecord:
    """Why a document has no row, where its embedding has no direction."""
    wrong = "holds NaN or infinity" if embedding.any() else "is zero"
    if embeddings is None:
        told = f"the embedding of document {document.id!r} is zero or holds NaN or infinity"
    elif document.line is None:  # there are embeddings and nothing else
        told = f"row {row:,} (from 0) {wrong}"
    else:
        told = f"the embedding of document {document.id!r}, row {row:,} (from 0) of {embeddings}, {wrong}"
    content = document.content.encode("utf-8")[:_RAW_BYTES]
    return RejectedRecord(document.line or row + 1, told, content)


class ChunkMaker:
    """Turns records into a chunk: rejects what is invalid, embeds the rest, normalises.

    Attributes:
        compared: how many given embeddings were held against the encoder; ``None`` where embeddings
            are not given, or there is no encoder.
        left_out: ids of documents that nothing can be stored of, which only encoding them showed, and their
            lines: an id counts where it came first, whatever became of it.
    """

    def __init__(
        self,
        known: Callable[[Sequence[str]], dict[str, int | None]],
        encoder: Encoder | None,
        embeddings: Embeddings | None,
        dimensions: int,
        corpus: str,
        progress: Progress,
        *,
        splitter: PassageSplitter | None = None,
        skip_invalid: bool,
        check: Callable[[], None],
        most_waiting: int,
        compared: int = 0,
        tell_compared: Callable[[int], None] = lambda count: None,
        contract: bool = False,
    ) -> None:
        """Make chunks.

        Args:
            known: gives the line numbers of those ids that are in the index already.
            encoder: encodes texts, or is what given embeddings are held against.
            embeddings: given ones; only their name is used here.
            dimensions: of an embedding.
            corpus: its name, for messages.
            progress: is told about every document.
            splitter: makes passages of documents, each a row; only where texts are encoded.
            skip_invalid: collect rejects instead of raising at the first.
            check: called often while texts are encoded; may raise to end it.
            most_waiting: chunks that may be split and not be in the index yet.
            compared: given embeddings that an earlier run has held against the encoder.
            tell_compared: is told how many were.
            contract: the encoder is that of an index which is there, and nobody can choose another one.
        """
        self._known = known
        self._tell_compared = tell_compared
        self._contract = contract
        self._encoder = encoder
        self._embeddings = embeddings
        self._dimensions = dimensions
        self._corpus = corpus
        self._progress = progress
        self._splitter = splitter
        self._skip_invalid = skip_invalid
        self._check = check
        self._most_waiting = most_waiting
        self._waiting: list[dict[str, int | None]] = []
        self._name = None if embeddings is None else embeddings.name
        self.left_out: dict[str, int | None] = {}
        self.compared: int | None = None
        if embeddings is not None and encoder is not None:
            self.compared = compared

    def split(
        self, records: Sequence[Record], given: NDArray[np.floating] | None, first: int
    ) -> SplitChunk:
        """Tell valid documents from rejects; an id counts where a document came first.

        To be called for one chunk after the other; the ids of those that are not in the index yet are
        remembered.

        Args:
            records: of a chunk.
            given: (records, d) embeddings, where they are given.
            first: number of its first record, from 0.

        Raises:
            CorpusError: a record is invalid, and such are not to be skipped.
        """
        read, records = records, unusable_records(records, given, first, self._name)
        documents = [one for one in records if isinstance(one, Document)]
        lines = self._known([document.id for document in documents])
        for waiting in [self.left_out, *self._waiting]:
            lines |= {one.id: waiting[one.id] for one in documents if one.id in waiting}
        own: dict[str, int | None] = {}
        valid: list[tuple[int, Document]] = []
        rejects: list[RejectedRecord] = []
        for offset, record in enumerate(records):
            if isinstance(record, Document) and record.id in lines:
                record = duplicate_record(record, lines[record.id])
            if isinstance(record, Document):
                lines[record.id] = own[record.id] = record.line
                valid.append((offset, record))
                continue
            if not self._skip_invalid:
                # A row of embeddings without documents is of no line.
                raise invalid_record(record, self._corpus, line=read[offset].line and record.line)
            rejects.append(record)
        self._waiting = [*self._waiting, own][-self._most_waiting :]
        return SplitChunk(len(records), valid, rejects)

    def make(
        self, split: SplitChunk, given: NDArray[np.floating] | None, digest: str, first: int
    ) -> Chunk:
        """Make a chunk. Where texts are encoded this may be called by several threads.

        Args:
            split: see ``split``.
            given: (split.records, d) embeddings, or ``None`` to encode.
            digest: see ``chunk_digest``.
            first: number of its first record, from 0.

        Raises:
            CorpusError: an embedding is unusable, and such documents are not to be skipped.
            EncoderError: the encoder fails.
            EncoderMismatch: the given embeddings are not the encoder's.
        """
        rejects = list(split.rejects)
        documents = [document for _, document in split.valid]
        truncated = 0
        passages: NDArray[np.int64] | None = None
        if given is None and self._splitter is not None:
            parts = self._splitter.split(documents)
            passages, truncated = parts.passages, parts.truncated
            embeddings = self._encode(parts.contents, split.records)
        elif given is None:
            contents = [document.content for document in documents]
            embeddings = self._encode(contents, split.records)
            truncated = 0 if self._encoder is None else self._encoder.truncated(contents)
        else:
            embeddings = given[[offset for offset, _ in split.valid]]
            self._compare(documents, embeddings)
            self._progress.advance(split.records)
        rows, usable = unit_rows(embeddings)
        if passages is not None:  # a document stands or falls with all of its passages
            row_usable, usable = usable, np.ones(len(documents), dtype=np.bool_)
            usable[passages[~row_usable, 0]] = False
            rows, passages = _without(rows, passages, usable)
        else:
            rows = rows[usable]
        for offset in np.flatnonzero(~usable):
            document = documents[offset]
            reject = _unusable(
                document, first + split.valid[offset][0], embeddings[offset], self._name
            )
            if not self._skip_invalid:
                raise invalid_record(reject, self._corpus, line=document.line)
            rejects.append(reject)
            self.left_out[document.id] = document.line
        accepted = [document for document, good in zip(documents, usable, strict=True) if good]
        return Chunk(digest, split.records, accepted, rows, passages, rejects, truncated)

    def _encode(self, texts: list[str], records: int) -> NDArray[np.float32]:
        """Embeddings of what so many records have become."""
        if self._encoder is None:
            raise CorpusError("texts cannot be encoded without an encoder", path=self._corpus)
        done = told = 0

        def advance(count: int) -> None:
            nonlocal done, told
            self._check()
            done += count
            # Of a text's passages the last counts: there are at least as many texts as records.
            some = min(records, done * records // len(texts)) - told
            told += some
            self._progress.advance(some)

        embeddings = self._encoder.encode_documents(texts, advance)
        if embeddings.shape != (len(texts), self._dimensions):
            raise EncoderError(
                f"the encoder gave {embeddings.shape} for {len(texts)} texts, expected "
                f"{(len(texts), self._dimensions)}"
            )
        self._progress.advance(records - told)
        return embeddings

    def _compare(self, documents: Sequence[Document], embeddings: NDArray[np.floating]) -> None:
        """Hold a few of the given embeddings, of the first chunk with texts, against the encoder."""
        if self._encoder is None or self.compared:
            return
        with_text = [i for i, document in enumerate(documents) if document.content.strip()]
        chosen = with_text[:: max(1, len(with_text) // _SAMPLE)][:_SAMPLE]
        theirs, usable = unit_rows(embeddings[chosen])
        chosen = [i for i, good in zip(chosen, usable, strict=True) if good]
        if not chosen:  # rows that are not usable are reported by themselves
            return
        own = unit_rows(self._encoder.encode_documents([documents[i].content for i in chosen]))[0]
        cosines = (own.astype(np.float64) * theirs[usable]).sum(axis=1)
        worst = int(np.argmin(cosines))
        if cosines[worst] < 1.0 - _SAMPLE_TOLERANCE:
            name = self._embeddings.name if self._embeddings else ""
            advice = "make them with that model, or leave them out and have the texts encoded"
            if not self._contract:
                advice = (
                    f"name the model that made them with {words().model}, or leave it out to search by "
                    "vector only"
                )
            raise EncoderMismatch(
                f"the vectors in {name} are not those that {self._encoder.identity().model} gives: "
                f"for document {documents[chosen[worst]].id!r} the cosine is {cosines[worst]:.4f}; {advice}"
            )
        self.compared = len(chosen)
        self._tell_compared(self.compared)


def _without(
    rows: NDArray[np.float32], passages: NDArray[np.int64], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows and passages of the usable documents, these numbered anew."""
    kept = usable[passages[:, 0]]
    passages = passages[kept]
    passages[:, 0] = (np.cumsum(usable) - 1)[passages[:, 0]]
    return rows[kept], passages


def duplicate_record(document: Document, first_line: int | None) -> RejectedRecord:
    """What is wrong with a document whose id was used on ``first_line`` already."""
    return RejectedRecord(
        document.line or 0,
        f"duplicate id {document.id!r}, first used on line {first_line}",
        json.dumps({"id": document.id, "text": document.text}).encode()[:_RAW_BYTES],
    )
