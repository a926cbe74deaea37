"""What a search returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.results.reports import Explanation, Reranking, StageReport
from qsearch.wording import words

if TYPE_CHECKING:
    from qsearch.store import StoredDocument

__all__ = ["Hit", "Passage", "SearchResult", "VectorResult", "passage_of", "shortened"]


_SHOWN = 60
"""Characters of a text in a ``repr``."""


def shortened(text: str) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document's text.

    Attributes:
        begin: where it begins in the text, in characters (Unicode code points, as Python counts).
        end: where it ends: ``text[begin:end]``.
        text: the part itself.
    """

    begin: int
    end: int
    text: str


def passage_of(document: StoredDocument, span: NDArray[np.int64]) -> Passage:
    """The part of a document between two places of its text.

    Raises:
        IndexFormatError: they lie outside of it.
    """
    begin, end = (int(side) for side in span)
    if not 0 <= begin <= end <= len(document.text):
        raise IndexFormatError(
            f"a passage of document {document.id!r} lies outside of its text; {words().verify} tells "
            "which file is damaged"
        )
    return Passage(begin, end, document.text[begin:end])


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found.

    Attributes:
        rank: from 1.
        score: what it has its rank by, higher is better: the cosine between query and document, -1 to 1, of
            the passage, where documents are split; BM25, from 0, in a search by keywords; in a hybrid one
            what both became.
        id: the document's id.
        text: its text.
        title: its title, if it has one.
        metadata: its other fields.
        passage: its best passage, where documents are split into passages.
        cosine: in a hybrid search, where ``score`` is not the cosine.
        bm25: in a search by keywords, or a hybrid one; 0 where it holds no word of the query.
        meaning_rank: in a hybrid search: its rank by cosine, from 1; ``None``: beyond what was looked at.
        keyword_rank: its rank by BM25, likewise.
        rerank_score: of a cross-encoder, whose order the hits are in, where one was asked for; higher is
            better.
        retrieval_rank: its rank by ``score``, from 1, before that.
    """

    rank: int
    score: float
    id: str
    text: str
    title: str | None
    metadata: Mapping[str, Any]
    passage: Passage | None = None
    cosine: float | None = None
    bm25: float | None = None
    meaning_rank: int | None = None
    keyword_rank: int | None = None
    rerank_score: float | None = None
    retrieval_rank: int | None = None

    @property
    def content(self) -> str:
        """What was found, as it is encoded: title, one space, and the passage, or the text."""
        from qsearch.documents import Document

        shown = self.text if self.passage is None else self.passage.text
        return Document(self.id, shown, self.title).content

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; what it has not is left out. Of a split document the passage, not the text."""
        told: dict[str, Any] = {"rank": self.rank, "score": _nine_digits(self.score)}
        if self.bm25 is not None:
            if self.cosine is not None:
                told["cosine"] = _nine_digits(self.cosine)
                told["meaning_rank"] = self.meaning_rank
            told["bm25"] = _nine_digits(self.bm25)
            if self.cosine is not None:
                told["keyword_rank"] = self.keyword_rank
        told["id"] = self.id
        if self.rerank_score is not None:
            told["rerank_score"] = _nine_digits(self.rerank_score)
            told["retrieval_rank"] = self.retrieval_rank
        if self.title is not None:
            told["title"] = self.title
        if self.passage is None:
            told["text"] = self.text
        else:  # the whole text may be a book
            told["passage"] = asdict(self.passage)
        if self.metadata:
            told["metadata"] = dict(self.metadata)
        return told

    def __hash__(self) -> int:
        """Of what tells hits apart; metadata, which has no hash, is left out."""
        return hash((self.rank, self.score, self.id))

    def __repr__(self) -> str:
        """Without metadata, and with the beginning of the text only: it may be a book."""
        shown = self.text if self.passage is None else self.passage.text
        title = "" if self.title is None else f", title={shortened(self.title)!r}"
        again = "" if self.rerank_score is None else f"rerank_score={self.rerank_score:.4f}, "
        return (
            f"Hit(rank={self.rank}, {again}score={self.score:.4f}, id={self.id!r}{title}, "
            f"text={shortened(shown)!r})"
        )


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Hit]):
    """The hits of one query, best first. A sequence of ``Hit``.

    Attributes:
        hits: at most k.
        certified: whether it is proven that these are the hits of an exact search; where they were
            reranked, that those were which the cross-encoder scored; of a hybrid one, that its part by
            meaning was exact, which by words always is.
        method: how they were found, or by what: ``keywords``, ``hybrid``.
        explanation: where one was asked for.
        reranking: by what they were reranked, where that was asked for.
    """

    hits: tuple[Hit, ...]
    certified: bool
    method: str
    explanation: Explanation | None = None
    reranking: Reranking | None = None

    def reranked(
        self,
        scores: Sequence[float],
        k: int,
        reranking: Reranking,
        milliseconds: float,
    ) -> SearchResult:
        """The k best hits by other scores, ties in the order before.

        Args:
            scores: of each hit, finite.
            k: hits that stay.
            reranking: where the scores are from.
            milliseconds: that they took, for the explanation.
        """
        order = sorted(range(len(self.hits)), key=lambda place: -scores[place])[:k]
        hits = tuple(
            replace(
                self.hits[place],
                rank=rank,
                rerank_score=float(scores[place]),
                retrieval_rank=self.hits[place].rank,
            )
            for rank, place in enumerate(order, 1)
        )
        explanation = self.explanation
        if explanation is not None:
            stage = StageReport("rerank", reranking.pairs, 0, milliseconds, "pairs")
            explanation = replace(
                explanation,
                stages=(*explanation.stages, stage),
                ranks=tuple(explanation.ranks[place] for place in order),
            )
        return replace(self, hits=hits, explanation=explanation, reranking=reranking)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the hits, whether they are certified, and what was asked for beside.

        Examples:
            >>> hit = Hit(1, 0.5, "a", "a kitten", None, {"year": 2020})
            >>> SearchResult((hit,), True, "exact").to_dict()["hits"]
            [{'rank': 1, 'score': 0.5, 'id': 'a', 'text': 'a kitten', 'metadata': {'year': 2020}}]
        """
        hits = [hit.to_dict() for hit in self.hits]
        told: dict[str, Any] = {"hits": hits, "certified": self.certified, "method": self.method}
        if self.reranking is not None:
            told["reranker"] = self.reranking.to_dict()
        if self.explanation is not None:
            for hit, ranks in zip(hits, self.explanation.ranks, strict=True):
                hit["ranks"] = dict(ranks)
            told["explanation"] = self.explanation.to_dict()
            if self.reranking is not None:
                told["explanation"]["truncated"] = self.reranking.truncated
        return told

    def __len__(self) -> int:
        """Number of hits."""
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        """The hit at ``index``, from 0."""
        return self.hits[index]

    def __hash__(self) -> int:
        """Of the hits."""
        return hash(self.hits)

    def __repr__(self) -> str:
        """A line for each hit."""
        proof = "certified" if self.certified else "not certified"
        hits = "1 hit" if len(self) == 1 else f"{len(self):,} hits"
        by = "" if self.reranking is None else f", reranked by {self.reranking.identity.label}"
        lines = [f"<SearchResult: {hits}, {self.method}, {proof}{by}>"]
        return "\n  ".join([*lines, *map(repr, self.hits)])


@dataclass(frozen=True, slots=True, eq=False)
class VectorResult:
    """The best documents for each of q query vectors, as arrays.

    Attributes:
        positions: (q, min(k, documents)) int64: places of the documents in the corpus, from 0,
            best first; −1 where a graph search ended early. ``Index.ids`` gives their ids.
        scores: of the same shape, float32 cosines; −inf where the position is −1.
        spans: (q, same, 2) int64: begin and end of each one's best passage, in characters of its text;
            ``None`` where documents are not split into passages.
        certified: (q,) bool: whether it is proven that this is the result of an exact search.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    certified: NDArray[np.bool_]
    spans: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        """How many of what."""
        count, k = self.positions.shape
        return f"<VectorResult: {count:,} × {k:,}, {int(self.certified.sum()):,} certified>"


def _nine_digits(score: float) -> float:
    """A float32 as the shortest number that nine digits, which it is told apart by, give."""
    return float(f"{score:.9g}")
