"""``qsearch verify``."""

from __future__ import annotations

from pathlib import Path

import click

from qsearch.cli.help import Command
from qsearch.cli.output import Console, human_bytes, print_data
from qsearch.cli.progress import progress_on
from qsearch.cli.target import index_argument, index_option, named_index, wait_option
from qsearch.errors import IndexFormatError

__all__ = ["verify"]


@click.command(cls=Command)
@index_argument
@index_option
@click.option("--deep", is_flag=True, help="Also derive every code from its float row again.")
@wait_option
@click.pass_obj
def verify(
    console: Console, path: Path | None, index: Path | None, deep: bool, wait: float
) -> None:
    """Check every checksum of an index; exits 1 if anything is wrong.

    Reads all files. Nobody can change the index meanwhile, and it cannot be checked while somebody
    does. What is damaged cannot be mended from the index itself: restore it from a copy,
    or build it again.
    """
    from qsearch.indexing import index_sizes
    from qsearch.store import verify_index

    path = named_index(path, index)
    progress = progress_on(console)
    try:
        total = sum(size for name, size in index_sizes(path).items() if name != "catalog.sqlite")
    except (IndexFormatError, OSError):
        total = 0  # verify_index says what is wrong
    progress.begin("verify", total, "B")
    report = verify_index(path, deep=deep, advance=progress.advance, wait=wait)
    progress.end()
    for problem in report.problems:
        print_data(f"damaged: {problem}")
    if not report.ok:
        count = len(report.problems)
        found = "1 problem" if count == 1 else f"{count:,} problems"
        raise IndexFormatError(
            f"{path} is damaged ({found}); restore it from a copy, or build it again with "
            "'qsearch build --force'"
        )
    print_data(
        f"{path} is sound: {len(report.checked)} checks, {human_bytes(report.bytes_read)} read"
    )
