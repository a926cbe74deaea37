"""``qsearch get``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from qsearch.cli.filter_options import FILTER, filter_options
from qsearch.cli.help import Command
from qsearch.cli.ids import id_arguments, read_ids, wants_ids
from qsearch.cli.nothing import tell_no_document
from qsearch.cli.output import Console, columns, print_data, print_json
from qsearch.cli.records import RECORD, RecordOptions, check_names, record_of, record_options
from qsearch.cli.results import Format
from qsearch.cli.target import find_index, index_option

if TYPE_CHECKING:
    from qsearch.documents import Document
    from qsearch.index import Index

__all__ = ["get"]

_AT_A_TIME = 500


@click.command(
    cls=Command,
    groups={
        "Documents": ("index", "id_file", *FILTER),
        "Output": ("format", *RECORD),
    },
    epilog="""\b
Examples:
  qsearch get doc17
  qsearch get doc17 doc18 --format jsonl
  qsearch get --ids wanted.txt --format jsonl > wanted.jsonl
  qsearch get --where "year >= 2020 AND 'python' IN tags"
""",
)
@id_arguments
@index_option
@click.option(
    "--format",
    "format",
    type=Format(["text", "jsonl"]),
    default="text",
    show_default=True,
    help="text for people, jsonl (a document a line) as export writes it.",
)
@record_options
@filter_options
@click.pass_obj
def get(
    console: Console,
    ids: tuple[str, ...],
    id_file: str | None,
    index: Path | None,
    format: str,
    where: Any,
    params: Mapping[str, Any] | None,
    missing_fields_ok: bool,
    **named: Unpack[RecordOptions],
) -> None:
    """Print documents by their IDs, in that order, or those for which a condition holds, in index order.

    - reads an ID a line from standard input.

    JSON Lines that get has written, and somebody has edited, are read by 'qsearch add - --upsert'.
    """
    from qsearch.index import Index

    for name, value in named.items():
        if value is not None and format == "text":
            raise click.UsageError(f"--{name.replace('_', '-')} needs --format jsonl")
    check_names(named)
    by_ids = wants_ids(ids, id_file, where)
    wanted = read_ids(ids, id_file) if by_ids else []
    with Index.open(find_index(index)) as opened:
        if by_ids:
            documents = _by_ids(opened, wanted)
        else:
            documents = opened.find(where, params=params, missing_fields_ok=missing_fields_ok)
        number = -1
        for number, document in enumerate(documents):
            if format == "jsonl":
                print_json(record_of(document, named))
                continue
            if number:
                print_data("")
            _print(document)
        if number < 0 and not by_ids:
            tell_no_document(console, opened, where, params, missing_fields_ok)


def _by_ids(index: Index, wanted: list[str]) -> Iterator[Document]:
    for start in range(0, len(wanted), _AT_A_TIME):
        yield from index.get(wanted[start : start + _AT_A_TIME])


def _print(document: Document) -> None:
    rows = [("id", document.id)]
    if document.title is not None:
        rows.append(("title", document.title))
    rows += [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in document.metadata.items()
    ]
    first, *more = document.text.split("\n")
    rows += [("text", first), *(("", line) for line in more)]
    for line in columns(rows):
        print_data(line)
