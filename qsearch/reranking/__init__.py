"""Pairs of query and text to scores: cross-encoders, for the order of the best hits.

Models are found, exported and run as encoders are (``qsearch.encoding``). Nothing here knows what a hit
or an index is.
"""

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
