"""Parts of requests → searches of the index → JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qsearch.gpu import has_gpu
from qsearch.options import SearchOptions, listed
from qsearch.serving.asking import Asked
from qsearch.serving.batching import Part
from qsearch.serving.defaults import Defaults, without_folder

if TYPE_CHECKING:
    from qsearch.index import Index
    from qsearch.results import SearchResult

__all__ = ["as_json", "pieces_of", "prepare", "searched", "trials"]


_TRIED = 32
"""Queries that an index is tried with: for so many it is loaded to a GPU, where that is left to it."""


def prepare(index: Index, defaults: Defaults) -> None:
    """Search once, so that nothing is left to load, and nothing to find out, for the first request.

    Args:
        index: to be served. One without an encoder is asked by vectors.
        defaults: of requests.

    Raises:
        QsearchError: the index cannot be searched like that; its encoder is not the one that it was built
            with.
    """
    for kind, search in trials(index, defaults).items():
        if kind == "text" or has_gpu() or index.contract is None:
            search()


def trials(index: Index, defaults: Defaults) -> dict[str, Callable[[], object]]:
    """A search for each kind of queries that an index can be asked, with what holds by default.

    Args:
        index: this.
        defaults: of requests.
    """

    def by_vector() -> None:
        rows = np.random.default_rng(0).standard_normal((_TRIED, index.dimensions))
        known = listed(SearchOptions)
        index.search_by_vectors(
            rows,
            defaults.k,
            **{one: value for one, value in defaults.options.items() if one in known},
        )

    def by_text() -> None:
        index.search("a first query", defaults.k, **defaults.options)

    some: dict[str, Callable[[], object]] = {"vector": by_vector}
    if index.contract is not None or defaults.options.get("mode", "meaning") != "meaning":
        some["text"] = by_text
    return some


def searched(index: Index, parts: Sequence[Part]) -> list[list[bytes]]:
    """Search together.

    Args:
        index: where.
        parts: of requests that ask for the same.

    Returns:
        For each part, for each of its queries: the result as JSON.

    Raises:
        QsearchError: as ``Index.search_batch``.
    """
    asked: Asked = parts[0].request
    if asked.vectors is None:
        texts = [text for part in parts for text in part.request.texts[part.first : part.last]]
        results = index.search_batch(texts, asked.k, **asked.options)
    else:
        rows = np.concatenate([part.request.vectors[part.first : part.last] for part in parts])
        results = index.search_by_vectors(rows, asked.k, **asked.options)
    found = iter(results)
    return [[as_json(_told(next(found))) for _ in range(part.first, part.last)] for part in parts]


def _told(result: SearchResult) -> dict[str, Any]:
    """A result, without where on this machine a model lies."""
    told = result.to_dict()
    if "reranker" in told:
        told["reranker"]["model"] = without_folder(told["reranker"]["model"])
    return told


def pieces_of(results: Sequence[bytes], *, single: bool) -> list[bytes]:
    """The answer to a request, in pieces: its one result, or all."""
    if single:
        return [results[0]]
    between = [b'{"results":[', *[b","] * (len(results) - 1)]
    return [one for pair in zip(between, results, strict=True) for one in pair] + [b"]}"]


def as_json(value: Any) -> bytes:
    """A JSON value in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        return json.dumps(value, separators=(",", ":")).encode()
