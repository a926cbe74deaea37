"""Finding a cross-encoder: where encoders are looked for."""

from __future__ import annotations

from qsearch.encoding.models import LocatedModel, locate_model
from qsearch.wording import words

__all__ = ["locate_reranker"]


def locate_reranker(model: str, revision: str | None = None) -> LocatedModel:
    """Find the folder of a cross-encoder, see ``locate_model``.

    Args:
        model: a local path, or a name on the hub; one without an owner is one of ``cross-encoder``.
        revision: commit, branch or tag on the hub.

    Raises:
        EncoderError: it is nowhere to be found; says where was looked and what to do.
    """
    return locate_model(model, revision, owner="cross-encoder", option=words().rerank)
