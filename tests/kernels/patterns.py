"""Masks of every shape that a search could stumble over."""

from __future__ import annotations

import numpy as np

__all__ = ["PATTERNS", "pattern"]

PATTERNS = (
    "all",
    "one",
    "last",
    "most",
    "half",
    "few",
    "first half",
    "last half",
    "every second block",
    "runs",
)


def pattern(kind: str, rows: int, generator: np.random.Generator) -> np.ndarray:
    """(rows,) bool with at least one row allowed."""
    each = np.arange(rows)
    allowed = {
        "all": each >= 0,
        "one": each == rows // 2,
        "last": each == rows - 1,
        "most": generator.random(rows) < 0.99,
        "half": generator.random(rows) < 0.5,
        "few": generator.random(rows) < 0.01,
        "first half": each < rows // 2,
        "last half": each >= rows // 2,
        "every second block": each // 16 % 2 == 0,
        "runs": np.sin(each / 170.0) > 0.2,
    }[kind]
    allowed[generator.integers(rows)] |= not allowed.any()
    return np.asarray(allowed)
