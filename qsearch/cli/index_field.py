"""``qsearch index-field``."""

from __future__ import annotations

from pathlib import Path

import click

from qsearch.cli.changing import commit_row
from qsearch.cli.help import Command
from qsearch.cli.output import Console
from qsearch.cli.progress import progress_on
from qsearch.cli.target import find_index, index_option, wait_option

__all__ = ["index_field"]


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  qsearch index-field year lang
  qsearch index-field author.name '"a name with spaces"'
  qsearch index-field year --drop
""",
)
@click.argument("fields", nargs=-1, required=True, metavar="FIELD...")
@index_option
@click.option("--drop", is_flag=True, help="Index them no longer.")
@click.option(
    "--missing-fields-ok", is_flag=True, help="Also index fields that no document has yet."
)
@wait_option
@click.pass_obj
def index_field(
    console: Console,
    fields: tuple[str, ...],
    index: Path | None,
    drop: bool,
    missing_fields_ok: bool,
    wait: float,
) -> None:
    """Make conditions on FIELDs of the metadata fast.

    Their values are kept as arrays in the catalog, nine bytes for each document, and every change brings
    them up to date. A condition takes milliseconds then, instead of reading all metadata. 'qsearch info'
    lists the fields that there are.
    """
    from qsearch.index import Index

    with Index.open(find_index(index)) as opened:
        before = opened.commit
        commit = opened.index_fields(
            fields,
            drop=drop,
            missing_fields_ok=missing_fields_ok,
            wait=wait,
            progress=progress_on(console),
        )
        indexed = ", ".join(one.name for one in opened.fields if one.indexed)
        console.table(
            [
                ("index", str(opened.path)),
                ("indexed", indexed or "no field"),
                commit_row(commit, changed=commit > before),
            ]
        )
