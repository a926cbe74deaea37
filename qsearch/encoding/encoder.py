"""What an encoder is, what it says about itself, and how one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qsearch.encoding.sentence import SentenceEncoder

__all__ = ["UNNAMED_MODEL", "Encoder", "EncoderIdentity", "load_encoder"]

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
        """Undo ``to_json``; keys of later versions are ignored."""
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        if known.get("modules") is not None:
            known["modules"] = tuple(known["modules"])
        return cls(**known)


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into embeddings. Implement it to bring an encoder of your own.

    An embedding may have any length but zero: qsearch normalises. A text must give the same
    embedding whatever stands beside it in the list.
    """

    def identity(self) -> EncoderIdentity:
        """Say what the embeddings depend on."""
        ...

    def encode_documents(
        self, texts: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embed documents.

        Args:
            texts: n strings.
            advance: may be told how many texts were just done, for a progress bar.

        Returns:
            (n, d) float32.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed queries: (n, d) float32."""
        ...

    def truncated(self, texts: Sequence[str]) -> int:
        """How many of ``texts``, as documents, are longer than the maximum length."""
        ...


def load_encoder(
    model: str,
    *,
    device: str = "auto",
    revision: str | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    max_length: int | None = None,
    truncate_dim: int | None = None,
    precision: str = "float32",
) -> SentenceEncoder:
    """Load a sentence-transformers model.

    Args:
        model: a local path, or a name on the hub; see ``locate_model``.
        device: ``auto``, ``cpu``, ``cuda`` or any name that torch knows.
        revision: commit, branch or tag on the hub.
        query_prompt: ``None`` takes the model's own.
        document_prompt: ``None`` takes the model's own.
        max_length: tokens; ``None`` takes the model's own, 0 cuts nothing.
        truncate_dim: keep only so many components.
        precision: dtype of the weights: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        EncoderError: the model cannot be found or loaded.
    """
    from qsearch.encoding.sentence import SentenceEncoder

    return SentenceEncoder(
        model,
        device=device,
        revision=revision,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        max_length=max_length,
        truncate_dim=truncate_dim,
        precision=precision,
    )
