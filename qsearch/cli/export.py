"""``qsearch export``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Unpack

import click

from qsearch.cli.files import same_file, written
from qsearch.cli.filter_options import FILTER, filter_options
from qsearch.cli.help import Command
from qsearch.cli.nothing import tell_no_document
from qsearch.cli.output import Console, OutputError, human_bytes, print_json
from qsearch.cli.progress import progress_on
from qsearch.cli.records import RECORD, RecordOptions, check_names, record_of, record_options
from qsearch.cli.target import index_argument, index_option, named_index
from qsearch.errors import QueryError

if TYPE_CHECKING:
    from qsearch.documents import Document
    from qsearch.index import Index
    from qsearch.indexing import Progress

__all__ = ["export"]

_AT_A_TIME = 500


@click.command(
    cls=Command,
    groups={
        "Output": ("output", "vectors", *RECORD),
        "Documents": FILTER,
        "Index": ("index",),
    },
    epilog="""\b
Examples:
  qsearch export -o corpus.jsonl
  qsearch export | gzip > corpus.jsonl.gz
  qsearch export -i indexes/articles -o articles.jsonl --vectors articles.npy
  qsearch export --where "lang = 'de'" -o german.jsonl
  qsearch build articles.jsonl --vectors articles.npy --model MODEL -o indexes/copy
""",
)
@index_argument
@index_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write; one that is there is replaced when the new one is complete.  [default: standard "
    "output]",
)
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    help="Also write the unit rows of the index, as .npy of float32: row i belongs to line i. Not for an "
    "index of passages, where a document has several.",
)
@record_options
@filter_options
@click.pass_obj
def export(
    console: Console,
    path: Path | None,
    index: Path | None,
    output: Path | None,
    vectors: Path | None,
    where: Any,
    params: Mapping[str, Any] | None,
    missing_fields_ok: bool,
    **named: Unpack[RecordOptions],
) -> None:
    """Write all documents of an index as JSON Lines, in order, or those for which a condition holds.

    A line has id, title, text and the fields of the metadata, so that build makes the same documents of it.
    All lines are of one commit, whatever is changed meanwhile.

    With --vectors, give build the encoder that info names with --model: without it the new index can be
    searched by vector only.
    """
    from qsearch.index import Index

    check_names(named)
    if output == Path("-"):
        output = None
    if vectors == Path("-"):
        raise click.UsageError("--vectors needs a file: standard output is for the documents")
    if output is not None:
        _check_name(output)
    if output is not None and vectors is not None and same_file(output, vectors):
        raise click.UsageError("-o and --vectors need different files")
    with Index.open(named_index(path, index)) as opened, ExitStack() as files:
        if vectors is not None and opened.settings.get("passages") is not None:
            raise QueryError(
                f"{opened.path} holds passages, of which a document has several: there is no row for each "
                "line; leave --vectors out"
            )
        if vectors is not None:
            opened.check_vectors()
        lines = None if output is None else files.enter_context(written(output))
        rows = None if vectors is None else files.enter_context(written(vectors))
        watched = output is None and sys.stdout is not None and sys.stdout.isatty()
        progress = progress_on(Console(quiet=True) if watched else console)
        count, documents = len(opened), iter(opened)
        if where is not None:
            how: Any = {"params": params, "missing_fields_ok": missing_fields_ok}
            count, documents = opened.count(where, **how), opened.find(where, **how)
            if not count:
                tell_no_document(console, opened, where, params, missing_fields_ok)
        longest = _write(opened, documents, count, lines, rows, named, progress)
        told = [("index", str(opened.path)), ("documents", f"{count:,}")]
    for label, file in (("written to", output), ("vectors", vectors)):
        if file is not None:
            told.append((label, f"{file} ({human_bytes(file.stat().st_size)})"))
    _tell_long_lines(console, longest)
    if output is not None or vectors is not None:
        console.table(told)


def _check_name(output: Path) -> None:
    """Refuse a name by which the file would be read as something else than it is."""
    from qsearch.documents import format_by_name
    from qsearch.documents.compression import without_suffix

    if without_suffix(output.name) != output.name:
        raise click.UsageError(
            "-o writes plain JSON Lines; to compress them, pipe what the same command writes without -o: "
            f"… | gzip > {output}"
        )
    if format_by_name(output.name) not in (None, "jsonl"):
        raise click.UsageError(
            f"-o writes JSON Lines, and {output.name} would be read as something else; call it "
            f"{output.stem}.jsonl"
        )


def _write(
    index: Index,
    documents: Iterator[Document],
    count: int,
    lines: IO[bytes] | None,
    rows: IO[bytes] | None,
    named: RecordOptions,
    progress: Progress,
) -> int:
    """Write every document, and its row; returns the length of the longest line."""
    import numpy as np

    if rows is not None:
        shape = (count, index.dimensions)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(rows, header)
    longest = 0
    progress.begin("export", count, "docs")
    try:
        for some in _pages(documents):
            for document in some:
                record = record_of(document, named)
                if lines is None:
                    _print(record, vectors=rows is not None)
                    continue
                line = json.dumps(record, ensure_ascii=False).encode("utf-8")
                longest = max(longest, len(line))
                lines.write(line + b"\n")
            if rows is not None:
                found = index.vectors([one.id for one in some])
                if any(len(one) != 1 for one in found):
                    raise OutputError("a document has several rows, or none")
                rows.write(np.concatenate(found).astype("<f4", copy=False).tobytes())
            progress.advance(len(some))
    finally:
        progress.end()
    return longest


def _print(record: Mapping[str, Any], *, vectors: bool) -> None:
    try:
        print_json(record)
    except SystemExit:  # whoever reads has enough
        if vectors:
            raise OutputError(
                "what reads the documents has ended before them, so no vectors were written; write the "
                "documents to a file with -o"
            ) from None
        raise


def _pages(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while some := list(islice(documents, _AT_A_TIME)):
        yield some


def _tell_long_lines(console: Console, longest: int) -> None:
    from qsearch.documents.lines import MAX_RECORD_BYTES

    if longest > MAX_RECORD_BYTES:
        console.note(
            f"a line has {human_bytes(longest)}; build reads records of at most "
            f"{MAX_RECORD_BYTES >> 20} MiB"
        )
