"""Query vectors to ranked documents.

Arrays and segments come in, a ``Ranking`` goes out. No text, no model and no catalog: a document is
its position here.
"""

from qsearch.retrieval.binary import BinaryCandidates
from qsearch.retrieval.exact import search_exact
from qsearch.retrieval.graph import GraphCandidates, build_graph
from qsearch.retrieval.ranking import CandidateSource, Ranking, check_queries, search_candidates

__all__ = [
    "BinaryCandidates",
    "CandidateSource",
    "GraphCandidates",
    "Ranking",
    "build_graph",
    "check_queries",
    "search_candidates",
    "search_exact",
]
