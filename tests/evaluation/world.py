"""Documents, queries and judgments that evaluations are tested with."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.encoders import WORDS

DOCUMENTS = 900


def record(number: int) -> dict[str, Any]:
    generator = np.random.default_rng(number)
    return {
        "id": f"d {number}",
        "title": f"the {number}th",
        "text": " ".join(generator.choice(WORDS, size=6)),
        "even": number % 2 == 0,
    }


QUERIES = {f"q{number}": " ".join(record(number)["text"].split()[:4]) for number in range(0, 60, 2)}
JUDGMENTS = {name: {f"d {name[1:]}": 2, "d 1": 0} for name in QUERIES}
