"""Pictures of an evaluation that can be printed in grey: labelled directly, one shape a way."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import OptionError
from qsearch.evaluation.intervals import mean_of
from qsearch.evaluation.measures import found_among
from qsearch.evaluation.tables import asked_of
from qsearch.wording import printable

if TYPE_CHECKING:
    from qsearch.evaluation.measured import Measured, WayResult

__all__ = ["FORMATS", "check_picture", "picture", "plot_evaluation"]

FORMATS = (".svg", ".png", ".pdf")

_MARKERS = "osD^vP*X<>hp"
_DARK, _GREY, _PALE = "#222222", "#999999", "#dddddd"
_SIZE = 9.0
_LABEL_ROOM = 0.055
"""Of the height of a panel, that a label takes."""
_RIDGE = 0.7
"""Of the room between two ways, that the highest bar of a distribution takes."""


def check_picture(path: Path | None) -> None:
    """What can be known before anything is measured.

    Raises:
        OptionError: matplotlib is not installed, the name says no known format, or there is no such folder.
    """
    if path is not None and path.suffix.lower() not in FORMATS:
        raise OptionError(f"a picture is called {', '.join(FORMATS)}, found {path.name!r}")
    if path is not None and not path.parent.is_dir():
        raise OptionError(f"{path} cannot be written (there is no folder {path.parent})")
    try:
        import matplotlib  # noqa: F401 (whether it is there)
    except ImportError:
        raise OptionError("pictures need matplotlib: pip install matplotlib") from None


def picture(figure: Any, form: str) -> bytes:
    """A figure as the content of a file.

    Args:
        figure: see ``plot_evaluation``.
        form: one of ``FORMATS``.
    """
    content = io.BytesIO()
    with _style():
        figure.savefig(content, dpi=150, format=form.removeprefix("."))
    return content.getvalue()


def plot_evaluation(evaluation: Measured) -> Any:
    """Draw what was measured.

    Args:
        evaluation: with one way at least.

    Returns:
        The ``matplotlib.figure.Figure``.

    Raises:
        OptionError: matplotlib is not installed, or there is nothing to draw.
    """
    panels = [draw for draw, is_there in _PANELS if is_there(evaluation)]
    if not panels:
        raise OptionError(
            "there is nothing to draw: neither times nor judgments, nor a way to hold against exact search"
        )
    with _style():
        return _drawn(evaluation, panels)


def _style() -> Any:
    """Texts stay texts, in files and where they hold dollars."""
    from matplotlib import rc_context

    return rc_context({"svg.fonttype": "none", "text.parse_math": False})


def _drawn(evaluation: Measured, panels: Sequence[Callable[[Any, Measured], None]]) -> Any:
    from matplotlib.figure import Figure

    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows), layout="constrained")
    every = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes, draw in zip(every, panels, strict=False):
        draw(axes, evaluation)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(labelsize=_SIZE - 1)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    index = evaluation.index
    name = printable(Path(index["path"]).name)
    held = f"{name}: {index['documents']:,} documents of {index['dimensions']:,} dimensions"
    asked = textwrap.wrap(printable(asked_of(evaluation)), int(62 * columns), max_lines=3)
    figure.suptitle("\n".join([held, *asked]), fontsize=_SIZE + 1)
    return figure


def _against_time(axes: Any, evaluation: Measured) -> None:
    """Recall against milliseconds of a query, with intervals."""
    k = evaluation.depths[0]
    exact: float | None = None
    points, names = [], []
    for number, one in enumerate(_by_meaning(evaluation)):
        taken = one.times.mean
        recall = evaluation.recall(one.name, k)
        if taken is None or np.isnan(recall.mean):
            continue
        if one.exact:
            exact = taken
        elif recall.interval is not None:
            axes.plot([taken] * 2, [recall.interval.low, recall.interval.high], color=_GREY, lw=1)
        axes.plot(taken, recall.mean, _marker(number), color=_DARK, markersize=5)
        points.append((taken, recall.mean))
        names.append(_label(one))
    _milliseconds(axes, [x for x, _ in points])
    low = min(axes.get_ylim()[0], 0.99)
    bend, top = 1.0 + 0.03 * (1.0 - low), 1.0 + 0.1 * (1.0 - low)  # above are the labels
    axes.set_ylim(low, 1.0 + 0.5 * (1.0 - low))
    axes.set_yticks([one for one in axes.get_yticks() if low <= one <= 1.0])
    places = _apart([float(np.log(x)) for x, _ in points], np.log(axes.get_xlim()), 0.045)
    for (x, y), place, name in zip(points, np.exp(places), names, strict=True):
        # Up, then aside: lines that keep their order do not cross.
        axes.plot([x, x, place], [y, bend, top], color=_GREY, lw=0.7, ls=":", zorder=0)
        axes.annotate(
            name,
            (place, top),
            xytext=(-2, 1),
            textcoords="offset points",
            rotation=60,
            rotation_mode="anchor",
            fontsize=_SIZE - 1,
        )
    if exact is not None:
        axes.plot([exact, exact], [low, 1.0], color=_GREY, linestyle="--", linewidth=1, zorder=0)
        axes.annotate(
            f"exact search: {exact:.3g} ms",
            (exact, low),
            xytext=(3, 4),
            textcoords="offset points",
            rotation=90,
            fontsize=_SIZE - 2,
            color=_DARK,
            ha="left",
            va="bottom",
        )
    axes.set_xlabel("milliseconds a query, one by one (mean)" + _absent(evaluation), fontsize=_SIZE)
    axes.set_title(f"recall@{k} against exact search", fontsize=_SIZE, loc="left")


def _latency(axes: Any, evaluation: Measured) -> None:
    """How the times of each way's single queries are spread, with what half, 95% and 99% do not exceed."""
    ways = [one for one in evaluation.ways if one.times.singles]
    every = np.concatenate([one.times.singles for one in ways])
    edges = _log_edges(every)
    for number, one in enumerate(ways):
        times = one.times.percentiles() or {}
        y = len(ways) - 1 - number
        counts, _ = np.histogram(np.clip(one.times.singles, edges[0], edges[-1]), edges)
        heights = y + _RIDGE * counts / counts.max()
        axes.stairs(heights, edges, baseline=y, fill=True, color=_PALE, zorder=0)
        axes.plot([min(one.times.singles), max(one.times.singles)], [y, y], color=_GREY, lw=1)
        for name, marker in (("p50", "o"), ("p95", "|"), ("p99", "x")):
            if name in times:
                axes.plot(times[name], y, marker, color=_DARK, markersize=6, zorder=2)
    axes.set_yticks(range(len(ways)), [_label(one) for one in reversed(ways)], fontsize=_SIZE - 1)
    axes.set_ylim(-0.7, len(ways) - 0.2)
    _milliseconds(axes, every)
    axes.set_xlabel("milliseconds a query, one by one", fontsize=_SIZE)
    axes.set_title(
        "latency: how many take so long; ● p50, | p95, × p99", fontsize=_SIZE, loc="left"
    )


