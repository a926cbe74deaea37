"""What holds where a request does not say, and what becomes of it where a request does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from qsearch.errors import QueryError
from qsearch.keywords.request import MODES_OF
from qsearch.options import TextSearchOptions, listed, settled
from qsearch.retrieval.searcher import whole_number

__all__ = ["MOST_HITS", "Defaults", "checked_hits", "shown", "without_folder"]

MOST_HITS = 10_000
"""For one query: more is for the library, which can stop between them."""

_OF_WORDS = tuple(name for name, modes in MODES_OF.items() if "meaning" not in modes)
_AT_LEAST_K = ("candidates", "depth", "rerank_depth")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a request does not say.

    What a request says goes before: what of this does not go together with it is left out, as are options
    for which a request says ``null``.

    Attributes:
        k: hits for each query, from 1 to ``MOST_HITS``.
        options: ``TextSearchOptions``, some of them. No request may name another model to rerank with than
            this does: loading one takes memory and time that are the server's.

    Raises:
        QueryError: there are no so many hits.
        TypeError: there is no such option.
    """

    k: int = 10
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be without an index."""
        object.__setattr__(self, "k", checked_hits(self.k))  # which may have been a NumPy scalar
        settled(TextSearchOptions, self.options, "Defaults()")

    @property
    def reranker(self) -> str | None:
        """The model that hits are reranked with, where that is asked for, as clients may know it."""
        mine = self.options.get("rerank")
        if mine is None:
            return None
        return without_folder(mine if isinstance(mine, str) else type(mine).__name__)

    def joined(self, said: Mapping[str, Any], k: int, options: type) -> dict[str, Any]:
        """All options of a request.

        Args:
            said: by the request, checked for their types.
            k: hits that it wants.
            options: ``TextSearchOptions`` or ``SearchOptions``.

        Raises:
            QueryError: it names another reranker.
        """
        known = listed(options)
        usual = {name: option.default for name, (_, option) in known.items()}
        given = {name: usual[name] if value is None else value for name, value in said.items()}
        if "rerank" in given:
            given["rerank"] = self._reranker_for(given["rerank"])
        chosen = {name for name, value in said.items() if value is not None}
        standing = {
            name: value
            for name, value in self.options.items()
            if name in known and name not in given and value != usual[name]
        }
        for name in _at_odds(standing, given, chosen, k):
            standing.pop(name, None)
        whole = {**usual, **standing, **given}
        if whole["method"] is None:
            standing.pop("candidates", None)
        if whole["recall"] in ("exact", 1):
            standing.pop("alike", None)
        if whole.get("rerank") is None:
            standing.pop("rerank_depth", None)
        return {**usual, **standing, **given}

    def _reranker_for(self, wanted: object) -> Any:
        mine = self.options.get("rerank")
        if wanted in (None, False):
            return None
        if mine is None:
            raise QueryError("this server does not rerank: name the model where it is started")
        if wanted is not True and wanted not in (mine, self.reranker):
            told = "give true, false, or leave rerank out"
            raise QueryError(f"this server reranks with {self.reranker} only; {told}")
        return mine


def without_folder(model: str) -> str:
    """The name of a model, without where on this machine it lies."""
    path = PurePath(model)
    return path.name if path.is_absolute() else model


def checked_hits(k: Any) -> int:
    """So many hits, where that is a number of them.

    Raises:
        QueryError: it is none, or too large.
    """
    try:
        number = whole_number("k", k)
    except QueryError:
        number = 0
    if not 1 <= number <= MOST_HITS:
        raise QueryError(f"k must be a whole number from 1 to {MOST_HITS:,}, found {shown(k)}")
    return number


def shown(value: Any) -> str:
    """A value as a client wrote it."""
    try:
        return json.dumps(value, ensure_ascii=False)[:200]
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:200]


def _at_odds(
    standing: Mapping[str, Any], given: Mapping[str, Any], chosen: set[str], k: int
) -> set[str]:
    """Options that a server was started with, and that do not go together with what a request chooses."""
    odd = {name for name in _AT_LEAST_K if name in standing and standing[name] < k}
    mode = given.get("mode", standing.get("mode"))
    if "mode" in given:
        odd |= {name for name, modes in MODES_OF.items() if mode not in modes}
    elif mode is not None and any(mode not in MODES_OF.get(name, (mode,)) for name in chosen):
        odd |= {"mode", *_OF_WORDS}
    if given.get("fusion") == "rrf":
        odd.add("weight")
    if "weight" in chosen:
        odd.add("fusion")
    if "where" in given:  # has parameters of its own
        odd.add("params")
    if "recall" in chosen:
        odd |= {"method", "candidates"}
    if "method" in chosen:
        odd |= {"recall", "alike", "candidates"}
    if given.get("all_passages"):
        odd |= {"recall", "alike"}
    return odd
