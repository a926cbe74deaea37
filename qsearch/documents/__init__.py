"""Documents and the readers that stream them from files.

Bytes come in, ``Document`` and ``RejectedRecord`` go out. No embedding, no index, nothing printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.documents.datasets import has_judgments, is_dataset
    from qsearch.documents.document import Document, surrogate_in
    from qsearch.documents.embeddings import Embeddings
    from qsearch.documents.encodings import encoding_advice
    from qsearch.documents.fields import Fields, FieldsFound, Role
    from qsearch.documents.judgments import Judgments, judgments_in, read_judgments
    from qsearch.documents.queries import (
        check_text,
        checked_ids,
        read_encoded_texts,
        read_queries,
        read_query_lines,
        read_query_texts,
    )
    from qsearch.documents.readers import FORMATS, Corpus, corpus_stem, format_by_name, open_corpus
    from qsearch.documents.rejected import RejectedRecord
    from qsearch.documents.relevance import relevance_of
    from qsearch.documents.runs import Run, read_run, run_line

__all__ = [
    "FORMATS",
    "Corpus",
    "Document",
    "Embeddings",
    "Fields",
    "FieldsFound",
    "Judgments",
    "RejectedRecord",
    "Role",
    "Run",
    "check_text",
    "checked_ids",
    "corpus_stem",
    "encoding_advice",
    "format_by_name",
    "has_judgments",
    "is_dataset",
    "judgments_in",
    "open_corpus",
    "read_encoded_texts",
    "read_judgments",
    "read_queries",
    "read_query_lines",
    "read_query_texts",
    "read_run",
    "relevance_of",
    "run_line",
    "surrogate_in",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "FORMATS": ".readers",
        "Corpus": ".readers",
        "Document": ".document",
        "Embeddings": ".embeddings",
        "Fields": ".fields",
        "FieldsFound": ".fields",
        "Judgments": ".judgments",
        "RejectedRecord": ".rejected",
        "Role": ".fields",
        "Run": ".runs",
        "check_text": ".queries",
        "checked_ids": ".queries",
        "corpus_stem": ".readers",
        "encoding_advice": ".encodings",
        "format_by_name": ".readers",
        "has_judgments": ".datasets",
        "is_dataset": ".datasets",
        "judgments_in": ".judgments",
        "open_corpus": ".readers",
        "read_judgments": ".judgments",
        "read_encoded_texts": ".queries",
        "read_queries": ".queries",
        "read_query_lines": ".queries",
        "read_query_texts": ".queries",
        "read_run": ".runs",
        "relevance_of": ".relevance",
        "run_line": ".runs",
        "surrogate_in": ".document",
    },
)
