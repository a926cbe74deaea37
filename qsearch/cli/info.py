"""``qsearch info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qsearch.cli.help import Command
from qsearch.cli.output import columns, encoder_rows, print_data, print_json, size_rows
from qsearch.cli.target import index_argument, index_option, named_index

if TYPE_CHECKING:
    from qsearch.retrieval import Tuning

__all__ = ["info"]

_NOT_KNOWN = "not known (damaged)"
"""Stands for what was left out when the index was opened, because no search needs it."""

_SHOWN_FIELDS = 30
_SHOWN_DEPTHS = (10, 100)
_SHOWN_RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
"""For people; the whole curves are in the JSON form."""


@click.command(cls=Command)
@index_argument
@index_option
@click.option(
    "--format",
    "format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text for people, json for programs.",
)
def info(path: Path | None, index: Path | None, format: str) -> None:
    """Show what an index holds: documents, sizes on disk, and the encoder it is tied to."""
    from qsearch.index import Index
    from qsearch.indexing import index_sizes
    from qsearch.kernels import kernel_path, thread_count

    path = named_index(path, index)
    with Index.open(path) as opened:
        settings = opened.settings
        identity = opened.encoder_identity
        tuning = opened.tuning
        facts: dict[str, Any] = {
            "index": str(path),
            "format": opened.format,
            "created": settings.get("created"),
            "qsearch": settings.get("qsearch"),
            "corpus": settings.get("corpus"),
            "commit": opened.commit,
            "changed": settings.get("changed"),
            "documents": len(opened),
            "rejected": settings.get("rejected"),
            "truncated": settings.get("truncated"),
            "rows": opened.rows,
            "segments": opened.segments,
            "dead_rows": opened.dead_rows,
            "past": opened.past,
            "unfinished": _unfinished(opened.unfinished),
            "passages": settings.get("passages"),
            "text_index": opened.text_index,
            "hybrid": settings.get("hybrid"),
            "dimensions": opened.dimensions,
            "graph": opened.has_graph,
            "fields": [
                {
                    "name": one.name,
                    "documents": one.documents,
                    "kinds": dict(one.kinds),
                    "indexed": one.indexed,
                }
                for one in opened.fields
            ],
            "bytes": index_sizes(path),
            "encoder": None if identity is None else identity.to_json(),
            "kernels": kernel_path(),
            "threads": thread_count(),
            "measured": opened.measured,
            "tuning": None if tuning is None else tuning.to_json(),
        }
    if format == "json":
        print_json(facts, indent=2)
        return
    for line in columns(_rows(facts, tuning)):
        print_data(line)


def _unfinished(change: tuple[str, int] | None) -> dict[str, str | int] | None:
    """As the JSON form has it."""
    return None if change is None else {"change": change[0], "records": change[1]}


def _change_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What became of the index since it was built."""
    changed = facts["changed"]
    commit = f"{facts['commit']:,}, " + ("as it was built" if changed is None else f"of {changed}")
    rows = [("commit", commit), ("segments", f"{facts['segments']:,}")]
    room = "; compact gives back their room"
    if facts["dead_rows"]:
        rows.append(("dead rows", f"{facts['dead_rows']:,}{room}"))
    if facts["past"]:
        rows.append(("past", f"{facts['past']:,} documents and metadata of earlier commits{room}"))
    if facts["unfinished"] is not None:
        change, records = facts["unfinished"]["change"], facts["unfinished"]["records"]
        change = {"upsert": "add --upsert"}.get(change, change)
        told = f"{change}, under way or interrupted: {records:,} records are kept; the same command goes on"
        rows.append(("unfinished", f"{told}, another change (also compact) throws them away"))
    return rows


