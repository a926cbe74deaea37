"""From what a client sends to what is asked of the index."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import check_text
from qsearch.documents.columns import once_each
from qsearch.documents.document import kind_of
from qsearch.errors import QueryError
from qsearch.options import WORDS, SearchOptions, TextSearchOptions, listed
from qsearch.serving.defaults import MOST_HITS, Defaults, checked_hits, shown

__all__ = ["MOST_CHARACTERS", "MOST_QUERIES", "Asked", "asked_in_json", "asked_in_url"]

MOST_QUERIES = 1024
"""In one request."""

MOST_IN_ALL = 100_000
"""Hits of one request: all of them are in memory at once, with their texts."""

MOST_PAIRS = 1000
"""That a cross-encoder scores for one query."""

MOST_CHARACTERS = 100_000
"""Of one query: some ten times what any model reads."""

_MOST_OF_OPTIONS = 1_000_000
"""Characters, as JSON: what was made of conditions is kept for the next time."""

_MOST_NESTED, _MOST_VALUES = 100_000, 500_000
"""Arrays and objects, and values beside those of vectors, in a body."""

_QUERIES = ("query", "queries", "vector", "vectors")
_ONE = ("query", "vector")
_FLAGS = tuple(name for name, (of, _) in listed(TextSearchOptions).items() if of is bool)
_RERANK = ("rerank", "rerank_depth")
_KNOWN = (*_QUERIES, "k", *listed(TextSearchOptions))
_USUAL = {
    "q": ["query"],
    "text": ["query"],
    "texts": ["queries"],
    "embedding": ["vector"],
    "top_k": ["k"],
    "topk": ["k"],
    "limit": ["k"],
    "size": ["k"],
    "n": ["k"],
    "filter": ["where"],
    "filters": ["where"],
}
"""What others call the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What one request asks for.

    Attributes:
        texts: to search for; empty where there are vectors.
        vectors: (q, d) float32; ``None`` where there are texts.
        single: whether the request is for one query, and its answer for one.
        k: hits for each.
        options: all of ``TextSearchOptions``, or of ``SearchOptions`` where there are vectors.
        key: equal where requests may be searched together.
        slow: whether it may take long, however few queries there are: SQLite looks through all documents.
    """

    texts: Sequence[str]
    vectors: NDArray[np.float32] | None
    single: bool
    k: int
    options: Mapping[str, Any]
    key: str
    slow: bool

    @property
    def hits(self) -> int:
        """Wanted for each query."""
        return self.k

    def __len__(self) -> int:
        """How many queries."""
        return len(self.texts) if self.vectors is None else len(self.vectors)


def asked_in_json(body: bytes, defaults: Defaults, most: int = MOST_QUERIES * 65_536) -> Asked:
    """Read a request's body.

    Args:
        body: a JSON object with one of ``query``, ``queries``, ``vector``, ``vectors``, ``k`` and options.
        defaults: of what it does not say.
        most: numbers that make sense in it.

    Raises:
        QueryError: it is something else.
    """
    # Seen before it is read, which takes a hundred times as long, and as many bytes.
    if body.count(b"[") + body.count(b"{") > _MOST_NESTED or body.count(b",") > most + _MOST_VALUES:
        raise QueryError(
            f"the body holds more than {MOST_QUERIES:,} vectors of this index, or a condition that is too "
            "long"
        )
    try:
        told = _value(body)
    except UnicodeDecodeError as error:
        raise QueryError(f"the body must be JSON in UTF-8 ({error})") from error
    except (ValueError, RecursionError) as error:
        raise QueryError(f"the body must be JSON, and is none: {error}") from error
    if not isinstance(told, dict):
        raise QueryError(
            'the body must be a JSON object such as {"query": "a text", "k": 10}, found '
            f"{kind_of(told)}"
        )
    return _asked(told, defaults)


def asked_in_url(pairs: Iterable[tuple[str, str]], defaults: Defaults) -> Asked:
    """Read the query of a URL: ``query=a+text&k=3&recall=0.99&explain=true``.

    Args:
        pairs: of names and values. A value that is JSON is that, but for texts.
        defaults: of what it does not say.

    Raises:
        QueryError: it makes no sense.
    """
    told: dict[str, Any] = {}
    for name, value in pairs:
        if name in told:
            raise QueryError(f"{name} is there twice")
        if name in ("queries", "vector", "vectors"):
            raise QueryError(f"{name} is for the body of a POST; a URL takes query")
        told[name] = _read(name, value)
    return _asked(told, defaults)


def _read(name: str, value: str) -> Any:
    if name not in _KNOWN:
        return value  # is refused with what is known
    if name == "query":
        return value
    if value == "null":
        return None
    if name in _FLAGS:
        return {"true": True, "false": False}.get(value, value)
    words = name in ("method", "mode", "fusion")
    if words or (name == "where" and not value.lstrip().startswith("{")):
        return value
    try:
        return _value(value)
    except (ValueError, RecursionError):
        if name in ("recall", "rerank"):  # may be texts
            return value
        raise QueryError(f"{name} must be a number or other JSON, found {shown(value)}") from None


def _asked(told: dict[str, Any], defaults: Defaults) -> Asked:
    for name in told:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, 1) or _USUAL.get(name, [])
            meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(_KNOWN)}"
            raise QueryError(f"there is no {name[:200]!r}{meant}")
    given = [name for name in _QUERIES if name in told]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise QueryError(f"give one of {', '.join(_QUERIES)}, found {found}")
    name = given[0]
    texts, vectors = _queries(name, told.pop(name))
    count = len(texts) if vectors is None else len(vectors)
    wanted = told.pop("k", None)
    k = defaults.k if wanted is None else checked_hits(wanted)
    if k * count > MOST_IN_ALL:
        raise QueryError(
            f"{count:,} queries with {k:,} hits each are more than the {MOST_IN_ALL:,} hits of one request"
        )
    _check(told, by_vector=vectors is not None)
    kind = TextSearchOptions if vectors is None else SearchOptions
    options = defaults.joined(told, k, kind)
    if options.get("rerank") is not None and k > MOST_PAIRS:
        raise QueryError(f"at most {MOST_PAIRS:,} hits are reranked here, found k = {k:,}")
    dimensions = 0 if vectors is None else vectors.shape[1]
    key = _key(dimensions, k, options)
    return Asked(texts, vectors, name in _ONE, k, options, key, options["where"] is not None)


def _key(dimensions: int, k: int, options: Mapping[str, Any]) -> str:
    """A digest: what conditions hold may be long, and keys are kept."""
    try:
        told = json.dumps([dimensions, k, options], sort_keys=True, default=repr)
    except RecursionError:
        raise QueryError("the condition is nested too deeply") from None
    if len(told) > _MOST_OF_OPTIONS:
        raise QueryError(
            f"the condition and its parameters are longer than {_MOST_OF_OPTIONS:,} characters"
        )
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _check(told: Mapping[str, Any], *, by_vector: bool) -> None:
    """Hold the types against those of the options; their values are for the index to check."""
    for name, value in told.items():
        if value is None:
            continue
        if name in _FLAGS and not isinstance(value, bool):
            raise QueryError(f"{name} must be true or false, found {shown(value)}")
        if isinstance(value, bool) and name not in (*_FLAGS, "rerank"):
            raise QueryError(f"{name} must not be {shown(value)}")
        if by_vector and name in (*WORDS, *_RERANK):
            raise QueryError(f"{name} is of searches by text; a vector has none: leave it out")
    for name, most in (("rerank_depth", MOST_PAIRS), ("depth", MOST_HITS)):
        value = told.get(name)
        if isinstance(value, int) and value > most:
            raise QueryError(f"{name} is at most {most:,} here, found {value:,}")


def _queries(name: str, value: Any) -> tuple[Sequence[str], NDArray[np.float32] | None]:
    several = value if name not in _ONE else [value]
    if not isinstance(several, list) or not several:
        raise QueryError(f"{name} must be an array of at least one, found {_found(value)}")
    if len(several) > MOST_QUERIES:
        raise QueryError(
            f"{name} holds {len(several):,}; one request takes {MOST_QUERIES:,} at most"
        )
    which = [name] if name in _ONE else [f"{name}[{place}]" for place in range(len(several))]
    if name in ("query", "queries"):
        for place, text in zip(which, several, strict=True):
            if not isinstance(text, str):
                raise QueryError(f"{place} must be a string, found {kind_of(text)}")
            if len(text) > MOST_CHARACTERS:
                raise QueryError(
                    f"{place} is of {len(text):,} characters; {MOST_CHARACTERS:,} are read at most"
                )
            check_text(place, text)
        return several, None
    rows = []
    for place, row in zip(which, several, strict=True):
        if not isinstance(row, list) or not row:
            raise QueryError(f"{place} must be an array of numbers, found {_found(row)}")
        if any(type(one) not in (int, float) for one in row):
            raise QueryError(f"{place} must be an array of numbers")
        rows.append(row)
        if len(row) != len(rows[0]):
            raise QueryError(f"{place} has the length {len(row):,}, {which[0]} {len(rows[0]):,}")
    try:
        with np.errstate(over="ignore"):  # infinity is refused with what else is not finite
            return (), np.array(rows, dtype=np.float64).astype(np.float32)
    except OverflowError:
        raise QueryError(f"{name} holds a number that is too large") from None


def _found(value: Any) -> str:
    return "an empty one" if value == [] else kind_of(value)


def _value(text: str | bytes) -> Any:
    return json.loads(text, object_pairs_hook=once_each, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
