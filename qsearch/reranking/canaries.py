"""Pairs that give an export away which does not do the same."""

from __future__ import annotations

from qsearch.encoding.canaries import canary_texts
from qsearch.reranking.protocols import Pair

__all__ = ["canary_pairs"]


def canary_pairs(max_length: int | None) -> list[Pair]:
    """Every canary text as a query and as a text, and pairs of which either side, or both, are cut.

    Args:
        max_length: of the model.
    """
    texts = [canary.text for canary in canary_texts(max_length)]
    long = texts[-1]
    question = texts[1]
    pairs = [(question, text) for text in texts]
    pairs += [(text, texts[2]) for text in texts]
    pairs += [(long, long), (long[: len(long) // 2], long), ("", texts[0]), (texts[0], "")]
    return pairs
