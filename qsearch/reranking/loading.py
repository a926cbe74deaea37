"""Choosing and loading a reranker: which model, and what runs it."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

from qsearch.encoding.loading import exported_or_itself, wants_onnx, was_refused
from qsearch.errors import EncoderError
from qsearch.locks import ProcessLock
from qsearch.reranking.identity import RerankerIdentity
from qsearch.reranking.kinds import EXAMPLE, require_cross_encoder
from qsearch.reranking.models import locate_reranker
from qsearch.reranking.protocols import Reranker

__all__ = ["Rerankers", "load_reranker"]

_log = logging.getLogger("qsearch")


def load_reranker(
    model: str,
    *,
    device: str = "auto",
    revision: str | None = None,
    max_length: int | None = None,
    precision: str = "float32",
    backend: str = "auto",
) -> Reranker:
    """Load a cross-encoder of sentence-transformers.

    On CPU the model is exported to ONNX, once, into the cache of the encoders (``QSEARCH_CACHE``), and
    from then on runs through ONNX Runtime, without torch. An export is used only if it reproduces what
    torch gives.

    Args:
        model: a local path, or a name on the hub; see ``locate_reranker``.
        device: ``auto``, ``cpu``, ``cuda``, or names that torch knows with commas between.
        revision: commit, branch or tag on the hub.
        max_length: tokens of query and text together; ``None`` takes the model's own, 0 cuts nothing.
        precision: dtype of the weights: ``float32``, ``float16`` or ``bfloat16``.
        backend: one of ``encoding.loading.BACKENDS``.

    Raises:
        EncoderError: the model cannot be found or loaded, or not by ``backend``, or is no cross-encoder of
            one score.
    """
    with_onnx = wants_onnx(backend, precision, device)
    located = locate_reranker(model, revision)
    require_cross_encoder(located)
    if with_onnx:
        from qsearch.encoding.onnx import files_digest, find_export_of

        files = files_digest(located.path)
        export = find_export_of(files, RerankerIdentity)
        if export is not None:
            from qsearch.reranking.onnx import OnnxReranker

            own = export.identity
            length = own.max_length if max_length is None else max_length
            identity = replace(
                own, model=located.name, revision=located.revision, max_length=length
            )
            return OnnxReranker(export, identity)
        if was_refused(files, RerankerIdentity.purpose, backend):
            with_onnx, device = False, "cpu"
    if with_onnx:
        _log.info("exporting %s to ONNX: the first time takes some seconds", located.name)
    from qsearch.reranking.cross import CrossEncoderReranker

    loaded = CrossEncoderReranker(
        located,
        device="cpu" if with_onnx else device,
        max_length=max_length,
        precision=precision,
    )
    if not with_onnx:
        return loaded

    def export_it() -> Reranker:
        from qsearch.reranking.onnx import OnnxReranker, export_reranker

        return OnnxReranker(export_reranker(loaded, located.path), loaded.identity())

    return exported_or_itself(loaded, export_it, located.path, RerankerIdentity.purpose, backend)


class Rerankers:
    """Finds what a caller means by a reranker, and keeps the last one loaded.

    Safe to share between threads.
    """

    def __init__(self, device: str, backend: str) -> None:
        """Load models that are named for ``device``, by ``backend``; see ``load_reranker``."""
        self._device, self._backend = device, backend
        self._lock = ProcessLock()
        self._given: object = None
        self._loaded: Reranker | None = None

    def find(self, given: object) -> Reranker:
        """The reranker that is meant.

        Args:
            given: a model's name or path, a ``CrossEncoder``, or a ``Reranker``.

        Raises:
            EncoderError: it is none of these, or cannot be loaded.
        """
        if isinstance(given, Reranker):
            return given
        if isinstance(given, Path):
            given = str(given)
        with self._lock:
            same = given == self._given if isinstance(given, str) else given is self._given
            if self._loaded is None or not same:
                self._loaded = self._load(given)
                self._given = given
            return self._loaded

    def _load(self, given: object) -> Reranker:
        if isinstance(given, str):
            return load_reranker(given, device=self._device, backend=self._backend)
        # Whoever made such an object has imported its module.
        module = sys.modules.get("sentence_transformers")
        if module is not None and isinstance(given, module.CrossEncoder):
            from qsearch.reranking.cross import CrossEncoderReranker

            return CrossEncoderReranker(given)
        raise EncoderError(
            f"a reranker is the name or path of a cross-encoder (such as {EXAMPLE}), a CrossEncoder, or an "
            f"object with the methods of qsearch.Reranker, found {type(given).__name__}"
        )
