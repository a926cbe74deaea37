"""What an encoder is, what it says about itself, and how one is chosen."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import EncoderError

if TYPE_CHECKING:
    from qsearch.encoding.sentence import SentenceEncoder

__all__ = [
    "BACKENDS",
    "UNNAMED_MODEL",
    "CanaryEncoder",
    "Encoder",
    "EncoderIdentity",
    "TokenEncoder",
    "load_encoder",
    "load_encoder_of",
]

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
    embedding whatever stands beside it in the list. An encoder that several threads may use at once
    says so by an attribute ``concurrent = True``: then a build reads and writes while it encodes.
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


@runtime_checkable
class CanaryEncoder(Protocol):
    """An ``Encoder`` that has a faster way for the check of its contract."""

    def encode_canaries(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed texts as documents and as queries, equal up to rounding: twice (n, d) float32."""
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """An ``Encoder`` that shows its tokens, so that documents can be split into passages by them."""

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has as a document, with prompt and special tokens, not cut."""
        ...

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Where the tokens of each text alone begin and end, in characters: (t, 2) each, not cut.

        Raises:
            EncoderError: the tokenizer does not tell.
        """
        ...


BACKENDS = ("auto", "onnx", "torch")
"""What can run a model. ``auto`` is onnx on CPU in float32 where the model can be exported."""

_log = logging.getLogger("qsearch")
_THROUGH_TORCH = "torch runs the model, more slowly than ONNX Runtime would: %s"


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
    backend: str = "auto",
    strip: bool = True,
) -> Encoder:
    """Load a sentence-transformers model.

    On CPU the model is exported to ONNX, once, into a cache (``QSEARCH_CACHE``), and from then on runs
    through ONNX Runtime, without torch. An export is used only if it reproduces what torch gives.

    Args:
        model: a local path, or a name on the hub; see ``locate_model``.
        device: ``auto``, ``cpu``, ``cuda``, or names that torch knows with commas between: documents are
            encoded on all of them. ``auto`` and ``cuda`` are all GPUs of one kind.
        revision: commit, branch or tag on the hub.
        query_prompt: ``None`` takes the model's own.
        document_prompt: ``None`` takes the model's own.
        max_length: tokens; ``None`` takes the model's own, 0 cuts nothing.
        truncate_dim: keep only so many components.
        precision: dtype of the weights: ``float32``, ``float16`` or ``bfloat16``.
        backend: one of ``BACKENDS``.
        strip: remove surrounding whitespace. Only to imitate encoders that do not.

    Raises:
        EncoderError: the model cannot be found or loaded, or not by ``backend``.
    """
    from qsearch.encoding.models import locate_model

    if backend not in BACKENDS:
        raise EncoderError(f"unknown backend {backend!r}; known are {', '.join(BACKENDS)}")
    with_onnx = backend != "torch" and precision == "float32" and _runs_on_cpu(device)
    if backend == "onnx" and not with_onnx:
        raise EncoderError("the onnx backend runs on the CPU and in float32 only")
    located = locate_model(model, revision)
    if with_onnx:
        from qsearch.encoding.onnx import files_digest, find_export_of, known_refusal

        files = files_digest(located.path)
        export = find_export_of(files)
        if export is not None:
            from qsearch.encoding.onnx.encoder import OnnxEncoder

            own = export.identity
            identity = replace(
                own,
                model=located.name,
                revision=located.revision,
                query_prompt=own.query_prompt if query_prompt is None else query_prompt,
                document_prompt=own.document_prompt if document_prompt is None else document_prompt,
                max_length=own.max_length if max_length is None else max_length,
                truncate_dim=truncate_dim or own.truncate_dim,
                dimensions=min(truncate_dim or own.dimensions, own.dimensions),
                strip=strip,
            )
            return OnnxEncoder(export, identity)
        refusal = known_refusal(files) if backend == "auto" else None
        if refusal is not None:
            _log.warning(_THROUGH_TORCH, f"{refusal}; --backend onnx tries again")
            with_onnx, device = False, "cpu"
    if with_onnx:
        _log.info("exporting %s to ONNX: the first time takes some seconds", located.name)
    from qsearch.encoding.sentence import SentenceEncoder

    loaded = SentenceEncoder(
        located,
        device="cpu" if with_onnx else device,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        max_length=max_length,
        truncate_dim=truncate_dim,
        precision=precision,
        strip=strip,
    )
    return _exported(loaded, located.path, backend) if with_onnx else loaded


def load_encoder_of(
    identity: EncoderIdentity,
    *,
    model: str | None = None,
    device: str = "auto",
    backend: str = "auto",
) -> Encoder:
    """Load the encoder that an identity describes; whether it is the same is for its contract to say.

    Args:
        identity: of a contract.
        model: where the model is, if not where the identity says.
        device: see ``load_encoder``.
        backend: see ``load_encoder``. An export of the model is used wherever it was exported before,
            even if the model itself is no longer there.

    Raises:
        EncoderError: see ``load_encoder``.
    """
    if model is None and backend != "torch" and device in ("auto", "cpu"):
        from qsearch.encoding.onnx import find_export

        export = find_export(identity)
        if export is not None:
            from qsearch.encoding.onnx.encoder import OnnxEncoder

            return OnnxEncoder(export, identity)
    return load_encoder(
        model or identity.model,
        device=device,
        revision=None if model else identity.revision,
        query_prompt=identity.query_prompt,
        document_prompt=identity.document_prompt,
        max_length=identity.max_length,
        truncate_dim=identity.truncate_dim,
        precision=identity.precision or "float32",
        backend=backend,
        strip=identity.strip is not False,
    )


def _exported(loaded: SentenceEncoder, folder: Path, backend: str) -> Encoder:
    """The same encoder through ONNX Runtime, or as it is where it cannot be exported."""
    from qsearch.encoding.onnx import files_digest, keep_refusal
    from qsearch.encoding.onnx.encoder import OnnxEncoder
    from qsearch.encoding.onnx.export import ExportRefused, export_model

    try:
        return OnnxEncoder(export_model(loaded, folder), loaded.identity())
    except ExportRefused as reason:
        if backend == "onnx":
            raise EncoderError(f"the onnx backend cannot run this model: {reason}") from reason
        if reason.final:
            keep_refusal(files_digest(folder), str(reason))
        _log.warning(_THROUGH_TORCH, reason)
        return loaded


def _runs_on_cpu(device: str) -> bool:
    """Whether a model on this device runs on the CPU; asks torch only where there is an NVIDIA driver."""
    if device != "auto":
        return device == "cpu"
    if not os.path.exists("/proc/driver/nvidia") and shutil.which("nvidia-smi") is None:
        return True
    import torch

    return not torch.cuda.is_available()
