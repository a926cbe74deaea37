"""``qsearch eval``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from qsearch.cli.excerpts import excerpt
from qsearch.cli.filter_options import FILTER, filter_options
from qsearch.cli.help import Command
from qsearch.cli.output import Console, OutputError, human_bytes, print_json, print_text, printable
from qsearch.cli.progress import progress_on
from qsearch.cli.target import (
    backend_option,
    device_option,
    find_index,
    index_argument,
    index_option,
    model_option,
    wait_option,
)
from qsearch.errors import QsearchError, QueryError
from qsearch.options import FilterOptions

if TYPE_CHECKING:
    from qsearch.documents import Run
    from qsearch.evaluation import Comparison, Evaluation, Tuned
    from qsearch.evaluation.comparing import Lost
    from qsearch.index import Index

__all__ = ["eval"]

_GROUPS = {
    "Queries": ("queries", "qrels", "vectors", "sample"),
    "Measure": ("index", "ways", "k", "no_times"),
    "Compare": ("compare", "worst"),
    "Tune": ("tune", "wait"),
    "Filter": FILTER,
    "Output": ("format", "run", "plot"),
    "Encoder": ("model", "device", "backend"),
}


_CHARACTERS = 200
"""Of a text that is shown beside others."""

_RELEVANT = 5
"""So many relevant documents of a query are shown."""


class _Depths(click.ParamType[Any]):
    """Whole numbers with commas between them."""

    name = "k,k"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return [int(one) for one in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not one or several numbers like 10,100", parameter, context)


class _Ways(click.ParamType[Any]):
    """Names with commas between them."""

    name = "way,way"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        return [one for one in value.split(",") if one.strip()] if isinstance(value, str) else value


@click.command(
    cls=Command,
    groups=_GROUPS,
    epilog="""\b
Examples:
  qsearch eval
  qsearch eval indexes/corpus --queries queries.jsonl -k 10
  qsearch eval --queries scifact/          # a folder in BEIR's form: queries.jsonl, qrels/test.tsv
  qsearch eval --queries irds:beir/scifact/test
  qsearch eval --queries queries.jsonl --qrels qrels.tsv --plot report.svg
  qsearch eval --queries queries.jsonl --ways exact,0.99,binary:400,hybrid:0.7 --format json
  qsearch eval --queries queries.jsonl --qrels qrels.tsv --ways hybrid --run run.trec
  qsearch eval --queries queries.jsonl --qrels qrels.tsv --tune
  qsearch eval --queries queries.jsonl --qrels qrels.tsv --compare indexes/other --worst 10
