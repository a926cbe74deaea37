"""What a reranker says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, ClassVar

from qsearch.encoding.identity import checked_fields

__all__ = ["UNNAMED_RERANKER", "RerankerIdentity"]

UNNAMED_RERANKER = "<a CrossEncoder object>"
"""Stands for the name of a model that was given as an object."""

_SHOWN = 8
"""Characters of a hash that tell models apart."""


@dataclass(frozen=True, slots=True)
class RerankerIdentity:
    """Everything that is known about a reranker and can change its scores; ``None`` means unknown.

    Attributes:
        model: name on the hub or local path, as the user gave it.
        revision: commit on the hub.
        weights: SHA-256 over the digests of all parameters (dtype, shape, bytes), names left out.
        tokenizer: SHA-256 of the tokenizer's definition.
        configuration: SHA-256 of the modules' and the model's configuration.
        activation: what becomes of the model's output: ``identity`` (scores are logits), ``sigmoid``
            (from 0 to 1), or the name of another function.
        max_length: tokens of query and text together after which a pair is cut; 0 where none is.
        prompt: put in front of the query.
        precision: dtype of the weights.
        backend: what runs the model.
        versions: library versions; informative.
    """

    purpose: ClassVar[str] = "reranking"

    model: str
    revision: str | None = None
    weights: str | None = None
    tokenizer: str | None = None
    configuration: str | None = None
    activation: str | None = None
    max_length: int | None = None
    prompt: str | None = None
    precision: str | None = None
    backend: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """A word that tells it from others: the end of its name, and of what revision or weights.

        >>> RerankerIdentity("cross-encoder/ms-marco-MiniLM-L6-v2", weights="53aa51172d14").label
        'ms-marco-MiniLM-L6-v2@53aa5117'
        """
        known = self.revision or self.weights
        name = "-".join(PurePath(self.model).name.split()) or "reranker"
        return f"{name}@{known[:_SHOWN]}" if known else name

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RerankerIdentity:
        """Undo ``to_json``; keys of later versions are ignored.

        Raises:
            ValueError: these are not such values.
        """
        return cls(**checked_fields(cls, values, _KINDS, ("model",)))


_KINDS: dict[str, Any] = {"max_length": int, "versions": dict}
"""JSON types of the fields that are not strings."""
