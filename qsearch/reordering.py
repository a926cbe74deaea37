"""Hits in the order of a cross-encoder: how many are retrieved for it, and the best by its scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qsearch.errors import QueryError
from qsearch.options import TextSearchOptions, listed
from qsearch.results import Reranking, SearchResult
from qsearch.retrieval.searcher import whole_number
from qsearch.wording import words

if TYPE_CHECKING:
    from qsearch.indexing import Progress
    from qsearch.reranking import Reranker

__all__ = ["reordered", "taken"]


def taken(k: Any, asked: dict[str, Any]) -> tuple[object | None, Any]:
    """Take out of the options of a search what is not for its retrieval.

    Args:
        k: hits wanted.
        asked: all of ``TextSearchOptions``; ``rerank`` and ``rerank_depth`` are taken out.

    Returns:
        The reranker that was asked for, and how many hits are to be retrieved.

    Raises:
        QueryError: a number is none, the depth makes no sense, or is given without a reranker.
    """
    rerank, given = asked.pop("rerank"), asked.pop("rerank_depth")
    depth = whole_number("rerank_depth", given)
    if depth < 1:
        raise QueryError(f"rerank_depth must be at least 1, found {depth}")
    if rerank is None:
        if depth != listed(TextSearchOptions)["rerank_depth"][1].default:
            raise QueryError(
                "rerank_depth is how many hits a cross-encoder scores; name one with "
                f"{words().rerank}, or leave it out"
            )
        return None, k
    wanted, candidates = whole_number("k", k), asked["candidates"]
    if wanted < 1:  # which the search refuses
        return rerank, wanted
    if candidates is not None and wanted <= whole_number("candidates", candidates) < depth:
        raise QueryError(
            f"candidates must be at least rerank_depth = {depth}, found {candidates}; take more, or "
            "rerank fewer"
        )
    return rerank, max(wanted, depth)


def reordered(
    results: Sequence[SearchResult],
    queries: Sequence[str],
    k: int,
    reranker: Reranker,
    progress: Progress | None,
) -> list[SearchResult]:
    """The k best of the hits of each query by a reranker; all pairs of all queries are scored together.

    Args:
        results: of at least one query.
        queries: their texts.
        k: hits wanted for each.
        reranker: what scores.
        progress: is told how many pairs are done.

    Raises:
        EncoderError: the reranker fails, or gives no finite number for a pair.
    """
    from qsearch.reranking import score_texts

    contents = [[hit.content for hit in result] for result in results]
    if progress is not None:
        progress.begin("rerank", sum(map(len, contents)), "pairs")
    started = time.perf_counter()
    try:
        advance = None if progress is None else progress.advance
        scored = score_texts(reranker, queries, contents, advance)
    finally:
        if progress is not None:
            progress.end()
    milliseconds = 1000.0 * (time.perf_counter() - started) / len(results)
    identity = reranker.identity()
    return [
        result.reranked(
            one.scores.tolist(), k, Reranking(identity, len(result), one.truncated), milliseconds
        )
        for result, one in zip(results, scored, strict=True)
    ]
