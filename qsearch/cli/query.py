"""``qsearch query``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from qsearch.cli.output import Console, write_results
from qsearch.cli.target import find_index, index_option
from qsearch.errors import QueryError

__all__ = ["query"]

_BATCH = 64


@click.command(
    epilog="""\b
Examples:
  qsearch query "how do birds navigate"
  qsearch query "first question" "second question" -k 3
  qsearch query - --format trec < questions.txt > run.trec
  qsearch query --queries queries.jsonl --format jsonl -k 100
""",
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@index_option
@click.option("-k", "k", type=int, default=10, show_default=True, help="Hits for each query.")
@click.option(
    "--method",
    type=click.Choice(["exact", "binary", "graph"]),
    default="exact",
    show_default=True,
    help="exact: every float row, proven. binary, graph: candidates by binary or int8 codes, "
    "rescored exactly.",
)
@click.option(
    "--candidates",
    type=int,
    help="Candidates for binary and graph.  [default: 1000 and 100]",
)
@click.option(
    "--format",
    "format",
    type=click.Choice(["text", "jsonl", "trec"]),
    default="text",
    show_default=True,
    help="text for people, jsonl with everything, trec for evaluation tools.",
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
@click.option(
    "--device",
    envvar="QSEARCH_DEVICE",
    default="auto",
    show_default=True,
    help="Where the model runs: auto, cpu, cuda, cuda:1, …",
)
@click.pass_obj
def query(
    console: Console,
    texts: tuple[str, ...],
    index: Path | None,
    k: int,
    method: str,
    candidates: int | None,
    format: str,
    queries: Path | None,
    model: str | None,
    device: str,
) -> None:
    """Search an index for TEXT, one or several; - reads a query a line from standard input.

    The score is the cosine between query and document, from -1 to 1. With several queries the
    query id in the output is their number, from 1, or the _id from --queries. Blank lines on
    standard input are counted and left out.
    """
    from qsearch.index import Index

    if queries is not None and texts:
        raise click.UsageError("give TEXT or --queries, not both")
    if queries is None and not texts:
        if sys.stdin.isatty():
            raise click.UsageError("give a TEXT to search for, or - to read queries from stdin")
        texts = ("-",)
    path = find_index(index)
    several = queries is not None or texts == ("-",) or len(texts) > 1
    with Index.open(path, encoder=model, device=device) as opened:
        stream = _from_file(queries) if queries is not None else _from_arguments(texts)
        size = 1 if texts == ("-",) and sys.stdin.isatty() else _BATCH
        while batch := list(islice(stream, size)):
            for name, text in batch:
                if not text.strip():
                    raise QueryError(f"query {name} is empty" if several else "the query is empty")
            results = opened.search_batch(
                [text for _, text in batch], k, method=method, candidates=candidates
            )
            write_results(format, batch, results, heading=several)


def _from_arguments(texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if texts == ("-",):
        for where, number, line in _lines("-"):
            if line.strip():
                yield str(number), _decoded(line, where)
    else:
        for number, text in enumerate(texts, 1):
            yield str(number), text


def _from_file(path: Path) -> Iterator[tuple[str, str]]:
    for where, number, line in _lines(str(path)):
        if not line.strip():
            continue
        decoded = _decoded(line, where)
        try:
            record = json.loads(decoded)
        except (ValueError, RecursionError) as error:
            raise QueryError(f"{where}: is not valid JSON ({error})") from error
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise QueryError(f'{where}: must be an object with a "text"')
        yield str(record.get("_id", record.get("id", number))), text


def _lines(path: str) -> Iterator[tuple[str, int, bytes]]:
    """(place, number from 1, line) of a file, also of a compressed one, or of standard input."""
    from qsearch.documents import ByteSource

    with ByteSource(path) as source:
        for number, line, too_long in source.lines():
            where = f"standard input, line {number}" if path == "-" else f"{path}:{number}"
            if too_long:
                raise QueryError(f"{where}: is longer than any query")
            yield where, number, line


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise QueryError(f"{where}: is not UTF-8 (at byte {error.start + 1})") from error
