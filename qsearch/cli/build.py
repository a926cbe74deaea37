"""``qsearch build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from qsearch.cli.help import Command
from qsearch.cli.input_options import (
    INPUT,
    InputOptions,
    fields_of,
    input_options,
    numbered,
    refuse_idle,
)
from qsearch.cli.output import Console, seconds_row, size_rows
from qsearch.cli.progress import progress_on
from qsearch.cli.target import backend_option, default_target, device_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qsearch.indexing import BuildReport

__all__ = ["build"]


_GROUPS = {
    "Input": INPUT,
    "Encoder": (
        "model",
        "device",
        "backend",
        "precision",
        "query_prompt",
        "document_prompt",
        "max_length",
        "truncate_dim",
    ),
    "Passages and words": ("passages", "overlap", "text_index", "language"),
    "Index": ("output", "force", "restart", "tune_queries", "graph", "index_field", "segment_rows"),
}


@click.command(
    cls=Command,
    groups=_GROUPS,
    epilog="""\b
Examples:
  qsearch build corpus.jsonl
  qsearch build books.jsonl --passages 200 --overlap 40
  qsearch build articles.csv --text-field body --title-field headline -o indexes/articles
  qsearch build irds:beir/scifact
  zcat dump.jsonl.gz | qsearch build - -o indexes/dump
  qsearch build corpus.jsonl --vectors embeddings.npy --model BAAI/bge-small-en-v1.5
