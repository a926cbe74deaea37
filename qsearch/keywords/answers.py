"""Answers by words, or by both, as callers get them: documents, and how they were found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qsearch.keywords.request import TextRequest
from qsearch.keywords.searching import TextAnswer, TextSearch
from qsearch.results import Explanation, Hit, KeywordReport, SearchResult, TermReport, passage_of
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.ranking import Ranking

__all__ = ["hybrid_answers", "keyword_answers"]


def keyword_answers(
    search: TextSearch,
    request: TextRequest,
    texts: Sequence[str],
    *,
    explain: bool,
    allowed: Allowed | None = None,
) -> list[SearchResult]:
    """What a caller gets who searches by words, for each query.

    Args:
        search: over the index.
        request: what is asked.
        texts: checked.
        explain: whether to say how each result came about.
        allowed: rows that a filter allows; ``None``: there is none.
    """
    found = []
    for answer in search.keywords(texts, request, allowed):
        explanation = None
        if explain:
            explanation = Explanation(
                "the words of all documents are looked at",
                1.0,
                (),
                tuple({} for _ in answer.found),
                _report(search, request, answer),
            )
        found.append(SearchResult(_hits(search, answer), True, request.mode, explanation))
    return found


def hybrid_answers(
    search: TextSearch,
    request: TextRequest,
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    ranking: Ranking,
    explained: Callable[[int, NDArray[np.int64]], Explanation] | None,
    *,
    allowed: Allowed | None = None,
) -> list[SearchResult]:
    """What a caller gets who searches by both, for each query.

    Args:
        search: over the index.
        request: what is asked.
        texts: checked.
        vectors: (q, d) float32, of the texts.
        ranking: by meaning, of ``request.depth`` documents, over those that are allowed.
        explained: says how the part by meaning came about, given the number of the query and the rows of
            its hits; ``None``: nobody wants to know.
        allowed: as in ``keyword_answers``.
    """
    found = []
    for number, answer in enumerate(search.hybrid(texts, vectors, ranking, request, allowed)):
        explanation = None
        if explained is not None:
            rows = np.array([one.row for one in answer.found], dtype=np.int64)
            report = _report(search, request, answer)
            explanation = replace(explained(number, rows), keywords=report)
        certified = bool(ranking.certified[number])
        found.append(SearchResult(_hits(search, answer), certified, request.mode, explanation))
    return found


def _hits(search: TextSearch, answer: TextAnswer) -> tuple[Hit, ...]:
    stored = search.catalog.documents([one.position for one in answer.found])
    spans = None
    if search.documents.split:
        rows = np.array([one.row for one in answer.found], dtype=np.int64)
        spans = search.documents.spans(rows)
    hits = []
    for place, found in enumerate(answer.found):
        one = stored[found.position]
        hits.append(
            Hit(
                place + 1,
                found.score,
                one.id,
                one.text,
                one.title,
                one.metadata,
                None if spans is None else passage_of(one, spans[place]),
                found.cosine,
                found.bm25,
                found.meaning_rank,
                found.keyword_rank,
            )
        )
    return tuple(hits)


def _report(search: TextSearch, request: TextRequest, answer: TextAnswer) -> KeywordReport:
    hybrid = request.mode == "hybrid"
    return KeywordReport(
        search.required_tokenizer(),
        tuple(TermReport(one.term, one.count, one.documents, one.idf) for one in answer.terms),
        answer.cut,
        answer.matching,
        request.bm25.k1,
        request.bm25.b,
        1000.0 * answer.seconds,
        request.fusion if hybrid else None,
        request.weight if hybrid and request.fusion == "convex" else None,
        request.depth if hybrid else None,
    )
