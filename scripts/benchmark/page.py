"""The page, made of the JSON and of nothing else: every figure on it is computed from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import words
from .contests import best, build_of, cold_of, contests, end_contests, ends_of, memory_of
from .figures import (
    AVX2,
    HEADLINE,
    LEADERS,
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
from .results import METHOD
from .running import BUSY
from .systems import systems

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
        words.image(drawn, "headline.svg", results),
        _sentences(main),
        _better(measured, ends),
        _fastest(measured),
        *(_data_set(one, drawn, results) for one in measured),
        _promise(measured),
        _avx2(measured),
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
    points = main.points(main.threads[0])
    mine, other = best(fastest(points, HEADLINE, "single"))
    said = []
    if mine and other:
        said.append(_asked(mine, other, _any_kind(points, HEADLINE)))
    sure, other_sure = best(fastest(points, None, "single"))
    if sure and other_sure:
        quick, slow = sorted((sure, other_sure), key=lambda one: -one.single.median)
        said.append(
            f"When every answer has to be exact, {quick.system} is the fastest with "
            f"{words.number(quick.single.median)} queries a second, "
            f"{quick.single.median / slow.single.median:.1f} times as many as {slow.system} "
            f"({words.number(slow.single.median)})."
        )
    sizes = [_size_of(main, name) for name in (OURS, other.system)] if other else []
    if other and all(sizes):
        said.append(
            f"From finished vectors to an index that was searched, qsearch took {sizes[0]}, and "
            f"{other.system} {sizes[1]}."
        )
    told = main.told["data"]
    on = (
        f"{main.title}, {told['dimensions']} dimensions, by cosine; one thread, one query at a time. "
        f"Measured {max(main.dates())} on one machine ([which](#how-it-was-measured)): on another one "
        "other figures come, and other ratios. All data here are embeddings of one encoder, "
        f"all-MiniLM-L6-v2. The plot shows qsearch, and whatever else is among the {LEADERS} fastest at "
        f"some recall; [below](#{_anchor(main.title)}) are all."
    )
    shares = main.turns_beside(main.threads[0])
    busy = sum(share > BUSY for share in shares)
    if busy:
        on += f" {busy} of {len(shares)} turns ran beside other processes: take these figures as they are."
    return " ".join(said) + "\n\n" + on


def _asked(mine: Point, other: Point, any_kind: Point | None) -> str:
    """Who is the fastest at the recall of the headline; how fast qsearch is."""
    speed = words.number(mine.single.median)
    if mine.alike and any_kind is not None:
        answered = (
            f"{words.number(any_kind.single.median)} queries a second whatever they are like, and {speed} "
            "where they are known to be like its sample"
        )
    else:
        answered = f"{speed} queries a second"
    theirs = f"{other.system} answers {words.number(other.single.median)}"
    recall = f"For {HEADLINE:.0%} of the ten nearest"
    if other.single.median > mine.single.median:
        return (
            f"{recall} {theirs} queries a second and is the fastest, by a setting that was found by "
            "trying; qsearch, which is asked for the recall and finds the setting itself, answers "
            f"{answered}."
        )
    return (
        f"{recall} qsearch, which is asked for that recall, answers {answered} and is the fastest; "
        f"{theirs}, by a setting that was found by trying."
    )


def _size_of(main: Measured, name: str) -> str:
    """What the index of a system takes; nothing where that is not known."""
    if name not in main.systems:
        return ""
    built, memory, own = main.build(name), main.memory(name), main.anonymous(name)
    if built is None or memory is None or own is None:
        return ""
    return (
        f"{words.seconds(built.median)} and {words.megabytes(memory.median)} of memory, of which the "
        f"system can take back {words.megabytes(max(0.0, memory.median - own))}"
    )


def _any_kind(points: Sequence[Point], recall: float) -> Point | None:
    """What qsearch gives at a recall without being told what the queries are like."""
    return next(
        (one for one in points if (one.system, one.promises, one.alike) == (OURS, recall, False)),
        None,
    )


def _anchor(title: str) -> str:
    """What the headline of a section is called in a link."""
    kept = "".join(one for one in title.lower() if one.isalnum() or one in " -")
    return kept.replace(" ", "-")


def _instructions(machine: dict[str, Any]) -> str:
    there = machine["instructions"]
    told = ", ".join(there) or "no instructions that this page knows of"
    x86 = "x86_64" in machine["system"]
    return f"{told} and no AVX-512" if x86 and "avx512f" not in there else told


def _better(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """Where another system is better, with both figures: in every measure, on every data set."""
    every = {one.title: contests(one) for one in measured}
    if ends is not None:
        every[f"{ends['data']['rows']:,} texts, from end to end"] = end_contests(ends)
    some = [one for found in every.values() for one in found]
    lost = [one for one in some if one.times > 1]
    heading = "## Where another system is better"
    if not lost:
        return f"{heading}\n\nIn none of {len(some)} comparisons."
    said = (
        f"Of {len(some)} comparisons of qsearch, built with its graph, with the best of the others, it is "
        f"behind in {len(lost)}: these. In a cell stand the other system, how many times as good it is, "
        "and in brackets its figure and that of qsearch. An empty cell: qsearch is ahead, or it was not "
        "measured. p95, build, disk, memory and start are compared among systems that reach recall@10 "
        f"{HEADLINE}. [What was done about the largest losses](losses.md) is on a page of its own."
    )
    heads = ["", *every]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for title, found in every.items():
        for one in found:
            if one.times > 1:
                figures = f"{_figure(one.theirs)}; {_figure(one.mine)}{one.unit}"
                told = f"{one.system} {one.times:.1f}× ({figures})"
                cells.setdefault((one.group, one.what), {})[title] = told
    order = list(dict.fromkeys((one.group, one.what) for one in some))
    rows = []
    for group in dict.fromkeys(group for group, _ in order):
        here = [(of, what) for of, what in order if of == group and (of, what) in cells]
        if here:
            rows.append([f"**{group}**", *[""] * len(every)])
            rows += [
                [what, *(cells[of, what].get(title, "") for title in every)] for of, what in here
            ]
    return "\n\n".join([heading, said, words.table(heads, rows)])


def _figure(value: float) -> str:
    return f"{value:.4f}" if 0 < value < 1 else words.number(value)


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
                cells.append(_winner(fastest(points, level, "batch", 100), "batch", 100))
            if any(cell != "–" for cell in cells):
                rows.append([one.title, words.at_recall(level), *cells])
    hows = [*MODES.values(), "in batches, top 100"]
    heads = [f"{words.threads(n)}, {how}" for n in counts for how in hows]
    said = (
        "Queries a second of the fastest system, and of qsearch or, where that is the fastest, of the "
        "next one; behind them how many times faster the first is. qsearch is asked for this recall, of "
        "queries of any kind and of those alike, and stands here with the faster one that gave it; of "
        "the others it is the fastest setting that gave it, which one knows after trying them. Exact: "
        "settings whose answers are meant to be exact. Top 100: recall is that of a search for 100. –: not "
        "measured."
    )
    table = words.table(["data", "recall", *heads], rows)
    return "\n\n".join(["## Who is fastest", said, table])


def _winner(order: dict[str, Point], mode: str, k: int = 10) -> str:
    found = []
    for point in best(order):
        speed = None if point is None else point.speed_for(mode, k)
        if point is not None and speed is not None:
            name = f"**{point.system}**" if ours(point.system) else point.system
            found.append((speed.median, f"{name} {words.number(speed.median)}"))
    if len(found) < 2:
        return f"{found[0][1]}, alone" if found else "–"
    (quick, first), (slow, second) = sorted(found, reverse=True)
    return words.against(first, second, quick / slow)


def _data_set(measured: Measured, drawn: dict[str, Any], results: Path) -> str:
    """All systems on one data set."""
    told = measured.told["data"]
    judged = any(point.ndcg10 is not None for point in measured.points(measured.threads[0]))
    first = measured.threads[0]
    by_threads = {n: measured.points(n) for n in measured.threads}
    reached = {mode: fastest(by_threads[first], HEADLINE, mode) for mode in MODES}
    rows = []
    for name in measured.systems:
        some = [one for one in by_threads[first] if one.system == name]
        if not some:
            continue
        likely = max(some, key=lambda one: one.recall10)
        point, batched = (reached[mode].get(name, likely) for mode in MODES)
        batches = measured.systems[name]["batches"]
        setting = point.setting
        if batches and batched.setting != setting:
            setting += f"; in batches {batched.setting}"
        turns = "" if point.turns == measured.rounds() else f" ({point.turns} turns)"
        recall = words.recall(point.recall10, point.half10)
        if batches and batched.batch_recall10 != point.recall10:
            recall += f"; {words.share(batched.batch_recall10)}"
        cells = [name, setting + turns, recall]
        if judged:
            cells.append("–" if point.ndcg10 is None else f"{point.ndcg10:.4f}")
        for points in by_threads.values():
            of = {one.setting: one for one in points if one.system == name}
            single = of[point.setting].single if point.setting in of else None
            batch = of[batched.setting].batch if batches and batched.setting in of else None
            cells += [words.spread(single), words.spread(batch)]
        cells += [
            "–" if point.p95 is None else f"{point.p95:.3g}",
            words.seconds(build_of(measured, name), unit=False),
            words.megabytes(measured.disk(name), unit=False),
            words.megabytes(memory_of(measured, name), unit=False),
            words.megabytes(measured.anonymous(name), unit=False),
            words.seconds(cold_of(measured, name), unit=False),
        ]
        rows.append((0 if name in reached["single"] else 1, -point.single.median, cells))
    heads = ["system", "setting", "recall@10", *(["nDCG@10"] if judged else [])]
    heads += [
        f"queries/s, {words.threads(n)}, {how}" for n in measured.threads for how in MODES.values()
    ]
    heads += ["p95 ms", "build s", "disk MB", "memory MB", "of it not reclaimable", "start s"]
    table = words.table(heads, [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])])
    about = (
        f"{_about(measured)} {told['dimensions']} dimensions, "
        f"{told['queries']} queries (one missed hit lowers recall by {0.1 / told['queries']:.5f}), "
        f"{_turns(measured)}. Of each system the fastest setting that reaches recall@10 "
        f"{HEADLINE}, one by one and in batches, or, below those that have one, the one with the highest "
        f"recall. All settings, and recall@100, are in [the JSON]({results.name}/{measured.name}.json)."
    )
    name = f"recall-{measured.name}.svg"
    image = words.image(drawn, name, results)
    parts = [f"## {measured.title}", about, image, table]
    return "\n\n".join(part for part in parts if part)


def _turns(measured: Measured) -> str:
    """How many turns there were, and beside what."""
    told = []
    for threads in measured.threads:
        shares = measured.turns_beside(threads)
        busy = sum(share > BUSY for share in shares)
        beside = "none disturbed by other processes"
        if busy:
            beside = (
                f"**{busy} of all {len(shares)} beside other processes** that used more than "
                f"{BUSY:.0%} of the processors"
            )
        told.append(
            f"{measured.rounds(threads)} turns of each system on {words.threads(threads)}, {beside}"
        )
    return "; ".join(told)


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
            if not asked or name == AVX2:
                continue
            exact = next(  # a variant that has none of its own has that of qsearch
                (
                    point
                    for of in (name, OURS)
                    for point in points
                    if point.system == of and point.sure
                ),
                None,
            )
            speeds = "–"
            if exact is not None:
                alone, batch = exact.single.median, exact.batch.median
                speeds = f"{words.number(alone)}; in batches {words.number(batch)}"
            for alike in (False, True):
                of = {point.promises: point for point in asked if point.alike == alike}
                if of:
                    kind = "alike" if alike else "of any kind"
                    told = [_kept(of.get(recall)) for recall in PROMISES]
                    rows.append([one.title, f"{name}, {kind}", speeds, *told])
    if not rows:
        return ""
    said = (
        "qsearch is the only system here that is asked for a recall instead of for an effort. Beside each "
        "recall that is asked for: what came, and queries a second, on one thread. qsearch measured recall "
        "with a sample of other queries, as a user with a log of queries would: of the same kind as "
        "those that came, but for the token embeddings that are asked by sentences (of another kind) and "
        "SciFact (none: rows of its own). qsearch untuned measured with rows of its own, which every "
        "build does. Queries of any kind are held against that sample, and answered exactly where they "
        "are too unlike; alike are those that a user says are like it: they are held against nothing "
        "(`--alike`)."
    )
    plans = [
        [one.title, note] for one in measured if (note := one.systems.get(OURS, {}).get("note"))
    ]
    how = (
        "The plan that qsearch chose for each recall: how many candidates, and whether the codes or the "
        "graph give them (those of its variants are in the JSON)."
    )
    heads = ["data", "", "exact", *(f"asked {recall}" for recall in PROMISES)]
    parts = ["## What is asked, and what comes", said, words.table(heads, rows)]
    return "\n\n".join([*parts, how, words.table(["data", "plans"], plans)])


def _kept(point: Point | None) -> str:
    """What came of one recall that was asked for."""
    if point is None:
        return "–"
    return (
        f"{point.recall10:.4f}, {words.number(point.single.median)}; in batches "
        f"{point.batch_recall10:.4f}, {words.number(point.batch.median)}"
    )


def _avx2(measured: Sequence[Measured]) -> str:
    """What qsearch does without AVX-512, beside itself and beside the others."""
    rows = []
    for one in measured:
        points = one.points(one.threads[0])
        for level in LEVELS:
            cells = []
            for mode in MODES:
                order = fastest(points, level, mode)
                less, (mine, other) = order.get(AVX2), best(order)
                if less is None or mine is None:
                    cells += ["–"] * 3
                    continue
                speed = less.speed(mode).median
                beside = "–"
                if other is not None:
                    beside = f"{speed / other.speed(mode).median:.2f}× {other.system}"
                cells += [words.number(speed), f"{speed / mine.speed(mode).median:.2f}×", beside]
            if any(cell != "–" for cell in cells):
                rows.append([one.title, words.at_recall(level), *cells])
    if not rows:
        return ""
    said = (
        "qsearch with the kernels of a processor that has AVX2 only (`QSEARCH_KERNELS=avx2`), on one "
        "thread: queries a second, how many times as many as with AVX-512, and as the best of the "
        "others, which use whatever this processor has. A recall may be reached in another way by "
        "either: the times that they measure decide."
    )
    heads = ["data", "recall"]
    for how in MODES.values():
        heads += [how, "beside AVX-512", "beside the best other"]
    return "\n\n".join(["## Without AVX-512", said, words.table(heads, rows)])


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
    for one in measured:
        for name, reason in one.failures().items():
            reasons.setdefault((name, reason), []).append(one.title)
    for name, told in (ends or {}).get("systems", {}).items():
        if "failed" in told:
            reasons.setdefault((name, told["failed"]["reason"]), []).append("from end to end")
    rows = [[name, reason, "; ".join(titles)] for (name, reason), titles in reasons.items()]
    left = [
        f"of {one.title}: {', '.join(names)}"
        for one in measured
        if (names := [name for name in systems() if name not in one.systems])
    ]
    if not rows and not left:
        return ""
    parts = ["## What was not measured"]
    parts += [words.table(["system", "reason", "data"], rows)] if rows else []
    parts += [f"Not run, for want of time: {'; '.join(left)}."] if left else []
    return "\n\n".join(parts)


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
    parts = [
        "## How it was measured",
        words.table(["", ""], machine),
        _earlier(measured),
        _METHOD,
        words.table(["system", "versions", "settings"], list(systems.values())),
    ]
    return "\n\n".join(part for part in parts if part)


def _earlier(measured: Sequence[Measured]) -> str:
    """What was measured in another way than the page says."""
    titles = [one.title for one in measured if one.told.get("method", 1) < METHOD]
    if not titles:
        return ""
    every = "All of this" if len(titles) == len(measured) else "; ".join(titles)
    return (
        f"**{every} was measured by an earlier form of this benchmark**: each query was timed once at "
        "most, behind three that were not; turns beside other processes were kept; recall was that of "
        "batches; faiss's HNSW was built with an efConstruction of 40, and its RaBitQ without a rotation; "
        "qsearch was built without its graph."
    )


_METHOD = """\
Every system is built by a process of its own, on all processors, and then has its turn in each round
by a new one, one after the other, in another order in each round, so that a machine that slows down
slows down all. Shown are medians of the turns, of queries a second with the smallest and the largest in
brackets. Builds are made three times one after the other, those that take more than twenty seconds once.
They begin with finished vectors: encoding is no part of them.

