"""What ``qsearch eval`` writes: tables, JSON, the queries that lose most, runs."""

from __future__ import annotations

import gzip
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qsearch.cli.excerpts import excerpt
from qsearch.cli.files import check_file, written
from qsearch.cli.output import (
    Console,
    OutputError,
    print_json,
    print_text,
    printable,
    terminal_width,
)
from qsearch.cli.target import find_index
from qsearch.store.format import CATALOG

if TYPE_CHECKING:
    from qsearch.evaluation import Comparison, Evaluation, Tuned, Way
    from qsearch.evaluation.comparing import Lost
    from qsearch.index import Index

__all__ = [
    "check_run_ids",
    "check_targets",
    "run_files",
    "show",
    "write_picture",
    "write_run",
]

_CHARACTERS = 200
"""Of a text that is shown beside others."""

_BEIR = ("queries*", "corpus*", "qrels*")
"""What a folder in BEIR's form holds."""

_RELEVANT = 5
"""So many relevant documents of a query are shown."""


def check_targets(targets: Iterable[tuple[str, Path]], read: Iterable[Path | None]) -> None:
    """Look at files that are to be written before anything is measured.

    Args:
        targets: these, each with the option that named it.
        read: files, indexes, and folders in BEIR's form that are read, ``None`` among them.

    Raises:
        OutputError: one cannot be a file, is written twice, or would take the place of something that is
            read.
    """
    sources: list[Path] = []
    for one in read:
        if one is None:
            continue
        file, npz, _ = str(one).partition(".npz:")  # an array of an archive
        place = Path(file + ".npz") if npz else find_index(one)
        if place.is_dir() and not (place / CATALOG).is_file():
            # A report may well lie in the folder of its queries, but not in the place of these.
            sources += [part for name in _BEIR for part in place.glob(name)]
        else:
            sources.append(place)
    taken: set[str] = set()
    resolved = {os.path.realpath(source): source for source in sources}
    for option, target in targets:
        check_file(target)
        name = os.path.realpath(target)
        for around in (name, *map(str, Path(name).parents)):
            if around in resolved:
                raise OutputError(
                    f"{target} would take the place of what is read ({resolved[around]}); name another "
                    f"file with {option}"
                )
        if name in taken:
            raise OutputError(f"{target} would be written twice; name another file with {option}")
        taken.add(name)


def check_run_ids(queries: Iterable[str]) -> None:
    """Look at ids of queries before anything is measured.

    Raises:
        QueryError: one cannot stand in a run.
    """
    from qsearch.documents import run_line

    for name in queries:
        run_line(name, "document", 1, 0.0, "qsearch")


def run_files(path: Path, ways: Sequence[Way]) -> dict[str, Path]:
    """By way, the file that its run goes to: of several, each has its name in it."""
    if len(ways) == 1:
        return {ways[0].name: path}
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    found = {}
    for way in ways:
        whole = plain.with_stem(f"{plain.stem}.{_file_name(way.name)}")
        found[way.name] = whole if plain == path else Path(f"{whole}.gz")
    return found


def _file_name(way: str) -> str:
    return way.replace(":", "-")


def write_run(found: Evaluation, way: str, target: Path) -> str:
    """Write what a way found as a TREC run; returns what to say about it.

    Raises:
        QueryError: an id cannot stand in a run.
        OutputError: the file cannot be written.
    """
    from qsearch.documents import run_line

    lines = [
        run_line(query, document, rank, score, f"qsearch-{_file_name(way)}")
        for query, documents in found.run(way).items()
        for rank, (document, score) in enumerate(documents.items(), 1)
    ]
    content = "".join(f"{line}\n" for line in lines).encode()
    with written(target) as file:
        file.write(gzip.compress(content) if target.suffix == ".gz" else content)
    tied = sum(len(set(of.values())) < len(of) for of in found.run(way).values())
    told = (
        f"; of {tied:,} of {len(found.queries):,} queries documents have the same score, of which "
        "trec_eval takes the higher id first, not the better rank"
    )
    return f"wrote {target}: {len(lines):,} lines{told * (tied > 0)}"


