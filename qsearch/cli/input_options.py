"""The options that say where records come from, of every command that reads some."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

if TYPE_CHECKING:
    from qsearch.documents import Fields

__all__ = ["INPUT", "InputOptions", "fields_of", "input_options", "numbered", "refuse_idle"]

_OF_CORPUS = (
    "input_format",
    "delimiter",
    "encoding",
    "id_field",
    "text_field",
    "title_field",
    "metadata_field",
)
INPUT = (*_OF_CORPUS, "vectors", "skip_invalid", "rejects")
"""Their names, as a group of a command's help."""


class InputOptions(TypedDict):
    """What a command is given for them."""

    vectors: Path | None
    input_format: str | None
    delimiter: str | None
    encoding: str | None
    id_field: tuple[str, ...]
    text_field: tuple[str, ...]
    title_field: tuple[str, ...]
    metadata_field: tuple[str, ...]
    skip_invalid: bool
    rejects: Path | None


def input_options(vectors_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command all of them.

    Args:
        vectors_help: what ``--vectors`` means there.
    """
    options = [
        click.option("--vectors", type=click.Path(path_type=Path), help=vectors_help),
        click.option(
            "--input-format",
            type=click.Choice(["jsonl", "csv", "tsv", "text", "parquet"]),
            help="Format of CORPUS.  [default: by its name; jsonl for -]",
        ),
        click.option(
            "--delimiter",
            help="What parts the columns of CSV: a character, or tab.  [default: , ; tab or | by the "
            "first lines]",
        ),
        click.option(
            "--encoding",
            help="Encoding of a text file, such as cp1252.  [default: UTF-8, or UTF-16 by its mark]",
        ),
        click.option("--id-field", multiple=True, help="Field with the id.  [default: id, _id]"),
        click.option("--text-field", multiple=True, help="Field with the text.  [default: text]"),
        click.option(
            "--title-field", multiple=True, help="Field with the title.  [default: title]"
        ),
        click.option(
            "--metadata-field",
            multiple=True,
            help="Field to keep as metadata; may be repeated.  [default: all others]",
        ),
        click.option(
            "--skip-invalid",
            is_flag=True,
            help="Leave invalid records out instead of stopping.",
        ),
        click.option(
            "--rejects",
            type=click.Path(path_type=Path),
            help="Where to write the records left out.  [default: <INDEX>.rejects.jsonl]",
        ),
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def fields_of(options: InputOptions) -> Fields:
    """Which field is which."""
    from qsearch.documents import Fields

    return Fields(
        id=options["id_field"] or None,
        text=options["text_field"] or None,
        title=options["title_field"] or None,
        metadata=options["metadata_field"] or None,
    )


def refuse_idle(
    parameters: Mapping[str, Any],
    corpus: str | None,
    needs: list[tuple[str, bool, tuple[str, ...]]] | None = None,
) -> None:
    """An option that would do nothing is a mistake, and is told before it costs anything.

    Args:
        parameters: what the command was given, by name.
        corpus: where the records come from.
        needs: what the options of this command need beside those of the input: in words, whether it is
            there, and their names.

    Raises:
        click.UsageError: there is one.
    """
    for what, there, names in [
        ("a CORPUS", corpus is not None, _OF_CORPUS),
        *(needs or []),
        ("--skip-invalid", bool(parameters["skip_invalid"]), ("rejects",)),
    ]:
        for name in names:
            if not there and parameters[name] not in (None, ()):
                raise click.UsageError(f"--{name.replace('_', '-')} needs {what}")


def numbered(numbered_by: str, id_like: tuple[str, ...], first: str) -> str:
    """What a report says of ids, where the records have none.

    Args:
        numbered_by: what they count, see ``BuildReport``.
        id_like: fields that could hold ids.
        first: where the numbers of vectors begin.
    """
    said = f"{numbered_by} numbers, {first if numbered_by == 'vector' else 'from 1'}"
    if numbered_by != "vector":
        said += ": no record has an id"
    if id_like:
        said += f" ({', '.join(id_like[:4])} could be one: --id-field {shlex.quote(id_like[0])})"
    return said
