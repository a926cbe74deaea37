"""The sections of the page that hold figures, each made of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import words
from .contests import best, build_of, cold_of, ends_of, memory_of
from .figures import (
    AVX2,
    HEADLINE,
    LEVELS,
    MODES,
    OURS,
    PROMISES,
    Measured,
    Point,
    Spread,
    fastest,
    ours,
)
from .running import BUSY


def fastest_systems(measured: Sequence[Measured]) -> str:
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
        "queries of any kind and of those alike, and stands here with the faster one that gave it, even "
        "where asked for more it would have been faster (its plan was made by times of its own); of "
        "the others it is the fastest setting that gave it, which one knows after trying them. Exact: "
        "settings whose answers are meant to be exact. Top 100: recall is that of a search for 100. ≈: "
        "turns of the two overlap. –: not measured."
    )
    table = words.table(["data", "recall", *heads], rows)
    return "\n\n".join(["## Who is fastest", said, table])


def _winner(order: dict[str, Point], mode: str, k: int = 10) -> str:
    found = []
    for point in best(order):
        speed = None if point is None else point.speed_for(mode, k)
        if point is not None and speed is not None:
            name = f"**{point.system}**" if ours(point.system) else point.system
            found.append((speed, f"{name} {words.number(speed.median)}"))
    if len(found) < 2:
        return f"{found[0][1]}, alone" if found else "–"
    found.sort(key=lambda one: one[0].median, reverse=True)
    (quick, first), (slow, second) = found
    return words.against(first, second, quick.median / slow.median, close=quick.meets(slow))


def data_set(
    measured: Measured, drawn: dict[str, Any], results: Path, *, several: bool = False
) -> str:
    """All systems on one data set.

    Args:
        measured: the data set.
        drawn: what the plots show, by file name.
        results: the folder of JSON and plots.
        several: whether others were measured on another machine.
    """
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
    on = f"; on {measured.told['machine']['processor']}" if several else ""
    about = (
        f"{_about(measured)} {told['dimensions']} dimensions, "
        f"{told['queries']} queries (one missed hit lowers recall by {0.1 / told['queries']:.5f}), "
        f"{_turns(measured)}{on}. Of each system the setting that is the fastest on "
        f"{words.threads(first)} of those that reach recall@10 {HEADLINE} (of qsearch, of those that were "
        "asked for it), one by one and in batches, or, below those that have one, the one with the highest "
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


def promise(measured: Sequence[Measured]) -> str:
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
        "(`--alike`). Where untuned is said to be alike, that is not so: these queries are not like rows, "
        "and less may come than was asked for."
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


def _beside(one: Spread, other: Spread) -> str:
    return words.times(one.median / other.median, 2, close=one.meets(other))


def without_avx512(measured: Sequence[Measured]) -> str:
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
                speed = less.speed(mode)
                beside = "–"
                if other is not None:
                    beside = f"{_beside(speed, other.speed(mode))} {other.system}"
                cells += [words.number(speed.median), _beside(speed, mine.speed(mode)), beside]
            if any(cell != "–" for cell in cells):
                rows.append([one.title, words.at_recall(level), *cells])
    if not rows:
        return ""
    said = (
        "qsearch with the kernels of a processor that has AVX2 only (`QSEARCH_KERNELS=avx2`), on one "
        "thread: queries a second, how many times as many as with AVX-512, and as the best of the "
        "others, which use whatever this processor has; ≈: turns of the two overlap. A recall may be "
        "reached in another way by either: the times that they measure decide."
    )
    heads = ["data", "recall"]
    for how in MODES.values():
        heads += [how, "beside AVX-512", "beside the best other"]
    return "\n\n".join(["## Without AVX-512", said, words.table(heads, rows)])


def batches_and_builds(main: Measured, drawn: dict[str, Any], results: Path) -> str:
    """Build time against speed."""
    image = words.image(drawn, "build.svg", results)
    batches = words.image(drawn, "recall-batches.svg", results)
    parts = [f"## {main.title}: batches, and the time to build", batches, image]
    return "\n\n".join(filter(None, parts)) if image or batches else ""


def endtoend(ends: dict[str, Any] | None) -> str:
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
    without = told["without_text"]
    left = f" (all but {without} that have none)" if without else ""
    said = (
        f"{told['title']}: {told['rows']:,} texts as JSON Lines{left}, "
        f"{told['queries']:,} different queries: {told['judged_queries']} with "
        "judgments, and titles of the texts to fill up; all-MiniLM-L6-v2 everywhere, all "
        "processors, one query at a time. Seconds count from the start of a process, with Python, "
        "imports and the model, and for qsearch with the export of the model to ONNX, which is "
        "made once on a machine. Shown are medians of the turns, with the smallest and the largest. "
        "The lines are those of the snippets in "
        "[scripts/benchmark/endtoend](../scripts/benchmark/endtoend), which do the same with each "
        "package; memory is USS in the process that opened the index."
    )
    return "\n\n".join(["## From texts on disk to answers", said, words.table(heads, rows)])
