"""Search by the words of a text, and by both: BM25, exactly defined, and its fusion with cosines.

What words are is the tokenizer's of the text index to say (``store.text_index``). Statistics are over the
documents of the reader's commit, so that an answer does not depend on what the index has been through.
``docs/keywords.md`` has the definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.keywords.answers import hybrid_answers, keyword_answers
    from qsearch.keywords.request import DEFAULT_WEIGHT, TextRequest
    from qsearch.keywords.searching import Found, KeywordTerm, TextAnswer, TextSearch

__all__ = [
    "DEFAULT_WEIGHT",
    "Found",
    "KeywordTerm",
    "TextAnswer",
    "TextRequest",
    "TextSearch",
    "hybrid_answers",
    "keyword_answers",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "DEFAULT_WEIGHT": ".request",
        "Found": ".searching",
        "KeywordTerm": ".searching",
        "TextAnswer": ".searching",
        "TextRequest": ".request",
        "TextSearch": ".searching",
        "hybrid_answers": ".answers",
        "keyword_answers": ".answers",
    },
)
