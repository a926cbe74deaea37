"""From documents to the passages that are encoded, each a row of the index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Document
from qsearch.encoding import Encoder, TokenEncoder
from qsearch.encoding.passages import (
    DEFAULT_LANGUAGE,
    character_start,
    cut_text,
    sentence_ends,
)
from qsearch.errors import EncoderError
from qsearch.wording import words

__all__ = ["PassageSplitter", "SplitDocuments"]

Passage = tuple[int, int]
"""Begin and end, in characters of a document's text."""

_LEAST_ROOM = 8


@dataclass(frozen=True, slots=True)
class SplitDocuments:
    """Passages of several documents.

    Attributes:
        contents: p texts to encode: title, one space, passage.
        passages: (p, 3) int64: number of the document, begin and end of the passage in its text.
        truncated: documents of which something will not be encoded.
    """

    contents: list[str]
    passages: NDArray[np.int64]
    truncated: int


class PassageSplitter:
    """Splits documents by the tokens of an encoder. Safe to share between threads if the encoder is."""

    def __init__(
        self, encoder: Encoder, tokens: int, overlap: int = 0, language: str = DEFAULT_LANGUAGE
    ) -> None:
        """Check that the encoder can be used so.

        Args:
            encoder: what will encode the passages.
            tokens: most tokens of a passage, counted as the maximum length of a model is: with special
                tokens, prompt and title.
            overlap: tokens that a passage may share with the one before it.
            language: ISO 639 code, for abbreviations that do not end a sentence.

        Raises:
            EncoderError: it does not show its tokens, or the passages would be too long or short.
        """
        if not isinstance(encoder, TokenEncoder):
            raise EncoderError(
                "this encoder does not show its tokens: documents can be split into passages where it "
                "has the methods of qsearch.encoding.TokenEncoder"
            )
        identity = encoder.identity()
        if identity.max_length and tokens > identity.max_length:
            raise EncoderError(
                f"passages of {tokens} tokens are longer than the {identity.max_length} at which texts "
                f"are cut for {identity.model}; ask for at most {identity.max_length} with "
                f"{words().passages}, "
                f"or raise {words().max_length} if the model can take more"
            )
        self._encoder: TokenEncoder = encoder
        self._tokens = tokens
        self._overlap = overlap
        self._language = re.split("[-_]", language.lower())[0]
        if not re.fullmatch("[a-z]{2,3}", self._language):
            raise EncoderError(
                f"{language!r} is no ISO 639 code of a language; give {words().language} as en, de, pt, ..."
            )
        (self._around,) = encoder.token_counts([""])
        if tokens < self._around + _LEAST_ROOM:
            raise EncoderError(
                f"passages of {tokens} tokens leave no room: special tokens and prompt take "
                f"{self._around}; ask for at least {self._around + _LEAST_ROOM} with {words().passages}"
            )
        if not 0 <= overlap <= tokens // 2:
            raise EncoderError(
                f"an overlap of {overlap} tokens does not go with passages of {tokens}; ask for 0 to "
                f"{tokens // 2} with {words().overlap}"
            )

    def split(self, documents: Sequence[Document]) -> SplitDocuments:
        """Split those documents that are longer than a passage."""
        plans = self._plans(documents)
        waiting = [(plan, passage) for plan in plans for passage in plan.passages]
        while waiting:
            counts = self._encoder.token_counts([plan.content(one) for plan, one in waiting])
            for (plan, passage), count in zip(waiting, counts, strict=True):
                plan.counts[passage] = count
            # Alone, a passage may have more tokens than within its text: it is cut once more.
            waiting = [
                (plan, piece)
                for (plan, passage), count in zip(waiting, counts, strict=True)
                if count > self._tokens
                for piece in self._cut_again(plan, passage, count - self._tokens)
            ]
        return SplitDocuments(
            [plan.content(one) for plan in plans for one in plan.passages],
            np.array(
                [(number, *one) for number, plan in enumerate(plans) for one in plan.passages],
                dtype=np.int64,
            ).reshape(-1, 3),
            sum(
                plan.title_cut or max(plan.counts[one] for one in plan.passages) > self._tokens
                for plan in plans
            ),
        )

    def _spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """``token_spans``, whoever wrote it."""
        told = self._encoder.token_spans(texts)
        if len(told) != len(texts):
            raise EncoderError(f"token_spans gave spans of {len(told)} texts for {len(texts)}")
        found = []
        for text, one in zip(texts, told, strict=True):
            spans = np.asarray(one, dtype=np.int64)
            good = not len(one) or (
                spans.shape == (len(one), 2)
                and 0 <= spans.min() <= spans.max() <= len(text)
                and bool((spans[:, 0] <= spans[:, 1]).all())
            )
            if not good:
                raise EncoderError(
                    "token_spans must give (begin, end) within the text for each token; for a text of "
                    f"{len(text)} characters it gave {spans.tolist()[:3]} ..."
                )
            found.append(spans.reshape(len(one), 2))
        return found

    def _plans(self, documents: Sequence[Document]) -> list[_Plan]:
        spans = self._spans([document.text for document in documents])
        titles = self._spans([document.title or "" for document in documents])
        plans = []
        for document, text_spans, title_spans in zip(documents, spans, titles, strict=True):
            room = self._tokens - self._around
            plan = _Plan(document, text_spans, room - len(title_spans))
            if plan.room < len(text_spans):
                self._shorten_title(plan, title_spans)
                plan.passages = self._cut(plan, 0, len(document.text), plan.room)
                plan.whole = False
            plans.append(plan)
        return plans

    def _shorten_title(self, plan: _Plan, spans: NDArray[np.int64]) -> None:
        """Leave half of a passage, or all of it where there is no text, to the title."""
        room = self._tokens - self._around
        most = room // 2 if len(plan.spans) else room
        if len(spans) > most:
            plan.title = plan.title[: character_start(plan.title, int(spans[most, 0]))].rstrip()
            plan.title_cut = True
            plan.room = room - most

    def _cut_again(self, plan: _Plan, passage: tuple[int, int], excess: int) -> list[Passage]:
        """Replace a passage that is too long by pieces of it, and return them; none if it has none."""
        begin, end = passage
        size = int(((plan.spans[:, 0] < end) & (plan.spans[:, 1] > begin)).sum())
        if plan.whole:
            self._shorten_title(plan, self._spans([plan.title])[0])
            plan.whole = False
        pieces = self._cut(plan, begin, end, max(1, min(size, plan.room) - excess))
        if pieces == [passage]:
            return []
        place = plan.passages.index(passage)
        plan.passages[place : place + 1] = pieces
        return pieces

    def _cut(self, plan: _Plan, begin: int, end: int, most: int) -> list[Passage]:
        """Cut a part of a document's text into passages of so many tokens."""
        text = plan.document.text
        # Some tokens begin with the white space before a passage.
        spans = plan.spans[(plan.spans[:, 0] < end) & (plan.spans[:, 1] > begin)]
        spans = spans.clip(begin, end) - begin
        if plan.ends is None:
            plan.ends = sentence_ends(text, self._language)
        ends = [one - begin for one in plan.ends if begin < one < end]
        overlap = min(self._overlap, most // 2)
        found = cut_text(text[begin:end], spans, ends, most, overlap)
        return [(begin + first, begin + last) for first, last in found]


@dataclass(slots=True)
class _Plan:
    """How a document is to be split.

    Attributes:
        document: what is split.
        spans: of the tokens of the text.
        room: tokens that a passage may have of the text.
        title: what is put before each passage.
        title_cut: whether the title was too long.
        whole: whether the document is a single passage, encoded as it would be without any.
        ends: of sentences, where they were needed.
        passages: begin and end of each.
        counts: tokens of each passage as it is encoded.
    """

    document: Document
    spans: NDArray[np.int64]
    room: int
    title: str = ""
    title_cut: bool = False
    whole: bool = True
    ends: list[int] | None = None
    passages: list[Passage] = field(default_factory=list)
    counts: dict[Passage, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.title = self.document.title or ""
        self.passages = [(0, len(self.document.text))]

    def content(self, passage: Passage) -> str:
        """The text to encode, made as ``Document.content`` is."""
        if self.whole:
            return self.document.content
        text = self.document.text[passage[0] : passage[1]]
        return f"{self.title} {text}".rstrip() if self.title else text
