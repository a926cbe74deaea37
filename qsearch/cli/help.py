"""What every command has: options in groups, ``-q`` behind its name too, help that is printed as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from qsearch.cli.output import print_text

__all__ = ["Command", "PrintsHelp", "quiet_option"]


def _be_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.obj.quiet = True


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_be_quiet,
    help="No progress and no report, only data and errors.",
)


def _show_help(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        print_text(context.get_help())
        context.exit()


class PrintsHelp(click.Command):
    """A command whose help is written as all data are: where that fails, it is an error in a line."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option, with a callback of our own."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option


class Command(PrintsHelp):
    """A command whose help has its options in groups."""

    def __init__(
        self, *arguments: Any, groups: Mapping[str, Sequence[str]] | None = None, **named: Any
    ) -> None:
        """Make it.

        Args:
            *arguments: see ``click.Command``.
            groups: names of parameters by title; the others stand under "Other options".
            **named: see ``click.Command``.
        """
        super().__init__(*arguments, **named)
        self.groups = groups or {}
        quiet_option(self)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        titles = {name: title for title, names in self.groups.items() for name in names}
        rest = "Other options" if self.groups else "Options"
        listed: dict[str, list[tuple[str, str]]] = {title: [] for title in (*self.groups, rest)}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and not isinstance(parameter, click.Argument):
                listed[titles.get(parameter.name or "", rest)].append(record)
        for title, records in listed.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
