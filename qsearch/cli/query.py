"""``qsearch query``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Unpack

import click

from qsearch.cli.output import Console, write_results
from qsearch.cli.search_options import search_options
from qsearch.cli.target import backend_option, device_option, find_index, index_option
from qsearch.errors import QueryError
from qsearch.options import SearchOptions

__all__ = ["query"]

_BATCH = 64


@click.command(
    epilog="""\b
Examples:
  qsearch query "how do birds navigate"
  qsearch query "first question" "second question" -k 3
  qsearch query - --format trec < questions.txt > run.trec
  qsearch query --queries queries.jsonl --format jsonl -k 100
  qsearch query "how do birds navigate" --recall 0.99 --explain
""",
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@index_option
@click.option("-k", "k", type=int, default=10, show_default=True, help="Hits for each query.")
@search_options
@click.option(
    "--format",
    "format",
    type=click.Choice(["text", "jsonl", "trec"]),
    default="text",
    show_default=True,
    help="text for people, jsonl with everything (of split documents the passage, not the whole text), "
    "trec for evaluation tools.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help='Read queries from JSON Lines {"_id": …, "text": …}, as in BEIR.',
)
@click.option(
    "-m",
    "--model",
    envvar="QSEARCH_MODEL",
    help="Model, where it is not at the place that the index names. It must be the same.",
)
@device_option
@backend_option
@click.pass_obj
def query(
    console: Console,
    texts: tuple[str, ...],
    index: Path | None,
    k: int,
    format: str,
    queries: Path | None,
    model: str | None,
    device: str,
    backend: str,
    **options: Unpack[SearchOptions],
) -> None:
    """Search an index for TEXT, one or several; - reads a query a line from standard input.

    The score is the cosine between query and document, from -1 to 1. With several queries the
    query id in the output is their number, from 1, or the _id from --queries. Blank lines on
    standard input are counted and left out.
    """
    from qsearch.documents import read_queries, read_query_lines
    from qsearch.index import Index

    if options["all_passages"] and format == "trec":
        raise click.UsageError("a TREC run names a document once; leave out --all-passages")
    if queries is not None and texts:
        raise click.UsageError("give TEXT or --queries, not both")
    if queries is None and not texts:
        if sys.stdin.isatty():
            raise click.UsageError("give a TEXT to search for, or - to read queries from stdin")
        texts = ("-",)
    path = find_index(index)
    several = queries is not None or texts == ("-",) or len(texts) > 1
    with Index.open(path, encoder=model, device=device, backend=backend) as opened:
        if queries is not None:
            stream = read_queries(str(queries))
        else:
            stream = read_query_lines("-") if texts == ("-",) else _arguments(texts)
        size = 1 if texts == ("-",) and sys.stdin.isatty() else _BATCH
        while batch := list(islice(stream, size)):
            for name, text in batch:
                if not text.strip():
                    raise QueryError(f"query {name} is empty" if several else "the query is empty")
            results = opened.search_batch(
                [text for _, text in batch],
                k,
                **options,
            )
            write_results(console, format, batch, results, heading=several)


def _arguments(texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((str(number), text) for number, text in enumerate(texts, 1))
