"""qsearch: semantic search that is exact at quantized speed.

Documents are stored as binary and int8 codes for fast candidate retrieval and as float vectors for
exact rescoring. Start with ``Index.build`` and ``Index.open``.

The names below are imported when they are first used, so that ``import qsearch`` takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily
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
    from qsearch.evaluation import Comparison, Evaluation, compare, evaluate, tune
    from qsearch.index import Index
    from qsearch.indexing import (
        BuildOptions,
        BuildReport,
        ChangeReport,
        Changes,
        CompactReport,
        TextIndexReport,
        UpgradeReport,
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
    "Comparison",
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
    "UpgradeReport",
    "VectorResult",
    "VerifyReport",
    "__version__",
    "compare",
    "evaluate",
    "tune",
    "upgrade_index",
    "verify_index",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "BuildInterrupted": ".errors",
        "BuildOptions": ".indexing",
        "BuildReport": ".indexing",
        "ChangeInterrupted": ".errors",
        "ChangeReport": ".indexing",
        "Changes": ".indexing",
        "CompactReport": ".indexing",
        "Comparison": ".evaluation",
        "CorpusError": ".errors",
        "CrossEncoderReranker": ".reranking.cross",
        "Document": ".documents",
        "Encoder": ".encoding",
        "EncoderError": ".errors",
        "EncoderIdentity": ".encoding",
        "EncoderMismatch": ".errors",
        "Evaluation": ".evaluation",
        "Explanation": ".results",
        "Fields": ".documents",
        "Hit": ".results",
        "Index": ".index",
        "IndexBusy": ".errors",
        "IndexClosed": ".errors",
        "IndexExists": ".errors",
        "IndexFormatError": ".errors",
        "IndexWriteError": ".errors",
        "KeywordReport": ".results",
        "OptionError": ".errors",
        "Passage": ".results",
        "QsearchError": ".errors",
        "QueryError": ".errors",
        "Reranker": ".reranking",
        "RerankerIdentity": ".reranking",
        "Reranking": ".results",
        "SearchResult": ".results",
        "SentenceEncoder": ".encoding.sentence",
        "StageReport": ".results",
        "TermReport": ".results",
        "TextIndexReport": ".indexing",
        "TokenEncoder": ".encoding",
        "UpgradeReport": ".indexing",
        "VectorResult": ".results",
        "VerifyReport": ".store",
        "compare": ".evaluation",
        "evaluate": ".evaluation",
        "tune": ".evaluation",
        "upgrade_index": ".indexing",
        "verify_index": ".store",
    },
)
