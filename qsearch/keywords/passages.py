"""The passage of a document that is shown for a search by words: the one that holds most of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.keywords.queries import Term, Terms
from qsearch.retrieval.documents import DocumentRows
from qsearch.store import Catalog
from qsearch.store.text_index import tokenized
from qsearch.wording import words

__all__ = ["best_passages"]


def best_passages(
    catalog: Catalog,
    documents: DocumentRows,
    positions: Sequence[int],
    rows: Sequence[NDArray[np.int64]],
    terms: Terms,
    tokenizer: str,
) -> list[int]:
    """Which passage of each document holds most of the terms.

    Different terms count first, then how often they stand there; of equals the first is taken, as it is of
    a document that holds them in its title alone.

    Args:
        catalog: has the texts.
        documents: has the places of passages.
        positions: of documents.
        rows: of each one's passages.
        terms: of the query.
        tokenizer: of the text index.

    Raises:
        IndexFormatError: a passage lies outside of its text.
    """
    stored = catalog.documents(positions)
    texts = []
    for position, of_document in zip(positions, rows, strict=True):
        text = stored[position].text
        for begin, end in documents.spans(of_document).tolist():
            if not 0 <= begin <= end <= len(text):
                raise IndexFormatError(
                    f"a passage of document {stored[position].id!r} lies outside of its text; "
                    f"{words().verify} tells which file is damaged"
                )
            texts.append(text[begin:end])
    held = iter([_held(tokens, terms) for tokens in tokenized(tokenizer, texts)])
    found = []
    for of_document in rows:
        of_passages = [next(held) for _ in of_document]
        found.append(of_passages.index(max(of_passages)))
    return found


def _held(tokens: Sequence[str], terms: Terms) -> tuple[int, int]:
    """How many of the terms tokens hold, and how often in all."""
    counts = [_occurrences(tokens, term) for term in terms.counts]
    return sum(one > 0 for one in counts), sum(counts)


def _occurrences(tokens: Sequence[str], term: Term) -> int:
    if term.prefix:
        return sum(one.startswith(term.tokens[0]) for one in tokens)
    size = len(term.tokens)
    wanted = list(term.tokens)
    return sum(
        one == wanted[0] and list(tokens[start : start + size]) == wanted
        for start, one in enumerate(tokens)
    )
