"""What the page begins with: three sentences, and where another system is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import words
from .contests import best, contests, end_contests
from .figures import (
    HEADLINE,
    LEADERS,
    OURS,
    Measured,
    Point,
    fastest,
)
from .running import BUSY


def sentences(main: Measured) -> str:
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


def better(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
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
        f"behind in {len(lost)}: these; in {sum(one.close for one in lost)} of them turns of the two "
        "overlap (≈), so that another day may turn them round. In a cell stand the other system, how many "
        "times as good it is, and in brackets its figure and that of qsearch. An empty cell: qsearch is "
        "ahead, or it was not measured. p95, build, disk, memory and start are compared among systems that "
        f"reach recall@10 {HEADLINE}. [What was done about the largest losses](losses.md) is on a page of "
        "its own."
    )
    heads = ["", *every]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for title, found in every.items():
        for one in found:
            if one.times > 1:
                figures = f"{_figure(one.theirs)}; {_figure(one.mine)}{one.unit}"
                told = f"{one.system} {words.times(one.times, close=one.close)} ({figures})"
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
