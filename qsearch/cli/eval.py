"""``qsearch eval``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from qsearch.cli.eval_other import Other
from qsearch.cli.eval_output import (
    check_run_ids,
    check_targets,
    run_files,
    show,
    write_picture,
    write_run,
)
from qsearch.cli.filter_options import FILTER, filter_options
from qsearch.cli.help import Command
from qsearch.cli.output import Console
from qsearch.cli.progress import progress_on
from qsearch.cli.target import (
    backend_option,
    device_option,
    index_argument,
    index_option,
    model_option,
    named_index,
    wait_option,
)
from qsearch.errors import QsearchError, QueryError
from qsearch.options import FilterOptions

if TYPE_CHECKING:
    from qsearch.evaluation import Evaluation
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
    "ir_datasets (irds:NAME), whose judgments are taken too, and of whose queries those that are judged. "
    "Without, queries are made of the documents.",
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
    "middles between two, of each no more than there are documents; some that are unlike them come to "
    "these.  [default: 1000]",
)
@click.option(
    "--ways",
    type=_Ways(),
    help="What is measured: exact, a recall (0.99; 0.99:alike as with --alike), cascade, binary or graph "
    "with candidates or without (binary:400), keywords, hybrid with a weight or without (hybrid:0.7), rrf. "
    "By default what makes sense.",
)
@click.option(
    "-k",
    "k",
    type=_Depths(),
    default="10,100",
    show_default=True,
    help="Depths, in any order. MRR and times are of the smallest, MAP and recall of judged documents of "
    "the largest, nDCG of every one but the largest of several.",
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
    help="Draw recall against time, spread of latency, recall by rank, nDCG (.svg, .png, .pdf).",
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
    from qsearch.documents import judgments_in
    from qsearch.evaluation import tune as tune_index
    from qsearch.evaluation.evaluating import measured, planned
    from qsearch.evaluation.given import given_judgments, given_queries, only_judged
    from qsearch.evaluation.plotting import check_picture
    from qsearch.index import Index

    if run == Path("-"):
        raise click.UsageError(
            "--run is a file beside the tables; 'qsearch query - --format trec' writes to standard output"
        )
    none_given = queries is None and vectors is None
    of_one_place = qrels is None
    if qrels is None and queries is not None:
        qrels = _judgments_of(queries)
    if qrels is not None and none_given:
        raise click.UsageError("--qrels are judgments of queries; give these with --queries")
    if worst is not None and compare is None:
        raise click.UsageError("--worst is beside another index or run; name it with --compare")
    if sample is not None and not none_given:
        raise click.UsageError(
            "--sample is of queries made of documents; leave it out where queries are given"
        )
    if compare is not None and none_given:
        raise click.UsageError("--compare is by the same queries; give these with --queries")
    if tune and none_given:
        raise click.UsageError("--tune is to queries; give these with --queries")
    if tune and filters["where"] is not None:
        raise click.UsageError("--tune is for the whole index; leave out --where")
    if queries is not None and queries == qrels and not _has_both(queries):
        raise click.UsageError(f"{queries} cannot be both --queries and --qrels")
    target = named_index(path, index)
    read = (queries, qrels, vectors, compare, target)
    if plot is not None:
        check_picture(plot)
    # Once: standard input and pipes cannot be read again.
    asked = None
    if not none_given:
        asked = given_queries(None if queries is None else str(queries), vectors)
    judgments = None if qrels is None else given_judgments(str(qrels))
    if asked is not None and judgments is not None and of_one_place:
        asked = only_judged(asked, judgments)
    if asked is not None and run is not None:
        check_run_ids(asked.ids)
    if qrels is not None and qrels.is_dir():
        console.note(f"judgments of {judgments_in(qrels)}")
    elif qrels is None and queries is not None and queries.is_dir():
        console.note(f"{queries} holds no judgments")
    with Index.open(target, encoder=model, device=device, backend=backend) as opened:
        plan = partial(planned, queries=asked, qrels=judgments, **filters)
        here = plan(opened, ways=ways, k=k, sample=sample)
        if tune and here.unjudged is not None:
            raise here.unjudged
        # What fits nothing is told at once, and again at the end; what can be measured is.
        problems: list[QsearchError] = [] if here.unjudged is None else [here.unjudged]
        targets = {} if run is None else run_files(run, here.ways)
        named = [("--run", one) for one in targets.values()]
        check_targets(named if plot is None else [*named, ("--plot", plot)], read)
        other = None
        if compare is not None and asked is not None:
            there = Other.at(compare, asked, device, backend)
            with _kept(problems):
                there.check_queries(asked.ids)
                other = there
        for problem in problems:
            console.note(f"{problem}; the rest is measured")
        progress = progress_on(console)
        tuned = None
        if tune:
            tuned = tune_index(opened, asked, judgments, wait=wait, progress=progress)
            for note in tuned.notes():
                console.note(note)
            here = plan(opened, ways=ways, k=k)  # of the new commit

        def ask(index: Index, **options: Any) -> Evaluation:
            timed = options.pop("timed")
            some = plan(index, **options)
            if some.unjudged is not None and here.unjudged is None:
                problems.append(QueryError(f"{index.path}: {some.unjudged}"))
                console.note(f"{problems[-1]}; the rest is compared")
            return measured(index, some, timed=timed, keep_interrupted=True, progress=progress)

        found = measured(opened, here, timed=not no_times, keep_interrupted=True, progress=progress)
        compared, complete = None, found.complete
        if other is not None and complete:
            try:
                with _kept(problems):
                    compared = other.beside(opened, found, ask, model, worst or 0)
                    complete = compared is not None
            except KeyboardInterrupt:
                complete = False
            if not complete:
                told = f"interrupted: not compared with {compare}"
                found = replace(found, complete=False, notes=(*found.notes, told))
        # Files first: a pipe may not want the tables to their end.
        wrote = []
        for way in found.ways if run is not None else ():
            with _kept(problems):
                wrote.append(write_run(found, way.name, targets[way.name]))
        if plot is not None and found.ways:
            with _kept(problems):
                wrote.append(write_picture(found, plot))
        try:
            show(console, opened, found, compared, tuned, format, [str(one) for one in problems])
        except SystemExit:  # nobody reads the tables any more
            if problems:
                raise problems[0] from None
            raise
    for note in (*wrote, *map(str, problems if not complete else problems[1:])):
        console.note(note)
    if problems and complete:
        raise problems[0]
    return 0 if complete else 130


@contextmanager
def _kept(problems: list[QsearchError]) -> Iterator[None]:
    """Keep an error for later: what was measured is shown all the same."""
    try:
        yield
    except QsearchError as error:
        if str(error) not in map(str, problems):  # of each way the same
            problems.append(error)


def _judgments_of(queries: Path) -> Path | None:
    """Where queries are, if judgments are there too: a folder in BEIR's form, or a dataset."""
    from qsearch.documents import has_judgments, is_dataset

    if is_dataset(str(queries)):
        return queries if has_judgments(str(queries)) else None
    folder = queries
    return folder if (folder / "qrels").is_dir() or any(folder.glob("qrels.*")) else None


def _has_both(place: Path) -> bool:
    """Whether queries and judgments can be found at one place: a folder, or a dataset."""
    from qsearch.documents import is_dataset

    return place.is_dir() or is_dataset(str(place))
