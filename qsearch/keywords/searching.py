"""Searches by words, and by both, over one commit: which documents, by which scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import QueryError
from qsearch.kernels import RowMask, cosine_gather
from qsearch.keywords.bm25 import Bm25, add_term, best, inverse_frequency, norms_of
from qsearch.keywords.fusion import convex, reciprocal_ranks
from qsearch.keywords.passages import best_passages
from qsearch.keywords.postings import Postings
from qsearch.keywords.queries import Terms, terms_of
from qsearch.keywords.request import TextRequest
from qsearch.lazily import cached_property
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.documents import DocumentRows
from qsearch.retrieval.ranking import Ranking
from qsearch.store import Catalog, Segment
from qsearch.wording import words

__all__ = ["Found", "KeywordTerm", "TextAnswer", "TextSearch"]


@dataclass(frozen=True, slots=True)
class KeywordTerm:
    """A term of a query, and what it weighs.

    Attributes:
        term: as the index has it; a phrase in quotes.
        count: how often it stands in the query.
        documents: how many hold it.
        idf: see ``bm25``.
    """

    term: str
    count: int
    documents: int
    idf: float


@dataclass(frozen=True, slots=True)
class Found:
    """A document that was found.

    Attributes:
        position: of the document.
        row: of its best passage, or its only one, counted over all segments.
        score: by which it has its place.
        cosine: between query and document; ``None`` where nobody looked.
        bm25: of its words; 0: it holds none of the query.
        meaning_rank: its rank by cosine, where that is within the depth that was looked at.
        keyword_rank: its rank by BM25, likewise.
    """

    position: int
    row: int
    score: float
    cosine: float | None
    bm25: float
    meaning_rank: int | None
    keyword_rank: int | None


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """The answer to one query.

    Attributes:
        found: best first.
        terms: of the query.
        cut: whether the query is longer than what counts.
        matching: documents that hold any of the terms.
        seconds: that the words took.
    """

    found: tuple[Found, ...]
    terms: tuple[KeywordTerm, ...]
    cut: bool
    matching: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Matched:
    """A query held against all documents: terms, what they weigh, and (N,) float64 scores."""

    terms: Terms
    weighed: tuple[KeywordTerm, ...]
    scores: NDArray[np.float64]

    def answer(self, found: Sequence[Found], seconds: float) -> TextAnswer:
        matching = int(np.count_nonzero(self.scores))
        return TextAnswer(tuple(found), self.weighed, self.terms.cut, matching, seconds)


class TextSearch:
    """Searches by words over one commit of an index. Safe to share between threads.

    Attributes:
        catalog: of the index.
        documents: which rows belong to which.
    """

    def __init__(
        self, catalog: Catalog, segments: Sequence[Segment], documents: DocumentRows
    ) -> None:
        """Read what is needed when it is needed.

        Args:
            catalog: of the index.
            segments: of the commit, in document order.
            documents: which rows belong to which.
        """
        self.catalog, self.documents = catalog, documents
        self._segments = list(segments)
        self._norms: tuple[Bm25, NDArray[np.float64]] | None = None
        self._chosen: tuple[Allowed, NDArray[np.bool_]] | None = None

    @cached_property
    def tokenizer(self) -> str | None:
        """That of the text index; ``None`` where there is none."""
        return self.catalog.tokenizer

    def required_tokenizer(self) -> str:
        """The same.

        Raises:
            QueryError: there is no text index.
        """
        if self.tokenizer is None:
            raise QueryError(
                f"{self.catalog.path.parent} has no text index, which searches by keywords need; "
                f"{words().index_text} makes one"
            )
        return self.tokenizer

    @cached_property
    def _postings(self) -> Postings:
        parts = [_documents_of(segment, segment.living) for segment in self._segments]
        living = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        return Postings(self.catalog, living)

    def keywords(
        self, texts: Sequence[str], request: TextRequest, allowed: Allowed | None = None
    ) -> list[TextAnswer]:
        """The k best documents by BM25, for every query; fewer where fewer hold any of its terms.

        Args:
            texts: queries.
            request: what is asked.
            allowed: rows that a filter allows; ``None``: there is none.

        Raises:
            QueryError: there is no text index.
            IndexFormatError: it is damaged.
        """
        answers = []
        for terms in terms_of(texts, self.required_tokenizer()):
            started = time.perf_counter()
            matched = self._matched(terms, request.bm25)
            numbers = best(matched.scores, request.k, self._allowed(allowed))
            positions = self._postings.living[numbers].tolist()
            rows = self._rows(positions, terms)
            found = [
                Found(position, row, score, None, score, None, rank)
                for rank, (position, row, score) in enumerate(
                    zip(positions, rows, matched.scores[numbers].tolist(), strict=True), 1
                )
            ]
            answers.append(matched.answer(found, time.perf_counter() - started))
        return answers

    def hybrid(
        self,
        texts: Sequence[str],
        vectors: NDArray[np.float32],
        ranking: Ranking,
        request: TextRequest,
        allowed: Allowed | None = None,
    ) -> list[TextAnswer]:
        """The k best by both: of the best by meaning and the best by words, each scored by both.

        Args:
            texts: queries.
            vectors: (q, d) float32: the same, encoded.
            ranking: the best by meaning of each, of ``request.depth`` documents.
            request: what is asked.
            allowed: as in ``keywords``; ``ranking`` must be over the same documents.
        """
        answers = []
        owners = self.documents.documents(ranking.positions)
        every = terms_of(texts, self.required_tokenizer())
        for number, terms in enumerate(every):
            started = time.perf_counter()
            matched = self._matched(terms, request.bm25)
            by_words = best(matched.scores, request.depth, self._allowed(allowed))
            held = owners[number] >= 0
            found = self._fused(
                vectors[number : number + 1],
                owners[number][held],
                ranking.positions[number][held],
                ranking.scores[number][held],
                self._postings.living[by_words],
                matched.scores,
                request,
            )
            answers.append(matched.answer(found, time.perf_counter() - started))
        return answers

    def _fused(
        self,
        query: NDArray[np.float32],
        by_meaning: NDArray[np.int64],
        rows: NDArray[np.int64],
        cosines: NDArray[np.float32],
        by_words: NDArray[np.int64],
        scores: NDArray[np.float64],
        request: TextRequest,
    ) -> list[Found]:
        """Positions by either way, with the rows and cosines of one and the scores of all by the other."""
        more = by_words[~np.isin(by_words, by_meaning)]
        more_rows, more_cosines = self._nearest_rows(query, more)
        positions = np.concatenate([by_meaning, more])
        every_row = np.concatenate([rows, more_rows])
        every_cosine = np.concatenate([cosines, more_cosines]).astype(np.float64)
        numbers, here = self._postings.numbers(positions)
        bm25 = np.zeros(len(positions))
        bm25[here] = scores[numbers]
        meaning_ranks, keyword_ranks = (
            _ranks(positions, of_way) for of_way in (by_meaning, by_words)
        )
        if request.fusion == "convex":
            fused = convex(every_cosine, bm25, request.weight)
        else:
            fused = reciprocal_ranks(meaning_ranks, keyword_ranks)
        order = np.lexsort((positions, -fused))[: request.k]
        return [
            Found(
                int(positions[one]),
                int(every_row[one]),
                float(fused[one]),
                float(every_cosine[one]),
                float(bm25[one]),
                int(meaning_ranks[one]) or None,
                int(keyword_ranks[one]) or None,
            )
            for one in order
        ]

    def _matched(self, terms: Terms, bm25: Bm25) -> _Matched:
        postings = self._postings
        documents = len(postings.living)
        scores = np.zeros(documents)
        if not terms.counts:
            return _Matched(terms, (), scores)
        norms = self._norms_of(bm25)
        weighed = []
        every = postings.counts(list(terms.counts))
        for (term, often), counts in zip(terms.counts.items(), every, strict=True):
            holding = len(counts.documents)
            idf = inverse_frequency(documents, holding)
            weighed.append(KeywordTerm(term.shown, often, holding, idf))
            if holding:
                add_term(scores, norms, counts, often * idf)
        return _Matched(terms, tuple(weighed), scores)

    def _norms_of(self, bm25: Bm25) -> NDArray[np.float64]:
        kept = self._norms
        if kept is None or kept[0] != bm25:
            kept = self._norms = bm25, norms_of(self._postings.lengths, bm25)
        return kept[1]

    def _allowed(self, allowed: Allowed | None) -> NDArray[np.bool_] | None:
        """(N,) bool: which documents of the commit have rows that are allowed; ``None``: all."""
        if allowed is None:
            return None
        kept = self._chosen
        if kept is None or kept[0] is not allowed:
            chosen = np.zeros(len(self._postings.living), dtype=np.bool_)
            for segment, mask in zip(self._segments, allowed.masks, strict=True):
                positions = _documents_of(segment, mask)
                chosen[self._postings.numbers(positions)[0]] = True
            kept = self._chosen = allowed, chosen
        return kept[1]

    def _rows(self, positions: Sequence[int], terms: Terms) -> list[int]:
        """The row of each document: of its passages the one that holds most of the terms."""
        every = [self.documents.rows_of(position) for position in positions]
        if not self.documents.split:
            return [int(rows[0]) for rows in every]
        chosen = best_passages(
            self.catalog, self.documents, positions, every, terms, self.required_tokenizer()
        )
        return [int(rows[one]) for rows, one in zip(every, chosen, strict=True)]

    def _nearest_rows(
        self, query: NDArray[np.float32], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The row of each document that is nearest to a query, the first of equals, and its cosine."""
        if not len(positions):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        every = [self.documents.rows_of(position) for position in positions.tolist()]
        rows = np.concatenate(every)
        scores = np.empty(len(rows), dtype=np.float32)
        for segment in self._segments:
            here = (rows >= segment.first_row) & (rows < segment.first_row + segment.rows)
            if here.any():
                inside = (rows[here] - segment.first_row)[None, :]
                scores[here] = cosine_gather(segment.vectors, query, inside)[0]
        ends = np.cumsum([len(one) for one in every])
        starts = np.concatenate([[0], ends[:-1]])
        nearest = np.array(
            [
                start + int(np.argmax(scores[start:end]))
                for start, end in zip(starts, ends, strict=True)
            ]
        )
        return rows[nearest], scores[nearest]


def _ranks(positions: NDArray[np.int64], ranked: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of each position, from 1; 0 where it is not ranked."""
    place = {position: rank for rank, position in enumerate(ranked.tolist(), 1)}
    return np.array([place.get(one, 0) for one in positions.tolist()], dtype=np.int64)


def _documents_of(segment: Segment, mask: RowMask | None) -> NDArray[np.int64]:
    """Positions of the documents of a segment that have rows in a mask, rising."""
    rows = np.arange(segment.rows) if mask is None else mask.indices().astype(np.int64)
    owners = segment.documents_of(rows)
    if segment.passages is None:
        return owners
    found: NDArray[np.int64] = owners[np.diff(owners, prepend=-1) != 0]
    return found
