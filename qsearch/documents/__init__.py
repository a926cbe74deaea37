"""Documents and the readers that stream them from files.

Bytes come in, ``Document`` and ``RejectedRecord`` go out. No embedding, no index, nothing printed.
"""

from qsearch.documents.document import Document, Fields, RejectedRecord
from qsearch.documents.embeddings import Embeddings
from qsearch.documents.queries import read_queries, read_query_lines, read_query_texts
from qsearch.documents.readers import FORMATS, Corpus, open_corpus

__all__ = [
    "FORMATS",
    "Corpus",
    "Document",
    "Embeddings",
    "Fields",
    "RejectedRecord",
    "open_corpus",
    "read_queries",
    "read_query_lines",
    "read_query_texts",
]
