"""What ``qsearch eval`` writes: tables, JSON, the queries that lose most, runs."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qsearch.cli.excerpts import excerpt
from qsearch.cli.files import written
from qsearch.cli.output import Console, OutputError, human_bytes, print_json, print_text, printable
from qsearch.store.format import CATALOG

if TYPE_CHECKING:
    from qsearch.evaluation import Comparison, Evaluation, Tuned
    from qsearch.evaluation.comparing import Lost
    from qsearch.index import Index

__all__ = ["check_run_ids", "check_target", "show", "write_runs"]

_CHARACTERS = 200
"""Of a text that is shown beside others."""

_BEIR = ("queries*", "corpus*", "qrels*")
"""What a folder in BEIR's form holds."""

_RELEVANT = 5
"""So many relevant documents of a query are shown."""


def check_target(target: Path, option: str, read: Iterable[Path | None]) -> None:
    """Look at a file that is to be written before anything is measured.

    Args:
        target: this.
        option: that named it.
        read: files, indexes, and folders in BEIR's form that are read, ``None`` among them.

    Raises:
        OutputError: there is no such folder, or it would take the place of something that is read.
    """
    if not target.parent.is_dir():
        raise OutputError(f"{target} cannot be written (there is no folder {target.parent})")
    place = target.resolve()
    for one in read:
        if one is None or not one.exists():
            continue
        sources = [one]
        if one.is_dir() and not (one / CATALOG).is_file():
            # A report may well lie in the folder of its queries, but not in the place of these.
            sources = [part for name in _BEIR for part in one.glob(name)]
        for source in sources:
            if source.resolve() in (place, *place.parents):
                raise OutputError(
                    f"{target} would take the place of what is read ({source}); name another file with "
                    f"{option}"
                )


def check_run_ids(queries: Iterable[str]) -> None:
    """Look at ids of queries before anything is measured.

    Raises:
        QueryError: one cannot stand in a run.
    """
    from qsearch.documents import run_line

    for name in queries:
        run_line(name, "document", 1, 0.0, "qsearch")


def write_runs(console: Console, found: Evaluation, path: Path) -> None:
    """Write what was found as a TREC run; of several ways, each to a file of its own.

    Raises:
        QueryError: an id cannot stand in a run.
        OutputError: a file cannot be written.
    """
    from qsearch.documents import run_line

    for one in found.ways:
        name = one.name.replace(":", "-")
        target = path
        if len(found.ways) > 1:
            plain = path.with_suffix("") if path.suffix == ".gz" else path
            whole = plain.with_stem(f"{plain.stem}.{name}")
            target = whole if plain == path else Path(f"{whole}.gz")
        lines = [
            run_line(query, document, rank, score, f"qsearch-{name}")
            for query, documents in found.run(one.name).items()
            for rank, (document, score) in enumerate(documents.items(), 1)
        ]
        content = "".join(f"{line}\n" for line in lines).encode()
        with written(target) as file:
            file.write(gzip.compress(content) if target.suffix == ".gz" else content)
        console.note(f"wrote {target}: {len(lines):,} lines")


def show(
    console: Console,
    index: Index,
    found: Evaluation,
    compared: Comparison | None,
    tuned: Tuned | None,
    format: str,
) -> None:
    """Write what was measured to standard output, and notes to standard error."""
    if format == "json":
        told = found.to_dict()
        told |= {} if compared is None else {"comparison": compared.to_dict()}
        told |= {} if tuned is None else {"tuned": tuned.to_dict()}
        print_json(told)
        return
    tables = found.tables() if compared is None else [*found.tables(), *compared.tables()]
    of_weights = None if tuned is None else tuned.table()
    tables += [] if of_weights is None else [of_weights]
    if format == "md":
        parts = [table.markdown() for table in tables]
        parts += ["\n".join(f"- {note}" for note in found.notes)] if found.notes else []
    else:
        parts = [table.text() for table in tables]
    if compared is not None:
        parts += [_losses(index, *one) for one in compared.losses.items()]
    if parts:
        print_text(printable("\n\n".join(parts), lines=True))
    if found.encoding is not None and (times := found.encoding.percentiles()):
        console.note(f"the encoder takes {times['p50']:.1f} ms for a query (median)")
    memory = found.machine["memory"]
    if memory:
        console.note(
            f"memory: {human_bytes(memory['own'])}, and {human_bytes(memory['mapped'])} of mapped files; "
            f"the index takes {human_bytes(found.index['bytes'])} on disk"
        )
    machine = found.machine
    console.note(
        f"{machine['processor']}, {machine['processors']} processors, kernels {machine['kernels']}"
    )
    notes = [*(found.notes if format == "text" else ())]
    notes += [] if compared is None else compared.notes
    if tuned is not None:
        notes += tuned.notes()
        notes.append(
            "what it is tuned with it is measured with: other queries may fare a little worse"
        )
    for note in notes:
        console.note(note)


def _losses(index: Index, way: str, told: tuple[str, tuple[Lost, ...]]) -> str:
    """The queries that lose most, with what is first here and there."""
    measure, lost = told
    lines = [f"{way}: queries that lose most by {measure}" if lost else f"{way}: no query loses"]
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
            ranks = f"here {ours or 'not found'}, there {theirs or 'not found'}"
            lines.append(f"    relevant: {name} ({ranks}){_content(index, name, one.text)}")
        if len(one.relevant) > _RELEVANT:
            lines.append(f"    and {len(one.relevant) - _RELEVANT:,} more that are relevant (+)")
    return "\n".join(lines)


def _content(index: Index, name: str, query: str | None) -> str:
    if name not in index:
        return " (not in this index)"
    return f": {excerpt(index.get(name).content, query or '', _CHARACTERS)}"
