"""From documents to the passages that are encoded, each a row of the index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Document
from qsearch.encoding import Encoder, TokenEncoder
from qsearch.encoding.passages import DEFAULT_LANGUAGE, cut_text, sentence_ends
from qsearch.errors import EncoderError

__all__ = ["PassageSplitter", "SplitDocuments"]

_LEAST_ROOM = 8
_ATTEMPTS = 10


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
                f"are cut for {identity.model}; ask for at most {identity.max_length} with --passages, "
                "or raise --max-length if the model can take more"
            )
        self._encoder: TokenEncoder = encoder
        self._tokens = tokens
        self._overlap = overlap
        self._language = language
        (self._around,) = encoder.token_counts([""])
        if tokens < self._around + _LEAST_ROOM:
            raise EncoderError(
                f"passages of {tokens} tokens leave no room: special tokens and prompt take "
                f"{self._around}; ask for at least {self._around + _LEAST_ROOM} with --passages"
            )
        if not 0 <= overlap <= tokens // 2:
            raise EncoderError(
                f"an overlap of {overlap} tokens does not go with passages of {tokens}; ask for 0 to "
                f"{tokens // 2} with --overlap"
            )

    def split(self, documents: Sequence[Document]) -> SplitDocuments:
        """Split those documents that are longer than a passage."""
        plans = self._plans(documents)
        waiting = plans
        for _ in range(_ATTEMPTS):
            contents = [plan.contents() for plan in waiting]
            counts = iter(self._encoder.token_counts([one for some in contents for one in some]))
            for plan, some in zip(waiting, contents, strict=True):
                plan.longest = max(next(counts) for _ in some)
            # Alone, a passage may have more tokens than within its text.
            waiting = [plan for plan in waiting if plan.longest > self._tokens and plan.room > 1]
            if not waiting:
                break
            for plan in waiting:
                if not plan.whole:
                    plan.room = max(1, plan.room - (plan.longest - self._tokens))
                self._cut(plan)
        contents = [plan.contents() for plan in plans]
        return SplitDocuments(
            [one for some in contents for one in some],
            np.array(
                [
                    (number, *passage)
                    for number, plan in enumerate(plans)
                    for passage in plan.passages
                ],
                dtype=np.int64,
            ).reshape(-1, 3),
            sum(plan.longest > self._tokens or plan.title_cut for plan in plans),
        )

    def _plans(self, documents: Sequence[Document]) -> list[_Plan]:
        spans = self._encoder.token_spans([document.text for document in documents])
        titles = self._encoder.token_spans([document.title or "" for document in documents])
        plans = []
        for document, text_spans, title_spans in zip(documents, spans, titles, strict=True):
            plan = _Plan(document, document.title or "", text_spans)
            plans.append(plan)
            room = self._tokens - self._around
            if len(title_spans) + len(text_spans) <= room:
                plan.room = room - len(title_spans)
                continue  # whole, unless counting says otherwise
            most = room // 2 if len(text_spans) else room
            if len(title_spans) > most:
                plan.title = plan.title[: int(title_spans[most, 0])].rstrip()
                plan.title_cut = True
            plan.room = room - min(len(title_spans), most)
            self._cut(plan)
        return plans

    def _cut(self, plan: _Plan) -> None:
        plan.whole = False
        if not len(plan.spans):
            return
        text = plan.document.text
        if plan.ends is None:
            plan.ends = sentence_ends(text, self._language)
        overlap = min(self._overlap, plan.room // 2)
        plan.passages = cut_text(text, plan.spans, plan.ends, plan.room, overlap)


@dataclass(slots=True)
class _Plan:
    """How a document is to be split.

    Attributes:
        document: what is split.
        title: what is put before each passage.
        spans: of the tokens of the text.
        room: tokens that a passage may have of the text.
        ends: of sentences, where they were needed.
        passages: begin and end of each.
        whole: whether the document is a single passage.
        title_cut: whether the title was too long.
        longest: tokens of the longest passage, counted.
    """

    document: Document
    title: str
    spans: NDArray[np.int64]
    room: int = 0
    ends: list[int] | None = None
    passages: list[tuple[int, int]] = field(default_factory=list)
    whole: bool = True
    title_cut: bool = False
    longest: int = 0

    def __post_init__(self) -> None:
        self.passages = [(0, len(self.document.text))]

    def contents(self) -> list[str]:
        """The texts to encode, made as ``Document.content`` is."""
        if self.whole:
            return [self.document.content]
        text = self.document.text
        return [
            f"{self.title} {text[begin:end]}".rstrip() if self.title else text[begin:end]
            for begin, end in self.passages
        ]
