"""Filling an index with the documents of a corpus, chunk by chunk, where the last build stopped."""

from __future__ import annotations

from functools import partial

from qsearch.documents import Corpus, Embeddings
from qsearch.encoding import Encoder
from qsearch.errors import CorpusError
from qsearch.indexing.chunks import ChunkMaker, chunk_digest, read_chunks
from qsearch.indexing.passages import PassageSplitter
from qsearch.indexing.pipeline import Pipeline
from qsearch.indexing.report import Progress
from qsearch.store import IndexWriter
from qsearch.wording import words

__all__ = ["fill"]


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
) -> int | None:
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

    Returns:
        How many given embeddings were compared, see ``ChunkMaker.compared``.

    Raises:
        QsearchError: see ``build_index``. Chunks that are durable stay.
    """
    # A chunk is read and another written while texts of two more are tokenized and encoded.
    concurrent = getattr(encoder, "concurrent", False) and embeddings is None
    with Pipeline(writer.append, 2 if concurrent else 0) as pipeline:
        maker = ChunkMaker(
            writer,
            encoder,
            embeddings,
            dimensions,
            name,
            progress,
            splitter=splitter,
            skip_invalid=skip_invalid,
            check=pipeline.check,
            most_waiting=pipeline.most_waiting,
        )
        row = 0
        number = -1
        chunks = read_chunks(corpus, embeddings, passages=splitter is not None)
        for number, records in enumerate(chunks):
            given = None
            if embeddings is not None:
                given = embeddings.read(row, row + len(records))
                if len(given) < len(records):
                    row += len(records) + sum(map(len, chunks))
                    break
            row += len(records)
            digest = chunk_digest(records, given)
            if number < writer.chunks_done:
                writer.check_done(number, digest, name)
                progress.advance(len(records), resumed=True)
            else:
                with pipeline.lock:
                    split = maker.split(records)
                pipeline.put(partial(maker.make, split, given, digest))
                del split
            del records, given  # or they would stay while the next chunk is read
        if embeddings is not None and row != embeddings.rows:
            raise CorpusError(
                f"has {row:,} records, {embeddings.name} has "
                f"{embeddings.rows:,} rows; there must be one row for each record",
                path=name,
            )
        if number + 1 < writer.chunks_done:
            raise CorpusError(
                f"is shorter than when the build was interrupted; add {words().restart} to build "
                "from the beginning",
                path=name,
            )
    return maker.compared
