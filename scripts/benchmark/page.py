"""The page, made of the JSON and of nothing else: every figure on it is computed from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ends import SNIPPETS
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
        _image(drawn, f"recall-{main.name}.svg", results),
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


@dataclass(frozen=True, slots=True)
class Contest:
    """qsearch and the best other system in one measure.

    Attributes:
        what: is measured.
        mine: qsearch's figure.
        theirs: the other's.
        system: which.
        times: how much better the other is; below 1: qsearch is better.
        unit: behind the figures.
        kind: groups contests that tell the same story.
    """

    what: str
    mine: float
    theirs: float
    system: str
    times: float
    unit: str
    kind: str


def _sentences(main: Measured) -> str:
    """Three sentences for a reader with a minute; the first is of who is faster."""
    threads = main.threads[0]
    points = main.points(threads)
    at = fastest(points, HEADLINE, "single")
    sure = fastest(points, None, "single")
    said = []
    mine, other = _best(at)
    if mine and other:
        said.append(
            f"On {main.title}, one thread, one query at a time, {_against(mine, other)}, at recall@10 "
            f"of at least {HEADLINE}."
        )
    mine_sure, other_sure = _best(sure)
    if mine_sure and other_sure:
        said.append(f"Where every answer has to be exact, {_against(mine_sure, other_sure)}.")
    built, theirs = main.build(OURS), main.build(other.system) if other else None
    if built and theirs and other:
        took = (
            f"To build, qsearch takes {_seconds(built.median)}, {other.system} "
            f"{_seconds(theirs.median)}"
        )
        memory = [main.memory(name) for name in (OURS, other.system)]
        if memory[0] and memory[1]:
            took += (
                f"; behind all searches they hold {_megabytes(memory[0].median)} and "
                f"{_megabytes(memory[1].median)} of memory"
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
        f"{names[0]} answers {_number(quick.single.median)} queries a second and {names[1]} "
        f"{_number(slow.single.median)}, {quick.single.median / slow.single.median:.1f} times as few"
    )


def _best(order: dict[str, Point]) -> tuple[Point | None, Point | None]:
    """The fastest of qsearch's ways, and of the others."""
    mine = next((point for name, point in order.items() if ours(name)), None)
    other = next((point for name, point in order.items() if not ours(name)), None)
    return mine, other


