"""The only place that prints: data to standard output, everything else to standard error."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import click

from qsearch.errors import QsearchError
from qsearch.wording import ACTED_ON, printable

__all__ = [
    "Console",
    "ConsoleHandler",
    "OutputError",
    "columns",
    "encoder_rows",
    "human_bytes",
    "print_data",
    "print_json",
    "print_text",
    "printable",
    "seconds_row",
    "size_rows",
    "terminal_width",
]


class OutputError(QsearchError):
    """Standard output, or a file of data, cannot be written."""


_JSON_ESCAPES = {one: f"\\u{one:04x}" for one in ACTED_ON if one >= 0x7F}


class Console:
    """Standard error: notes, reports and errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Say nothing but errors if ``quiet``."""
        self.quiet = quiet

    def note(self, message: str = "") -> None:
        """Tell something that is not data."""
        if not self.quiet:
            _echo(printable(message, lines=True), error=True)

    def error(self, message: str) -> None:
        """Tell what went wrong."""
        told = click.style("error:", fg="red", bold=True) + f" {printable(message, lines=True)}"
        _echo(told, error=True)

    def table(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print labelled values in two columns."""
        for line in columns(rows):
            self.note(line)


class ConsoleHandler(logging.Handler):
    """What the library logs, as notes: warnings, and what goes on to those who watch."""

    def __init__(self, console: Console) -> None:
        """Pass records on to ``console``."""
        watched = sys.stderr is not None and sys.stderr.isatty()
        super().__init__(logging.INFO if watched else logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record. Whoever logs goes on where nobody reads it any more."""
        with suppress(OSError):
            self._console.note(self.format(record))


def columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Labelled values as aligned lines."""
    listed = list(rows)
    width = max((len(label) for label, _ in listed), default=0)
    return [f"{label:<{width}}  {value}".rstrip() for label, value in listed]


def encoder_rows(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of an encoder (``EncoderIdentity.to_json``), for ``columns``."""
    rows = []
    for name, value in identity.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{library} {version}" for library, version in value.items())
        elif isinstance(value, list | tuple):
            value = " → ".join(value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif name in ("query_prompt", "document_prompt"):
            value = repr(value)
        elif name == "max_length" and not value:
            value = "no limit"
        rows.append((name.replace("_", " "), str(value)))
    return rows


_KINDS = {
    "catalog.sqlite": "texts and catalog",
    "vectors.npy": "float vectors",
    "passages.npy": "places of passages",
    "positions.npy": "places of documents",
    "links.npy": "graph",
    "sketches.npy": "graph",
    "center.npy": "graph",
    "graph.usearch": "graph",
}


def size_rows(sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """What takes room on disk, for ``columns``: the whole, and its parts by what they are for.

    Args:
        sizes: bytes by file name (``indexing.index_sizes``).
    """
    kinds: dict[str, int] = {}
    for name, size in sizes.items():
        kind = _KINDS.get(name, "codes")
        kinds[kind] = kinds.get(kind, 0) + size
    parts = [f"{kind} {human_bytes(size)}" for kind, size in kinds.items()]
    return [("on disk", f"{human_bytes(sum(sizes.values()))}: {', '.join(parts)}")]


def seconds_row(seconds: Mapping[str, float]) -> tuple[str, str]:
    """How long something took, the whole and by phase, for ``columns``."""
    phases = [f"{phase} {taken:.1f}" for phase, taken in seconds.items()]
    return "seconds", f"{sum(seconds.values()):.1f}: {', '.join(phases)}"


def print_data(text: str, *, bold: bool = False) -> None:
    """Write a line of data to standard output."""
    shown = printable(text)
    _echo(click.style(shown, bold=True) if bold else shown)


def print_text(text: str) -> None:
    """Write lines of our own to standard output."""
    _echo(text)


def print_json(value: Any, indent: int | None = None) -> None:
    """Write a JSON value to standard output, on one line but where it is indented."""
    _echo(json.dumps(value, ensure_ascii=False, indent=indent).translate(_JSON_ESCAPES))


def _echo(text: str = "", *, error: bool = False) -> None:
    stream = sys.stderr if error else sys.stdout
    if stream is None:
        if error:
            return  # nobody is listening
        raise OutputError("standard output is closed; redirect it to a file, or to /dev/null")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    # click leaves colours out where it does not write to a terminal; NO_COLOR is for us to see to.
    try:
        click.echo(text, err=error, color=False if os.environ.get("NO_COLOR") else None)
    except BrokenPipeError:
        if error:
            raise
        # The reader of the pipe has enough (head, less): nothing is wrong, and nothing more to do.
        _discard_output()
        raise SystemExit(0) from None
    except OSError as failure:
        if error:
            return  # there is no other place to tell it
        _discard_output()
        raise OutputError(f"standard output cannot be written ({failure.strerror})") from failure


def _discard_output() -> None:
    """What is still in buffers goes nowhere, and not into a second error when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; ``None``: it is none, or its width is not known."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns or None


def human_bytes(size: int) -> str:
    """A size as people read it.

    >>> human_bytes(999), human_bytes(123_456_789)
    ('999 B', '123.5 MB')
    """
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
