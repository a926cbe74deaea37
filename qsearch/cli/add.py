"""``qsearch add``."""

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
from qsearch.cli.output import Console
from qsearch.cli.target import find_index

__all__ = ["add"]

_ADDED = ("added",)
_UPSERTED = (*_ADDED, "replaced", "metadata", "unchanged")


@click.command(
    cls=Command,
    groups={**GROUPS, "Index": ("index", "upsert", "wait")},
    epilog="""\b
Examples:
  qsearch add more.jsonl
  qsearch add corrected.jsonl --upsert -i indexes/articles
  zcat more.jsonl.gz | qsearch add -
  qsearch add more.jsonl --vectors more.npy
""",
)
@click.argument("corpus", required=False)
@change_options
@click.option(
    "--upsert",
    is_flag=True,
    help="Replace documents of the same id. Those of which only metadata changed are not encoded again.",
)
@click.pass_obj
def add(
    console: Console, corpus: str | None, upsert: bool, **given: Unpack[ChangeArguments]
) -> None:
    """Add the documents of CORPUS to an index, in one commit.

    CORPUS is what build reads. An id that is in the index already is an error, and then nothing is added,
    unless --upsert replaces that document. The encoder must be the one that the index was built with.

    A record is a whole document: with --upsert, fields that it does not have are gone. To correct some
    fields, edit what 'qsearch get --format jsonl' prints and add that.

    A large change that was interrupted goes on where it stopped when the same command is run again.
    """
    from qsearch.index import Index

    if corpus is None and given["vectors"] is None:
        raise click.UsageError("give a CORPUS, or --vectors, or both")
    refuse_idle(click.get_current_context().params, corpus)
    with Index.open(
        find_index(given["index"]),
        encoder=given["model"],
        device=given["device"],
        backend=given["backend"],
    ) as index:
        asked = library_options(console, given)
        if upsert:
            report = index.upsert(corpus, **asked)
        else:
            report = index.add(corpus, **asked)
        console.table(rows_of(report, _UPSERTED if upsert else _ADDED, index))
