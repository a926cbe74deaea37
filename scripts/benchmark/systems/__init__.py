"""The systems: one file each, found by their names."""

from __future__ import annotations

import importlib
from functools import cache

from .base import System

FILES = (
    "qsearch",
    "faiss",
    "usearch",
    "hnswlib",
    "scann",
    "symphonyqg",
    "turbovec",
    "svs",
    "numpy",
    "sentence_transformers",
    "sqlite_vec",
    "lancedb",
    "chroma",
    "zvec",
    "qdrant",
)


@cache
def systems() -> dict[str, System]:
    """All of them by name, in the order of the page."""
    found: dict[str, System] = {}
    for name in FILES:
        module = importlib.import_module(f".{name}", __package__)
        for made in module.SYSTEMS:
            found[made.name] = made
    return found


def system_named(name: str) -> System:
    """One of them.

    Raises:
        KeyError: there is none of this name.
    """
    return systems()[name]
