"""The only place that prints: data to standard output, everything else to standard error."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tqdm import tqdm

    from qsearch.results import Explanation, SearchResult

__all__ = ["Console", "TerminalProgress", "human_bytes", "write_results"]


class Console:
    """Standard error: notes, reports and errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Say nothing but errors if ``quiet``."""
        self.quiet = quiet

    def note(self, message: str = "") -> None:
        """Tell something that is not data."""
        if not self.quiet:
            _echo(message, error=True)

    def error(self, message: str) -> None:
        """Tell what went wrong."""
        _echo(click.style("error:", fg="red", bold=True) + f" {message}", error=True)

    def table(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print labelled values in two columns."""
        for line in columns(rows):
            self.note(line)


class ConsoleHandler(logging.Handler):
    """What the library logs, as notes: warnings, and what goes on to those who watch."""

    def __init__(self, console: Console) -> None:
        """Pass records on to ``console``."""
        super().__init__(logging.INFO if sys.stderr.isatty() else logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self._console.note(record.getMessage())


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


def print_data(text: str) -> None:
    """Write a line of data to standard output."""
    _echo(text)


def _echo(text: str = "", *, error: bool = False) -> None:
    # click leaves colours out where it does not write to a terminal; NO_COLOR is for us to see to.
    try:
        click.echo(text, err=error, color=False if os.environ.get("NO_COLOR") else None)
    except BrokenPipeError:
        if error:
            raise
        # The reader of the pipe has enough (head, less): nothing is wrong, and nothing more to do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


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


_LABELS = {"read": "reading", "load model": "loading", "encode": "encoding", "store": "storing"}


class TerminalProgress:
    """Progress bars on standard error, on a terminal only."""

    def __init__(self, console: Console) -> None:
        """Show nothing if ``console`` is quiet or standard error is no terminal."""
        self._shown = not console.quiet and sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None

    def begin(self, phase: str, total: int | None, unit: str) -> None:
        """Show a bar; none for phases that are not counted."""
        if not self._shown or not unit:
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            desc=_LABELS.get(phase, phase),
            unit=f" {unit}",
            unit_scale=False,
            dynamic_ncols=True,
            smoothing=0.1,
            leave=False,
            file=sys.stderr,
        )

    def advance(self, count: int, *, resumed: bool = False) -> None:
        """Move the bar; what an earlier run did does not count into the rate."""
        if self._bar is None:
            return
        if resumed:
            self._bar.initial += count
            self._bar.n += count
            self._bar.refresh()
        else:
            self._bar.update(count)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def write_results(
    console: Console,
    format: str,
    queries: Sequence[tuple[str, str]],
    results: Sequence[SearchResult],
    *,
    heading: bool,
) -> None:
    """Print hits.

    Args:
        console: for explanations, where they are no data.
        format: ``text``, ``jsonl`` or ``trec``.
        queries: (query id, text).
        results: one per query.
        heading: whether the text format says which query the hits belong to.
    """
    for (name, query), result in zip(queries, results, strict=True):
        if format == "text":
            _write_text(query if heading else None, result)
        else:
            for line in _records(format, name, query, result):
                print_data(line)
        if format != "jsonl" and result.explanation is not None:
            _explain(console, result.explanation, result)


def _write_text(query: str | None, result: SearchResult) -> None:
    if query is not None:
        print_data(click.style(f"# {' '.join(query.split())}", bold=True))
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    width = max((len(hit.id) for hit in result), default=0)
    for hit in result:
        start = f"{hit.rank:>3}  {hit.score:.4f}  "
        shown = hit.text if hit.passage is None else hit.passage.text
        rest = " ".join((f"{hit.title}: {shown}" if hit.title else shown).split())
        line = f"{hit.id:<{width}}  {rest}"
        if room is not None and len(start) + len(line) > room:
            line = line[: max(0, room - len(start) - 1)] + "…"
        print_data((start + line).rstrip())
    if query is not None:
        print_data("")


def _records(format: str, name: str, query: str, result: SearchResult) -> list[str]:
    lines = []
    for hit in result:
        if format == "trec":
            for value in (name, hit.id):
                if not value or value.split() != [value]:
                    raise click.ClickException(
                        f"the id {value!r} holds white space, which a TREC run cannot; "
                        "use --format jsonl"
                    )
            lines.append(f"{name} Q0 {hit.id} {hit.rank} {hit.score:.9g} qsearch")
        else:
            record: dict[str, Any] = {
                "query_id": name,
                "query": query,
                "rank": hit.rank,
                "score": float(f"{hit.score:.9g}"),
                "id": hit.id,
            }
            if hit.title is not None:
                record["title"] = hit.title
            if hit.passage is None:
                record["text"] = hit.text
            else:  # the whole text may be a book
                record["passage"] = {
                    "begin": hit.passage.begin,
                    "end": hit.passage.end,
                    "text": hit.passage.text,
                }
            if hit.metadata:
                record["metadata"] = dict(hit.metadata)
            record["certified"] = result.certified
            if result.explanation is not None:
                record["ranks"] = dict(result.explanation.ranks[hit.rank - 1])
                if hit.rank == 1:
                    record["explanation"] = _explanation_record(result.explanation, result.method)
            lines.append(json.dumps(record, ensure_ascii=False))
    return lines


def _explanation_record(explanation: Explanation, method: str) -> dict[str, Any]:
    return {
        "method": method,
        "reason": explanation.reason,
        "recall": explanation.recall,
        "stages": [
            {
                "name": stage.name,
                "rows": stage.rows,
                "bytes": stage.bytes,
                "milliseconds": stage.milliseconds,
            }
            for stage in explanation.stages
        ],
    }


def _explain(console: Console, explanation: Explanation, result: SearchResult) -> None:
    certified = "proven exact" if result.certified else f"recall {explanation.recall:.4f} expected"
    if not result.certified and not explanation.recall:
        certified = "recall not known"
    console.note(f"{result.method}: {certified} ({explanation.reason})")
    for stage in explanation.stages:
        time = "" if stage.milliseconds is None else f"{stage.milliseconds:.3f} ms"
        looked = f"{stage.rows:>12,} rows  {human_bytes(stage.bytes):>9}" if stage.rows else ""
        console.note(f"  {stage.name:<16}{looked:<28}{time:>12}".rstrip())
    for hit, ranks in zip(result, explanation.ranks, strict=True):
        by_code = ", ".join(f"{rank:,} by {name} codes" for name, rank in ranks.items())
        console.note(f"  hit {hit.rank}: {by_code}")
