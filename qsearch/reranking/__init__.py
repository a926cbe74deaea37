"""Pairs of query and text to scores: cross-encoders, for the order of the best hits.

Models are found, exported and run as encoders are (``qsearch.encoding``). Nothing here knows what a hit
or an index is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.reranking.identity import RerankerIdentity
    from qsearch.reranking.loading import Rerankers, load_reranker
    from qsearch.reranking.protocols import Pair, Reranker
    from qsearch.reranking.scoring import ScoredTexts, score_texts

__all__ = [
    "Pair",
    "Reranker",
    "RerankerIdentity",
    "Rerankers",
    "ScoredTexts",
    "load_reranker",
    "score_texts",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Pair": ".protocols",
        "Reranker": ".protocols",
        "RerankerIdentity": ".identity",
        "Rerankers": ".loading",
        "ScoredTexts": ".scoring",
        "load_reranker": ".loading",
        "score_texts": ".scoring",
    },
)