- **Recall** counts a row as found if its cosine, in float64, is at least that of the k-th true
  neighbour (less 1e-6): equal texts stand in the data more than once. Recall@100 is that of a
  search for 100, with the same setting, or with an effort of 100 where it is less. ± is half of the
  95% interval of the mean over the queries: settings that differ by less may change places.
- **One by one**: searches for 10, for half a second, behind a pass over all queries that is not timed.
  **In batches**: 64 queries in one call, others than in the call before; nothing for a system that takes
  one at a time, which stands with its other figure in comparisons. p95 is given of what was asked twenty
  times a turn or more. A turn or a build beside processes that use more than 5% of the processors is made
  again, three times at most.
- **One thread** is one processor to which the process is tied, with the variables that set threads.
- **Start** is from the start of the process, with Python and imports, to its first answer, when no
  file of the index was in memory. Libraries were.
- **Memory** is the USS after all searches: what would be free if the process ended. Pages of mapped
  files are in it, which the system can take back ("of it not reclaimable" is without these); what a
  process reads without mapping it, as sqlite-vec and LanceDB do, is in nobody's memory, though the system
  keeps it there. Python and NumPy are in it too, some 30 MB.
- **+ floats**: candidates by codes or a graph of codes, rescored with the float rows; by NumPy in this
  benchmark's code, unless the library does it.
