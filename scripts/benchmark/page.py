"""The page, made of the JSON and of nothing else: every figure on it is computed from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import words
from .figures import Measured, headline, read
from .opening import better, sentences
from .rows import FOLDER, time_against_rows
from .sections import (
    batches_and_builds,
    data_set,
    endtoend,
    fastest_systems,
    promise,
    without_avx512,
)
from .shown import plots
from .small_print import failures, machines, method

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
    return plots(read(results)[0], _growing(results))


def text(results: Path) -> str:
    """The page.

    Raises:
        SystemExit: nothing was measured.
    """
    measured, ends = read(results)
    main = headline(measured)
    if main is None:
        raise SystemExit(f"there are no results in {results}")
    growing = _growing(results)
    several = len(machines(measured, ends)) > 1
    drawn = plots(measured, growing)
    parts = [
        "# qsearch and its peers, measured",
        NOTICE,
        words.image(drawn, "headline.svg", results),
        sentences(main),
        better(measured, ends),
        fastest_systems(measured),
        *(data_set(one, drawn, results, several=several) for one in measured),
        promise(measured),
        without_avx512(measured),
        time_against_rows(growing, drawn, results),
        batches_and_builds(main, drawn, results),
        endtoend(ends),
        failures(measured, ends),
        method(measured, ends),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _growing(results: Path) -> list[Measured]:
    """More and more rows, measured in a run of their own, on the machine of the most."""
    found = read(results / FOLDER)[0]
    most = max(found, key=lambda one: one.told["data"]["rows"], default=None)
    return [one for one in found if most and one.told["machine"] == most.told["machine"]]
