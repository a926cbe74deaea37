"""Models as ONNX files: exported once, then run without torch.

``cache`` keeps the files, ``encoder`` runs them (onnxruntime and tokenizers, nothing heavier), and
``export`` makes them from a model that torch has loaded.
"""

from qsearch.encoding.onnx.cache import ExportedModel, find_export, find_export_of

__all__ = ["ExportedModel", "find_export", "find_export_of"]
