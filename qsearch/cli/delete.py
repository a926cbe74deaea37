"""``qsearch delete``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from qsearch.cli.changing import rows_of
from qsearch.cli.filter_options import FILTER, filter_options
from qsearch.cli.help import Command
from qsearch.cli.ids import id_arguments, read_ids, wants_ids
from qsearch.cli.nothing import tell_no_document
from qsearch.cli.output import Console
from qsearch.cli.progress import progress_on
from qsearch.cli.target import find_index, index_option, wait_option
from qsearch.options import FilterOptions

__all__ = ["delete"]


@click.command(
    cls=Command,
    groups={"Documents": ("index", "id_file", "missing_ok", *FILTER), "Change": ("wait",)},
    epilog="""\b
Examples:
  qsearch delete doc17 doc18
  qsearch delete --ids obsolete.txt --missing-ok
  comm -23 before.txt now.txt | qsearch delete -
  qsearch delete --where "year < 2000 OR archived"
  qsearch delete -- -an-id-with-a-dash
""",
)
@id_arguments
@index_option
@click.option("--missing-ok", is_flag=True, help="Pass over ids that the index does not have.")
@filter_options
@wait_option
@click.pass_obj
def delete(
    console: Console,
    ids: tuple[str, ...],
    id_file: str | None,
    index: Path | None,
    missing_ok: bool,
    wait: float,
    **chosen: Unpack[FilterOptions],
) -> None:
    """Delete documents by their IDs, or those for which a condition holds, in one commit.

    - reads an ID a line from standard input. An ID that the index does not have, or that is given twice, is
    an error, and nothing is deleted. The encoder is not needed. A deletion that was interrupted goes on
    where it stopped when it is run again. The room on disk is given back by compact; 'qsearch get --where'
    shows beforehand which documents a condition means.
    """
    from qsearch.index import Index

    by_ids = wants_ids(ids, id_file, chosen["where"])
    wanted = read_ids(ids, id_file) if by_ids else None
    with Index.open(find_index(index)) as opened:
        report = opened.delete(
            wanted, missing_ok=missing_ok, wait=wait, progress=progress_on(console), **chosen
        )
        rows = rows_of(report, ("deleted",), opened)
        if not by_ids and not report.deleted:
            tell_no_document(console, opened, **chosen)
    missing = 0 if wanted is None else len(set(wanted)) - report.deleted
    if missing:
        rows.insert(2, ("not there", f"{missing:,}"))
    console.table(rows)
