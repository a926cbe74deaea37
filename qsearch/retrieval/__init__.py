"""Query vectors to ranked documents.

Arrays and segments come in, a ``Ranking`` goes out. No text, no model and no catalog: a document is
its position here.
"""

from qsearch.retrieval.binary import BinaryCandidates
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.explain import stage_ranks
from qsearch.retrieval.graph import GraphCandidates, build_graph
from qsearch.retrieval.measuring import CONFIDENCE, FROM_DOCUMENTS, measure
from qsearch.retrieval.ranking import CandidateSource, Ranking, Stage, check_queries, unusable_query
from qsearch.retrieval.searcher import Request, Searcher
from qsearch.retrieval.tuning import Plan, Tuning

__all__ = [
    "CONFIDENCE",
    "FROM_DOCUMENTS",
    "BinaryCandidates",
    "CandidateSource",
    "Cascade",
    "ExactSearch",
    "GraphCandidates",
    "Plan",
    "Ranking",
    "Request",
    "Searcher",
    "Stage",
    "Tuning",
    "build_graph",
    "check_queries",
    "measure",
    "stage_ranks",
    "unusable_query",
]