def _log_edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of bins that are as wide everywhere on a logarithmic axis."""
    low, high = _span(values)
    return np.geomspace(low, max(high, 1.01 * low), 65)


def _span(milliseconds: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """The least and the most, which have a logarithm: a clock may not see how long a search takes."""
    return max(float(min(milliseconds)), 1e-6), max(float(max(milliseconds)), 1e-6)


def _by_rank(axes: Any, evaluation: Measured) -> None:
    """How many of the exact neighbours of each rank each way finds."""
    from matplotlib.ticker import MaxNLocator

    exact = evaluation.exact
    if exact is None:
        return
    k = max(1, int((exact[evaluation.own] >= 0).any(axis=0).sum()))  # ranks that there are
    ends: dict[float, list[str]] = {}
    ranks = np.arange(1, k + 1)
    for number, one in enumerate(_by_meaning(evaluation)):
        if one.exact:
            continue
        positions = one.answers[evaluation.depths[-1]].positions
        found = _found_by_rank(positions, exact, evaluation.own)[:k]
        axes.plot(
            ranks,
            found,
            color=_DARK if number % 2 else _GREY,
            lw=1,
            marker=_marker(number),
            markevery=max(1, k // 8),
            markersize=4,
            clip_on=False,
        )
        ends.setdefault(round(float(found[-1]), 3), []).append(_label(one))
    low = min(axes.get_ylim()[0], 0.95)
    axes.set_ylim(low, 1.0 + 0.03 * (1.0 - low))
    labels = ["\n".join(textwrap.wrap(", ".join(some), 16)) for some in ends.values()]
    lines = [1 + label.count("\n") for label in labels]
    places = _apart(list(ends), axes.get_ylim(), _LABEL_ROOM, lines)
    for label, place in zip(labels, places, strict=True):
        axes.annotate(
            label,
            (k, place),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=_SIZE - 1,
            va="center",
        )
    axes.set_xlim(1, max(2, k))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rank by exact search" + _absent(evaluation), fontsize=_SIZE)
    axes.set_title(
        f"share that is found at k = {evaluation.depths[-1]}", fontsize=_SIZE, loc="left"
    )


def _gain(axes: Any, evaluation: Measured) -> None:
    """NDCG of each way, with intervals."""
    ways = [one for one in evaluation.ways if one.measures]
    name = next(iter(ways[0].measures))
    for number, one in enumerate(ways):
        value = mean_of(one.measures[name])
        y = len(ways) - 1 - number
        if value.interval is not None:
            axes.plot([value.interval.low, value.interval.high], [y, y], color=_GREY, lw=1.5)
        axes.plot(value.mean, y, "o", color=_DARK, markersize=5)
        axes.annotate(
            f"{value.mean:.3f}",
            (value.mean, y),
            xytext=(0, 5),
            textcoords="offset points",
            fontsize=_SIZE - 2,
            ha="center",
        )
    axes.set_yticks(range(len(ways)), [_label(one) for one in reversed(ways)], fontsize=_SIZE - 1)
    axes.set_ylim(-0.6, len(ways) - 0.2)
    axes.set_title(f"{name} against judgments, with 95% intervals", fontsize=_SIZE, loc="left")


_PANELS: tuple[tuple[Callable[[Any, Measured], None], Callable[[Measured], bool]], ...] = (
    (
        _against_time,
        lambda one: any(way.times.singles for way in _by_meaning(one)) and _compared(one),
    ),
    (_latency, lambda one: any(way.times.singles for way in one.ways)),
    (_by_rank, lambda one: _compared(one) and any(not way.exact for way in _by_meaning(one))),
    (
        _gain,
        lambda one: any(
            np.isfinite(values).any() for way in one.ways for values in way.measures.values()
        ),
    ),
)


def _label(one: WayResult) -> str:
    """What a way is called in a picture."""
    name = printable(one.name)
    return f"recall {name}" if "recall" in one.way.options else name


def _absent(evaluation: Measured) -> str:
    """Which ways are not drawn, as a line below an axis."""
    others = [_label(one) for one in evaluation.ways if one.way.words]
    return f"\n{', '.join(others)}: not here, by words" if others else ""


def _by_meaning(evaluation: Measured) -> list[WayResult]:
    return [one for one in evaluation.ways if not one.way.words]


def _compared(evaluation: Measured) -> bool:
    """Whether there is an exact search that found anything, and a way to hold against it."""
    exact = evaluation.exact
    found = exact is not None and bool((exact[evaluation.own] >= 0).any())
    return found and bool(_by_meaning(evaluation))


def _found_by_rank(
    found: NDArray[np.int64], exact: NDArray[np.int64], own: NDArray[np.bool_]
) -> NDArray[np.float64]:
    here = found_among(exact[own], found[own])
    there = (exact[own] >= 0).sum(axis=0)
    return np.asarray(here.sum(axis=0) / np.where(there, there, np.nan), dtype=np.float64)


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _milliseconds(axes: Any, values: Sequence[float] | NDArray[np.float64]) -> None:
    """A logarithmic axis around these, with numbers that people read; they may all be the same."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    low, high = _span(values)
    room = max(1.15, (high / low) ** 0.12)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    if high / low < 4:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _apart(
    values: Sequence[float],
    limits: Sequence[float] | NDArray[np.float64],
    share: float,
    lines: Sequence[int] | None = None,
) -> list[float]:
    """Places for labels beside these values, so that none covers another.

    Args:
        values: in any order.
        limits: of the axis.
        share: of the axis, that a line of a label takes.
        lines: of each label; one, if not given.
    """
    low, high = float(limits[0]), float(limits[1])
    order = np.argsort(values)
    placed = np.array(values, dtype=np.float64)
    halves = np.ones(len(placed)) if lines is None else np.asarray(lines, dtype=np.float64)
    halves = 0.5 * share * (high - low) * halves
    for before, here in itertools.pairwise(order):
        placed[here] = max(placed[here], placed[before] + halves[before] + halves[here])
    over = placed.max(initial=high) - high
    if over > 0:  # pushed beyond the end: all of the stack goes back
        placed[order[-1]] -= over
        for after, here in itertools.pairwise(order[::-1]):
            placed[here] = min(placed[here], placed[after] - halves[after] - halves[here])
    return [float(one) for one in placed]
