"""The sample queries that recall is measured with: chosen and checked before anything slow is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding import Encoder
from qsearch.errors import EncoderError, QueryError
from qsearch.indexing.options import BuildOptions
from qsearch.retrieval import FROM_DOCUMENTS, check_queries

__all__ = ["SampleQueries", "choose_queries", "evenly_chosen"]

_Queries = TypeVar("_Queries", bound=Any)

_MOST = 2000
"""More sample queries than this make no narrower margin worth their time."""


@dataclass(frozen=True, slots=True)
class SampleQueries:
    """What recall is measured with.

    Attributes:
        name: what they are, for people.
        vectors: gives (q, d) float32, checked, when they are needed; ``None``: take documents.
    """

    name: str
    vectors: Callable[[], NDArray[np.float32]] | None


def evenly_chosen(name: str, queries: _Queries) -> tuple[str, _Queries]:
    """No more queries than make a difference, and what they are called then."""
    if len(queries) > _MOST:
        name += f", evenly chosen of {len(queries):,}"
    return name, queries[:: -(-len(queries) // _MOST)]


def choose_queries(
    options: BuildOptions, encoder: Encoder | None, dimensions: int
) -> SampleQueries:
    """How to get the sample queries that were asked for; what can be checked now is.

    Raises:
        QueryError: there are none, or they are no vectors of these dimensions.
        EncoderError: there are texts, and no encoder.
    """
    given = options.tune_queries
    if given is None:
        return SampleQueries(FROM_DOCUMENTS, None)
    texts = [one for one in given if isinstance(one, str)]
    if texts and len(texts) < len(given):
        raise QueryError("queries to tune with must be texts or vectors, found both")
    usable = [one for one in texts if one.strip()] if texts else given
    if not len(usable):
        raise QueryError(f"there are no {options.tuned_on} to measure recall with")
    name, chosen = evenly_chosen(options.tuned_on, usable)
    if not texts:
        vectors = check_queries(chosen, dimensions)
        return SampleQueries(name, lambda: vectors)
    if encoder is None:
        raise EncoderError(
            "queries to tune with cannot be encoded: the index has no encoder; give vectors"
        )
    encode = encoder.encode_queries
    return SampleQueries(name, lambda: check_queries(encode([*chosen]), dimensions))
