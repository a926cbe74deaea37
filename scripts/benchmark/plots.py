"""The plots of the page: SVG, readable in grey, every line labelled where it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figures import OURS
from .shown import digest
from .systems import systems

_NEAREST = 1e-4  # of 1 − recall: whatever is nearer to 1 stands at 1
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "osD^v<>PXhp"
# Okabe and Ito's, which people who see few colours tell apart, without yellow, which paper swallows.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666")


def draw(shown: dict[str, Any], path: Path) -> None:
    """Draw one plot, with the digest of what it shows in its description."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    settings: dict[Any, Any] = {
        "svg.hashsalt": "qsearch",  # the same numbers give the same file
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
    }
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(9, 6.6))
        {"recall": _recall, "rows": _rows, "build": _build}[shown["kind"]](axes, shown)
        axes.set_title(shown["title"], loc="left", fontsize=10)
        axes.grid(visible=True, which="major", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.subplots_adjust(left=0.11, right=0.72, bottom=0.1, top=0.93)
        metadata = {"Date": None, "Description": f"data {digest(shown)}"}
        figure.savefig(path, metadata=metadata)
        plt.close(figure)
    # The writer leaves blanks at the ends of lines, which a repository does not want.
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(line.rstrip() for line in lines), encoding="utf-8")


def _recall(axes: Any, shown: dict[str, Any]) -> None:
    """Recall with room near 1, where it matters, against queries a second."""
    ends = {}
    for name, points in shown["series"].items():
        x = [_nines(one[0]) for one in points]
        y = [one[1] for one in points]
        axes.plot(x, y, markersize=3.5, **_style(name))
        for place, (_, _, low, high) in zip(x, points, strict=True):
            axes.plot([place, place], [low, high], color="0.6", linewidth=0.8, zorder=1)
        ends[name] = (x[-1], y[-1])
    axes.set_yscale("log")
    ticks = [0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0]
    axes.set_xticks([_nines(one) for one in ticks], [f"{one:g}" for one in ticks])
    axes.minorticks_off()
    left = min((_nines(one[0]) for some in shown["series"].values() for one in some), default=0)
    axes.set_xlim(max(_nines(0.5), left - 0.1), _nines(1.0) + 0.1)
    _thousands(axes.yaxis)
    axes.set_xlabel("recall@10")
    axes.set_ylabel("queries a second")
    _label(axes, ends)


def _rows(axes: Any, shown: dict[str, Any]) -> None:
    """Milliseconds against rows, both in powers."""
    ends = {}
    for name, points in shown["series"].items():
        x, y = [one[0] for one in points], [one[1] for one in points]
        axes.plot(x, y, markersize=3.5, **_style(name))
        ends[name] = (x[-1], y[-1])
    axes.set_xscale("log")
    axes.set_yscale("log")
    _thousands(axes.xaxis)
    _thousands(axes.yaxis)
    axes.set_xlabel("rows")
    axes.set_ylabel("milliseconds a query")
    _label(axes, ends)


def _build(axes: Any, shown: dict[str, Any]) -> None:
    """Seconds of the build against queries a second."""
    ends = {}
    for name, ((seconds, speed),) in shown["series"].items():
        style = _style(name) | {"linestyle": "none"}
        axes.plot([max(seconds, 0.01)], [speed], markersize=6, **style)
        ends[name] = (max(seconds, 0.01), speed)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _thousands(axes.xaxis)
    _thousands(axes.yaxis)
    axes.set_xlabel("seconds to build")
    axes.set_ylabel("queries a second")
    _label(axes, ends)


def _style(name: str) -> dict[str, Any]:
    """Qsearch in black and thick; any other alike in all plots, with dashes and a marker of its own."""
    if name.startswith(OURS):
        return {
            "color": "black",
            "linewidth": 2.0 if name == OURS else 1.2,
            "linestyle": "-" if name == OURS else "--",
            "marker": {OURS: "o", f"{OURS} without graph": "s"}.get(name, "D"),
            "zorder": 3,
        }
    known = [one for one in systems() if not one.startswith(OURS)]
    number = known.index(name) if name in known else len(known)
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linewidth": 1.0,
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "zorder": 2,
    }


def _label(axes: Any, ends: dict[str, tuple[float, float]]) -> None:
    """Names in the right margin, in the order of the ends and none over another, with a line to each."""
    low, high = (math.log10(one) for one in axes.get_ylim())

    def height(y: float) -> float:
        return (math.log10(y) - low) / (high - low)

    order = sorted(ends, key=lambda name: ends[name][1])
    places = spread_out([height(ends[name][1]) for name in order], 0.032)
    for name, place in zip(order, places, strict=True):
        axes.annotate(
            name,
            xy=ends[name],
            xycoords="data",
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            fontweight="bold" if name.startswith(OURS) else "normal",
            color="black" if name.startswith(OURS) else _style(name)["color"],
            arrowprops={
                "arrowstyle": "-",
                "color": "0.8",
                "linewidth": 0.5,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def spread_out(places: Sequence[float], apart: float) -> list[float]:
    """Rising places from 0 to 1, moved as little as puts them so far apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + apart) if moved else place)
    most = 1.0
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], most)
        most = moved[i] - apart
    return moved


def _nines(recall: float) -> float:
    return -math.log10(max(1.0 - recall, _NEAREST))


def _thousands(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
