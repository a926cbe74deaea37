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
    PROMISES,
    Measured,
    Point,
    Spread,
    fastest,
    headline,
    ours,
    plots,
    read,
)
from .running import BUSY

NOTICE = "<!-- Made by `python scripts/benchmark page` from the JSON beside it. Do not edit. -->"


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
    """Three sentences for a reader with a minute, and what they were measured on."""
    threads = main.threads[0]
    points = main.points(threads)
    said = []
    mine, other = best(fastest(points, HEADLINE, "single"))
    if mine and other:
        said.append(
            f"On {main.title}, one thread, one query at a time, at recall@10 of at least {HEADLINE}, "
            f"{_against(mine, other)}."
        )
    mine_sure, other_sure = best(fastest(points, None, "single"))
    if mine_sure and other_sure:
        said.append(f"Where every answer has to be exact, {_against(mine_sure, other_sure)}.")
    built, theirs = main.build(OURS), main.build(other.system) if other else None
    if built and theirs and other:
        took = (
            f"qsearch builds its index in {words.seconds(built.median)}, {other.system} in "
            f"{words.seconds(theirs.median)}"
        )
        memory = [main.memory(name) for name in (OURS, other.system)]
        if memory[0] and memory[1]:
            took += (
                f"; after the searches their processes use {words.megabytes(memory[0].median)} and "
                f"{words.megabytes(memory[1].median)} of memory"
            )
        said.append(took + ".")
    machine = main.told["machine"]
    on = (
        f"All of it on {machine['cores']} processors of {machine['processor']}, which has "
        f"{_instructions(machine)}: on another machine other figures come, and other ratios."
    )
    return " ".join(said) + "\n\n" + on


def _instructions(machine: dict[str, Any]) -> str:
    there = machine["instructions"]
    told = ", ".join(there) or "no instructions that this page knows of"
    x86 = "x86_64" in machine["system"]
    return f"{told} and no AVX-512" if x86 and "avx512f" not in there else told


def _against(mine: Point, other: Point) -> str:
    """Two systems and their speeds, the faster one first."""
    quick, slow = sorted((mine, other), key=lambda one: -one.single.median)
    times = quick.single.median / slow.single.median
    return (
        f"{_named(quick)} answers {words.number(quick.single.median)} queries a second and "
        f"{_named(slow)} {words.number(slow.single.median)}: {times:.1f} times faster"
    )


def _named(point: Point) -> str:
    if point.setting == "exact":
        return point.system
    if point.promises is not None:
        return f"{point.system}, asked for {point.promises},"
    return f"{point.system} ({point.setting})"


def _better(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """Where another system is better: in every measure, on every data set."""
    every = {one.title: contests(one) for one in measured}
    if ends is not None:
        every[f"{ends['data']['rows']:,} texts, from end to end"] = end_contests(ends)
    some = [one for found in every.values() for one in found]
    lost = [one for one in some if one.times > 1]
    said = (
        f"Of {len(some)} comparisons of qsearch with the best of the others, qsearch is behind in "
        f"{len(lost)}. Here are all of them: the other system and its figure, qsearch's, and how "
        "many times as good the other is. Build, disk, memory and start are compared among the systems "
        f"that reach recall@10 {HEADLINE}."
    )
    lines = []
    for title, found in every.items():
        by_group: dict[str, list[str]] = {}
        for one in sorted(found, key=lambda one: -one.times):
            if one.times > 1:
                by_group.setdefault(one.group, []).append(
                    f"{one.what}: {one.system} {words.number(one.theirs)}{one.unit}, "
                    f"{words.number(one.mine)}{one.unit} ({one.times:.1f}×)"
                )
        if by_group:
            lines.append(f"- **{title}**")
            lines += [f"  - {group}: {'; '.join(told)}." for group, told in by_group.items()]
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
        "Queries a second of the fastest system, and of qsearch or, where that is the fastest, of the "
        "next one; behind them how many times faster the first is. It is the setting that a user takes "
        "who wants this recall: of qsearch the fastest that was asked for at least so much and gave it, "
        "of the others the fastest that gave it, which one knows after trying them. Exact: settings "
        "whose answers are meant to be exact. –: not measured."
    )
    table = words.table(["data", "recall@10", *heads], rows)
    return "\n\n".join(["## Who is fastest", said, table])