def _measured_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What recall was measured on, and what of the index that was not."""
    measured = facts["measured"]
    if measured is None:
        return []
    told = f"commit {measured.get('commit')}, {measured.get('rows'):,} rows"
    if measured["later"] >= facts["rows"]:
        told += "; too much has changed since: every search is exact"
    elif measured["later"]:
        told += f"; {measured['later']:,} came later and are searched exactly"
    return [("  measured on", told)]


def _tuning_rows(tuning: Tuning | None, facts: dict[str, Any]) -> list[tuple[str, str]]:
    if tuning is None:
        return [("recall", "not measured: every search is exact")]
    from qsearch.retrieval import BATCH_QUERIES

    rows = [("recall", f"measured with {tuning.queries:,} {tuning.measured_on}")]
    rows += _measured_rows(facts)
    for k in _SHOWN_DEPTHS:
        curve = next((curve for curve in tuning.curves if curve.k == k), None)
        if curve is None:
            continue
        batch = f"{curve.exact_milliseconds:.3f} ms a query in batches"
        if curve.exact_alone is not None:
            batch = f"{curve.exact_alone:.3f} ms for a query alone, {batch}"
        rows.append((f"  k = {k}", f"exact: {batch}"))
        for recall in _SHOWN_RECALLS:
            told = [
                [
                    _planned(tuning, curve.k, recall, queries, alike=alike)
                    for queries in (1, BATCH_QUERIES)
                ]
                for alike in (False, True)
            ]
            label = f"    {recall}"
            for kind, (alone, batch) in zip(("", "alike, "), told, strict=True):
                if kind and told[0] == told[1]:
                    continue
                if alone == batch or curve.exact_alone is None:
                    rows.append((label, f"{kind}{batch}"))
                else:
                    rows += [(label, f"{kind}alone: {alone}"), ("", f"{kind}in batches: {batch}")]
                label = ""
    return rows


def _planned(tuning: Tuning, k: int, recall: float, queries: int, *, alike: bool) -> str:
    """How so many queries are searched together so that they reach a recall."""
    plan = tuning.plan(recall, k, queries, alike=alike)
    if plan.exact:
        return plan.reason
    chosen = plan.chosen
    if plan.checks:
        chosen += f", and {plan.exactly:.0%} of the queries exactly"
    return f"{chosen}: {plan.milliseconds:.3f} ms, {plan.recall:.4f} expected"


def _field_rows(fields: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What documents can be filtered by."""
    rows = [("fields", "" if fields else "none but id and title")]
    for one in fields[:_SHOWN_FIELDS]:
        kinds = [kind for kind, count in one["kinds"].items() if count]
        documents = "document" if one["documents"] == 1 else "documents"
        told = f"{' or '.join(kinds) or 'nothing yet'}, in {one['documents']:,} {documents}"
        rows.append((f"  {one['name']}", told + (", indexed" if one["indexed"] else "")))
    if len(fields) > _SHOWN_FIELDS:
        rows.append(("", f"and {len(fields) - _SHOWN_FIELDS:,} more (--format json lists them)"))
    return rows


def _told(value: str | int | None) -> str:
    if value is None:
        return _NOT_KNOWN
    return value if isinstance(value, str) else f"{value:,}"


def _rows(facts: dict[str, Any], tuning: Tuning | None) -> list[tuple[str, str]]:
    """What people want to know first comes first."""
    encoder, passages = facts["encoder"], facts["passages"]
    rows = [("index", str(facts["index"])), ("documents", f"{facts['documents']:,}")]
    if passages is not None:
        told = f"{facts['rows']:,}, of at most {passages['tokens']:,} tokens"
        if passages["overlap"]:
            told += f", overlapping by up to {passages['overlap']:,}"
        told += f", sentences as in {passages['language']!r}"
        rows.append(("passages", told))
    rows += size_rows(facts["bytes"])
    named = "none: search by vector only" if encoder is None else encoder["model"]
    rows += [("encoder", named), ("dimensions", f"{facts['dimensions']:,}")]
    rows.append(("created", f"{_told(facts['created'])}, by qsearch {_told(facts['qsearch'])}"))
    # Nobody counts these again when the index is changed.
    then = ", at the build" if facts["commit"] > 1 else ""
    rows += [(label, _told(facts[label]) + then) for label in ("corpus", "rejected", "truncated")]
    rows += _change_rows(facts)
    rows += _field_rows(facts["fields"])
    rows.append(("graph", "yes" if facts["graph"] else "no"))
    words = facts["text_index"]
    told = "no" if words is None else f"of {words['language']!r}: {words['tokenizer']}"
    rows.append(("text index", told))
    tuned = facts["hybrid"]
    if words is not None and isinstance(tuned, dict):
        told = f"{tuned.get('weight')}, chosen on {tuned.get('queries')} queries"
        rows.append(("weight of the meaning", told))
    rows.append(("format", str(facts["format"])))
    rows.append(("kernels", f"{facts['kernels']}, {facts['threads']} threads"))
    if encoder is not None:
        rows.append(("encoder in full", ""))
        rows += [
            (f"  {label}", value)
            for label, value in encoder_rows(encoder)
            if label not in ("model", "dimensions")
        ]
    return rows + _tuning_rows(tuning, facts)
