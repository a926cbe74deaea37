"""The part of a text that shows why it was found, for people."""

from __future__ import annotations

import re

__all__ = ["excerpt"]

_WORD = re.compile(r"\w{3,}")
_STEM = 6
"""Words count as the same if they begin alike: "navigates" and "navigation"."""

_BORDER = 20
"""A cut may lie so many characters farther in, where a word ends."""


def excerpt(text: str, query: str, most: int) -> str:
    """At most ``most`` characters of a text, with as many different words of the query as possible.

    White space becomes single spaces; what is left out at either end becomes "…".

    >>> excerpt("It was a dark and stormy night. The rain fell in torrents.", "what fell", 30)
    '… The rain fell in torrents.'
    """
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    room = most - 4  # for "… " and "…", and a space before
    begin = _begin(text, query, room)
    end = min(len(text), begin + room)
    if end < len(text):
        end = _border(text, end)
    shown = text[begin:end].strip()
    return ("… " if begin else "") + shown + ("…" if end < len(text) else "")


def _begin(text: str, query: str, room: int) -> int:
    """Where to begin, so that most words of the query are seen; the first such place."""
    wanted = {_stem(word) for word in _WORD.findall(query)}
    places = [
        (found.start(), found.end(), _stem(found.group()))
        for found in _WORD.finditer(text)
        if _stem(found.group()) in wanted
    ]
    best, most = 0, len({word for _, end, word in places if end <= room})
    for number, (start, _, _) in enumerate(places):
        seen = set()
        for _, end, word in places[number:]:
            if end > start + room:
                break
            seen.add(word)
        if len(seen) > most:
            best, most = start, len(seen)
    if not best:
        return 0
    # Words before it say what the sentence is about: from its beginning if that is near.
    last = max(end for start, end, _ in places if best <= start and end <= best + room)
    earliest = max(0, last - room)
    sentence = max((text.rfind(mark, earliest, best) for mark in (". ", "? ", "! ")), default=-1)
    if sentence >= 0:
        return sentence + 2
    earliest = max(earliest, best - room // 4)
    space = text.find(" ", earliest, best)
    return space + 1 if space >= 0 else best


def _border(text: str, end: int) -> int:
    space = text.rfind(" ", max(0, end - _BORDER), end + 1)
    return space if space > 0 else end


def _stem(word: str) -> str:
    return word.casefold()[:_STEM]
