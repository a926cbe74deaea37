"""``qsearch index-graph``."""

from __future__ import annotations

from pathlib import Path

import click

from qsearch.cli.changing import commit_row
from qsearch.cli.help import Command
from qsearch.cli.output import Console
from qsearch.cli.progress import progress_on
from qsearch.cli.target import index_argument, index_option, named_index, wait_option

__all__ = ["index_graph"]


@click.command(cls=Command, name="index-graph")
@index_argument
@index_option
@click.option("--drop", is_flag=True, help="Take the graph away instead.")
@wait_option
@click.pass_obj
def index_graph(
    console: Console, path: Path | None, index: Path | None, drop: bool, wait: float
) -> None:
    """Link near documents to each other: single queries at a recall up to 0.95 are then much faster.

    As build --graph does, for an index that was built without; nothing is encoded. One that is damaged is
    made anew. Recall is measured with it, also with one that there is, where it was not. 100,000 documents
    take some thirty seconds, half of them for the graph and half to measure recall.
    """
    from qsearch.index import Index

    with Index.open(named_index(path, index)) as opened:
        before = opened.commit
        commit = opened.index_graph(drop=drop, wait=wait, progress=progress_on(console))
        console.table(
            [
                ("index", str(opened.path)),
                ("graph", "yes" if opened.has_graph else "none"),
                commit_row(commit, changed=commit > before),
            ]
        )
