"""``qsearch upgrade``."""

from __future__ import annotations

from pathlib import Path

import click

from qsearch.cli.help import Command
from qsearch.cli.output import Console
from qsearch.cli.progress import progress_on
from qsearch.cli.target import index_argument, index_option, named_index, wait_option

__all__ = ["upgrade"]


@click.command(cls=Command)
@index_argument
@index_option
@wait_option
@click.pass_obj
def upgrade(console: Console, path: Path | None, index: Path | None, wait: float) -> None:
    """Bring an index of an earlier format to the present one, in one step.

    The first change of an index does so by itself, and searches need it never. Nothing is encoded, and
    vectors and codes stay as they are. Earlier versions of qsearch cannot read the index afterwards.
    """
    from qsearch.indexing import upgrade_index

    path = named_index(path, index)
    done = upgrade_index(path, wait, progress_on(console))
    told = f"{done.now}, was {done.before}" if done.before < done.now else f"{done.now} already"
    if done.rollback:
        told += "; another program had put its catalog in SQLite's WAL mode, where it is no more"
    elif done.before == done.now:
        told += ": nothing was to be done"
    console.table([("index", str(path)), ("format", told)])
