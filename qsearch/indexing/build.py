"""One build, phase by phase.

Reads a chunk, encodes it, makes it durable, reads the next. Only one chunk is in memory, and a
durable chunk is never encoded again.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Corpus, Embeddings, FieldsFound
from qsearch.encoding import Encoder, EncoderContract, check_contract, make_contract
from qsearch.encoding.contract import contract_from_store, contract_to_store
from qsearch.errors import (
    CorpusError,
    EncoderError,
    EncoderMismatch,
    IndexWriteError,
    QueryError,
)
from qsearch.indexing.advice import check_fields
from qsearch.indexing.chunks import (
    ChunkMaker,
    chunk_characters,
    chunk_digest,
    chunk_records,
    encoded_characters,
    read_chunks,
)
from qsearch.indexing.passages import PassageSplitter
from qsearch.indexing.pipeline import Pipeline
from qsearch.indexing.rejects import check_writable, write_rejects
from qsearch.indexing.report import BuildOptions, BuildReport, Progress, Silent, index_sizes
from qsearch.indexing.survey import survey
from qsearch.kernels import kernel_path, thread_count
from qsearch.retrieval import FROM_DOCUMENTS, build_graph, check_queries, measure
from qsearch.store import IndexWriter, Segment
from qsearch.store.format import GRAPH, MOST_DIMENSIONS
from qsearch.store.staging import check_target, real_target
from qsearch.store.writer import CorpusChanged, SettingsChanged
from qsearch.version import __version__
from qsearch.wording import words

__all__ = ["build_index"]

_TUNE_QUERIES = 2000
"""More sample queries than this make no narrower margin worth their time."""


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
        QueryError: the environment asks for kernels or threads that there are not.
    """
    options = options or BuildOptions()

    def run(options: BuildOptions) -> BuildReport:
        build = _Build(corpus, target, embeddings, options, progress or Silent())
        return build.run(load_encoder)

    try:
        return run(options)
    except (CorpusChanged, SettingsChanged):
        # Where nothing was encoded nothing is lost: whoever has mended the input wants what it is now.
        if embeddings is None or not (corpus is None or corpus.rereadable):
            raise
        return run(replace(options, restart=True))


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
        self.splitter: PassageSplitter | None = None
        self.dimensions = 0
        self.rejects: Path | None = None
        self.compared: int | None = None
        self.surveyed = False
        self.tune_queries: Callable[[], NDArray[np.float32]] | None = None
        self.tuned_on = FROM_DOCUMENTS

    def run(self, load_encoder: Callable[[], Encoder] | None) -> BuildReport:
        # Recall is measured at the end: what cannot search is said before everything is encoded.
        kernel_path()
        thread_count()
        check_target(real_target(self.target), replace=self.options.force)
        if self.options.rejects is not None:
            check_writable(self.options.rejects)
        if self.options.passages is not None and self.embeddings is not None:
            raise EncoderError(
                "documents cannot be split into passages where their embeddings are given; leave one out"
            )
        if self.options.passages is None and self.options.overlap:
            raise EncoderError(
                "an overlap is one of passages; say how long they are, or leave it out"
            )
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
        if self.dimensions > MOST_DIMENSIONS:
            raise EncoderError(
                f"{self.name} has embeddings of {self.dimensions:,} dimensions; an index holds at most "
                f"{MOST_DIMENSIONS:,}"
            )
        if self.options.passages is not None and self.encoder is not None:
            self.splitter = PassageSplitter(
                self.encoder, self.options.passages, self.options.overlap, self.options.language
            )
        self.tune_queries = self._chosen_queries()
        with IndexWriter.open(
            self.target,
            self._settings(),
            segment_rows=self.options.segment_rows,
            replace=self.options.force,
            restart=self.options.restart,
            passages=self.splitter is not None,
        ) as writer:
            resumed = writer.documents
            writer.put_settings({"dimensions": self.dimensions})
            self._keep_contract(writer)
            self._append_all(writer, total)
            if self.corpus is not None:
                check_fields(self.corpus, again=self.surveyed)
            if not writer.documents:
                raise CorpusError(
                    "holds no valid document" if writer.totals()["rejected"] else "is empty",
                    path=self.name,
                )
            with self._phase("code", writer.rows - writer.sealed()[0], "rows"):
                writer.advance_sealing = self.progress.advance
                writer.seal()
            segments = writer.open_segments()
            self._build_graphs(writer, segments)
            self._tune(writer, segments)
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
                        "rows": writer.rows,
                        "passages": self._passages(),
                        **totals,
                    }
                )
        found = FieldsFound(numbered_by="vector") if self.corpus is None else self.corpus.found
        return BuildReport(
            path=self.target,
            documents=writer.documents,
            passages=None if self.splitter is None else writer.rows,
            rejected=totals["rejected"],
            rejects=self.rejects,
            truncated=totals["truncated"],
            max_length=None if self.encoder is None else self.encoder.identity().max_length,
            dimensions=self.dimensions,
            resumed=resumed,
            numbered_by=found.numbered_by,
            id_like=found.id_like,
            compared=self.compared,
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
        self.surveyed = True
        with self._phase("read", None, "records"):
            count = survey(
                self.corpus, self.progress.advance, skip_invalid=self.options.skip_invalid
            )
        check_fields(self.corpus)
        return count

    def _settings(self) -> dict[str, Any]:
        """What decides the result, beside the records themselves."""
        identity: dict[str, Any] = {}
        if self.encoder is not None:
            identity = self.encoder.identity().to_json()
            del identity["versions"]  # informative
            if identity["weights"] is not None:
                del identity["model"]  # a model that was moved is the same model
        settings = {
            **{f"encoder {name}": value for name, value in identity.items()},
            "has encoder": self.encoder is not None,
            "dimensions": self.dimensions,
            "embeddings given": self.embeddings is not None,
            "records in a chunk": chunk_records(given=self.embeddings is not None),
            "characters in a chunk": chunk_characters(passages=self.splitter is not None),
            "characters encoded in a chunk": self._encoded_characters(),
            "segment rows": self.options.segment_rows,
            "passages": self._passages(),
        }
        decoded: dict[str, Any] = json.loads(json.dumps(settings))  # as they will be read back
        return decoded

    def _encoded_characters(self) -> tuple[int, int]:
        return encoded_characters(
            self.encoder,
            given=self.embeddings is not None,
            passages=self.splitter is not None,
        )

    def _passages(self) -> dict[str, Any] | None:
        """How documents are split, as the catalog keeps it."""
        if self.splitter is None:
            return None
        options = self.options
        return {
            "tokens": options.passages,
            "overlap": options.overlap,
            "language": options.language,
            "sentencex": importlib.metadata.version("sentencex"),
        }

    def _keep_contract(self, writer: IndexWriter) -> None:
        if self.encoder is None:
            return
        with self._phase("load model"):
            identity = writer.settings().get("encoder")
            # The canaries are stored first: without the identity, the last build did not come to it.
            stored = contract_from_store(identity, [] if identity is None else writer.canaries())
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
                self._append_chunks(writer)
            except BaseException:
                with suppress(IndexWriteError):  # what stopped the build is what must be told
                    self._keep_rejects(writer)
                raise
            self._keep_rejects(writer)

    def _append_chunks(self, writer: IndexWriter) -> None:
        with Pipeline(writer.append, self._chunks_at_once()) as pipeline:
            maker = ChunkMaker(
                writer,
                self.encoder,
                self.embeddings,
                self.dimensions,
                self.name,
                self.progress,
                splitter=self.splitter,
                skip_invalid=self.options.skip_invalid,
                check=pipeline.check,
                most_waiting=pipeline.most_waiting,
            )
            self._put_chunks(writer, maker, pipeline)
        self.compared = maker.compared

    def _chunks_at_once(self) -> int:
        """A chunk is read and another written while texts of two more are tokenized and encoded."""
        concurrent = getattr(self.encoder, "concurrent", False)
        return 2 if concurrent and self.embeddings is None else 0

    def _put_chunks(self, writer: IndexWriter, maker: ChunkMaker, pipeline: Pipeline) -> None:
        row = 0
        number = -1
        chunks = read_chunks(
            self.corpus,
            self.embeddings,
            passages=self.splitter is not None,
            encoded=self._encoded_characters(),
        )
        for number, records in enumerate(chunks):
            given = None
            if self.embeddings is not None:
                given = self.embeddings.read(row, row + len(records))
                if len(given) < len(records):
                    row += len(records) + sum(map(len, chunks))
                    break
            row += len(records)
            digest = chunk_digest(records, given)
            if number < writer.chunks_done:
                lines = records[0].line, records[-1].line
                writer.check_done(number, digest, self.name, lines)
                self.progress.advance(len(records), resumed=True)
            else:
                with pipeline.lock:
                    split = maker.split(records)
                pipeline.put(partial(maker.make, split, given, digest))
                del split
            del records, given  # or they would stay while the next chunk is read
        if self.embeddings is not None and row != self.embeddings.rows:
            raise CorpusError(
                f"has {row:,} records, {self.embeddings.name} has "
                f"{self.embeddings.rows:,} rows; there must be one row for each record",
                path=self.name,
            )
        if number + 1 < writer.chunks_done:
            raise CorpusChanged(
                f"is shorter than when the build was interrupted; add {words().restart} to build "
                "from the beginning",
                path=self.name,
            )

    def _build_graphs(self, writer: IndexWriter, segments: Sequence[Segment]) -> None:
        if not self.options.graph:
            for segment in segments:  # an interrupted build with --graph may have made some
                if writer.has_file(segment.id, GRAPH):
                    writer.remove_file(segment.id, GRAPH)
            return
        with self._phase("graph", writer.rows, "rows"):
            for segment in segments:
                if not writer.has_file(segment.id, GRAPH):
                    writer.add_file(segment.id, GRAPH, self._graph_writer(segment))

    def _graph_writer(self, segment: Segment) -> Callable[[Path], None]:
        return lambda path: build_graph(segment, path, self.progress.advance)

    def _tune(self, writer: IndexWriter, segments: Sequence[Segment]) -> None:
        """Measure how many candidates reach which recall, and store it."""
        queries = None if self.tune_queries is None else self.tune_queries()
        with self._phase("tune", None, "queries"):
            tuning = measure(segments, queries, self.tuned_on, self.progress.advance)
        writer.put_settings({"tuning": None if tuning is None else tuning.to_json()})

    def _chosen_queries(self) -> Callable[[], NDArray[np.float32]] | None:
        """How to get the sample queries; what can be checked is, before anything slow is done."""
        given = self.options.tune_queries
        if given is None:
            return None
        usable = given if isinstance(given, np.ndarray) else [one for one in given if one.strip()]
        if not len(usable):
            raise QueryError(f"there are no {self.options.tuned_on} to measure recall with")
        self.tuned_on = self.options.tuned_on
        if len(usable) > _TUNE_QUERIES:
            self.tuned_on += f", evenly chosen of {len(usable):,}"
        chosen = usable[:: -(-len(usable) // _TUNE_QUERIES)]
        if isinstance(chosen, np.ndarray):
            vectors = check_queries(chosen, self.dimensions)
            return lambda: vectors
        if self.encoder is None:
            raise EncoderError(
                "queries to tune with cannot be encoded: the index has no encoder; give vectors"
            )
        encode, texts = self.encoder.encode_queries, chosen
        return lambda: check_queries(encode(texts), self.dimensions)

    # Rejects

    @property
    def _rejects_path(self) -> Path:
        return self.options.rejects or self.target.with_name(self.target.name + ".rejects.jsonl")

    def _keep_rejects(self, writer: IndexWriter) -> None:
        if writer.totals()["rejected"]:
            write_rejects(self._rejects_path, writer.rejects())
            self.rejects = self._rejects_path
