"""What an encoder says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

__all__ = ["UNNAMED_MODEL", "EncoderIdentity", "checked_fields"]

UNNAMED_MODEL = "<a SentenceTransformer object>"
"""Stands for the name of a model that was given as an object: it cannot be loaded by name."""


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """Everything that is known about an encoder and can change its embeddings.

    ``None`` means unknown, and is never compared.

    Attributes:
        model: name on the hub or local path, as the user gave it.
        dimensions: components of an embedding.
        revision: commit on the hub.
        weights: SHA-256 over the digests of all parameters (dtype, shape, bytes), names left out.
        tokenizer: SHA-256 of the tokenizer's definition.
        configuration: SHA-256 of the modules' and the model's configuration, without a Normalize
            at the end, which changes nothing because qsearch normalises itself.
        modules: short class names, in order.
        pooling: pooling mode.
        normalizes: whether the model ends by normalising.
        query_prompt: put in front of a query.
        document_prompt: put in front of a document.
        max_length: tokens after which a text is cut; 0 where none is.
        truncate_dim: components kept of a longer embedding.
        precision: dtype of the weights.
        backend: what runs the model.
        strip: whether surrounding whitespace is removed from a text.
        versions: library versions; informative.
    """

    purpose: ClassVar[str] = "encoding"

    model: str
    dimensions: int
    revision: str | None = None
    weights: str | None = None
    tokenizer: str | None = None
    configuration: str | None = None
    modules: tuple[str, ...] | None = None
    pooling: str | None = None
    normalizes: bool | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: int | None = None
    truncate_dim: int | None = None
    precision: str | None = None
    backend: str | None = None
    strip: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EncoderIdentity:
        """Undo ``to_json``; keys of later versions are ignored.

        Raises:
            ValueError: these are not such values.
        """
        known = checked_fields(cls, values, _KINDS, ("model", "dimensions"))
        if known.get("modules") is not None:
            known["modules"] = tuple(map(str, known["modules"]))
        return cls(**known)


_KINDS: dict[str, Any] = {
    "dimensions": int,
    "max_length": int,
    "truncate_dim": int,
    "modules": (list, tuple),
    "normalizes": bool,
    "strip": bool,
    "versions": dict,
}
"""JSON types of the fields that are not strings."""


def checked_fields(
    cls: Any, values: Any, kinds: Mapping[str, Any], required: Sequence[str]
) -> dict[str, Any]:
    """What JSON values say of the fields of an identity; others are left out.

    Args:
        cls: the dataclass.
        values: read from JSON.
        kinds: types of the fields that are not strings.
        required: fields that may not be missing.

    Raises:
        ValueError: one is missing, or of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"found {type(values).__name__}, not an object")
    known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
    for name, value in known.items():
        kind = kinds.get(name, str)
        missing = value is None and name not in required
        if not missing and (not isinstance(value, kind) or (kind is int and value is True)):
            raise ValueError(f"{name} is {str(value)[:40]!r}")
    if any(name not in known for name in required):
        raise ValueError(f"{' or '.join(required)} are missing")
    return known