def _winner(order: dict[str, Point], mode: str) -> str:
    mine, other = best(order)
    if mine is None and other is None:
        return "–"
    if mine is None or other is None:
        only = mine or other
        return f"{_speed_of(only, mode)}, alone" if only else "–"
    quick, slow = sorted((mine, other), key=lambda one: -one.speed(mode).median)
    times = quick.speed(mode).median / slow.speed(mode).median
    return words.against(_speed_of(quick, mode), _speed_of(slow, mode), times)


def _speed_of(point: Point, mode: str) -> str:
    name = f"**{point.system}**" if ours(point.system) else point.system
    return f"{name} {words.number(point.speed(mode).median)}"


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
        turns = "" if point.turns == measured.rounds() else f" ({point.turns} turns)"
        cells = [name, point.setting + turns, words.share(point.recall10)]
        if judged:
            cells.append("–" if point.ndcg10 is None else f"{point.ndcg10:.4f}")
        for points in by_threads.values():
            same = [one for one in points if (one.system, one.setting) == (name, point.setting)]
            single = same[0].single if same else None
            batch = same[0].batch if same and measured.systems[name]["batches"] else None
            cells += [words.spread(single), words.spread(batch)]
        cells += [
            "–" if point.p95 is None else f"{point.p95:.3g}",
            words.share(point.recall100),
            words.spread(point.batch_100),
            words.seconds(build_of(measured, name), unit=False),
            words.megabytes(measured.disk(name), unit=False),
            words.megabytes(memory_of(measured, name), unit=False),
            words.megabytes(measured.anonymous(name), unit=False),
            words.seconds(cold_of(measured, name), unit=False),
        ]
        rows.append((0 if name in reached else 1, -point.single.median, cells))
    heads = ["system", "setting", "recall@10", *(["nDCG@10"] if judged else [])]
    heads += [
        f"queries/s, {words.threads(n)}, {how}" for n in measured.threads for how in MODES.values()
    ]
    heads += ["p95 ms", "for 100: recall@100", "for 100: queries/s, 1 thread, in batches"]
    heads += ["build s", "disk MB", "memory MB", "of it not in files", "cold s"]
    table = words.table(heads, [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])])
    about = (
        f"{_about(measured)} {told['dimensions']} dimensions, "
        f"{told['queries']} queries (one row of their ten missed is {0.1 / told['queries']:.5f} of "
        f"recall), {measured.rounds()} turns of each system. Of each system the setting that stands for "
        f"recall@10 {HEADLINE} above, or, below those that have one, the one with the highest recall. "
        f"All settings are in [the JSON]({results.name}/{measured.name}.json)."
    )
    name = f"recall-{measured.name}.svg"
    # The first plot is the one that the page opens with.
    image = "" if next(iter(drawn), None) == name else words.image(drawn, name, results)
    parts = [f"## {measured.title}", about, image, table]
    return "\n\n".join(part for part in parts if part)


def _about(measured: Measured) -> str:
    from .data import DATA_SETS

    return DATA_SETS[measured.name].about


