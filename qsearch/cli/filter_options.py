"""The options of a filter on the command line, made of those of the library."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from qsearch.options import FilterOptions, listed

__all__ = ["FILTER", "Parameters", "Where", "filter_options"]

FILTER = ("where", "params", "missing_fields_ok")
"""Names of the options, for groups of help."""


class Where(click.ParamType[Any]):
    """A condition in SQL's words, or a JSON object of operators."""

    name = "condition"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        """Take what begins with a brace as JSON."""
        if not isinstance(value, str) or not value.lstrip().startswith("{"):
            return value
        try:
            return json.loads(value, object_pairs_hook=_once_each)
        except (ValueError, RecursionError) as error:
            self.fail(
                f"what begins with a brace is read as JSON, and is none: {error}",
                parameter,
                context,
            )


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    from qsearch.documents.columns import once_each

    try:
        return once_each(pairs)
    except ValueError as error:
        raise ValueError(f"{error}; $and takes a list of conditions") from None


class Parameters(click.ParamType[Any]):
    """``name=value``: JSON where it is some, else a text."""

    name = "name=value"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        """Part the name from the value."""
        if not isinstance(value, str):
            return value
        name, sign, given = value.partition("=")
        if not sign or not name.strip():
            self.fail(f"{value!r} is not of the form name=value", parameter, context)
        try:
            return name.strip().removeprefix(":"), json.loads(given)
        except (ValueError, RecursionError):
            return name.strip().removeprefix(":"), given


def _together(
    context: click.Context, parameter: click.Parameter, value: tuple[tuple[str, Any], ...]
) -> Mapping[str, Any] | None:
    """All parameters, by name."""
    found = dict(value)
    if len(found) < len(value):
        raise click.BadParameter("a name is given twice", context, parameter)
    return found or None


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a filter."""
    known = listed(FilterOptions)
    command = click.option(
        "--missing-fields-ok", is_flag=True, default=False, help=known["missing_fields_ok"][1].help
    )(command)
    command = click.option(
        "--param",
        "params",
        type=Parameters(),
        multiple=True,
        callback=_together,
        metavar="NAME=VALUE",
        help='Value of :NAME in the condition: JSON where it is some (2020, true, ["en", "de"]), else a '
        "text. May be given several times.",
    )(command)
    return click.option(
        "--where", type=Where(), default=None, metavar="CONDITION", help=known["where"][1].help
    )(command)
