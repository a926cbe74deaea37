"""Tokens of texts of any length, in bounded memory: a tokenizer needs 250 bytes for each one of a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["heads", "slices", "token_counts", "token_spans", "uncut"]

_SLICE = 1 << 18
"""Characters that are tokenized at a time."""

_STRETCH = 1 << 15
"""A longer text is tokenized in stretches, which end before white space: no token goes across that."""

_HEAD = 32
"""So many characters for each token of the maximum length are surely enough of a text, or nearly so."""

_LAST_SPACE = re.compile(r"\s(?=\S*\Z)")


def uncut(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that neither cuts nor pads; what is never changed is safe to share between threads."""
    from tokenizers import Tokenizer

    copied: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


def slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Consecutive texts that together have so few characters that they can be tokenized at once."""
    first = characters = 0
    for number, text in enumerate(texts):
        if characters and characters + len(text) > _SLICE:
            yield texts[first:number]
            first, characters = number, 0
        characters += len(text)
    if first < len(texts):
        yield texts[first:]


def token_counts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """How many tokens each text has, with special tokens.

    Args:
        tokenizer: see ``uncut``.
        texts: of any length.
    """
    return [len(one) for some in slices(texts) for one in tokenizer.encode_batch(list(some))]


def token_spans(tokenizer: Tokenizer, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """Where the tokens of each text begin and end, in characters: (t, 2) each, without special tokens.

    Args:
        tokenizer: see ``uncut``.
        texts: of any length. A text of more than 32,768 characters may be told a token more or less
            where two stretches of it meet.
    """
    stretches: list[str] = []
    places: list[tuple[int, int]] = []
    for number, text in enumerate(texts):
        for begin, end in _stretches(text):
            stretches.append(text[begin:end])
            places.append((number, begin))
    found: list[list[NDArray[np.int64]]] = [[np.empty((0, 2), dtype=np.int64)] for _ in texts]
    done = 0
    for some in slices(stretches):
        for encoding in tokenizer.encode_batch(list(some), add_special_tokens=False):
            number, begin = places[done]
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(len(encoding.ids), 2)
            found[number].append(offsets + begin)
            done += 1
    return [np.concatenate(parts) for parts in found]


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    while len(text) - begin > _STRETCH:
        end = _before_space(text, begin, begin + _STRETCH)
        yield begin, end
        begin = end
    if begin < len(text):
        yield begin, len(text)


def _before_space(text: str, begin: int, end: int) -> int:
    """The last white space in a part of a text, or the end of the part."""
    found = _LAST_SPACE.search(text, max(begin + 1, end - 1000), end)
    return end if found is None else found.start()


def heads(
    texts: Sequence[str], max_length: int, count: Callable[[list[str]], list[int]]
) -> list[str]:
    """Texts, of very long ones only the beginning, where that has more tokens than the maximum length.

    Args:
        texts: as they will be tokenized.
        max_length: tokens; 0 for no limit.
        count: tells how many tokens texts have, not cut.

    Returns:
        Texts whose first ``max_length`` tokens are the same.
    """
    shortened = list(texts)
    most = _HEAD * max_length
    long = [number for number, text in enumerate(texts) if max_length and len(text) > most]
    if long:
        some = [texts[number][: _before_space(texts[number], 0, most)] for number in long]
        for number, head, tokens in zip(long, some, count(some), strict=True):
            # White space follows the head, so that what is behind changes no token in it.
            if tokens > max_length and texts[number][len(head)].isspace():
                shortened[number] = head
    return shortened
