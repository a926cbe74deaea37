"""The page, made of the JSON and of nothing else: every figure on it is computed from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import words
from .contests import best, build_of, cold_of, contests, end_contests, ends_of, memory_of
from .figures import (
    HEADLINE,
    LEVELS,
    MODES,
    OURS,
    Measured,
    Point,
    Spread,
    fastest,
    headline,
    ours,
    plots,
    read,
)

NOTICE = "<!-- Made by `python scripts/benchmark page` from the JSON beside it. Do not edit. -->"
BUSY = 0.05
"""The page names the turns in which other processes had a larger share of the processors."""


def write(results: Path, page: Path, *, plots: bool) -> None:
    """Write the page, and the plots beside the JSON."""
    page.write_text(text(results), encoding="utf-8")
    if plots:
        from .plots import draw

        for old in results.glob("*.svg"):
            old.unlink()
        for name, shown in shown_plots(results).items():
            draw(shown, results / name)


def shown_plots(results: Path) -> dict[str, dict[str, Any]]:
    """What the plots show, by file name."""
    return plots(read(results)[0])


def text(results: Path) -> str:
    """The page.

    Raises:
        SystemExit: nothing was measured.
    """
    measured, ends = read(results)
    main = headline(measured)
    if main is None:
        raise SystemExit(f"there are no results in {results}")
    drawn = plots(measured)
    parts = [
        "# qsearch and its peers, measured",
        NOTICE,
        words.image(drawn, f"recall-{main.name}.svg", results),
        _sentences(main),
        _better(measured, ends),
        _fastest(measured),
        *(_data_set(one, drawn, results) for one in measured),
        _promise(measured),
        _size(measured, drawn, results),
        _build(main, drawn, results),
        _endtoend(ends),
        _failures(measured, ends),
        _method(measured, ends),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# The opening


def _sentences(main: Measured) -> str:
    """Three sentences for a reader with a minute; the first is of who is faster."""
    threads = main.threads[0]
    points = main.points(threads)
    at = fastest(points, HEADLINE, "single")
    sure = fastest(points, None, "single")
    said = []
    mine, other = best(at)
    if mine and other:
        said.append(
            f"On {main.title}, one thread, one query at a time, {_against(mine, other)}, at recall@10 "
            f"of at least {HEADLINE}."
        )
    mine_sure, other_sure = best(sure)
    if mine_sure and other_sure:
        said.append(f"Where every answer has to be exact, {_against(mine_sure, other_sure)}.")
    built, theirs = main.build(OURS), main.build(other.system) if other else None
    if built and theirs and other:
        took = (
            f"To build, qsearch takes {words.seconds(built.median)}, {other.system} "
            f"{words.seconds(theirs.median)}"
        )
        memory = [main.memory(name) for name in (OURS, other.system)]
        if memory[0] and memory[1]:
            took += (
                f"; behind all searches they hold {words.megabytes(memory[0].median)} and "
                f"{words.megabytes(memory[1].median)} of memory"
            )
        said.append(took + ".")
    return " ".join(said)


def _against(mine: Point, other: Point) -> str:
    """Two systems and their speeds, the faster one first."""
    quick, slow = sorted((mine, other), key=lambda one: -one.single.median)
    names = [
        one.system if one.setting == "exact" else f"{one.system} ({one.setting})"
        for one in (quick, slow)
    ]
    return (
        f"{names[0]} answers {words.number(quick.single.median)} queries a second and {names[1]} "
        f"{words.number(slow.single.median)}, {quick.single.median / slow.single.median:.1f} times as few"
    )


def _better(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """Where another system is better, the largest differences first, one line for each kind of measure."""
    every = [one for some in measured for one in contests(some)] + end_contests(ends)
    lost = sorted((one for one in every if one.times > 1), key=lambda one: -one.times)
    seen: set[str] = set()
    lines = []
    for one in lost:
        if one.kind in seen:
            continue
        seen.add(one.kind)
        lines.append(
            f"- {one.what}: {one.system} {words.number(one.theirs)}{one.unit}, qsearch "
            f"{words.number(one.mine)}{one.unit} ({one.times:.1f} times)."
        )
    said = (
        "In each measure, the data where qsearch is farthest behind the best of the others. Of "
        f"{len(every)} comparisons with the best of the others, qsearch is behind in "
        f"{len(lost)}."
    )
    return "\n\n".join(["## Where another system is better", said, "\n".join(lines) or "Nowhere."])


# Tables


def _fastest(measured: Sequence[Measured]) -> str:
    """Who is fastest at which recall, and how far qsearch is from it."""
    rows = []
    counts = sorted({n for one in measured for n in one.threads})
    for one in measured:
        for level in LEVELS:
            cells = []
            for threads in counts:
                points = one.points(threads)
                cells += [_winner(fastest(points, level, mode), mode) for mode in MODES]
            if any(cell != "–" for cell in cells):
                rows.append([one.title, words.at_recall(level), *cells])
    heads = [f"{words.threads(n)}, {how}" for n in counts for how in MODES.values()]
    said = (
        "The fastest setting of each system that reaches the recall, by the median of its turns; "
        "behind it, how many times as fast as the other it is: than qsearch, where it is another "
        "system; than the fastest of the others, where it is qsearch. Exact: systems whose "
        "answers are meant to be exact."
    )
    table = words.table(["data", "recall@10", *heads], rows)
    return "\n\n".join(["## Who is fastest", said, table])


def _winner(order: dict[str, Point], mode: str) -> str:
    mine, other = best(order)
    if mine is None and other is None:
        return "–"
    if mine is None or other is None:
        only = mine or other
        return f"{only.system}, alone" if only else "–"
    a, b = mine.speed(mode).median, other.speed(mode).median
    first, times = (mine, a / b) if a >= b else (other, b / a)
    name = f"**{first.system}**" if ours(first.system) else first.system
    return f"{name} {times:.1f}×"


def _data_set(measured: Measured, drawn: dict[str, Any], results: Path) -> str:
    """All systems on one data set."""
    told = measured.told["data"]
    judged = any(point.ndcg10 is not None for point in measured.points(measured.threads[0]))
    first = measured.threads[0]
    by_threads = {n: measured.points(n) for n in measured.threads}
    reached = fastest(by_threads[first], HEADLINE, "single")
    rows = []
    for name in measured.systems:
        some = [one for one in by_threads[first] if one.system == name]
        if not some:
            continue
        point = reached.get(name) or max(some, key=lambda one: one.recall10)
        cells = [name, point.setting, words.share(point.recall10), words.share(point.recall100)]
        if judged:
            cells.append("–" if point.ndcg10 is None else f"{point.ndcg10:.4f}")
        for points in by_threads.values():
            same = [one for one in points if (one.system, one.setting) == (name, point.setting)]
            single = same[0].single if same else None
            batch = same[0].batch if same and measured.systems[name]["batches"] else None
            cells += [words.spread(single), words.spread(batch)]
        cells += [
            f"{point.p95:.3g}",
            words.seconds(build_of(measured, name), unit=False),
            words.megabytes(measured.disk(name), unit=False),
            words.megabytes(memory_of(measured, name), unit=False),
            words.seconds(cold_of(measured, name), unit=False),
        ]
        rows.append((0 if name in reached else 1, -point.single.median, cells))
    heads = ["system", "setting", "recall@10", "@100", *(["nDCG@10"] if judged else [])]
    heads += [
        f"queries/s, {words.threads(n)}, {how}" for n in measured.threads for how in MODES.values()
    ]
    heads += ["p95 ms", "build s", "disk MB", "memory MB", "cold s"]
    table = words.table(heads, [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])])
    about = (
        f"{_about(measured)} {told['dimensions']} dimensions, "
        f"{told['queries']} queries, {measured.rounds()} turns of each system. Of each system the "
        f"fastest setting that reaches recall@10 {HEADLINE}, or, below those that do, the one "
        "with the highest recall. All settings are in [the "
        f"JSON]({results.name}/{measured.name}.json)."
    )
    name = f"recall-{measured.name}.svg"
    behind = drawn.get(name, {}).get("behind", [])
    note = ""
    if behind:
        note = (
            "In the plot, lines without a name are of systems to each of whose points qsearch "
            f"has one of no less recall and speed: {', '.join(behind)}."
        )
    # The first plot is the one that the page opens with.
    image = "" if next(iter(drawn), None) == name else words.image(drawn, name, results)
    parts = [f"## {measured.title}", about, image, note, table]
    return "\n\n".join(part for part in parts if part)


def _about(measured: Measured) -> str:
    from .data import DATA_SETS

    return DATA_SETS[measured.name].about


def _promise(measured: Sequence[Measured]) -> str:
    """The recall that was asked of qsearch, and the one that came."""
    rows = []
    for one in measured:
        told = one.systems.get(OURS)
        if told is None or "failed" in told:
            continue
        cells = [one.title]
        for recall in (0.999, 0.99, 0.95, 0.9):
            known = told["recall"].get(f"recall {recall}")
            cells.append(words.share(known["recall10"]) if known else "–")
        rows.append([*cells, told.get("note", "")])
    if not rows:
        return ""
    said = (
        "qsearch is the only system here that is asked for a recall instead of for an effort. "
        "What came of it, and how many candidates its plan has; a query that is too unlike what "
        "was measured is answered exactly."
    )
    heads = ["data", "asked 0.999", "0.99", "0.95", "0.9", "plan"]
    return "\n\n".join(["## What is asked, and what comes", said, words.table(heads, rows)])


def _size(measured: Sequence[Measured], drawn: dict[str, Any], results: Path) -> str:
    """Time against rows."""
    images = [words.image(drawn, name, results) for name in ("rows-exact.svg", "rows-recall.svg")]
    if not any(images):
        return ""
    return "\n\n".join(["## Time against number of rows", *filter(None, images)])


def _build(main: Measured, drawn: dict[str, Any], results: Path) -> str:
    """Build time against speed."""
    image = words.image(drawn, "build.svg", results)
    batches = words.image(drawn, "recall-batches.svg", results)
    parts = [f"## {main.title}: batches, and the time to build", batches, image]
    return "\n\n".join(filter(None, parts)) if image or batches else ""


# From end to end


def _endtoend(ends: dict[str, Any] | None) -> str:
    """From texts on disk to answers."""
    figures = ends_of(ends)
    if ends is None or not figures:
        return ""
    rows = []
    for name, one in figures.items():
        told = ends["systems"][name]
        cells = [name, ", ".join(f"{key} {value}" for key, value in told["versions"].items())]
        for kind, column in (
            ("build", "first"),
            ("build", "last"),
            ("open", "first"),
            ("open", "last"),
        ):
            values = [turn[column] for turn in told["turns"][kind].values()]
            cells.append(words.within(Spread(tuple(values))))
        cells += [
            words.number(one["memory"] or 0),
            words.number(one["disk"] or 0),
            f"{one['lines']:.0f}",
            "–" if one["ndcg10"] is None else f"{one['ndcg10']:.4f}",
        ]
        rows.append(cells)
    heads = [
        "system",
        "versions",
        "texts to 1st answer, s",
        "to 1,000th, s",
        "index to 1st answer, s",
        "to 1,000th, s",
        "memory MB",
        "disk MB",
        "lines",
        "nDCG@10",
    ]
    told = ends["data"]
    said = (
        f"{told['title']}: {told['rows']:,} texts as JSON Lines, {told['queries']:,} different "
        f"queries, of which {told['judged_queries']} have judgments; all-MiniLM-L6-v2 everywhere, "
        "all threads, one query at a time. Seconds count from the start of a process, with "
        "Python, imports and the model, and for qsearch with the export of the model to ONNX, "
        "which is made once on a machine. The lines are those of the snippets in "
        "[scripts/benchmark/endtoend](../scripts/benchmark/endtoend), which do the same with "
        "each package; memory is USS in the process that opened the index."
    )
    return "\n\n".join(["## From texts on disk to answers", said, words.table(heads, rows)])


# The small print


def _failures(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """What was not measured, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in measured:
        for name, reason in one.failures().items():
            reasons.setdefault((name, reason), []).append(one.title)
    for name, told in (ends or {}).get("systems", {}).items():
        if "failed" in told:
            reasons.setdefault((name, told["failed"]["reason"]), []).append("from end to end")
    if not reasons:
        return ""
    rows = [[name, reason, "; ".join(titles)] for (name, reason), titles in reasons.items()]
    return "\n\n".join(
        ["## What was not measured", words.table(["system", "reason", "data"], rows)]
    )


