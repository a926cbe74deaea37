"""The options of a search on the command line, made of those of the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from qsearch.cli.filter_options import FILTER, filter_options
from qsearch.options import (
    FUSIONS,
    METHODS,
    MODES,
    WORDS,
    SearchOptions,
    TextSearchOptions,
    listed,
)

__all__ = ["RERANK", "STANDING", "search_options", "standing_options"]

RERANK = tuple(
    name for name in listed(TextSearchOptions) if name not in {*listed(SearchOptions), *WORDS}
)
"""Options that put hits in the order of a cross-encoder."""


STANDING = tuple(name for name in listed(TextSearchOptions) if name not in (*FILTER, "explain"))
"""Options that make sense for many searches at once, whatever each is for."""


class Recall(click.ParamType[float | str]):
    """``exact``, or a number."""

    name = "exact|0.99"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> float | str:
        """Make a number of what is not ``exact``; 99% is 0.99."""
        if value == "exact":
            return "exact"
        given = str(value)
        percent = given.endswith("%")
        try:
            number = float(given.removesuffix("%"))
        except ValueError:
            self.fail(f"{given!r} is neither exact nor a number", parameter, context)
        if percent:
            return float(f"{number / 100:.12g}")
        if 1 < number <= 100:
            meant = f"{number / 100:.6g}"
            self.fail(f"{given} is above 1; {given}% is {meant}", parameter, context)
        return number


class Model(click.ParamType[str]):
    """The name or the path of a model."""

    name = "model"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> str:
        """Take it as it is."""
        return str(value)


_TYPES: dict[str, click.ParamType[Any]] = {
    "recall": Recall(),
    "method": click.Choice(METHODS),
    "candidates": click.INT,
    "rerank": Model(),
    "rerank_depth": click.INT,
    "mode": click.Choice(MODES),
    "weight": click.FLOAT,
    "fusion": click.Choice(FUSIONS),
    "depth": click.INT,
    "k1": click.FLOAT,
    "b": click.FLOAT,
}
"""How a value is typed; what is missing here is a flag."""


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of a search by text."""
    of_filter = filter_options(command)
    return _given([name for name in listed(TextSearchOptions) if name not in FILTER], of_filter)


def standing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of searches to come."""
    return _given(STANDING, command)


def _given(names: Sequence[str], command: Callable[..., Any]) -> Callable[..., Any]:
    known = listed(TextSearchOptions)
    for name in reversed(names):
        _, option = known[name]
        of_type = _TYPES.get(name)
        command = click.option(
            f"--{name.replace('_', '-')}",
            type=of_type,
            is_flag=of_type is None,
            default=option.default,
            show_default=option.default not in (None, False),
            help=option.help,
        )(command)
    return command
