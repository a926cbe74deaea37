"""What a search returns."""

from qsearch.results.hits import Hit, Passage, SearchResult, VectorResult, passage_of, shortened
from qsearch.results.reports import Explanation, KeywordReport, Reranking, StageReport, TermReport

__all__ = [
    "Explanation",
    "Hit",
    "KeywordReport",
    "Passage",
    "Reranking",
    "SearchResult",
    "StageReport",
    "TermReport",
    "VectorResult",
    "passage_of",
    "shortened",
]