def _promise(measured: Sequence[Measured]) -> str:
    """The recall that was asked of qsearch, the one that came, and what it cost."""
    rows = []
    for one in measured:
        points = one.points(one.threads[0])
        for name in one.systems:
            asked = [point for point in points if point.system == name and point.promises]
            if not asked:
                continue
            exact = next((point for point in points if point.system == OURS and point.sure), None)
            cells = [one.title, name, "–" if exact is None else words.number(exact.single.median)]
            for recall in PROMISES:
                point = next((some for some in asked if some.promises == recall), None)
                cells.append(
                    "–"
                    if point is None
                    else f"{point.recall10:.4f}, {words.number(point.single.median)}"
                )
            rows.append([*cells, one.systems[name].get("note", "")])
    if not rows:
        return ""
    said = (
        "qsearch is the only system here that is asked for a recall instead of for an effort. Beside each "
        "recall that is asked for: what came, and queries a second, one by one on one thread. qsearch "
        "measured with a sample of other queries like these, as a user with a log of queries would; "
        "qsearch untuned with rows of its own, which it does of itself. A plan is how many candidates the "
        "codes give to be rescored with floats; a query that is too unlike what was measured is answered "
        "exactly, and a plan with fewer candidates has more of these."
    )
    heads = ["data", "", "exact", *(f"asked {recall}" for recall in PROMISES), "plan"]
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
        f"{told['title']}: {told['rows']:,} texts as JSON Lines (all but {told['without_text']} that "
        f"have none), {told['queries']:,} different queries: {told['judged_queries']} with "
        "judgments, and titles of the texts to fill up; all-MiniLM-L6-v2 everywhere, all "
        "processors, one query at a time. Seconds count from the start of a process, with Python, "
        "imports and the model, and for qsearch with the export of the model to ONNX, which is "
        "made once on a machine. Shown are medians of the turns, with the smallest and the largest. "
        "The lines are those of the snippets in "
        "[scripts/benchmark/endtoend](../scripts/benchmark/endtoend), which do the same with each "
        "package; memory is USS in the process that opened the index."
    )
    return "\n\n".join(["## From texts on disk to answers", said, words.table(heads, rows)])


# The small print


def _failures(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """What was not measured, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    known = dict.fromkeys(name for one in measured for name in one.systems)
    for one in measured:
        for name, reason in one.failures(known).items():
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
    days = [day for one in measured for day in one.dates() if day]
    shares = [share for one in measured for share in one.others()]
    shares += [
        turn["others"]
        for one in (ends or {}).get("systems", {}).values()
        for turns in one["turns"].values()
        for turn in turns.values()
    ]
    notes = {one.systems.get(OURS, {}).get("note", "").split(";")[0] for one in measured} - {""}
    machine = [
        ["processor", f"{told['processor']}; {', '.join(told['instructions'])}"],
        ["qsearch", ", ".join(sorted(notes))],
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
                line = systems.setdefault(name, [name, found, known["about"]])
                if found not in line[1].split("; "):  # not all with the same
                    line[1] += f"; {found}"
    return "\n\n".join(
        [
            "## How it was measured",
            words.table(["", ""], machine),
            _METHOD,
            words.table(["system", "versions", "settings"], list(systems.values())),
        ]
    )


_METHOD = """\
Every system is built by a process of its own, on all processors, and then has its turn in each round
by a new one, one after the other, in another order in each round, so that a machine that slows down
slows down all. Shown are medians of the turns, in tables with the smallest and the largest in
brackets; a build that takes more than twenty seconds is made once.

- **Recall** counts a row as found if its cosine, in float64, is at least that of the k-th true
  neighbour (less 1e-6): equal texts stand in the data more than once. Recall@100 is that of a
  search for 100, with the same setting, or with an effort of 100 where it is less.
- **One by one**: searches for 10, for half a second or until all queries were asked. **In
  batches**: 64 queries in one call, others each time; nothing for a system that takes one at a time,
  which stands with its other figure in comparisons. p95 is given of what was asked twenty times a turn
  or more.
- **One thread** is one processor to which the process is tied, with the variables that set threads.
- **Cold** is from the start of the process, with Python and imports, to its first answer, when no
  file of the index was in memory. Libraries were.
- **Memory** is the USS after all searches: what would be free if the process ended. Pages of mapped
  files are in it, which the system can take back; what a process reads without mapping it, as
  sqlite-vec and LanceDB do, is in nobody's memory, though the system keeps it there. Python and NumPy
  are in it too, some 30 MB.
- **+ floats**: candidates by codes or a graph of codes, rescored with the float rows; by NumPy in this
  benchmark's code, unless the library does it.
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
        f"turns and builds, more than {100 * BUSY:.0f}% in {busy}"
    )
