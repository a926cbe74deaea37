"""``qsearch sync``."""

from __future__ import annotations

from typing import Unpack

import click

from qsearch.cli.changing import (
    GROUPS,
    ChangeArguments,
    change_options,
    library_options,
    rows_of,
)
from qsearch.cli.help import Command
from qsearch.cli.input_options import refuse_idle
from qsearch.cli.output import Console, columns, print_data
from qsearch.cli.target import find_index

__all__ = ["sync"]

_COUNTED = ("added", "replaced", "metadata", "unchanged", "deleted")


@click.command(
    cls=Command,
    groups={**GROUPS, "Index": ("index", "dry_run", "allow_empty", "wait")},
    epilog="""\b
Examples:
  qsearch sync corpus.jsonl --dry-run
  qsearch sync corpus.jsonl
  qsearch sync articles.csv --text-field body -i indexes/articles
""",
)
@click.argument("corpus")
@change_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Change nothing, and print how many documents of each kind there are.",
)
@click.option(
    "--allow-empty",
    is_flag=True,
    help="Let a CORPUS without a valid document delete all. Else that is an error: most often it is a pipe "
    "that broke.",
)
@click.pass_obj
def sync(
    console: Console,
    corpus: str,
    dry_run: bool,
    allow_empty: bool,
    **given: Unpack[ChangeArguments],
) -> None:
    """Make an index hold exactly the documents of CORPUS, in one commit.

    CORPUS is what build reads. Documents are told apart by their ids: new ones are added, those whose text
    or title changed are encoded again, those of which only metadata changed are not, and those that CORPUS
    does not have are deleted. A record that --skip-invalid leaves out is not there: the document of its id
    is deleted.

    A large change that was interrupted goes on where it stopped when the same command is run again.
    """
    from qsearch.index import Index

    refuse_idle(click.get_current_context().params, corpus)
    with Index.open(
        find_index(given["index"]),
        encoder=given["model"],
        device=given["device"],
        backend=given["backend"],
    ) as index:
        before = len(index)
        report = index.sync(
            corpus, dry_run=dry_run, allow_empty=allow_empty, **library_options(console, given)
        )
        if not dry_run:
            console.table(rows_of(report, _COUNTED, index))
            return
        for line in columns(rows_of(report, _COUNTED, index, before)):
            print_data(line)
