"""Telling a cross-encoder from other models by its files, before anything is loaded.

The library would load any model, and put a head of random weights onto one that has none.
"""

from __future__ import annotations

import json
from typing import Any

from qsearch.encoding.models import LocatedModel
from qsearch.errors import EncoderError

__all__ = ["EXAMPLE", "require_cross_encoder", "require_one_label"]

EXAMPLE = "cross-encoder/ms-marco-MiniLM-L6-v2"

_HEADS = ("ForSequenceClassification", "ForCausalLM")
"""Ends of names of architectures that the library makes a ``CrossEncoder`` of."""


def require_cross_encoder(located: LocatedModel) -> None:
    """Do nothing if the folder holds a cross-encoder of one score.

    Raises:
        EncoderError: it holds another model; says which kind, and what is wanted.
    """
    name = located.name
    modules = _json_of(located, "modules.json")
    if modules is not None:
        told = _json_of(located, "config_sentence_transformers.json") or {}
        kind = told.get("model_type", "SentenceTransformer") if isinstance(told, dict) else None
        if kind == "SentenceTransformer":
            raise EncoderError(
                f"{name} is an encoder (a bi-encoder): it makes embeddings of single texts, and cannot "
                f"score a query and a text together; give a cross-encoder, such as {EXAMPLE}"
            )
        if kind != "CrossEncoder":
            raise EncoderError(f"{name} is a {kind}; give a cross-encoder, such as {EXAMPLE}")
    config = _json_of(located, "config.json")
    if not isinstance(config, dict):
        if modules is not None:
            return  # its modules are in folders of their own
        raise EncoderError(f"{name} has no config.json that could be read; give a cross-encoder")
    architecture = str(([*(config.get("architectures") or []), "a model"])[0])
    if modules is None and not architecture.endswith(_HEADS):
        raise EncoderError(
            f"{name} is no cross-encoder: a {architecture} has no head that scores pairs (it would get "
            f"one of random weights); give a cross-encoder, such as {EXAMPLE}"
        )
    labels = config.get("id2label")
    if (
        architecture.endswith("ForSequenceClassification")
        and isinstance(labels, dict)
        and len(labels) != 1
    ):
        raise EncoderError(_several(name, len(labels)))


def require_one_label(name: str, labels: int) -> None:
    """Do nothing if a model gives one number for a pair.

    Raises:
        EncoderError: it gives several.
    """
    if labels != 1:
        raise EncoderError(_several(name, labels))


def _several(name: str, labels: int) -> str:
    return (
        f"{name} sorts pairs into {labels} classes, and gives no single score to rank by; give a "
        f"cross-encoder of one label, such as {EXAMPLE}"
    )


def _json_of(located: LocatedModel, name: str) -> Any:
    """What a file of the model says; ``None`` where there is no such file, or nothing to be read."""
    try:
        return json.loads((located.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
