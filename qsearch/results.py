"""What a search returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.wording import words

if TYPE_CHECKING:
    from qsearch.reranking import RerankerIdentity
    from qsearch.store import StoredDocument

__all__ = [
    "Explanation",
    "Hit",
    "KeywordReport",
    "Passage",
    "Reranking",
    "SearchResult",
    "StageReport",
    "TermReport",
    "VectorResult",
    "passage_of",
]


_SHOWN = 60
"""Characters of a text in a ``repr``."""


def shortened(text: str) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage of a search did for one query.

    Attributes:
        name: what was looked at.
        rows: how many rows.
        bytes: how many bytes of codes or floats those are.
        milliseconds: for one query of the batch; ``None`` where it is part of the stage before.
        unit: what ``rows`` counts: ``rows``, or ``pairs`` of query and text.
    """

    name: str
    rows: int
    bytes: int
    milliseconds: float | None
    unit: str = "rows"


@dataclass(frozen=True, slots=True)
class TermReport:
    """A term of a query.

    Attributes:
        term: as the text index has it; a phrase in quotes.
        count: how often it stands in the query.
        documents: how many documents hold it.
        idf: what it weighs (``docs/keywords.md``).
    """

    term: str
    count: int
    documents: int
    idf: float


@dataclass(frozen=True, slots=True)
class KeywordReport:
    """What a search by words did.

    Attributes:
        tokenizer: of the text index.
        terms: of the query.
        cut: whether the query is longer than what counts.
        matching: documents that hold any of the terms.
        k1: of BM25.
        b: of BM25.
        milliseconds: that the words took.
        fusion: how a hybrid search made one score of two; ``None``: it was by keywords alone.
        weight: of the meaning, where the fusion is convex.
        depth: so many documents of each way were looked at.
    """

    tokenizer: str
    terms: tuple[TermReport, ...]
    cut: bool
    matching: int
    k1: float
    b: float
    milliseconds: float
    fusion: str | None = None
    weight: float | None = None
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a result came about.

    Attributes:
        reason: why this way of retrieval.
        recall: expected from what was measured; 1 for an exact search, 0 where nobody knows.
        stages: in order.
        ranks: for each hit its rank, from 1, among all rows (documents, or their passages) by each code.
        keywords: what was done by words, where that was asked for.
    """

    reason: str
    recall: float
    stages: tuple[StageReport, ...]
    ranks: tuple[Mapping[str, int], ...]
    keywords: KeywordReport | None = None


@dataclass(frozen=True, slots=True)
class Reranking:
    """That hits are in the order of a cross-encoder, and of which.

    Attributes:
        identity: what its scores depend on.
        pairs: hits that it scored, of which the best are the result.
        truncated: how many of these were longer, with the query, than the maximum length, and were cut.
    """

    identity: RerankerIdentity
    pairs: int
    truncated: int


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
