"""The command line of the benchmark.

python scripts/benchmark all --registry FOLDER --scifact FOLDER
python scripts/benchmark list
python scripts/benchmark run registry-100k --registry FOLDER --minutes 9
python scripts/benchmark rows --registry FOLDER --minutes 9
python scripts/benchmark endtoend --texts FOLDER --minutes 9
python scripts/benchmark page
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import rows
from .data import DATA_SETS
from .machine import ROOT, cores, versions
from .running import Running, Wanted
from .systems import systems

WORK = ROOT / "build" / "benchmark"
RESULTS = ROOT / "docs" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what measures exits with 3 where something is left."""
    done = _done(arguments)
    if done is not None:
        sys.exit(0 if done else 3)


def _done(arguments: Sequence[str] | None) -> bool | None:
    """Do what is asked; returns whether all is measured, where something is to be."""
    parser = argparse.ArgumentParser(
        prog="benchmark", description="Measure qsearch beside its peers, and write the page."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    every = commands.add_parser(
        "all", help="whatever there is data for, from end to end too, and the page"
    )
    _add_common(every)
    _add_folders(every)
    every.add_argument("--page", type=Path, default=PAGE)
    commands.add_parser("list", help="data sets, systems, and the versions that are installed")
    _add_run(commands.add_parser("run", help="measure; what is measured already is not again"))
    _add_rows(commands.add_parser("rows", help="measure some systems with more and more rows"))
    _add_end(commands.add_parser("endtoend", help="measure from texts on disk to answers"))
    page = commands.add_parser("page", help="make page and plots from the results")
    page.add_argument("--results", type=Path, default=RESULTS)
    page.add_argument("--page", type=Path, default=PAGE)
    page.add_argument("--no-plots", action="store_true", help="the text only")
    chosen = parser.parse_args(arguments)
    commands_by_name: dict[str, Callable[[argparse.Namespace], bool | None]] = {
        "all": _all,
        "list": _list,
        "run": _run,
        "rows": _rows,
        "endtoend": _endtoend,
        "page": _page,
    }
    return commands_by_name[chosen.command](chosen)


def _absolute(text: str) -> Path:
    """ScaNN writes the paths of its files into its index: relative ones lead nowhere from elsewhere."""
    return Path(text).resolve()


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--systems", help="names, parted by commas; all if not given")
    parser.add_argument("--work", type=_absolute, default=WORK, help="for data, indexes and logs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="for the JSON")
    parser.add_argument("--rounds", type=int, help="turns of each system")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds that a child may take")
    parser.add_argument("--minutes", type=float, help="start nothing more after so many")
    parser.add_argument("--again", action="store_true", help="forget what is known of the systems")


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", type=Path, help="folder of registry-100k, or of others")
    parser.add_argument("--scifact", type=Path, help="folder of SciFact in BEIR's form")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="+", choices=list(DATA_SETS), metavar="DATA")
    _add_common(parser)
    _add_folders(parser)
    parser.add_argument("--builds", type=int, default=3, help="of what is built within 20 seconds")
    parser.add_argument("--rows", type=int, help="take no more, to try things out")
    parser.add_argument("--setting", type=float, default=0.5, help="seconds for it in each turn")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=sorted({1, cores()}), help="to search with"
    )


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sizes", nargs="*", metavar="DATA", help=f"of {', '.join(rows.SIZES)}; all if not given"
    )
    _add_common(parser)
    parser.add_argument("--registry", type=Path, required=True, help="folder of registry-100k")
    parser.add_argument("--rows", type=int, help="take no more, to try things out")
    parser.set_defaults(scifact=None, builds=1, threads=[1], setting=0.5)  # as of a run


