"""Documents that are long enough to be split."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsearch import (
    BuildOptions,
)
from tests.encoders import WORDS


def town(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Documents of 1 to 120 words in sentences, some with titles."""
    generator = np.random.default_rng(seed)
    records = []
    for number in range(count):
        words = generator.choice(WORDS, size=int(generator.integers(1, 120)))
        text = " ".join(
            f"{word}." if place % 7 == 6 else str(word) for place, word in enumerate(words)
        )
        records.append({"id": f"d{number}", "text": text})
        if number % 3 == 0:
            records[-1]["title"] = f"Title {number}"
    return records


OPTIONS = BuildOptions(passages=20, overlap=6, graph=True)
