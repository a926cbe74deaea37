"""Documents as the records that they were read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

import click

from qsearch.cli.output import OutputError

if TYPE_CHECKING:
    from qsearch.documents import Document

__all__ = ["RECORD", "RecordOptions", "check_names", "record_of", "record_options"]

RECORD = ("id_field", "text_field", "title_field")
"""Names of the options, as a group of a command's help."""


class RecordOptions(TypedDict):
    """What the fields of a record are called; ``None``: as ``build`` looks for them."""

    id_field: str | None
    text_field: str | None
    title_field: str | None


def record_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the names of the fields that it writes."""
    for name in reversed(RECORD):
        role = name.removesuffix("_field")
        command = click.option(
            f"--{role}-field",
            metavar="NAME",
            help=f"What the field with the {role} is called; build takes the same option.  "
            f"[default: {role}]",
        )(command)
    return command


def check_names(named: RecordOptions) -> None:
    """Find out whether the fields have different names.

    Raises:
        click.UsageError: they have not.
    """
    names = _names(named)
    if len(set(names.values())) < len(names):
        raise click.UsageError("id, text and title need different names")


def record_of(document: Document, named: RecordOptions) -> dict[str, Any]:
    """The record that ``build`` makes this document of: metadata are fields beside the others.

    Raises:
        OutputError: a field of the metadata has the name of one of the others.
    """
    names = _names(named)
    for role, name in names.items():
        if name in document.metadata:
            raise OutputError(
                f"document {document.id!r} has metadata called {name!r}, and so is the {role} of a record; "
                f"give that another name with --{role}-field, and build with the same option"
            )
    record: dict[str, Any] = {names["id"]: document.id}
    # Without a title of its own, build would take metadata that differ in case for one; and a field that
    # is named to it must be there.
    similar = any(name.casefold() == names["title"].casefold() for name in document.metadata)
    if document.title is not None or named["title_field"] is not None or similar:
        record[names["title"]] = document.title
    record[names["text"]] = document.text
    record.update(document.metadata)
    return record


def _names(named: RecordOptions) -> dict[str, str]:
    return {
        "id": named["id_field"] or "id",
        "text": named["text_field"] or "text",
        "title": named["title_field"] or "title",
    }
