"""How hits are written: for people, for programs, for evaluation tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from qsearch.cli.excerpts import excerpt
from qsearch.cli.output import (
    Console,
    human_bytes,
    print_data,
    print_json,
    printable,
    terminal_width,
)
from qsearch.documents.runs import run_line
from qsearch.errors import QueryError

if TYPE_CHECKING:
    from qsearch.results import Explanation, Hit, KeywordReport, Reranking, SearchResult

__all__ = ["SHOWN", "Format", "Shown", "tell_reranking", "write_results"]

SHOWN = 300
"""Characters of a text that people are shown."""


class Format(click.Choice[str]):
    """The name of a format; ``json`` is understood as JSON Lines."""

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        """Make ``jsonl`` of ``json``."""
        return super().convert("jsonl" if value == "json" else value, parameter, context)


@dataclass(frozen=True, slots=True)
class Shown:
    """How results are written.

    Attributes:
        format: ``text``, ``jsonl`` or ``trec``.
        full: whether texts are shown whole to people.
    """

    format: str
    full: bool = False


def write_results(
    console: Console,
    show: Shown,
    queries: Sequence[tuple[str, str]],
    results: Sequence[SearchResult],
    *,
    heading: bool,
) -> None:
    """Print hits.

    Args:
        console: for explanations, where they are no data.
        show: how.
        queries: (query id, text); no text where the query is a vector.
        results: one per query.
        heading: whether the text format says which query the hits belong to.
    """
    for (name, query), result in zip(queries, results, strict=True):
        if show.format == "text":
            _write_text(name, query, result, heading=heading, full=show.full)
        elif show.format == "trec":
            for line in _run_lines(name, result):
                print_data(line)
        else:
            for record in _records(name, query, result):
                print_json(record)
        if show.format != "jsonl" and result.explanation is not None:
            _explain(console, result.explanation, result)


def _write_text(name: str, query: str, result: SearchResult, *, heading: bool, full: bool) -> None:
    if heading:
        print_data(f"# {' '.join(query.split()) or name}", bold=True)
    room = None if full else terminal_width()
    ids = [printable(hit.id) for hit in result]
    width = max(map(len, ids), default=0)
    for hit, name in zip(result, ids, strict=True):
        start = f"{hit.rank:>3}  {_scores(hit)}  {_both(hit)}"
        shown = hit.text if hit.passage is None else hit.passage.text
        shown = " ".join(shown.split()) if full else excerpt(shown, query, SHOWN)
        rest = printable(" ".join((f"{hit.title}: {shown}" if hit.title else shown).split()))
        line = f"{name:<{width}}  {rest}"
        if room is not None and len(start) + len(line) > room:
            line = line[: max(0, room - len(start) - 1)] + "…"
        print_data((start + line).rstrip())
    if heading:
        print_data("")


def _scores(hit: Hit) -> str:
    if hit.rerank_score is None:
        return f"{hit.score:.4f}"
    return f"{hit.rerank_score:>8.4f}  ({hit.retrieval_rank:>2}: {hit.score:.4f})"


def tell_reranking(console: Console, show: Shown, rerankings: Sequence[Reranking | None]) -> None:
    """Say by which model hits were reranked, what its scores are, and how many texts it had to cut.

    Args:
        console: to be told on.
        show: how the hits were written.
        rerankings: of all results.
    """
    found = [one for one in rerankings if one is not None]
    if not found:
        return
    identity = found[-1].identity
    if show.format == "text":
        scores = {"identity": "logit", "sigmoid": "from 0 to 1"}.get(identity.activation or "")
        told = f" (score: {scores})" if scores else ""
        console.note(
            f"reranked by {identity.label}{told}; in brackets the rank and the score before"
        )
    truncated = sum(one.truncated for one in found)
    if truncated:
        pairs = sum(one.pairs for one in found)
        console.note(
            f"{truncated:,} of {pairs:,} pairs of query and text were longer than the "
            f"{identity.max_length or 'most'} tokens that {identity.label} reads: the longer side of each "
            "was cut"
        )


def _both(hit: Hit) -> str:
    """Scores and ranks of a hit by meaning and by words, where its score is made of these."""
    if hit.cosine is None or hit.bm25 is None:
        return ""
    ranks = ["-" if rank is None else f"#{rank}" for rank in (hit.meaning_rank, hit.keyword_rank)]
    return f"cosine {hit.cosine:.4f} {ranks[0]:<4}  bm25 {hit.bm25:>7.4f} {ranks[1]:<4}  "


def _run_line(name: str, hit: Hit, score: float, tag: str) -> str:
    for value in (name, hit.id):
        if printable(value) != value:  # which the next check need not refuse
            raise click.ClickException(
                f"the id {value!r} holds white space or control characters, which a TREC run cannot; use "
                "--format jsonl"
            )
    try:
        return run_line(name, hit.id, hit.rank, score, tag)
    except QueryError as error:
        raise click.ClickException(f"{error}; use --format jsonl") from None


def _run_lines(name: str, result: SearchResult) -> list[str]:
    lines = []
    for hit in result:
        score, tag = hit.score, "qsearch"
        if hit.rerank_score is not None and result.reranking is not None:
            score, tag = hit.rerank_score, f"qsearch+{result.reranking.identity.label}"
        lines.append(_run_line(name, hit, score, tag))
    return lines


def _records(name: str, query: str, result: SearchResult) -> list[dict[str, Any]]:
    """A hit a line, each with what it needs to stand alone; the first explains them all."""
    told = result.to_dict()
    records = []
    for hit in told["hits"]:
        ranks = hit.pop("ranks", None)
        record: dict[str, Any] = {
            "query_id": name,
            **({"query": query} if query else {}),
            **hit,
            "certified": result.certified,
        }
        if "reranker" in told:
            record["reranker"] = told["reranker"]
        if ranks is not None:
            record["ranks"] = ranks
            if hit["rank"] == 1:
                record["explanation"] = {"method": result.method, **told["explanation"]}
        records.append(record)
    return records


def _explain(console: Console, explanation: Explanation, result: SearchResult) -> None:
    certified = "proven exact" if result.certified else f"recall {explanation.recall:.4f} expected"
    if not result.certified and not explanation.recall:
        certified = "recall not known"
    if explanation.keywords is not None:
        _explain_words(console, explanation.keywords)
    if result.method != "keywords":
        meaning = "by meaning" if result.method == "hybrid" else result.method
        console.note(f"{meaning}: {certified} ({explanation.reason})")
    for stage in explanation.stages:
        time = "" if stage.milliseconds is None else f"{stage.milliseconds:.3f} ms"
        looked = f"{stage.rows:>12,} {stage.unit}" if stage.rows else ""
        if stage.rows and stage.unit == "rows":
            looked += f"  {human_bytes(stage.bytes):>9}"
        console.note(f"  {stage.name:<16}{looked:<28}{time:>12}".rstrip())
    for hit, ranks in zip(result, explanation.ranks, strict=True):
        stood = [f"{rank:,} by {name} codes" for name, rank in ranks.items()]
        if hit.retrieval_rank is not None:
            before = "cosine" if hit.bm25 is None else "the score before"
            stood.insert(0, f"{hit.retrieval_rank:,} by {before}")
        if stood:
            console.note(f"  hit {hit.rank}: {', '.join(stood)}")


def _explain_words(console: Console, keywords: KeywordReport) -> None:
    if keywords.fusion is not None:
        how = "reciprocal ranks" if keywords.weight is None else f"weight {keywords.weight:g}"
        console.note(f"hybrid: {how}, of the {keywords.depth:,} best by meaning and by words")
    console.note(
        f"by words: BM25 with k1 = {keywords.k1:g}, b = {keywords.b:g}; {keywords.matching:,} documents "
        f"hold some of {len(keywords.terms):,} terms ({keywords.tokenizer}), {keywords.milliseconds:.3f} ms"
    )
    for one in keywords.terms:
        often = f", {one.count:,} times in the query" if one.count > 1 else ""
        console.note(f"  {one.term}: in {one.documents:,} documents, idf {one.idf:.4f}{often}")
    if keywords.cut:
        console.note("  the query is longer than what counts (docs/keywords.md)")