def write_picture(found: Evaluation, target: Path) -> str:
    """Draw it; returns what to say about it.

    Raises:
        OptionError: there is nothing to draw.
        OutputError: the file cannot be written.
    """
    from qsearch.evaluation.plotting import picture

    content = picture(found.plot(), target.suffix.lower())
    with written(target) as file:
        file.write(content)
    return f"wrote {target}"


def show(
    console: Console,
    index: Index,
    found: Evaluation,
    compared: Comparison | None,
    tuned: Tuned | None,
    format: str,
    told_apart: Sequence[str],
) -> None:
    """Write what was measured to standard output, and notes, but those told apart, to standard error."""
    from qsearch.evaluation.tables import markdown_of

    if format == "json":
        told = found.to_dict()
        told |= {} if compared is None else {"comparison": compared.to_dict()}
        told |= {} if tuned is None else {"tuned": tuned.to_dict()}
        print_json(told)
        return
    tables = found.tables() if compared is None else [*found.tables(), *compared.tables()]
    of_weights = None if tuned is None else tuned.table()
    tables += [] if of_weights is None else [of_weights]
    notes = [*found.about(), *found.notes, *(() if compared is None else compared.notes)]
    if tuned is not None and (tuned.measured or tuned.weight != tuned.before):
        notes.append(
            "what it is tuned with it is measured with: other queries may fare a little worse"
        )
    lost = {} if compared is None else compared.losses
    losses = [_losses(index, found.depths[-1], *one) for one in lost.items()]
    if format == "md":  # which is kept, so that all that was noted stands in it
        text = markdown_of(tables, notes, [_fenced(one) for one in losses])
    else:
        width = terminal_width()
        text = "\n\n".join([*(table.text(width) for table in tables), *losses])
    if text:
        print_text(printable(text, lines=True))
    for note in notes if format == "text" else ():
        if note not in told_apart:
            console.note(note)


def _fenced(text: str) -> str:
    """Lines that Markdown leaves as they are, whatever is in them."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _losses(index: Index, depth: int, way: str, told: tuple[str, tuple[Lost, ...]]) -> str:
    """The queries that lose most, with what is first here and there."""
    measure, lost = told
    by = f"documents {measure}" if measure.startswith("in common") else measure
    lines = [f"{way}: queries that lose most by {by}" if lost else f"{way}: no query loses"]
    for one in lost:
        there = "in common" if math.isnan(one.theirs) else f"here, {one.theirs:.4f} there"
        lines.append(f"  {one.query}: {one.ours:.4f} {there}")
        if one.text is not None:
            lines.append(f"    {excerpt(one.text, '', _CHARACTERS)}")
        relevant = {name for name, _, _ in one.relevant}
        for where, ids in (("here", one.our_best), ("there", one.their_best)):
            for rank, name in enumerate(ids, 1):
                mark = "+" if name in relevant else " "
                lines.append(
                    f"    {where:<5} {rank}. {mark} {name}{_content(index, name, one.text)}"
                )
        for name, ours, theirs in one.relevant[:_RELEVANT]:
            here, there = (str(one or f"not in the first {depth:,}") for one in (ours, theirs))
            ranks = f"here {here}, there {there}"
            lines.append(f"    relevant: {name} ({ranks}){_content(index, name, one.text)}")
        if len(one.relevant) > _RELEVANT:
            lines.append(f"    and {len(one.relevant) - _RELEVANT:,} more that are relevant (+)")
    return "\n".join(lines)


def _content(index: Index, name: str, query: str | None) -> str:
    if name not in index:
        return " (not in this index)"
    return f": {excerpt(index.get(name).content, query or '', _CHARACTERS)}"