def _add_end(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--texts", type=Path, help="folder in BEIR's form, with judgments")
    parser.add_argument("--model", type=Path, help="another model than all-MiniLM-L6-v2")
    parser.add_argument("--documents", type=int, help="take no more, to try things out")
    parser.add_argument("--queries", type=int, default=1000)


ON_THE_PAGE = (
    "registry-100k",
    "registry-10k",
    "registry-1m",
    "tokens",
    "tokens-sentences",
    "scifact",
)
"""Data sets; the first also on all processors."""


def _all(chosen: argparse.Namespace) -> bool:
    """One command for all of it: what is measured already is not again."""
    folders = {"registry": chosen.registry, "scifact": chosen.scifact}
    there = [
        name
        for name in ON_THE_PAGE
        if (needs := DATA_SETS[name].needs) is None or folders[needs] is not None
    ]
    end = None if chosen.minutes is None else time.monotonic() + 60 * chosen.minutes
    options = [f"--{name}={path}" for name, path in folders.items() if path is not None]
    common = [f"--work={chosen.work}", f"--results={chosen.results}", f"--limit={chosen.limit}"]
    common += ["--again"] if chosen.again else []
    common += [] if chosen.rounds is None else [f"--rounds={chosen.rounds}"]
    systems_of = [] if chosen.systems is None else [f"--systems={chosen.systems}"]
    steps = [
        ["run", name, *common, *systems_of, *options, *(["--threads", "1"] if number else [])]
        for number, name in enumerate(there)
    ]
    if chosen.registry is not None and chosen.systems is None:
        steps.append(["rows", *common, f"--registry={chosen.registry}"])
    if chosen.scifact is not None and chosen.systems is None:
        steps.append(["endtoend", *common, f"--texts={chosen.scifact}"])
    done = True
    for step in steps:
        minutes = []
        if end is not None:
            minutes = [f"--minutes={max(0.0, (end - time.monotonic()) / 60)}"]
        done &= bool(_done([*step, *minutes]))
    _done(["page", f"--results={chosen.results}", f"--page={chosen.page}"])
    return done


def _run(chosen: argparse.Namespace) -> bool:
    folders = {"registry": chosen.registry, "scifact": chosen.scifact}
    return Running(
        Wanted(
            names=chosen.data,
            chosen=_named(chosen.systems, list(systems())),
            folders={name: path for name, path in folders.items() if path is not None},
            work=chosen.work,
            results=chosen.results,
            threads=chosen.threads,
            rounds=chosen.rounds,
            builds=chosen.builds,
            limit=chosen.limit,
            seconds=None if chosen.minutes is None else 60 * chosen.minutes,
            again=chosen.again,
            rows=chosen.rows,
            setting=chosen.setting,
        )
    ).run()


def _rows(chosen: argparse.Namespace) -> bool:
    """Each size with its systems, in a folder of its own among the results."""
    if unknown := sorted(set(chosen.sizes) - set(rows.SIZES)):
        raise SystemExit(f"there is no {unknown[0]!r}; there are {', '.join(rows.SIZES)}")
    end = None if chosen.minutes is None else time.monotonic() + 60 * chosen.minutes
    asked = _named(chosen.systems, list(rows.CHOSEN))
    done = True
    for name in chosen.sizes or rows.SIZES:
        some = [one for one in rows.of_size(name) if one in asked]
        if not some:
            continue
        of_size = {
            "data": [name],
            "systems": ",".join(some),
            "results": chosen.results / rows.FOLDER,
            "minutes": None if end is None else max(0.0, (end - time.monotonic()) / 60),
        }
        done &= _run(argparse.Namespace(**(vars(chosen) | of_size)))
    return done


def _endtoend(chosen: argparse.Namespace) -> bool:
    from .ends import SNIPPETS, measure

    return measure(
        _named(chosen.systems, list(SNIPPETS)),
        folder=chosen.texts,
        model=chosen.model,
        documents=chosen.documents,
        queries=chosen.queries,
        work=chosen.work,
        results=chosen.results,
        rounds=chosen.rounds or 3,
        limit=chosen.limit,
        seconds=None if chosen.minutes is None else 60 * chosen.minutes,
        again=chosen.again,
    )


def _page(chosen: argparse.Namespace) -> None:
    from .page import write

    write(chosen.results, chosen.page, plots=not chosen.no_plots)


def _list(chosen: argparse.Namespace) -> None:
    for data_set in DATA_SETS.values():
        print(f"{data_set.name:18} {data_set.title}: {data_set.about}")
    print()
    for system in systems().values():
        found = ", ".join(f"{name} {one}" for name, one in versions(system.distributions).items())
        print(f"{system.name:28} {found or 'not installed'}")


def _named(given: str | None, known: list[str]) -> list[str]:
    """Systems by name; part of a name, in any case, is enough."""
    if given is None:
        return known
    found = []
    for part in given.split(","):
        same = [name for name in known if name.lower() == part.strip().lower()]
        some = same or [name for name in known if part.strip().lower() in name.lower()]
        if not some:
            raise SystemExit(f"there is no system {part!r}; there are {', '.join(known)}")
        found += [name for name in some if name not in found]
    return found
