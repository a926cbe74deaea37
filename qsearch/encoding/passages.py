"""Cutting a text into passages, by the tokens of a model and at ends of sentences where possible.

A text is cut into as few passages as its tokens need, and those are made as even as its sentences allow:
a last passage of three words would have a vector of its own, near to everything.
"""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_LANGUAGE", "character_start", "cut_text", "sentence_ends"]

DEFAULT_LANGUAGE = "en"

_WINDOW = 4000
"""Characters that are looked at together for ends of sentences. A quotation mark that is never closed
hides every end behind it, and costs time with the square of what follows."""

_LONG_SENTENCE = 1000
"""In a longer one plain ends count too: it is most probably such a quotation."""

_PLAIN_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？｡]+[」』”’）]*\s*")


def sentence_ends(text: str, language: str = DEFAULT_LANGUAGE) -> list[int]:
    """Where sentences end, in characters, rising; the white space after a sentence belongs to it.

    Args:
        text: any; its end is an end.
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
        found = [position + one["end_index"] for one in get_sentence_boundaries(language, window)]
        if position + _WINDOW < len(text):
            found = found[:-1]  # the last sentence goes on
        ends += found
        position = found[-1] if found else position + 1 + max(window.rfind(" "), _WINDOW // 2)
    for begin, end in itertools.pairwise([0, *ends]):
        if end - begin > _LONG_SENTENCE:
            ends += [one.end() for one in _PLAIN_END.finditer(text, begin, end)]
    return sorted(set(ends))


def character_start(text: str, position: int) -> int:
    r"""Where the character begins that a position is in, as people see characters (UAX 29).

    >>> character_start("e\u0301 x", 1), character_start("e\u0301 x", 2)
    (0, 2)
    """
    if position >= len(text) or text[position].isascii():
        return position
    begin = max(0, position - 64)
    while (
        begin and 0x1F1E6 <= ord(text[begin]) <= 0x1F1FF
    ):  # flags are pairs, counted from the first
        begin -= 1
    for match in _character_pattern().finditer(text, begin, position + 1):
        if match.end() > position:
            return int(match.start())
    return position


@cache
def _character_pattern() -> Any:
    import regex

    return regex.compile(r"\X")


def cut_text(
    text: str, spans: NDArray[np.int64], ends: Sequence[int], most: int, overlap: int
) -> list[tuple[int, int]]:
    """Cut a text into passages of at most ``most`` tokens.

    A passage ends where a sentence does, or, within a sentence that is too long, where a line does, a word,
    a character. It begins where the one before ends, or up to ``overlap`` tokens earlier: at the first
    sentence that begins there, or else word. Surrounding white space is in no passage. A character of more
    than ``most`` tokens is a passage that is too long.

    Args:
        text: any.
        spans: (t, 2) where each token begins and ends, in characters.
        ends: of sentences, see ``sentence_ends``.
        most: tokens.
        overlap: tokens that two passages may share, less than ``most``.

    Returns:
        Where each passage begins and ends, in characters; the whole text if it is white space.

    >>> words = [(0, 3), (4, 8), (8, 9), (10, 13), (14, 17), (17, 18), (19, 21), (22, 24), (24, 25)]
    >>> cut_text("One line. Two now. Is it?", np.array(words), [10, 19, 25], 6, 0)
    [(0, 18), (19, 25)]
    """
    tokens = _Tokens(text, spans)
    if not tokens.starts:
        return [(0, len(text))]
    cuts = _cuts(tokens, ends, most, overlap)
    count = len(_pack(tokens, cuts, most, overlap, most))
    low, high = -(-tokens.size(0, len(tokens.starts)) // count), most
    longest = max(tokens.size(first, end) for first, end in itertools.pairwise(cuts))
    while low < high:  # the smallest number of tokens of their own makes them even
        middle = (low + high) // 2
        if longest <= middle and len(_pack(tokens, cuts, most, overlap, middle)) <= count:
            high = middle
        else:
            low = middle + 1
    return [tokens.characters(*one) for one in _pack(tokens, cuts, most, overlap, high)]


class _Tokens:
    """The tokens of a text that a passage can begin with: all but those of white space.

    Attributes:
        starts: first characters of these tokens, never falling.
        numbers: their numbers among all tokens, rising: what is between them counts for size.
        sentences: which of them begin a sentence, rising; set by ``_cuts``.
    """

    def __init__(self, text: str, spans: NDArray[np.int64]) -> None:
        self._text = text
        self.starts: list[int] = []
        self.numbers: list[int] = []
        self.sentences: list[int] = [0]
        for number, (begin, end) in enumerate(spans.tolist()):
            rest = text[begin:end].lstrip()  # some tokenizers count the space before a word to it
            if rest:
                last = self.starts[-1] if self.starts else 0
                self.starts.append(max(last, end - len(rest)))
                self.numbers.append(number)

    def size(self, first: int, end: int) -> int:
        """Tokens from one of these to the one before another."""
        return self.numbers[end - 1] + 1 - self.numbers[first]

    def at(self, character: int) -> int:
        """The first token that begins at a character or behind it."""
        return bisect.bisect_left(self.starts, character)

    def begins_character(self, token: int) -> bool:
        """Whether no other token begins at its place, and its place is not within a character."""
        start = self.starts[token]
        new = token == 0 or self.starts[token - 1] < start
        return new and character_start(self._text, start) == start

    def begins_word(self, token: int) -> bool:
        """Whether there is white space before the token."""
        start = self.starts[token]
        return (start == 0 or self._text[start - 1].isspace()) and self.begins_character(token)

    def begins_line(self, token: int) -> bool:
        """Whether a line ends between the token before and this one."""
        character = self.starts[token] - 1
        while character >= 0 and self._text[character].isspace():
            if self._text[character] == "\n":
                return self.begins_character(token)
            character -= 1
        return False

    def begins_letter(self, token: int) -> bool:
        """Whether the token begins with a letter of a script without capitals, many without spaces."""
        category = unicodedata.category(self._text[self.starts[token]])
        return category == "Lo" and self.begins_character(token)

    def characters(self, first: int, end: int) -> tuple[int, int]:
        """Where a passage of tokens begins and ends, without white space around it."""
        begin = self.starts[first]
        behind = self.starts[end] if end < len(self.starts) else len(self._text)
        return begin, begin + len(self._text[begin:behind].rstrip())


def _cuts(tokens: _Tokens, ends: Sequence[int], most: int, overlap: int) -> list[int]:
    """Tokens that passages may end before, from 0 to their number: no more apart than a passage.

    The pieces of a sentence that is too long leave room for an overlap.
    """
    count = len(tokens.starts)
    tokens.sentences = sorted({0, *(tokens.at(end) for end in ends)} - {count})
    cuts = [0]
    for end in [*tokens.sentences[1:], count]:
        piece = most if tokens.size(cuts[-1], end) <= most else most - overlap
        cuts += _pieces(tokens, cuts[-1], end, piece)
    return cuts


def _pieces(tokens: _Tokens, first: int, last: int, most: int) -> Iterator[int]:
    """Ends of pieces of at most ``most`` tokens of a sentence; only its own where it is no longer."""
    while (size := tokens.size(first, last)) > most:
        # As many pieces as needed, and about even, but at the end of a line or word nearby.
        share = -(-size // -(-size // most))
        target = min(last - 1, bisect.bisect_left(tokens.numbers, tokens.numbers[first] + share))
        if target <= first:
            break
        nearby = range(target, target - (target - first + 1) // 2, -1)
        tries: list[tuple[Callable[[int], bool], Iterable[int]]] = [
            (tokens.begins_line, nearby),
            (tokens.begins_word, nearby),
            (tokens.begins_letter, nearby),
            (tokens.begins_character, range(target, first, -1)),
            (tokens.begins_character, range(target + 1, last)),
        ]
        found = (next(filter(begins, places), None) for begins, places in tries)
        cut = next((one for one in found if one is not None), None)
        if cut is None:
            break
        first = cut
        yield first
    yield last


def _pack(
    tokens: _Tokens, cuts: Sequence[int], most: int, overlap: int, own: int
) -> list[tuple[int, int]]:
    """Passages as first token and the one behind the last, each as long as possible.

    ``own`` is the most tokens that a passage may have behind the end of the one before it.
    """
    numbers = tokens.numbers
    tails = [0, *(numbers[cut - 1] + 1 for cut in cuts[1:])]
    passages: list[tuple[int, int]] = []
    first = 0
    following = 1
    while following < len(cuts):
        last = min(numbers[first] + most, max(numbers[0], tails[following - 1]) + own)
        end = max(following, bisect.bisect_right(tails, last) - 1)
        passages.append((first, cuts[end]))
        following = end + 1
        if following < len(cuts):
            # Not so much overlap that the next piece would not fit.
            earliest = max(tails[end] - overlap, tails[following] - most, numbers[first] + 1)
            first = _start(tokens, bisect.bisect_left(numbers, earliest), cuts[end])
    return passages


def _start(tokens: _Tokens, earliest: int, end: int) -> int:
    """The first sentence that begins from ``earliest`` on, or else word, or else letter; or ``end``."""
    if earliest >= end:
        return end
    number = bisect.bisect_left(tokens.sentences, earliest)
    if number < len(tokens.sentences) and tokens.sentences[number] < end:
        return tokens.sentences[number]
    word = next(filter(tokens.begins_word, range(earliest, end)), None)
    if word is not None:
        return word
    return next(filter(tokens.begins_letter, range(earliest, end)), end)
