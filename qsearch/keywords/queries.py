"""What is looked for: a text becomes terms. Every text is one; nothing in it is a command.

Words come from the text by the tokenizer of the index. What stands between two double quotes is one term, a
phrase. A quote without another one is a character like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from qsearch.store.schema import TRIGRAM
from qsearch.store.text_index import tokenized

__all__ = [
    "MOST_CHARACTERS",
    "MOST_PHRASE_TOKENS",
    "MOST_TERMS",
    "Term",
    "Terms",
    "terms_of",
]

MOST_CHARACTERS = 20_000
MOST_TERMS = 256
MOST_PHRASE_TOKENS = 64
"""Of a query so many characters count, of these so many different terms, and of a phrase so many tokens:
the first ones. That bounds the time of a search."""

_TRIGRAM_CHARACTERS = 3
_PADDING = "\u4e00"
"""A character that the tokenizer leaves as it is."""


@dataclass(frozen=True, slots=True)
class Term:
    """What may stand in a document: a token, several that follow each other, or the beginning of one.

    Attributes:
        tokens: as the index has them.
        prefix: whether the only one is the beginning of tokens: of a run of fewer than three characters,
            where tokens are trigrams.
    """

    tokens: tuple[str, ...]
    prefix: bool = False

    @property
    def shown(self) -> str:
        """For people."""
        if len(self.tokens) > 1:
            return '"' + " ".join(self.tokens) + '"'
        return self.tokens[0] + ("…" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a query, in the order in which they first come, and how often each stands in it.

    Attributes:
        counts: by term.
        cut: whether the query is longer than what counts.
    """

    counts: dict[Term, int]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a query that is tokenized for itself."""

    text: str
    phrase: bool
    short: int = 0  # so many characters of it are the beginning of a trigram


def terms_of(texts: Sequence[str], tokenizer: str) -> list[Terms]:
    """The terms of each query.

    Args:
        texts: any.
        tokenizer: of the text index.
    """
    pieces = [_pieces(text[:MOST_CHARACTERS], tokenizer) for text in texts]
    tokens = iter(tokenized(tokenizer, [one.text for of_query in pieces for one in of_query]))
    found = []
    for text, of_query in zip(texts, pieces, strict=True):
        terms: list[Term] = []
        cut = len(text) > MOST_CHARACTERS
        for piece in of_query:
            here = next(tokens)
            if piece.short:
                terms += [Term((one[: piece.short],), prefix=True) for one in here[:1]]
            elif piece.phrase:
                cut = cut or len(here) > MOST_PHRASE_TOKENS
                terms += [Term(tuple(here[:MOST_PHRASE_TOKENS]))] if here else []
            else:
                terms += [Term((one,)) for one in here]
        counts = Counter(terms)  # in the order of what comes first
        kept = dict(list(counts.items())[:MOST_TERMS])
        found.append(Terms(kept, cut or len(kept) < len(counts)))
    return found


def _pieces(text: str, tokenizer: str) -> list[_Piece]:
    parts = text.replace("\0", " ").split('"')
    found = []
    for number, part in enumerate(parts):
        phrase = number % 2 == 1 and number < len(parts) - 1
        if tokenizer != TRIGRAM:
            found.append(_Piece(part, phrase))
            continue
        # A trigram goes across spaces, where it finds what is written exactly so: only a phrase means that.
        for run in [part.strip()] if phrase else part.split():
            missing = _TRIGRAM_CHARACTERS - len(run)
            if missing > 0 and run:
                found.append(_Piece(run + missing * _PADDING, phrase, len(run)))
            elif run:
                found.append(_Piece(run, phrase))
    return found
