"""How the results of a search came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsearch.reranking import RerankerIdentity

__all__ = ["Explanation", "KeywordReport", "Reranking", "StageReport", "TermReport"]

_RERANKER_SHOWN = ("model", "revision", "weights", "precision", "max_length", "activation")
"""What tells the outputs of two rerankers apart."""


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

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        if self.unit != "rows":
            return {"name": self.name, self.unit: self.rows, "milliseconds": self.milliseconds}
        return {
            "name": self.name,
            "rows": self.rows,
            "bytes": self.bytes,
            "milliseconds": self.milliseconds,
        }


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

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without ``ranks``, which are of the hits."""
        told: dict[str, Any] = {
            "reason": self.reason,
            "recall": self.recall,
            "stages": [stage.to_dict() for stage in self.stages],
        }
        if self.keywords is not None:
            told["keywords"] = asdict(self.keywords)
        return told


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

    def to_dict(self) -> dict[str, Any]:
        """What tells the reranker from others, as JSON values."""
        known = self.identity.to_json()
        return {name: known[name] for name in _RERANKER_SHOWN if known[name] is not None}
