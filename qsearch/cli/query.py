"""``qsearch query``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Any, Unpack, cast

import click

from qsearch.cli.filter_options import FILTER
from qsearch.cli.help import Command
from qsearch.cli.nothing import tell_no_document
from qsearch.cli.output import Console
from qsearch.cli.progress import progress_on
from qsearch.cli.results import SHOWN, Format, Shown, tell_reranking, write_results
from qsearch.cli.search_options import RERANK, search_options
from qsearch.cli.target import (
    backend_option,
    device_option,
    find_index,
    index_option,
    model_option,
)
from qsearch.errors import QueryError
from qsearch.options import WORDS, SearchOptions, TextSearchOptions, listed

if TYPE_CHECKING:
    from qsearch.index import Index
    from qsearch.results import Reranking

__all__ = ["query"]

_BATCH = 64


_GROUPS = {
    "Queries": ("queries", "vectors"),
    "Search": ("index", "k", *(name for name in listed(SearchOptions) if name not in FILTER)),
    "Words": WORDS,
    "Filter": FILTER,
    "Rerank": RERANK,
    "Output": ("format", "full"),
    "Encoder": ("model", "device", "backend"),
}


@click.command(
    cls=Command,
    groups=_GROUPS,
    epilog="""\b
Examples:
  qsearch query "how do birds navigate"
  qsearch query "first question" "second question" -k 3
  qsearch query - --format trec < questions.txt > run.trec
  qsearch query --queries queries.jsonl --format jsonl -k 100
  qsearch query --vectors queries.npy -k 100 --format trec
  qsearch query "how do birds navigate" --recall 0.99 --explain
  qsearch query "how do birds navigate" --rerank cross-encoder/ms-marco-MiniLM-L6-v2
  qsearch query "how do birds navigate" --where "year >= 2020 AND lang IN ('en', 'de')"
  qsearch query "how do birds navigate" --where "lang = :lang" --param lang=en
  qsearch query '"error 0x80070057" printer' --mode hybrid