- **Disk** is what the index takes, with the float rows where candidates are rescored with them.
- Every system gets the same rows as a .npy file, of any length; those that need unit rows make them
  in their build.

To make it again: [requirements.txt](../scripts/benchmark/requirements.txt) tells how to make the
environment, and [scripts/benchmark](../scripts/benchmark) has one file a system. A run goes on where the
one before stopped.

```bash
scripts/benchmark/run all --scifact FOLDER --registry FOLDER   # all of it, and the page: some eight hours
scripts/benchmark/run run tokens                               # one set; no data needed: the model has them
scripts/benchmark/run run registry-100k --registry FOLDER      # vectors of your own
scripts/benchmark/run endtoend --texts FOLDER                  # texts and judgments in BEIR's form
scripts/benchmark/run page
```

The token embeddings come with the model, SciFact from BEIR. The short texts of registry-100k (from Debian's
package descriptions, WordNet and free dictionaries) are not published with this repository; `--registry`
takes any folder with `vectors.f16.npy` (rows, d) and `query_vectors.f32.npy` (queries, d), every second
query of which is measured with."""


def _busy(shares: Sequence[float]) -> str:
    """How much others used the processors meanwhile."""
    busy = sum(share > BUSY for share in shares)
    return (
        f"{100 * statistics.median(shares):.1f}% of the processors in the median of {len(shares)} "
        f"turns and builds, more than {100 * BUSY:.0f}% in {busy}"
    )
