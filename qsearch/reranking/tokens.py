"""Tokens of pairs, without torch: each text is tokenized once, however many pairs it is part of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsearch.encoding.tokens import heads, slices, token_counts, uncut
from qsearch.errors import EncoderError
from qsearch.reranking.protocols import Pair

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["PairTokenizer", "TokenPair", "longest_first"]


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A pair as a model reads it.

    Attributes:
        ids: t tokens.
        sides: of the same length: what the tokenizer calls the part that each token is of.
        truncated: whether there would be more without the maximum length.
    """

    ids: list[int]
    sides: list[int]
    truncated: bool


def longest_first(query: int, text: int, room: int) -> tuple[int, int]:
    """How many tokens of each side stay: the longer side gives its tokens first.

    The rule of the tokenizers package, which sentence-transformers uses.

    Args:
        query: tokens of it.
        text: tokens of it.
        room: for both together.

    >>> longest_first(5, 100, 60), longest_first(100, 100, 61), longest_first(10, 20, 60)
    ((5, 55), (30, 31), (10, 20))
    """
    if query + text <= room:
        return query, text
    shorter, longer = sorted((query, text))
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = shorter + room % 2
    return (longer, shorter) if query > text else (shorter, longer)


class PairTokenizer:
    """A tokenizer of the tokenizers package, for pairs. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """Find out what stands before, between and behind the two sides.

        Args:
            tokenizer: of the model; its truncation says from which end a side is cut.
            max_length: tokens of a pair; 0 cuts nothing.

        Raises:
            EncoderError: pairs cannot be put together by it.
        """
        self._from_left = (tokenizer.truncation or {}).get("direction") == "left"
        self._tokenizer = uncut(tokenizer)
        one, other = self._tokenizer.encode_batch(["a", "b"], add_special_tokens=False)
        if not one.ids or not other.ids:
            raise EncoderError("its tokenizer makes no tokens of letters")
        whole = self._tokenizer.encode("a", "b")
        places: list[list[int]] = [[], []]
        for place, side in enumerate(whole.sequence_ids):
            if side is not None:
                places[side].append(place)
        first, second = places
        ends = (first[0], first[-1] + 1, second[0], second[-1] + 1) if first and second else ()
        if not ends or whole.ids[ends[0] : ends[1]] + whole.ids[ends[2] : ends[3]] != [
            *one.ids,
            *other.ids,
        ]:
            raise EncoderError("its tokenizer puts pairs together in a way that is not known")
        parts = ((0, ends[0]), (ends[1], ends[2]), (ends[3], len(whole.ids)))
        self._around = [whole.ids[begin:end] for begin, end in parts]
        self._around_sides = [whole.type_ids[begin:end] for begin, end in parts]
        self._sides = whole.type_ids[first[0]], whole.type_ids[second[0]]
        self._room = max(0, max_length - sum(map(len, self._around))) if max_length else 0
        self._max_length = max_length

    def tokens(self, pairs: Sequence[Pair]) -> list[TokenPair]:
        """The tokens of each pair."""
        texts = list(dict.fromkeys(side for pair in pairs for side in pair))
        found = dict(zip(texts, self._ids(texts), strict=True))
        return [self._joined(found[query], found[text]) for query, text in pairs]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Tokens of single texts; of a very long one no more than could stay."""
        if not self._from_left:
            texts = heads(texts, self._max_length, lambda some: token_counts(self._tokenizer, some))
        return [
            one.ids
            for some in slices(texts)
            for one in self._tokenizer.encode_batch(list(some), add_special_tokens=False)
        ]

    def _joined(self, query: list[int], text: list[int]) -> TokenPair:
        truncated = False
        if self._max_length:
            keep = longest_first(len(query), len(text), self._room)
            truncated = keep != (len(query), len(text))
            query, text = self._cut(query, keep[0]), self._cut(text, keep[1])
        before, between, behind = self._around
        sides_before, sides_between, sides_behind = self._around_sides
        of_query, of_text = self._sides
        return TokenPair(
            [*before, *query, *between, *text, *behind],
            [
                *sides_before,
                *([of_query] * len(query)),
                *sides_between,
                *([of_text] * len(text)),
                *sides_behind,
            ],
            truncated,
        )

    def _cut(self, ids: list[int], keep: int) -> list[int]:
        return ids[len(ids) - keep :] if self._from_left else ids[:keep]
