"""Make the golden index of the current format: ``python -m tests.golden.make``.

Run once when a format is released; afterwards its golden index is never made again, because it
stands for the indexes that users have.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qsearch import BuildOptions, Index
from qsearch.store import FORMAT_VERSION
from tests.encoders import HashedWords

DOCUMENTS = [
    {"id": "cat", "title": "Cat", "text": "cat and dog in the house", "legs": 4},
    {"id": "ship", "text": "fish in the river of the city"},
    {"id": "Œuvre 🚀", "text": "king queen and music", "tags": ["a", None]},
    {"id": "4", "text": "paper book school child"},
    {"id": "late", "text": "night light fire and cat"},
]


def main() -> None:
    """Make it beside this file; refuses to replace one."""
    target = Path(__file__).parent / f"format-{FORMAT_VERSION}"
    if target.exists():
        sys.exit(f"{target} exists; a released format's golden index is never made again")
    Index.build(DOCUMENTS, target, encoder=HashedWords(), options=BuildOptions(graph=True)).close()


if __name__ == "__main__":
    main()
