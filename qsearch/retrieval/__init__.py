"""Query vectors to ranked documents.

Arrays and segments come in, a ``Ranking`` goes out. No text, no model and no catalog: a document is
its position here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.retrieval.binary import BinaryCandidates
    from qsearch.retrieval.cascade import Cascade
    from qsearch.retrieval.exact import ExactSearch
    from qsearch.retrieval.explain import stage_ranks
    from qsearch.retrieval.graph import GraphSearch, build_graph
    from qsearch.retrieval.measuring import CONFIDENCE, FROM_DOCUMENTS, lacks_walks, measure
    from qsearch.retrieval.ranking import (
        CandidateSource,
        Ranking,
        Stage,
        check_queries,
        unusable_query,
    )
    from qsearch.retrieval.searcher import Request, Searcher
    from qsearch.retrieval.tuning import BATCH_QUERIES, Curve, Plan, Tuning

__all__ = [
    "BATCH_QUERIES",
    "CONFIDENCE",
    "FROM_DOCUMENTS",
    "BinaryCandidates",
    "CandidateSource",
    "Cascade",
    "Curve",
    "ExactSearch",
    "GraphSearch",
    "Plan",
    "Ranking",
    "Request",
    "Searcher",
    "Stage",
    "Tuning",
    "build_graph",
    "check_queries",
    "lacks_walks",
    "measure",
    "stage_ranks",
    "unusable_query",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "BATCH_QUERIES": ".tuning",
        "CONFIDENCE": ".measuring",
        "FROM_DOCUMENTS": ".measuring",
        "BinaryCandidates": ".binary",
        "CandidateSource": ".ranking",
        "Cascade": ".cascade",
        "Curve": ".tuning",
        "ExactSearch": ".exact",
        "GraphSearch": ".graph",
        "Plan": ".tuning",
        "Ranking": ".ranking",
        "Request": ".searcher",
        "Searcher": ".searcher",
        "Stage": ".ranking",
        "Tuning": ".tuning",
        "build_graph": ".graph",
        "check_queries": ".ranking",
        "lacks_walks": ".measuring",
        "measure": ".measuring",
        "stage_ranks": ".explain",
        "unusable_query": ".ranking",
    },
)
