"""The index directory: catalog, segments, staging and publishing, checksums.

What a file is called, how it is laid out and when it counts as written is decided here. Nothing
here encodes text or ranks rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.store.catalog import Catalog
    from qsearch.store.editor import IndexEditor, Step
    from qsearch.store.fields import FieldReport
    from qsearch.store.format import FORMAT_VERSION
    from qsearch.store.merging import compact_groups, tier_groups
    from qsearch.store.opening import checked_settings, measured_segments, open_segments, set_commit
    from qsearch.store.rows import StoredDocument
    from qsearch.store.segment import GraphArrays, Segment, graph_files
    from qsearch.store.soundness import check_sample, sample_rows
    from qsearch.store.verify import VerifyReport, verify_index
    from qsearch.store.view import IndexView
    from qsearch.store.writer import IndexWriter

__all__ = [
    "FORMAT_VERSION",
    "Catalog",
    "FieldReport",
    "GraphArrays",
    "IndexEditor",
    "IndexView",
    "IndexWriter",
    "Segment",
    "Step",
    "StoredDocument",
    "VerifyReport",
    "check_sample",
    "checked_settings",
    "compact_groups",
    "graph_files",
    "measured_segments",
    "open_segments",
    "sample_rows",
    "set_commit",
    "tier_groups",
    "verify_index",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "FORMAT_VERSION": ".format",
        "Catalog": ".catalog",
        "FieldReport": ".fields",
        "GraphArrays": ".segment",
        "IndexEditor": ".editor",
        "IndexView": ".view",
        "IndexWriter": ".writer",
        "Segment": ".segment",
        "Step": ".editor",
        "StoredDocument": ".rows",
        "VerifyReport": ".verify",
        "check_sample": ".soundness",
        "checked_settings": ".opening",
        "compact_groups": ".merging",
        "graph_files": ".segment",
        "measured_segments": ".opening",
        "open_segments": ".opening",
        "sample_rows": ".soundness",
        "set_commit": ".opening",
        "tier_groups": ".merging",
        "verify_index": ".verify",
    },
)
