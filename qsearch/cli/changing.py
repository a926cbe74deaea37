"""What the commands that change an index have in common: options, and the table of what was done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from qsearch.cli.input_options import INPUT, InputOptions, fields_of, input_options, numbered
from qsearch.cli.output import seconds_row
from qsearch.cli.progress import progress_on
from qsearch.cli.target import (
    backend_option,
    device_option,
    index_option,
    model_option,
    wait_option,
)

if TYPE_CHECKING:
    from qsearch.cli.output import Console
    from qsearch.index import Index
    from qsearch.indexing import ChangeReport

__all__ = [
    "GROUPS",
    "ChangeArguments",
    "change_options",
    "commit_row",
    "library_options",
    "rows_of",
]

GROUPS = {
    "Input": INPUT,
    "Encoder": ("model", "device", "backend"),
    "Index": ("index", "wait"),
}
"""Of the options in the help of a command that takes records into an index."""


_LABELS = {"metadata": "metadata only"}


class ChangeArguments(InputOptions):
    """What such a command is given beside its own arguments."""

    index: Path | None
    model: str | None
    device: str
    backend: str
    wait: float


class LibraryOptions(TypedDict, total=False):
    """The same as the library has it: ``options.ChangeOptions``."""

    embeddings: Any
    input_format: str | None
    delimiter: str | None
    encoding: str | None
    fields: Any
    skip_invalid: bool
    rejects: Any
    wait: float
    progress: Any


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option that says what is taken into which index."""
    vectors = (
        "Embeddings of the records: a file (.npy, .npz, .fvecs, .bvecs) with a row for each record of "
        "CORPUS, made as those that the index has; vectors.npz:name is one of several arrays."
    )
    options = (
        index_option,
        input_options(vectors),
        model_option,
        device_option,
        backend_option,
        wait_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def library_options(console: Console, given: ChangeArguments) -> LibraryOptions:
    """What the library is asked, in its own words."""
    return {
        "embeddings": given["vectors"],
        "input_format": given["input_format"],
        "delimiter": given["delimiter"],
        "encoding": given["encoding"],
        "fields": fields_of(given),
        "skip_invalid": given["skip_invalid"],
        "rejects": given["rejects"],
        "wait": given["wait"],
        "progress": progress_on(console),
    }


def rows_of(
    report: ChangeReport, counted: tuple[str, ...], index: Index, before: int | None = None
) -> list[tuple[str, str]]:
    """What a change did, or would do, for ``columns``.

    Args:
        report: of the change.
        counted: what kinds of documents it can have met: fields of the report.
        index: that was changed.
        before: documents that it held, where nothing was done and the report says what would be.
    """
    rows = [("index", str(report.path))]
    if before is not None:
        rows.append(("dry run", "nothing was changed; this is what would be"))
    if report.resumed:
        rows.append(("resumed", f"{report.resumed:,} records were done before the interruption"))
    for name in counted:
        rows.append((_LABELS.get(name, name), f"{getattr(report, name):,}"))
    if report.numbered_by is not None and "added" in counted:
        first = "behind those of the documents that were there"
        rows.append(("ids", numbered(report.numbered_by, report.id_like, first)))
    if "added" in counted:
        rows.append(("rejected", _with_place(report)))
    if "added" in counted and before is None:
        if report.passages:
            rows.append(("passages", f"{report.passages:,} of new documents"))
        rows.append(("truncated", _truncated(report, index)))
    if before is None:
        rows.append(("documents", f"{report.documents:,} now"))
        changed = report.added or report.replaced or report.metadata or report.deleted
        # What an interrupted run has done is not counted again.
        rows.append(commit_row(report.commit, changed=bool(changed or report.resumed)))
    else:
        after = before + report.added - report.deleted
        rows.append(("documents", f"{before:,} now, would be {after:,}"))
    if report.seconds:
        rows.append(seconds_row(report.seconds))
    return rows


def commit_row(commit: int, *, changed: bool) -> tuple[str, str]:
    """Which commit the index is at now, for ``columns``."""
    return "commit", str(commit) if changed else f"{commit}, as before: nothing was to be done"


def _with_place(report: ChangeReport) -> str:
    place = "" if report.rejects is None else f" (see {report.rejects})"
    return f"{report.rejected:,}{place}"


def _truncated(report: ChangeReport, index: Index) -> str:
    told = f"{report.truncated:,}"
    identity = index.encoder_identity
    if report.truncated and report.passages:
        told += " have a title, or a character, too long for a passage; its end is not encoded"
    elif report.truncated and identity is not None:
        told += f" are longer than {identity.max_length} tokens; what lies behind is not encoded"
    return told
