"""Choosing and loading an encoder: which model, and what runs it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qsearch.encoding.identity import EncoderIdentity
from qsearch.encoding.models import locate_model
from qsearch.encoding.protocols import Encoder
from qsearch.errors import EncoderError
from qsearch.wording import words

if TYPE_CHECKING:
    pass

__all__ = [
    "BACKENDS",
    "adapted",
    "exported_or_itself",
    "load_encoder",
    "load_encoder_of",
    "wants_onnx",
    "was_refused",
]

BACKENDS = ("auto", "onnx", "torch")
"""What can run a model. ``auto`` is onnx on CPU in float32 where the model can be exported."""

_log = logging.getLogger("qsearch")

_Loaded = TypeVar("_Loaded")
_Exported = TypeVar("_Exported")
_THROUGH_TORCH = "torch runs the model, more slowly than ONNX Runtime would: %s"
"""What is logged where a model cannot be exported, with the reason."""


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
    with_onnx = wants_onnx(backend, precision, device)
    located = locate_model(model, revision)
    if with_onnx:
        from qsearch.encoding.onnx import files_digest, find_export_of

        files = files_digest(located.path)
        export = find_export_of(files, EncoderIdentity)
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
        if was_refused(files, EncoderIdentity.purpose, backend):
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
    if not with_onnx:
        return loaded

    def export_it() -> Encoder:
        from qsearch.encoding.onnx.encoder import OnnxEncoder
        from qsearch.encoding.onnx.export import export_model

        return OnnxEncoder(export_model(loaded, located.path), loaded.identity())

    return exported_or_itself(loaded, export_it, located.path, EncoderIdentity.purpose, backend)


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


def adapted(encoder: object) -> Encoder:
    """An ``Encoder`` of what a caller gave as one: itself, or a ``SentenceTransformer``.

    Raises:
        EncoderError: it is neither.
    """
    if isinstance(encoder, Encoder):
        return encoder
    # Whoever made such an object has imported its module.
    module = sys.modules.get("sentence_transformers")
    if module is not None and isinstance(encoder, module.SentenceTransformer):
        from qsearch.encoding.sentence import SentenceEncoder

        return SentenceEncoder(encoder)
    raise EncoderError(
        f"an encoder is a model's name or path, a SentenceTransformer, or an object with the methods "
        f"of qsearch.Encoder, found {type(encoder).__name__}"
    )


def wants_onnx(backend: str, precision: str, device: str) -> bool:
    """Whether a model is to run through ONNX Runtime, if it can be exported.

    Raises:
        EncoderError: the backend is not known, or cannot do what is asked.
    """
    if backend not in BACKENDS:
        raise EncoderError(f"unknown backend {backend!r}; known are {', '.join(BACKENDS)}")
    with_onnx = backend != "torch" and precision == "float32" and _runs_on_cpu(device)
    if backend == "onnx" and not with_onnx:
        raise EncoderError("the onnx backend runs on the CPU and in float32 only")
    return with_onnx


def was_refused(files: str, purpose: str, backend: str) -> bool:
    """Whether it is known that a model cannot be exported, and that is no matter; says so.

    Args:
        files: digest of its files.
        purpose: of its kind of identity.
        backend: of ``BACKENDS``; ``onnx`` tries again.
    """
    from qsearch.encoding.onnx import known_refusal

    refusal = known_refusal(files, purpose) if backend == "auto" else None
    if refusal is not None:
        _log.warning(_THROUGH_TORCH, f"{refusal}; {words().backend} onnx tries again")
    return refusal is not None


def exported_or_itself(
    loaded: _Loaded, export_it: Callable[[], _Exported], folder: Path, purpose: str, backend: str
) -> _Loaded | _Exported:
    """A model through ONNX Runtime, or as it is where it cannot be exported.

    Args:
        loaded: as torch runs it.
        export_it: exports it, and takes the export.
        folder: of its files.
        purpose: of its kind of identity.
        backend: of ``BACKENDS``.

    Raises:
        EncoderError: it cannot be exported, and must be.
    """
    from qsearch.encoding.onnx import files_digest, keep_refusal
    from qsearch.encoding.onnx.graph import ExportRefused

    try:
        return export_it()
    except ExportRefused as reason:
        if backend == "onnx":
            raise EncoderError(f"the onnx backend cannot run this model: {reason}") from reason
        if reason.final:
            keep_refusal(files_digest(folder), purpose, str(reason))
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