""",
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@index_option
@click.option("-k", "k", type=int, default=10, show_default=True, help="Hits for each query.")
@search_options
@click.option(
    "--format",
    "format",
    type=Format(["text", "jsonl", "trec"]),
    default="text",
    show_default=True,
    help="text for people, jsonl (a hit a line) with everything (of split documents the passage, not the "
    "whole text), trec for evaluation tools.",
)
@click.option(
    "--full",
    is_flag=True,
    help=f"Show texts whole, not some {SHOWN} characters of them (--format text).",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help='Read queries from a file: JSON Lines {"_id": …, "text": …} or a JSON array, a table of ids and '
    "texts (.tsv, .csv), or a query a line (.txt); also compressed, a folder in BEIR's form, a dataset of "
    "ir_datasets (irds:NAME), or - for standard input.",
)
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    help="Search for vectors instead of texts: a file (.npy, .npz, .fvecs, .bvecs) with a row for each "
    "query. Ids are row numbers, from 1.",
)
@model_option
@device_option
@backend_option
@click.pass_obj
def query(
    console: Console,
    texts: tuple[str, ...],
    index: Path | None,
    k: int,
    format: str,
    full: bool,
    queries: Path | None,
    vectors: Path | None,
    model: str | None,
    device: str,
    backend: str,
    **options: Unpack[TextSearchOptions],
) -> None:
    """Search an index for TEXT, one or several; - reads a query a line from standard input.

    The score is the cosine between query and document, from -1 to 1; BM25 with --mode keywords, and what
    both became with --mode hybrid, which shows both. With several queries the
    query id in the output is their number, from 1, or the id from --queries. Blank lines on
    standard input are counted and left out.

    With --rerank a cross-encoder reads each of the best hits together with the query, and its score
    orders them; the cosine, and the rank by it, stand behind in brackets.
    """
    from qsearch.documents import check_text, read_queries, read_query_lines
    from qsearch.index import Index
    from qsearch.reordering import taken

    if options["all_passages"] and format == "trec":
        raise click.UsageError("a TREC run names a document once; leave out --all-passages")
    if full and format != "text":
        raise click.UsageError(f"--full is for --format text; {format} holds whole texts")
    if (queries is not None) + (vectors is not None) + bool(texts) > 1:
        raise click.UsageError("give one of TEXT, --queries and --vectors")
    if queries is None and vectors is None and not texts:
        raise click.UsageError(
            "give a TEXT to search for, - to read queries from standard input, --queries FILE, or "
            "--vectors FILE"
        )
    if options["rerank"] is not None and vectors is not None:
        raise click.UsageError(
            "--rerank reads the text of a query, which --vectors does not have; give TEXT or --queries"
        )
    if "-" in texts and len(texts) > 1:
        raise click.UsageError("- reads queries from standard input, and stands alone")
    path = find_index(index)
    show = Shown(format, full)
    several = queries is not None or texts == ("-",) or len(texts) > 1
    if vectors is not None:
        taken(k, {**options})  # there is nothing to rerank, which it says
        with Index.open(path, device=device) as opened:
            _search_vectors(console, show, opened, vectors, k, _without_text(options))
        return
    with Index.open(path, encoder=model, device=device, backend=backend) as opened:
        if queries is not None:
            batches = _batches(read_queries(str(queries)))
        elif texts == ("-",):
            batches = _as_they_come(read_query_lines("-"))
        else:
            batches = _batches(_arguments(texts))
        asked = 0
        progress = progress_on(console)
        rerankings: list[Reranking | None] = []
        empty = False
        for batch in batches:
            asked += len(batch)
            for name, text in batch:
                check_text(f"query {name}" if several else "the query", text)
            results = opened.search_batch(
                [text for _, text in batch],
                k,
                progress=progress,
                **options,
            )
            write_results(console, show, batch, results, heading=several)
            rerankings += [result.reranking for result in results]
            empty = empty or any(not result for result in results)
        tell_reranking(console, show, rerankings)
        if empty:
            asked_for = options["where"], options["params"], options["missing_fields_ok"]
            tell_no_document(console, opened, *asked_for)
    if not asked:
        console.note(f"{queries or 'standard input'} holds no queries")


def _without_text(options: TextSearchOptions) -> SearchOptions:
    """The options of a search by vectors, which has no words."""
    asked: dict[str, Any] = {**options}
    known = listed(TextSearchOptions)
    for name in WORDS:
        if asked[name] != known[name][1].default:
            raise click.UsageError(
                f"--{name} is of searches by text; --vectors has none: leave one out"
            )
    return cast("SearchOptions", {name: asked[name] for name in listed(SearchOptions)})


Query = tuple[str, str]
"""Id and text."""


def _search_vectors(
    console: Console, show: Shown, index: Index, path: Path, k: int, options: SearchOptions
) -> None:
    """Answer the rows of a file, some at a time."""
    from qsearch.documents import Embeddings
    from qsearch.retrieval import unusable_query

    empty = False
    vectors = Embeddings(path)
    if vectors.dimensions != index.dimensions:
        raise QueryError(
            f"{path} has vectors of {vectors.dimensions:,} dimensions, the index has "
            f"{index.dimensions:,}"
        )
    for start in range(0, vectors.rows, _BATCH):
        rows = vectors.read(start, start + _BATCH)
        unusable = unusable_query(rows)
        if unusable is not None:
            place, reason = unusable
            raise QueryError(f"{path}: row {start + place + 1:,} (from 1) {reason}")
        found = index.search_by_vectors(rows, k, **options)
        batch = [(str(number), "") for number in range(start + 1, start + len(rows) + 1)]
        write_results(console, show, batch, found, heading=vectors.rows > 1)
        empty = empty or any(not result for result in found)
    if empty:
        asked_for = options["where"], options["params"], options["missing_fields_ok"]
        tell_no_document(console, index, *asked_for)


def _batches(queries: Iterator[Query]) -> Iterator[list[Query]]:
    while batch := list(islice(queries, _BATCH)):
        yield batch


def _as_they_come(queries: Iterator[Query]) -> Iterator[list[Query]]:
    """All queries that are there, at most a batch of them; waits for none but the first.

    So a line from a pipe that stays open is answered when it comes, and a file is searched in batches.
    """
    waiting: SimpleQueue[Query | BaseException | None] = SimpleQueue()
    room = Semaphore(4 * _BATCH)

    def read(_open: object) -> None:
        try:
            for query in queries:
                room.acquire()
                waiting.put(query)
        except BaseException as error:
            waiting.put(error)
        else:
            waiting.put(None)

    # Whoever closes a stream that somebody waits for aborts the process, and a stream that nobody holds is
    # closed when the process ends. So the thread holds it.
    Thread(target=read, args=(sys.stdin,), name="qsearch-queries", daemon=True).start()
    end: BaseException | None = None
    more = True
    while more:
        batch: list[Query] = []
        while more and len(batch) < _BATCH:
            try:
                one = waiting.get(block=not batch)
            except Empty:
                break
            if isinstance(one, tuple):
                room.release()
                batch.append(one)
            else:
                end, more = one, False
        if batch:
            yield batch
    if end is not None:  # what came before it is answered
        raise end


def _arguments(texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((str(number), text) for number, text in enumerate(texts, 1))