""",
)
@index_argument
@index_option
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="Queries, in a file as 'qsearch query' reads it, in a folder in BEIR's form or a dataset of "
    "ir_datasets (irds:NAME), whose judgments are taken too. Without, queries are made of the documents.",
)
@click.option(
    "--qrels",
    type=click.Path(path_type=Path),
    help="Judgments of these queries: query, document and relevance in a line (BEIR, with a header or "
    "without), TREC's four columns, or irds:NAME.",
)
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    help="Vectors of the queries (.npy, .npz, .fvecs, .bvecs), a row for each: the encoder is not needed. "
    "Without --queries, queries without texts.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="How many queries are made of the documents, where none are given: half of them documents, half "
    "middles between two, of each no more than there are documents; strangers come to them.  "
    "[default: 1000]",
)
@click.option(
    "--ways",
    type=_Ways(),
    help="What is measured: exact, a recall (0.99), cascade, binary or graph with candidates or without "
    "(binary:400), keywords, hybrid with a weight or without (hybrid:0.7), rrf. By default what makes "
    "sense.",
)
@click.option(
    "-k",
    "k",
    type=_Depths(),
    default="10,100",
    show_default=True,
    help="Depths. nDCG, MRR and times are of the first, MAP and recall of judged documents of the last.",
)
@click.option("--no-times", is_flag=True, help="Do not measure how long searches take.")
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    metavar="OTHER",
    help="Hold the answers against those of another index, or against the TREC run of another system: "
    "differences with intervals, and how likely chance makes them.",
)
@click.option(
    "--worst",
    type=click.IntRange(min=1),
    help="Show so many of the queries that lose most beside OTHER, with the first three documents of both.",
)
@click.option(
    "--tune",
    is_flag=True,
    help="Measure recall with these queries and, with judgments, choose the weight of hybrid searches; "
    "both are stored in the index, and measured then.",
)
@wait_option
@filter_options
@click.option(
    "--format",
    "format",
    type=click.Choice(["text", "json", "md"]),
    default="text",
    show_default=True,
    help="text and md (Markdown) for people, json with the values of each query.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was found as a TREC run; of several ways, each to a file with its name in it.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw recall against time, latency, recall by rank and nDCG (.svg, .png, .pdf).",
)
@model_option
@device_option
@backend_option
@click.pass_obj
def eval(
    console: Console,
    path: Path | None,
    index: Path | None,
    queries: Path | None,
    qrels: Path | None,
    vectors: Path | None,
    sample: int | None,
    ways: list[str] | None,
    k: list[int],
    no_times: bool,
    compare: Path | None,
    worst: int | None,
    tune: bool,
    wait: float,
    format: str,
    run: Path | None,
    plot: Path | None,
    model: str | None,
    device: str,
    backend: str,
    **filters: Unpack[FilterOptions],
) -> int:
    """Measure how good the answers of an index are, and what they cost.

    Every way of searching is held against exact search: which share of its top k it finds, with 95%
    intervals, how many answers are proven, how long a query takes, one by one and in batches, and what is
    read for it. With judgments also nDCG, MRR, MAP and recall.

    Without queries they are made of the documents, as when the index was built, but more of them. Ctrl-C
    ends it with what was measured until then.
    """
    from qsearch.evaluation import evaluate
    from qsearch.evaluation import tune as tune_index
    from qsearch.evaluation.plotting import check_picture
    from qsearch.index import Index

    if run == Path("-"):
        raise click.UsageError(
            "--run is a file beside the tables; 'qsearch query - --format trec' writes to standard output"
        )
    if plot is not None:
        check_picture(plot)
    if run is not None and not run.parent.is_dir():
        raise OutputError(f"{run} cannot be written (there is no folder {run.parent})")
    if qrels is None and queries is not None:
        qrels = _judgments_of(queries)
    if qrels is not None and queries is None and vectors is None:
        raise click.UsageError("--qrels are judgments of queries; give these with --queries")
    if worst is not None and compare is None:
        raise click.UsageError("--worst is beside another index or run; name it with --compare")
    if sample is not None and (queries is not None or vectors is not None):
        raise click.UsageError(
            "--sample is of queries made of documents; leave it out where queries are given"
        )
    if compare is not None and queries is None and vectors is None:
        raise click.UsageError("--compare is by the same queries; give these with --queries")
    if tune and queries is None and vectors is None:
        raise click.UsageError("--tune is to queries; give these with --queries")
    if tune and filters["where"] is not None:
        raise click.UsageError("--tune is for the whole index; leave out --where")
    with Index.open(
        find_index(path or index), encoder=model, device=device, backend=backend
    ) as opened:
        other = None if compare is None else _Other.at(compare, vectors)
        tuned = None
        if tune:
            tuned = tune_index(
                opened,
                None if queries is None else str(queries),
                None if qrels is None else str(qrels),
                vectors=vectors,
                wait=wait,
                progress=progress_on(console),
            )
        ask = partial(
            evaluate,
            queries=None if queries is None else str(queries),
            qrels=None if qrels is None else str(qrels),
            vectors=vectors,
            k=k,
            keep_interrupted=True,
            progress=progress_on(console),
            **filters,
        )
        found = ask(opened, ways=ways, sample=sample, timed=not no_times)
        compared, failure = None, None
        if other is not None and found.complete:
            try:
                compared = other.beside(found, ask, worst or 0)
            except QsearchError as error:  # what was measured here is shown all the same
                failure = error
        _show(console, opened, found, compared, tuned, format)
        if run is not None:
            _write_runs(console, found, run)
        if plot is not None and found.ways:
            found.plot(plot)
        if failure is not None:
            raise failure
    return 0 if found.complete else 130


@dataclass(frozen=True, slots=True)
class _Other:
    """What the answers are held against: an index, or a run."""

    path: Path
    run: Run | None

    @classmethod
    def at(cls, path: Path, vectors: Path | None) -> _Other:
        """Look at a path before anything is measured.

        Raises:
            QsearchError: it is neither index nor run, or the queries cannot be asked there.
        """
        from qsearch.documents import Embeddings, read_run
        from qsearch.index import Index
        from qsearch.store.format import CATALOG

        index = find_index(path)
        if not (index / CATALOG).is_file():
            return cls(path, read_run(str(path)))
        with Index.open(index) as opened:
            if vectors is None and opened.encoder_identity is None:
                raise QueryError(
                    f"{index} was built without an encoder; give vectors of the queries with --vectors"
                )
            if vectors is not None:
                found = Embeddings(str(vectors)).dimensions
                if found != opened.dimensions:
                    raise QueryError(
                        f"{vectors} has vectors of {found:,} dimensions, {index} has {opened.dimensions:,}"
                    )
        return cls(index, None)

    def beside(
        self, found: Evaluation, ask: Callable[..., Evaluation], worst: int
    ) -> Comparison | None:
        """What differs; ``None``: it was interrupted."""
        from qsearch.evaluation import compare
        from qsearch.index import Index

        if self.run is not None:
            return compare(found, self.run, str(self.path), worst=worst)
        with Index.open(self.path) as opened:
            words = opened.text_index is not None
            can = {
                one.name: (opened.has_graph or one.way.options.get("method") != "graph")
                and (words or one.way.mode == "meaning")
                for one in found.ways
            }
            ways = [one.way for one in found.ways if can[one.name]]
            if not ways:
                raise QueryError(f"{self.path} cannot be searched in any of these ways")
            theirs = ask(opened, ways=ways, timed=False)
        if not theirs.complete:
            return None
        compared = compare(found, theirs, str(self.path), worst=worst)
        cannot = [name for name, one in can.items() if not one]
        note = f"{self.path} cannot be searched by {', '.join(cannot)}: not compared"
        return replace(compared, notes=(*compared.notes, note)) if cannot else compared


def _judgments_of(queries: Path) -> Path | None:
    """Where queries are, if judgments are there too: a folder in BEIR's form, or a dataset."""
    from qsearch.documents import has_judgments, is_dataset

    if is_dataset(str(queries)):
        return queries if has_judgments(str(queries)) else None
    folder = queries
    return folder if (folder / "qrels").is_dir() or any(folder.glob("qrels.*")) else None


def _write_runs(console: Console, found: Evaluation, path: Path) -> None:
    from qsearch.documents import run_line

    for one in found.ways:
        name = one.name.replace(":", "-")
        target = path if len(found.ways) == 1 else path.with_stem(f"{path.stem}.{name}")
        lines = [
            run_line(query, document, rank, score, f"qsearch-{name}")
            for query, documents in found.run(one.name).items()
            for rank, (document, score) in enumerate(documents.items(), 1)
        ]
        try:
            target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{target} cannot be written ({error.strerror})") from error
        console.note(f"wrote {target}: {len(lines):,} lines")


def _show(
    console: Console,
    index: Index,
    found: Evaluation,
    compared: Comparison | None,
    tuned: Tuned | None,
    format: str,
) -> None:
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
        lines.append(f"  {one.query}: {one.ours:.4f} here, {one.theirs:.4f} there")
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
