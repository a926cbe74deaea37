"""``qsearch index-text``."""

from __future__ import annotations

from pathlib import Path

import click

from qsearch.cli.changing import commit_row
from qsearch.cli.help import Command
from qsearch.cli.output import Console, human_bytes, seconds_row
from qsearch.cli.progress import progress_on
from qsearch.cli.target import index_argument, index_option, named_index, wait_option

__all__ = ["index_text"]


@click.command(cls=Command, name="index-text")
@index_argument
@index_option
@click.option(
    "--language",
    help="Language of the texts (ISO 639): what their words are.  [default: that of the text index there "
    "is, or of the passages, or en]",
)
@click.option("--drop", is_flag=True, help="Take the text index away instead.")
@wait_option
@click.pass_obj
def index_text(
    console: Console,
    path: Path | None,
    index: Path | None,
    language: str | None,
    drop: bool,
    wait: float,
) -> None:
    """Index the words of titles and texts, for query --mode keywords and hybrid.

    Where there is a text index already it is made anew, which mends one that is damaged. One commit; the
    catalog is written anew, as compact does, without documents of the past.
    """
    from qsearch.index import Index

    if drop and language is not None:
        raise click.UsageError("--language is of a text index that is made; leave out --drop")
    with Index.open(named_index(path, index)) as opened:
        report = opened.index_text(
            language=language, drop=drop, wait=wait, progress=progress_on(console)
        )
        documents = len(opened)
    before, after = report.bytes
    told = "none"
    if report.language is not None:
        told = f"of {report.language!r}: {report.tokenizer}"
    rows = [
        ("index", str(report.path)),
        ("text index", told),
        ("on disk", f"{human_bytes(before)} before, {human_bytes(after)} now"),
        ("documents", f"{documents:,} now"),
        commit_row(report.commit, changed=bool(report.seconds)),
    ]
    if report.seconds:
        rows.append(seconds_row(report.seconds))
    console.table(rows)
