"""Cutting a text into passages, by the tokens of a model and at ends of sentences where possible.

A text is cut into as few passages as its tokens need, and those are made as even as its sentences allow:
a last passage of three words would have a vector of its own, near to everything.
"""

from __future__ import annotations

import bisect
import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["DEFAULT_LANGUAGE", "cut_text", "sentence_ends", "token_spans", "uncut"]

DEFAULT_LANGUAGE = "en"

_WINDOW = 4000
"""Characters that are looked at together for ends of sentences. A quotation mark that is never closed
hides every end behind it, and costs time with the square of what follows."""


def uncut(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that neither cuts nor pads; what is never changed is safe to share between threads."""
    from tokenizers import Tokenizer

    copied: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


def token_spans(tokenizer: Tokenizer, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """Where the tokens of each text begin and end, in characters: (t, 2) each, no special tokens."""
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [np.array(one.offsets, dtype=np.int64).reshape(len(one.ids), 2) for one in encodings]


def sentence_ends(text: str, language: str = DEFAULT_LANGUAGE) -> list[int]:
    """Where sentences end, in characters, rising; the white space after a sentence belongs to it.

    Args:
        text: any.
        language: ISO 639 code, for abbreviations that do not end a sentence (sentencex knows some 240
            languages, and takes those of English for others).

    >>> sentence_ends("Dr. Smith came. He saw 3.5 birds!")
    [16, 33]
    """
    from sentencex import get_sentence_boundaries

    ends: list[int] = []
    position = 0
    while position < len(text):
        window = text[position : position + _WINDOW]
        found = [one["end_index"] for one in get_sentence_boundaries(language, window)]
        if position + _WINDOW < len(text):
            found = found[:-1]  # the last sentence goes on
        found = found or [len(window)]
        ends += [position + end for end in found]
        position = ends[-1]
    return ends


def cut_text(
    text: str, spans: NDArray[np.int64], ends: Sequence[int], most: int, overlap: int
) -> list[tuple[int, int]]:
    """Cut a text into passages of at most ``most`` tokens.

    A passage ends where a sentence does, or, within a sentence that is too long, where a line does, a word,
    a token. It begins where the one before ends, or up to ``overlap`` tokens earlier: at the first
    sentence that begins there, or else word. Surrounding white space is in no passage.

    Args:
        text: with at least one token.
        spans: (t, 2) where each token begins and ends, in characters.
        ends: of sentences, see ``sentence_ends``.
        most: tokens.
        overlap: tokens that two passages may share, less than ``most``.

    Returns:
        Where each passage begins and ends, in characters.

    >>> words = [(0, 3), (4, 8), (8, 9), (10, 13), (14, 17), (17, 18), (19, 21), (22, 24), (24, 25)]
    >>> cut_text("One line. Two now. Is it?", np.array(words), [10, 19, 25], 6, 0)
    [(0, 18), (19, 25)]
    """
    tokens = _Tokens(text, spans)
    cuts = _cuts(tokens, ends, most)
    count = len(_pack(tokens, cuts, most, overlap))
    low, high = -(-len(tokens.starts) // count), most
    while low < high:  # the smallest size that needs no more passages makes them even
        middle = (low + high) // 2
        if _fits(cuts, middle) and len(_pack(tokens, cuts, middle, overlap)) <= count:
            high = middle
        else:
            low = middle + 1
    return [tokens.characters(*one) for one in _pack(tokens, cuts, high, overlap)]


class _Tokens:
    """Tokens that a text can be cut before: several tokens of one character count as one place.

    Attributes:
        starts: (t,) first characters of the tokens, rising.
        sentences: which tokens begin a sentence, rising; set by ``_cuts``.
    """

    def __init__(self, text: str, spans: NDArray[np.int64]) -> None:
        self._text = text
        # Some tokenizers count the space before a word to it, some give a token no place at all.
        begins = [
            begin + len(text[begin:end]) - len(text[begin:end].lstrip())
            for begin, end in spans.tolist()
        ]
        self.starts: list[int] = np.maximum.accumulate(np.array(begins, dtype=np.int64)).tolist()
        self.sentences: list[int] = [0]

    def at(self, character: int) -> int:
        """The first token that begins at a character or behind it."""
        return bisect.bisect_left(self.starts, character)

    def before(self, token: int) -> int:
        """The token itself, or the first of those that stand for the same character."""
        return self.at(self.starts[token]) if token < len(self.starts) else token

    def begins_line(self, token: int) -> bool:
        """Whether a line ends between the token before and this one."""
        if self.before(token) != token:
            return False
        character = self.starts[token] - 1
        while character >= 0 and self._text[character].isspace():
            if self._text[character] == "\n":
                return True
            character -= 1
        return False

    def begins_word(self, token: int) -> bool:
        """Whether there is white space before the token."""
        start = self.starts[token]
        return self.before(token) == token and (start == 0 or self._text[start - 1].isspace())

    def begins_letter(self, token: int) -> bool:
        """Whether the token begins with a letter of a script without capitals, many without spaces."""
        category = unicodedata.category(self._text[self.starts[token]])
        return category == "Lo" and self.before(token) == token

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Where a passage of tokens begins and ends, without white space around it."""
        begin = self.starts[first]
        end = self.starts[last] if last < len(self.starts) else len(self._text)
        return begin, begin + len(self._text[begin:end].rstrip())


def _cuts(tokens: _Tokens, ends: Sequence[int], most: int) -> list[int]:
    """Tokens that passages may end before: at most ``most`` apart, from 0 to the number of tokens."""
    count = len(tokens.starts)
    tokens.sentences = sorted({0, *(tokens.at(end) for end in ends)} - {count})
    cuts = [0]
    for end in [*tokens.sentences[1:], count]:
        cuts += _pieces(tokens, cuts[-1], end, most)
    return cuts


def _pieces(tokens: _Tokens, first: int, last: int, most: int) -> Iterator[int]:
    """Ends of the pieces of a sentence that is longer than a passage, or its own end."""
    while last - first > most:
        # As many pieces as needed, and about even, but at the end of a line or word nearby.
        share = -(-(last - first) // -(-(last - first) // most))
        target = tokens.before(first + share)
        nearby = range(target, max(first, target - share // 2), -1)
        line = next((one for one in nearby if tokens.begins_line(one)), None)
        word = next((one for one in nearby if tokens.begins_word(one)), None)
        cut = line or word or target
        if cut <= first:  # one character of very many tokens
            cut = tokens.at(tokens.starts[first] + 1)
        first = cut
        if first < last:
            yield first
    yield last


def _fits(cuts: Sequence[int], most: int) -> bool:
    return all(end - first <= most for first, end in itertools.pairwise(cuts))


def _pack(tokens: _Tokens, cuts: Sequence[int], most: int, overlap: int) -> list[tuple[int, int]]:
    """Passages as first token and the one behind the last, each as long as possible."""
    passages: list[tuple[int, int]] = []
    first = 0
    following = 1
    while following < len(cuts):
        end = max(following, bisect.bisect_right(cuts, first + most) - 1)
        passages.append((first, cuts[end]))
        following = end + 1
        if following < len(cuts):
            # Not so much overlap that the next piece would not fit.
            earliest = max(cuts[end] - overlap, cuts[following] - most, first + 1)
            first = _start(tokens, earliest, cuts[end]) if earliest < cuts[end] else cuts[end]
    return passages


def _start(tokens: _Tokens, earliest: int, end: int) -> int:
    """The first sentence that begins from ``earliest`` on, or else word, or else letter; or ``end``."""
    number = bisect.bisect_left(tokens.sentences, earliest)
    if number < len(tokens.sentences) and tokens.sentences[number] < end:
        return tokens.sentences[number]
    words = (one for one in range(earliest, end) if tokens.begins_word(one))
    letters = (one for one in range(earliest, end) if tokens.begins_letter(one))
    return next(words, next(letters, end))
