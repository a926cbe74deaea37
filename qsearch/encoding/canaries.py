"""Texts that give a different encoder away.

Each canary is sensitive to one habit in which encoders differ. They are encoded at build, stored in
the index with their vectors, and encoded again before the first query by text.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Canary", "canary_texts"]


@dataclass(frozen=True, slots=True)
class Canary:
    """A text and the name by which messages speak of it."""

    name: str
    text: str


_FIXED = (
    Canary("word", "lighthouse"),
    Canary("question", "How do birds find their way home across an ocean?"),
    Canary("sentence", "The committee postponed its decision until the auditors had reported."),
    Canary(
        "whitespace", " \n\t  A text with blank space around it, and\n\ta line break within.  \t\n "
    ),
    Canary(
        "capitals", "NASA and the ESA launched SMILE; McDonald Observatory saw the iPTF13bvn event."
    ),
    Canary("accents", "Ça déjà vu: Ångström, naïve façade, Łódź, smörgåsbord, crème brûlée."),
    Canary(
        "decomposed accents",
        "Cafe\u0301 re\u0301sume\u0301 An\u030agstro\u0308m n\u0303andu\u0301 \ufb01ne \uff21\uff22\uff23",
    ),
    Canary("chinese and japanese", "東京は日本の首都です。图书馆收藏了许多古籍。"),
    Canary("korean and arabic", "서울은 한국의 수도이다. المكتبة مفتوحة كل يوم."),
    Canary("cyrillic and greek", "Библиотека открыта каждый день. Η βιβλιοθήκη είναι ανοιχτή."),
    Canary("emoji", "Launch day 🚀🌍 thumbs up 👍🏽 family 👩‍👩‍👧 flag 🇫🇮"),
    Canary(
        "code",
        "def add(a: int, b: int) -> int:\n    return a + b  # O(1), see https://example.org/?q=1&r=%20",
    ),
    Canary(
        "numbers", "On 2024-02-29 at 23:59:59 the price fell by 12.5% to $1,234,567.89 (−3e-7)."
    ),
    Canary(
        "markup", '<p class="x">Tom &amp; Jerry</p> [CLS] [MASK] </s> query: passage: title: none'
    ),
)

_PARAGRAPH = (
    "The survey of year {year} counted {count} species along the northern shore, among them {birds} "
    "kinds of birds; the wardens noted which of them nested, which only passed through, and which "
    "had not been seen since the dam was finished."
)


def canary_texts(max_length: int | None) -> tuple[Canary, ...]:
    """All canaries for an encoder that cuts texts after ``max_length`` tokens (0: never).

    The last one is longer than that (up to a bound that keeps it cheap), so that an encoder which
    cuts elsewhere gives another vector.
    """
    words = int(min(max_length or 512, 1024) * 1.3)
    sentences: list[str] = []
    length = 0
    while length < words:
        number = len(sentences)
        sentences.append(
            _PARAGRAPH.format(year=1900 + number, count=211 + 37 * number, birds=20 + 3 * number)
        )
        length += len(sentences[-1].split())
    return (*_FIXED, Canary("long text", " ".join(sentences)))
