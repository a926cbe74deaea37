"""Tables of an evaluation, for terminals, Markdown and notebooks."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsearch.evaluation.intervals import Interval, Quantity, mean_of

if TYPE_CHECKING:
    from qsearch.evaluation.answers import Answers
    from qsearch.evaluation.measured import Measured, WayResult

__all__ = [
    "Table",
    "as_markdown",
    "asked_of",
    "counted",
    "markdown_of",
    "shown_difference",
    "shown_quantity",
    "tables_of",
]

NOTHING = "–"

_MARGIN, _GAP = "  ", "   "


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts. What tells what a row is of is aligned left, the rest right.

    Attributes:
        title: above it.
        header: names of the columns.
        rows: cells.
        keys: so many of the first columns tell what a row is of.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: int = 1

    def text(self, width: int | None = None) -> str:
        """For a terminal.

        Args:
            width: of it, in characters; ``None``: of any. Columns that do not fit stand below the others,
                with what the rows are of again.

        Examples:
            >>> table = Table("times", ("way", "mean", "median"), (("exact", "1.25", "1.20"),))
            >>> print(table.text(width=20))
            times
              way     mean
              exact   1.25
            <BLANKLINE>
              way     median
              exact     1.20
        """
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        parts: list[list[int]] = [[]]
        keys = sum(widths[: self.keys]) + (self.keys - 1) * len(_GAP)
        room = math.inf if width is None else width - len(_MARGIN) - keys
        left = room
        for column in range(self.keys, len(self.header)):
            needed = len(_GAP) + widths[column]
            if needed > left and parts[-1]:
                parts.append([])
                left = room
            left -= needed
            parts[-1].append(column)
        told = [
            "\n".join(
                _MARGIN
                + _GAP.join(
                    [
                        *(f"{line[one]:<{widths[one]}}" for one in range(self.keys)),
                        *(f"{line[one]:>{widths[one]}}" for one in columns),
                    ]
                ).rstrip()
                for line in lines
            )
            for columns in parts
        ]
        return self.title + "\n" + "\n\n".join(told)

    def markdown(self) -> str:
        """For Markdown."""
        marks = (*["---"] * self.keys, *["---:"] * (len(self.header) - self.keys))
        lines = [
            "| " + " | ".join(map(as_markdown, line)) + " |"
            for line in (self.header, marks, *self.rows)
        ]
        return "\n".join([f"**{as_markdown(self.title)}**", "", *lines])

    def html(self) -> str:
        """For a notebook."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return (
            f"<table><caption>{html.escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def as_markdown(text: str) -> str:
    r"""A text that Markdown shows as it is, on one line: names of files and ids are other people's.

    Examples:
        >>> as_markdown("<b> & [a_b](c)")
        '&lt;b&gt; &amp; \\[a\\_b](c)'
    """
    return re.sub(r"[\\`*_\[|~]", r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def markdown_of(tables: Sequence[Table], notes: Sequence[str], behind: Sequence[str] = ()) -> str:
    """Tables, then what else is Markdown already, then notes as a list."""
    listed = "\n".join(f"- {as_markdown(note)}" for note in notes)
    parts = [*(table.markdown() for table in tables), *behind, listed]
    return "\n\n".join(part for part in parts if part)


def shown_quantity(value: Quantity) -> str:
    """A mean with its interval.

    Examples:
        >>> shown_quantity(Quantity(0.98765, Interval(0.97, 0.9999), 100))
        '0.9877 [0.9700, 0.9999]'
    """
    if math.isnan(value.mean):
        return NOTHING
    return f"{value.mean:.4f}" + _shown_interval(value.interval, "")


def shown_difference(mean: float, interval: Interval | None) -> str:
    """A difference with its interval."""
    return NOTHING if math.isnan(mean) else f"{mean:+z.4f}" + _shown_interval(interval, "+")


def _shown_interval(interval: Interval | None, sign: str) -> str:
    if interval is None:
        return ""
    return f" [{interval.low:{sign}z.4f}, {interval.high:{sign}z.4f}]"


def tables_of(evaluation: Measured) -> list[Table]:
    """Recall, kinds of queries, judgments, cost: those that there is something to say in."""
    if not evaluation.ways:
        return []
    of_words = [one for one in evaluation.ways if one.way.words]
    by_meaning = [one for one in evaluation.ways if not one.way.words]
    found = [_recall(evaluation, by_meaning)] if by_meaning else []
    if of_words and (evaluation.exact is not None or not by_meaning):
        found.append(_shared(evaluation, of_words))
    if evaluation.groups:
        found.append(_groups(evaluation))
    if any(one.measures for one in evaluation.ways):
        found.append(_judged(evaluation))
    if any(one.times.singles for one in evaluation.ways):
        found.append(_cost(evaluation))
    return found


def _recall(evaluation: Measured, ways: Sequence[WayResult]) -> Table:
    own = evaluation.own
    rows = []
    for one in ways:
        cells = [shown_quantity(evaluation.recall(one.name, k)) for k in evaluation.depths]
        rows.append((one.name, *cells, _proven(one.answers[evaluation.depths[0]], own)))
        batch = evaluation.batch_recall(one.name)
        if batch is not None and one.batched is not None:
            others = [NOTHING] * (len(evaluation.depths) - 1)
            proven = _proven(one.batched, own)
            rows.append((f"{one.name}, in batches", shown_quantity(batch), *others, proven))
    names = [f"recall@{k}" for k in evaluation.depths]
    title = f"Against exact search: {asked_of(evaluation)}"
    return Table(title, ("way", *names, "proven"), tuple(rows))


def _proven(answers: Answers, own: NDArray[np.bool_]) -> str:
    """The share of these queries whose answers are proven."""
    return f"{answers.certified[own].mean():.1%}" if own.any() else NOTHING


def _shared(evaluation: Measured, ways: Sequence[WayResult]) -> Table:
    """What ways by words have in common with exact search: no loss, they look for something else."""
    rows = tuple(
        (
            one.name,
            *(shown_quantity(evaluation.recall(one.name, k)) for k in evaluation.depths),
        )
        for one in ways
    )
    names = [f"of the first {k}" for k in evaluation.depths]
    title = f"By words, the share in common with exact search by meaning: {asked_of(evaluation)}"
    return Table(title, ("way", *names), rows)


def counted(number: int, thing: str) -> str:
    """So many of a thing.

    Examples:
        >>> counted(1, "document"), counted(2000, "document")
        ('1 document', '2,000 documents')
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def asked_of(evaluation: Measured) -> str:
    """How many queries of what, and the filter."""
    where = "" if evaluation.where is None else f", where {evaluation.where}"
    count, source = int(evaluation.own.sum()), evaluation.source
    if count == 1 and source.startswith("queries"):
        source = "query" + source.removeprefix("queries")
    return f"{count:,} {source}{where}"


def _groups(evaluation: Measured) -> Table:
    k = evaluation.depths[0]
    rows = [
        (
            group.name,
            *(
                shown_quantity(replace(mean_of(one.recall[k][group.members]), interval=None))
                for one in evaluation.ways
            ),
        )
        for group in evaluation.groups
    ]
    header = ("kind", *(one.name for one in evaluation.ways))
    return Table(f"recall@{k} by kind of query", header, tuple(rows))


def _judged(evaluation: Measured) -> Table:
    names = next(list(one.measures) for one in evaluation.ways if one.measures)
    rows = []
    for one in evaluation.ways:
        cells = [shown_quantity(mean_of(one.measures[name])) for name in names]
        missing = mean_of(one.unjudged)
        rows.append(
            (one.name, *cells, NOTHING if math.isnan(missing.mean) else f"{missing.mean:.1%}")
        )
    count = max(
        int((~np.isnan(one.measures[name])).sum()) for one in evaluation.ways for name in names
    )
    header = ("way", *names, f"unjudged@{evaluation.depths[0]}")
    return Table(
        f"Against judgments: {count:,} {'query' if count == 1 else 'queries'} with relevant documents",
        header,
        tuple(rows),
    )


def _cost(evaluation: Measured) -> Table:
    own = evaluation.own
    rows = []
    for one in evaluation.ways:
        first = one.answers[evaluation.depths[0]]
        times = one.times.percentiles() or {}
        shown = [
            _milliseconds(times[name]) if name in times else NOTHING
            for name in ("p50", "p95", "p99")
        ]
        mean, batch = (
            NOTHING if value is None else _milliseconds(value)
            for value in (one.times.mean, one.times.batch)
        )
        looked = first.rows[own].mean() if own.any() else 0.0
        size = first.bytes[own].mean() if own.any() else 0.0
        rows.append(
            (
                one.name,
                mean,
                *shown,
                batch,
                f"{looked:,.0f}" if looked else NOTHING,
                f"{size / 1e6:,.2f}" if size else NOTHING,
            )
        )
    batches = max(one.times.batch_queries for one in evaluation.ways)
    header = (
        "way",
        "mean",
        "p50",
        "p95",
        "p99",
        f"in batches of {batches}",
        "rows scored",
        "MB read",
    )
    title = (
        f"Milliseconds a query at k = {evaluation.depths[0]}, the encoder apart; rows and bytes of all "
        "stages"
    )
    return Table(title, header, tuple(rows))


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
