"""Time against number of rows: a run of its own, of some systems, on one machine, from few rows to many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import words
from .figures import OURS, Measured, fastest
from .systems import systems

FOLDER = "rows"
"""Of its results, in that of all others: a data set may have been measured there on another machine."""

RECALL = 0.95

SIZES = ("registry-10k", "registry-100k", "registry-1m", "registry-3m")
"""Data sets, by rising number of rows."""

CHOSEN = (
    OURS,
    f"{OURS} without graph",
    "SymphonyQG",
    "faiss BinaryFlat + floats",
    "faiss FlatIP",
    "faiss FlatL2Panorama",
    "NumPy",
    "turbovec 4 bit + floats",
)
"""The fastest of each kind on 100,000 rows, and the plainest."""

_GRAPHS = (OURS, "SymphonyQG")
"""Not built for the most rows: it takes two processors a quarter of an hour and more."""


def of_size(name: str) -> list[str]:
    """The systems that are measured on one of ``SIZES``."""
    return [one for one in CHOSEN if name != SIZES[-1] or one not in _GRAPHS]


def time_rows(growing: Sequence[Measured], level: float | None) -> dict[str, Any]:
    """Milliseconds of one query against the number of rows, at a recall; ``None``: exact."""
    series: dict[str, list[list[float]]] = {}
    for measured in growing:
        for name, point in fastest(measured.points(1), level, "single").items():
            spread = point.single
            series.setdefault(name, []).append(
                [
                    measured.told["data"]["rows"],
                    1000 / spread.median,
                    1000 / spread.high,
                    1000 / spread.low,
                ]
            )
    rows = {name: sorted(some) for name, some in series.items() if len(some) > 1}
    title = f"{_what(level)}, one thread, one by one"
    return {"kind": "rows", "title": title, "series": rows}


def time_against_rows(growing: Sequence[Measured], drawn: dict[str, Any], results: Path) -> str:
    """The section of the page."""
    if not growing:
        return ""
    sizes = sorted({one.told["data"]["rows"] for one in growing})
    rows = []
    for level in (None, RECALL):
        series = time_rows(growing, level)["series"]
        for name in (one for one in systems() if one in series):
            of = {int(size): time for size, time, _, _ in series[name]}
            times = ["–" if size not in of else words.number(of[size]) for size in sizes]
            memory = [
                words.megabytes(words.median(one.memory(name)), unit=False)
                for one in growing
                if one.told["data"]["rows"] == sizes[-1] and name in one.systems
            ]
            rows.append([_what(level), name, *times, *(memory or ["–"])])
    told = growing[-1].told["machine"]
    turns = " or ".join(str(one) for one in sorted({one.rounds() for one in growing}))
    said = (
        "Milliseconds of one query on one thread: some systems, in a run of its own on one machine "
        f"({told['processor']}, {told['memory_gib']} GiB), {turns} turns of each, medians. Up to 100,000 "
        "the rows are those of the short texts, beyond that mixtures of two of them too. qsearch is asked "
        "for the recall, of queries of any kind or of those alike, whichever is faster. –: no setting gave "
        "this, or it was not measured"
    )
    if any(one.name == SIZES[-1] for one in growing):
        said += (
            "; graphs are not built for the most rows, which takes a quarter of an hour and more"
        )
    said += "."
    heads = ["answers", "system", *(f"{size:,} rows" for size in sizes)]
    heads.append(f"memory MB at {sizes[-1]:,}")
    images = [words.image(drawn, name, results) for name in ("rows-exact.svg", "rows-recall.svg")]
    parts = ["## Time against number of rows", said, *images, words.table(heads, rows)]
    return "\n\n".join(part for part in parts if part)


def _what(level: float | None) -> str:
    return "exact answers" if level is None else f"recall@10 of at least {level}"
