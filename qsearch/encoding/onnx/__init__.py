"""Models as ONNX files: exported once, then run without torch.

``cache`` keeps the files, ``encoder`` runs them (onnxruntime and tokenizers, nothing heavier), and
``export`` makes them from a model that torch has loaded.
"""

from qsearch.encoding.onnx.cache import (
    ExportedModel,
    files_digest,
    find_export,
    find_export_of,
    keep_refusal,
    known_refusal,
)

__all__ = [
    "ExportedModel",
    "files_digest",
    "find_export",
    "find_export_of",
    "keep_refusal",
    "known_refusal",
]