""",
)
@click.argument("corpus", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Index directory to make.  [default: indexes/<name of CORPUS>]",
)
@click.option(
    "-m",
    "--model",
    envvar="QSEARCH_MODEL",
    help="Model: a folder, or a name on the hub.  [default: all-MiniLM-L6-v2]",
)
@device_option
@backend_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Dtype of the weights while encoding; stored rows are float32.  [default: float32]",
)
@click.option("--query-prompt", help="Put in front of queries.  [default: the model's own]")
@click.option("--document-prompt", help="Put in front of documents.  [default: the model's own]")
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="Tokens after which a text is cut.  [default: the model's own]",
)
@click.option(
    "--truncate-dim",
    type=click.IntRange(min=1),
    help="Keep only the first components of an embedding (Matryoshka models).",
)
@click.option(
    "--passages",
    type=click.IntRange(min=1),
    help="Split documents of more tokens than this into passages, at ends of sentences where possible. A "
    "hit is a document, by its best passage.  [default: cut them at --max-length]",
)
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    help="Tokens that a passage may share with the one before it.  [default: 0]",
)
@click.option(
    "--language",
    help="Language of the texts (ISO 639): for abbreviations that do not end a sentence, and for what the "
    "words of the text index are.  [default: en]",
)
@click.option(
    "--text-index",
    is_flag=True,
    help="Also index the words of titles and texts, for query --mode keywords and hybrid.",
)
@input_options(
    "Embeddings you already have: a file (.npy, .npz, .fvecs, .bvecs) with a row for each record of "
    "CORPUS (which may be left out); vectors.npz:name is one of several arrays. With --model, texts can "
    "be searched too."
)
@click.option(
    "--graph",
    is_flag=True,
    help="Also link near rows to each other: of some 100,000 rows and more, single queries at a recall up "
    "to some 0.95 then take a fraction of the time, with --alike soonest. Takes some 25 s for 100,000 rows "
    "on two processors, half of it to measure recall, and a seventh more room.",
)
@click.option(
    "--index-field",
    multiple=True,
    metavar="FIELD",
    help="Make filters (query --where) on this field of the metadata fast. May be given several times, and "
    "later, with index-field.",
)
@click.option(
    "--tune-queries",
    type=click.Path(path_type=Path),
    help="Queries like those that will come: JSON Lines as for query --queries, a text a line "
    "(.txt), or vectors (as --vectors). Recall is measured with them.  [default: with documents]",
)
@click.option(
    "--force", is_flag=True, help="Replace an index that is there, when this one is complete."
)
@click.option(
    "--restart", is_flag=True, help="Throw an interrupted build away instead of resuming it."
)
@click.option(
    "--segment-rows",
    type=click.IntRange(min=1),
    default=1 << 20,
    show_default=True,
    help="Rows after which a segment is closed.",
)
@click.pass_obj
def build(
    console: Console,
    corpus: str | None,
    output: Path | None,
    model: str | None,
    device: str,
    backend: str,
    precision: str | None,
    query_prompt: str | None,
    document_prompt: str | None,
    max_length: int | None,
    truncate_dim: int | None,
    passages: int | None,
    overlap: int | None,
    language: str | None,
    text_index: bool,
    graph: bool,
    index_field: tuple[str, ...],
    tune_queries: Path | None,
    force: bool,
    restart: bool,
    segment_rows: int,
    **given: Unpack[InputOptions],
) -> None:
    """Build an index from CORPUS.

    CORPUS is a file in JSON Lines (or a JSON array), CSV, TSV, plain text (a document a line) or
    Parquet, also compressed (gzip, bzip2, xz, zstd); a folder with a corpus.jsonl, as BEIR has it;
    irds:NAME for a dataset of ir_datasets (pip install ir-datasets); or - for standard input. A record has
    a text, an id, an optional title, and any other fields, which are kept as metadata. Names of fields
    match whatever their case. Documents without ids are numbered, by line, or in CSV and Parquet by row.

    An interrupted build goes on where it stopped when the same command is run again.
    """
    from qsearch.documents import Embeddings, open_corpus
    from qsearch.encoding import DEFAULT_MODEL, Encoder, load_encoder
    from qsearch.encoding.passages import DEFAULT_LANGUAGE
    from qsearch.indexing import BuildOptions, build_index

    vectors = given["vectors"]
    if corpus is None and vectors is None:
        raise click.UsageError("give a CORPUS, or --vectors, or both")
    _refuse_idle_options(click.get_current_context(), corpus)
    target = output or default_target(corpus or str(vectors))
    embeddings = None if vectors is None else Embeddings(vectors)
    opened = None
    if corpus is not None:
        opened = open_corpus(
            corpus,
            format=given["input_format"],
            delimiter=given["delimiter"],
            encoding=given["encoding"],
            fields=fields_of(given),
            text_required=vectors is None,
        )
    if model is None and vectors is None:
        model = DEFAULT_MODEL

    def load() -> Encoder:
        return load_encoder(
            model or DEFAULT_MODEL,
            device=device,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            max_length=max_length,
            truncate_dim=truncate_dim,
            precision=precision or "float32",
            backend=backend,
        )

    report = build_index(
        opened,
        target,
        load_encoder=None if model is None else load,
        embeddings=embeddings,
        options=BuildOptions(
            graph=graph,
            force=force,
            restart=restart,
            skip_invalid=given["skip_invalid"],
            rejects=given["rejects"],
            segment_rows=segment_rows,
            tune_queries=None if tune_queries is None else _tune_queries(tune_queries),
            tuned_on=f"queries from {tune_queries}",
            passages=passages,
            overlap=overlap or 0,
            language=language or DEFAULT_LANGUAGE,
            text_index=text_index,
            index_fields=index_field,
        ),
        progress=progress_on(console),
    )
    _report(console, report)


def _tune_queries(path: Path) -> list[str] | NDArray[np.floating]:
    from qsearch.documents import Embeddings, read_query_texts
    from qsearch.documents.vectors import is_vector_file

    if is_vector_file(path):
        vectors = Embeddings(path)
        return vectors.read(0, vectors.rows)
    return read_query_texts(str(path))


def _refuse_idle_options(context: click.Context, corpus: str | None) -> None:
    asked = context.params
    vectors, model = asked["vectors"], asked["model"]
    refuse_idle(
        asked,
        corpus,
        [
            (
                "--model when there are --vectors",
                vectors is None or model is not None,
                ("precision", "query_prompt", "document_prompt", "max_length", "truncate_dim"),
            ),
            ("texts to encode, not --vectors", vectors is None, ("passages",)),
            ("--passages", asked["passages"] is not None, ("overlap",)),
            (
                "--passages or --text-index",
                asked["passages"] is not None or asked["text_index"],
                ("language",),
            ),
        ],
    )


def _report(console: Console, report: BuildReport) -> None:
    rows = [("index", str(report.path)), ("documents", f"{report.documents:,}")]
    if report.resumed:
        rows.append(("  resumed", f"{report.resumed:,} were done before the interruption"))
    if report.numbered_by is not None:
        rows.append(("ids", numbered(report.numbered_by, report.id_like, "from 0")))
    rejected = f"{report.rejected:,}"
    if report.rejects is not None:
        rejected += f" (see {report.rejects})"
    rows.append(("rejected", rejected))
    if report.passages is not None:
        rows.append(("passages", f"{report.passages:,}"))
    truncated = f"{report.truncated:,}"
    if report.truncated and report.passages is not None:
        truncated += " have a title, or a character, too long for a passage; its end is not encoded"
    elif report.truncated:
        truncated += f" are longer than {report.max_length} tokens; what lies behind is not encoded"
        if (report.max_length or 0) >= 32:  # a passage must have some room
            truncated += f" (--passages {report.max_length} splits them)"
    rows.append(("truncated", truncated))
    rows.append(("dimensions", f"{report.dimensions:,}"))
    if report.text_index is not None:
        rows.append(("text index", "of {language!r}: {tokenizer}".format(**report.text_index)))
    if report.compared is not None:
        compared = f"{report.compared} held against the model"
        if not report.compared:
            compared = "not held against the model: no record has a text"
        rows.append(("vectors", compared))
    rows += size_rows(report.sizes)
    rows.append(seconds_row(report.seconds))
    rows += [("note", note) for note in report.notes]
    console.table(rows)
