"""Make the golden index of the current format: ``python -m tests.store.golden.make``.

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


LONG_DOCUMENTS = [
    {"id": "short", "text": "cat and dog in the house"},
    {
        "id": "long",
        "title": "Town",
        "text": "The king and queen have music. Fish swim in the river of the city. "
        "A child has paper for school. Night and fire light up the tree.",
    },
    {"id": "none", "title": "Only a title", "text": ""},
]
PASSAGES = {"passages": 10, "overlap": 4}


def main() -> None:
    """Make them beside this file; refuses to replace one."""
    target = Path(__file__).parent / f"format-{FORMAT_VERSION}"
    for path, documents, options in (
        (target, DOCUMENTS, BuildOptions(graph=True)),
        (
            target.with_name(f"passages-{FORMAT_VERSION}"),
            LONG_DOCUMENTS,
            BuildOptions(graph=True, **PASSAGES),
        ),
        (target.with_name(f"words-{FORMAT_VERSION}"), DOCUMENTS, BuildOptions(text_index=True)),
    ):
        if path.exists():
            sys.exit(f"{path} exists; a released format's golden index is never made again")
        Index.build(documents, path, encoder=HashedWords(), options=options).close()


if __name__ == "__main__":
    main()