def _better(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """Where another system is better, the largest differences first, one line for each kind of measure."""
    contests = [one for some in measured for one in _contests(some)] + _end_contests(ends)
    lost = sorted((one for one in contests if one.times > 1), key=lambda one: -one.times)
    seen: set[str] = set()
    lines = []
    for one in lost:
        if one.kind in seen:
            continue
        seen.add(one.kind)
        lines.append(
            f"- {one.what}: {one.system} {_number(one.theirs)}{one.unit}, qsearch "
            f"{_number(one.mine)}{one.unit} ({one.times:.1f} times)."
        )
    said = (
        "In each measure, the data where qsearch is farthest behind the best of the others. Of "
        f"{len(contests)} comparisons with the best of the others, qsearch is behind in "
        f"{len(lost)}."
    )
    return "\n\n".join(["## Where another system is better", said, "\n".join(lines) or "Nowhere."])


def _contests(measured: Measured) -> list[Contest]:
    """All that is compared on one data set."""
    found = []
    for threads in measured.threads:
        points = measured.points(threads)
        several = "one thread" if threads == 1 else f"{threads} threads"
        for mode, how in MODES.items():
            for level in LEVELS:
                mine, other = _best(fastest(points, level, mode))
                if mine is None or other is None:
                    continue
                a, b = mine.speed(mode).median, other.speed(mode).median
                what = f"Queries a second, {_level(level)}, {how}, {several}, {measured.title}"
                kind = f"speed {level} {mode}"
                found.append(
                    Contest(what, a, b, f"{other.system} ({other.setting})", b / a, "", kind)
                )
    reached = fastest(measured.points(measured.threads[0]), HEADLINE, "single")
    where = f"{measured.title}, of what reaches recall@10 {HEADLINE}"
    if OURS not in reached:
        return found
    for kind, value in (
        ("build", _build_of),
        ("disk", _disk_of),
        ("memory", _memory_of),
        ("cold", _cold_of),
    ):
        mine_value = value(measured, OURS)
        others = {
            name: one
            for name in reached
            if not ours(name) and (one := value(measured, name)) is not None
        }
        if mine_value is None or not others:
            continue
        name = min(others, key=lambda one: others[one])
        scale, unit = (1e6, " MB") if kind in ("disk", "memory") else (1.0, " s")
        found.append(
            Contest(
                f"{_MEASURES[kind]}, {where}",
                mine_value / scale,
                others[name] / scale,
                name,
                mine_value / max(others[name], 1e-9),
                unit,
                kind,
            )
        )
    return found


_MEASURES = {
    "build": "Time to build",
    "disk": "Size on disk",
    "memory": "Memory behind all searches",
    "cold": "From the start of a process to its first answer",
}


def _build_of(measured: Measured, name: str) -> float | None:
    return _median(measured.build(name))


def _disk_of(measured: Measured, name: str) -> float | None:
    return measured.disk(name)


def _memory_of(measured: Measured, name: str) -> float | None:
    return _median(measured.memory(name))


def _cold_of(measured: Measured, name: str) -> float | None:
    return _median(measured.cold(name))


def _end_contests(ends: dict[str, Any] | None) -> list[Contest]:
    """What is compared from end to end."""
    found = []
    rows = _ends(ends)
    mine = rows.pop(OURS, {})
    for column, (what, unit, more) in _END_MEASURES.items():
        own = mine.get(column)
        others = {name: value for name, one in rows.items() if (value := one[column]) is not None}
        if own is None or not others:
            continue
        name = (max if more else min)(others, key=lambda one: others[one])
        times = others[name] / own if more else own / others[name]
        found.append(Contest(what, own, others[name], name, times, unit, f"endtoend {column}"))
    return found


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
                rows.append([one.title, _level(level), *cells])
    heads = [f"{_threads(n)}, {how}" for n in counts for how in MODES.values()]
    said = (
        "The fastest setting of each system that reaches the recall, by the median of its turns; "
        "behind it, how many times as fast as the other it is: than qsearch, where it is another "
        "system; than the fastest of the others, where it is qsearch. Exact: systems whose "
        "answers are meant to be exact."
    )
    table = _table(["data", "recall@10", *heads], rows)
    return "\n\n".join(["## Who is fastest", said, table])


def _winner(order: dict[str, Point], mode: str) -> str:
    mine, other = _best(order)
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
        cells = [name, point.setting, _share(point.recall10), _share(point.recall100)]
        if judged:
            cells.append("–" if point.ndcg10 is None else f"{point.ndcg10:.4f}")
        for points in by_threads.values():
            same = [one for one in points if (one.system, one.setting) == (name, point.setting)]
            single = same[0].single if same else None
            batch = same[0].batch if same and measured.systems[name]["batches"] else None
            cells += [_spread(single), _spread(batch)]
        cells += [
            f"{point.p95:.3g}",
            _seconds(_build_of(measured, name), unit=False),
            _megabytes(measured.disk(name), unit=False),
            _megabytes(_memory_of(measured, name), unit=False),
            _seconds(_cold_of(measured, name), unit=False),
        ]
        rows.append((0 if name in reached else 1, -point.single.median, cells))
    heads = ["system", "setting", "recall@10", "@100", *(["nDCG@10"] if judged else [])]
    heads += [
        f"queries/s, {_threads(n)}, {how}" for n in measured.threads for how in MODES.values()
    ]
    heads += ["p95 ms", "build s", "disk MB", "memory MB", "cold s"]
    table = _table(heads, [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])])
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
    image = "" if next(iter(drawn), None) == name else _image(drawn, name, results)
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
            cells.append(_share(known["recall10"]) if known else "–")
        rows.append([*cells, told.get("note", "")])
    if not rows:
        return ""
    said = (
        "qsearch is the only system here that is asked for a recall instead of for an effort. "
        "What came of it, and how many candidates its plan has; a query that is too unlike what "
        "was measured is answered exactly."
    )
    heads = ["data", "asked 0.999", "0.99", "0.95", "0.9", "plan"]
    return "\n\n".join(["## What is asked, and what comes", said, _table(heads, rows)])


