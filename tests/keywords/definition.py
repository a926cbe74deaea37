"""BM25 as docs/keywords.md defines it, in plain Python: what the search is held against, to the bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from qsearch.documents import Document
from qsearch.keywords.queries import Term, terms_of
from qsearch.store.text_index import tokenized

__all__ = ["bm25", "occurrences", "ranked"]


def occurrences(fields: Sequence[Sequence[str]], term: Term) -> int:
    """How often a term stands in the tokens of a document: of its title, and of its text."""
    found = 0
    for tokens in fields:
        for start in range(len(tokens)):
            here = tuple(tokens[start : start + len(term.tokens)])
            found += here[0].startswith(term.tokens[0]) if term.prefix else here == term.tokens
    return found


def bm25(
    documents: Sequence[Document],
    query: str,
    tokenizer: str,
    k1: float = 1.2,
    b: float = 0.75,
) -> dict[str, float]:
    """The score of each document by id."""
    every = [tokenized(tokenizer, [one.title or "", one.text]) for one in documents]
    lengths = [sum(map(len, fields)) for fields in every]
    scores = dict.fromkeys((one.id for one in documents), 0.0)
    (terms,) = terms_of([query], tokenizer)
    if not sum(lengths):
        return scores
    average = sum(lengths) / len(documents)
    for term, often in terms.counts.items():
        counts = [occurrences(fields, term) for fields in every]
        holding = sum(count > 0 for count in counts)
        idf = math.log(1.0 + (len(documents) - holding + 0.5) / (holding + 0.5))
        for one, count, length in zip(documents, counts, lengths, strict=True):
            if count:
                norm = k1 * ((1.0 - b) + b * length / average)
                scores[one.id] += often * idf * (count / (count + norm))
    return scores


def ranked(scores: Mapping[str, float], k: int) -> list[tuple[str, float]]:
    """The k best above 0, equal ones in the order of documents."""
    held = [(name, score) for name, score in scores.items() if score > 0]
    return sorted(held, key=lambda one: -one[1])[:k]
