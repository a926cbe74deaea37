"""How much of the battery runs: a little in the suite, more by ``scripts/faults``, all in its long form.

``QSEARCH_FAULTS`` is ``short`` or ``long`` there. ``QSEARCH_FAULTS_PART=3/20`` does the third of twenty
parts of what was asked for: a long form can be done in pieces, and what was done counts.
"""

from __future__ import annotations

import os
from typing import TypeVar

Amount = TypeVar("Amount")

# Read when the tests are collected: no setting of the user is there while one runs.
_FORM = os.environ.get("QSEARCH_FAULTS", "suite")
if _FORM not in ("suite", "short", "long"):
    raise ValueError(f"QSEARCH_FAULTS must be short or long, is {_FORM!r}")

LONG = _FORM == "long"
"""Whether the long form is asked for."""


def times(suite: Amount, short: Amount, long: Amount) -> Amount:
    """How many of something, or what: in the suite, by ``scripts/faults``, in its long form."""
    return {"suite": suite, "short": short, "long": long}[_FORM]


def _part() -> tuple[int, int]:
    told = os.environ.get("QSEARCH_FAULTS_PART", "1/1")
    number, _, parts = told.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise ValueError(f"QSEARCH_FAULTS_PART must be like 3/20, is {told!r}")
    return int(number) - 1, int(parts)


PART, PARTS = _part()
"""Which part of how many, from 0."""


def share(count: int) -> tuple[int, int]:
    """The first of the numbers of this part of ``count``, and how many they are."""
    first = count * PART // PARTS
    return first, count * (PART + 1) // PARTS - first
