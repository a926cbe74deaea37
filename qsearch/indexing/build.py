"""One build, phase by phase.

Reads a chunk, encodes it, makes it durable, reads the next. Only one chunk is in memory, and a
durable chunk is never encoded again.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.documents import Corpus, Document, Embeddings, RejectedRecord
from qsearch.encoding import Encoder, EncoderContract, check_contract, make_contract
from qsearch.encoding.contract import contract_from_store, contract_to_store
from qsearch.errors import CorpusError, EncoderError, EncoderMismatch, IndexWriteError
from qsearch.indexing.report import BuildOptions, BuildReport, Progress, Silent, index_sizes
from qsearch.retrieval import build_graph
from qsearch.store import IndexWriter, Segment
from qsearch.store.format import GRAPH, raw_bytes
from qsearch.store.staging import check_target
from qsearch.store.writer import Chunk
from qsearch.version import __version__

__all__ = ["build_index"]

_CHUNK_RECORDS = 2048
"""Records made durable together where they are encoded: seconds of work, not hours, can be lost."""

_CHUNK_CHARACTERS = 1 << 25
"""A chunk of long texts ends earlier, so that memory stays bounded by characters too."""

_CHUNK_ROWS = 4096
"""The same where the embeddings are given and nothing is slow but the syncs."""

_SAMPLE = 16
_SAMPLE_TOLERANCE = 5e-4
"""Given vectors may have been stored in float16, which costs up to 1e-6 of cosine; another model,
pooling or prompt costs far more than this."""


def build_index(
    corpus: Corpus | None,
    target: Path,
    *,
    load_encoder: Callable[[], Encoder] | None,
    embeddings: Embeddings | None = None,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build the index ``target``, or finish its interrupted build.

    Args:
        corpus: the documents; ``None`` only with ``embeddings``, then they are numbered from 0.
        target: directory to make.
        load_encoder: makes the encoder; ``None`` for an index without one.
        embeddings: embeddings made elsewhere, one for each record of the corpus, in its order.
        options: see ``BuildOptions``.
        progress: is told what is done.

    Raises:
        CorpusError: a record is invalid (unless skipped), none is valid, or the corpus changed
            since the build was interrupted.
        EncoderError: the encoder cannot be loaded or fails.
        EncoderMismatch: ``embeddings`` are not those of the encoder.
        IndexExists, IndexBusy, IndexWriteError: see there.
    """
    build = _Build(corpus, target, embeddings, options or BuildOptions(), progress or Silent())
    return build.run(load_encoder)


