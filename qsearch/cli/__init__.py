"""The command line. One command a file; ``output`` is the only place that prints.

Commands are imported when they are called, and what they use is imported inside them, so that
``qsearch --help`` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
import io
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Any

import click

from qsearch.cli.help import PrintsHelp
from qsearch.cli.output import Console, ConsoleHandler, print_text
from qsearch.cli.wording import COMMAND_LINE
from qsearch.errors import BuildInterrupted, ChangeInterrupted, QsearchError
from qsearch.version import __version__
from qsearch.wording import first_line, speaking

__all__ = ["cli", "main"]

_COMMANDS = {
    "build": "Build an index from a corpus.",
    "query": "Search an index.",
    "serve": "Answer searches over HTTP.",
    "eval": "Measure how good answers are, and what they cost.",
    "add": "Add documents to an index, or replace some.",
    "sync": "Make an index hold exactly the documents of a corpus.",
    "delete": "Delete documents by their ids.",
    "get": "Print documents by their ids.",
    "export": "Write all documents, as build reads them.",
    "index-field": "Make conditions on a field fast.",
    "index-graph": "Make or drop the graph, for speed.",
    "index-text": "Make or drop the index of words.",
    "compact": "Give back the room of what was deleted.",
    "upgrade": "Bring an index to the present format.",
    "info": "Show what an index holds.",
    "verify": "Check an index for damage.",
    "doctor": "Check the encoder of an index, or vectors made elsewhere.",
}


_REPLACE = (
    "'qsearch add CORPUS --upsert' replaces documents, 'qsearch sync CORPUS' makes an index hold exactly a "
    "corpus"
)
_DELETE = "'qsearch delete ID' deletes documents; an index is a directory"
_SERVE = "'qsearch serve' answers searches over HTTP"
_ABSENT = {
    "search": "'qsearch query TEXT' searches",
    "ask": "'qsearch query TEXT' searches",
    "find": "'qsearch query TEXT' searches",
    "index": "'qsearch build CORPUS' makes an index",
    "create": "'qsearch build CORPUS' makes an index",
    "init": "'qsearch build CORPUS' makes an index",
    "list": "'qsearch info' shows an index; they are directories, in indexes/ unless named",
    "ls": "'qsearch info' shows an index; they are directories, in indexes/ unless named",
    "show": "'qsearch info' shows an index, 'qsearch get ID' a document",
    "cat": "'qsearch get ID' shows a document, 'qsearch export' writes all",
    "stats": "'qsearch info' shows an index",
    "check": "'qsearch verify' looks for damage, 'qsearch doctor' at the encoder",
    "help": "'qsearch --help' lists the commands",
    "upsert": _REPLACE,
    "update": _REPLACE,
    "replace": _REPLACE,
    "insert": "'qsearch add CORPUS' adds documents",
    "append": "'qsearch add CORPUS' adds documents",
    "remove": _DELETE,
    "rm": _DELETE,
    "drop": _DELETE,
    "dump": "'qsearch export' writes all documents",
    "merge": "'qsearch compact' joins segments; small ones are joined by themselves",
    "vacuum": "'qsearch compact' gives back the room of what was deleted",
    "optimize": "'qsearch compact' gives back the room of what was deleted, and joins segments",
    "migrate": "'qsearch upgrade' brings an index to the present format",
    "evaluate": "'qsearch eval' measures recall, quality and time",
    "bench": "'qsearch eval' measures recall, quality and time",
    "fts": "'qsearch index-text' makes the index of words",
    "reindex": "'qsearch index-text' makes the index of words anew, 'qsearch build --force' everything",
    "server": _SERVE,
    "http": _SERVE,
    "api": _SERVE,
}
"""What people look for that is not here, and what there is instead."""


class _LazyGroup(PrintsHelp, click.Group):
    """Lists its commands without importing them."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in _ABSENT and name not in _COMMANDS:
            context.fail(f"there is no command {name!r}; {_ABSENT[name]}")
        near = difflib.get_close_matches(name, _COMMANDS, n=1)
        if near and name not in _COMMANDS:
            context.fail(f"there is no command {name!r}; did you mean {near[0]!r}?")
        return super().resolve_command(context, args)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = name.replace("-", "_")
        command = getattr(importlib.import_module(f"qsearch.cli.{module}"), module)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        print_text(f"qsearch, version {__version__}")
        context.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nStart here:\n  qsearch build corpus.jsonl\n  qsearch query 'what you look for'",
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.option(
    "-q", "--quiet", is_flag=True, help="No progress and no report, only data and errors."
)
@click.pass_context
def cli(context: click.Context, quiet: bool) -> None:
    """Semantic search that is exact at quantized speed.

    An index is a directory. `build` makes one from a corpus of documents, `query` searches it; `add`,
    `sync` and `delete` change it. Data goes to standard output, everything else to standard error.

    Environment: QSEARCH_INDEX names the index, QSEARCH_MODEL the model, QSEARCH_DEVICE the device,
    QSEARCH_CACHE where exported models are kept, QSEARCH_THREADS how many threads work, QSEARCH_KERNELS
    which kernels (numpy: without native ones, and without a word about it); NO_COLOR turns colours off,
    QSEARCH_DEBUG=1 shows tracebacks.
    """
    context.obj = Console(quiet=quiet)
    log = logging.getLogger("qsearch")
    log.handlers = [ConsoleHandler(context.obj)]
    log.setLevel(logging.INFO)


def _interrupt(number: int, frame: object) -> None:
    """Stop orderly at the first Ctrl-C and at once at the second: what was finished is on disk."""
    signal.signal(number, lambda *ignored: os._exit(130))
    raise KeyboardInterrupt


def _interrupted(cause: BaseException | None) -> str:
    if not isinstance(cause, BuildInterrupted | ChangeInterrupted):
        return "interrupted"
    done = isinstance(cause, ChangeInterrupted) and cause.commit is not None
    again = "" if cause.kept == 0 or done else ": run the same command again to go on"
    return f"interrupted; {cause}{again}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits 1 after an error, 2 after a usage error, 130 after Ctrl-C."""
    ours = False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nobody has other plans
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, _interrupt)
            ours = True
    code = 1
    try:
        with speaking(COMMAND_LINE):
            result: Any = cli.main(arguments, prog_name="qsearch", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except QsearchError as error:
        if os.environ.get("QSEARCH_DEBUG"):
            raise
        Console().error(str(error))
        code = 1
    except click.exceptions.Abort as abort:
        Console().error(_interrupted(abort.__cause__))
        code = 130
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        Console().note(shown.getvalue().rstrip("\n"))
        code = error.exit_code
    except MemoryError as error:
        if os.environ.get("QSEARCH_DEBUG"):
            raise
        Console().error(
            f"there is not enough memory ({first_line(error)}); nothing that was on disk is lost: close "
            "other programs, or lift this process's limit (ulimit -v), and run the same command again"
        )
        code = 1
    except Exception:
        # A library that is being imported may take Ctrl-C for a failure of its own, and say so.
        stopped = ours and signal.getsignal(signal.SIGINT) is not _interrupt
        if not stopped or os.environ.get("QSEARCH_DEBUG"):
            raise
        Console().error("interrupted")
        code = 130
    finally:
        with suppress(ValueError):
            if signal.getsignal(signal.SIGINT) is _interrupt:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            elif code == 130:  # the process is ending: nothing is to be stopped any more
                signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)
