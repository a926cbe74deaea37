"""Ids of documents on the command line: as arguments, in a file, or on standard input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from qsearch.errors import QueryError

__all__ = ["id_arguments", "read_ids", "wants_ids"]


def id_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ids, and a file of ids."""
    command = click.option(
        "--ids",
        "id_file",
        metavar="FILE",
        help="Read ids from a file, one a line; also a compressed one, or - for standard input.",
    )(command)
    return click.argument("ids", nargs=-1, metavar="[ID]...")(command)


def wants_ids(ids: tuple[str, ...], id_file: str | None, where: object) -> bool:
    """Whether documents are named by ids, and not by a condition.

    Raises:
        click.UsageError: by both.
    """
    if where is not None and (ids or id_file is not None):
        raise click.UsageError("give IDs or --where, not both")
    return where is None


def read_ids(ids: tuple[str, ...], id_file: str | None) -> list[str]:
    """The ids that are meant. Lines of a file are taken as they are, but for blank ones.

    Args:
        ids: arguments; ``-`` alone means standard input.
        id_file: a file of them, or ``-``.

    Raises:
        click.UsageError: there are none, or both.
        QueryError: a line is not UTF-8.
        CorpusError: the file cannot be read.
    """
    if ids and id_file is not None:
        raise click.UsageError("give IDs or --ids, not both")
    if id_file is None and not ids:
        raise click.UsageError(
            "give an ID, - to read them from standard input, --ids FILE, or --where CONDITION"
        )
    if id_file is None and ids != ("-",):
        return list(ids)
    return _lines(id_file or "-")


def _lines(path: str) -> list[str]:
    from qsearch.documents.lines import ByteSource

    found = []
    name = "standard input" if path == "-" else path
    with ByteSource(path) as source:
        for number, line, too_long in source.lines():
            try:
                one = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise QueryError(
                    f"{name}, line {number}: is not UTF-8 (at byte {error.start + 1})"
                ) from error
            if too_long:
                raise QueryError(f"{name}, line {number}: is longer than any id")
            if one.strip():
                found.append(one)
    return found
