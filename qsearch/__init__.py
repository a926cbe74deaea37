"""qsearch: semantic search that is exact at quantized speed.

Documents are stored as binary and int8 codes for fast candidate retrieval and as float vectors for
exact rescoring. Start with ``Index.build`` and ``Index.open``.

The names below are imported when they are first used, so that ``import qsearch`` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qsearch.version import __version__

if TYPE_CHECKING:
    from qsearch.documents import Document, Fields
    from qsearch.encoding import Encoder, EncoderIdentity, TokenEncoder
    from qsearch.encoding.sentence import SentenceEncoder
    from qsearch.errors import (
        BuildInterrupted,
        ChangeInterrupted,
        CorpusError,
        EncoderError,
        EncoderMismatch,
        IndexBusy,
        IndexClosed,
        IndexExists,
        IndexFormatError,
        IndexWriteError,
        OptionError,
        QsearchError,
        QueryError,
    )
    from qsearch.evaluation import Evaluation, evaluate, tune
    from qsearch.index import Index
    from qsearch.indexing import (
        BuildOptions,
        BuildReport,
        ChangeReport,
        Changes,
        CompactReport,
        TextIndexReport,
        upgrade_index,
    )
    from qsearch.reranking import Reranker, RerankerIdentity
    from qsearch.reranking.cross import CrossEncoderReranker
    from qsearch.results import (
        Explanation,
        Hit,
        KeywordReport,
        Passage,
        Reranking,
        SearchResult,
        StageReport,
        TermReport,
        VectorResult,
    )
    from qsearch.store import VerifyReport, verify_index

__all__ = [
    "BuildInterrupted",
    "BuildOptions",
    "BuildReport",
    "ChangeInterrupted",
    "ChangeReport",
    "Changes",
    "CompactReport",
    "CorpusError",
    "CrossEncoderReranker",
    "Document",
    "Encoder",
    "EncoderError",
    "EncoderIdentity",
    "EncoderMismatch",
    "Evaluation",
    "Explanation",
    "Fields",
    "Hit",
    "Index",
    "IndexBusy",
    "IndexClosed",
    "IndexExists",
    "IndexFormatError",
    "IndexWriteError",
    "KeywordReport",
    "OptionError",
    "Passage",
    "QsearchError",
    "QueryError",
    "Reranker",
    "RerankerIdentity",
    "Reranking",
    "SearchResult",
    "SentenceEncoder",
    "StageReport",
    "TermReport",
    "TextIndexReport",
    "TokenEncoder",
    "VectorResult",
    "VerifyReport",
    "__version__",
    "evaluate",
    "tune",
    "upgrade_index",
    "verify_index",
]

_HOME = {
    "BuildOptions": "qsearch.indexing",
    "BuildReport": "qsearch.indexing",
    "ChangeReport": "qsearch.indexing",
    "Changes": "qsearch.indexing",
    "CompactReport": "qsearch.indexing",
    "CrossEncoderReranker": "qsearch.reranking.cross",
    "Document": "qsearch.documents",
    "Encoder": "qsearch.encoding",
    "EncoderIdentity": "qsearch.encoding",
    "Evaluation": "qsearch.evaluation",
    "Explanation": "qsearch.results",
    "Fields": "qsearch.documents",
    "Hit": "qsearch.results",
    "Index": "qsearch.index",
    "KeywordReport": "qsearch.results",
    "Passage": "qsearch.results",
    "Reranker": "qsearch.reranking",
    "RerankerIdentity": "qsearch.reranking",
    "Reranking": "qsearch.results",
    "SearchResult": "qsearch.results",
    "SentenceEncoder": "qsearch.encoding.sentence",
    "StageReport": "qsearch.results",
    "TermReport": "qsearch.results",
    "TextIndexReport": "qsearch.indexing",
    "TokenEncoder": "qsearch.encoding",
    "VectorResult": "qsearch.results",
    "VerifyReport": "qsearch.store",
    "evaluate": "qsearch.evaluation",
    "tune": "qsearch.evaluation",
    "upgrade_index": "qsearch.indexing",
    "verify_index": "qsearch.store",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'qsearch' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME.get(name, "qsearch.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
