"""Filling an index with the documents of a corpus, chunk by chunk, from where the last build stopped."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Corpus, Embeddings
from qsearch.encoding import Encoder
from qsearch.errors import CorpusError
from qsearch.indexing.changes import change_of
from qsearch.indexing.chunks import ChunkReader, Record, chunk_digest, chunk_limit, read_records
from qsearch.indexing.making import COMPARED, ChunkMaker, check_none_left_out
from qsearch.indexing.passages import PassageSplitter
from qsearch.indexing.pipeline import Pipeline, chunks_at_once
from qsearch.indexing.report import Progress
from qsearch.indexing.survey import check_numbers, check_same_number
from qsearch.store import IndexWriter
from qsearch.store.writer import Chunk
from qsearch.wording import words

__all__ = ["fill"]

_log = logging.getLogger("qsearch")


def fill(
    writer: IndexWriter,
    corpus: Corpus | None,
    embeddings: Embeddings | None,
    encoder: Encoder | None,
    splitter: PassageSplitter | None,
    dimensions: int,
    progress: Progress,
    *,
    name: str,
    skip_invalid: bool,
    total: int | None = None,
) -> tuple[int, int | None]:
    """Read every record, and append what is not in the index yet.

    Args:
        writer: of the index.
        corpus: the records; ``None`` only with ``embeddings``.
        embeddings: one for each record, where they are given.
        encoder: see ``ChunkMaker``.
        splitter: see there.
        dimensions: of an embedding.
        progress: is told about every record.
        name: of the corpus, for messages.
        skip_invalid: leave invalid records out.
        total: records that a first look has counted, where there was one.

    Returns:
        How many documents were there already, and how many given embeddings were compared, see
        ``ChunkMaker.compared``.

    Raises:
        QsearchError: see ``build_index``. Chunks that are durable stay.
    """
    reader = ChunkReader(
        read_records(corpus, embeddings),
        chunk_limit(encoder, given=embeddings is not None, passages=splitter is not None),
    )
    filling = _Filling(writer, embeddings, reader, progress, name)
    filling.skip_done()
    if not skip_invalid:
        check_none_left_out(writer.rejects(), name)
    resumed = writer.documents
    # A chunk is read and another written while texts of others are tokenized and encoded.
    concurrent = getattr(encoder, "concurrent", False) and embeddings is None
    with Pipeline(writer.append, chunks_at_once() if concurrent else 0) as pipeline:
        maker = ChunkMaker(
            writer.lines_of,
            encoder,
            embeddings,
            dimensions,
            name,
            progress,
            splitter=splitter,
            skip_invalid=skip_invalid,
            check=pipeline.check,
            most_waiting=pipeline.most_waiting,
            compared=writer.settings().get(COMPARED, 0),
            tell_compared=lambda count: writer.put_settings({COMPARED: count}),
        )
        filling.append_rest(maker, pipeline, total)
    return resumed, maker.compared


class _Filling:
    """One way through the records."""

    def __init__(
        self,
        writer: IndexWriter,
        embeddings: Embeddings | None,
        reader: ChunkReader,
        progress: Progress,
        name: str,
    ) -> None:
        self._writer = writer
        self._embeddings = embeddings
        self._reader = reader
        self._progress = progress
        self._name = name
        self._row = 0

    def skip_done(self) -> None:
        """Pass over the records that an earlier build has done, as far as they are still the same.

        What it has done behind them is taken back. Where not even the first chunk is the same it is
        another corpus: documents that were encoded are not thrown away for it unasked.
        """
        for number in range(self._writer.chunks_done):
            entry = self._writer.chunk(number)
            chunk = self._reader.take(entry.records)
            if not chunk or chunk_digest(chunk, self._given(chunk)) != entry.digest:
                self._take_back(number, chunk)
                return
            self._row += len(chunk)
            self._progress.advance(len(chunk), resumed=True)
            del chunk  # or it would stay while the next one is read

    def _take_back(self, number: int, chunk: list[Record]) -> None:
        """Keep the chunks before the first one that is not as it was."""
        writer = self._writer
        kept = writer.chunk(number - 1).documents if number else 0
        if not number and not chunk:
            raise CorpusError("is empty", path=self._name)
        if not chunk:
            change = f"it ends behind {self._row:,} records"
        else:
            change = change_of(
                writer.documents_of(number), chunk, given=self._embeddings is not None
            )
        if not number and self._embeddings is None:
            raise CorpusError(
                f"is not the corpus of the interrupted build, which has {writer.documents:,} documents "
                f"done: {change}; bring that one back to finish it, or add {words().restart} to begin "
                "anew with this one",
                path=self._name,
            )
        _log.warning(
            "%s has changed since the build was interrupted: %s; %s, %s are done again",
            self._name,
            change,
            f"the first {kept:,} documents are kept" if kept else "nothing is kept",
            f"{writer.documents - kept:,} behind them"
            if kept
            else f"{writer.documents:,} documents",
        )
        writer.keep(number)
        if COMPARED in writer.settings():
            writer.put_settings({COMPARED: 0})  # those that were compared may be gone
        self._reader.put_back(chunk)

    def append_rest(self, maker: ChunkMaker, pipeline: Pipeline[Chunk], total: int | None) -> None:
        """Make chunks of all other records, of which there are ``total`` in all, if that is known."""
        while records := self._reader.next():
            given = self._given(records)
            if self._embeddings is not None:
                # Found out before the last chunk is durable: it would be the wrong one.
                after = self._row + len(records)
                if after > self._embeddings.rows or not self._reader.has_more():
                    check_numbers(after + self._reader.skip(), self._embeddings, self._name)
            digest = chunk_digest(records, given)
            with pipeline.lock:
                split = maker.split(records, given, self._row)
            pipeline.put(partial(maker.make, split, given, digest, self._row))
            self._row += len(records)
            del split, records, given  # or they would stay while the next chunk is read
        if self._embeddings is not None:
            check_numbers(self._row, self._embeddings, self._name)
        check_same_number(total, self._row, self._name)

    def _given(self, records: list[Record]) -> NDArray[np.floating] | None:
        if self._embeddings is None:
            return None
        return self._embeddings.read(self._row, self._row + len(records))