def _size(measured: Sequence[Measured], drawn: dict[str, Any], results: Path) -> str:
    """Time against rows."""
    images = [_image(drawn, name, results) for name in ("rows-exact.svg", "rows-recall.svg")]
    if not any(images):
        return ""
    return "\n\n".join(["## Time against number of rows", *filter(None, images)])


def _build(main: Measured, drawn: dict[str, Any], results: Path) -> str:
    """Build time against speed."""
    image = _image(drawn, "build.svg", results)
    batches = _image(drawn, "recall-batches.svg", results)
    parts = [f"## {main.title}: batches, and the time to build", batches, image]
    return "\n\n".join(filter(None, parts)) if image or batches else ""


# From end to end

_END_MEASURES = {
    "build_first": ("From texts on disk to the first answer", " s", False),
    "build_last": ("From texts on disk to the thousandth answer", " s", False),
    "open_first": ("From an index on disk to the first answer", " s", False),
    "open_last": ("From an index on disk to the thousandth answer", " s", False),
    "memory": ("Memory behind a thousand queries", " MB", False),
    "lines": ("Lines of user code", "", False),
    "ndcg10": ("nDCG@10", "", True),
}


def _ends(ends: dict[str, Any] | None) -> dict[str, dict[str, float | None]]:
    """The medians of each system."""
    found: dict[str, dict[str, float | None]] = {}
    for name in SNIPPETS:
        told = (ends or {}).get("systems", {}).get(name)
        if told is None or "failed" in told or not told["turns"].get("open"):
            continue
        built, again = (list(told["turns"][kind].values()) for kind in ("build", "open"))
        found[name] = {
            "build_first": _median_of(one["first"] for one in built),
            "build_last": _median_of(one["last"] for one in built),
            "open_first": _median_of(one["first"] for one in again),
            "open_last": _median_of(one["last"] for one in again),
            "memory": _median_of(one["memory"]["uss"] / 1e6 for one in again),
            "disk": _median_of(one["bytes"] / 1e6 for one in built),
            "lines": told["lines"],
            "ndcg10": told["recall"].get("ndcg10"),
        }
    return found


def _endtoend(ends: dict[str, Any] | None) -> str:
    """From texts on disk to answers."""
    figures = _ends(ends)
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
            cells.append(_range(Spread(tuple(values))))
        cells += [
            _number(one["memory"] or 0),
            _number(one["disk"] or 0),
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
        f"SciFact: {told['rows']:,} abstracts as JSON Lines, {told['queries']:,} different "
        f"queries, of which {told['judged_queries']} have judgments; all-MiniLM-L6-v2 everywhere, "
        "all threads, one query at a time. Seconds count from the start of a process, with "
        "Python, imports and the model, and for qsearch with the export of the model to ONNX, "
        "which is made once on a machine. The lines are those of the snippets in "
        "[scripts/benchmark/endtoend](../scripts/benchmark/endtoend), which do the same with "
        "each package; memory is USS in the process that opened the index."
    )
    return "\n\n".join(["## From texts on disk to answers", said, _table(heads, rows)])


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
    return "\n\n".join(["## What was not measured", _table(["system", "reason", "data"], rows)])


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
            _table(["", ""], machine),
            _METHOD,
            _table(["system", "versions", "settings"], list(systems.values())),
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


# Words


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(value: str) -> str:
    return value.replace("|", "\\|")


def _image(drawn: dict[str, dict[str, Any]], name: str, results: Path) -> str:
    return f"![{drawn[name]['title']}]({results.name}/{name})" if name in drawn else ""


def _level(level: float | None) -> str:
    return "exact" if level is None else f"≥ {level}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    return f"{_number(spread.median)} ({_number(spread.low)}–{_number(spread.high)})"


def _range(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})"


def _seconds(value: float | None, *, unit: bool = True) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" + " s" * unit if value < 10 else f"{value:,.0f}" + " s" * unit


def _megabytes(value: float | None, *, unit: bool = True) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f}" + " MB" * unit


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _median_of(values: Iterable[float]) -> float | None:
    some = list(values)
    return statistics.median(some) if some else None
