"""One build, phase by phase.

Reads a chunk, encodes it, makes it durable, reads the next. Only one chunk is in memory, and a
durable chunk is never encoded again.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qsearch.documents import Corpus, Embeddings, FieldsFound
from qsearch.encoding import (
    ContractCheck,
    Encoder,
    EncoderContract,
    check_contract,
    make_contract,
)
from qsearch.encoding.contract import contract_from_store, contract_to_store
from qsearch.errors import (
    BuildInterrupted,
    CorpusError,
    EncoderError,
    EncoderMismatch,
    QsearchError,
)
from qsearch.filters import as_field
from qsearch.indexing.advice import check_fields
from qsearch.indexing.filling import fill
from qsearch.indexing.options import BuildOptions, build_options
from qsearch.indexing.passages import PassageSplitter
from qsearch.indexing.rejects import check_rejects, rejects_path, write_rejects
from qsearch.indexing.report import BuildReport, Progress, Silent, index_sizes
from qsearch.indexing.samples import SampleQueries, choose_queries
from qsearch.indexing.survey import check_numbers, survey
from qsearch.kernels import kernel_path, thread_count, without_native
from qsearch.retrieval import FROM_DOCUMENTS, build_graph, measure
from qsearch.store import IndexWriter, Segment, graph_files
from qsearch.store.format import GRAPH_ARRAYS, MOST_DIMENSIONS, staging_path
from qsearch.store.guard import check_target
from qsearch.store.staging import SettingsChanged, real_target, resuming
from qsearch.store.text_index import TextIndexSpec
from qsearch.version import __version__
from qsearch.wording import words

__all__ = ["build_index"]


def build_index(
    corpus: Corpus | None,
    target: Path,
    *,
    load_encoder: Callable[[], Encoder] | None,
    embeddings: Embeddings | None = None,
    options: BuildOptions | Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build the index ``target``, or finish its interrupted build.

    Args:
        corpus: the documents; ``None`` only with ``embeddings``, then they are numbered from 0.
        target: directory to make.
        load_encoder: makes the encoder; ``None`` for an index without one.
        embeddings: embeddings made elsewhere, one for each record of the corpus, in its order.
        options: ``BuildOptions``, or a mapping of their names.
        progress: is told what is done.

    Raises:
        CorpusError: a record is invalid (unless skipped), none is valid, or it is another corpus than
            that of the interrupted build.
        EncoderError: the encoder cannot be loaded or fails.
        EncoderMismatch: ``embeddings`` are not those of the encoder.
        IndexExists, IndexBusy, IndexWriteError: see there.
        QueryError: the environment asks for kernels or threads that there are not.
        BuildInterrupted: Ctrl-C; says how many documents are kept.
    """
    asked = build_options(options)
    build = _Build(corpus, target, embeddings, asked, progress or Silent())
    try:
        return build.run(load_encoder)
    except KeyboardInterrupt as error:
        if build.published:
            raise
        raise BuildInterrupted(build.kept) from error


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
        self.samples = SampleQueries(FROM_DOCUMENTS, None)
        self.surveyed = False
        self.writer: IndexWriter | None = None

    def run(self, load_encoder: Callable[[], Encoder] | None) -> BuildReport:
        # Recall is measured at the end: what cannot search is said before everything is encoded.
        kernel_path()
        thread_count()
        check_target(real_target(self.target), replace=self.options.force)
        options = self.options
        read = (self.corpus, self.embeddings)
        check_rejects(self.target, options.rejects, options.skip_invalid, *read)
        if self.options.passages is not None and self.embeddings is not None:
            raise EncoderError(
                "documents cannot be split into passages where their embeddings are given; leave one out"
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
        self.samples = choose_queries(self.options, self.encoder, self.dimensions)
        writer = self._open_writer()
        with writer, resuming(self.target):
            self.writer = writer
            writer.put_settings({"dimensions": self.dimensions})
            self._keep_contract(writer)
            resumed = self._append_all(writer, total)
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
            if self._build_graphs(writer, segments):
                segments = writer.open_segments()
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
                        "graph": self.options.graph,
                        **totals,
                    },
                    [as_field(one) for one in self.options.index_fields],
                    text=self._words(),
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
            notes=tuple(filter(None, [without_native()])),
            text_index=None if (words := self._words()) is None else words.to_json(),
        )

    @property
    def kept(self) -> int | None:
        """Documents that need not be encoded again; ``None`` where only an earlier build knows."""
        if self.writer is not None:
            return self.writer.documents
        return None if staging_path(real_target(self.target)).exists() else 0

    @property
    def published(self) -> bool:
        """Whether the index is complete."""
        return self.writer is not None and self.writer.published

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

        Not for pipes, which can be read only once.
        """
        rows = None if self.embeddings is None else self.embeddings.rows
        if self.corpus is None or not self.corpus.rereadable:
            return rows
        self.surveyed = True
        with self._phase("read", None, "records"):
            count = survey(
                self.corpus, self.progress.advance, skip_invalid=self.options.skip_invalid
            )
        if self.embeddings is not None:
            check_numbers(count, self.embeddings, self.name)
        check_fields(self.corpus)
        return count

    def _open_writer(self) -> IndexWriter:
        def opened(restart: bool) -> IndexWriter:
            return IndexWriter.open(
                self.target,
                self._settings(),
                segment_rows=self.options.segment_rows,
                replace=self.options.force,
                restart=restart,
                passages=self.splitter is not None,
            )

        try:
            return opened(self.options.restart)
        except SettingsChanged as changed:
            # Where nothing was encoded nothing slow is lost.
            if self.embeddings is None or not changed.earlier.get("embeddings given"):
                raise
            return opened(True)

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
            "segment rows": self.options.segment_rows,
            "passages": self._passages(),
        }
        decoded: dict[str, Any] = json.loads(json.dumps(settings))  # as they will be read back
        return decoded

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

    def _words(self) -> TextIndexSpec | None:
        """The text index, if there is to be one."""
        return TextIndexSpec(self.options.language) if self.options.text_index else None

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
                self._require(check_contract(stored, self.encoder))

    def _require(self, check: ContractCheck) -> None:
        """Refuse to go on with another encoder."""
        if not check.ok:
            lines = [f"an interrupted build of {self.target} was made with another encoder:"]
            lines += [f"  - {difference}" for difference in check.differences]
            lines.append(
                f"Finish it with that one, or add {words().restart} to begin anew with this one."
            )
            raise EncoderMismatch("\n".join(lines), check.differences)

    def _append_all(self, writer: IndexWriter, total: int | None) -> int:
        """Returns how many documents were there already."""
        phase = "encode" if self.embeddings is None else "store"
        with self._phase(phase, total, "docs"):
            try:
                resumed, self.compared = fill(
                    writer,
                    self.corpus,
                    self.embeddings,
                    self.encoder,
                    self.splitter,
                    self.dimensions,
                    self.progress,
                    name=self.name,
                    skip_invalid=self.options.skip_invalid,
                    total=total,
                )
            except BaseException:
                with suppress(QsearchError):  # what stopped the build is what must be told
                    self._keep_rejects(writer)
                raise
            self._keep_rejects(writer)
        return resumed

    def _build_graphs(self, writer: IndexWriter, segments: Sequence[Segment]) -> bool:
        """Returns whether segments have other files now."""
        # An interrupted build may have made some, and may have been one with --graph where this is not.
        wrong = [one for one in segments if (one.graph is not None) != self.options.graph]
        if not self.options.graph:
            for segment in wrong:
                writer.remove_files(segment.id, [one.name for one in GRAPH_ARRAYS])
            return bool(wrong)
        with self._phase("graph", sum(one.rows for one in wrong), "rows"):
            for segment in wrong:
                graph = build_graph(segment, self.progress.advance)
                writer.add_files(segment.id, graph_files(graph))
        return bool(wrong)

    def _tune(self, writer: IndexWriter, segments: Sequence[Segment]) -> None:
        """Measure how many candidates reach which recall, and store it."""
        queries = None if self.samples.vectors is None else self.samples.vectors()
        with self._phase("tune", None, "queries"):
            tuning = measure(segments, queries, self.samples.name, self.progress.advance)
        writer.put_samples(queries)
        writer.put_settings({"tuning": None if tuning is None else tuning.to_json()})

    # Rejects

    @property
    def _rejects_path(self) -> Path:
        return rejects_path(self.target, self.options.rejects)

    def _keep_rejects(self, writer: IndexWriter) -> None:
        if writer.totals()["rejected"]:
            write_rejects(self._rejects_path, writer.rejects())
            self.rejects = self._rejects_path
