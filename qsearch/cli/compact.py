"""``qsearch compact``."""

from __future__ import annotations

from pathlib import Path

import click

from qsearch.cli.changing import commit_row
from qsearch.cli.help import Command
from qsearch.cli.output import Console, human_bytes, seconds_row
from qsearch.cli.progress import progress_on
from qsearch.cli.target import index_argument, index_option, named_index, wait_option

__all__ = ["compact"]


@click.command(cls=Command)
@index_argument
@index_option
@wait_option
@click.pass_obj
def compact(console: Console, path: Path | None, index: Path | None, wait: float) -> None:
    """Give back the room of documents that were deleted or replaced, and join small segments.

    No answer changes. Who has an earlier commit open goes on reading it. Each new segment is a commit, and
    the old ones of which it is made are removed behind it: the disk needs room for one segment and for the
    catalog. What was done before an interruption is not done again.
    """
    from qsearch.index import Index

    with Index.open(named_index(path, index)) as opened:
        report = opened.compact(wait=wait, progress=progress_on(console))
        documents = len(opened)
    before, after = report.bytes
    segments = report.segments
    rows = [
        ("index", str(report.path)),
        ("dead rows", f"{report.rows:,} removed"),
        ("past", f"{report.past:,} documents and metadata of earlier commits removed"),
        ("segments", f"{segments[0]:,} before, {segments[1]:,} now"),
        ("on disk", f"{human_bytes(before)} before, {human_bytes(after)} now"),
        ("documents", f"{documents:,} now"),
        commit_row(report.commit, changed=bool(report.seconds)),
    ]
    if report.seconds:
        rows.append(seconds_row(report.seconds))
    console.table(rows)