class _Build:
    """One run of a build: the state that its phases share."""

    def __init__(
        self,
        corpus: Corpus | None,
        target: Path,
        embeddings: Embeddings | None,
        options: BuildOptions,
        progress: Progress,
    ) -> None:
        if corpus is None and embeddings is None:
            raise CorpusError("there is nothing to build from: neither documents nor embeddings")
        self.corpus = corpus
        self.target = target
        self.embeddings = embeddings
        self.options = options
        self.progress = progress
        self.name = corpus.name if corpus is not None else embeddings.name if embeddings else ""
        self.seconds: dict[str, float] = {}
        self.encoder: Encoder | None = None
        self.dimensions = 0
        self.rejects: Path | None = None

    def run(self, load_encoder: Callable[[], Encoder] | None) -> BuildReport:
        check_target(Path(os.path.realpath(self.target)), replace=self.options.force)
        total = self._survey()
        if load_encoder is not None:
            with self._phase("load model"):
                self.encoder = load_encoder()
                identity = self.encoder.identity()
            self.dimensions = identity.dimensions
        if self.embeddings is not None:
            if self.encoder is not None and self.dimensions != self.embeddings.dimensions:
                raise EncoderMismatch(
                    f"{self.embeddings.name} has {self.embeddings.dimensions} dimensions, "
                    f"the model {identity.model} gives {self.dimensions}"
                )
            self.dimensions = self.embeddings.dimensions
        with IndexWriter.open(
            self.target,
            self._settings(),
            segment_rows=self.options.segment_rows,
            replace=self.options.force,
            restart=self.options.restart,
        ) as writer:
            resumed = writer.documents
            writer.put_settings({"dimensions": self.dimensions})
            self._keep_contract(writer)
            self._append_all(writer, total)
            if not writer.documents:
                raise CorpusError(
                    "holds no valid document" if writer.totals()["rejected"] else "is empty",
                    path=self.name,
                )
            with self._phase("code", writer.documents - writer.sealed_rows(), "rows"):
                writer.advance_sealing = self.progress.advance
                writer.seal()
            if self.options.graph:
                self._build_graphs(writer)
            totals = writer.totals()
            with self._phase("publish"):
                writer.publish(
                    {
                        "created": datetime.datetime.now(datetime.UTC).isoformat(
                            timespec="seconds"
                        ),
                        "qsearch": __version__,
                        "corpus": self.name,
                        "documents": writer.documents,
                        **totals,
                    }
                )
        return BuildReport(
            path=self.target,
            documents=writer.documents,
            rejected=totals["rejected"],
            rejects=self.rejects,
            truncated=totals["truncated"],
            max_length=None if self.encoder is None else self.encoder.identity().max_length,
            dimensions=self.dimensions,
            resumed=resumed,
            sizes=index_sizes(self.target),
            seconds=self.seconds,
        )

    # Phases

    @contextmanager
    def _phase(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        started = time.perf_counter()
        self.progress.begin(name, total, unit)
        try:
            yield
        finally:
            self.progress.end()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def _survey(self) -> int | None:
        """Read the whole corpus once before anything slow: its errors in seconds, and its size.

        Not for pipes, which can be read only once, nor where reading is all the work there is.
        """
        if self.embeddings is not None:
            return self.embeddings.rows
        if self.corpus is None or not self.corpus.rereadable:
            return None
        count = 0
        with self._phase("read", None, "records"):
            for count, record in enumerate(self.corpus, 1):
                if isinstance(record, RejectedRecord) and not self.options.skip_invalid:
                    raise self._invalid(record)
                if not count % 1024:
                    self.progress.advance(1024)
            self.progress.advance(count % 1024)
        return count

    def _settings(self) -> dict[str, Any]:
        """What decides the result, beside the records themselves."""
        identity: dict[str, Any] = {}
        if self.encoder is not None:
            identity = self.encoder.identity().to_json()
            for informative in ("versions", "backend"):
                del identity[informative]
            if identity["weights"] is not None:
                del identity["model"]  # a model that was moved is the same model
        settings = {
            **{f"encoder {name}": value for name, value in identity.items()},
            "has encoder": self.encoder is not None,
            "dimensions": self.dimensions,
            "embeddings given": self.embeddings is not None,
            "records in a chunk": self._chunk_records,
            "segment rows": self.options.segment_rows,
        }
        decoded: dict[str, Any] = json.loads(json.dumps(settings))  # as they will be read back
        return decoded

    @property
    def _chunk_records(self) -> int:
        return _CHUNK_RECORDS if self.embeddings is None else _CHUNK_ROWS

    def _keep_contract(self, writer: IndexWriter) -> None:
        if self.encoder is None:
            return
        with self._phase("load model"):
            stored = contract_from_store(writer.settings().get("encoder"), writer.canaries())
            if stored is None:
                contract: EncoderContract = make_contract(self.encoder)
                identity, canaries = contract_to_store(contract)
                writer.put_canaries(canaries)
                writer.put_settings({"encoder": identity})
            else:
                check_contract(stored, self.encoder).require(f"the interrupted {self.target}")

    def _append_all(self, writer: IndexWriter, total: int | None) -> None:
        phase = "encode" if self.embeddings is None else "store"
        with self._phase(phase, total, "docs"):
            try:
                row = 0
                number = -1
                chunks = self._chunks()
                for number, records in enumerate(chunks):
                    given = None
                    if self.embeddings is not None:
                        given = self.embeddings.read(row, row + len(records))
                        if len(given) < len(records):
                            row += len(records) + sum(map(len, chunks))
                            break
                    row += len(records)
                    digest = _digest(records, given)
                    if number < writer.chunks_done:
                        writer.check_done(number, digest, self.name)
                        self.progress.advance(len(records), resumed=True)
                    else:
                        writer.append(self._encode(writer, records, given, digest, number))
                    del records, given  # or they would stay while the next chunk is read
                if self.embeddings is not None and row != self.embeddings.rows:
                    raise CorpusError(
                        f"has {row:,} records, {self.embeddings.name} has "
                        f"{self.embeddings.rows:,} rows; there must be one row for each record",
                        path=self.name,
                    )
                if number + 1 < writer.chunks_done:
                    raise CorpusError(
                        "is shorter than when the build was interrupted; add --restart to build "
                        "from the beginning",
                        path=self.name,
                    )
            finally:
                self._write_rejects(writer)

    def _chunks(self) -> Iterator[list[Document | RejectedRecord]]:
        if self.corpus is not None:
            records = iter(self.corpus)
        else:
            count = self.embeddings.rows if self.embeddings is not None else 0
            records = (Document(str(row), "") for row in range(count))
        # Not bound to a name here: a chunk must be gone before the next one is read.
        yield from iter(lambda: _take(records, self._chunk_records), [])

    def _encode(
        self,
        writer: IndexWriter,
        records: Sequence[Document | RejectedRecord],
        given: NDArray[np.floating] | None,
        digest: str,
        number: int,
    ) -> Chunk:
        """Make a chunk of records: reject what is invalid, embed the rest, normalise."""
        valid, rejects = self._split(writer, records)
        documents = [document for _, document in valid]
        texts = [document.content for document in documents]
        truncated = 0
        if given is None:
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                self.progress.advance(count)

            if self.encoder is None:
                raise CorpusError("texts cannot be encoded without an encoder", path=self.name)
            embeddings = self.encoder.encode_documents(texts, advance)
            if embeddings.shape != (len(texts), self.dimensions):
                raise EncoderError(
                    f"the encoder gave {embeddings.shape} for {len(texts)} texts, expected "
                    f"{(len(texts), self.dimensions)}"
                )
            truncated = self.encoder.truncated(texts)
            self.progress.advance(len(records) - done)
        else:
            embeddings = given[[offset for offset, _ in valid]]
            if number == 0 and self.encoder is not None:
                self._check_given(documents, embeddings)
            self.progress.advance(len(records))
        rows, usable = unit_rows(embeddings)
        for offset in np.flatnonzero(~usable):
            document = documents[offset]
            reject = RejectedRecord(
                document.line or 0,
                f"the embedding of document {document.id!r} is zero or holds NaN or infinity",
                document.content.encode("utf-8")[:65_536],
            )
            if not self.options.skip_invalid:
                raise self._invalid(reject)
            rejects.append(reject)
        accepted = [document for document, good in zip(documents, usable, strict=True) if good]
        return Chunk(digest, len(records), accepted, rows[usable], rejects, truncated)

    def _split(
        self, writer: IndexWriter, records: Sequence[Document | RejectedRecord]
    ) -> tuple[list[tuple[int, Document]], list[RejectedRecord]]:
        """Documents with their offset in the chunk, and rejects; an id counts where it came first."""
        documents = [one for one in records if isinstance(one, Document)]
        lines = writer.lines_of([document.id for document in documents])
        valid: list[tuple[int, Document]] = []
        rejects: list[RejectedRecord] = []
        for offset, record in enumerate(records):
            if isinstance(record, Document) and record.id in lines:
                record = RejectedRecord(
                    record.line or 0,
                    f"duplicate id {record.id!r}, first used on line {lines[record.id]}",
                    json.dumps({"id": record.id, "text": record.text}).encode()[:65_536],
                )
            if isinstance(record, Document):
                lines[record.id] = record.line
                valid.append((offset, record))
                continue
            if not self.options.skip_invalid:
                raise self._invalid(record)
            rejects.append(record)
        return valid, rejects

    def _check_given(self, documents: Sequence[Document], embeddings: NDArray[np.floating]) -> None:
        """Encode a few documents and compare: the given embeddings must be this encoder's."""
        with_text = [i for i, document in enumerate(documents) if document.content.strip()]
        chosen = with_text[:: max(1, len(with_text) // _SAMPLE)][:_SAMPLE]
        if not chosen or self.encoder is None:
            return
        theirs, usable = unit_rows(embeddings[chosen])
        if not usable.all():  # such rows are reported by themselves
            chosen = [i for i, good in zip(chosen, usable, strict=True) if good]
            theirs = theirs[usable]
        if not chosen:
            return
        own = unit_rows(self.encoder.encode_documents([documents[i].content for i in chosen]))[0]
        cosines = (own.astype(np.float64) * theirs).sum(axis=1)
        worst = int(np.argmin(cosines))
        if cosines[worst] < 1.0 - _SAMPLE_TOLERANCE:
            name = self.embeddings.name if self.embeddings else ""
            raise EncoderMismatch(
                f"the vectors in {name} are not those that {self.encoder.identity().model} gives: "
                f"for document {documents[chosen[worst]].id!r} the cosine is {cosines[worst]:.4f}; "
                "name the model that made them with --model, or leave it out to search by vector only"
            )

    def _build_graphs(self, writer: IndexWriter) -> None:
        with self._phase("graph", writer.documents, "rows"):
            for segment in writer.open_segments(self.dimensions):
                if not writer.has_file(segment.id, GRAPH):
                    writer.add_file(segment.id, GRAPH, self._graph_writer(segment))

    def _graph_writer(self, segment: Segment) -> Callable[[Path], None]:
        return lambda path: build_graph(segment, path, self.progress.advance)

    # Rejects

    def _invalid(self, record: RejectedRecord) -> CorpusError:
        return CorpusError(
            f"{record.reason} (--skip-invalid leaves such records out and reports them)",
            path=self.name,
            line=record.line,
        )

    def _write_rejects(self, writer: IndexWriter) -> None:
        if not writer.totals()["rejected"]:
            return
        path = self.options.rejects or self.target.with_name(self.target.name + ".rejects.jsonl")
        try:
            with open(path, "w", encoding="utf-8") as file:
                for reject in writer.rejects():
                    file.write(json.dumps(_reject_record(reject), ensure_ascii=False) + "\n")
        except OSError as error:
            raise IndexWriteError(f"{path} cannot be written ({error.strerror})") from error
        self.rejects = path


def _take(
    records: Iterator[Document | RejectedRecord], count: int
) -> list[Document | RejectedRecord]:
    """The next chunk: a function of the records alone, so that a resumed build cuts alike."""
    chunk: list[Document | RejectedRecord] = []
    characters = 0
    for record in records:
        chunk.append(record)
        if isinstance(record, Document):
            characters += len(record.content) + len(repr(record.metadata))
        else:
            characters += len(record.raw)
        if len(chunk) >= count or characters >= _CHUNK_CHARACTERS:
            break
    return chunk


def _reject_record(reject: RejectedRecord) -> dict[str, Any]:
    record: dict[str, Any] = {"line": reject.line, "reason": reject.reason}
    try:
        record["raw"] = reject.raw.decode("utf-8")
    except UnicodeDecodeError:
        record["raw_base64"] = base64.b64encode(reject.raw).decode("ascii")
    return record


def _digest(
    records: Sequence[Document | RejectedRecord], given: NDArray[np.floating] | None
) -> str:
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
