"""What is asked of a search by text: checked, before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from qsearch.errors import QueryError
from qsearch.keywords.bm25 import Bm25
from qsearch.options import FUSIONS, MODES, WORDS, TextSearchOptions, listed
from qsearch.retrieval.searcher import as_float, whole_number

__all__ = ["DEFAULT_WEIGHT", "MODES_OF", "TextRequest"]

DEFAULT_WEIGHT = 0.8
"""Of the meaning, chosen on four collections (``docs/keywords.md``)."""

_LEAST_DEPTH = 100
_DEPTH = 3
"""Hybrid looks at three times k documents of each way, and at 100 at least, unless told otherwise."""

_MOST_K1 = 1000.0

MODES_OF = {
    "recall": ("meaning", "hybrid"),
    "method": ("meaning", "hybrid"),
    "candidates": ("meaning", "hybrid"),
    "all_passages": ("meaning",),
    "alike": ("meaning", "hybrid"),
    "weight": ("hybrid",),
    "fusion": ("hybrid",),
    "depth": ("hybrid",),
    "k1": ("keywords", "hybrid"),
    "b": ("keywords", "hybrid"),
}
"""Options, and the modes in which they say something."""


@dataclass(frozen=True, slots=True)
class TextRequest:
    """What is asked, checked.

    Attributes:
        mode: one of ``MODES``.
        k: documents wanted.
        weight: of the cosines in a convex combination, 0 to 1.
        fusion: one of ``FUSIONS``.
        depth: so many documents of each way are looked at.
        bm25: k1 and b.
    """

    mode: str
    k: int
    weight: float
    fusion: str
    depth: int
    bm25: Bm25

    @classmethod
    def checked(
        cls, k: int, options: Mapping[str, Any], weight: float | None = None
    ) -> TextRequest:
        """Check values, and that they go together.

        Args:
            k: documents wanted.
            options: those of ``options.TextSearchOptions``, all of them.
            weight: what the index was tuned to.

        Raises:
            QueryError: a value is out of its range, or does not go with the mode.
        """
        mode, fusion = options["mode"], options["fusion"]
        if mode not in MODES:
            raise QueryError(f"unknown mode {mode!r}; known are {', '.join(MODES)}")
        known = listed(TextSearchOptions)
        for name, of_modes in MODES_OF.items():
            idle = mode not in of_modes and options.get(name) != known[name][1].default
            if idle and name in WORDS:
                raise QueryError(f"{name} does nothing in the mode {mode}; leave it out")
            if idle:
                raise QueryError(f"{name} is of searches by meaning; leave it out, or the mode")
        if fusion not in FUSIONS:
            raise QueryError(f"unknown fusion {fusion!r}; known are {', '.join(FUSIONS)}")
        given = options["weight"]
        if fusion == "rrf" and given is not None:
            raise QueryError("weight is of the fusion convex; leave it out, or the fusion")
        k = whole_number("k", k)
        if k < 1:
            raise QueryError(f"k must be at least 1, found {k}")
        depth = max(_LEAST_DEPTH, _DEPTH * k)
        if options["depth"] is not None:
            depth = whole_number("depth", options["depth"])
            if depth < k:
                raise QueryError(f"depth must be at least k = {k}, found {depth}")
        bm25 = Bm25(_number("k1", options["k1"], _MOST_K1), _number("b", options["b"], 1.0))
        if given is None:
            given = DEFAULT_WEIGHT if weight is None else weight
        return cls(mode, k, _number("weight", given, 1.0), fusion, depth, bm25)


def _number(name: str, value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise QueryError(f"{name} must be a number from 0 to {most:g}, found {value!r}")
    number = as_float(value)
    if not 0 <= number <= most:
        raise QueryError(f"{name} must be a number from 0 to {most:g}, found {number:g}")
    return number
