"""Ways of searching that are measured beside each other, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qsearch.errors import QueryError
from qsearch.options import METHODS, MODES, TextSearchOptions, settled

__all__ = ["EXACT", "Way", "known_ways", "named_way"]

EXACT = "exact"

_RECALLS = ("0.999", "0.99", "0.95", "0.9")


@dataclass(frozen=True, slots=True)
class Way:
    """A way of searching.

    Attributes:
        name: what it is called.
        options: of ``TextSearchOptions``, where they are not the defaults.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settled(self) -> dict[str, Any]:
        """All options of a search by text.

        Raises:
            TypeError: one is not known.
        """
        return settled(TextSearchOptions, self.options, f"the way {self.name}")

    @property
    def mode(self) -> str:
        """One of ``MODES``."""
        return str(self.options.get("mode", "meaning"))

    @property
    def words(self) -> bool:
        """Whether it needs the texts of queries."""
        return self.mode != "meaning" or self.options.get("rerank") is not None

    @property
    def scores_are_cosines(self) -> bool:
        """Whether scores are those of an exact search, of what is found."""
        return not self.words


ALIKE = "alike"
"""Behind a recall: see ``WayOptions.alike``."""


def named_way(name: str | float) -> Way:
    """The way of a name.

    However it is written, a way has one name.

    Args:
        name: ``exact``, a recall below 1 (``0.99``, ``99%``, ``0.99:alike``), a method with or without
            candidates (``cascade``, ``binary:400``, ``graph:100``), ``keywords``, ``hybrid`` with or
            without a weight (``hybrid:0.7``), or ``rrf``. A number is a recall.

    Raises:
        QueryError: there is no such way.

    Examples:
        >>> named_way("0.99").options, named_way("binary:400").options
        ({'recall': 0.99}, {'method': 'binary', 'candidates': 400})
        >>> named_way("99 %").name, named_way("hybrid: .70").name
        ('0.99', 'hybrid:0.7')
    """
    given: object = name
    if isinstance(given, float | np.floating) or type(given) is int:
        given = repr(float(given))
    if not isinstance(given, str):
        raise QueryError(f"a way of searching has a name, found {name!r}")
    name = given
    kind, colon, number = (one.strip() for one in name.strip().partition(":"))
    named = not colon
    try:
        if kind in METHODS and kind != EXACT:
            if named:
                return Way(kind, {"method": kind})
            return Way(f"{kind}:{int(number)}", {"method": kind, "candidates": int(number)})
        if kind == "hybrid" and not named:
            return Way(f"{kind}:{float(number):g}", {"mode": kind, "weight": float(number)})
        if named and kind in (EXACT, "meaning"):
            return Way(EXACT)
        if named and kind == "rrf":
            return Way(kind, {"mode": "hybrid", "fusion": "rrf"})
        if named and kind in MODES:
            return Way(kind, {"mode": kind})
        alike = number == ALIKE
        recall = float(kind.removesuffix("%")) if named or alike else math.nan
        if kind.endswith("%"):
            recall /= 100
        recall = float(f"{recall:.12g}")
        if recall == 1:
            return Way(EXACT)
        if 0 < recall < 1:
            name = f"{recall:g}" if recall < 0.999999 else repr(recall)
            if alike:
                return Way(f"{name}:{ALIKE}", {"recall": recall, "alike": True})
            return Way(name, {"recall": recall})
    except ValueError:
        pass
    raise QueryError(
        f"there is no way of searching {name!r}; known are exact, a recall below 1 (0.99, 0.99:alike), "
        "cascade, binary and graph, with candidates or without (binary:400), keywords, hybrid, with a "
        "weight or without (hybrid:0.7), and rrf"
    )


def known_ways(*, tuned: bool, graph: bool, words: bool) -> list[Way]:
    """The ways that make sense for an index.

    Args:
        tuned: whether recall was measured on it.
        graph: whether it has one.
        words: whether it has a text index, and queries have texts.
    """
    names = [EXACT]
    if tuned:
        names += _RECALLS
    names += ["binary"]
    if graph:
        names += ["graph"]
    if words:
        names += ["keywords", "hybrid"]
    return [named_way(name) for name in names]
