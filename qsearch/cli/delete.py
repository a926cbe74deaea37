"""``qsearch delete``."""

from __future__ import annotations

from pathlib import Path

import click

from qsearch.cli.changing import rows_of
from qsearch.cli.help import Command
from qsearch.cli.ids import id_arguments, read_ids
from qsearch.cli.output import Console
from qsearch.cli.target import find_index, index_option, wait_option

__all__ = ["delete"]


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  qsearch delete doc17 doc18
  qsearch delete --ids obsolete.txt --missing-ok
  comm -23 before.txt now.txt | qsearch delete -
  qsearch delete -- -an-id-with-a-dash
""",
)
@id_arguments
@index_option
@click.option("--missing-ok", is_flag=True, help="Pass over ids that the index does not have.")
@wait_option
@click.pass_obj
def delete(
    console: Console,
    ids: tuple[str, ...],
    id_file: str | None,
    index: Path | None,
    missing_ok: bool,
    wait: float,
) -> None:
    """Delete documents by their IDs, in one commit; - reads an ID a line from standard input.

    An ID that the index does not have, or that is given twice, is an error, and nothing is deleted. The
    encoder is not needed. The room on disk is given back by compact.
    """
    from qsearch.index import Index

    wanted = read_ids(ids, id_file)
    with Index.open(find_index(index)) as opened:
        report = opened.delete(wanted, missing_ok=missing_ok, wait=wait)
        rows = rows_of(report, ("deleted",), opened)
    missing = len(set(wanted)) - report.deleted
    if missing:
        rows.insert(2, ("not there", f"{missing:,}"))
    console.table(rows)