def _method(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """What it was measured on, and how."""
    told = measured[0].told["machine"]
    commits = sorted(
        {
            one
            for told in (*(some.told for some in measured), ends or {})
            for one in told.get("commits", [])
        }
    )
    days = [day for one in measured for day in one.dates() if day]
    shares = [share for one in measured for share in one.others()]
    notes = {one.systems.get(OURS, {}).get("note", "").split(";")[0] for one in measured} - {""}
    machine = [
        ["processor", f"{told['processor']}; {', '.join(told['instructions'])}"],
        ["qsearch", f"commit {', '.join(commits)}; {', '.join(sorted(notes))}"],
        ["cores, memory", f"{told['cores']}, {told['memory_gib']} GiB"],
        ["system", f"{told['system']}, Python {told['python']}"],
        ["measured", f"{min(days, default='')} to {max(days, default='')}"],
        [
            "other processes",
            _busy(shares),
        ],
    ]
    systems: dict[str, list[str]] = {}
    for one in measured:
        for name, known in one.systems.items():
            if "about" in known:
                found = ", ".join(f"{key} {value}" for key, value in known["versions"].items())
                systems.setdefault(name, [name, found, known["about"]])
    return "\n\n".join(
        [
            "## How it was measured",
            words.table(["", ""], machine),
            _METHOD,
            words.table(["system", "versions", "settings"], list(systems.values())),
        ]
    )


_METHOD = """\
Every system is built by a process of its own and then has its turn in each round by a new one, one
after the other, in another order in each round, so that a machine that slows down slows down all.
Shown are medians of the turns, in tables with the smallest and the largest in brackets; a build
that takes more than twenty seconds is made once.

- **Recall** counts a row as found if its cosine, in float64, is at least that of the k-th true
  neighbour (less 1e-6): equal texts stand in the data more than once. Recall@100 is that of a
  search for 100.
- **One by one**: searches for 10, for half a second or until all queries were asked. **In
  batches**: 64 queries in one call; nothing for a system that takes one at a time, which stands
  with its other figure in comparisons.
- **One thread** is one processor to which the process is tied, with the variables that set threads.
- **Cold** is from the start of the process, with Python and imports, to its first answer, when no
  file of the index was in memory. Libraries were.
- **Memory** is USS behind all searches: with pages of mapped files that no other process has, of
  which the system can take back those that nobody needs. It holds Python and NumPy too, some 30 MB.
- **Disk** is what the index takes, with the float rows where candidates are rescored with them.
- Every system gets the same rows as a .npy file, of any length; those that need unit rows make them
  in their build.

To make it again: `scripts/benchmark/requirements.txt` tells how to make the environment, `python
scripts/benchmark --help` how to run it. [scripts/benchmark](../scripts/benchmark) has one file a
system."""


def _busy(shares: Sequence[float]) -> str:
    """How much others used the processors meanwhile."""
    busy = sum(share > BUSY for share in shares)
    return (
        f"{100 * statistics.median(shares):.1f}% of the processors in the median of {len(shares)} "
        f"turns, more than {100 * BUSY:.0f}% in {busy}"
    )
